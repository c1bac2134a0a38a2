"""Verdicts: totals of all pairs of activation and scheme, and what is said of single ones."""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from signalprop.bench.measure.estimates import run_width, standard_error
from signalprop.bench.record.verdict import Standing, Verdict, compare, judge, observe, sampling_factor

MEAN_FIELD = "Schoenholz et al. (arXiv 1611.01232), with 1/N terms"
TOLERANCE = "half of the indirect 1/N terms, 5% of the direct ones, five standard errors of predicted spread"
ROUNDING = 1e-3  # decades


class Case(NamedTuple):
    """Claims answered by one pair of activation and scheme."""

    activation: str
    scheme: str
    claims: tuple[str, ...]
    claim: Standing
    correction: str = ""
    statement: str = ""


TOTALS = (
    Case("sigmoid", "glorot_uniform", ("A10", "C20"), "right after repair",
         "Lower layers get smaller gradients while sigma_w is below 10.15; above, they get larger ones.",
         "A sigmoid network with Xavier weights loses 0.6 decades per layer towards the input"),
    Case("sigmoid", "normal_001", ("A13",), "right after repair",
         "At zero the factor per layer is sigma_w / 4: being near zero helps only from sigma_w = 4 on.",
         "Sigmoids whose inputs all lie near zero, where the slope is largest, lose most"),
    Case("tanh", "glorot_uniform", ("A14",), "right after repair",
         "tanh has slope 1 at zero: at sigma_w = 1 it loses a power of depth, the sigmoid 0.236^L.",
         "A tanh network with Xavier weights, sigma_w = 1, loses no more than two decades"),
    Case("relu", "glorot_uniform", ("B3", "C20"), "wrong",
         "The slope is one factor of two; relu keeps the mean of |delta|^2 at sigma_w^2 = 2 only.",
         "Active relu units have slope 1, and with Xavier weights gradients still fall by sqrt(2) per layer"),
    Case("linear", "gaussian", ("B3", "C19"), "wrong",
         "A product of weight matrices remains, and it vanishes or explodes by itself.",
         "With slope exactly 1 everywhere, and unscaled Gaussian weights, gradients grow by sigma_w a layer"),
    Case("tanh", "normal_001", ("C1", "C11"), "right after repair",
         "N(0, 0.01^2) suits one or two layers; deep networks need sigma_w = 1 (tanh) or sqrt(2) (relu).",
         "tanh with weights N(0, 0.01^2) loses a factor of sigma_w = 0.01 sqrt(N) per layer"),
    Case("relu", "gaussian", ("C1", "C19"), "right", "",
         "relu with too large weights explodes by sigma_w / sqrt(2) per layer"),
    Case("linear", "glorot_uniform", ("C2", "C12"), "right", "",
         "The Xavier weights that starve relu and sigmoid keep the gradient of a linear network"),
    Case("relu", "he_normal", ("C13", "A9"), "right after repair",
         "He keeps the mean of |delta|^2; its log drifts down. Single flat nodes do not block the others.",
         "He weights keep relu's gradient though half its slopes are zero; its log drifts by -5/4 (L-1)/N"),
    Case("binary_step", "he_normal", ("A9",), "right after repair",
         "It takes the whole layer: half of relu's units are flat and its gradient passes.",
         "A layer that is flat in every unit stops the gradient completely"),
)  # fmt: skip
SPREADS = (
    Case("tanh", "normal_001", ("C11",), "right after repair", "The spread falls by 0.01 sqrt(N) per layer."),
    Case("tanh", "glorot_uniform", ("C12",), "right after repair", "It falls slowly, as 1 / sqrt(2 l)."),
    Case("relu", "glorot_uniform", ("C12",), "right after repair", "relu loses sqrt(2) per layer."),
    Case("relu", "he_normal", ("C13",), "right"),
    Case("tanh", "gaussian", ("C19",), "right"),
)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """All pairs at once, then claim by claim; what was not measured is left out."""
    judged: list[tuple[str, str, Callable[[xr.Dataset], list[Verdict]]]] = [
        ("relu", "he_normal", _relu_spread),
        ("sigmoid", "glorot_uniform", _smallest_layer),
        ("relu", "he_normal", _relu_mean),
        ("relu", "glorot_uniform", _paradox),
    ]
    judged += [(case.activation, case.scheme, partial(_total, case)) for case in TOTALS]
    judged += [(case.activation, case.scheme, partial(_activity_spread, case)) for case in SPREADS]
    everywhere = "all activations, schemes, inputs and depths within reach of 1/N terms"
    found = _judged_totals(_totals(result), ["C1", "C2", "C20"], f"log10 |delta^1| / |delta^L|, {everywhere}")
    for phi, name, judge_pair in judged:
        if phi in result["activation"] and name in result["scheme"]:
            found += judge_pair(result.sel(activation=phi, scheme=name))
    return [*found, _count_schemes()]


