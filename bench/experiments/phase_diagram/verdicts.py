"""Verdicts on rates, phases and critical scales, and the measured zeros of the growth."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record.verdict import Verdict, compare, judge, sampling_factor

SLOPE = (0.03, 0.05)  # agreed accuracy of a growth rate: absolute, relative
POOLE, SCHOENHOLZ = "Poole et al. (2016), arXiv 1606.05340", "Schoenholz et al. (2017), arXiv 1611.01232"
SETTLED = 0.02  # largest change of log chi_1 within the window where the forward window may differ
REACHED = 0.02  # largest |log chi_1| on the critical line where q = 1 at the input leads to it
LARGEST_SHIFT = 0.2  # nat per layer: beyond it the next order in 1/N, about its square, exceeds the accuracy


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge growth, separation, critical scales, and what is said about large weights and sigmoid."""
    result = by_ratio(result)
    growth, ratio = result["growth_predicted"], result["ratio"]
    kinds = ", ".join((*result["activation"].values, *result["input"].values))
    found = [
        *_rates(
            result, ["C1"],
            f"log |delta|^2 grows per layer by log chi_1 less its 1/N shift at all sigma_w, sigma_b: {kinds}",
        ),
        *_rates(
            result, ["C1"],
            "Forward, the squared difference of two nearly equal inputs changes by chi_1 per layer too",
            where=result["drift"] < SETTLED, name="separation",
        ),
        *_signs(result),
        *_critical(result),
        *_rates(
            result, ["C19"],
            f"With {_weights(result, -1)} gradients explode, log chi_1 per layer",
            where=(growth > 0) & (ratio == ratio.max()),
        ),
        *_rates(
            result, ["C20"],
            f"With {_weights(result, 0)} gradients vanish, log chi_1 per layer",
            where=(growth < 0) & (ratio == ratio.min()), claim="right after repair",
            correction="In deep networks gradients of every activation vanish if sigma_w is too small.",
        ),
    ]  # fmt: skip
    if "sigmoid" in result["activation"]:
        found += _sigmoid(result.sel(activation=["sigmoid"]))
    return found


def _weights(result: xr.Dataset, place: int) -> str:
    """The smallest or largest weights in words: by their ratio, if that is one to critical weights."""
    critical, ratio = result["critical_sigma_w"].sel(sigma_b_line=0.0), float(result["ratio"][place])
    if bool((abs(result["unit"] / critical - 1) < 1e-6).all()):
        return f"{ratio:g} times the critical weights"
    return f"the {'largest' if place else 'smallest'} sigma_w, {ratio:g}"


def by_ratio(result: xr.Dataset) -> xr.Dataset:
    """With the weight scales as the axis `ratio`; those that were given as sigma_w have a unit of 1."""
    return result.rename(sigma_w="ratio") if "sigma_w" in result.dims else result


def in_range(result: xr.Dataset) -> xr.DataArray:
    """Settings at which the expansion in 1/N holds, its first term being small."""
    return abs(result["finite_width_shift"]) <= LARGEST_SHIFT


def _rates(
    result: xr.Dataset,
    claims: list[str],
    statement: str,
    *,
    where: xr.DataArray | bool = True,
    name: str = "growth",
    **standing: Any,
) -> list[Verdict]:
    """Compare measured rates with theory at the points of a mask, as far as it says anything."""
    predicted = result["growth_predicted"].where(where)
    known, outside = int(predicted.count()), int(predicted.where(~in_range(result)).count())
    if outside:
        statement += f" ({outside} of {known} settings are outside the range of the theory in 1/N)"
    predicted = predicted.where(in_range(result))
    return compare(
        claims, statement, f"{POOLE}; {SCHOENHOLZ}", result[name].where(where), predicted,
        slack=(SLOPE[1] * abs(predicted)).clip(min=SLOPE[0]),
        tolerance_from="0.03 or 5 % of the rate, and five standard errors over networks", **standing,
    )  # fmt: skip


def _signs(result: xr.Dataset) -> list[Verdict]:
    predicted = result["growth_predicted"]
    clear, measured = in_range(result) & (abs(predicted) > 0.1), result["growth"].mean("seed")
    seen = clear & measured.notnull()
    if not seen.any():
        return []
    lost = int((clear & measured.isnull()).sum())
    verdict = judge(
        ["C1"],
        "Share of the settings with |log chi_1| > 0.1 whose gradients vanish if chi_1 < 1 and explode if not"
        f"{f' ({lost} more lost the signal of every network)' if lost else ''}",
        f"{POOLE}; {SCHOENHOLZ}", predicted=1.0, tolerance=0.0,
        measured=float((np.sign(measured) == np.sign(predicted)).where(seen).mean()),
        tolerance_from="every setting counts",
    )  # fmt: skip
    return [verdict]


