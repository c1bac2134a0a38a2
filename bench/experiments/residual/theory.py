"""Profiles of signal and gradient of every kind of block, and the gradient of the last weights."""

import jax
import numpy as np
import xarray as xr

from signalprop.bench.experiments.residual import Settings
from signalprop.bench.experiments.residual.architectures import ARCHITECTURES
from signalprop.bench.experiments.residual.measure import grid

EXACT = ("plain", "residual", "1/sqrt(L)", "1/L", "ReZero", "Fixup")  # means known at every width


def theory(settings: Settings) -> xr.Dataset:
    """Profiles of every architecture and depth, and the gradient of the last weights of pre- and post-LN."""
    names, blocks = settings.architecture, max(settings.depth)
    found = np.full((2, len(settings.depth), len(names), blocks + 1), np.nan)
    last = np.full((len(settings.depth), len(names)), np.nan)
    shape = settings.width, settings.batch_size
    profiles = jax.jit(
        lambda: [[ARCHITECTURES[k].predicted(d, *shape) for k in names] for d in settings.depth]
    )()
    for i, depth in enumerate(settings.depth):
        for j, (name, profile) in enumerate(zip(names, profiles[i], strict=True)):
            found[:, i, j, : depth + 1] = profile
            if name in ("pre-LN", "post-LN"):  # |g|^2 of the sum times |relu|^2 = N / 2
                size = profile.log_mean_square[-1] if name == "pre-LN" else np.log(1.5)
                last[i, j] = np.log(settings.width / 2) - size
    dims = ("depth", "architecture", "block")
    return xr.Dataset(
        {
            "log_mean_square_predicted": (dims, found[0]),
            "log_gradient_squared_predicted": (dims, found[1]),
            "log_last_gradient_squared_predicted": (dims[:2], last),
            "slack": (
                dims[:2],
                np.outer(settings.depth, [name not in EXACT for name in names]) / settings.width,
            ),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k != "seed"},
    )
