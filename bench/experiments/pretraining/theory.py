"""Alignment of random layers, and the loss of the best constant answer."""

import numpy as np
import xarray as xr

from signalprop.bench.experiments.pretraining import PRETRAINED, Settings
from signalprop.bench.training.classification import base_rate_loss, problem


def theory(settings: Settings) -> xr.Dataset:
    """Alignment of orthogonal and of wide Gaussian layers, and the loss of the best constant answer."""
    exact = {"orthogonal": 1.0, "orthogonal_critical": 1.0, "critical": 0.5, "normal_001": 0.5}
    aligned = [exact.get(name, np.nan) for name in settings.start]
    updates = [settings.pretraining * (name in PRETRAINED) for name in settings.start]
    losses = [base_rate_loss(problem(name)) for name in settings.data]
    return xr.Dataset(
        {
            "alignment_predicted": ("start", aligned),
            "alignment_tolerance": ("start", [2 / settings.width if a == 0.5 else 1e-5 for a in aligned]),
            "updates_before": ("start", updates),
            "curve_predicted": ("data", losses),
        },
        coords={"start": list(settings.start), "data": list(settings.data)},
    )
