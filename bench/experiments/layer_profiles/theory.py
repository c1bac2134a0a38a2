"""Infinitely wide profiles of signal and gradient, and the law of the totals at the networks' width."""

import math
from collections.abc import Callable, Sequence

import jax
import numpy as np
import xarray as xr
from jax import Array

from signalprop.analysis import finitewidth
from signalprop.analysis.fluctuations import LayerMoments, fluctuations, layer_moments
from signalprop.bench.experiments.layer_profiles import Settings
from signalprop.bench.experiments.layer_profiles.measure import grid
from signalprop.models.activations import activation
from signalprop.models.initializers import scheme

TO_DECADES = 1 / (2 * math.log(10))  # natural log of a square -> log10 of a norm
NOT_DENSE = {"identity", "scaled_identity", "smart_tanh"}  # mix no units, or 15 each
LARGEST_INDIRECT = 0.5  # nat: beyond it the expansion in 1/N says nothing
EXACT = {"relu": finitewidth.log_gain, "linear": finitewidth.log_gain_linear}


def theory(settings: Settings) -> xr.Dataset:
    """Wide profiles, and totals at this width; nothing where weights are not dense and random."""
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
        found = profile_and_totals(moments, width, settings.depth, orthogonal, exact)
        return found * np.nan if name in NOT_DENSE else found

    rows = []
    for phi, of_phi in zip(settings.activation, jax.device_get(moments(scales)), strict=True):
        row = [predict(phi, n, LayerMoments(*(a[i] for a in of_phi))) for i, n in enumerate(settings.scheme)]
        rows.append(xr.concat(row, "scheme"))
    found, labels = xr.concat(rows, "activation"), grid(settings).labels()
    return found.assign_coords({k: labels[str(k)] for k in found.dims})


def profile_and_totals(
    moments: LayerMoments,
    width: int,
    depths: Sequence[int],
    orthogonal: bool,
    exact: Callable[[tuple[int, ...]], finitewidth.LogGain] | None = None,
) -> xr.Dataset:
    """Profiles of one activation and one scheme, with the law of the totals at width N.

    Args:
        moments: Of the deepest network.
        width: Units N of every layer.
        depths: Layers of each network.
        orthogonal: Whether weights are orthogonal.
        exact: Law of log |delta^1|^2 / |delta^L|^2 in place of its expansion in 1/N.

    Returns:
        ``log_q_predicted``, ``log_std_predicted``: (layer,), with their 1/N shift.
        ``decades_predicted``: (depth, layer), infinitely wide; NaN above the last layer.
        ``total_decades_predicted``, ``total_decades_spread``: (depth,), mean and standard deviation over
        networks; the mean is NaN where the expansion breaks down.
        ``total_decades_next_order``: (depth,), how far the next order may move the mean.
    """
    last = np.array(depths) - 1
    with np.errstate(over="ignore", invalid="ignore"):
        law = fluctuations(moments, width, orthogonal)
        wide = _wide_decades(np.asarray(moments.log_chi_1), last)
    columns = law.log_gradient_shift, law.indirect, law.log_gradient_variance
    shift, indirect, variance = (values[last] for values in columns)
    lost = abs(indirect) > LARGEST_INDIRECT  # infinite where weights are 0
    shift, indirect = (np.where(lost, np.nan, values) for values in (shift, indirect))
    next_order = abs(indirect) / 2 + abs(shift - indirect) / 20
    if exact is not None:
        shift, variance = np.array([exact((width,) * depth) for depth in depths]).T
        next_order = np.zeros(len(depths))
    shift = np.where(lost, np.nan, shift)
    totals = {
        "total_decades_predicted": wide[:, 0] + TO_DECADES * shift,
        "total_decades_spread": TO_DECADES * np.sqrt(np.maximum(variance, 0)),
        "total_decades_next_order": TO_DECADES * next_order,
    }
    log_q = law.log_q - (not orthogonal) / width  # mean log of chi^2_N / N
    layers = {"log_q_predicted": log_q, "log_std_predicted": law.log_std}
    variables = {k: ("depth", v) for k, v in totals.items()} | {k: ("layer", v) for k, v in layers.items()}
    return xr.Dataset({**variables, "decades_predicted": (("depth", "layer"), wide)})


def _wide_decades(log_chi: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Infinitely wide profile below each last layer, (depth, layer); NaN above it."""
    below = np.append(0, np.cumsum(log_chi[:-1]))  # log of the gain of the layers below
    ratio = TO_DECADES * (below[last][:, None] - below)
    ratio = np.where(np.isnan(ratio), -np.inf, ratio)  # blocked on both sides
    layer, last = np.arange(len(below)), last[:, None]
    return np.select([layer < last, layer == last], [ratio, 0.0], np.nan)
