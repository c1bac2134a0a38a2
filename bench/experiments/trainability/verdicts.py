"""Verdicts of ``trainability``: the multiple of xi_c, the gradient's rate, and both directions of J."""

from collections.abc import Iterable

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.bench.experiments.trainability.directions import SETTLED, STEP, TOP
from signalprop.bench.measure.estimates import run_settings
from signalprop.bench.record.verdict import FEWEST, Verdict, compare, judge, observe, surely

SCHOENHOLZ = "Schoenholz, Gilmer, Ganguli & Sohl-Dickstein (2017), arXiv:1611.01232, figure 5"
REACH = 1.5  # of xi_c, that a median may be from the multiple: 4.5 to 7.5
LEAST_RANK = 0.9
LEAST_DEPTH = SETTLED + TOP + 7  # layers below which no rate has settled
SAME = 0.05  # relative difference of two multiples that does not count
CHAOTIC = (
    "The multiple is smaller where gradients explode. A likely cause, seen in depth-budget and not tested "
    "here: there the learning rate times the largest eigenvalue of the untrained Hessian passes 2 before "
    "6 xi_c."
)
DEPENDS = "The multiple depends on threshold, steps and learning rate."
LN10 = float(np.log(10))
MULTIPLE = 6  # of xi_c: where the paper's figure 5 ends
NEAR = 0.03  # |chi_1 - 1| below which xi_c is longer than any depth of ours


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the trainable depth, the rates of both directions, and what untrained depth means."""
    result = result.sortby("sigma_w_squared")
    found = []
    if result.sizes["depth"] >= 3:
        found += [*_set_beforehand(result), *_ordered(result), *_chaotic(result), *_rank(result)]
        if away(result).sum() >= 3:
            found += [_by_threshold(result), *_by_steps(result)]
    found += [*_critical(result), *_frozen(result)]
    if result.sizes["network"] >= FEWEST and int(result["depth"].max()) >= LEAST_DEPTH:
        found += _rates(result)
    return [*found, *_one_number(result)]


def trainable_depth(result: xr.Dataset, threshold: float | None = None, step: int = -1) -> xr.DataArray:
    """Depth at which the accuracy falls through the threshold, by data and weight scale.

    Interpolated between the deepest network above the threshold and the next; the largest depth of the grid
    if that is above it, and 0 if none is. Accuracies are means over seeds; a diverged network counts as 0.
    """
    level = run_settings(result)["threshold"] if threshold is None else threshold
    accuracy = result["accuracy"].isel(step=step, drop=True).fillna(0).mean("seed")
    depth = np.append(result["depth"].values, np.nan)

    def one(values: np.ndarray) -> float:
        above = np.flatnonzero(values > level)
        if above.size == 0:
            return 0.0
        i = int(above[-1])
        if i + 1 == values.size:
            return float(depth[i])
        share = (values[i] - level) / (values[i] - values[i + 1])
        return float(depth[i] + share * (depth[i + 1] - depth[i]))

    found: xr.DataArray = xr.apply_ufunc(one, accuracy, input_core_dims=[["depth"]], vectorize=True)
    return found


def off_critical(result: xr.Dataset) -> np.ndarray:
    """Which weight scales are away from criticality."""
    return np.asarray(np.abs(np.exp(result["log_chi_1"]) - 1) > NEAR)


def away(result: xr.Dataset) -> np.ndarray:
    """Which of these have ``MULTIPLE`` xi_c inside the grid of depths."""
    inside = np.asarray(result["xi_c"] * MULTIPLE < float(result["depth"].max()))
    return np.asarray(off_critical(result) & inside)


def _ratios(
    result: xr.Dataset, keep: np.ndarray, threshold: float | None = None, step: int = -1
) -> xr.DataArray:
    """Trainable depth over xi_c at the weight scales to keep, by data set."""
    ratio = trainable_depth(result, threshold, step) / result["xi_c"]
    return ratio.isel(sigma_w_squared=keep)


def _median(result: xr.Dataset, threshold: float | None = None, step: int = -1) -> float:
    """Median over weight scales away from criticality, mean over data sets."""
    return float(_ratios(result, away(result), threshold, step).median("sigma_w_squared").mean())


def _what(result: xr.Dataset) -> str:
    """What is looked at, with width, rate and steps in words."""
    s = run_settings(result)
    return (
        f"Largest depth with training accuracy above {s['threshold']:.0%}, over xi_c ({s['activation']}, "
        f"width {s['width']}, gradient descent at rate {s['learning_rate']:g}, batches of "
        f"{s['batch_size']}, {s['steps']} steps, {s['seeds']} network(s) per point)"
    )


def _set_beforehand(result: xr.Dataset) -> list[Verdict]:
    """The criterion written down before any run: the paper's 6 xi, over both phases."""
    keep, ordered = away(result), np.asarray(result["log_chi_1"] < 0)
    if not (keep & ordered).any() or not (keep & ~ordered).any():
        return []
    vanishing, exploding = (
        float(_ratios(result, keep & side).median("sigma_w_squared").mean()) for side in (ordered, ~ordered)
    )
    medians = _ratios(result, keep).median("sigma_w_squared")
    return [_six(
        f"{_what(result)}, both phases: median over {keep.sum()} weight variances with "
        f"|chi_1 - 1| > {NEAR:g} and 6 xi_c in the grid ({_each(medians)}), the criterion set "
        f"beforehand; ordered phase {vanishing:.1f}, chaotic phase {exploding:.1f}", medians,
        f"One multiple does not serve both phases. {CHAOTIC}" if exploding < vanishing else DEPENDS,
    )]  # fmt: skip


