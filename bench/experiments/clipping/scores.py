"""From the networks of ``clipping`` to numbers: who learns, how often clipping engages, what weights do."""

import numpy as np
import xarray as xr

LN10 = float(np.log(10))
SOLVED = {"deep": LN10 / 2, "recurrent": 0.05, "cliff": 0.01, "td_clipped": 0.5, "td_huber": 0.5}
EXPLODES = 1.0  # gain of tanh networks above which gradients explode


def named(result: xr.Dataset, kind: str) -> list[str]:
    """Treatments of a kind: none, norm, value, l2 or l1."""
    return [str(t) for t in result["treatment"].values if str(t).partition("-")[0] == kind]


def log(values: xr.DataArray) -> xr.DataArray:
    """Natural logarithm, typed: NumPy's own promises an array."""
    found: xr.DataArray = xr.apply_ufunc(np.log, values)
    return found


def epsilon(result: xr.Dataset) -> float:
    """Distance from 1 to the next number of the run's dtype."""
    return float(np.finfo(result["loss"].dtype).eps)


def solved(result: xr.Dataset) -> xr.DataArray:
    """1 for every network whose mean loss over the last tenth of its updates is below its threshold."""
    end = result["loss"].isel(update=slice(-max(1, result.sizes["update"] // 10), None)).mean("update")
    limit = xr.DataArray([SOLVED[str(n)] for n in result["network"].values], dims="network")
    done: xr.DataArray = ((end < limit) & (result["diverged_at"] == 0)).astype(int)
    return done


def finite_radius(result: xr.Dataset) -> xr.DataArray:
    """Spectral radius; NaN once a network has diverged, whatever a routine makes of NaN."""
    radius = result["radius"]
    return radius.where(abs(radius) < np.inf)


def at_best_rate(result: xr.Dataset) -> xr.Dataset:
    """The result at the learning rate at which most seeds succeed, the smaller one among equals."""
    result = result.assign(solved=solved(result)).sortby("learning_rate")
    return result.isel(learning_rate=result["solved"].sum("seed").argmax("learning_rate"))


def initial_share(result: xr.Dataset) -> xr.DataArray:
    """Share of batches before training whose gradient is longer than the treatment's norm."""
    share: xr.DataArray = (result["log_first_gradient"] > log(result["clip_norm"])).mean("probe")
    return share