def _critical(result: xr.Dataset) -> list[Verdict]:
    found = zeros(result)
    if found.empty:
        return []
    factor = sampling_factor(len(found), result.sizes["seed"])
    verdict = judge(
        ["C2"],
        "The critical sigma_w, at which the gradient neither grows nor shrinks (zero of the growth between "
        "settings, measured and predicted), depends on activation and sigma_b: "
        f"{', '.join(found['activation'].unique())}",
        f"{POOLE}; {SCHOENHOLZ}", measured=found["measured_zero"], predicted=found["predicted_zero"],
        uncertainty=found["error"], tolerance=SLOPE[0] / found["slope"] + factor * found["error"],
        tolerance_from="0.03 in the growth rate and five standard errors over networks",
    )  # fmt: skip
    return [verdict]


def _sigmoid(result: xr.Dataset) -> list[Verdict]:
    """Judge what is said about sigmoid layers, and about sigmoid where its inputs are large."""
    growth = result["growth_predicted"]
    low, high = (float(np.exp(v)) for v in (growth.min(), growth.max()))
    return [
        *_rates(
            result, ["A8", "A21"],
            f"A sigmoid layer multiplies the squared gradient by chi_1 (log): from {low:.2g} to {high:.2g}",
            claim="right after repair",
            correction="At most a quarter is the slope of the activation. A layer multiplies by slope and "
            "weights: by 0.24 at sigma_w = 1, by 1 at sigma_w = 10.15, by more beyond.",
        ),
        *_rates(
            result, ["A13"], _far_from_zero(result.isel(activation=0)), where=growth > 0,
            claim="right after repair",
            correction="Near zero the factor per layer is sigma_w / 4, so small inputs vanish too. Sigmoid "
            "stops vanishing at sigma_w = 10.15, where its inputs are large.",
        ),
    ]  # fmt: skip


def _far_from_zero(at: xr.Dataset) -> str:
    rms = np.exp(at["log_q"].isel(ratio=[0, -1]).mean(("seed", "input", "sigma_b")).values / 2)
    sigma_w = at["ratio"].values[[0, -1]] * float(at["unit"])
    places = " and ".join(f"{r:.2g} at sigma_w = {s:.3g}" for r, s in zip(rms, sigma_w, strict=True))
    return (
        "Sigmoid gradients grow by log chi_1 per layer where sigma_w is above critical and inputs are far "
        f"from zero: the pre-activations' root mean square is {places}"
    )


def zeros(result: xr.Dataset) -> pd.DataFrame:
    """Where gradients keep their size, by activation and sigma_b: measured, and predicted in the same way.

    Both are the first zero of the growth along a line between the settings, so both bend as these are apart.
    Left out where either has none or the theory is out of range.
    """
    rows, result = [], by_ratio(result)
    growth, error = result["growth"].mean(("seed", "input")), standard_error(result["growth"].mean("input"))
    theory = result["growth_predicted"].where(in_range(result))
    for name, sigma_b in product(result["activation"].values, result["sigma_b"].values):
        at = {"activation": name, "sigma_b": sigma_b}
        log_sigma_w = np.log(result["ratio"].values * float(result["unit"].sel(activation=name)))
        measured = crossing(log_sigma_w, growth.sel(at).values)
        predicted = crossing(log_sigma_w, theory.sel(at).values)
        if measured and predicted:
            place, slope, before = measured
            zero, spread = float(np.exp(place)), float(error.sel(at)[before : before + 2].max()) / slope
            both = {"measured_zero": zero, "predicted_zero": float(np.exp(predicted[0]))}
            rows.append({**at, **both, "error": zero * spread, "slope": slope / zero})
    return pd.DataFrame(rows)


def crossing(log_sigma_w: np.ndarray, growth: np.ndarray) -> tuple[float, float, int] | None:
    """First zero of a growth rate from below: log sigma_w, the slope there, and the point before; or None."""
    rises = np.flatnonzero((growth[:-1] < 0) & (growth[1:] >= 0))
    if rises.size == 0:
        return None
    i = int(rises[0])
    slope = (growth[i + 1] - growth[i]) / (log_sigma_w[i + 1] - log_sigma_w[i])
    return float(log_sigma_w[i] - growth[i] / slope), float(slope), i
