"""Verdicts of ``learning-rate-or-depth``: what a high learning rate does, and what it does not."""

import numpy as np
import xarray as xr

from signalprop.bench.experiments.learning_rate_or_depth.descent import BRACKET, RISE
from signalprop.bench.measure.estimates import mean_and_error, standard_error
from signalprop.bench.record.verdict import Verdict, judge, observe

FACTOR = 1.5  # within which a settled network must blow up at 2 / lambda
LEWKOWYCZ = "Lewkowycz et al. (2020), arXiv:2003.02218"
LECUN = "LeCun, Bottou, Orr & Mueller (1998), Efficient BackProp"
SCHOENHOLZ = "Schoenholz et al. (2017), arXiv:1611.01232"
LN10 = float(np.log(10))


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge both boundaries, the quadratic, the catapult and overflow."""
    own = own_of(result)
    return [
        _initial_gradient(result),
        _quadratic(own),
        _settled(own),
        _drawn(own),
        *_crossing(result, own),
        *_catapult(result),
        _sharper(own),
        *_overflow(result),
    ]


def own_of(result: xr.Dataset) -> xr.Dataset:
    """What networks have of their own, whatever the learning rates and batches of the map's runs."""
    return result.isel(learning_rate=0, batch_size=0, drop=True)


def edge_ratio(own: xr.Dataset) -> xr.DataArray:
    """The learning rate at which a network blows up, over 2 / lambda."""
    return own["edge"] * own["sharpness"] / 2


def beyond(ratio: xr.DataArray) -> xr.DataArray:
    """Where half of the networks do not blow up below the largest learning rate that was tried."""
    found: xr.DataArray = ratio.median("seed") > 0.95 * BRACKET
    return found


def blown(result: xr.Dataset) -> xr.DataArray:
    """Whether a run's loss rose above its initial value or left float range."""
    up: xr.DataArray = result["log_highest"] > np.log1p(RISE)
    return up


def _initial_gradient(result: xr.Dataset) -> Verdict:
    """One gradient before the first update, whatever the learning rate."""
    norm = result["log_gradient_norm"]
    spread = float((norm.max("learning_rate") - norm.min("learning_rate")).max())
    rates = result["learning_rate"].values
    return judge(
        ["C9"], f"The gradient before the first update is the same for all {rates.size} learning rates from "
        f"{rates.min():g} to {rates.max():g}: largest difference of the log of its norm", SCHOENHOLZ,
        measured=spread, predicted=0.0, tolerance=1e-6, tolerance_from="rounding: it is one computation",
        claim="right after repair", correction="Depth and weights alone decide whether the gradient of an "
        "untrained network explodes. A high learning rate makes training diverge, which is another thing.",
    )  # fmt: skip


def _quadratic(own: xr.Dataset) -> Verdict:
    """Every seed and multiple of the exact case."""
    rate = own["rate"].isel(sigma_w2=0).transpose("seed", "multiple")
    fine = 1e-10 if rate.dtype == np.float64 else 2e-3
    return judge(
        ["C9"], "Linear regression: the error along the steepest direction is multiplied by |1 - rate x "
        "lambda| per update, so that it grows if and only if the learning rate is above 2 / lambda: log of "
        "that factor", LECUN,
        measured=rate, predicted=own["rate_predicted"], tolerance=fine,
        tolerance_from="rounding of the eigenvector and the updates in this dtype",
        claim="right after repair", correction="Too high a learning rate is one above 2 over the largest "
        "curvature.",
    )  # fmt: skip


def _settled(own: xr.Dataset) -> Verdict:
    """Edges near a minimum, one check per weight variance."""
    ratio: xr.DataArray = xr.apply_ufunc(np.log, edge_ratio(own).sel(when="settled"))
    return judge(
        ["C9"], "Tanh networks near a minimum: descent blows up from the learning rate 2 / lambda on, at all "
        "weight variances: log of the rate of blow-up over 2 / lambda, mean over networks", LECUN,
        measured=ratio.mean("seed"), predicted=0.0, uncertainty=standard_error(ratio),
        tolerance=float(np.log(FACTOR)),
        tolerance_from=f"a factor of {FACTOR}: the loss is no quadratic, and must rise within a few updates",
        claim="right after repair", correction="This boundary follows the curvature lambda, not the size of "
        "the gradient.",
    )  # fmt: skip


def _drawn(own: xr.Dataset) -> Verdict:
    """Edges of drawn networks: where 2 / lambda holds, and by how much it does not."""
    all_ratios = edge_ratio(own).sel(when="drawn")
    ratio = all_ratios.median("seed")
    near = np.abs(np.log(ratio)) <= np.log(FACTOR)
    low, high = float(ratio.min()), float(ratio.max())
    places = ", ".join(f"{v:g}" for v in ratio["sigma_w2"].values[near.values]) or "none"
    most = f"more than {high:.0f}" if beyond(all_ratios).any() else f"{high:.2g}"
    return observe(
        ["C9"], f"Untrained tanh networks: the learning rate at which the loss first rises is {low:.2g} to "
        f"{most} times 2 / lambda of the drawn network, within a factor of {FACTOR} at weight variances "
        f"{places}: largest factor, median over networks", LEWKOWYCZ,
        measured=high, claim="right after repair",
        correction="At the start 2 / lambda is no boundary: curvature changes within a few updates. In the "
        "chaotic phase far larger steps still lower the loss.",
    )  # fmt: skip


