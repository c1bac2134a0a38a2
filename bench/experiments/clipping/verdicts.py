"""Verdicts of ``clipping``: sizes and directions of clipped steps, who learns, what penalties do."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.clipping import penalties
from signalprop.bench.experiments.clipping.scenes import FAR
from signalprop.bench.experiments.clipping.scores import (
    EXPLODES,
    at_best_rate,
    epsilon,
    final_loss,
    initial_share,
    log,
    named,
)
from signalprop.bench.experiments.clipping.treatments import label
from signalprop.bench.measure.estimates import exp, share_and_error
from signalprop.bench.record.verdict import Verdict, compare_estimates, judge, judge_zero, observe

PASCANU = "Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063"
KARPATHY = "Karpathy (2016), Yes you should understand backprop; Mnih et al. (2015), Nature 518"
ROUNDING = "rounding, 128 units in the last place of 1"
FADES = 1.0  # gain of tanh networks below which gradients fade
GUESS = 1 / 6  # loss of the best guess on the adding problem
CLIP = (
    "Clipping by norm rescales a long gradient and keeps its direction; clipping by value turns it. Both "
    "act on long gradients only, and neither helps against vanishing ones."
)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge what was run; what is absent is left out."""
    networks = [str(n) for n in result["network"].values]
    real = [name for name in ("deep", "recurrent") if name in networks]
    found = _lengths(result)
    if real:
        found += [*_directions(result.sel(network=real)), *_first_step(result.sel(network=real))]
    found += _untouched(result)
    if "deep" in networks:
        found += _success(result.sel(network=["deep"]))
    if "cliff" in networks:
        found += _cliff(result.sel(network=["cliff"]))
    if "none" in result["treatment"].values:
        found += _td(result.sel(treatment="none"), networks)
    if "recurrent" in networks:
        found += _stable(result.sel(network="recurrent"))
    return [*found, *(penalties.verdicts(result.sel(network=real)) if real else [])]


def _lengths(result: xr.Dataset) -> list[Verdict]:
    """Length of every update against min(lr |g|, lr c)."""
    at = result.sel(treatment=named(result, "none", "norm"))
    if at.sizes["treatment"] == 0:
        return []
    limit = at["log_gradient_norm"].clip(max=log(at["clip_norm"])) + log(at["learning_rate"])
    measured, predicted = xr.broadcast(at["log_update"], limit)
    alive = np.isfinite(at["loss"].broadcast_like(measured).values) & ~np.isnan(predicted.values)
    with np.errstate(invalid="ignore"):
        lost = measured.values - predicted.values
    moved = alive & np.isfinite(predicted.values)
    still = alive & (predicted.values == -np.inf) & (measured.values == -np.inf)
    return [
        judge(
            ["C30"], f"Length of {int((moved | still).sum())} updates, of networks clipped by norm and "
            f"not: log of it less log min(lr |g|, lr c); {int(still.sum())} gradients are exactly 0, and "
            "so are their updates", PASCANU,
            measured=float(np.max(np.abs(lost[moved]), initial=0.0)), predicted=0.0,
            tolerance=128 * epsilon(result), tolerance_from=ROUNDING,
        )
    ]  # fmt: skip


def _directions(at: xr.Dataset) -> list[Verdict]:
    """Angle between a gradient and what clipping leaves of it, where clipping engages."""
    found = []
    if norms := named(at, "norm"):
        cosine = at["cosine"].sel(treatment=norms).values
        found.append(
            judge(
                ["C30"], "Cosine of a gradient with itself clipped by norm, before training", PASCANU,
                measured=float(cosine[np.isfinite(cosine)].min()), predicted=1.0,
                tolerance=128 * epsilon(at), tolerance_from=ROUNDING,
            )
        )  # fmt: skip
    if values := named(at, "value"):
        cosine = at["cosine"].sel(treatment=values).values
        angles = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        turned = angles[angles > 1]
        if turned.size:
            found.append(
                observe(
                    ["C30"], f"The same clipped by value ({', '.join(label(v) for v in values)}): it turns "
                    f"{turned.size / angles.size:.0%} of the gradients by more than 1 degree; angle in "
                    "degrees, median of these", "Goodfellow, Bengio & Courville (2016), section 10.11.1",
                    measured=float(np.median(turned)), claim="right after repair", correction=CLIP,
                )
            )  # fmt: skip
    return found


