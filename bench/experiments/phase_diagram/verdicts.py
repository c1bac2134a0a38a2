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
REACHED = 0.2  # largest |log chi_1| on the critical line where q = 1 at the input leads to it


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge growth, separation, critical scales, and what is said about large weights and sigmoid."""
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
            f"With {float(ratio.max()):g} times the critical weights gradients explode, log chi_1 per layer",
            where=(growth > 0) & (ratio == ratio.max()),
        ),
        *_rates(
            result, ["C20"],
            f"With {float(ratio.min()):g} times the critical weights gradients vanish, log chi_1 per layer",
            where=(growth < 0) & (ratio == ratio.min()), claim="right after repair",
            correction="In deep networks gradients of every activation vanish if sigma_w is too small.",
        ),
    ]  # fmt: skip
    if "sigmoid" in result["activation"]:
        found += _sigmoid(result.sel(activation=["sigmoid"]))
    return found


def _rates(
    result: xr.Dataset,
    claims: list[str],
    statement: str,
    *,
    where: xr.DataArray | bool = True,
    name: str = "growth",
    **standing: Any,
) -> list[Verdict]:
    """Compare measured rates with theory at the points of a mask."""
    predicted = result["growth_predicted"]
    return compare(
        claims, statement, f"{POOLE}; {SCHOENHOLZ}", result[name].where(where), predicted,
        slack=(SLOPE[1] * abs(predicted)).clip(min=SLOPE[0]),
        tolerance_from="0.03 or 5 % of the rate, and five standard errors over networks", **standing,
    )  # fmt: skip


def _signs(result: xr.Dataset) -> list[Verdict]:
    clear = abs(result["growth_predicted"]) > 0.1
    if not clear.any():
        return []
    same = np.sign(result["growth"].mean("seed")) == np.sign(result["growth_predicted"])
    verdict = judge(
        ["C1"],
        "Share of the settings with |log chi_1| > 0.1 whose gradients vanish if chi_1 < 1 and explode if not",
        f"{POOLE}; {SCHOENHOLZ}", measured=float(same.where(clear).mean()), predicted=1.0, tolerance=0.0,
        tolerance_from="every setting counts",
    )  # fmt: skip
    return [verdict]


def _critical(result: xr.Dataset) -> list[Verdict]:
    found = measured_critical(result)
    if found.empty:
        return []
    factor = sampling_factor(len(found), result.sizes["seed"])
    verdict = judge(
        ["C2"],
        "The critical sigma_w, at which the gradient neither grows nor shrinks, depends on activation and "
        f"sigma_b: {', '.join(found['activation'].unique())}",
        f"{POOLE}; {SCHOENHOLZ}", measured=found["measured"], predicted=found["critical"],
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


def measured_critical(result: xr.Dataset) -> pd.DataFrame:
    """Where measured gradients keep their size, beside the critical line, by activation and sigma_b.

    Theory's growth at the same points tells how far interpolation, finite width and the transient shift the
    crossing; that is taken off. Where q = 1 at the input does not lead to the line, nothing is compared.
    """
    rows = []
    growth, error = result["growth"].mean(("seed", "input")), standard_error(result["growth"].mean("input"))
    for name, sigma_b in product(result["activation"].values, result["sigma_b"].values):
        at = {"activation": name, "sigma_b": sigma_b}
        line = result.sel(activation=name, sigma_b_line=sigma_b)
        log_sigma_w = np.log(result["ratio"].values * float(line["unit"]))
        measured = crossing(log_sigma_w, growth.sel(at).values)
        predicted = crossing(log_sigma_w, result["growth_predicted"].sel(at).values)
        if not (measured and predicted and abs(float(line["log_chi_1_line"])) < REACHED):
            continue
        place, slope, before = measured
        critical = float(line["critical_sigma_w"])
        shifted = critical * np.exp(place - predicted[0])
        spread = float(error.sel(at)[before : before + 2].max()) / slope
        found = {"critical": critical, "measured": shifted, "error": shifted * spread}
        rows.append({**at, **found, "slope": slope / shifted})
    return pd.DataFrame(rows)


def crossing(log_sigma_w: np.ndarray, growth: np.ndarray) -> tuple[float, float, int] | None:
    """First zero of a growth rate from below: log sigma_w, the slope there, and the point before; or None."""
    rises = np.flatnonzero((growth[:-1] < 0) & (growth[1:] >= 0))
    if rises.size == 0:
        return None
    i = int(rises[0])
    slope = (growth[i + 1] - growth[i]) / (log_sigma_w[i + 1] - log_sigma_w[i])
    return float(log_sigma_w[i] - growth[i] / slope), float(slope), i
