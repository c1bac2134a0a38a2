"""Exact laws of Gaussian spectra at finite size, and the scale and kurtosis of every scheme."""

import numpy as np
import xarray as xr

from signalprop.analysis import ginibre, randommatrix
from signalprop.bench.experiments.initialization_eigenvalues import Settings
from signalprop.bench.experiments.initialization_eigenvalues.measure import grid
from signalprop.bench.measure.kernels import KURTOSIS, scheme


def theory(settings: Settings) -> xr.Dataset:
    """Scales, exact spectral radii and numbers of real eigenvalues, and extreme singular values."""
    n, sizes = settings.width, settings.size
    largest = randommatrix.largest_squared_singular_value(n, n)
    product = randommatrix.largest_square_of_product(n, settings.draws)
    return xr.Dataset(
        {
            "sigma_w": (("scheme",), [scheme(name).effective_sigma_w(n, n) for name in settings.scheme]),
            "kurtosis": (("scheme",), [KURTOSIS.get(name, np.nan) for name in settings.scheme]),
            "radius_predicted": ((), ginibre.mean_spectral_radius(n)),
            "num_real_predicted": ((), ginibre.expected_real_eigenvalues(n)),
            "largest_predicted": ((), float(largest.mean)),
            "product_largest_predicted": ((), float(product.mean)),
            "size_radius_predicted": (("size",), [ginibre.mean_spectral_radius(k) for k in sizes]),
            "size_real_predicted": (("size",), [ginibre.expected_real_eigenvalues(k) for k in sizes]),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k not in ("seed", "draw", "size_draw")},
    )
