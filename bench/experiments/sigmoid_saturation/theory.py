"""Gaussian means of slopes and gradients, and where a slope is exactly 0 in a number format."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy import special

from signalprop.analysis import meanfield
from signalprop.analysis.gaussian import expectation
from signalprop.bench.experiments.sigmoid_saturation import Settings
from signalprop.bench.experiments.sigmoid_saturation.measure import SATURATED, SIGMOID, grid
from signalprop.bench.measure.names import FORMATS


def theory(settings: Settings) -> xr.Dataset:
    """Gaussian means at every scale; none depends on the width."""
    s = np.array(settings.sigma_w, float)
    slope, squared = map(np.asarray, jax.jit(jax.vmap(_slope_moments))(s**2))
    edges = [zero_edges(f) for f in FORMATS]
    zero = np.stack([tail(above, s) + tail(below, s) for above, below in edges], axis=1)
    return xr.Dataset(
        {
            "std_predicted": ("sigma_w", s),
            "saturated_predicted": ("sigma_w", 2 * tail(SATURATED, s)),
            "slope_predicted": ("sigma_w", slope),
            "squared_slope_predicted": ("sigma_w", squared),
            "weight_gradient_squared_predicted": ("sigma_w", squared),
            "input_gradient_squared_predicted": ("sigma_w", s**2 * squared),
            "exact_zero_predicted": (("sigma_w", "format"), zero),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k not in ("seed", "width")},
    )


def _slope_moments(q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """E S' and E S'^2 over pre-activations of variance q."""
    return expectation(SIGMOID.derivative, q), meanfield.derivative_moment(SIGMOID, q)


def zero_edges(name: str) -> tuple[float, float]:
    """Inputs of the sigmoid above and below which its slope is exactly 0 in a format (the second as -h)."""
    info = jnp.finfo(name)
    return (info.nmant + 1) * math.log(2), math.log(float(info.max))


def tail(edge: Any, s: Any) -> Any:
    """P(h > edge) of a Gaussian of standard deviation s."""
    return special.erfc(edge / (s * np.sqrt(2))) / 2
