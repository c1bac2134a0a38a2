"""Ends of slopes, steps and products by the bits of a format, and of gradients by mean field."""

import jax
import numpy as np
import xarray as xr
from scipy import stats

from signalprop.analysis import precision
from signalprop.analysis.fluctuations import fluctuations, layer_moments
from signalprop.bench.experiments.precision import Settings
from signalprop.bench.experiments.precision.measure import LN10, NETWORKS, STEP, both, grid, phi_of
from signalprop.bench.measure import rounding
from signalprop.bench.measure.names import FORMATS

TRANSIENT, SETTLED = 40, 20  # layers until lengths and corrections have settled, and to average over


def theory(settings: Settings) -> xr.Dataset:
    """What the bits of the formats, and the mean field of the networks, predict on this device."""
    flushes = {f: precision.measured_flush_to_zero(f) for f in FORMATS}
    numbers = rounding.predictions(settings.activation, flushes)
    networks = network_predictions(settings.width, settings.depth, flushes)
    coords = {k: v for k, v in grid(settings).labels().items() if k != "seed"}
    return xr.merge([numbers, networks]).assign_coords(coords)


def network_predictions(width: int, depth: int, flushes: dict[str, bool]) -> xr.Dataset:
    """Mean log gradient by layer, and the layers at which its entries and its plain norm are lost.

    A gradient changes by sqrt(chi_1) per layer (arXiv 1611.01232), corrected to first order in 1/N. All
    entries are lost with the largest of N Gaussian ones; whole layers come half a layer later on average.

    Args:
        width: Units of every layer.
        depth: Number of layers.
        flushes: Whether the device flushes subnormal numbers, by format.

    Returns:
        ``true_predicted`` (network, layer) in decades, ``kept_lost_predicted`` and ``plain_lost_predicted``
        (network, format), and ``oversized_predicted`` (network): where a step outgrows the weights, NaN if
        never.
    """
    largest = float(stats.norm.isf((1 - 0.5 ** (1 / width)) / 2))  # median of the largest of N
    moments = jax.jit(jax.vmap(lambda s, first: layer_moments(phi_of(first), s, 1.0, TRANSIENT + SETTLED)))
    of_both = moments(*both(float))
    true, kept, plain, oversized = [], [], [], []
    for row, sigma_w in enumerate(NETWORKS.values()):
        layers = jax.tree.map(lambda a, row=row: np.asarray(a[row]), of_both)
        shift = fluctuations(layers, width).log_gradient_shift
        log_chi = layers.log_chi_1[-1] + (shift[-1] - shift[-1 - SETTLED]) / SETTLED
        # root mean square of phi'(z) times a unit Gaussian
        entry = np.exp(layers.log_chi_1[-1] / 2) / sigma_w
        norm, peak = entry * np.sqrt(width), entry * largest
        true.append((np.log(norm) + np.arange(depth) * log_chi / 2) / LN10)
        kept.append([_lost(log_chi, f, flush, peak) for f, flush in flushes.items()])
        squares = peak if log_chi < 0 else norm
        plain.append([_lost(log_chi, f, flush, squares, 2) for f, flush in flushes.items()])
        step = STEP * norm * np.exp(layers.log_q[-1] / 2) / sigma_w**2
        oversized.append(0.5 - 2 * np.log(step) / log_chi if log_chi > 0 else np.nan)
    return xr.Dataset(
        {
            "true_predicted": (("network", "layer"), true),
            "kept_lost_predicted": (("network", "format"), kept),
            "plain_lost_predicted": (("network", "format"), plain),
            "oversized_predicted": ("network", oversized),
        }
    )


def _lost(log_chi: float, dtype: str, flush: bool, size: float, power: int = 1) -> float:
    chi = np.exp(log_chi)
    if log_chi < 0:
        return float(precision.network_death_depth(chi, dtype, flush, size, power)) + 0.5
    return float(precision.network_overflow_depth(chi, dtype, size, power)) + 0.5
