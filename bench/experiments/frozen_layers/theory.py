"""Which kernels and biases ever move, by the chain rule; and the accuracy of guessing."""

import numpy as np
import xarray as xr

from signalprop.bench.experiments.frozen_layers import Settings
from signalprop.bench.experiments.frozen_layers.measure import grid
from signalprop.bench.training.classification import problem


def theory(settings: Settings) -> xr.Dataset:
    """Whether the kernel and the bias of a layer ever move, the accuracy of guessing, and whole units."""
    labels = grid(settings).labels()
    at, layer = np.arange(1, settings.depth + 1)[:, None], np.arange(1, settings.depth + 2)
    dims = ("replaced", "at", "layer")
    counts = np.bincount(problem(settings.data).label_test)
    return xr.Dataset(
        {
            "moves_predicted": (dims, np.stack([layer > at, layer > at + 1]).astype(float)),
            "bias_moves_predicted": (dims, np.stack([layer > at, layer > at]).astype(float)),
            "guessing": ((), counts.max() / counts.sum()),
            "silent_units": ("share", [round(share * settings.width) for share in settings.share]),
            "units": ((), settings.width),
        },
        coords={k: labels[k] for k in (*dims, "share")},
    )
