"""Verdicts of ``pretraining``: speed, saturation, decoupled modes, and which optimum is found."""

import numpy as np
import xarray as xr

from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.pretraining import LABELS, PRETRAINED
from signalprop.bench.measure.estimates import mean_and_error
from signalprop.bench.record.verdict import FEWEST, Verdict, compare, judge, observe, surely
from signalprop.bench.training.choice import at_best_rate

HINTON = "Hinton, Osindero & Teh (2006), Neural Computation 18(7)"
GLOROT = "Glorot & Bengio (2010), AISTATS"
SAXE = "Saxe, McClelland & Ganguli (2013), arXiv:1312.6120"
BENGIO = "Bengio et al. (2007), NIPS 19"
RANDOM = ("normal_001", "uniform_standard", "glorot_uniform")
CRITICAL = ("critical", "orthogonal_critical")
LN10 = float(np.log(10))
TARGET = 0.5  # of the loss of the best constant answer: the training loss at which a network has learned


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge what pretraining changes; comparisons whose starts were not run are left out."""
    at = best(result)
    deep = at.sel(depth=at["depth"].max())
    names = [str(name) for name in at["start"].values]
    ready = [name for name in names if name in PRETRAINED]
    found = _exact_alignment(deep, names)
    if ready:
        found += [*_decoupled(deep, ready), *_speed(deep, names, ready), *_joint(result)]
        found += [*_gradient(deep, names, ready), *_saturation(deep, names, ready)]
        found += [*_final_loss(at, names, ready), *_coincide(at, names, ready)]
    return found


def best(result: xr.Dataset) -> xr.Dataset:
    """The result at the better learning rate of every start, activation, data set and depth.

    That is where more seeds reach the target or, at equal numbers, with the smaller median training loss.
    """
    loss = result["train_loss"].fillna(np.inf).median("seed")
    return at_best_rate(result, (updates_to_target(result) < np.inf).sum("seed"), -loss)


def updates_to_target(result: xr.Dataset) -> xr.DataArray:
    """Updates of every layer, those of pretraining included, until the mean training loss is at the target.

    The mean over the updates of a record; infinity where no record reaches it.
    """
    reached = result["curve"] <= TARGET * result["curve_predicted"]
    return result["update"].where(reached, np.inf).min("update") + result["updates_before"]


def _exact_alignment(deep: xr.Dataset, names: list[str]) -> list[Verdict]:
    """Orthogonal layers exactly, independent Gaussian ones at large width, deepest networks."""
    if int(deep["depth"]) < 3:
        return []
    chosen, seeds = deep["alignment"].sel(when="before").isel(data=0), deep.sizes["seed"]
    found = []
    if orthogonal := [name for name in names if name.startswith("orthogonal")]:
        found.append(judge(
            ["C28"], "Neighbouring orthogonal layers pass on each other's directions whole: share of the "
            "largest norm possible of their products", SAXE,
            measured=chosen.sel(start=orthogonal).values.ravel(), predicted=1.0, tolerance=1e-5,
            tolerance_from="rounding in float32", claim="right after repair",
            correction="What helps is an isometry or decoupled modes, however they come about.",
        ))  # fmt: skip
    gaussian = [name for name in ("normal_001", "critical") if name in names]
    if gaussian and seeds >= FEWEST:
        slack = float(deep["alignment_tolerance"].sel(start=gaussian[0]))
        found += compare(
            ["C28"], "Independent Gaussian layers pass on half of the largest possible norm", SAXE,
            chosen.sel(start=gaussian), 0.5, slack=slack,
            tolerance_from=f"{slack:g} of finite width, 2 / N, and sampling {surely(seeds)}",
            claim="right after repair", correction="Random layers mix the modes that training must separate.",
        )  # fmt: skip
    return found


def _decoupled(deep: xr.Dataset, ready: list[str]) -> list[Verdict]:
    """What pretraining makes of neighbouring layers, and of the Jacobian."""
    if int(deep["depth"]) < 3:
        return []
    deep = deep.sel(when="before")
    aligned = deep["alignment"].sel(start=ready)
    spread = deep["spread"].sel(start=ready)
    mean, error = mean_and_error(aligned.mean(("start", "activation", "data")))
    each = ", ".join(
        f"{phi} {LABELS[name]} {float(aligned.sel(activation=phi, start=name).mean()):.2f}"
        for phi in deep["activation"].values for name in ready
    )  # fmt: skip
    others = [name for name in ("normal_001", *CRITICAL) if name in deep["start"].values]
    rest = ", ".join(f"{LABELS[n]} {float(deep['spread'].sel(start=n).mean()):.1f}" for n in others)
    return [
        observe(
            ["C28"], f"Greedy training of {int(deep['depth'])} layers raises the alignment of neighbours, 1 "
            f"of orthogonal and 0.5 of independent layers: {each}. It makes no isometry: the log singular "
            f"values of the Jacobian spread by {float(spread.mean()):.1f} nats ({rest}). Mean alignment",
            SAXE, measured=mean, uncertainty=error, claim="right after repair" if mean > 0.6 else "wrong",
            correction="Pretraining reaches decoupled modes, not orthogonal weights." if mean > 0.6 else
            "It decoupled no modes here.",
        )
    ]  # fmt: skip


def _speed(deep: xr.Dataset, names: list[str], ready: list[str]) -> list[Verdict]:
    """Successes and updates of the deepest networks, activation by activation."""
    found = []
    needed = updates_to_target(deep)
    small = [name for name in RANDOM if name in names]
    good = [name for name in (*CRITICAL, "orthogonal") if name in names]
    for phi in map(str, deep["activation"].values):
        one = needed.sel(activation=phi)
        each = "; ".join(f"{LABELS[n]}: {_successes(one.sel(start=n))}" for n in names)
        share = {n: float((one.sel(start=n) < np.inf).mean()) for n in names}
        reached = float(np.mean([share[n] for n in ready]))
        plain = max((share[n] for n in small), default=float("nan"))
        as_good = max((share[n] for n in good), default=float("nan"))
        beyond = "Pretraining learns beyond" if reached > plain else "No start was needed beyond"
        as_sure = "learn as surely" if as_good >= reached else "learn less surely"
        found.append(observe(
            ["C28"], f"{int(deep['depth'])} {phi} layers, networks at {TARGET:g} of the base-rate loss "
            f"(exact 95 % intervals), and updates of each layer until then, pretraining included: {each}. "
            f"Share of pretrained networks, minus that of the best of {len(small)} usual random starts",
            HINTON, measured=reached - plain, claim="right after repair",
            correction=f"{beyond} the usual random starts at this depth; random weights at the critical "
            f"scale {as_sure}. Greedy training was introduced for inference in deep belief networks.",
        ))  # fmt: skip
    return found


def _successes(needed: xr.DataArray) -> str:
    """Networks that reach the target, with the exact (Clopper-Pearson) 95 % interval, and their updates."""
    k, n, middle = int((needed < np.inf).sum()), needed.size, float(needed.median())
    low, high = share_interval(k, n)
    updates = f"{middle:.0f}" if np.isfinite(middle) else "never"
    return f"{k} of {n} ({low:.2f} to {high:.2f}), median {updates}"


def _gradient(deep: xr.Dataset, names: list[str], ready: list[str]) -> list[Verdict]:
    """Decades that the first layer's gradient gains by pretraining."""
    if "normal_001" not in names:
        return []
    first = deep["log_gradient"].isel(activation=0, layer=0).sel(when="before") / LN10
    phi = str(first["activation"].values)
    gain = (first.sel(start=ready).mean("start") - first.sel(start="normal_001")).mean("data")
    mean, error = mean_and_error(gain[np.isfinite(gain)])
    return [
        observe(
            ["C28"], f"{int(deep['depth'])} {phi} layers: decades that pretraining adds to the gradient of "
            "the first layer, before the first update with labels", HINTON,
            measured=mean, uncertainty=error, claim="right after repair" if mean > 0 else "wrong",
            correction="Larger, fitting weights carry the gradient; those at the critical scale do too.",
        )
    ]  # fmt: skip


