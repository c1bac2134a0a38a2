"""The learning rate that counts: chosen by the same rule for every competitor."""

import numpy as np
import xarray as xr


def best_rate(*keys: xr.DataArray, axis: str = "learning_rate") -> xr.DataArray:
    """Index of the rate with the largest first key; among equals of the next key, then the smaller rate.

    Args:
        keys: Scores, the most important first, each with the dimension ``axis``; NaN is the worst.
        axis: Dimension of the rates, with their values as its coordinate.
    """
    scores = [key.fillna(-np.inf).transpose(..., axis) for key in xr.broadcast(*keys)]
    smaller = np.broadcast_to(-scores[0][axis].values, scores[0].shape)
    order = np.lexsort([smaller, *(score.values for score in reversed(scores))])
    index: xr.DataArray = scores[0].isel({axis: 0}, drop=True).copy(data=order[..., -1])
    return index


def at_best_rate(result: xr.Dataset, *keys: xr.DataArray, axis: str = "learning_rate") -> xr.Dataset:
    """The result at the rate that ``best_rate`` chooses, by everything else that the keys depend on."""
    return result.isel({axis: best_rate(*keys, axis=axis)})
