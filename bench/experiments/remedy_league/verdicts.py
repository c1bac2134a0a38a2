"""Verdicts of ``remedy-league``: what each class of remedies does, and what theory says beforehand."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.remedy_league.recipes import ARCHITECTURES, REMEDIES, recipe
from signalprop.bench.experiments.remedy_league.scores import league, scored, scores
from signalprop.bench.record.verdict import Standing, Verdict, judge, observe, sampling_factor, surely

SAME = 1e-4  # decades between two programs that compute the same in float32
ENOUGH = 8  # seeds from which on a standard error is trusted
LEARNT = 0.5  # share of successes from which on we say that a remedy works
ADAPTIVE = ("adagrad", "rmsprop", "adam")
RATES = ("none", "large_rates", "huge_rates")
PENALTIES = ("l2", "l1")
LISTED = ("clip_norm", "relu", "xavier", "he", "batch_norm", "residual")  # as the popular list has them
CURE = "A remedy cures what it changes: the gradient's factor per layer, or how fast inputs become alike."
SAXE = "Saxe, McClelland & Ganguli (2013), arXiv:1312.6120"
IOFFE = "Ioffe & Szegedy (2015), arXiv:1502.03167; Santurkar et al. (2018), arXiv:1805.11604"


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the gradient before training, then every claim whose remedies were run."""
    table = league(result)
    rows, at = scores(table), scored(table)
    networks = [str(n) for n in table["network"].values]
    names, steps = [str(r) for r in table["remedy"].values], int(table["step"][-1])
    return [
        *_gradient(table, networks, names),
        *_identity(table, networks, names),
        *_rule(rows, steps),
        *_descent(table, networks, names),
        *_adaptive(table, rows, networks, names),
        *_listed(rows, names, steps),
        *_penalties(rows, names),
        *_orthogonal(rows, names),
        *_relu(rows, names, steps),
        *_norms(rows, names),
        *_speed(table, at, rows, networks, names),
    ]


def counted(rows: pd.DataFrame, remedy: str) -> str:
    """Successes of a remedy in words, by network."""
    chosen = rows[rows["remedy"] == remedy]
    return ", ".join(f"{r.solved}/{r.seeds} ({r.network})" for r in chosen.itertuples())


def _share(rows: pd.DataFrame, remedies: Iterable[str]) -> tuple[float, float, str]:
    """Share of successes over remedies and networks, its standard error, and the counts in words."""
    kept = [name for name in remedies if name in set(rows["remedy"])]
    chosen = rows[rows["remedy"].isin(kept)]
    n, share = chosen["seeds"].sum(), chosen["solved"].sum() / chosen["seeds"].sum()
    words = "; ".join(f"{REMEDIES[name].label} {counted(rows, name)}" for name in kept)
    return float(share), float(np.sqrt(share * (1 - share) / n)), words


def _gradient(table: xr.Dataset, networks: list[str], names: list[str]) -> list[Verdict]:
    """Decades before training against theory, of plain and layer-normalized networks, each recipe once."""
    seeds, seen = table.sizes["seed"], set()
    measured, predicted, errors, slack = [], [], [], []
    for network in networks:
        for name in names:
            one = recipe(network, name)
            kind = ARCHITECTURES[one.architecture]
            form = one.structure.split()[:2], one.scheme, one.sigma_w, one.sigma_b
            if kind.skip or kind.norm == "batch" or str(form) in seen:
                continue
            seen.add(str(form))
            at = table.sel(network=network, remedy=name)
            values = at["decades"].sel(moment="start").isel(rate=0).values
            measured.append(values.mean())
            errors.append(values.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else np.nan)
            predicted.append(float(at["decades_predicted"]))
            slack.append(float(at["finite_width"]))
    if seeds < ENOUGH or not measured:
        return []
    factor = sampling_factor(len(measured), seeds)
    return [
        judge(
            ["C17"],
            "Decades that the gradient gains from the last layer to the first before training, plain and "
            "layer-normalized networks: optimizers, penalties and clipping change none, initialisation and "
            "activation all",
            "sum of log10 chi_1(q^l) / 2 with its first correction at finite width",
            measured=measured, predicted=predicted, uncertainty=errors,
            tolerance=np.array(slack) + factor * np.array(errors),
            tolerance_from="the correction for finite width itself, as it is of one gradient and smaller for "
            f"a batch of different ones, and sampling, {surely(seeds)}",
            claim="right after repair", correction=CURE,
        )
    ]  # fmt: skip


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
    worked = judged["solved"] / judged["seeds"] >= LEARNT
    right = worked == judged["predicted"]
    n, share = len(judged), float(right.mean())
    missed = [
        f"{REMEDIES[r.remedy].label} on {r.network} ({r.solved}/{r.seeds})"
        for r in judged[~right].itertuples()
    ]
    always = max(float(worked.mean()), 1 - float(worked.mean()))
    missing = "; wrong about: " + ", ".join(missed) if missed else ""
    return [
        observe(
            ["C17"],
            f"Share of {n} different networks about which theory before training is right whether at least "
            f"half of them learn: depth within reach and gradient uniform to two decades (one answer for all "
            f"would be right about {always:.2f}){missing}",
            "6 depth scales, arXiv:1611.01232; 16 with batch norm, arXiv:1902.08129",
            measured=share, uncertainty=float(np.sqrt(share * (1 - share) / n)),
            claim="right after repair", correction=CURE,
        ),
        *_merging(judged[judged["predicted"]], steps),
    ]  # fmt: skip


