"""From the trained networks of a league to its scores: learning rates chosen, the other seeds counted."""

import pandas as pd
import xarray as xr

from signalprop.bench.experiments.remedy_league.recipes import REMEDIES, recipe
from signalprop.bench.experiments.remedy_league.theory import separation
from signalprop.bench.record.league import first_reached, score
from signalprop.bench.training.choice import best_rate

LEARNT = 0.5  # share of successes from which on we say that a remedy works
MEASURED = ("accuracy", "solved", "curve", "decades", "diverged_at")


def league(result: xr.Dataset) -> xr.Dataset:
    """The measurements by failing network and remedy; remedies of one recipe share its networks.

    Adds ``steps``, the step by which the mean accuracy on the batches of a record first exceeded the
    threshold, inf if it never did or the network diverged.
    """
    at = {"structure": result["structure_of"].astype(int), "member": result["member_of"].astype(int)}
    found = result[list(MEASURED)].isel(at).drop_vars(["structure", "member"], errors="ignore")
    above = found["curve"] > result["threshold"]
    steps = first_reached(above, "step", result["step"], found["diverged_at"])
    return found.assign(steps=steps).merge(result.drop_dims(["structure", "member"], errors="ignore"))


def tuned_rate(table: xr.Dataset) -> xr.DataArray:
    """Index of the learning rate that the tuning seeds choose, by network and remedy.

    Most successes; among equals the fewest steps to the threshold (median), then the highest mean accuracy,
    then the smaller rate.
    """
    tuned = table.isel(seed=slice(int(table["tuning_seeds"])))
    solved, steps = tuned["solved"].sum("seed"), tuned["steps"].median("seed")
    return best_rate(solved, -steps, tuned["accuracy"].mean("seed"), axis="rate")


def scored(table: xr.Dataset) -> xr.Dataset:
    """The networks that count: at the rate of the tuning seeds, of the other seeds."""
    return table.isel(rate=tuned_rate(table), seed=slice(int(table["tuning_seeds"]), None))


def scores(table: xr.Dataset) -> pd.DataFrame:
    """One row per failing network and remedy, by falling success and rising number of steps."""
    at, rows = scored(table), []
    for network in map(str, at["network"].values):
        for remedy in map(str, at["remedy"].values):
            one, entry = at.sel(network=network, remedy=remedy), REMEDIES[remedy]
            rows.append({
                "network": network, "remedy": remedy, "label": entry.label, "kind": entry.kind, **score(one),
                "reach": float(one["reach"]), "predicted": bool(one["solved_predicted"]),
                "separation_predicted": separation(recipe(network, remedy), int(table["depth"])),
                "accuracy": float(one["accuracy"].median()), "rate": float(one["rate"] * one["unit"]),
                "term": entry.term,
            })  # fmt: skip
    order = {"network": False, "solved": False, "steps": True, "remedy": True}
    return pd.DataFrame(rows).sort_values(list(order), ascending=list(order.values()))


def works(rows: pd.DataFrame) -> pd.Series:
    """Which remedies work: ``LEARNT`` of the networks learn."""
    return rows["solved"] / rows["seeds"] >= LEARNT
