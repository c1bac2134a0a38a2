"""Verdicts on penalties: their gradient, how they shrink weights, and what they limit."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from signalprop.bench.experiments.clipping.scores import EXPLODES, LN10, epsilon, named
from signalprop.bench.experiments.clipping.treatments import label
from signalprop.bench.measure.estimates import exp, mean_and_error
from signalprop.bench.record.verdict import Verdict, judge, judge_zero, observe

CALCULUS = "calculus"
PASCANU = "Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063"
SMALL = 0.05  # relative change of the weights by all gradients together that counts as none
PENALTY = (
    "L2 and L1 shrink the weights during training, so they limit their drift. They change no gradient before "
    "training, and shrink weights that should remember as well."
)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the deep and the recurrent networks; radius and drift of the recurrent ones alone."""
    found = [*_penalty(result), *_decay(result)]
    if "recurrent" in result["network"].values:
        one = result.sel(network="recurrent")
        found += [*_radius(one), *_drift(one)]
    return found


def _penalty(result: xr.Dataset) -> list[Verdict]:
    """The slope of the penalty itself."""
    return [
        judge(
            ["C32"], "Slope of alpha |W|^2 by automatic differentiation, less 2 alpha W: largest "
            "entry", CALCULUS,
            measured=float(result["penalty_error"].max()), predicted=0.0, tolerance=epsilon(result),
            tolerance_from="rounding", claim="right after repair",
            correction="It is right for a linear model. An optimizer's weight decay of l2 adds l2 W to the "
            "gradient: it is 2 alpha, not alpha.",
        )
    ]  # fmt: skip


def _shrink(at: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """(1 - lr l2)^t, and the largest relative deviation of |W_t| that the gradients allow."""
    factor = 1 - at["learning_rate"] * at["l2"]
    sizes = exp(at["log_gradient_norm"] - at["log_weight"].isel(update=0))
    allowed = at["learning_rate"] * (sizes.cumsum("update") - sizes)
    return factor ** at["update"], allowed


def _by_room(
    ratio: xr.DataArray, pure: xr.DataArray, room: xr.DataArray
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Ratios, pure decays and room for deviations, apart where gradients can move little and more."""
    values = [column.values for column in xr.broadcast(ratio, pure, room)]
    alive = np.isfinite(values[0]) & np.isfinite(values[2])
    small = values[2] < SMALL
    for kept, words in ((small, f"at most {SMALL}"), (~small & (values[2] < 1), f"{SMALL} to 1")):
        if (alive & kept).any():
            chosen = [column[alive & kept] for column in values]
            yield words, chosen[0], chosen[1], chosen[2]


def _decay(result: xr.Dataset) -> list[Verdict]:
    """Weights under L2 against the pure decay, with the bound from the triangle inequality."""
    names = named(result, "l2")
    if not names:
        return []
    at = result.sel(treatment=names)
    pure, allowed = _shrink(at)
    ratio = exp(at["log_weight"] - at["log_weight"].isel(update=0))
    rounding = 4 * result.sizes["update"] * epsilon(result)
    return [
        judge(
            ["C31"], f"|W_t| / |W_0| under L2 ({', '.join(label(n) for n in names)}) against "
            f"(1 - lr l2)^t, where the gradients together can move it by {words}", CALCULUS,
            measured=measured, predicted=predicted, tolerance=room + rounding,
            tolerance_from="lr sum |g| / |W_0|, the triangle inequality, and rounding",
            claim="right after repair", correction=PENALTY,
        )
        for words, measured, predicted, room in _by_room(ratio, pure, allowed)
    ]  # fmt: skip


def _radius(at: xr.Dataset) -> list[Verdict]:
    """Spectral radius under the strongest L2 penalty against its pure decay."""
    names = named(at, "l2")
    if not names:
        return []
    strongest, end = max(names, key=lambda n: float(n.partition("-")[2])), at["moment"].values[-1]
    one = at.sel(treatment=strongest)
    pure, allowed = (curve.sel(update=end) for curve in _shrink(one))
    ratio = one["radius"].isel(moment=-1) / one["radius"].isel(moment=0)
    found = []
    for words, measured, predicted, _ in _by_room(ratio, pure, allowed):
        mean, error = mean_and_error(measured - predicted)
        found.append(
            observe(
                ["C31"], f"Spectral radius of the recurrent weights under {label(strongest)} after {end} "
                "updates, over that at the start, less (1 - lr l2)^t: mean over networks whose weights "
                f"the gradients can move by {words}", CALCULUS,
                measured=mean, uncertainty=error, claim="right after repair", correction=PENALTY,
            )
        )  # fmt: skip
    return found


def _drift(at: xr.Dataset) -> list[Verdict]:
    """Growth of the recurrent weights and largest gradients, with and without penalties, above gain 1."""
    names = named(at, "l2", "l1")
    strong = at.sel(gain=at["gain"] > EXPLODES).isel(learning_rate=-1)
    if "none" not in at["treatment"].values or not names or strong.sizes["gain"] == 0:
        return []
    growth = strong["log_weight"].max("update") - strong["log_weight"].isel(update=0)
    growth = growth.median(("seed", "gain"))
    largest = strong["log_gradient_norm"].max("update").median(("seed", "gain")) / LN10
    lost = (strong["diverged_at"] > 0).sum(("seed", "gain"))
    networks = strong.sizes["seed"] * strong.sizes["gain"]
    start = at["log_first_gradient"]
    same = float(np.abs(start.sel(treatment=names) - start.sel(treatment="none", drop=True)).max())
    words = "; ".join(
        f"{label(n)}: largest weights x {float(np.exp(growth.sel(treatment=n))):.2f}, largest gradient "
        f"1e{float(largest.sel(treatment=n)):.1f}, {int(lost.sel(treatment=n))} of {networks} diverge"
        for n in ["none", *names]
    )  # fmt: skip
    best = max(names, key=lambda n: float(largest.sel(treatment="none") - largest.sel(treatment=n)))
    saved = float(largest.sel(treatment="none") - largest.sel(treatment=best))
    return [
        judge_zero(
            ["C31"], "Gradients before training with a penalty's coefficient and without: largest "
            "difference of the logs of the loss's gradient", CALCULUS, same,
            tolerance_from="the same bits", claim="right after repair", correction=PENALTY,
        ),
        observe(
            ["C31", "C18"], f"Recurrent networks of gain above {EXPLODES:g}, medians over seeds and gains, "
            f"at the largest learning rate: {words}. Decades by which {label(best)} lowers the largest "
            "gradient of the training", PASCANU,
            measured=saved, claim="right after repair", correction=PENALTY,
        ),
    ]  # fmt: skip
