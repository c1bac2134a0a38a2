"""From the trained networks of a league to its scores: learning rates chosen, the other seeds counted."""

import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.remedy_league.recipes import REMEDIES, recipe
from signalprop.bench.experiments.remedy_league.theory import separation
from signalprop.bench.training.league import median

MEASURED = ("accuracy", "solved", "curve", "decades", "diverged_at")


def league(result: xr.Dataset) -> xr.Dataset:
    """The measurements by failing network and remedy; remedies of one recipe share its networks.

    Adds ``steps``, the step by which the mean accuracy on the batches of a record first exceeded the
    threshold, inf if it never did or the network diverged.
    """
    at = {"structure": result["structure_of"].astype(int), "member": result["member_of"].astype(int)}
    found = result[list(MEASURED)].isel(at).drop_vars(["structure", "member"], errors="ignore")
    above = found["curve"] > result["threshold"]
    first = result["step"].values[above.argmax("step").values]
    fine = above.any("step") & (found["diverged_at"] == 0)
    steps = found["solved"].copy(data=first.astype(float)).where(fine, np.inf)
    return found.assign(steps=steps).merge(result.drop_dims(["structure", "member"], errors="ignore"))


def best_rate(table: xr.Dataset) -> xr.DataArray:
    """Index of the learning rate that the tuning seeds choose, by network and remedy.

    Most successes; among equals the fewest steps to the threshold (median), then the highest mean accuracy,
    then the smaller rate.
    """
    rates = table["rate"].argsort().values
    tuned = table.isel(seed=slice(int(table["tuning_seeds"])), rate=rates)
    keys = [tuned["accuracy"].mean("seed"), -tuned["steps"].median("seed"), tuned["solved"].sum("seed")]
    columns = [key.transpose(..., "rate") for key in keys]
    order = np.lexsort([np.arange(len(rates), 0, -1) + 0 * columns[0].values, *(c.values for c in columns)])
    return columns[0].isel(rate=0, drop=True).copy(data=rates[order[..., -1]])


def scored(table: xr.Dataset) -> xr.Dataset:
    """The networks that count: at the rate of the tuning seeds, of the other seeds."""
    choice = best_rate(table)
    return table.isel(rate=choice, seed=slice(int(table["tuning_seeds"]), None)).assign(choice=choice)


def scores(table: xr.Dataset) -> pd.DataFrame:
    """One row per failing network and remedy, by falling success and rising number of steps."""
    at, rows = scored(table), []
    for network in map(str, at["network"].values):
        for remedy in map(str, at["remedy"].values):
            one, entry = at.sel(network=network, remedy=remedy), REMEDIES[remedy]
            solved, count = int(one["solved"].sum()), one.sizes["seed"]
            low, high = share_interval(solved, count)
            start, end = (one["decades"].sel(moment=m).values for m in ("start", "end"))
            rows.append({
                "network": network, "remedy": remedy, "label": entry.label, "kind": entry.kind,
                "solved": solved, "seeds": count, "low": low, "high": high,
                "decades_lost_start": median(-start), "decades_lost_end": median(-end),
                "decades_lost_predicted": float(-one["decades_predicted"]), "reach": float(one["reach"]),
                "separation_predicted": separation(recipe(network, remedy), int(table["depth"])),
                "predicted": bool(one["solved_predicted"]), "steps": float(one["steps"].median()),
                "accuracy": float(one["accuracy"].median()), "diverged": int((one["diverged_at"] > 0).sum()),
                "rate": float(one["rate"] * one["unit"]), "cost": float(one["cost"]), "term": entry.term,
            })  # fmt: skip
    by_rank = pd.DataFrame(rows).assign(failed=lambda t: -t["solved"])
    order = ["network", "failed", "steps", "remedy"]
    return by_rank.sort_values(order, ascending=[False, True, True, True]).drop(columns="failed")
