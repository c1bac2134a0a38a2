"""Depth scales at the fixed point of the length, and the gradient's rate at finite width."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis import growth, meanfield
from signalprop.bench.experiments.trainability import Settings
from signalprop.models.activations import activation


def theory(settings: Settings) -> xr.Dataset:
    """Fixed point, depth scales and the 1/N term of the gradient's rate at every weight scale."""
    phi = activation(settings.activation)

    @jax.jit
    def predicted(sigma_w_squared: jax.Array) -> dict[str, jax.Array]:
        def one(squared: jax.Array) -> dict[str, jax.Array]:
            sigma_w = jnp.sqrt(squared)
            point = meanfield.fixed_point(phi, sigma_w, settings.sigma_b)
            layer = growth.layer_growth(phi, point.q_star, sigma_w)
            return {
                "xi_c": point.xi_c, "xi_grad": point.xi_grad, "c_star": point.c_star,
                "log_chi_1": layer.log_chi_1, "shift": layer.shift / settings.width,
            }  # fmt: skip

        found: dict[str, jax.Array] = jax.lax.map(one, sigma_w_squared)
        return found

    found = predicted(jnp.asarray(settings.sigma_w_squared))
    axis = ("sigma_w_squared",)
    return xr.Dataset(
        {name: (axis, np.asarray(values)) for name, values in found.items()},
        coords={"sigma_w_squared": list(settings.sigma_w_squared)},
    )
