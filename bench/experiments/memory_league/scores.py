"""From the trained networks of the memory league to its scores: one row per remedy and optimizer."""

import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.memory_league.competitors import ALONE, OPTIMIZER_LABELS, competitor
from signalprop.bench.training.league import median

LEARNT = 0.3  # of the loss at chance, 0.05 on the adding problem: a training loss that counts as learnt
STEP = "size of a step; factors as without it"


def steps_to_learn(result: xr.Dataset) -> xr.DataArray:
    """Update by which the mean training loss of a record was first below the threshold; inf if never."""
    below = result["curve"] < LEARNT * result["test_loss_predicted"]
    ends = result["update"].values + result["update"].values[0]
    first = ends[below.argmax("update").values]
    fine = below.any("update") & (result["diverged_at"] == 0)
    steps: xr.DataArray = result["solved"].copy(data=first.astype(float)).where(fine, np.inf)
    return steps


def naming(remedy: str, optimizer: str) -> tuple[str, str, str]:
    """Label, kind and theory term of a row; an optimizer without another remedy is the remedy."""
    entry = competitor(remedy)
    if remedy == "none" and optimizer != "sgd":
        return OPTIMIZER_LABELS.get(optimizer, optimizer), "optimiser", STEP
    return entry.label, entry.kind, entry.term


def scores(result: xr.Dataset) -> pd.DataFrame:
    """One row per remedy and optimizer it was run with, by falling success and rising number of steps."""
    steps, rows = steps_to_learn(result), []
    for remedy in map(str, result["remedy"].values):
        for optimizer in map(str, result["optimizer"].values):
            if remedy != "none" and optimizer in ALONE:
                continue
            at = {"remedy": remedy, "optimizer": optimizer}
            one, (label, kind, term) = result.sel(at), naming(remedy, optimizer)
            solved, count = int(one["solved"].sum()), one.sizes["seed"]
            low, high = share_interval(solved, count)
            start, end = (median(-one["decades"].isel(moment=m).values) for m in (0, 1))
            rows.append({
                "network": "memory", "remedy": remedy, "optimizer": optimizer, "label": label, "kind": kind,
                "solved": solved, "seeds": count, "low": low, "high": high,
                "decades_lost_start": start, "decades_lost_end": end,
                "decades_lost_predicted": float(-one["decades_predicted"]),
                "steps": float(steps.sel(at).median()), "test_loss": median(one["test_loss"].values),
                "clip_rate": float(one["clip_rate"].mean()), "diverged": int((one["diverged_at"] > 0).sum()),
                "rate": float(one["rate"].isel(seed=0)), "cost": float(one["cost"]), "term": term,
            })  # fmt: skip
    by_rank = pd.DataFrame(rows).assign(failed=lambda t: -t["solved"])
    order = ["failed", "steps", "test_loss", "remedy"]
    return by_rank.sort_values(order).drop(columns="failed").reset_index(drop=True)
