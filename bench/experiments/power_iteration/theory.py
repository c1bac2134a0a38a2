"""Exact powers, limits and laws of Gaussian products, and growth and cosine of relu networks."""

import numpy as np
import xarray as xr
from jaxtyping import ArrayLike, Float

from signalprop.analysis.finitewidth import log_gain
from signalprop.analysis.ginibre import real_spectral_radius
from signalprop.analysis.randommatrix import fuss_catalan_edge, largest_square_of_product, product_vector_law
from signalprop.analysis.recurrent import relu_cosines
from signalprop.bench.experiments.power_iteration import Settings
from signalprop.bench.experiments.power_iteration.matrices import KINDS, SECOND
from signalprop.bench.experiments.power_iteration.measure import grid


def theory(settings: Settings) -> xr.Dataset:
    """Powers that are known exactly, limits and laws of Gaussian products, the relu growth and its cosine."""
    n, steps, k = settings.size, np.array(settings.steps), np.arange(1, settings.steps[-1] + 1)
    exact = [KINDS[name].log_norms for name in settings.matrix]
    norms = [np.full(len(k), np.nan) if f is None else f(n, settings.radius, k) for f in exact]
    laws = [product_vector_law(w, steps, 1 / np.sqrt(w)) for w in settings.width]
    radii = [real_spectral_radius(w) for w in settings.width]
    gains = [log_gain((w, w)) for w in settings.width]  # of one step; steps are independent
    edges = [[_log_edge(w, int(t)) for t in steps] for w in settings.width]
    tied = np.asarray(relu_cosines(1 / np.pi, settings.steps[-1]))[steps - 1]
    untied = np.full_like(tied, 1 / np.pi)
    width = ("width", "step")
    return xr.Dataset(
        {
            "radius": ((), settings.radius),
            "size": ((), n),
            "log_norm_predicted": (("matrix", "k"), np.array(norms)),
            "log_blind_predicted": (("format", "k"), np.tile(k * np.log(settings.radius * SECOND), (2, 1))),
            "log_power_edge": (("step",), np.log(np.asarray(fuss_catalan_edge(steps))) / 2),
            "log_power_predicted": (width, edges),
            "log_power_vector_predicted": (width, [np.asarray(law.log_norm_mean) for law in laws]),
            "log_power_vector_sd_predicted": (width, np.sqrt([law.log_norm_variance for law in laws])),
            "log_radius_predicted": (("width",), [mean_log(law.radii, law.cdf) for law in radii]),
            "log_norm_gain_predicted": (width, [law.mean / 2 * steps for law in gains]),
            "log_norm_gain_sd_predicted": (width, [np.sqrt(law.variance * steps) / 2 for law in gains]),
            "cosine_predicted": (("weights", "step"), np.stack([tied, untied])),
        },
        coords={name: v for name, v in grid(settings).labels().items() if name != "seed"},
    )


def _log_edge(width: int, steps: int) -> float:
    """Mean log norm of a product of few Gaussian matrices, to second order; NaN for more than N/8 factors."""
    if 8 * steps > width:
        return float("nan")
    law = largest_square_of_product(width, steps)
    mean, variance = float(law.mean), float(law.variance)
    return float(np.log(mean) - variance / mean**2 / 2) / 2


def mean_log(values: Float[ArrayLike, " r"], cdf: Float[ArrayLike, " r"]) -> float:
    """Mean of log X for a positive X of which the cumulative probability is given at increasing values."""
    x, steps = np.asarray(values)[1:], np.diff(np.asarray(cdf)[1:])
    return float(np.sum(np.log((x[1:] + x[:-1]) / 2) * steps))
