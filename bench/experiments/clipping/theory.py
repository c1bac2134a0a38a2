"""The error surface of the cliff."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.bench.experiments.clipping import Settings
from signalprop.bench.experiments.clipping.scenes import cliff_error

CORNERS = (2.0, 8.0), (-4.0, 0.0)  # of the error surface, in w and b


def theory(settings: Settings) -> xr.Dataset:
    """The error surface of the cliff, and constants that verdicts need."""
    w, b = (jnp.linspace(*ends, settings.surface) for ends in CORNERS)
    across = jax.jit(
        jax.vmap(jax.vmap(lambda w, b: cliff_error(w, b, settings.cliff_steps), (0, None)), (None, 0))
    )
    return xr.Dataset(
        {
            "surface": (("b", "w"), np.asarray(across(w, b))),
            "batch_size": ((), settings.batch_size),
            "depth": ((), settings.depth),
        },
        coords={"w": np.asarray(w), "b": np.asarray(b)},
    )
