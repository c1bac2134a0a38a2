"""Verdicts of ``clipping``: sizes and directions of clipped steps, who learns, what penalties do."""

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.clipping import penalties as penalty_verdicts
from signalprop.bench.experiments.clipping.scenes import FAR, label
from signalprop.bench.experiments.clipping.scores import (
    EXPLODES,
    at_best_rate,
    epsilon,
    initial_share,
    log,
    named,
)
from signalprop.bench.measure.estimates import exp
from signalprop.bench.record.verdict import Verdict, judge, observe, sampling_factor

PASCANU = "Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063"
KARPATHY = "Karpathy (2016), Yes you should understand backprop; Mnih et al. (2015), Nature 518"
FADES = 1.0  # gain of tanh networks below which gradients fade
GUESS = 1 / 6  # loss of the best guess on the adding problem
CLIP = (
    "Clipping by norm rescales a long gradient and keeps its direction; clipping by value turns it. Both "
    "act on long gradients only, and neither helps against vanishing ones."
)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge what was run; what is absent is left out."""
    networks = set(map(str, result["network"].values))
    found = [*_lengths(result), *_directions(result), *_first_step(result), *_untouched(result)]
    if "deep" in networks:
        found += _success(result.sel(network=["deep"]))
    if "cliff" in networks:
        found += _cliff(result.sel(network="cliff"))
    found += _td(result, networks)
    real = [name for name in ("deep", "recurrent") if name in networks]
    if "recurrent" in networks:
        found += _stable(result.sel(network="recurrent"))
    return [*found, *(penalty_verdicts.verdicts(result.sel(network=real)) if real else [])]


def _lengths(result: xr.Dataset) -> list[Verdict]:
    """Length of every update against min(lr |g|, lr c)."""
    names = [*named(result, "none"), *named(result, "norm")]
    if not names:
        return []
    at = result.sel(treatment=names)
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
            tolerance=128 * epsilon(result), tolerance_from="rounding, 128 units in the last place of 1",
        )
    ]  # fmt: skip


def _directions(result: xr.Dataset) -> list[Verdict]:
    """Angle between a gradient and what clipping leaves of it, where clipping engages."""
    found, at = [], result.sel(network=[n for n in ("deep", "recurrent") if n in result["network"].values])
    if at.sizes["network"] == 0:
        return []
    norms, values = named(at, "norm"), named(at, "value")
    if norms:
        cosine = at["cosine"].sel(treatment=norms).values
        cosine = cosine[np.isfinite(cosine)]
        found.append(
            judge(
                ["C30"], "Cosine of a gradient with itself clipped by norm, before training", PASCANU,
                measured=float(cosine.min()), predicted=1.0, tolerance=128 * epsilon(result),
                tolerance_from="rounding, 128 units in the last place of 1",
            )
        )  # fmt: skip
    if values:
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
    names = named(result, "norm")
    real = [n for n in ("deep", "recurrent") if n in result["network"].values]
    if not names or not real:
        return []
    at = result.sel(treatment=names, network=real).isel(learning_rate=0)
    probes = at.sizes["probe"]
    share, clipped = initial_share(at), at["clip_rate"].isel(update=0)
    smooth = (share * probes + 0.5) / (probes + 1)
    spread = (smooth * (1 - smooth) * (1 + 1 / probes)).sum("seed") ** 0.5
    predicted, measured = share.mean("seed"), clipped.mean("seed")
    seeds = at.sizes["seed"]
    order = predicted.dims
    error = (spread / seeds).transpose(*order).values
    found = [
        judge(
            ["C30"], f"Share of {seeds} networks whose first step is clipped by norm, against the share of "
            f"{probes} batches with |g| > c before training, by network, c and gain", PASCANU,
            measured=measured.transpose(*order).values, predicted=predicted.values,
            uncertainty=error, tolerance=sampling_factor(predicted.size) * error,
            tolerance_from="binomial, as sure as five standard errors, with half a batch added on both sides",
        )
    ]  # fmt: skip
    whole = result["clip_rate"].sel(treatment=names, network=real).mean("update") - share
    moved = np.abs(whole.mean("seed"))
    found.append(
        observe(
            ["C30"], "Share of all steps that are clipped, less the share before training: mean absolute "
            f"difference over settings (largest: {float(moved.max()):.2f})", PASCANU,
            measured=float(moved.mean()), claim="right after repair",
            correction="How often clipping will engage cannot be read off the gradients before training.",
        )
    )  # fmt: skip
    return found


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
        judge(
            ["C30"], f"Networks whose gradient never exceeds c: {pairs} of them, and the same without "
            "clipping; largest difference of their losses at any update", PASCANU,
            measured=largest, predicted=0.0, tolerance=0.0, tolerance_from="the same bits", correction=CLIP,
            claim="right after repair",
        )
    ]  # fmt: skip


def _counts(at: xr.Dataset, name: str) -> tuple[int, int, str]:
    done = at["solved"].sel(treatment=name)
    k, n = int(done.sum()), done.size
    low, high = share_interval(k, n)
    return k, n, f"{label(name)} {k}/{n} ({low:.2f} to {high:.2f})"


def _success(result: xr.Dataset) -> list[Verdict]:
    """Deep networks that explode, and that fade: who learns, at the better learning rate of each."""
    at, found = at_best_rate(result), []
    names = [str(t) for t in result["treatment"].values]
    norms = named(result, "norm")
    if "none" not in names or not norms:
        return []
    strong, weak = at.sel(gain=at["gain"] > EXPLODES), at.sel(gain=at["gain"] < FADES)
    for chosen, exploding in ((strong, True), (weak, False)):
        if chosen.sizes["gain"] == 0:
            continue
        counts = {name: _counts(chosen, name) for name in names}
        best = max(norms, key=lambda name: counts[name][0])
        (k, n, _), (none, _, _) = counts[best], counts["none"]
        p = stats.fisher_exact([[k, n - k], [none, n - none]]).pvalue
        gains = ", ".join(f"{g:g}" for g in chosen["gain"].values)
        words = "; ".join(text for _, _, text in counts.values())
        share, plain = k / n, none / n
        found.append(
            observe(
                ["C8", "C17", "C30", "D24"] if exploding else ["C30", "C17"],
                f"Deep tanh network, {int(result['depth'])} layers, sigma_w = {gains}: networks that learn "
                f"in {result.sizes['update']} updates of gradient descent, each treatment at the better of "
                f"{result.sizes['learning_rate']} learning rates, with exact 95 % intervals: {words}. Gain "
                f"of {label(best)} over none (Fisher, as if independent: p = {p:.1g})", PASCANU,
                measured=share - plain,
                uncertainty=float(np.sqrt((share * (1 - share) + plain * (1 - plain)) / n)),
                claim="right after repair",
                correction=_learnt(p, share - plain, none) if exploding else CLIP,
            )
        )  # fmt: skip
    return found


def _learnt(p: float, gain: float, none: int) -> str:
    """What the counts say about exploding networks."""
    words = "Clipping helped" if p < 0.05 and gain > 0 else "Clipping cost successes" if p < 0.05 else (
        "Clipping made no difference beyond chance")  # fmt: skip
    chance = "plain gradient descent learns in some" if none else "plain gradient descent learns in none"
    return f"{words} here; {chance} of these exploding networks. It limits a step, it undoes no chaos."


def _cliff(at: xr.Dataset) -> list[Verdict]:
    """The longest step of every path on the error surface, and who comes down."""
    names = [*named(at, "none"), *named(at, "norm")]
    if "none" not in names or len(names) < 2:
        return []
    at = at_best_rate(at.expand_dims("network")).isel(network=0)
    at = at.isel(gain=0) if "gain" in at.dims else at
    steps = exp(at["log_update"].max("update"))
    counts = "; ".join(_counts(at, name)[2] for name in names)
    last = names[1]
    return [
        observe(
            ["C30"], "Cliff of one recurrent unit: paths that end below an error of 0.01, each treatment "
            f"at the better learning rate: {counts}. Longest step of a path in (w, b), largest over "
            f"{at.sizes['seed']} starts: {float(steps.sel(treatment=last).max()):.2g} with {label(last)}, "
            "without clipping", PASCANU,
            measured=float(steps.sel(treatment="none").max()), claim="right after repair", correction=CLIP,
        )
    ]  # fmt: skip


def _td(result: xr.Dataset, networks: set[str]) -> list[Verdict]:
    """The square of a clipped error, and Huber's loss, far from the targets."""
    if "none" not in result["treatment"].values:
        return []
    found = []
    if "td_clipped" in networks:
        at = result.sel(network="td_clipped", treatment="none")
        found.append(
            judge(
                ["C30"], "Square of an error clipped to +-1, all errors outside: largest gradient of any "
                "update",
                KARPATHY, measured=float(np.exp(at["log_gradient_norm"].max())), predicted=0.0, tolerance=0.0,
                tolerance_from="exact", claim="right after repair",
                correction="Clip the gradient, not the error: a clipped error has no gradient outside the "
                "range.",
            )
        )  # fmt: skip
    if "td_huber" in networks:
        at = result.sel(network="td_huber", treatment="none").isel(gain=0)
        line = at["learning_rate"] * at["update"]
        inside = (line <= FAR - 2) & (at["seed"] >= 0)
        value, line = xr.broadcast(at["place"].isel(weight=0), line)
        kept = inside.broadcast_like(value).transpose(*value.dims).values
        rounding = result.sizes["update"] * epsilon(result) * FAR
        found.append(
            judge(
                ["C30"], "Huber's loss on the same targets: the value after n updates, while all errors are "
                "outside +-1, less n lr", KARPATHY,
                measured=float(np.max(np.abs((value - line.transpose(*value.dims)).values[kept]))),
                predicted=0.0, tolerance=rounding, tolerance_from="rounding of one sum per update",
            )
        )  # fmt: skip
    return found


