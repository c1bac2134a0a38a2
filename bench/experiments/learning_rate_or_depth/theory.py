"""Mean field's gradient between the ends of a network, and the exact growth on a quadratic."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis import meanfield
from signalprop.bench.experiments.learning_rate_or_depth import Settings
from signalprop.bench.experiments.learning_rate_or_depth.measure import MULTIPLES
from signalprop.models.activations import activation


def theory(settings: Settings) -> xr.Dataset:
    """Mean field's gradient between the ends of an infinitely wide network, and the rates of a quadratic."""

    def log_gradient(sigma_w: jax.Array) -> jax.Array:
        return meanfield.log_gradient_profile(activation("tanh"), sigma_w, 0.0, 1.0, settings.depth)[0]

    profile = jax.jit(jax.vmap(log_gradient))(jnp.sqrt(jnp.asarray(settings.sigma_w2, jnp.float64)))
    rates = np.log(np.abs(1 - np.array(MULTIPLES)))
    return xr.Dataset(
        {
            "decades_predicted": ("sigma_w2", np.asarray(profile) / (2 * np.log(10))),
            "rate_predicted": ("multiple", rates),
        },
        coords={"sigma_w2": list(settings.sigma_w2), "multiple": list(MULTIPLES)},
    )
