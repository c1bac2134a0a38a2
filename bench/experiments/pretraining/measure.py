"""Start one network, train it with labels, and look at its directions, gradients and reconstructions."""

from typing import Any

import jax
import jax.numpy as jnp

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.pretraining import PRETRAINED, Settings
from signalprop.bench.experiments.pretraining.decoupling import alignment, log_spread
from signalprop.bench.experiments.pretraining.starts import draw_starts, joint_errors
from signalprop.bench.training.classification import accuracy, batches, cross_entropy, problem
from signalprop.bench.training.diagnostics import by_layer
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import train

WHEN = ("before", "after")
WATCHED = 4  # examples at which Jacobians are taken
JOINT_INPUTS = 256  # on which all layers are trained together


def grid(settings: Settings) -> Grid:
    """One compilation per activation, data set and depth; starts and learning rates train together."""
    for name in settings.data:
        problem(name)  # refuses a missing or damaged file before anything is compiled
    constants = ("width", "batch_size", "updates", "records", "pretraining", "pretraining_rate", "noise",
                 "joint_updates", "dtype")  # fmt: skip
    stride = settings.updates // settings.records
    return Grid(
        static={"activation": settings.activation, "data": settings.data, "depth": settings.depth},
        traced={
            "start": {"position": range(len(settings.start))},
            "learning_rate": settings.learning_rate,
        },
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants}
        | {"starts": settings.start, "deepest": max(settings.depth), "joint_depth": max(settings.depth)},
        coords={
            "start": settings.start,
            "update": [stride * (i + 1) for i in range(settings.records)],
            "when": WHEN,
            "layer": range(1, max(settings.depth) + 2),
            "method": PRETRAINED,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Start one network, train it, and look at it before and after."""
    data, dtype, depth = problem(static["data"]), static["dtype"], static["depth"]
    start_key, train_key = jax.random.split(key)
    x, x_test = (jnp.asarray(part, dtype) for part in (data.x, data.x_test))
    shape = data.features, static["width"], depth, data.classes
    starts = draw_starts(
        start_key, static["starts"], shape, static["activation"], x, noise=static["noise"],
        learning_rate=static["pretraining_rate"], num_steps=static["pretraining"],
        batch_size=static["batch_size"],
    )  # fmt: skip
    model = jax.tree.map(lambda leaf: leaf[point["position"].astype(int)], starts.models)
    trained = train(
        train_key, model, cross_entropy, batches(data, static["batch_size"], dtype),
        optimizer("sgd", point["learning_rate"]), static["updates"], static["records"], _observe,
    )  # fmt: skip
    seen, beyond = trained.record, static["deepest"] - depth
    gradient = seen["log_gradient"][jnp.array([0, -1])]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, trained.model)
    loss, aside = cross_entropy(trained.model, (x, jnp.asarray(data.label)))
    return {
        "curve": seen["loss"],
        "saturated": seen["saturated"][:, -1],
        "top_mean": seen["top_mean"],
        "log_gradient": _padded(gradient, beyond),
        "spread": jax.vmap(lambda m: log_spread(m, x_test[:WATCHED]))(both),
        "alignment": jax.vmap(alignment)(both),
        "train_loss": jnp.where(trained.diverged_at > 0, jnp.inf, loss),
        "train_accuracy": aside["accuracy"],
        "test_accuracy": accuracy(trained.model, x_test, jnp.asarray(data.label_test)),
        "diverged_at": trained.diverged_at.astype(dtype),
        **_greedy(starts.pretrained, x[:JOINT_INPUTS], static),
    }


def _observe(model: Any, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
    """What `by_layer` sees, and the mean activity of the last hidden layer."""
    return {
        **by_layer(model, gradients, updates, batch),
        "top_mean": model.activities(batch[0])[1][-1].mean(),
    }


def _padded(rows: jax.Array, count: int) -> jax.Array:
    """NaN for the layers that a network has not."""
    return jnp.pad(rows, ((0, 0), (0, count)), constant_values=jnp.nan)


def _greedy(pretrained: dict[str, Any], x: jax.Array, static: Static) -> dict[str, jax.Array]:
    """Reconstruction errors of greedy training, layer by layer; at one depth also of joint training."""
    deepest, steps = static["deepest"], static["joint_updates"]
    none = jnp.full((len(PRETRAINED), 2), jnp.nan, static["dtype"])
    errors = jnp.full((len(PRETRAINED), deepest + 1), jnp.nan, static["dtype"])
    for i, name in enumerate(PRETRAINED):
        if name in pretrained:
            errors = errors.at[i, : static["depth"]].set(pretrained[name].error[:, -1])
            if static["depth"] == static["joint_depth"]:
                none = none.at[i].set(joint_errors(pretrained[name], x, steps))
    return {"greedy_error": errors, "joint_error": none}