def _saturation(deep: xr.Dataset, names: list[str], ready: list[str]) -> list[Verdict]:
    """The last layer of sigmoid networks: the most saturated record, pretrained against usual starts."""
    if "sigmoid" not in deep["activation"].values:
        return []
    deep = deep.sel(activation="sigmoid")
    most = deep["saturated"].max("update").mean("data")
    shown = [n for n in (*RANDOM, *CRITICAL, *ready) if n in names]
    each = "; ".join(f"{LABELS[n]} {float(most.sel(start=n).mean()):.2f}" for n in shown)
    mean, error = mean_and_error(most.sel(start=ready).mean("start"))
    learned = (updates_to_target(deep).median("seed") < np.inf).any("data")
    rest = [float(most.sel(start=n).mean()) for n in names if n not in ready and bool(learned.sel(start=n))]
    fewer = mean < min(rest, default=0.0)
    return [
        observe(
            ["C28"], f"Largest share of saturated units (slope below a tenth of the largest) of the last of "
            f"{int(deep['depth'])} sigmoid layers at any time of training: {each}. Mean of pretrained "
            "ones", GLOROT,
            measured=mean, uncertainty=error, claim="right after repair" if fewer else "wrong",
            correction="Fewer units saturate than from random starts that learn; without learning none "
            "need to." if fewer else "Other starts that learn saturate no more units here.",
        )
    ]  # fmt: skip


