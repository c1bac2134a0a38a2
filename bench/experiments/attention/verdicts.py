"""Verdicts of ``attention``."""

import json
from typing import Any

import numpy as np
import xarray as xr

from signalprop.analysis.statistics import fit_line
from signalprop.bench.experiments.attention.measure import BY_DEPTH, DECADES, NORMS, labelled
from signalprop.bench.record.verdict import Verdict, judge, observe, sampling_factor

XIONG, DONG = "Xiong et al. (arXiv 2002.04745)", "Dong et al. (arXiv 2103.03404)"
NOCI = "Noci et al. (arXiv 2206.03126)"
RESIDUAL_TERMS = 1.0  # decades per block and 1/d that finite width takes off or adds
RESOLVED = {"float32": -5.0, "float64": -13.0}  # log10 of the smallest residual that rounding leaves


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Gradients without attention, the last matrix, the collapse of tokens, and what stands alone."""
    found = [_profile(result, "pre"), _profile(result, "post"), *_last(result)]
    found += [_with_skip(result), *_without_skip(result), *_rates(result), _query(result)]
    return [*found, *_alone(result)]


def _mean(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean over networks, its standard error, and their number."""
    count = values.sizes["seed"]
    return values.mean("seed").values, (values.std("seed", ddof=1) / np.sqrt(count)).values, count


def _setting(result: xr.Dataset, name: str) -> Any:
    return json.loads(result.attrs["settings"])[name]


def _profile(result: xr.Dataset, norm: str) -> Verdict:
    at = deepest(result, norm, "feed-forward")
    mean, error, count = _mean(at["gradient"])
    blocks, width = int(at["block"][-1]) - at["block"].values, _setting(result, "width")
    quoted = f"(2/3)^(L/2) would be {blocks[0] / 2 * np.log10(2 / 3):.1f} decades"
    return judge(
        ["C25"] if norm == "post" else ["C25", "C26"],
        f"log10 of |dE/dx^l|, {norm}-LN blocks of a relu network without attention, all l: "
        + (f"constant; {quoted}" if norm == "post" else "sqrt(2 / (l + 2)), at the input 1 for every depth"),
        XIONG, measured=mean, uncertainty=error, predicted=at["gradient_predicted"].values,
        tolerance=(blocks + 1) * DECADES / (2 * width) + sampling_factor(mean.size, count) * error,
        tolerance_from="1/d per block in log |g|^2, five standard errors", claim="right after repair",
        correction="Post-LN divides |g|^2 by 3/2 in each block, and the branch multiplies it by as much: no "
        "decay. The quoted (2/3)^(L/2) leaves the branch out."
        if norm == "post"
        else "The identity passes the gradient, and the layer norm of the branches, not the skip, keeps it "
        "from exploding.",
    )  # fmt: skip


def _last(result: xr.Dataset) -> list[Verdict]:
    """Gradient of the last relu matrix at every depth, and how it falls with depth."""
    found, width = [], _setting(result, "width")
    for norm, law in (("pre", "falls as the inverse root of the last length"), ("post", "does not fall")):
        cells = [(name, depth) for name in BY_DEPTH for depth in depths(result)]
        rows = [deepest(result, norm, *cell) for cell in cells]
        values = [_mean(row["relu"].isel(block=-1)) for row in rows]
        mean, error = np.array([v[:2] for v in values]).T
        predicted = np.array([float(row["last_predicted"]) for row in rows])
        found.append(judge(
            ["C26"], f"log10 of the gradient of the last matrix, {norm}-LN, with and without attention, all "
            f"depths: {law}", f"{XIONG}, theorem 1; lengths by analysis.attention",
            measured=mean, predicted=predicted, uncertainty=error,
            tolerance=2 * DECADES / width + sampling_factor(mean.size, values[0][2]) * error,
            tolerance_from="2/d in log |g|, five standard errors",
        ))  # fmt: skip
        if len(depths(result)) > 2:
            found.append(_slope(result, norm))
    return found


