"""Verdicts of ``attention``: blocks without attention, the last matrix, and the collapse of tokens."""

import numpy as np
import xarray as xr

from signalprop.analysis.statistics import fit_line
from signalprop.bench.experiments.attention.measure import BY_DEPTH, DECADES, NORMS, labelled
from signalprop.bench.measure.estimates import run_settings, standard_error
from signalprop.bench.record.verdict import (
    Verdict,
    compare,
    compare_estimates,
    judge,
    observe_mean,
    sampling_factor,
)

XIONG, DONG = "Xiong et al. (arXiv 2002.04745)", "Dong et al. (arXiv 2103.03404)"
NOCI = "Noci et al. (arXiv 2206.03126)"
RESIDUAL_TERMS = 1.0  # decades per block and 1/d that finite width takes off or adds
RESOLVED = {"float32": -5.0, "float64": -13.0}  # log10 of the smallest residual that rounding leaves


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Gradients without attention, the last matrix, the collapse of tokens, and what stands alone."""
    found = [*_profile(result, "pre"), *_profile(result, "post"), *_last(result)]
    found += [*_with_skip(result), *_without_skip(result), *_rates(result), *_query(result)]
    return [*found, *_alone(result)]


def deepest(result: xr.Dataset, norm: str, name: str, depth: int | None = None) -> xr.Dataset:
    """A network at one depth, by default the largest."""
    depth = int(result["block"][-1]) if depth is None else depth
    at = result.sel(norm=norm, network=labelled(name, depth))
    return at.isel(heads=0, block=slice(0, depth + 1))


def depths(result: xr.Dataset) -> list[int]:
    """Depths at which the full block was measured."""
    return sorted(int(n) for n in np.unique(result["depth"].values))


def _side_by_side(networks: list[xr.Dataset], *names: str) -> xr.Dataset:
    """Some variables of several networks, along a dimension of their own."""
    return xr.concat([at[list(names)].reset_coords(drop=True) for at in networks], "row")


def _profile(result: xr.Dataset, norm: str) -> list[Verdict]:
    """The gradient at every block of networks without attention."""
    at, width = deepest(result, norm, "feed-forward"), run_settings(result)["width"]
    depth = int(at["block"][-1])
    quoted = f"(2/3)^(L/2) would be {depth / 2 * np.log10(2 / 3):.1f} decades"
    return compare(
        ["C25"] if norm == "post" else ["C25", "C26"],
        f"log10 of |dE/dx^l|, {norm}-LN blocks of a relu network without attention, all l: "
        + (f"constant; {quoted}" if norm == "post" else "sqrt(2 / (l + 2)), at the input 1 for every depth"),
        XIONG, at["gradient"], at["gradient_predicted"],
        slack=(depth - at["block"] + 1) * DECADES / (2 * width),
        tolerance_from="1/d per block in log |g|^2, five standard errors", claim="right after repair",
        correction="Post-LN divides |g|^2 by 3/2 in each block, and the branch multiplies it by as much: no "
        "decay. The quoted (2/3)^(L/2) leaves the branch out."
        if norm == "post"
        else "The identity passes the gradient, and the layer norm of the branches, not the skip, keeps it "
        "from exploding.",
    )  # fmt: skip


def _last(result: xr.Dataset) -> list[Verdict]:
    """Gradient of the last relu matrix at every depth, and how it falls with depth."""
    found, width = [], run_settings(result)["width"]
    for norm, law in (("pre", "falls as the inverse root of the last length"), ("post", "does not fall")):
        cells = [(name, depth) for name in BY_DEPTH for depth in depths(result)]
        ends = [deepest(result, norm, *cell).isel(block=-1) for cell in cells]
        last = _side_by_side(ends, "relu", "last_predicted")
        found += compare(
            ["C26"], f"log10 of the gradient of the last matrix, {norm}-LN, with and without attention, all "
            f"depths: {law}", f"{XIONG}, theorem 1; lengths by analysis.attention",
            last["relu"], last["last_predicted"], slack=2 * DECADES / width,
            tolerance_from="2/d in log |g|, five standard errors",
        )  # fmt: skip
        if len(depths(result)) > 2:
            found += _slope(result, norm)
    return found


def _slope(result: xr.Dataset, norm: str) -> list[Verdict]:
    """Power of the depth by which the gradient of the last matrix falls, of every network."""
    ends = [deepest(result, norm, "full block", depth).isel(block=-1) for depth in depths(result)]
    last, log_depth = _side_by_side(ends, "relu", "last_predicted"), np.log10(depths(result))
    slopes = [fit_line(log_depth, y).slope for y in last["relu"].transpose("seed", "row").values]
    return compare(
        ["C26"], f"Slope in depth L of the gradient of the last matrix, full {norm}-LN blocks: "
        + ("-1/2 for many blocks" if norm == "pre" else "0"), XIONG,
        xr.DataArray(slopes, dims="seed"), fit_line(log_depth, last["last_predicted"].values).slope,
        slack=0.02, tolerance_from="0.02 for finite width, five standard errors",
    )  # fmt: skip


def _with_skip(result: xr.Dataset) -> list[Verdict]:
    """How slowly tokens become alike with skip connections."""
    names = ("full block", "attention, skip")
    rows = [deepest(result, norm, name) for norm in ("pre", "post") for name in names]
    at = _side_by_side(rows, "residual", "residual_predicted")
    return compare(
        ["C26"], "log10 of the residual of the tokens after every block with skips, pre-LN and post-LN, with "
        "and without relu network", f"{NOCI}; derived in analysis.attention",
        at["residual"], at["residual_predicted"],
        slack=RESIDUAL_TERMS * at["block"] / run_settings(result)["width"],
        tolerance_from="finite width, 1/d per block, five standard errors",
    )  # fmt: skip


def _without_skip(result: xr.Dataset) -> list[Verdict]:
    """The collapse without skips: its first block, its law, and how far it goes."""
    names = ("attention", "no skip")
    rows = [deepest(result, norm, name).isel(block=1) for norm in NORMS for name in names]
    first = _side_by_side(rows, "residual", "residual_predicted")
    pure = deepest(result, "none", "attention").isel(block=min(3, int(result["block"][-1])))
    return [
        *compare(
            ["C26"], "log10 of the residual after the first block without skips, with and without layer norm "
            "and relu network", f"{DONG}; derived in analysis.attention",
            first["residual"], first["residual_predicted"],
            slack=RESIDUAL_TERMS / run_settings(result)["width"],
            tolerance_from="finite width, 1/d, five standard errors",
        ),
        *_cube(result),
        observe_mean(
            ["C26"], f"log10 of the residual after {int(pure['block'])} blocks of pure attention; with many "
            f"heads, wide against the number of tokens, it would be {float(pure['residual_predicted']):.1f}",
            DONG, pure["residual"],
        ),
    ]  # fmt: skip


def _cube(result: xr.Dataset) -> list[Verdict]:
    """How much faster the third block of pure attention collapses than the second, as ratio of logarithms."""
    at = deepest(result, "none", "attention")
    resolved = RESOLVED[run_settings(result)["dtype"]]
    if at.sizes["block"] < 4 or float(at["residual"].isel(block=3).min()) < resolved:
        return []
    steps = np.diff(at["residual"].transpose("seed", "block").values[:, 1:4])
    left_out = (steps.sum(0) - steps) / (len(steps) - 1)
    ratios = left_out[:, 1] / left_out[:, 0]
    predicted = np.diff(at["residual_predicted"].values[1:4])
    return compare_estimates(
        ["C26"], "Pure attention: the residual of a block is the cube of the one before times a constant: "
        "log of the loss in the third block over that in the second",
        f"{DONG}; derived in analysis.attention",
        xr.DataArray(steps.mean(0)[1] / steps.mean(0)[0]), float(np.sqrt((len(steps) - 1) * ratios.var())),
        predicted[1] / predicted[0], num_samples=len(steps), slack=0.3,
        tolerance_from="0.3 for few heads, five standard errors (jackknife over networks)",
    )  # fmt: skip


def _rates(result: xr.Dataset) -> list[Verdict]:
    """Loss of the residual over the second half of a deep network."""
    half, width, found = int(result["block"][-1]) // 2, run_settings(result)["width"], []
    for norm, law in (("post", "halves its square per block"), ("pre", "falls as a power of depth")):
        at = deepest(result, norm, "full block")
        change = at["residual"].isel(block=-1) - at["residual"].isel(block=half)
        predicted = at["residual_predicted"].values[-1] - at["residual_predicted"].values[half]
        error = standard_error(change)
        found.append(judge(
            ["C26"], f"The residual of full {norm}-LN blocks {law}: log10 of its loss over the last "
            f"{int(at['block'][-1]) - half} blocks", f"{NOCI}; derived in analysis.attention",
            measured=change.mean("seed"), predicted=predicted, uncertainty=error,
            tolerance=RESIDUAL_TERMS * half / width + sampling_factor(2, change.sizes["seed"]) * error,
            tolerance_from="finite width, 1/d per block, five standard errors",
        ))  # fmt: skip
    return found


def _query(result: xr.Dataset) -> list[Verdict]:
    """Query against value gradient in the collapsing half of a post-LN network."""
    at = deepest(result, "post", "full block").isel(block=slice(int(result["block"][-1]) // 2, None))
    at = at.transpose("seed", "block")
    gap, ratio = 2 * at["residual"].values[:, :-1], (at["query"] - at["value"]).values[:, 1:]
    slopes = [fit_line(x, y).slope for x, y in zip(gap, ratio, strict=True)]
    return compare(
        ["C26"], "In post-LN blocks the gradient of the query matrix vanishes with the residual below, as "
        "its square: slope of log |dE/dW_Q| / |dE/dW_V| against log residual^2", f"{NOCI}; one factor each "
        "from keys and from values that have become alike", xr.DataArray(slopes, dims="seed"), 1.0,
        slack=0.05, tolerance_from="0.05 for gaps that are not small yet, five standard errors",
    )  # fmt: skip


def _alone(result: xr.Dataset) -> list[Verdict]:
    """Gradients through attention, for which no theory is given."""
    found = []
    for norm in ("pre", "post"):
        at = deepest(result, norm, "full block")
        found.append(observe_mean(
            ["C25", "C26"], f"Full {norm}-LN blocks, attention included: log10 of |dE/dx^0| / |dE/dx^L|, "
            f"L = {int(at['block'][-1])}", "measured",
            at["gradient"].isel(block=0) - at["gradient"].isel(block=-1),
        ))  # fmt: skip
    return found
