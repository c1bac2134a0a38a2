"""Verdicts of ``remedy-league``: what theory says beforehand, and what each class of remedies does."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.remedy_league import forecast
from signalprop.bench.experiments.remedy_league.recipes import REMEDIES, recipe
from signalprop.bench.experiments.remedy_league.scores import LEARNT, league, scored, scores, works
from signalprop.bench.measure.estimates import share_and_error
from signalprop.bench.record.verdict import Standing, Verdict, judge, observe

LISTED = ("clip_norm", "relu", "xavier", "he", "batch_norm", "residual")  # as the popular list has them
SAXE = "Saxe, McClelland & Ganguli (2013), arXiv:1312.6120"
IOFFE = "Ioffe & Szegedy (2015), arXiv:1502.03167; Santurkar et al. (2018), arXiv:1805.11604"


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the gradient before training, then every claim whose remedies were run."""
    table = league(result)
    rows, steps = scores(table), int(table["step"][-1])
    networks = [str(n) for n in table["network"].values]
    names = [str(r) for r in table["remedy"].values]
    return [
        *forecast.verdicts(table, rows, networks, names),
        *_descent(table, rows, networks, names),
        *_adaptive(table, rows, names),
        *_listed(rows, names, steps),
        *_penalties(rows, names),
        *_orthogonal(rows, names),
        *_relu(rows, names, steps),
        *_norms(rows),
        *_speed(table, networks, names),
    ]


def _share(rows: pd.DataFrame, remedies: Iterable[str]) -> tuple[float, float, str]:
    """Share of successes over remedies and networks, its standard error, and the counts in words."""
    chosen = {name: rows[rows["remedy"] == name] for name in remedies}
    words = "; ".join(
        f"{REMEDIES[name].label} "
        + ", ".join(f"{r.solved}/{r.seeds} ({r.network})" for r in some.itertuples())
        for name, some in chosen.items()
    )
    total = pd.concat(chosen.values())[["solved", "seeds"]].sum()
    return *share_and_error(int(total["solved"]), int(total["seeds"])), words


def _descent(table: xr.Dataset, rows: pd.DataFrame, networks: list[str], names: list[str]) -> list[Verdict]:
    """Plain gradient descent at all rates, and what lets the same initial weights learn."""
    kept = [name for name in ("none", "large_rates", "huge_rates") if name in names]
    if "none" not in kept:
        return []
    found = []
    for network in networks:
        solved = table["solved"].sel(network=network, remedy=kept)
        rates = (table["rate"] * table["unit"].sel(network=network, remedy=kept)).values
        learn, count = int(solved.sum()), solved.size
        low, high = share_interval(learn, count)
        share, error = share_and_error(learn, count)
        rescued = _rescuers(rows[rows["network"] == network])
        right: Standing = "right after repair" if rescued else "right"
        found.append(
            observe(
                ["C8"],
                f"Share of runs of plain gradient descent on the {network} network that learn, {count} runs "
                f"at rates from {rates.min():g} to {rates.max():g}; 95 % interval {low:.3f} to {high:.3f}",
                "exact binomial interval (Clopper & Pearson 1934)", measured=share, uncertainty=error,
                claim="wrong" if share >= LEARNT else right,
                correction=f"Not with plain gradient descent at any rate tried; the same {network} initial "
                f"weights learn with: {', '.join(rescued)}." if rescued and share < LEARNT else "",
            )
        )  # fmt: skip
    return found


def _rescuers(rows: pd.DataFrame) -> list[str]:
    """Labels of the remedies of one network that keep activation and weights, and work."""
    found = {}
    for row in rows[works(rows)].itertuples():
        one, none = recipe(row.network, row.remedy), recipe(row.network, "none")
        kept = (one.activation, one.scheme, one.sigma_w) == (none.activation, none.scheme, none.sigma_w)
        if kept and one != none:
            found[row.remedy] = row.label
    return [found[name] for name in REMEDIES if name in found]


