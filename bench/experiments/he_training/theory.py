"""The exact law of the signal's size at finite width, shifted by what a start loses."""

import numpy as np
import xarray as xr

from signalprop.analysis.finitewidth import log_gain
from signalprop.bench.experiments.he_training import STARTS, Settings
from signalprop.bench.experiments.he_training.measure import grid
from signalprop.bench.training.classification import problem


def theory(settings: Settings) -> xr.Dataset:
    """Mean and spread of the exact law of the signal's size, by layer and start."""
    deepest, features = max(settings.depth), problem(settings.data).features
    laws = [log_gain((features, *(settings.width,) * layer)) for layer in range(1, deepest + 1)]
    mean, spread = np.array([[law.mean, law.variance**0.5] for law in laws]).T / 2
    layers, starts = np.arange(1, deepest + 1), [STARTS[name] for name in settings.start]
    shifts = [
        [np.log(s.sigma_w**2 / 2) * layers + s.power * depth * np.log(2) for depth in settings.depth]
        for s in starts
    ]
    dims = ("start", "depth", "layer")
    return xr.Dataset(
        {
            "log_signal_predicted": (dims, mean + np.array(shifts) / 2),
            "log_signal_spread": (("layer",), spread),
        },
        coords={name: grid(settings).labels()[name] for name in dims},
    )
