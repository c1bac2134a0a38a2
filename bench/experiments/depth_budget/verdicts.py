"""Verdicts of ``depth-budget``: the smallest of six limits as a prediction, and what moves each limit."""

from itertools import permutations
from operator import attrgetter

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.analysis.statistics import fit_line
from signalprop.bench.experiments.depth_budget.limits import LIMITS, crossing, floating_point_limit
from signalprop.bench.experiments.depth_budget.networks import NETWORKS
from signalprop.bench.measure.estimates import mean_and_error, run_settings
from signalprop.bench.record.verdict import Verdict, observe

SOURCE = "the limits' own papers: arXiv 1611.01232, 1812.05994, 1902.08129, 1412.6980, 2103.00065"


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Say how well the minimum predicts, which limit binds, and what optimizers do to it."""
    found, depth = limits(result), result["trainable_depth"]
    names = [str(name) for name in result["network"].values]
    answers = [_ratio(result, found)]
    if len(names) >= 4:
        answers += _rank(result, found)
    kept = attrgetter("activation", "sigma_w", "sigma_b", "width", "norm")
    for a, b in permutations(names, 2):
        one, other = NETWORKS[a], NETWORKS[b]
        if kept(one) != kept(other):
            continue
        if one.optimizer == other.optimizer and one.learning_rate > other.learning_rate:
            answers.append(_faster(found, depth, a, b))
        if (one.optimizer, other.optimizer) == ("adam", "sgd"):
            answers.append(_adam(found, depth, a, b))
    answers += _wider(found, depth, names)
    return answers


def limits(result: xr.Dataset) -> xr.DataArray:
    """All six limits in hidden layers, (network, limit); inf where a network has none.

    Floating point and sharpness are where gradient and eigenvalue, the medians over networks, cross their
    edges between the probed depths. Sharpness is not defined for Adam.
    """
    depth, dtype = result["probe"].values.astype(float), run_settings(result)["dtype"]
    rows = []
    for name in result["network"].values:
        at, network = result.sel(network=name).median("seed"), NETWORKS[str(name)]
        row = [float(at[f"limit_{limit.replace(' ', '_')}"]) for limit in LIMITS[:4]]
        row.append(
            floating_point_limit(network, depth, at["log_gradient"].values, float(at["log_weight"]), dtype)
        )
        edge = np.log(2 / network.learning_rate)
        sharp = network.optimizer == "sgd"
        row.append(crossing(depth, at["log_sharpness"].values, edge, rising=True) if sharp else np.inf)
        rows.append(row)
    return xr.DataArray(
        rows, {"network": result["network"].values, "limit": list(LIMITS)}, ("network", "limit")
    )


def _ratio(result: xr.Dataset, found: xr.DataArray) -> Verdict:
    """Observed depth over the smallest limit."""
    top = run_settings(result)["top"]
    smallest = np.minimum(found.min("limit").values, top)
    depth = np.maximum(result["trainable_depth"].median("seed").values, 0.5)
    logs = np.log(depth / smallest)
    inside = {factor: int((np.abs(logs) <= np.log(factor)).sum()) for factor in (2, 4)}
    worst, (mean, error) = int(np.argmax(np.abs(logs))), mean_and_error(logs)
    label = NETWORKS[str(result["network"].values[worst])].label
    bindings = [LIMITS[i] for i in found.argmin("limit").values]
    counts = ", ".join(f"{limit} {bindings.count(limit)}" for limit in LIMITS if limit in bindings)
    return observe(
        ["C6", "C1"], f"The smallest of six limits on depth ({counts} of {logs.size} networks) is within a "
        f"factor of 2 of the observed depth for {inside[2]}, of 4 for {inside[4]}; worst: {label}, observed "
        f"over smallest {np.exp(logs[worst]):.2g}; geometric mean of observed over smallest", SOURCE,
        measured=float(np.exp(mean)), uncertainty=float(np.exp(mean) * error) if logs.size > 1 else 0.0,
        claim="right after repair", correction="Each rule of thumb has a threshold of its own inside; their "
        "minimum orders networks by depth better than it measures depth.",
    )  # fmt: skip


def _rank(result: xr.Dataset, found: xr.DataArray) -> list[Verdict]:
    """Rank correlation of the minimum, and of each limit alone, with the observed depth."""
    depth = result["trainable_depth"].median("seed").values
    top = 8 * run_settings(result)["top"]

    def rank(values: np.ndarray) -> float:
        values = np.minimum(values, top)
        both = len(set(values)) > 1 and len(set(depth)) > 1
        return float(stats.spearmanr(values, depth).statistic) if both else np.nan

    alone = {limit: rank(found.sel(limit=limit).values) for limit in LIMITS}
    each = ", ".join(f"{limit} {value:.2f}" for limit, value in alone.items() if np.isfinite(value))
    both = rank(found.min("limit").values)
    if not np.isfinite(both):
        return []
    better = all(both > value for value in alone.values() if np.isfinite(value))
    return [observe(
        ["C6", "C1"], f"Rank correlation over {depth.size} networks of the observed depth with one limit "
        f"alone: {each}; with the smallest of all", SOURCE,
        measured=both, uncertainty=float(1 / np.sqrt(max(depth.size - 1, 1))),
        claim="right" if better else "right after repair",
        correction="" if better else "One limit alone orders these networks as well.",
    )]  # fmt: skip


def _at(depth: xr.DataArray, name: str) -> str:
    """Observed depth of a network, median and range."""
    values = depth.sel(network=name).values
    return f"{np.median(values):.0f} ({values.min():.0f} to {values.max():.0f})"


def _faster(found: xr.DataArray, depth: xr.DataArray, fast: str, slow: str) -> Verdict:
    """One network, one gradient, two learning rates."""
    rates = [NETWORKS[name].learning_rate for name in (fast, slow)]
    edge = float(found.sel(network=fast, limit="sharpness"))
    ratio = float(depth.sel(network=fast).median() / max(float(depth.sel(network=slow).median()), 1))
    shorter = ratio < 1
    return observe(
        ["C6", "C9"], f"{NETWORKS[slow].label}: the same networks at learning rate {rates[0]:g} instead of "
        f"{rates[1]:g} train to {_at(depth, fast)} instead of {_at(depth, slow)} layers; rate times largest "
        f"eigenvalue is 2 at {edge:.3g} layers before training. Ratio of depths", "arXiv 2103.00065",
        measured=ratio, claim="right" if shorter else "right after repair",
        correction="" if shorter else "The larger rate cost no depth here.",
    )  # fmt: skip


def _adam(found: xr.DataArray, depth: xr.DataArray, adam: str, plain: str) -> Verdict:
    """One network, trained by plain descent and by Adam."""
    edge = float(found.sel(network=adam, limit="floating point"))
    return observe(
        ["C15", "C6"], f"{NETWORKS[plain].label}: plain descent trains {_at(depth, plain)} layers, Adam "
        f"{_at(depth, adam)}; the first kernel's gradient falls below Adam's epsilon at {edge:.3g}, and "
        f"6 xi_c is {float(found.sel(network=adam, limit='information')):.2g}; layers gained", SOURCE,
        measured=float(depth.sel(network=adam).median() - depth.sel(network=plain).median()), claim="wrong",
        correction="Adam initialises nothing. It makes steps of one size out of small gradients, which moves "
        "the limit by a few layers, until the signal itself is lost.",
    )  # fmt: skip


def _wider(found: xr.DataArray, depth: xr.DataArray, names: list[str]) -> list[Verdict]:
    """Depth against width where nothing else changes: at the critical scale."""
    critical = [n for n in names if "critical" in NETWORKS[n].label and NETWORKS[n].learning_rate < 0.1]
    if len({NETWORKS[n].width for n in critical}) < 2:
        return []
    critical.sort(key=lambda n: NETWORKS[n].width)
    middle = depth.sel(network=critical).median("seed").clip(min=1.0).values
    each = ", ".join(f"N = {NETWORKS[n].width}: {_at(depth, n)}" for n in critical)
    slope = fit_line(np.log([NETWORKS[n].width for n in critical]), np.log(middle)).slope
    spread = middle / found.sel(network=critical, limit="width").values
    return [observe(
        ["C1"], f"At the critical scale the width limits depth ({each} layers), where "
        f"log |g|^2 varies by {spread.min():.1f} to {spread.max():.1f} over networks; slope of log depth by "
        "log width, where L / N = const has 1", "arXiv 1812.05994",
        measured=slope, claim="right after repair",
        correction="A critical scale does not make depth free: the gradient's spread grows as L / N, and "
        "training bears more of it than a variance of 1.",
    )]  # fmt: skip
