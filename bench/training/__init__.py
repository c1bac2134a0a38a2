"""Training inside one compiled scan: trainer, optimizers, problems, tasks, and what is watched."""