def _merging(called: pd.DataFrame, steps: int) -> list[Verdict]:
    """What tells the networks that theory wrongly calls trainable from the others: how alike inputs become.

    Of plain networks and gradient descent alone, as adaptive steps change how much difference is needed.
    """
    plain = [one.optimizer == "heavy_ball" and np.isfinite(s) for one, s in
             zip(called["recipe"], called["separation_predicted"], strict=True)]  # fmt: skip
    kept = called[np.array(plain, bool)]
    worked = kept["solved"] / kept["seeds"] >= LEARNT
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


def _descent(table: xr.Dataset, networks: list[str], names: list[str]) -> list[Verdict]:
    kept = [name for name in RATES if name in names]
    if "none" not in kept:
        return []
    found = []
    for network in networks:
        solved = table["solved"].sel(network=network, remedy=kept)
        rates = (table["rate"] * table["unit"].sel(network=network, remedy=kept)).values
        k, n = int(solved.sum()), solved.size
        low, high = share_interval(k, n)
        rescued = _rescuers(table, network, names)
        right: Standing = "right after repair" if rescued else "right"
        found.append(
            observe(
                ["C8"],
                f"Share of runs of plain gradient descent on the {network} network that learn, {n} runs "
                f"at rates from {rates.min():g} to {rates.max():g}; 95 % interval {low:.3f} to {high:.3f}",
                "exact binomial interval (Clopper & Pearson 1934)",
                measured=k / n, uncertainty=float(np.sqrt(k / n * (1 - k / n) / n)),
                claim="wrong" if k / n >= LEARNT else right,
                correction=f"Not with plain gradient descent at any rate tried; the same {network} initial "
                f"weights learn with: {', '.join(rescued)}." if rescued and k / n < LEARNT else "",
            )
        )  # fmt: skip
    return found


def _rescuers(table: xr.Dataset, network: str, names: list[str]) -> list[str]:
    """Remedies that keep activation and weights, and work."""
    rows, none = scores(table), recipe(network, "none")
    found = []
    for name in names:
        one = recipe(network, name)
        row = rows[(rows["network"] == network) & (rows["remedy"] == name)].iloc[0]
        kept = (one.activation, one.scheme, one.sigma_w) == (none.activation, none.scheme, none.sigma_w)
        if kept and one != none and row["solved"] / row["seeds"] >= LEARNT:
            found.append(REMEDIES[name].label)
    return found


def _adaptive(table: xr.Dataset, rows: pd.DataFrame, networks: list[str], names: list[str]) -> list[Verdict]:
    kept = [name for name in ADAPTIVE if name in names]
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
            measured=ordered, predicted=0.0, tolerance=SAME,
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
    kept = [name for name in LISTED if name in names]
    if len(kept) < 2:
        return []
    share, error, words = _share(rows, kept)
    chosen = rows[rows["remedy"].isin(kept)]
    failed = chosen[chosen["solved"] / chosen["seeds"] < LEARNT]
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
    kept = [name for name in PENALTIES if name in names]
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
    if "orthogonal" not in names:
        return []
    share, error, words = _share(rows, ("orthogonal",))
    lost = {r.network: r.decades_lost_start for r in rows[rows["remedy"] == "orthogonal"].itertuples()}
    decades = ", ".join(f"{value:.1f} ({network})" for network, value in lost.items())
    return [
        observe(
            ["C14"],
            f"Orthogonal weights: {words}; decades that the gradient still loses before training: {decades}",
            SAXE, measured=share, uncertainty=error,
            claim="right after repair" if share < 1 - 1e-9 else "right",
            correction="Orthogonal kernels keep lengths; the slope of the activation is a factor that they "
            "cannot restore." if share < 1 - 1e-9 else "",
        )
    ]  # fmt: skip


def _relu(rows: pd.DataFrame, names: list[str], steps: int) -> list[Verdict]:
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


def _norms(rows: pd.DataFrame, names: list[str]) -> list[Verdict]:
    chosen = rows[(rows["network"] == "vanishing") & rows["remedy"].isin(("batch_norm", "layer_norm"))]
    if len(chosen) < 2:
        return []
    by = chosen.set_index("remedy")
    batch, layer = by.loc["batch_norm"], by.loc["layer_norm"]
    shares = np.array([batch["solved"], layer["solved"]]) / batch["seeds"]
    return [
        observe(
            ["C17"],
            f"Sigmoid layers: successes with batch norm ({batch['solved']}/{batch['seeds']}) less those "
            f"with layer norm ({layer['solved']}/{layer['seeds']}). Theory before training: layer norm keeps "
            f"the common mean of the sigmoid in its scale and loses {layer['decades_lost_predicted']:.1f} "
            f"decades (measured {layer['decades_lost_start']:.1f}), batch norm removes it and gains "
            f"{-batch['decades_lost_predicted']:.1f} ({-batch['decades_lost_start']:.1f})",
            "E phi'^2 / E phi^2 against E phi'^2 / Var phi",
            measured=float(shares[0] - shares[1]),
            uncertainty=float(np.sqrt((shares * (1 - shares)).sum() / batch["seeds"])),
            claim="right after repair" if shares[0] > shares[1] else "right",
            correction="A norm that cures one failing network need not cure another: with sigmoid layers "
            "layer norm does not stop vanishing gradients." if shares[0] > shares[1] else "",
        )
    ]  # fmt: skip


def _speed(
    table: xr.Dataset, at: xr.Dataset, rows: pd.DataFrame, networks: list[str], names: list[str]
) -> list[Verdict]:
    """Batch norm on networks that train without it: steps at tuned rates, and the largest usable rate."""
    pairs = []
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