def depths(result: xr.Dataset) -> list[int]:
    """Depths at which the full block was measured."""
    return sorted(int(n) for n in np.unique(result["depth"].values))


def _slope(result: xr.Dataset, norm: str) -> Verdict:
    rows = [deepest(result, norm, "full block", depth) for depth in depths(result)]
    log_depth = np.log10(depths(result))
    by_seed = np.array([row["relu"].isel(block=-1).values for row in rows]).T
    slopes = np.array([fit_line(log_depth, y).slope for y in by_seed])
    error = slopes.std(ddof=1) / np.sqrt(slopes.size)
    predicted = fit_line(log_depth, np.array([float(row["last_predicted"]) for row in rows])).slope
    return judge(
        ["C26"], f"Slope in depth L of the gradient of the last matrix, full {norm}-LN blocks: "
        + ("-1/2 for many blocks" if norm == "pre" else "0"), XIONG,
        measured=slopes.mean(), predicted=predicted, uncertainty=error,
        tolerance=0.02 + sampling_factor(1, slopes.size) * error,
        tolerance_from="0.02 for finite width, five standard errors",
    )  # fmt: skip


def _with_skip(result: xr.Dataset) -> Verdict:
    rows = [
        deepest(result, norm, name) for norm in ("pre", "post") for name in ("full block", "attention, skip")
    ]
    mean, error, count = _mean(xr.concat([row["residual"].drop_vars("network") for row in rows], "row"))
    predicted = np.array([row["residual_predicted"].values for row in rows])
    tolerance = RESIDUAL_TERMS * np.arange(mean.shape[-1]) / _setting(result, "width")
    return judge(
        ["C26"], "log10 of the residual of the tokens after every block with skips, pre-LN and post-LN, with "
        "and without relu network", f"{NOCI}; derived in analysis.attention",
        measured=mean, predicted=predicted, uncertainty=error,
        tolerance=tolerance + sampling_factor(mean.size, count) * error,
        tolerance_from="finite width, 1/d per block, five standard errors",
    )  # fmt: skip


def _without_skip(result: xr.Dataset) -> list[Verdict]:
    """The collapse without skips: its first block, its law, and how far it goes."""
    names = ("attention", "no skip")
    rows = [deepest(result, norm, name).isel(block=1) for norm in NORMS for name in names]
    mean, error, count = _mean(xr.concat([row["residual"].drop_vars("network") for row in rows], "row"))
    pure = deepest(result, "none", "attention").isel(block=min(3, int(result["block"][-1])))
    third, third_error, _ = _mean(pure["residual"])
    return [
        judge(
            ["C26"], "log10 of the residual after the first block without skips, with and without layer norm "
            "and relu network", f"{DONG}; derived in analysis.attention",
            measured=mean, predicted=[float(row["residual_predicted"]) for row in rows], uncertainty=error,
            tolerance=RESIDUAL_TERMS / _setting(result, "width") + sampling_factor(mean.size, count) * error,
            tolerance_from="finite width, 1/d, five standard errors",
        ),
        *_cube(result),
        observe(
            ["C26"], f"log10 of the residual after {int(pure['block'])} blocks of pure attention; with many "
            f"heads, wide against the number of tokens, it would be {float(pure['residual_predicted']):.1f}",
            DONG, measured=float(third), uncertainty=float(third_error),
        ),
    ]  # fmt: skip