def _crossing(result: xr.Dataset, own: xr.Dataset) -> list[Verdict]:
    """All four combinations of the two boundaries."""
    grows = (result["decades"].sel(when="drawn", drop=True) > 0).broadcast_like(result["log_highest"])
    up = blown(result)
    if not (grows.any() and (~grows).any() and up.any() and (~up).any()):
        return []
    counts = [int((a & b).sum()) for a in (grows, ~grows) for b in (up, ~up)]
    crossing = _zero_crossing(own)
    return [
        observe(
            ["C6", "C9"], f"Of {up.size} runs, {counts[0]} have a gradient that grows towards the input and "
            f"blow up, {counts[1]} the gradient alone, {counts[2]} the blow-up alone, {counts[3]} neither. "
            f"The gradient begins to grow at weight variance {crossing[0]:.2f} (mean field at this depth, "
            f"infinite width: {crossing[1]:.2f}; infinite depth: 1), at all learning rates. Share of runs in "
            "which just one of both happens", SCHOENHOLZ,
            measured=(counts[1] + counts[2]) / up.size, claim="right after repair",
            correction="Exploding gradients and divergence by a high learning rate are two boundaries that "
            "cross.",
        )
    ]  # fmt: skip


def _zero_crossing(own: xr.Dataset) -> tuple[float, float]:
    """The weight variance at which the gradient is equal at both ends: measured, and by mean field."""
    own = own.sortby("sigma_w2")
    x = np.log(own["sigma_w2"].values)
    curves = own["decades"].sel(when="drawn").mean("seed").values, own["decades_predicted"].values
    first, second = (float(np.exp(np.interp(0.0, np.maximum.accumulate(y), x))) for y in curves)
    return first, second


def _catapult(result: xr.Dataset) -> list[Verdict]:
    """The largest learning rate, in units of 1 / lambda at the start, whose run ends below its start."""
    scaled = result["learning_rate"] * result["sharpness"].sel(when="drawn", drop=True)
    best = scaled.where(result["log_final"] < 0).max("learning_rate").median("seed")
    if not np.isfinite(best).any():
        return []
    each = "; ".join(
        f"batches of {batch:g}: {int((best.sel(batch_size=batch) > 4).sum())} of {best.sizes['sigma_w2']} "
        "weight variances learn beyond 4 / lambda"
        for batch in result["batch_size"].values
    )
    return [
        observe(
            ["C9"], f"Runs that end below their initial loss, at learning rates in units of 1 / lambda of "
            f"the drawn network, median over networks: {each}. Smallest such rate over the weight variances, "
            "last batch size", LEWKOWYCZ,
            measured=float(best.isel(batch_size=-1).min()), claim="right after repair",
            correction="A rate beyond 2 / lambda of the drawn network need not end training: the loss may "
            "rise and fall again where the landscape is flatter.",
        )
    ]  # fmt: skip


def _sharper(own: xr.Dataset) -> Verdict:
    """How much the usable learning rate falls from the smallest to the largest weight variance."""
    own = own.sortby("sigma_w2")
    edge = own["edge"].sel(when="settled")
    fall = np.log10(edge.isel(sigma_w2=0) / edge.isel(sigma_w2=-1))
    drawn = own["sharpness"].sel(when="drawn").median("seed")
    ends = own["sigma_w2"].values[[0, -1]]
    mean, error = mean_and_error(fall)
    return observe(
        ["C6"], f"From weight variance {ends[0]:g} to {ends[1]:g} the curvature of drawn networks grows from "
        f"{float(drawn[0]):.2g} to {float(drawn[-1]):.2g}. Decades by which the largest learning rate that a "
        "settled network bears falls", SCHOENHOLZ,
        measured=mean, uncertainty=error, claim="right" if mean > 0 else "wrong",
        correction="" if mean > 0 else "The settled network bore no smaller rate here.",
    )  # fmt: skip


def _overflow(result: xr.Dataset) -> list[Verdict]:
    """Runs that end above their start, and how many of them left float range."""
    failed = blown(result) & (result["log_final"] > 0)
    if not failed.any():
        return []
    lost = failed & (result["diverged_at"] > 0)
    rises = float(result["rises_at"].where(failed).median())
    overflow = float(result["diverged_at"].where(lost).median()) if lost.any() else float("inf")
    largest = float(result["log_gradient_norm"].max()) / LN10
    return [
        observe(
            ["C10"], f"{int(failed.sum())} of {failed.size} runs rise above their initial loss and end "
            f"there: after {rises:g} updates in the median. {int(lost.sum())} of them leave float range, "
            f"after {overflow:g} updates. The largest gradient norm of a drawn network is 10^{largest:.1f}. "
            "Share of failures that become overflows", LECUN,
            measured=float(lost.sum() / failed.sum()), claim="right after repair",
            correction="Training fails long before a number is too large for its format; overflow is where "
            "an unchecked divergence ends.",
        )
    ]  # fmt: skip