def _adaptive(table: xr.Dataset, rows: pd.DataFrame, names: list[str]) -> list[Verdict]:
    """Adaptive optimizers: what they change before training, and how often they help."""
    kept = [name for name in ("adagrad", "rmsprop", "adam") if name in names]
    if not kept or "none" not in names:
        return []
    start = table["decades"].sel(moment="start").isel(rate=0)
    change = abs(start.sel(remedy=kept) - start.sel(remedy="none")).max(("seed", "remedy"))
    ordered = change.values[table["decades_predicted"].sel(remedy="none").values <= 0]
    share, error, words = _share(rows, kept)
    repair = (
        "They rescale the steps of a given initial network and initialise nothing; they restore no signal "
        f"that the layers have lost. Here: {words}."
    )
    unchanged = [
        judge(
            ["C15"],
            "Largest change in decades of the gradient across the layers before training by an adaptive "
            "optimizer, in the vanishing network: an initialisation would change it, a step rule cannot",
            "the optimizer acts after the gradient is taken",
            measured=ordered, predicted=0.0, tolerance=forecast.SAME,
            tolerance_from="rounding of two compiled programs in float32, which a chaotic network would "
            "amplify: that one is left out", claim="wrong", correction=repair,
        )
    ] if ordered.size else []  # fmt: skip
    return [
        *unchanged,
        observe(
            ["C15"],
            f"Share of both failing networks that learn with an adaptive optimizer: {words}",
            "exact counts over the scoring seeds", measured=share, uncertainty=error, claim="wrong",
            correction=repair,
        ),
    ]  # fmt: skip


def _listed(rows: pd.DataFrame, names: list[str], steps: int) -> list[Verdict]:
    """The remedies of the popular list, and where they fail."""
    kept = [name for name in LISTED if name in names]
    if len(kept) < 2:
        return []
    share, error, words = _share(rows, kept)
    chosen = rows[rows["remedy"].isin(kept)]
    failed = chosen[~works(chosen)]
    losers = ", ".join(
        f"{REMEDIES[r.remedy].label} on {r.network} (median accuracy {r.accuracy:.2f})"
        for r in failed.itertuples()
    )
    return [
        observe(
            ["C17"], f"Share of successes of the remedies of the popular list: {words}",
            "one protocol for all", measured=share, uncertainty=error,
            claim="right after repair" if len(failed) else "right",
            correction="Not each of them cures each failure. Fewer than half reach the threshold within "
            f"{steps} steps with: {losers}." if len(failed) else "",
        )
    ]  # fmt: skip


def _penalties(rows: pd.DataFrame, names: list[str]) -> list[Verdict]:
    """Penalties on the weights against none."""
    kept = [name for name in ("l2", "l1") if name in names]
    if not kept or "none" not in names:
        return []
    share, error, words = _share(rows, kept)
    without, bare_error, bare = _share(rows, ("none",))
    error = float(np.hypot(error, bare_error))
    helped = share - without > 2 * error
    return [
        observe(
            ["C18"],
            f"Share of successes with a penalty on the weights, less that without: {words}; {bare}",
            "one protocol for all", measured=share - without, uncertainty=error,
            claim="right" if helped else "right after repair",
            correction="" if helped else "A penalty changes neither the gradient's fate nor the signal's in "
            "feed-forward networks that fail before training begins.",
        )
    ]  # fmt: skip


def _orthogonal(rows: pd.DataFrame, names: list[str]) -> list[Verdict]:
    """Orthogonal weights of the failing activations."""
    if "orthogonal" not in names:
        return []
    share, error, words = _share(rows, ("orthogonal",))
    lost = {r.network: r.decades_lost_start for r in rows[rows["remedy"] == "orthogonal"].itertuples()}
    decades = ", ".join(f"{value:.1f} ({network})" for network, value in lost.items())
    all_learn = share >= 1 - 1e-9
    return [
        observe(
            ["C14"],
            f"Orthogonal weights: {words}; decades that the gradient still loses before training: {decades}",
            SAXE, measured=share, uncertainty=error,
            claim="right" if all_learn else "right after repair",
            correction="" if all_learn else "Orthogonal kernels keep lengths; the slope of the activation is "
            "a factor that they cannot restore.",
        )
    ]  # fmt: skip