def _cube(result: xr.Dataset) -> list[Verdict]:
    """How much faster the third block of pure attention collapses than the second, as ratio of logarithms."""
    at = deepest(result, "none", "attention")
    if at.sizes["block"] < 4 or float(at["residual"][:, 3].min()) < RESOLVED[_setting(result, "dtype")]:
        return []
    steps = np.diff(at["residual"].values[:, 1:4])
    left_out = (steps.sum(0) - steps) / (len(steps) - 1)
    ratios = left_out[:, 1] / left_out[:, 0]
    error = float(np.sqrt((len(steps) - 1) * ratios.var()))
    predicted = np.diff(at["residual_predicted"].values[1:4])
    return [judge(
        ["C26"], "Pure attention: the residual of a block is the cube of the one before times a constant: "
        "log of the loss in the third block over that in the second",
        f"{DONG}; derived in analysis.attention",
        measured=steps.mean(0)[1] / steps.mean(0)[0], predicted=predicted[1] / predicted[0],
        uncertainty=error, tolerance=0.3 + sampling_factor(1, len(steps)) * error,
        tolerance_from="0.3 for few heads, five standard errors (jackknife over networks)",
    )]  # fmt: skip


def _rates(result: xr.Dataset) -> list[Verdict]:
    """Loss of the residual over the second half of a deep network."""
    half = int(result["block"][-1]) // 2
    found = []
    for norm, law in (("post", "halves its square per block"), ("pre", "falls as a power of depth")):
        at = deepest(result, norm, "full block")
        change = at["residual"].isel(block=-1) - at["residual"].isel(block=half)
        predicted = at["residual_predicted"].values[-1] - at["residual_predicted"].values[half]
        mean, error, count = _mean(change)
        found.append(judge(
            ["C26"], f"The residual of full {norm}-LN blocks {law}: log10 of its loss over the last "
            f"{int(at['block'][-1]) - half} blocks", f"{NOCI}; derived in analysis.attention",
            measured=mean, predicted=predicted, uncertainty=error,
            tolerance=RESIDUAL_TERMS * half / _setting(result, "width") + sampling_factor(2, count) * error,
            tolerance_from="finite width, 1/d per block, five standard errors",
        ))  # fmt: skip
    return found


def _query(result: xr.Dataset) -> Verdict:
    """Query against value gradient in the collapsing half of a post-LN network."""
    at = deepest(result, "post", "full block").isel(block=slice(int(result["block"][-1]) // 2, None))
    gap, ratio = 2 * at["residual"].values[..., :-1], (at["query"] - at["value"]).values[..., 1:]
    slopes = np.array([fit_line(x, y).slope for x, y in zip(gap, ratio, strict=True)])
    error = slopes.std(ddof=1) / np.sqrt(slopes.size)
    return judge(
        ["C26"], "In post-LN blocks the gradient of the query matrix vanishes with the residual below, as "
        "its square: slope of log |dE/dW_Q| / |dE/dW_V| against log residual^2", f"{NOCI}; one factor each "
        "from keys and from values that have become alike",
        measured=slopes.mean(), predicted=1.0, uncertainty=error,
        tolerance=0.05 + sampling_factor(1, slopes.size) * error,
        tolerance_from="0.05 for gaps that are not small yet, five standard errors",
    )  # fmt: skip


def _alone(result: xr.Dataset) -> list[Verdict]:
    found = []
    for norm in ("pre", "post"):
        at = deepest(result, norm, "full block")
        mean, error, _ = _mean(at["gradient"].isel(block=0) - at["gradient"].isel(block=-1))
        found.append(observe(
            ["C25", "C26"], f"Full {norm}-LN blocks, attention included: log10 of |dE/dx^0| / |dE/dx^L|, "
            f"L = {int(at['block'][-1])}", "measured", measured=float(mean), uncertainty=float(error),
        ))  # fmt: skip
    return found


def deepest(result: xr.Dataset, norm: str, name: str, depth: int | None = None) -> xr.Dataset:
    """A network at one depth, by default the largest."""
    depth = int(result["block"][-1]) if depth is None else depth
    places = list(result["network"].values).index(labelled(name, depth))
    found = result.isel(network=places, norm=list(result["norm"].values).index(norm), heads=0)
    return found.isel(block=slice(0, depth + 1))
