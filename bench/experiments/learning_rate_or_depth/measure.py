"""Curvature and edges of one network, drawn and settled, and one run at a learning rate and batch size."""

from functools import partial

import jax
import jax.numpy as jnp

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.learning_rate_or_depth import Settings, descent
from signalprop.bench.training.classification import problem
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier

WHEN = ("drawn", "settled")
MULTIPLES = (0.25, 0.4, 0.6, 1.4, 1.5, 1.75, 1.9, 1.98, 2.02, 2.1, 2.25, 2.5, 3.0)  # of 1 / lambda
QUADRATIC_STEPS = 8


def grid(settings: Settings) -> Grid:
    """One compilation; a network's curvature and edges are shared by all learning rates and batches."""
    if settings.examples > (most := len(problem(settings.data).x)):
        raise InputError(f"examples: got {settings.examples}; write at most {most}")
    constants = ("data", "examples", "depth", "width", "steps", "within", "settling", "dtype")
    return Grid(
        static={},
        traced={
            "sigma_w2": settings.sigma_w2,
            "learning_rate": settings.learning_rate,
            "batch_size": settings.batch_size,
        },
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={"when": WHEN, "multiple": MULTIPLES},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Curvature and edges of one network, drawn and settled, and one run of the map."""
    draw_key, train_key, rate_key = jax.random.split(key, 3)
    dtype, data = static["dtype"], problem(static["data"])
    every = descent.examples(data, static["examples"], dtype)
    model = draw_classifier(
        draw_key, data.features, static["width"], static["depth"], data.classes, activation("tanh"),
        sigma_w=jnp.sqrt(point["sigma_w2"]).astype(dtype), dtype=dtype,
    )  # fmt: skip
    settled = descent.settle(model, every, static["settling"])
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, settled)
    found = jax.vmap(lambda m: descent.sharpness(rate_key, m, every))(both)
    edge = partial(descent.edge, train_key, every=every, within=static["within"])
    run = descent.descend(
        train_key, model, every, point["batch_size"], point["learning_rate"], static["steps"]
    )
    return {
        "decades": jax.vmap(partial(descent.delta_decades, every=every))(both),
        "sharpness": found.largest,
        "sharpness_error": found.error,
        "edge": jax.vmap(lambda m, largest: edge(m, largest=largest))(both, found.largest),
        "log_gradient_norm": run.log_gradient_norm,
        "log_final": jnp.max(run.log_loss[-10:]),
        "log_highest": jnp.max(run.log_loss),
        "rises_at": run.rises_at.astype(dtype),
        "diverged_at": run.diverged_at.astype(dtype),
        "rate": descent.quadratic_rates(rate_key, every[0], jnp.asarray(MULTIPLES, dtype), QUADRATIC_STEPS),
    }
