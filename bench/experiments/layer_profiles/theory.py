"""What theory predicts for ``layer-profiles``, on the axes of its grid."""

import math

import jax
import numpy as np
import xarray as xr
from jax import Array

from signalprop.analysis import finitewidth
from signalprop.analysis.fluctuations import LayerMoments, layer_moments
from signalprop.bench.experiments.layer_profiles import Settings, profiles
from signalprop.bench.experiments.layer_profiles.measure import grid
from signalprop.models.activations import activation
from signalprop.models.initializers import scheme

EXACT = {"relu": finitewidth.log_gain, "linear": finitewidth.linear_log_gain}


def theory(settings: Settings) -> xr.Dataset:
    """Wide profiles, and totals at this width; nothing for the identity, which mixes no units."""
    width, depth = settings.width, max(settings.depth)
    free = settings.weight_std * math.sqrt(width)
    scales = np.array([scheme(name).effective_sigma_w(width, width, free) for name in settings.scheme])

    @jax.jit
    def moments(scales: Array) -> list[LayerMoments]:
        phis = [activation(name) for name in settings.activation]
        return [jax.vmap(lambda s, phi=phi: layer_moments(phi, s, 1.0, depth))(scales) for phi in phis]

    def predict(phi: str, name: str, moments: LayerMoments) -> xr.Dataset:
        orthogonal = "orthogonal" in name
        exact = EXACT.get(phi) if not orthogonal else None
        found = profiles.predict(moments, width, settings.depth, orthogonal, exact)
        return found * np.nan if name == "identity" else found

    rows = []
    for phi, of_phi in zip(settings.activation, jax.device_get(moments(scales)), strict=True):
        row = [predict(phi, n, LayerMoments(*(a[i] for a in of_phi))) for i, n in enumerate(settings.scheme)]
        rows.append(xr.concat(row, "scheme"))
    found, labels = xr.concat(rows, "activation"), grid(settings).labels()
    return found.assign_coords({k: labels[str(k)] for k in found.dims})
