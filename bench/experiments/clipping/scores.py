"""From the networks of ``clipping`` to numbers: who learns, how often clipping engages, what weights do."""

import numpy as np
import xarray as xr

from signalprop.bench.training import choice

LN10 = float(np.log(10))
SOLVED = {"deep": LN10 / 2, "recurrent": 0.05, "cliff": 0.01, "td_clipped": 0.5, "td_huber": 0.5}
EXPLODES = 1.0  # gain of tanh networks above which gradients explode


def named(result: xr.Dataset, *kinds: str) -> list[str]:
    """Treatments of some kinds, kind by kind: none, norm, value, l2 or l1."""
    names = [str(t) for t in result["treatment"].values]
    return [name for kind in kinds for name in names if name.partition("-")[0] == kind]


def log(values: xr.DataArray) -> xr.DataArray:
    """Natural logarithm, typed: NumPy's own promises an array."""
    found: xr.DataArray = xr.apply_ufunc(np.log, values)
    return found


def epsilon(result: xr.Dataset) -> float:
    """Distance from 1 to the next number of the run's dtype."""
    return float(np.finfo(result["loss"].dtype).eps)


def final_loss(result: xr.Dataset) -> xr.DataArray:
    """Mean loss over the last tenth of the updates; NaN of networks that diverged."""
    last = result["loss"].isel(update=slice(-max(1, result.sizes["update"] // 10), None))
    return last.mean("update", skipna=False).where(result["diverged_at"] == 0)


def solved(result: xr.Dataset) -> xr.DataArray:
    """1 for every network whose final loss is below its threshold."""
    limit = xr.DataArray([SOLVED[str(n)] for n in result["network"].values], dims="network")
    done: xr.DataArray = (final_loss(result) < limit).astype(int)
    return done


def at_best_rate(result: xr.Dataset) -> xr.Dataset:
    """The result at the learning rate at which most seeds succeed, the smaller one among equals."""
    result = result.assign(solved=solved(result))
    return choice.at_best_rate(result, result["solved"].sum("seed"))


def finite_radius(result: xr.Dataset) -> xr.DataArray:
    """Spectral radius; NaN once a network has diverged, whatever a routine makes of NaN."""
    radius = result["radius"]
    return radius.where(abs(radius) < np.inf)


def initial_share(result: xr.Dataset) -> xr.DataArray:
    """Share of batches before training whose gradient is longer than the treatment's norm."""
    share: xr.DataArray = (result["log_first_gradient"] > log(result["clip_norm"])).mean("probe")
    return share
