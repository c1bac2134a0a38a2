"""The sweep of ``power-iteration``, and the measurement of one network."""

import jax
import jax.numpy as jnp

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.power_iteration import Settings
from signalprop.bench.experiments.power_iteration.matrices import FORMATS, follow
from signalprop.bench.experiments.power_iteration.recurrences import WEIGHTS, recurrences


def grid(settings: Settings) -> Grid:
    """One compilation per width; the matrices of fixed size are followed beside the first."""
    return Grid(
        static={"width": settings.width},
        traced={},
        seeds=settings.seeds,
        constants={
            "matrix": settings.matrix,
            "size": settings.size,
            "radius": settings.radius,
            "steps": settings.steps,
            "with_matrices": settings.width[0],
            "dtype": settings.dtype,
        },
        coords={
            "matrix": settings.matrix,
            "k": range(1, settings.steps[-1] + 1),
            "step": settings.steps,
            "weights": WEIGHTS,
            "format": FORMATS,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow the matrices of fixed size, and tied and untied Gaussian recurrences of one width."""
    width, steps, dtype = static["width"], static["steps"], static["dtype"]

    def matrices() -> dict[str, jax.Array]:
        return follow(key, static["matrix"], static["size"], static["radius"], steps[-1], dtype)

    if width == static["with_matrices"]:
        found = matrices()
    else:
        found = {name: jnp.full(v.shape, jnp.nan, dtype) for name, v in jax.eval_shape(matrices).items()}
    return {**found, **recurrences(key, width, steps, dtype)}
