"""Estimates over networks: means with their standard errors, and what a result says of its own run."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import ArrayLike


def standard_error(values: xr.DataArray, over: str = "seed") -> xr.DataArray:
    """Standard error of the mean over networks: s / sqrt(n), with n - 1 in the variance s^2.

    Lost networks (NaN) do not count. NaN where fewer than two are left, or one is infinite.
    """
    with warnings.catch_warnings():  # an infinite network, or a single one, has no spread: NaN says it
        warnings.simplefilter("ignore", RuntimeWarning)
        spread = values.std(over, ddof=1)
    count = values.notnull().sum(over)
    error: xr.DataArray = spread / (count**0.5).astype(spread.dtype)
    return error


def mean_and_error(values: ArrayLike) -> tuple[float, float]:
    """Mean of independent numbers and its standard error; the error of a single one is NaN."""
    numbers = np.asarray(values, np.float64)
    error = numbers.std(ddof=1) / numbers.size**0.5 if numbers.size > 1 else np.nan
    return float(numbers.mean()), float(error)


def share_and_error(successes: int, total: int) -> tuple[float, float]:
    """Share of networks that succeed, and its binomial standard error."""
    share = successes / total
    return share, float((share * (1 - share) / total) ** 0.5)


def exp(values: xr.DataArray) -> xr.DataArray:
    """Exponential, typed: NumPy's own promises an array."""
    import xarray as xr

    result: xr.DataArray = xr.apply_ufunc(np.exp, values)
    return result


def outside_range(wide: xr.DataArray, predicted: xr.DataArray) -> str:
    """What a statement adds where the theory of wide networks is known and that of their width withheld."""
    known, outside = int(wide.count()), int((wide.notnull() & predicted.isnull()).sum())
    return f" ({outside} of {known} settings are outside the range of the theory in 1/N)" if outside else ""


def run_width(result: xr.Dataset) -> int:
    """Units of every layer, as the settings have it."""
    return int(json.loads(result.attrs["settings"])["width"])


def run_settings(result: xr.Dataset) -> dict[str, Any]:
    """The settings of the run, by name."""
    settings: dict[str, Any] = json.loads(result.attrs["settings"])
    return settings
