"""Verdicts of ``trainability``: the multiple of xi_c, the gradient's rate, and both directions of J."""

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.bench.directions import STEP
from signalprop.bench.drawings.trainability import (
    LN10,
    MULTIPLE,
    NEAR,
    away,
    off_critical,
    settings_of,
    trainable_depth,
)
from signalprop.bench.verdict import Verdict, judge, observe, sampling_factor, surely

SCHOENHOLZ = "Schoenholz, Gilmer, Ganguli & Sohl-Dickstein (2017), arXiv:1611.01232, figure 5"
REACH = 1.5  # of xi_c, that a median may be from the multiple: 4.5 to 7.5
LEAST_RANK = 0.9
RATE_SHARE = 0.03  # of ln chi_1, that a measured rate may be off
FEWEST = 8  # networks below which a standard error is not trusted


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the trainable depth, the rates of both directions, and what untrained depth means."""
    result = result.sortby("sigma_w_squared")
    found = []
    if result.sizes["depth"] >= 3:
        found += [*_multiple(result), *_chaotic(result), *_rank(result)]
        if away(result).sum() >= 3:
            found += [_by_threshold(result), *_by_steps(result)]
    found += [*_critical(result), *_frozen(result)]
    if result.sizes["network"] >= FEWEST:
        found += [*_rates(result), *_same_scale(result)]
    return [*found, *_one_number(result)]


def _ratios(
    result: xr.Dataset, keep: np.ndarray, threshold: float | None = None, step: int = -1
) -> xr.DataArray:
    """Trainable depth over xi_c at the weight scales to keep, by data set."""
    ratio = trainable_depth(result, threshold, step) / result["xi_c"]
    return ratio.isel(sigma_w_squared=keep)


def _median(result: xr.Dataset, threshold: float | None = None, step: int = -1) -> float:
    """Median over weight scales away from criticality, mean over data sets."""
    return float(_ratios(result, away(result), threshold, step).median("sigma_w_squared").mean())


def _how(result: xr.Dataset) -> str:
    """Width, rate and steps in words."""
    s = settings_of(result)
    return (
        f"{s['activation']}, width {s['width']}, gradient descent at rate {s['learning_rate']:g}, batches of "
        f"{s['batch_size']}, {s['steps']} steps, {s['seeds']} network(s) per point"
    )


def _multiple(result: xr.Dataset) -> list[Verdict]:
    """The paper's 6 xi, where no learning rate is too large: in the ordered phase."""
    keep = away(result) & np.asarray(result["log_chi_1"] < 0)
    if keep.sum() < 2:
        return []
    ratio = _ratios(result, keep)
    level = settings_of(result)["threshold"]
    return [judge(
        ["C1", "C20"], f"Largest depth with training accuracy above {level:.0%}, over xi_c ({_how(result)}), "
        f"ordered phase: median over {keep.sum()} weight variances with chi_1 < {1 - NEAR:g} and 6 xi_c in "
        f"the grid; single ones {float(ratio.min()):.1f} to {float(ratio.max()):.1f}", SCHOENHOLZ,
        measured=ratio.median("sigma_w_squared"), predicted=MULTIPLE, tolerance=REACH,
        tolerance_from="what the paper's figure can be read to: multiples 4.5 to 7.5",
    )]  # fmt: skip


def _chaotic(result: xr.Dataset) -> list[Verdict]:
    """The other side, where gradients explode and steps are too large before the signal is lost."""
    keep = away(result) & np.asarray(result["log_chi_1"] > 0)
    if not keep.any():
        return []
    ratio = _ratios(result, keep)
    each = ", ".join(f"{float(v):.2f} ({v['data'].item()})" for v in ratio.median("sigma_w_squared"))
    return [observe(
        ["C1", "C19"], f"The same, chaotic phase, at {keep.sum()} weight variances: {each}; single ones "
        f"{float(ratio.min()):.1f} to {float(ratio.max()):.1f}; mean of the medians", SCHOENHOLZ,
        measured=float(ratio.median("sigma_w_squared").mean()), claim="right after repair",
        correction="The multiple is no constant: it is smaller where gradients explode. There the learning "
        "rate times the largest eigenvalue of the untrained Hessian passes 2 long before 6 xi_c (see "
        "depth-budget).",
    )]  # fmt: skip


def _rank(result: xr.Dataset) -> list[Verdict]:
    """Order of the weight scales by trainable depth, against that by xi_c."""
    depth, xi = trainable_depth(result), np.nan_to_num(result["xi_c"].values, nan=np.inf)
    ranks = [
        float(stats.spearmanr(depth.sel(data=name).values, xi).statistic)
        for name in result["data"].values
        if len(set(depth.sel(data=name).values)) > 1 and len(set(xi)) > 2
    ]
    if not ranks:
        return []
    return [judge(
        ["C1", "C2"], f"Rank correlation of trainable depth and xi_c over all {xi.size} weight "
        "variances, both phases together", SCHOENHOLZ,
        measured=ranks, predicted=1.0, tolerance=1 - LEAST_RANK,
        tolerance_from="0.1: one network per point and a grid of depths",
    )]  # fmt: skip


def _by_threshold(result: xr.Dataset) -> Verdict:
    """The same networks, counted as trained from 25 % on."""
    levels = (0.25, settings_of(result)["threshold"])
    medians = [_median(result, level) for level in levels]
    return observe(
        ["C1"], "The multiple depends on what counts as trained: median of depth / xi_c over both phases is "
        f"{medians[0]:.2f} at an accuracy of {levels[0]:.0%} and {medians[1]:.2f} at {levels[1]:.0%}; ratio",
        SCHOENHOLZ, measured=medians[0] / medians[1], claim="right after repair",
        correction="6 xi_c is no constant of nature: say the threshold, the steps and the learning rate.",
    )  # fmt: skip


