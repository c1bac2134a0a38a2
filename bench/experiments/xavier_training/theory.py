"""Activations and gradients of untrained networks, layer by layer, by the recursion with its 1/N terms."""

from typing import Any

import numpy as np
import xarray as xr

from signalprop.analysis.fluctuations import fluctuations, layer_moments
from signalprop.bench.experiments.xavier_training import NETWORKS, Network, Settings
from signalprop.bench.experiments.xavier_training.measure import features_of, grid
from signalprop.models.activations import activation
from signalprop.models.initializers import scheme


def theory(settings: Settings) -> xr.Dataset:
    """Deviations and gradients of untrained networks by layer, with the spread of the former."""
    rows = [
        _law(NETWORKS[name], features_of(data)[0], settings)
        for data in settings.data
        for name in settings.network
    ]
    shape = (len(settings.data), len(settings.network), 3, settings.depth)
    found = np.moveaxis(np.array(rows).reshape(shape), 2, 0)
    names = ("deviation_predicted", "deviation_spread", "log_delta_predicted")
    dims = ("data", "network", "layer")
    labels = grid(settings).labels()
    return xr.Dataset(
        {name: (dims, value) for name, value in zip(names, found, strict=True)},
        coords={name: labels[name] for name in dims},
    )


def _law(network: Network, features: int, settings: Settings) -> list[np.ndarray]:
    """Deviation of the activations, spread of its log over networks, and gradient, by layer.

    The spread has two parts: the length that the layer receives, and the draw of its own units, at most that
    of Gaussian ones.
    """
    drawn, width = scheme(network.scheme), settings.width
    first, inner = (drawn.effective_sigma_w(n, width) for n in (features, width))
    moments = layer_moments(activation(network.phi), inner, (first / inner) ** 2, settings.depth)
    spread, variance = [], 0.0
    for i in range(settings.depth):
        received = float(moments.log_std_slope[i]) ** 2 * variance
        spread.append((received + 1 / (2 * width)) ** 0.5)
        variance = float(moments.slope[i, 0]) ** 2 * variance + float(moments.noise[i, 0, 0]) / width
    return [np.exp(fluctuations(moments, width).log_std), np.array(spread), _profile(moments.log_chi_1)]


def _profile(log_chi: Any) -> np.ndarray:
    """Log |delta^l| / |delta^L| of a wide network, from the factors of its layers."""
    steps = np.asarray(log_chi)[:-1] / 2
    return np.append(np.cumsum(steps[::-1])[::-1], 0.0)
