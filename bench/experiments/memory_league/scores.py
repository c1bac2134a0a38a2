"""From the trained networks of the memory league to its scores: one row per remedy and optimizer."""

import pandas as pd
import xarray as xr

from signalprop.bench.experiments.memory_league.competitors import OPTIMIZER_LABELS, SIZE, competitor, runs
from signalprop.bench.record.league import first_reached, median, score

LEARNT = 0.3  # of the loss at chance, 0.05 on the adding problem: a training loss that counts as learnt


def scores(result: xr.Dataset) -> pd.DataFrame:
    """One row per remedy and optimizer it was run with, by falling success and rising number of updates."""
    result, rows = result.assign(steps=steps_to_learn(result)), []
    for remedy in map(str, result["remedy"].values):
        for optimizer in runs(remedy, list(map(str, result["optimizer"].values))):
            one = result.sel(remedy=remedy, optimizer=optimizer)
            label, kind, term = naming(remedy, optimizer)
            rows.append({
                "network": "memory", "remedy": remedy, "optimizer": optimizer, "label": label, "kind": kind,
                **score(one), "test_loss": median(one["test_loss"].values),
                "clip_rate": float(one["clip_rate"].mean()), "rate": float(one["rate"].isel(seed=0)),
                "term": term,
            })  # fmt: skip
    order = {"solved": False, "steps": True, "test_loss": True, "remedy": True}
    return pd.DataFrame(rows).sort_values(list(order), ascending=list(order.values()), ignore_index=True)


def steps_to_learn(result: xr.Dataset) -> xr.DataArray:
    """Update by which the mean training loss of a record was first below the threshold; inf if never."""
    below = result["curve"] < LEARNT * result["test_loss_predicted"]
    ends = result["update"] + result["update"][0].values  # of records whose middles are the coordinate
    return first_reached(below, "update", ends, result["diverged_at"])


def naming(remedy: str, optimizer: str) -> tuple[str, str, str]:
    """Label, kind and theory term of a row; an optimizer without another remedy is the remedy."""
    if remedy == "none" and optimizer != "sgd":
        return OPTIMIZER_LABELS[optimizer], "optimiser", SIZE
    entry = competitor(remedy)
    return entry.label, entry.kind, entry.term
