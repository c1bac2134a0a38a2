"""Verdicts of ``learning-time``: growth with depth, best rates, decoupled modes, the spread's part."""

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.analysis.statistics import fit_line
from signalprop.bench.measure.estimates import run_settings
from signalprop.bench.record.verdict import Standing, Verdict, judge, observe
from signalprop.bench.training.choice import at_best_rate

SAXE = "Saxe, McClelland & Ganguli (2013), arXiv:1312.6120"
PENNINGTON = "Pennington, Schoenholz & Ganguli (2017), arXiv:1711.04735"
NOT_LONGER, LONGER = 1.5, 3.0  # ratio of learning times, deepest over shallowest
RATE_SLOPE = 0.2  # that the slope of log best rate by log depth may be off -1
ORDERED = 0.5  # rank correlation from which the spread counts as ordering learning times
MODES = 0.05  # of a mode's strength
PLAIN = {"linear": "linear", "tanh_small": "tanh, q* = 1/16", "tanh_large": "tanh, q* = 1"}
STARTS = {1.0: "orthogonal", 0.0: "Gaussian"}


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge learning times and rates by depth, and the modes."""
    result = result.sortby(["depth", "learning_rate"])
    at = best(result)
    found = []
    names = [str(name) for name in result["network"].values]
    if result.sizes["depth"] > 1 and "linear" in names:
        found += _linear(result, at.sel(network="linear"))
    if "linear" in names:
        found.append(_modes(result.sel(network="linear")))
    if result.sizes["depth"] > 1:
        found += [v for name in names if name != "linear" for v in _tanh(result, at, name)]
    return found + _spread(result, at)


def best(result: xr.Dataset) -> xr.Dataset:
    """Learning time of every seed at the rate with the smallest median over seeds, and that rate.

    Of equal medians the smallest rate counts. Where no rate gets there, time and rate are inf and NaN.
    """
    time = result["time"].fillna(np.inf)
    at = at_best_rate(time.to_dataset(), -time.median("seed"))
    at = at.reset_coords("learning_rate").rename(learning_rate="rate")
    return at.assign(rate=at["rate"].where(np.isfinite(at["time"].median("seed"))))


def _how(result: xr.Dataset) -> str:
    rates = result["learning_rate"].values
    return (
        f"width {run_settings(result)['width']}, best of {rates.size} rates from {rates.min():.3g} to "
        f"{rates.max():.3g} for each, medians of {result.sizes['seed']} networks"
    )


def _ratio(time: xr.DataArray) -> float:
    """Median learning time of the deepest over that of the shallowest; NaN if the latter never learns."""
    middle = time.median("seed").values
    return float(middle[-1] / middle[0]) if np.isfinite(middle[0]) else np.nan


def _words(result: xr.Dataset, time: xr.DataArray) -> str:
    """Median steps at the ends, and whether these learn at all."""
    limit = run_settings(result)["steps"]
    first, last = (
        f"{value:.0f}" if np.isfinite(value) else f"more than {limit}"
        for value in time.median("seed").values[[0, -1]]
    )
    depth = result["depth"].values
    return f"{first} steps at {depth[0]} hidden layers and {last} at {depth[-1]}"


def _linear(result: xr.Dataset, at: xr.Dataset) -> list[Verdict]:
    """Deep linear networks from both starts, where the shallowest learns."""
    orthogonal, gaussian = (at.sel(orthogonal=flag) for flag in (1.0, 0.0))
    flat, steep = (_ratio(part["time"]) for part in (orthogonal, gaussian))
    found = []
    if np.isfinite(orthogonal["time"].median("seed")[0]):
        held = abs(flat - 1) <= NOT_LONGER - 1
        found.append(judge(
            ["C14", "C2"], "Learning time of deep linear networks from orthogonal weights does not grow with "
            f"depth: {_words(result, orthogonal['time'])} ({_how(result)}); ratio", SAXE + ", figure 6",
            measured=flat, predicted=1.0, tolerance=NOT_LONGER - 1, tolerance_from="half as long again: the "
            "rates are on a grid", claim="right" if held else "right after repair",
            correction="" if held else "At these rates and steps learning time depends on depth.",
        ))  # fmt: skip
    if np.isfinite(gaussian["time"].median("seed")[0]):
        least = run_settings(result)["steps"] / float(gaussian["time"].median("seed")[0])
        steep, bound = (steep, "") if np.isfinite(steep) else (least, ", at least")
        found.append(observe(
            ["C2", "C14"], "The same from Gaussian weights at the critical scale: "
            f"{_words(result, gaussian['time'])}; ratio{bound}", SAXE + ", figure 6",
            measured=steep, claim="right" if steep > LONGER else "right after repair",
            correction="" if steep > LONGER else f"Depth is only seen to cost a factor of {steep:.2g} here.",
        ))  # fmt: skip
    return found + _best_rates(result, orthogonal["rate"].values)


def _best_rates(result: xr.Dataset, rate: np.ndarray) -> list[Verdict]:
    """Power of the depth with which the best rate falls; needs three depths and three rates."""
    rates, known = result["learning_rate"].values, np.isfinite(rate)
    if known.sum() < 3 or rates.size < 3:
        return []
    depth = result["depth"].values
    ends = [f"{d}" for d, r in zip(depth, rate, strict=True) if r in (rates[0], rates[-1])]
    edge = f" (at {' and '.join(ends)} hidden layers the best rate is an end of the grid)" if ends else ""
    line = fit_line(np.log(depth[known]), np.log(rate[known]))
    held = abs(line.slope + 1) <= RATE_SLOPE
    return [judge(
        ["C2"], "The best learning rate of the orthogonal linear networks falls as 1 / L: slope of its "
        f"log by log depth{edge}", SAXE + ", figure 4", measured=line.slope, predicted=-1.0,
        uncertainty=line.slope_error, tolerance=RATE_SLOPE,
        tolerance_from=f"0.2: neighbouring rates of the grid differ by a factor {rates[1] / rates[0]:.2g}",
        claim="right" if held else "right after repair",
        correction="" if held else f"Here it falls as L to the power {line.slope:.2g}.",
    )]  # fmt: skip


def _modes(at: xr.Dataset) -> Verdict:
    """Decoupled networks against the differential equation."""
    measured = at["strength"].isel(orthogonal=0, learning_rate=0, seed=0)
    share = (np.abs(measured - at["strength_predicted"]) / at["mode"]).max()
    return judge(
        ["C2"], f"Deep linear networks of {', '.join(str(int(d) + 1) for d in at['depth'].values)} kernels "
        "from a decoupled start follow tau du/dt = n u^(2 - 2/n) (s - u): largest distance in units of s",
        SAXE + ", equation 15", measured=float(share), predicted=0.0, tolerance=MODES,
        tolerance_from="5 %: steps of finite size",
    )  # fmt: skip


def _tanh(result: xr.Dataset, at: xr.Dataset, name: str) -> list[Verdict]:
    """Powers of the depth with which the learning time of tanh networks grows."""
    slopes = {}
    for start, label in STARTS.items():
        time = at["time"].sel(network=name, orthogonal=start).median("seed").values
        known = np.isfinite(time)
        if known.sum() > 2:
            slopes[label] = fit_line(np.log(result["depth"].values[known]), np.log(time[known]))
    words = "; ".join(
        f"{label}: {_words(result, at['time'].sel(network=name, orthogonal=start))}"
        for start, label in STARTS.items()
    )
    if "orthogonal" not in slopes:
        return []
    other = slopes.get("Gaussian")
    beside = f", Gaussian {other.slope:.2f}" if other else ""
    faster = other is None or slopes["orthogonal"].slope < other.slope
    slower = all(line.slope > 0 for line in slopes.values())
    return [observe(
        ["C14", "C2"], f"{PLAIN[name]}, steps to 95 % ({_how(result)}). {words}. Power of the depth with "
        f"which it grows, over depths that learn{beside}; orthogonal", PENNINGTON,
        measured=slopes["orthogonal"].slope, uncertainty=slopes["orthogonal"].slope_error,
        claim="right after repair", correction=(
            "Orthogonal weights slow down least with depth" if faster else
            "Orthogonal weights are no better here") + (
            "; deeper is slower from any start." if slower else "; not every start is slower when deeper."),
    )]  # fmt: skip


def _spread(result: xr.Dataset, at: xr.Dataset) -> list[Verdict]:
    """Rank correlation of learning time with the spread of singular values."""
    both = xr.broadcast(result["spread"].isel(learning_rate=0).mean("seed"), at["time"].median("seed"))
    ranks = {}
    for name in map(str, result["network"].values):
        spread, time = (column.sel(network=name).values.ravel() for column in both)
        if len(set(spread)) > 2 and len(set(time)) > 1:
            ranks[name] = float(stats.spearmanr(spread, time).statistic)
    if not ranks:
        return []
    each = ", ".join(f"{PLAIN[name]} {rank:+.2f}" for name, rank in ranks.items())
    least = min(ranks.values())
    claim: Standing = "right" if least > ORDERED else "right after repair" if least > 0 else "wrong"
    return [observe(
        ["C14", "C2"], "Rank correlation of the learning time with the relative variance of the squared "
        f"singular values before training, over depths and starts: {each}; mean", PENNINGTON,
        measured=float(np.mean(list(ranks.values()))), claim=claim,
        correction="" if claim == "right" else
        f"A small spread and fast learning go together only with rank correlation {least:+.2f}.",
    )]  # fmt: skip