def _stable(at: xr.Dataset) -> list[Verdict]:
    """Recurrent networks above gain 1 whose loss ends within twice that of the best guess."""
    strong, norms = at.sel(gain=at["gain"] > EXPLODES), named(at, "norm")
    if "none" not in at["treatment"].values or not norms or strong.sizes["gain"] == 0:
        return []
    end = (
        strong["loss"]
        .isel(update=slice(-max(1, at.sizes["update"] // 10), None))
        .mean("update", skipna=False)
    )
    fine = (end < 2 * GUESS) & (strong["diverged_at"] == 0)
    counts = {t: (int(fine.sel(treatment=t).sum()), fine.sel(treatment=t).size) for t in ["none", *norms]}
    words = "; ".join(
        f"{label(t)} {k}/{n} ({share_interval(k, n)[0]:.2f} to {share_interval(k, n)[1]:.2f})"
        for t, (k, n) in counts.items()
    )
    best = max(norms, key=lambda t: counts[t][0])
    (k, n), (plain, _) = counts[best], counts["none"]
    p = stats.fisher_exact([[k, n - k], [plain, n - plain]]).pvalue
    helped = p < 0.05 and k > plain
    return [
        observe(
            ["C30", "D24", "C8"], f"Recurrent tanh networks of gain above {EXPLODES:g}, adding problem, at "
            "all learning rates: networks whose loss ends below twice that of the best guess, with exact "
            f"95 % intervals: {words}. Gain of {label(best)} over none (Fisher, as if independent: p = "
            f"{p:.1g})",
            PASCANU, measured=(k - plain) / n,
            uncertainty=float(np.sqrt((k * (n - k) + plain * (n - plain)) / n**3)),
            claim="right" if helped else "not checkable",
            correction="" if helped else "No difference beyond chance at this number of networks.",
        )
    ]  # fmt: skip
