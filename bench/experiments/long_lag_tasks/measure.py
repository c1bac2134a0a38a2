"""Training of one network on one task, its test, and its gradient by lag before and after."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from signalprop.analysis.statistics import log_mean_exp
from signalprop.analysis.timelag import gradient_by_lag
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.long_lag_tasks import Settings
from signalprop.bench.training import recurrent
from signalprop.bench.training.omega import Outputs
from signalprop.bench.training.remedies import remedy
from signalprop.bench.training.tasks import Batch, Task, find_task
from signalprop.bench.training.trainer import train
from signalprop.models.cells import zero_carry
from signalprop.models.sequence import SequenceModel

WATCHED = 4  # test sequences along which the gradient by lag is measured


def grid(settings: Settings) -> Grid:
    """One compilation per task and network; seeds, learning rates and clipping train together."""
    longest = max(task.num_steps(length) for task, length in map(find_task, settings.task))
    constants = ("optimizer", "units", "batch_size", "updates", "records", "test_size", "dtype")
    stride = settings.updates // settings.records
    return Grid(
        static={"task": settings.task, "network": settings.network},
        traced={"learning_rate": settings.learning_rate, "clip_norm": settings.clip_norm},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "update": [stride * (i + 0.5) for i in range(settings.records)],
            "lag": range(longest + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network and judge it."""
    (task, length), method, dtype = find_task(static["task"]), remedy(static["network"]), static["dtype"]
    draw_key, train_key, test_key = jax.random.split(key, 3)
    model = recurrent.draw(method, draw_key, task, static["units"], dtype)
    draw = partial(task.draw, length=length, batch_size=static["batch_size"], dtype=dtype)
    optimizer = getattr(optax, static["optimizer"])(point["learning_rate"])
    trained = train(
        train_key, model, recurrent.loss(method, task), draw, optimizer, static["updates"], static["records"],
        clip_norm=jnp.where(point["clip_norm"] > 0, point["clip_norm"], jnp.inf),
    )  # fmt: skip
    test = task.test(test_key, length, static["test_size"], dtype=dtype)
    loss, aside = task.loss(trained.model, test)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, trained.model)
    lags = jax.vmap(lambda m: answer_by_lag(m, task, test))(both)
    return {
        "test_loss": loss,
        "correct": aside["correct"],
        "solved": (task.solved(loss, aside["correct"]) & (trained.diverged_at == 0)).astype(dtype),
        "curve": trained.record["task_loss"],
        "log_gradient_norm": trained.record["log_gradient_norm"],
        "clip_rate": trained.record["clip_rate"],
        "diverged_at": trained.diverged_at.astype(dtype),
        "lag_before": lags[0],
        "lag_after": lags[1],
    }


def answer_by_lag(model: SequenceModel, task: Task, batch: Batch) -> jax.Array:
    """Log by lag of the mean norm of the gradient of the last answer's loss, over the norm at lag 0."""

    def one(inputs: jax.Array, target: jax.Array) -> jax.Array:
        carry = zero_carry(model.cell)
        end, _ = jax.lax.scan(model.cell, carry, inputs)
        *rest, output = jax.tree.leaves(end)  # what a cell puts out is the last part of its carry
        answer = Batch(inputs[:, None], target.reshape((1,) * batch.targets.ndim))
        slope = jax.grad(lambda h: task.loss(Outputs(model, h), answer)[0])(output[None, None])[0, 0]
        cotangent = jax.tree.unflatten(jax.tree.structure(end), [*map(jnp.zeros_like, rest), slope])
        profile = gradient_by_lag(model.cell, carry, inputs, cotangent).log_norm
        return profile - profile[0]

    last = batch.targets[-1] if batch.targets.ndim > 1 else batch.targets
    return log_mean_exp(jax.vmap(one, (1, 0))(batch.inputs[:, :WATCHED], last[:WATCHED]))
