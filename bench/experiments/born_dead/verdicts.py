"""Verdicts of ``born-dead``: death at one input, on all, of units of layer 1, and what training does."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.analysis.dying import dead_unit_estimate
from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.born_dead import STARTS
from signalprop.bench.measure.estimates import mean_and_error, share_and_error, standard_error
from signalprop.bench.record.verdict import (
    FEWEST,
    FIVE_SIGMA,
    Verdict,
    judge,
    judge_zero,
    observe,
    sampling_factor,
    surely,
)

LU = "Lu, Shin, Su & Karniadakis (2019), arXiv:1903.06733"
REMEDIES = "a widely copied list of remedies"
LABELS = {
    "he": "He, no biases",
    "xavier": "Xavier, no biases",
    "he_with_biases": "He, with biases",
    "asymmetric": "asymmetric",
}
SYMMETRIC = ("he", "xavier", "he_with_biases")
PUBLISHED = {2: "more than 90 %", 3: "about 60 %", 5: "more than 10 %", 10: "less than 1 %"}
ROUNDING = 1e-3  # share of networks with a pre-activation so near 0 that its sign is rounding


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge what is exact or bounded, then say what was seen."""
    return [*_one_input(result), *_bounds(result), *_scale(result), *_units(result), *_fits(result)]


def _tolerance(expected: np.ndarray, count: int) -> np.ndarray:
    """Distance from a probability to the farther binomial quantile of all the checks together."""
    tail = FIVE_SIGMA / (2 * expected.size)
    high, low = stats.binom.isf(tail, count, expected), stats.binom.ppf(tail, count, expected)
    return np.asarray(np.maximum(high / count - expected, expected - low / count))


def _count(result: xr.Dataset) -> int:
    return result.sizes["seed"] * result.sizes["network"]


def _one_input(result: xr.Dataset) -> list[Verdict]:
    """Networks dead at one given input, for every symmetric start."""
    parts = [p for p in (chosen(result, name) for name in SYMMETRIC) if p is not None]
    if not parts:
        return []
    both = xr.concat([share_by_depth(p, "dead_at_input").drop_vars("start") for p in parts], "start")
    predicted, measured = xr.broadcast(result["dead_at_input_predicted"], both)
    tolerance = _tolerance(predicted.values, _count(result))
    return [
        judge(
            ["B10"], "Share of networks in which a layer is off at one given input, at every width N, "
            "depth L, symmetric start and input dimension: 1 - (1 - 2^-N)^L", LU,
            measured=measured, predicted=predicted, tolerance=tolerance,
            uncertainty=np.sqrt(predicted * (1 - predicted) / _count(result)),
            tolerance_from=f"binomial quantiles of {_count(result)} networks, all checks as sure as five "
            "standard errors", claim="right after repair",
            correction="Rare for one unit, near certain for a network that is narrow and deep: half of "
            "them at a depth of 0.7 times 2^N.",
        )
    ]  # fmt: skip


def _bounds(result: xr.Dataset) -> list[Verdict]:
    """Networks dead everywhere, between two bounds."""
    part = chosen(result, "he")
    if part is None:
        return []
    share, above = xr.broadcast(share_by_depth(part, "dead_at_all"), part["dead_at_all_predicted"])
    found = [_one_sided(
        share - above, above, _count(part),
        "Share of networks without biases that are dead on all inputs, at every width, depth and "
        "input dimension: excess over the upper bound 1 - (1 - 2^-N)^(L-1)", _by_width(part),
    )]  # fmt: skip
    if 1 in part["features"].values:
        one, low = xr.broadcast(share.sel(features=1), part["dead_at_all_floor_predicted"])
        found.append(_one_sided(
            low - one, low, _count(part),
            "The same for one input feature: what it lacks to the lower bound 1 - (1 - 4^-N)^(L-1)",
            "Death on all inputs is rarer than at one.",
        ))  # fmt: skip
    return found


def _one_sided(
    excess: xr.DataArray, bound: xr.DataArray, count: int, statement: str, correction: str
) -> Verdict:
    """A bound holds if what exceeds it is within the bound's own sampling."""
    return judge(
        ["B10"], statement, LU, measured=np.maximum(excess, 0), predicted=0.0,
        tolerance=_tolerance(bound.values, count), uncertainty=np.sqrt(bound * (1 - bound) / count),
        tolerance_from=f"binomial quantiles at the bound, {count} networks",
        claim="right after repair", correction=correction,
    )  # fmt: skip


def _by_width(part: xr.Dataset) -> str:
    """Shares dead on all inputs of ten hidden layers, one feature, in words."""
    if 1 not in part["features"].values or part.sizes["depth"] < 10:
        return "Narrow, deep networks are often born dead."
    share = share_by_depth(part, "dead_at_all").sel(features=1, depth=10)
    each = ", ".join(f"{float(share.sel(width=w)):.1%} at width {int(w)}" for w in part["width"].values)
    return f"Ten hidden layers, one feature: born dead are {each}."


def _scale(result: xr.Dataset) -> list[Verdict]:
    """Xavier's weights are He's times a number: the same networks are dead."""
    he, xavier = chosen(result, "he"), chosen(result, "xavier")
    if he is None or xavier is None:
        return []
    differ = (he["dead_at_all"].drop_vars("start") != xavier["dead_at_all"].drop_vars("start")).mean()
    same = float(differ) <= ROUNDING
    return [
        judge(
            ["B11"], "Without biases, share of networks that die in another layer when He's weights are "
            "scaled to Xavier's", "a relu's sign does not depend on the scale",
            measured=float(differ), predicted=0.0, tolerance=ROUNDING,
            tolerance_from="rounding of pre-activations near 0", claim="wrong" if same else "not checkable",
            correction="Xavier's initialization prevents no death: without biases death does not depend on "
            "the scale, and the signal halves its square in every layer." if same else "",
        )
    ]  # fmt: skip