def _first_step(result: xr.Dataset) -> list[Verdict]:
    """Number of seeds whose first step is clipped, against the share of batches before training."""
    at = result.sel(treatment=named(result, "norm"))
    if at.sizes["treatment"] == 0:
        return []
    share, seeds, probes = initial_share(at), at.sizes["seed"], at.sizes["probe"]
    moved = abs((at["clip_rate"].mean("update") - share).mean("seed"))
    share = share.isel(learning_rate=0)
    smooth = (share * probes + 0.5) / (probes + 1)
    spread = (smooth * (1 - smooth) * (1 + 1 / probes)).sum("seed") ** 0.5
    return [
        *compare_estimates(
            ["C30"], f"Share of {seeds} networks whose first step is clipped by norm, against the share of "
            f"{probes} batches with |g| > c before training, by network, c and gain", PASCANU,
            at["clip_rate"].isel(update=0, learning_rate=0).mean("seed"), spread / seeds, share.mean("seed"),
            tolerance_from="binomial, as sure as five standard errors, with half a batch added on both sides",
        ),
        observe(
            ["C30"], "Share of all steps that are clipped, less the share before training: mean absolute "
            f"difference over settings (largest: {float(moved.max()):.2f})", PASCANU,
            measured=float(moved.mean()), claim="right after repair",
            correction="How often clipping will engage cannot be read off the gradients before training.",
        ),
    ]  # fmt: skip


def _untouched(result: xr.Dataset) -> list[Verdict]:
    """Networks whose gradient never exceeds the norm, bit by bit against the same without clipping."""
    if "none" not in result["treatment"].values or not named(result, "norm"):
        return []
    plain, largest, pairs = result["loss"].sel(treatment="none", drop=True), 0.0, 0
    for name in named(result, "norm"):
        at = result.sel(treatment=name, drop=True)
        idle = ((at["clip_rate"] == 0).all("update") & (at["diverged_at"] == 0)).values
        apart = abs(at["loss"] - plain).max("update").values[idle]
        largest, pairs = max(largest, float(np.max(apart, initial=0.0))), pairs + int(idle.sum())
    if pairs == 0:
        return []
    return [
        judge_zero(
            ["C30"], f"Networks whose gradient never exceeds c: {pairs} of them, and the same without "
            "clipping; largest difference of their losses at any update", PASCANU, largest,
            tolerance_from="the same bits", claim="right after repair", correction=CLIP,
        )
    ]  # fmt: skip


class _Counts(NamedTuple):
    """How many networks succeed without clipping, and with the best norm to clip at.

    Attributes:
        words: The counts of all treatments with their exact intervals.
        best: The treatment that clips by norm and has the most successes.
        plain: Successes without clipping.
        gain: The share of successes with the best norm, less that without clipping.
        error: Its standard error.
        p: Fisher's p that there is no difference, as if all networks were independent.
    """

    words: str
    best: str
    plain: int
    gain: float
    error: float
    p: float


def _counts(fine: xr.DataArray, names: list[str]) -> _Counts:
    """Compare treatments, of which one is none and others clip by norm, by their successes."""
    number = {name: int(fine.sel(treatment=name).sum()) for name in names}
    total = fine.size // fine.sizes["treatment"]
    best = max((name for name in names if name.startswith("norm")), key=lambda name: number[name])
    k, plain = number[best], number["none"]
    p = stats.fisher_exact([[k, total - k], [plain, total - plain]]).pvalue
    (share, error), (without, other_error) = share_and_error(k, total), share_and_error(plain, total)
    both = float(np.hypot(error, other_error))
    return _Counts(_listed(number, total), best, plain, share - without, both, float(p))


def _listed(number: dict[str, int], total: int) -> str:
    intervals = {name: share_interval(k, total) for name, k in number.items()}
    return "; ".join(
        f"{label(name)} {number[name]}/{total} ({low:.2f} to {high:.2f})"
        for name, (low, high) in intervals.items()
    )