def _ordered(result: xr.Dataset) -> list[Verdict]:
    """The same where gradients vanish, looked at apart afterwards."""
    keep = away(result) & np.asarray(result["log_chi_1"] < 0)
    if keep.sum() < 2:
        return []
    ratio = _ratios(result, keep)
    medians = ratio.median("sigma_w_squared")
    return [_six(
        f"{_what(result)}, ordered phase alone, chosen after the result over both phases was "
        f"known: median over {keep.sum()} weight variances with chi_1 < {1 - NEAR:g} and 6 xi_c in the grid "
        f"({_each(medians)}); single ones {float(ratio.min()):.1f} to {float(ratio.max()):.1f}", medians,
        DEPENDS,
    )]  # fmt: skip


def _six(statement: str, medians: xr.DataArray, correction: str) -> Verdict:
    """Whether the medians of all data sets are the paper's multiple, as far as its figure can be read."""
    held = bool((abs(medians - MULTIPLE) <= REACH).all())
    return judge(
        ["C1", "C20"], statement, SCHOENHOLZ, measured=medians, predicted=MULTIPLE, tolerance=REACH,
        tolerance_from="what the paper's figure can be read to: multiples 4.5 to 7.5",
        claim="right" if held else "right after repair", correction="" if held else correction,
    )  # fmt: skip


def _chaotic(result: xr.Dataset) -> list[Verdict]:
    """The other side, where gradients explode."""
    keep = away(result) & np.asarray(result["log_chi_1"] > 0)
    if not keep.any():
        return []
    ratio = _ratios(result, keep)
    medians = ratio.median("sigma_w_squared")
    smaller = float(medians.mean()) < MULTIPLE
    return [observe(
        ["C1", "C19"], f"{_what(result)}, chaotic phase alone, at {keep.sum()} weight variances: "
        f"{_each(medians)}; single ones {float(ratio.min()):.1f} to {float(ratio.max()):.1f}; mean of the "
        "medians", SCHOENHOLZ,
        measured=float(medians.mean()), claim="right after repair" if smaller else "right",
        correction=CHAOTIC if smaller else "",
    )]  # fmt: skip


def _rank(result: xr.Dataset) -> list[Verdict]:
    """Order of the weight scales by trainable depth, against that by 6 xi_c inside the grid."""
    depth, xi = trainable_depth(result), np.nan_to_num(result["xi_c"].values, nan=np.inf)
    cap = np.minimum(MULTIPLE * xi, float(result["depth"].max()))
    names = [name for name in result["data"].values if len(set(depth.sel(data=name).values)) > 1]
    if not names or len(set(cap)) < 3:
        return []
    ranks, plain = (
        [float(stats.spearmanr(depth.sel(data=name).values, scale).statistic) for name in names]
        for scale in (cap, xi)
    )
    held = min(ranks) >= LEAST_RANK
    return [judge(
        ["C1", "C2"], f"Rank correlation of trainable depth and min(6 xi_c, {int(result['depth'].max())}) "
        f"over all {xi.size} weight variances, both phases together ({_listed(names, ranks)}; with xi_c "
        f"itself {_listed(names, plain)})", SCHOENHOLZ,
        measured=ranks, predicted=1.0, tolerance=1 - LEAST_RANK,
        tolerance_from="0.1: one network per point and a grid of depths",
        claim="right" if held else "right after repair",
        correction="" if held else "xi_c orders each phase better than both together.",
    )]  # fmt: skip


