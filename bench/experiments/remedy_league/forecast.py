"""Verdicts on what theory says of a remedy before training: its gradient, and whether it works."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from signalprop.bench.experiments.remedy_league.recipes import ARCHITECTURES, REMEDIES, recipe
from signalprop.bench.experiments.remedy_league.scores import works
from signalprop.bench.measure.estimates import share_and_error
from signalprop.bench.record.verdict import FEWEST, Verdict, compare, judge, observe, surely

SAME = 1e-4  # decades between two programs that compute the same in float32
CURE = "A remedy cures what it changes: the gradient's factor per layer, or how fast inputs become alike."


def verdicts(table: xr.Dataset, rows: pd.DataFrame, networks: list[str], names: list[str]) -> list[Verdict]:
    """Judge the gradient before training, and how often theory tells who will learn."""
    return [
        *_gradient(table, networks, names),
        *_identity(table, networks, names),
        *_rule(rows, int(table["step"][-1])),
    ]


def _gradient(table: xr.Dataset, networks: list[str], names: list[str]) -> list[Verdict]:
    """Decades before training against theory, of plain and layer-normalized networks, each recipe once."""
    different: dict[tuple[Any, ...], tuple[str, str]] = {}
    for network in networks:
        for name in names:
            one = recipe(network, name)
            kind = ARCHITECTURES[one.architecture]
            if not (kind.skip or kind.norm == "batch"):
                form = one.activation, one.architecture, one.scheme, one.sigma_w, one.sigma_b
                different.setdefault(form, (network, name))
    seeds = table.sizes["seed"]
    if seeds < FEWEST or not different:
        return []
    network_of, remedy_of = xr.DataArray(list(different.values()), dims=("recipe", "of")).transpose("of", ...)
    at = table.isel(rate=0).sel(network=network_of, remedy=remedy_of)
    return compare(
        ["C17"],
        "Decades that the gradient gains from the last layer to the first before training, plain and "
        "layer-normalized networks: optimizers, penalties and clipping change none, initialisation and "
        "activation all",
        "sum of log10 chi_1(q^l) / 2 with its first correction at finite width",
        at["decades"].sel(moment="start"), at["decades_predicted"], slack=at["finite_width"],
        tolerance_from="the correction for finite width itself, as it is of one gradient and smaller for "
        f"a batch of different ones, and sampling, {surely(seeds)}",
        claim="right after repair", correction=CURE,
    )  # fmt: skip


def _identity(table: xr.Dataset, networks: list[str], names: list[str]) -> list[Verdict]:
    """Networks whose branches start at 0 lose and gain nothing before training."""
    kept = [
        n for n in names if any(ARCHITECTURES[recipe(net, n).architecture].starts_at_zero for net in networks)
    ]
    if not kept:
        return []
    start = table["decades"].sel(moment="start", remedy=kept).isel(rate=0)
    labels = ", ".join(REMEDIES[name].label for name in kept)
    return [
        judge(
            ["C17"],
            f"Decades between the gradients of the first and the last layer before training: {labels}",
            "every block begins as the identity, arXiv:2003.04887, arXiv:1901.09321",
            measured=start.values.ravel(), predicted=0.0, tolerance=SAME,
            tolerance_from="rounding in float32", claim="right after repair", correction=CURE,
        )
    ]  # fmt: skip


def _rule(rows: pd.DataFrame, steps: int) -> list[Verdict]:
    """How often theory calls a remedy right, and where not."""
    judged = rows[np.isfinite(rows["decades_lost_predicted"])].copy()
    judged["recipe"] = [recipe(r.network, r.remedy) for r in judged.itertuples()]
    judged = judged.drop_duplicates("recipe")
    worked = works(judged)
    right = worked == judged["predicted"]
    share, error = share_and_error(int(right.sum()), len(judged))
    missed = ", ".join(
        f"{REMEDIES[r.remedy].label} on {r.network} ({r.solved}/{r.seeds})"
        for r in judged[~right].itertuples()
    )
    always = max(float(worked.mean()), 1 - float(worked.mean()))
    return [
        observe(
            ["C17"],
            f"Share of {len(judged)} different networks about which theory before training is right whether "
            "at least half of them learn: depth within reach and gradient uniform to two decades (one answer "
            f"for all would be right about {always:.2f}){'; wrong about: ' * bool(missed)}{missed}",
            "6 depth scales, arXiv:1611.01232; 16 with batch norm, arXiv:1902.08129",
            measured=share, uncertainty=error, claim="right after repair", correction=CURE,
        ),
        *_merging(judged[judged["predicted"]], steps),
    ]  # fmt: skip


def _merging(called: pd.DataFrame, steps: int) -> list[Verdict]:
    """What tells the networks that theory wrongly calls trainable from the others: how alike inputs become.

    Of plain networks and gradient descent alone, as adaptive steps change how much difference is needed.
    """
    plain = called["recipe"].map(lambda one: one.optimizer == "heavy_ball")
    kept = called[plain.astype(bool) & np.isfinite(called["separation_predicted"])]
    worked = works(kept)
    if worked.all() or not worked.any():
        return []
    lost, fine = kept.loc[~worked, "separation_predicted"], kept.loc[worked, "separation_predicted"]
    splits = lost.max() < fine.min()
    words = "a threshold between them tells all of them apart" if splits else "they overlap"
    return [
        observe(
            ["C17"],
            "Networks of plain descent that the depth scales call trainable: where fewer than half learn in "
            f"{steps} steps, at most {lost.max():.3g} of the difference of two inputs is predicted to be "
            f"left in the last layer, 1 - c^L; where they do, at least {fine.min():.3g}: {words}. At chi_1 "
            "= 1 the depth scale is infinite, but inputs still merge as a power of the depth",
            "correlation map, arXiv:1606.05340; found afterwards, not predicted",
            measured=float(lost.max()), claim="right after repair", correction=CURE,
        )
    ]  # fmt: skip