def _by_steps(result: xr.Dataset) -> list[Verdict]:
    """The same networks, earlier."""
    if result.sizes["step"] < 2:
        return []
    first, last = (_median(result, None, i) for i in (0, -1))
    steps = [int(result["step"][i]) for i in (0, -1)]
    return [observe(
        ["C1"], f"The multiple grows while training goes on: median of depth / xi_c over both phases is "
        f"{first:.2f} after {steps[0]} steps, and after {steps[1]} steps", SCHOENHOLZ,
        measured=last, claim="right after repair", correction="The depth scale says how depth trades against "
        "weight scale; the multiple grows slowly with training time.",
    )]  # fmt: skip


def _critical(result: xr.Dataset) -> list[Verdict]:
    """Saturating activations are not the cause: the same tanh, next to its critical scale and below."""
    chi = np.exp(result["log_chi_1"].values)
    if not (chi < 1 - NEAR).any() or settings_of(result)["activation"] != "tanh":
        return []
    depth = trainable_depth(result).mean("data")
    lowest, nearest = int(np.argmin(chi)), int(np.argmin(np.abs(chi - 1)))
    shallow, deep = (float(depth[i]) for i in (lowest, nearest))
    at = [float(result["sigma_w_squared"][i]) for i in (lowest, nearest)]
    return [observe(
        ["A14", "C2"], f"tanh trains to {shallow:.0f} layers at sigma_w^2 = {at[0]:.3g} (chi_1 = "
        f"{chi[lowest]:.3f}) and to {deep:.0f} at {at[1]:.3g} (chi_1 = {chi[nearest]:.3f}); ratio of depths",
        SCHOENHOLZ, measured=deep / shallow if shallow else np.inf, claim="right after repair",
        correction="A small derivative does it only together with the weights: chi_1 = sigma_w^2 E phi'^2 "
        "counts, and tanh reaches 1 where the sigmoid at sigma_w = 1 has 0.056.",
    )]  # fmt: skip


def _frozen(result: xr.Dataset) -> list[Verdict]:
    """What happens to the first layer of networks too deep, in either phase."""
    accuracy, depth = result["accuracy"].isel(step=-1).fillna(0), result["depth"]
    beyond = depth > 9 * result["xi_c"]
    chi = np.exp(result["log_chi_1"])
    found = []
    for side, name in (
        (chi < 1 - NEAR, "vanishing"),
        (chi > 1 + NEAR, "exploding"),
    ):
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


def _deepest(result: xr.Dataset) -> xr.Dataset:
    """What was followed in untrained networks, of the largest depth, away from criticality."""
    return result.isel(data=0, depth=-1, sigma_w_squared=off_critical(result))


def _rates(result: xr.Dataset) -> list[Verdict]:
    """Growth of the squared gradient per layer."""
    at = _deepest(result)
    if at.sizes["sigma_w_squared"] == 0:
        return []
    values = at["gradient_rate"].stack(all=("seed", "network"))
    count = values.sizes["all"]
    error = values.std("all", ddof=1) / np.sqrt(count)
    log_chi, shift = at["log_chi_1"].values, at["shift"].values
    return [judge(
        ["C1", "C19", "A16"], f"Change of log |delta|^2 per layer, towards the input, in {count} untrained "
        f"networks of {int(at['depth'])} layers at {at.sizes['sigma_w_squared']} weight variances, against "
        "ln chi_1 less its 1/N term", SCHOENHOLZ + " and section 4",
        measured=values.mean("all"), predicted=log_chi - shift, uncertainty=error,
        tolerance=RATE_SHARE * np.abs(log_chi) + sampling_factor(error.size, count) * error.values,
        tolerance_from=f"3 % of ln chi_1, and {surely(count)}",
    )]  # fmt: skip


def _same_scale(result: xr.Dataset) -> list[Verdict]:
    """In the ordered phase the forward distance decays as the squared gradient does."""
    at = _deepest(result)
    at = at.isel(sigma_w_squared=np.asarray(at["log_chi_1"] < 0))
    if at.sizes["sigma_w_squared"] == 0:
        return []
    values = at["forward_rate"].stack(all=("seed", "network"))
    count = values.sizes["all"]
    error = values.std("all", ddof=1) / np.sqrt(count)
    log_chi, shift = at["log_chi_1"].values, at["shift"].values
    return [judge(
        ["A22"], "Forward, without any derivative: change of log (1 - c) per layer of two inputs in the same "
        "networks where gradients vanish, against the rate of the squared gradient", SCHOENHOLZ,
        measured=values.mean("all"), predicted=log_chi - shift, uncertainty=error,
        tolerance=RATE_SHARE * np.abs(log_chi) + sampling_factor(error.size, count) * error.values,
        tolerance_from=f"3 % of ln chi_1, and {surely(count)}",
        claim="wrong", correction="The network itself forgets: two inputs become one at the rate at which "
        "the gradient shrinks. Back-propagation reports it.",
    )]  # fmt: skip


def _one_number(result: xr.Dataset) -> list[Verdict]:
    """JVP, VJP and finite differences of the same networks."""
    at = result.isel(data=0, depth=-1)
    apart = abs(at["product"] - at["product"].sel(way="VJP"))
    settings = settings_of(result)
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
