"""Adam's first step in a deep network, and the largest depth that Adam can train."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import optax

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.adam_epsilon import Settings
from signalprop.bench.training import bisection
from signalprop.bench.training.classification import batches, cross_entropy, problem
from signalprop.bench.training.diagnostics import by_layer
from signalprop.bench.training.trainer import train
from signalprop.models.activations import activation
from signalprop.models.classifier import Classifier, draw_classifier


def grid(settings: Settings) -> Grid:
    """One compilation per floating-point type."""
    constants = (
        "depth", "top", "width", "learning_rate", "threshold", "steps", "batch_size", "data", "dtype"
    )  # fmt: skip
    return Grid(
        static={"format": settings.format},
        traced={"epsilon": settings.epsilon},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={"layer": range(1, settings.depth + 2)},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Take Adam's first step in a deep network; find the largest depth that it can train."""
    net_key, train_key = jax.random.split(key)
    data, kind = problem(static["data"]), static["format"]
    epsilon = point["epsilon"].astype(kind)
    rate = static["learning_rate"]

    def draw(depth: int) -> Classifier:
        return draw_classifier(
            net_key, data.features, static["width"], depth, data.classes, activation("sigmoid"), dtype=kind
        )

    method = optax.adam(rate, eps=epsilon)
    deep = draw(static["depth"])
    first = train(
        train_key, deep, cross_entropy, batches(data, static["batch_size"], kind), method, 2, 2, by_layer
    )
    sizes = jnp.log(jnp.asarray([float(n) for n in entries(deep)])) / 2

    def works(depth: jax.Array) -> jax.Array:
        accuracy = bisection.final_accuracy(
            train_key, draw(static["top"]), depth, data, method,
            batch_size=static["batch_size"], steps=static["steps"],
        )  # fmt: skip
        return jnp.greater(accuracy, static["threshold"])

    dtype = static["dtype"]
    return {
        "log_step": (first.record["log_update"][0] - sizes - np.log(rate)).astype(dtype),
        "log_gradient": (first.record["log_gradient"][0] - sizes).astype(dtype),
        "trainable_depth": bisection.largest(works, static["top"]).astype(dtype),
    }


def entries(model: Classifier) -> list[int]:
    """Entries of every kernel, the read-out's last."""
    shapes = [run.layer.kernel[...].shape for run in model.runs]
    hidden = [prod(shape) for count, *shape in shapes for _ in range(count)]
    return [*hidden, prod(model.readout.kernel[...].shape)]
