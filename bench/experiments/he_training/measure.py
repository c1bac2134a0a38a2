"""Signal and gradient of one network before training, its training, and that of its twins."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from signalprop.analysis.statistics import log_norm
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.he_training import STARTS, Settings
from signalprop.bench.training.classification import accuracy, batches, cross_entropy, problem
from signalprop.bench.training.diagnostics import kernel_norms
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import Trained, train
from signalprop.models.activations import activation
from signalprop.models.classifier import Classifier, draw_classifier

PROBE = 100  # test examples on which signals and gradients are measured before training
TWIN_UPDATES = 10


def grid(settings: Settings) -> Grid:
    """One compilation per depth; the coordinate ``start`` holds places in ``STARTS``."""
    constants = ("momentum", "data", "width", "batch_size", "updates", "records", "dtype")
    chosen = [STARTS[name] for name in settings.start]
    stride = settings.updates // settings.records
    return Grid(
        static={"depth": settings.depth},
        traced={
            "start": {
                "start": [list(STARTS).index(name) for name in settings.start],
                **{scale: [getattr(s, scale) for s in chosen] for scale in ("sigma_w", "power", "bias_rate")},
            },
            "learning_rate": settings.learning_rate,
        },
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants} | {"deepest": max(settings.depth)},
        coords={
            "update": [stride * (i + 1) for i in range(settings.records)],
            "layer": range(1, max(settings.depth) + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Look at one network, train it, and train its twins for a few updates."""
    draw_key, train_key = jax.random.split(key)
    task, dtype, depth = problem(static["data"]), jnp.dtype(static["dtype"]), static["depth"]
    draw = partial(
        draw_classifier, draw_key, task.features, static["width"], depth, task.classes, activation("relu"),
        dtype=dtype,
    )  # fmt: skip
    model, he = draw(sigma_w=point["sigma_w"]), draw(sigma_w=2**0.5)
    larger = jnp.exp2(point["power"] * depth / 2).astype(dtype)
    probe = jnp.asarray(task.x_test[:PROBE], dtype), jnp.asarray(task.label_test[:PROBE])
    gradient = jax.grad(lambda m: cross_entropy(m, (larger * probe[0], probe[1]))[0])(model)
    trained = _train(train_key, model, larger, point["learning_rate"], 1.0, point["bias_rate"], static)
    test = larger * jnp.asarray(task.x_test, dtype), jnp.asarray(task.label_test)
    padding = (0, max(0, static["deepest"] - depth))
    return {
        "log_signal": jnp.pad(
            _log_signal(model, larger * probe[0], probe[0]), padding, constant_values=jnp.nan
        ),
        "direction_gap": _direction_gap(model, he, probe[0]),
        "log_gradient": jnp.pad(kernel_norms(gradient)[:-1], padding, constant_values=jnp.nan),
        "accuracy": trained.record["accuracy"],
        "loss": trained.record["loss"],
        "test_accuracy": accuracy(trained.model, *test),
        "diverged_at": trained.diverged_at.astype(dtype),
        "twin_gap": _twin_gap(train_key, draw(sigma_w=1.0), he, point["learning_rate"], static),
    }


def _train(
    key: jax.Array,
    model: Classifier,
    larger: jax.Array,
    learning_rate: jax.Array,
    hidden_rate: jax.Array | float,
    bias_rate: jax.Array | float,
    static: Static,
    updates: tuple[int, int] | None = None,
) -> Trained:
    """Train on inputs so many times larger, with factors on the rates of hidden kernels and of all biases."""
    steps, records = updates or (static["updates"], static["records"])

    def factor(path: Any, gradient: jax.Array) -> jax.Array:
        names = "/".join(map(str, path))
        rate = bias_rate if "bias" in names else 1.0 if "readout" in names else hidden_rate
        return (gradient * rate).astype(gradient.dtype)

    rule = optax.chain(
        optax.stateless(lambda g, _: jax.tree_util.tree_map_with_path(factor, g)),
        optimizer("heavy_ball", learning_rate, momentum=static["momentum"]),
    )

    def loss(model: Classifier, batch: tuple[jax.Array, jax.Array]) -> Any:
        return cross_entropy(model, (larger * batch[0], batch[1]))

    task, dtype = problem(static["data"]), jnp.dtype(static["dtype"])
    return train(key, model, loss, batches(task, static["batch_size"], dtype), rule, steps, records)


def _log_signal(model: Classifier, x: jax.Array, reference: jax.Array) -> jax.Array:
    """Mean over examples of log (|y^l| / |x|), by layer."""
    activities = model.activities(x)[1]
    return jnp.mean(log_norm(activities, -1) - log_norm(reference, -1), -1)


def _direction_gap(model: Classifier, he: Classifier, x: jax.Array) -> jax.Array:
    """Largest distance, over examples, of the unit vectors of two networks' top activities, if not zero."""
    tops = [m.activities(x)[1][-1] for m in (model, he)]
    units = [y / jnp.exp(log_norm(y, -1))[:, None] for y in tops]
    return jnp.nanmax(jnp.exp(log_norm(units[0] - units[1], -1)))


def _twin_gap(
    key: jax.Array, xavier: Classifier, he: Classifier, learning_rate: jax.Array, static: Static
) -> jax.Array:
    """Largest difference of the losses of the two equivalent networks over their first updates."""
    twins = jax.tree.map(lambda *leaves: jnp.stack(leaves), xavier, he)
    larger = jnp.array([2.0 ** (static["depth"] / 2), 1.0], static["dtype"])
    hidden_rate = jnp.array([1.0, 2.0], static["dtype"])
    updates = min(TWIN_UPDATES, static["updates"])
    losses = jax.vmap(
        lambda model, times, hidden: _train(
            key, model, times, learning_rate, hidden, 0.0, static, (updates, updates)
        ).record["loss"]
    )(twins, larger, hidden_rate)
    return jnp.max(jnp.abs(losses[0] - losses[1]))
