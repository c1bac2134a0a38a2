"""Exact laws of a product of Gaussian matrices: sizes, exponents, critical scales and depths of loss."""

import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis.randommatrix import finite_depth_correction, newman_exponents, product_vector_law
from signalprop.bench.experiments.matrix_product import Settings
from signalprop.bench.experiments.matrix_product.measure import FORMATS, LN10, grid, num_exponents


def theory(settings: Settings) -> xr.Dataset:
    """Predictions for every width and scale: the column and an entry by depth, exponents by index."""
    log_scale, depth = np.log(settings.sigma_w), np.array(settings.depth)
    laws = [product_vector_law(n, depth, 1 / np.sqrt(n)) for n in settings.width]
    norm, norm_variance, entry, entry_variance = (np.array(part) for part in zip(*laws, strict=True))
    largest = np.asarray(newman_exponents(max(settings.width)))
    # At entries of variance 1 the exponents of a narrower product are the last ones of a wider.
    spectra = [largest[-n:] - np.log(n) / 2 for n in settings.width]
    exponents = np.full((len(spectra), num_exponents(settings)), np.nan)
    for row, limit in zip(exponents, spectra, strict=True):
        if limit.size <= settings.spectrum_width:
            row[: limit.size] = limit + finite_depth_correction(limit.size) / depth[-1]
    rate = (np.array([[limit[0]] for limit in spectra]) + log_scale)[..., None]
    low, high = np.log([[float(f.smallest_normal), float(f.max)] for f in map(jnp.finfo, FORMATS)]).T
    shift = log_scale[:, None] * depth
    by_depth, by_index = ("width", "sigma_w", "depth"), ("width", "sigma_w", "index")
    return xr.Dataset(
        {
            "decades_predicted": (by_depth, (norm[:, None] + shift) / LN10),
            "decades_sd_predicted": (("width", "depth"), np.sqrt(norm_variance) / LN10),
            "entry_decades_predicted": (by_depth, (entry[:, None] + shift) / LN10),
            "entry_decades_sd_predicted": (("width", "depth"), np.sqrt(entry_variance) / LN10),
            "lost_at_predicted": (("width", "sigma_w", "format"), np.where(rate > 0, high, low) / rate),
            "exponents_predicted": (by_index, exponents[:, None] + log_scale[:, None]),
            "typical_critical_sigma_w": (("width",), [np.exp(-limit[0]) for limit in spectra]),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k not in ("seed", "draw")},
    )