def _each(medians: xr.DataArray) -> str:
    return _listed(medians["data"].values, medians.values)


def _listed(names: Iterable[object], values: Iterable[float]) -> str:
    return ", ".join(f"{value:.2f} {name}" for name, value in zip(names, values, strict=True))


def _by_threshold(result: xr.Dataset) -> Verdict:
    """The same networks, counted as trained from 25 % on."""
    levels = (0.25, run_settings(result)["threshold"])
    medians = [_median(result, level) for level in levels]
    ratio = medians[0] / medians[1] if medians[1] else np.inf
    differs = abs(ratio - 1) > SAME
    return observe(
        ["C1"], f"Median of depth / xi_c over both phases by what counts as trained: {medians[0]:.2f} at an "
        f"accuracy of {levels[0]:.0%} and {medians[1]:.2f} at {levels[1]:.0%}; ratio", SCHOENHOLZ,
        measured=ratio, claim="right after repair" if differs else "right",
        correction="6 xi_c is no constant of nature: say the threshold, the steps and the learning rate."
        if differs else "",
    )  # fmt: skip


def _by_steps(result: xr.Dataset) -> list[Verdict]:
    """The same networks, earlier."""
    if result.sizes["step"] < 2:
        return []
    first, last = (_median(result, None, i) for i in (0, -1))
    steps = [int(result["step"][i]) for i in (0, -1)]
    grows = last > (1 + SAME) * first
    return [observe(
        ["C1"], f"Median of depth / xi_c over both phases while training goes on: {first:.2f} after "
        f"{steps[0]} steps, and after {steps[1]} steps", SCHOENHOLZ,
        measured=last, claim="right after repair" if grows else "right",
        correction="The multiple grows with training time: say the steps." if grows else "",
    )]  # fmt: skip


def _critical(result: xr.Dataset) -> list[Verdict]:
    """Saturating activations are not the cause: the same tanh, next to its critical scale and below."""
    chi = np.exp(result["log_chi_1"].values)
    if not (chi < 1 - NEAR).any() or run_settings(result)["activation"] != "tanh":
        return []
    depth = trainable_depth(result).mean("data")
    lowest, nearest = int(np.argmin(chi)), int(np.argmin(np.abs(chi - 1)))
    shallow, deep = (float(depth[i]) for i in (lowest, nearest))
    at = [float(result["sigma_w_squared"][i]) for i in (lowest, nearest)]
    return [observe(
        ["A14", "C2"], f"tanh trains to {shallow:.0f} layers at sigma_w^2 = {at[0]:.3g} (chi_1 = "
        f"{chi[lowest]:.3f}) and to {deep:.0f} at {at[1]:.3g} (chi_1 = {chi[nearest]:.3f}); ratio of depths",
        SCHOENHOLZ, measured=deep / shallow if shallow else np.inf,
        claim="right after repair" if deep > shallow else "right",
        correction="" if deep <= shallow else "A small derivative does it only together with the "
        "weights: chi_1 = sigma_w^2 E phi'^2 counts, and tanh reaches 1 where the sigmoid "
        "at sigma_w = 1 has 0.056.",
    )]  # fmt: skip


def _frozen(result: xr.Dataset) -> list[Verdict]:
    """What happens to the first layer of networks too deep, in either phase."""
    accuracy, depth = result["accuracy"].isel(step=-1).fillna(0), result["depth"]
    beyond = depth > 9 * result["xi_c"]
    chi = np.exp(result["log_chi_1"])
    found = []
    for side, name in ((chi < 1 - NEAR, "vanishing"), (chi > 1 + NEAR, "exploding")):
        chosen = beyond & side
        if not bool(chosen.any()):
            continue
        moves = float((result["log_moved"] / LN10).where(chosen).median())
        diverged = int((result["diverged_at"].where(chosen) > 0).sum())
        found.append(observe(
            ["A16"], f"Networks deeper than 9 xi_c where gradients are {name}: the first kernel moves by "
            f"10^{moves:.1f} of its size over the whole training (median), {diverged} runs leave float "
            "range; mean training accuracy at the end", SCHOENHOLZ,
            measured=float(accuracy.where(chosen).mean()),
        ))  # fmt: skip
    return found


