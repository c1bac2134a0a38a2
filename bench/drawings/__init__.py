"""The figures of the experiments, one file each: a stored result in, figures out."""
