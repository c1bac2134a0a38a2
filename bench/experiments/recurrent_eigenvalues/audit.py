"""The audit of rules about recurrent weights: what each says of every network, and what is true."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from signalprop.analysis.statistics import share_interval
from signalprop.models.activations import activation

OUTCOMES = ("vanishes", "stays", "explodes")
CLEAR = 1.0  # nats by which a gradient changes over all lags before it counts as vanished or exploded


def rules(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """Logarithm of what each rule compares with 1, for every network of the audit."""
    steepest = [activation(str(name)).max_slope for name in result["activation"].values]
    gamma = xr.DataArray(steepest, coords={"activation": result["activation"].values}, dims="activation")
    shape = result["slope"]
    found = {
        "rho": result["gain"] * result["radius"],
        "largest": result["gain"] * result["largest"] * gamma,
        "numerical": result["gain"] * result["numerical"] * gamma,
    }
    logs = {name: logarithm(values) for name, values in found.items()}
    logs |= {"chi_1": result["mean_field"], "other": result["lyapunov"]}
    return {name: values.broadcast_like(shape).transpose(*shape.dims) for name, values in logs.items()}


def outcome(result: xr.Dataset) -> xr.DataArray:
    """Index into ``OUTCOMES`` of every network, NaN where the state was lost."""
    grown = result["slope"] * float(result["counted"])
    kind: xr.DataArray = (grown >= -CLEAR).astype(float) + (grown > CLEAR)
    return kind.where(result["slope"].notnull())


def logarithm(values: xr.DataArray) -> xr.DataArray:
    """Natural logarithm; of an exact 0 a large negative number."""
    logs: xr.DataArray = xr.apply_ufunc(np.log, values.clip(1e-300))
    return logs


def trained_radius(result: xr.Dataset) -> xr.DataArray:
    """Spectral radius of the trained networks, by stage."""
    return ((result["trained_real"] ** 2 + result["trained_imaginary"] ** 2) ** 0.5).max("index")


def confusion(kind: xr.DataArray, log_rule: xr.DataArray) -> np.ndarray:
    """Numbers of networks by outcome (rows) and by what the rule says, vanish or explode (columns)."""
    says = log_rule.values > 0
    return np.array([[np.sum((kind.values == i) & (says == s)) for s in (False, True)] for i in range(3)])


def accuracy(counts: np.ndarray) -> tuple[float, float, float]:
    """Share of right answers among networks that clearly vanish or explode, with its exact 95 % interval."""
    right, all_clear = int(counts[0, 0] + counts[2, 1]), int(counts[0].sum() + counts[2].sum())
    if all_clear == 0:
        return float("nan"), float("nan"), float("nan")
    return right / all_clear, *share_interval(right, all_clear)


def audit(result: xr.Dataset, where: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Confusion matrix, accuracy and interval of every rule, over all networks or some of them."""
    rows, kind = [], outcome(result)
    for name, values in rules(result).items():
        counts = confusion(kind.sel(where or {}), values.sel(where or {}))
        share, low, high = accuracy(counts)
        cells = {
            f"{what}_said_{said}": int(counts[i, j])
            for i, what in enumerate(OUTCOMES)
            for j, said in enumerate(("vanish", "explode"))
        }
        rows.append({"rule": name, **cells, "accuracy": share, "low": low, "high": high})
    return pd.DataFrame(rows)


def shares_by_seed(result: xr.Dataset, name: str) -> xr.DataArray:
    """Accuracy of a rule for the networks of each seed, which share their draws."""
    kind, log_rule = outcome(result), rules(result)[name]
    shares = [accuracy(confusion(kind.sel(seed=s), log_rule.sel(seed=s)))[0] for s in result["seed"].values]
    return xr.DataArray(shares, dims="seed")


def rank_correlation(log_rule: xr.DataArray, slope: xr.DataArray) -> float:
    """Spearman's correlation of what a rule compares with the measured growth, where both are finite."""
    kept = np.isfinite(log_rule.values) & np.isfinite(slope.values)
    return float(stats.spearmanr(log_rule.values[kept], slope.values[kept]).statistic)
