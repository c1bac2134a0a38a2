"""Means and zeros of the first layer, and what an activation costs."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.bench.experiments.activation_race import Settings
from signalprop.bench.experiments.activation_race.measure import grid
from signalprop.bench.experiments.activation_race.racers import critical, racer
from signalprop.bench.measure.operations import operations
from signalprop.models.activations import derivative


def theory(settings: Settings) -> xr.Dataset:
    """Mean and deviation of an activity, share of zero slopes, and operations per element."""
    starts = [critical(name) for name in settings.racer]
    zeros = [0.5 if name == "relu" else 0.0 for name in settings.racer]
    flops, transcendentals = np.array([operations_per_element(name) for name in settings.racer]).T
    values = {
        "mean_activity_predicted": [s.mean for s in starts],
        "activity_deviation": [s.deviation for s in starts],
        "q": [s.q for s in starts],
        "zero_slopes_predicted": zeros,
        "flops": flops,
        "transcendentals": transcendentals,
    }
    labels = grid(settings).labels()
    return xr.Dataset(
        {name: (("racer",), value) for name, value in values.items()} | {"units": ((), settings.width)},
        coords={"racer": labels["racer"]},
    )


@cache
def operations_per_element(name: str) -> tuple[float, float]:
    """Arithmetic and transcendental operations per element of an activation and its slope, as XLA counts."""
    phi, count = racer(name), 1024
    arithmetic, transcendental = operations(
        lambda x: (phi(x), derivative(phi, x)), jax.ShapeDtypeStruct((count,), jnp.float32)
    )
    return arithmetic / count, transcendental / count
