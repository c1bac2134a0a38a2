"""What a result tells about rates: standard errors, where growth is zero, how fast deviations decay."""

import json

import numpy as np
import xarray as xr


def standard_error(values: xr.DataArray) -> xr.DataArray:
    """Standard error over networks."""
    error: xr.DataArray = values.std("seed", ddof=1) / values.sizes["seed"] ** 0.5
    return error


def exp(values: xr.DataArray) -> xr.DataArray:
    """Exponential, typed: NumPy's own promises an array."""
    result: xr.DataArray = xr.apply_ufunc(np.exp, values)
    return result


def run_width(result: xr.Dataset) -> int:
    """Units of every layer, as the settings have it."""
    return int(json.loads(result.attrs["settings"])["width"])