def _final_loss(at: xr.Dataset, names: list[str], ready: list[str]) -> list[Verdict]:
    """Lowest median training loss: pretrained or not, case by case."""
    rest = [name for name in names if name not in ready]
    if not rest:
        return []
    loss = at["train_loss"].fillna(np.inf).median("seed")
    pre, other = loss.sel(start=ready).min("start"), loss.sel(start=rest).min("start")
    wins = int((pre < other).sum())
    return [
        observe(
            ["C29"], f"Median training loss at the end: a pretrained start is the lowest in {wins} of "
            f"{pre.size} cases of activation, data and depth. Largest ratio of the best pretrained to the "
            "best other loss", BENGIO, measured=float((pre / other).max()), claim="right after repair",
            correction="Nothing guarantees a global optimum: pretraining is a start, whose place another "
            "can take.",
        )
    ]  # fmt: skip


def _joint(result: xr.Dataset) -> list[Verdict]:
    """What training all layers together gains after greedy training."""
    error = result["joint_error"].isel(start=0, learning_rate=0).sel(depth=result["depth"].max())
    ratio = (error.sel(when="after") / error.sel(when="before")).transpose("seed", ...)
    known = ratio.values.reshape(ratio.sizes["seed"], -1)
    known = known[:, np.isfinite(known).all(0)]
    if known.size == 0:
        return []
    mean, deviation = mean_and_error(known.mean(1))
    lower = int((known < 1).sum())
    return [
        observe(
            ["C29"], f"After greedy training of {int(result['depth'].max())} layers all of them are trained "
            f"together as one autoencoder: in {lower} of {known.size} networks its error falls. "
            "Reconstruction error after over before, mean", BENGIO,
            measured=mean, uncertainty=deviation,
            claim="right after repair" if lower else "not checkable",
            correction="The optima of single layers do not add up to one of the whole: joint training goes "
            "on descending." if lower else "",
        )
    ]  # fmt: skip


def _coincide(at: xr.Dataset, names: list[str], ready: list[str]) -> list[Verdict]:
    """Updates without those of pretraining, pretrained against orthogonal, by depth."""
    if "orthogonal_critical" not in names or at.sizes["depth"] < 2:
        return []
    middle = (updates_to_target(at) - at["updates_before"]).median("seed")
    ratio = middle.sel(start=ready).min("start") / middle.sel(start="orthogonal_critical")
    each = []
    for phi in map(str, ratio["activation"].values):
        one = ratio.sel(activation=phi).mean("data", skipna=True)
        by_depth = ", ".join(f"{int(d)}: {float(v):.2f}" for d, v in zip(one["depth"], one, strict=True))
        each.append(f"{phi} ({by_depth})")
    known = ratio.values[np.isfinite(ratio.values)]
    if known.size == 0:
        return []
    return [
        observe(
            ["C28"], "Updates with labels that a pretrained network needs to the target, over those of an "
            f"orthogonal one of critical gain, by number of hidden layers: {'; '.join(each)}. Geometric mean",
            SAXE, measured=float(np.exp(np.log(known).mean())), claim="right after repair",
            correction="With the updates of pretraining set aside, both learn at a similar speed."
            if np.all((known > 1 / 3) & (known < 3)) else "The two do not coincide here at all depths.",
        )
    ]  # fmt: skip