def _success(result: xr.Dataset) -> list[Verdict]:
    """Deep networks that explode, and that fade: who learns, at the better learning rate of each."""
    at, found = at_best_rate(result), []
    names = [str(t) for t in result["treatment"].values]
    if "none" not in names or not named(result, "norm"):
        return []
    for exploding, kept in ((True, at["gain"] > EXPLODES), (False, at["gain"] < FADES)):
        chosen = at.sel(gain=kept)
        if chosen.sizes["gain"] == 0:
            continue
        counts = _counts(chosen["solved"], names)
        gains = ", ".join(f"{g:g}" for g in chosen["gain"].values)
        found.append(
            observe(
                ["C8", "C17", "C30", "D24"] if exploding else ["C30", "C17"],
                f"Deep tanh network, {int(result['depth'])} layers, sigma_w = {gains}: networks that learn "
                f"in {result.sizes['update']} updates of gradient descent, each treatment at the better of "
                f"{result.sizes['learning_rate']} learning rates, with exact 95 % intervals: {counts.words}. "
                f"Gain of {label(counts.best)} over none (Fisher, as if independent: p = {counts.p:.1g})",
                PASCANU, measured=counts.gain, uncertainty=counts.error, claim="right after repair",
                correction=_learnt(counts) if exploding else CLIP,
            )
        )  # fmt: skip
    return found


def _learnt(counts: _Counts) -> str:
    """What the counts say about exploding networks."""
    words = "Clipping made no difference beyond chance"
    if counts.p < 0.05:
        words = "Clipping helped" if counts.gain > 0 else "Clipping cost successes"
    learns = "some" if counts.plain else "none"
    return (
        f"{words} here; plain gradient descent learns in {learns} of these exploding networks. It limits a "
        "step, it undoes no chaos."
    )


def _cliff(result: xr.Dataset) -> list[Verdict]:
    """The longest step of every path on the error surface, and who comes down."""
    names = named(result, "none", "norm")
    if "none" not in names or len(names) < 2:
        return []
    at = at_best_rate(result).isel(network=0, gain=0)
    number = {name: int(at["solved"].sel(treatment=name).sum()) for name in names}
    steps = exp(at["log_update"].max("update"))
    return [
        observe(
            ["C30"], "Cliff of one recurrent unit: paths that end below an error of 0.01, each treatment "
            f"at the better learning rate: {_listed(number, at.sizes['seed'])}. Longest step of a path in "
            f"(w, b), largest over {at.sizes['seed']} starts: "
            f"{float(steps.sel(treatment=names[1]).max()):.2g} with {label(names[1])}, without clipping",
            PASCANU, measured=float(steps.sel(treatment="none").max()), claim="right after repair",
            correction=CLIP,
        )
    ]  # fmt: skip


def _td(result: xr.Dataset, networks: list[str]) -> list[Verdict]:
    """The square of a clipped error, and Huber's loss, far from the targets."""
    found = []
    if "td_clipped" in networks:
        largest = result["log_gradient_norm"].sel(network="td_clipped").max()
        found.append(
            judge_zero(
                ["C30"], "Square of an error clipped to +-1, all errors outside: largest gradient of any "
                "update", KARPATHY, float(np.exp(largest)), claim="right after repair",
                correction="Clip the gradient, not the error: a clipped error has no gradient outside the "
                "range.",
            )
        )  # fmt: skip
    if "td_huber" in networks:
        at = result.sel(network="td_huber").isel(gain=0)
        line = at["learning_rate"] * at["update"]
        apart = abs(at["place"].isel(weight=0) - line).where(line <= FAR - 2, 0.0)
        found.append(
            judge(
                ["C30"], "Huber's loss on the same targets: the value after n updates, while all errors are "
                "outside +-1, less n lr", KARPATHY,
                measured=float(apart.max(skipna=False)), predicted=0.0,
                tolerance=result.sizes["update"] * epsilon(result) * FAR,
                tolerance_from="rounding of one sum per update",
            )
        )  # fmt: skip
    return found


def _stable(at: xr.Dataset) -> list[Verdict]:
    """Recurrent networks above gain 1 whose loss ends within twice that of the best guess."""
    strong, norms = at.sel(gain=at["gain"] > EXPLODES), named(at, "norm")
    if "none" not in at["treatment"].values or not norms or strong.sizes["gain"] == 0:
        return []
    counts = _counts(final_loss(strong) < 2 * GUESS, ["none", *norms])
    helped = counts.p < 0.05 and counts.gain > 0
    return [
        observe(
            ["C30", "D24", "C8"], f"Recurrent tanh networks of gain above {EXPLODES:g}, adding problem, at "
            "all learning rates: networks whose loss ends below twice that of the best guess, with exact "
            f"95 % intervals: {counts.words}. Gain of {label(counts.best)} over none (Fisher, as if "
            f"independent: p = {counts.p:.1g})", PASCANU, measured=counts.gain, uncertainty=counts.error,
            claim="right" if helped else "not checkable",
            correction="" if helped else "No difference beyond chance at this number of networks.",
        )
    ]  # fmt: skip
