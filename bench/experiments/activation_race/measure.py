"""Train one network at its critical start, and look at its first layer before."""

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis.activity import inactive
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.activation_race import RACERS, Settings
from signalprop.bench.experiments.activation_race.racers import critical, racing
from signalprop.bench.measure.data import unit_length
from signalprop.bench.training.classification import accuracy, batches, cross_entropy, problem
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import train
from signalprop.models.activations import derivative
from signalprop.models.classifier import draw_classifier

PROBE = 100  # test examples on which the first layer is looked at


def grid(settings: Settings) -> Grid:
    """One compilation per depth; the coordinate ``racer`` holds places in ``RACERS``."""
    constants = ("momentum", "data", "width", "batch_size", "updates", "records", "dtype")
    racers, starts = zip(*((RACERS[name], critical(name)) for name in settings.racer), strict=True)
    scales = ("sigma_w", "sigma_b", "input_scale")
    stride = settings.updates // settings.records
    return Grid(
        static={"depth": settings.depth},
        traced={
            "racer": {
                "racer": [list(RACERS).index(name) for name in settings.racer],
                "family": [r.family for r in racers],
                "slope": [r.slope for r in racers],
                **{scale: [getattr(s, scale) for s in starts] for scale in scales},
            },
            "learning_rate": settings.learning_rate,
        },
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={"update": [stride * (i + 1) for i in range(settings.records)]},
    )  # fmt: skip


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Look at one network and train it."""
    draw_key, train_key = jax.random.split(key)
    task, dtype = problem(static["data"]), jnp.dtype(static["dtype"])
    phi = racing(point["family"].astype(int), point["slope"])
    model = draw_classifier(
        draw_key, task.features, static["width"], static["depth"], task.classes, phi,
        sigma_w=point["sigma_w"], sigma_b=point["sigma_b"], dtype=dtype,
    )  # fmt: skip
    z = model.trace(_inputs(task.x_test[:PROBE], point, dtype))[1]

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, label = batches(task, static["batch_size"], dtype)(key)
        return _inputs(x, point, dtype), label

    rule = optimizer("heavy_ball", point["learning_rate"], momentum=static["momentum"])
    trained = train(train_key, model, cross_entropy, draw, rule, static["updates"], static["records"])
    return {
        "mean_activity": jnp.mean(phi(z[0])),
        "zero_slopes": inactive(derivative(phi, z[0])).astype(dtype),
        "accuracy": trained.record["accuracy"],
        "test_accuracy": accuracy(
            trained.model, _inputs(task.x_test, point, dtype), jnp.asarray(task.label_test)
        ),
        "diverged_at": trained.diverged_at.astype(dtype),
    }


def _inputs(x: jax.Array | np.ndarray, point: dict[str, jax.Array], dtype: jnp.dtype) -> jax.Array:
    """Every input at the length that starts layer 1 at criticality."""
    return (point["input_scale"] * unit_length(jnp.asarray(x, dtype))).astype(dtype)