def _rates(result: xr.Dataset) -> list[Verdict]:
    """Growth of the squared gradient per layer, and in the ordered phase of the forward distance."""
    at = result.isel(data=0, depth=-1, sigma_w_squared=off_critical(result))
    if at.sizes["sigma_w_squared"] == 0:
        return []
    rates = at[["gradient_rate", "forward_rate"]].stack(all=("seed", "network"))
    predicted, slack = at["log_chi_1"] - at["shift"], 0.03 * abs(at["log_chi_1"])
    count = rates.sizes["all"]
    tolerance_from = f"3 % of ln chi_1, and {surely(count)}"
    return [
        *compare(
            ["C1", "C19", "A16"], f"Change of log |delta|^2 per layer, towards the input, in {count} "
            f"untrained networks of {int(at['depth'])} layers at {at.sizes['sigma_w_squared']} weight "
            "variances, against ln chi_1 less its 1/N term", SCHOENHOLZ + " and section 4",
            rates["gradient_rate"], predicted, over="all", slack=slack, tolerance_from=tolerance_from,
        ),
        *compare(
            ["A22"], "Forward, without any derivative: change of log (1 - c) per layer of two inputs in the "
            "same networks where gradients vanish, against the rate of the squared gradient", SCHOENHOLZ,
            rates["forward_rate"], predicted.where(at["log_chi_1"] < 0), over="all", slack=slack,
            tolerance_from=tolerance_from, claim="wrong",
            correction="The network itself forgets: two inputs become one at the rate at which the gradient "
            "shrinks. Back-propagation reports it.",
        ),
    ]  # fmt: skip


def _one_number(result: xr.Dataset) -> list[Verdict]:
    """JVP, VJP and finite differences of the same networks."""
    at = result.isel(data=0, depth=-1)
    apart = abs(at["product"] - at["product"].sel(way="VJP"))
    settings = run_settings(result)
    rounding = float(np.finfo(float).eps) * settings["width"] ** 0.5 * int(at["depth"])
    found = [judge(
        ["A22"], f"v^T J u of untrained networks of {int(at['depth'])} layers, forward (JVP) and by back-"
        "propagation (VJP), float64: largest difference over |J u|", "both evaluate one product of matrices",
        measured=float(apart.sel(way="JVP").max()), predicted=0.0, tolerance=rounding,
        tolerance_from="rounding: eps sqrt(width) depth", claim="wrong",
        correction="Forward differentiation gives the same tiny number: it is a property of the function, "
        "not of back-propagation.",
    )]  # fmt: skip
    ordered = np.exp(result["log_chi_1"].values) < 1 - NEAR
    return [*found, _by_differences(at, ordered, settings["width"])] if ordered.any() else found


def _by_differences(at: xr.Dataset, ordered: np.ndarray, width: int) -> Verdict:
    """The number without any derivative; |J u| varies over networks by its law at order 1/N."""
    at = at.isel(sigma_w_squared=ordered)
    depth, log_chi, shift = int(at["depth"]), at["log_chi_1"].values, at["shift"].values
    log_size = depth * (log_chi - shift) / 2
    least = float(np.min(log_size - 2.5 * np.sqrt(2 * shift * depth)))
    apart = np.abs(at["product"].sel(way="differences") - at["product"].sel(way="VJP"))
    rounding = float(np.finfo(float).eps) * width**0.5 / (STEP * np.exp(least))
    return judge(
        ["A22"], "The same number by central differences, without any derivative, where gradients vanish "
        f"(typical |J u| down to 10^{log_size.min() / LN10:.1f}): largest difference over |J u|",
        "Taylor's formula", measured=float(apart.max()), predicted=0.0,
        tolerance=1e3 * STEP**2 + rounding,
        tolerance_from="the third derivative times the step's square; rounding over the step, at |J u| five "
        "standard deviations small",
        claim="wrong", correction="Perturbing the input and looking at the output shows the same loss.",
    )  # fmt: skip