def _totals(result: xr.Dataset) -> dict[str, Any]:
    """Measured and predicted totals with tolerances, flat, without what was lost or is not predicted."""
    samples = result["total_decades"]
    columns = (
        samples.mean("seed", skipna=False),
        result["total_decades_predicted"],
        standard_error(samples).fillna(0),
        result["total_decades_spread"] / math.sqrt(samples.sizes["seed"]),
        result["total_decades_next_order"],
    )
    numbers = np.array([column.values.ravel() for column in xr.broadcast(*columns)])
    mean, predicted, error, expected_error, next_order = numbers[:, ~np.isnan(numbers[:2]).any(0)]
    factor = sampling_factor(max(1, mean.size))
    return {
        "measured": mean,
        "predicted": predicted,
        "uncertainty": error,
        "tolerance": next_order + factor * expected_error + ROUNDING,
    }


def _judged_totals(
    totals: dict[str, Any], claims: Sequence[str], statement: str, **standing: Any
) -> list[Verdict]:
    if totals["measured"].size == 0:
        return []
    return [judge(claims, statement, MEAN_FIELD, **totals, tolerance_from=TOLERANCE, **standing)]


def _relu_spread(pair: xr.Dataset) -> list[Verdict]:
    pair = pair.sel(depth=pair["depth"].max())
    predicted = float(pair["total_decades_spread"])
    error = predicted / math.sqrt(2 * (pair.sizes["seed"] - 1))
    verdict = judge(
        ["B3", "C13"], f"He relu: spread over networks of log10 |delta^1| / |delta^{int(pair.depth)}|",
        "Hanin & Nica (arXiv 1812.05994), exact law", measured=deviation(pair["total_decades"]),
        predicted=predicted, uncertainty=error, tolerance=sampling_factor(pair.sizes["input"]) * error,
        tolerance_from="five standard errors of a standard deviation", claim="wrong",
        correction="Even at the critical scale log |delta|^2 walks at random, with a variance of 5 L/N.",
    )  # fmt: skip
    return [verdict]


def _smallest_layer(pair: xr.Dataset) -> list[Verdict]:
    depth = int(pair["depth"].min())
    smallest = pair["weight_decades"].sel(depth=depth, layer=slice(1, depth)).argmin("layer") + 1
    verdict = judge(
        ["A15"], f"Which of {depth} Xavier sigmoid layers has the smallest weight gradient (mean)",
        "chain rule: the lowest layer has the longest product", measured=float(smallest.mean()), predicted=1,
        tolerance=0, tolerance_from="neighbouring layers differ by half a decade", claim="wrong",
        correction="The layers nearest the input get no gradient; the deepest get the most.",
    )  # fmt: skip
    return [verdict]


def _relu_mean(pair: xr.Dataset) -> list[Verdict]:
    return compare(
        ["B12"], "Mean of relu's output over the rms of its input, 1 / sqrt(2 pi), in a He network",
        "Gaussian integral", pair["relative_mean"].mean(["input", "layer"]), 1 / math.sqrt(2 * math.pi),
        slack=1 / run_width(pair),
        tolerance_from="1/N for the fluctuating rms, five standard errors over networks",
    )  # fmt: skip


def _paradox(pair: xr.Dataset) -> list[Verdict]:
    depth = int(pair["depth"].min())
    return compare(
        ["C12", "B3"], f"All {depth} layers of a Xavier relu network have equal weight gradients although "
        "activities and back-propagated gradients lose sqrt(2) per layer: log10 of first over last",
        "Glorot & Bengio (2010), equation 14: |dE/dW^l| = |delta^l| |y^(l-1)|",
        pair["weight_decades"].sel(depth=depth, layer=1), 0.0, claim="right after repair",
        correction="Equal weight gradients are no sign of health: the signal is lost all the same.",
    )  # fmt: skip


def _total(case: Case, pair: xr.Dataset) -> list[Verdict]:
    """The deepest network whose signal survived and whose total is predicted."""
    for depth in sorted(pair["depth"].values, reverse=True):
        totals = _totals(pair.sel(depth=depth))
        if totals["measured"].size == pair.sizes["input"]:
            statement = f"{case.statement}: log10 |delta^1| / |delta^{depth}|"
            return _judged_totals(
                totals, case.claims, statement, claim=case.claim, correction=case.correction
            )
    return []


def _activity_spread(case: Case, pair: xr.Dataset) -> list[Verdict]:
    values = pair["log_std"].mean("input", skipna=False).sel(layer=slice(1, 10))
    return compare(
        case.claims, f"Log of the spread of activities, {case.activation} with {case.scheme}, "
        f"{values.sizes['layer']} layers",
        "CS231n activation statistics; length map (arXiv 1606.05340) with its 1/N shift",
        values, pair["log_std_predicted"].sel(layer=values["layer"]), slack=0.01, claim=case.claim,
        tolerance_from="1% for higher orders, five standard errors over networks", correction=case.correction,
    )  # fmt: skip


def _count_schemes() -> Verdict:
    public = (maker for name, maker in vars(jax.nn.initializers).items() if not name.startswith("_"))
    distinct = {id(maker) for maker in public if inspect.isfunction(maker)}
    return observe(
        ["C16"], "Distinct functions in jax.nn.initializers; aliases such as xavier and kaiming count once",
        f"jax {jax.__version__}", measured=len(distinct),
    )  # fmt: skip


def deviation(values: xr.DataArray) -> xr.DataArray:
    """Standard deviation over networks; NaN where one of them lost its gradient."""
    return values.where(np.isfinite(values.values)).std("seed", ddof=1, skipna=False)