def _relu(rows: pd.DataFrame, names: list[str], steps: int) -> list[Verdict]:
    """Relu with the weights of Xavier, and with those of He."""
    if "relu_xavier" not in names:
        return []
    share, error, words = _share(rows, ("relu_xavier",))
    row = rows[rows["remedy"] == "relu_xavier"].iloc[0]
    he = enough = ""
    if "relu" in names:
        fair = rows[rows["remedy"] == "relu"].iloc[0]
        he = f"; with He weights {fair['solved']}/{fair['seeds']} and a median accuracy of "
        he += f"{fair['accuracy']:.2f} instead of {row['accuracy']:.2f}"
        if fair["solved"] / fair["seeds"] < LEARNT:
            enough = f", which is still not enough here within {steps} steps: inputs merge on the way up"
    return [
        observe(
            ["B4"],
            f"relu with Xavier weights: {words}{he}. dE/dy loses {row['decades_lost_start']:.1f} decades "
            f"(predicted {row['decades_lost_predicted']:.1f}); by theory the weight "
            "gradients |delta^l| |y^(l-1)| are of one size in all layers: their ratio warns of nothing",
            "chi_1 = sigma_w^2 / 2", measured=share, uncertainty=error,
            claim="wrong" if share < LEARNT else "right after repair",
            correction=f"relu halves |dE/dy|^2 and |y|^2 per layer; weights of variance 2 / fan-in (He) make "
            f"up for it{enough}.",
        )
    ]  # fmt: skip


def _norms(rows: pd.DataFrame) -> list[Verdict]:
    """Batch norm against layer norm between sigmoid layers."""
    chosen = rows[(rows["network"] == "vanishing") & rows["remedy"].isin(("batch_norm", "layer_norm"))]
    if len(chosen) < 2:
        return []
    by = chosen.set_index("remedy")
    batch, layer = by.loc["batch_norm"], by.loc["layer_norm"]
    (with_batch, error), (with_layer, other) = (
        share_and_error(r["solved"], r["seeds"]) for r in (batch, layer)
    )
    return [
        observe(
            ["C17"],
            f"Sigmoid layers: successes with batch norm ({batch['solved']}/{batch['seeds']}) less those "
            f"with layer norm ({layer['solved']}/{layer['seeds']}). Theory before training: layer norm keeps "
            f"the common mean of the sigmoid in its scale and loses {layer['decades_lost_predicted']:.1f} "
            f"decades (measured {layer['decades_lost_start']:.1f}), batch norm removes it and gains "
            f"{-batch['decades_lost_predicted']:.1f} ({-batch['decades_lost_start']:.1f})",
            "E phi'^2 / E phi^2 against E phi'^2 / Var phi",
            measured=with_batch - with_layer, uncertainty=float(np.hypot(error, other)),
            claim="right after repair" if with_batch > with_layer else "right",
            correction="A norm that cures one failing network need not cure another: with sigmoid layers "
            "layer norm does not stop vanishing gradients." if with_batch > with_layer else "",
        )
    ]  # fmt: skip


def _speed(table: xr.Dataset, networks: list[str], names: list[str]) -> list[Verdict]:
    """Batch norm on networks that train without it: steps at tuned rates, and the largest usable rate."""
    at, pairs = scored(table), []
    if {"relu", "relu_batch_norm"} <= set(names):
        pairs.append(("relu, He weights", networks[0], "relu", "relu_batch_norm"))
    if "exploding" in networks and {"xavier", "batch_norm"} <= set(names):
        pairs.append(("tanh, Xavier weights", "exploding", "xavier", "batch_norm"))
    found = []
    for label, network, without, with_norm in pairs:
        plain, normed = (at.sel(network=network, remedy=r) for r in (without, with_norm))
        steps = [float(one["steps"].median()) for one in (plain, normed)]
        if not np.isfinite(steps).any():
            continue
        usable = [_usable(table.sel(network=network, remedy=r)) for r in (without, with_norm)]
        counts = [f"{int(o['solved'].sum())}/{o.sizes['seed']}" for o in (plain, normed)]
        faster, wider = steps[1] < steps[0], usable[1] > usable[0]
        found.append(
            observe(
                ["C23"],
                f"{label}: median steps to the threshold at the tuned rate, without batch norm over with it "
                f"({steps[0]:g} over {steps[1]:g}; successes {counts[0]} and {counts[1]}); largest rate at "
                f"which half of all networks learn: {usable[0]:g} and {usable[1]:g} (0: none)",
                IOFFE, measured=steps[0] / steps[1], claim="right" if faster else "right after repair",
                correction="" if faster else "At equal budget and tuned rates batch norm is not faster here"
                f"{', though it bears larger rates' if wider else ''}.",
            )
        )  # fmt: skip
    return found


def _usable(one: xr.Dataset) -> float:
    """The largest rate of the grid at which at least half of all seeds learn; 0 if there is none."""
    fine = one["solved"].mean("seed") >= LEARNT
    return float((one["rate"] * one["unit"]).where(fine, 0.0).max())
