"""The sweep of ``precision``, and the measurement of one network."""

import jax.numpy as jnp
from jax import Array

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.precision import Settings, underflow
from signalprop.bench.experiments.precision.underflow import NETWORKS
from signalprop.bench.measure import rounding
from signalprop.bench.measure.rounding import FACTORS, FORMATS, RATES, SLOPE_AT, VARIANTS, WEIGHTS
from signalprop.models.activations import activation

RIGHT, LEFT, BOTH = ("right",), ("left",), ("right", "left")


def grid(settings: Settings) -> Grid:
    """One program; all but the networks is the same for every seed."""
    names = ("activation", "width", "depth", "dtype")
    return Grid(
        static={},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in names},
        coords={
            "format": FORMATS,
            "activation": settings.activation,
            "side": BOTH,
            "factor": FACTORS,
            "weight": WEIGHTS,
            "rate": RATES,
            "z": SLOPE_AT,
            "network": tuple(NETWORKS),
            "layer": range(settings.depth),
        },
    )


def measure(key: Array, point: dict[str, Array], static: Static) -> dict[str, Array]:
    """The atlas of every format, and the gradients of one network of each kind."""
    functions = [VARIANTS.get(name) or activation(name).function for name in static["activation"]]
    rows = [{**rounding.slopes(functions, f), **rounding.steps(f), **rounding.products(f)} for f in FORMATS]
    atlas = {name: jnp.stack([jnp.asarray(row[name], float) for row in rows]) for name in rows[0]}
    return {**atlas, **underflow.gradients(key, static["width"], static["depth"], static["dtype"])}