def _units(result: xr.Dataset) -> list[Verdict]:
    """Units of layer 1 that are off on all examples, against the exact mean and the rule of thumb."""
    if result.sizes["seed"] < FEWEST:
        return []
    shares = result["unit_dead"].isel(start=0)
    total = shares.weighted(shares["width"]).mean("width")
    mean, predicted, error = xr.broadcast(
        total.mean("seed"), result["unit_dead_predicted"], standard_error(total)
    )
    units = int(result["width"].sum()) * result.sizes["seed"]
    likely = predicted.values * units >= 1
    found = []
    if likely.any():
        m, p, e = (a.values[likely] for a in (mean, predicted, error))
        found.append(judge(
            ["B10"], "Share of units of layer 1 that are off on n examples of mean m and deviation s, "
            "without biases: E Phi(-t m/s)^n, at m = 0 that is 2^-n", LU,
            measured=m, predicted=p, uncertainty=e,
            tolerance=np.maximum(sampling_factor(m.size, result.sizes["seed"]) * e, _tolerance(p, units)),
            tolerance_from=f"the larger of two, {surely(result.sizes['seed'])} and binomial quantiles of "
            f"{units} units; where one such unit or more is expected",
            claim="right after repair",
            correction="Rare for centred examples, 2^-n; algebraically rare for uncentred ones.",
        ))  # fmt: skip
    known = {"ratio": 2.0, "examples": int(result["examples"].max())}
    if 2.0 in result["ratio"].values and known["examples"] > 1:
        estimate, exact = float(dead_unit_estimate(2.0, known["examples"])), float(predicted.sel(known))
        found.append(observe(
            ["B10"], f"The rule of thumb Phi(-sqrt(2 ln n) s/m) gives {estimate:.3g} at m/s = 2 and "
            f"n = {known['examples']}, the exact mean {exact:.3g}; measured", REMEDIES,
            measured=float(mean.sel(known)), uncertainty=float(error.sel(known)), claim="right after repair",
            correction="The rule takes the largest of n normal numbers too large, and all units to see the "
            f"same mean: {'more' if exact > estimate else 'fewer'} units die than it says.",
        ))  # fmt: skip
    return found


def _fits(result: xr.Dataset) -> list[Verdict]:
    """Networks fitted to |x| that are constant before and after."""
    found, seeds = [], result.sizes["seed"]
    part, skew = chosen(result, "he"), chosen(result, "asymmetric")
    if part is not None:
        narrow = int(part["collapsed"].sel(width=int(part["width"].min())).sum("seed"))
        share, error = share_and_error(narrow, seeds)
        found.append(observe(
            ["B10"], f"Fits of |x| by ten layers that end as a constant, {seeds} each, exact 95 % intervals: "
            f"{_constant(part, PUBLISHED)}. Share at the smallest width", LU, measured=share,
            uncertainty=error, claim="right after repair",
            correction="Death by unlucky initialisation depends on width and depth: it is "
            f"{'the rule' if share > 0.5 else 'the exception'} at the smallest width here.",
        ))  # fmt: skip
        born, after = part["collapsed_before"] > 0, part["collapsed"] > 0
        if bool(born.any()):
            found.append(judge_zero(
                ["B7"], f"Of {int(born.sum())} networks that are constant before training, share that are "
                "not after it", "no gradient passes a layer that is off at every input",
                float((born & ~after).sum() / born.sum()),
                tolerance_from="exact: only the read-out and layers above the one that is off change",
            ))  # fmt: skip
    if part is not None and skew is not None:
        gain = part["collapsed"].drop_vars("start") - skew["collapsed"].drop_vars("start")
        mean, error = mean_and_error(gain.isel(width=0))
        found.append(observe(
            ["B6"], f"{LABELS['asymmetric'].capitalize()} initialization: fits that end as a constant: "
            f"{_constant(skew, {})}. Share that it saves at width {int(result['width'][0])}", LU,
            measured=mean, uncertainty=error,
        ))  # fmt: skip
    return found


def _constant(part: xr.Dataset, published: Mapping[int, str]) -> str:
    """Share of the fits that end as a constant, by width, with its interval and what was published."""
    words = []
    for width in map(int, part["width"].values):
        values = part["collapsed"].sel(width=width)
        low, high = share_interval(int(values.sum()), values.size)
        share = f"width {width} {float(values.mean()):.1%} ({low:.1%} to {high:.1%})"
        words.append(share + (f", published {published[width]}" if width in published else ""))
    return "; ".join(words)


def share_by_depth(result: xr.Dataset, name: str) -> xr.DataArray:
    """Share of networks that are dead at each depth, from the layer at which they died."""
    died = result[name].stack(draw=("seed", "network"))
    shares = [((died > 0) & (died <= depth)).mean("draw") for depth in result["depth"].values]
    by_depth: xr.DataArray = xr.concat(shares, result["depth"])
    return by_depth


def chosen(result: xr.Dataset, start: str) -> xr.Dataset | None:
    """The part of a result that started so, or None."""
    place = np.flatnonzero(result["start"].values == list(STARTS).index(start))
    return result.isel(start=int(place[0])) if place.size else None
