"""What a layer costs the gradient, and how far the signal reaches."""

import jax
import numpy as np
import xarray as xr

from signalprop.analysis import growth, meanfield
from signalprop.bench.experiments.adam_epsilon import Settings
from signalprop.models.activations import activation


def theory(settings: Settings) -> xr.Dataset:
    """Decades that a gradient loses per layer, at the network's width, and 6 xi_c."""
    phi = activation("sigmoid")

    @jax.jit
    def rates() -> tuple[jax.Array, jax.Array]:
        point = meanfield.fixed_point(phi, 1.0, 0.0)
        layer = growth.layer_growth(phi, point.q_star, 1.0)
        return (layer.log_chi_1 - layer.shift / settings.width) / 2, point.xi_c

    rate, xi = rates()
    return xr.Dataset({"decades": float(-rate / np.log(10)), "information": 6 * float(xi)})
