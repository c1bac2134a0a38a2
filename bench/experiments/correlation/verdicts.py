"""Verdicts on maps, depth scales and what is said of tanh, relu and Xavier; rates that figures show too."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis.statistics import fit_line
from signalprop.bench.experiments.correlation import HE, XAVIER
from signalprop.bench.measure.estimates import exp, run_width, standard_error
from signalprop.bench.record.verdict import Verdict, compare, judge, sampling_factor

LENGTH_BIAS, CORRELATION_BIAS = 8.0, 6.0  # times 1/N: 2 % of q and 0.015 of c at width 400
SLOPE = (0.03, 0.05)  # agreed accuracy of a rate: absolute, relative
POOLE, SCHOENHOLZ = "Poole et al. (2016), arXiv 1606.05340", "Schoenholz et al. (2017), arXiv 1611.01232"
LINEAR = 0.3  # largest deviation from a fixed point that counts as small
ROUNDING = 1e-11  # smallest 1 - c that float32 resolves


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge both maps, the depth scales, and what is said about tanh, relu and Xavier."""
    near = near_input(result)
    lengths, cosines = (bias / run_width(result) for bias in (LENGTH_BIAS, CORRELATION_BIAS))
    found = [
        *_compare(
            ["C1"], "Length of every layer over that of the length map, for all inputs, scales and "
            "activations", exp(near["log_q"] - near["log_q_predicted"]), 1.0, lengths,
        ),
        *_compare(
            ["C1"], "Cosine of a pair in every layer is that of the correlation map, for Gaussian and real "
            "pairs", 1 - near["distance"], near["c_predicted"], cosines,
        ),
        *_rates(near),
        *_compare(
            ["B12"], "Mean over root mean square of the activities, in theory 1 / sqrt(pi) = 0.564 for relu "
            f"and 0 for tanh; measured: {', '.join(near['activation'].values)}",
            near["centre"], near["centre_predicted"], lengths,
        ),
    ]  # fmt: skip
    xavier, he = (position(near, scale) for scale in (XAVIER, HE))
    if he.size and "relu" in near["activation"]:
        relu = near.isel(scales=he).sel(activation=["relu"])
        text = "With it all relu activities turn into one direction: c goes to 1 even at the critical sigma_w"
        found += _compare(["B12"], text, 1 - relu["distance"], relu["c_predicted"], cosines)
    if xavier.size:
        found += _xavier(near.isel(scales=xavier), lengths)
        found += _tanh_and_sigmoid(near.isel(scales=xavier))
    return found


def _compare(
    claims: list[str],
    statement: str,
    values: xr.DataArray,
    predicted: xr.DataArray | float,
    bias: float | xr.DataArray,
    **standing: Any,
) -> list[Verdict]:
    """The mean over networks against theory, with a bias allowed for finite width."""
    allowed = f"{float(np.max(bias)):.3g} for finite width, and five standard errors over networks"
    source = f"{POOLE}; {SCHOENHOLZ}"
    return compare(
        claims, statement, source, values, predicted, slack=bias, tolerance_from=allowed, **standing
    )


def _rates(near: xr.Dataset) -> list[Verdict]:
    found = measured_scales(near)
    if found.empty:
        return []
    factor = sampling_factor(len(found), near.sizes["seed"])
    verdict = judge(
        ["C1"],
        f"Rates per layer in {found['activation'][0]} networks at which length and cosine approach their "
        "fixed points and the gradient changes. Cosine and gradient share a rate if chi_1 < 1; if chi_1 > 1 "
        "gradients grow while cosines converge", SCHOENHOLZ, measured=found["rate"],
        predicted=found["predicted"], uncertainty=found["error"],
        tolerance=np.maximum(SLOPE[0], SLOPE[1] * found["predicted"].abs()) + factor * found["error"],
        tolerance_from="0.03 or 5 % of the rate, and five standard errors over networks",
    )  # fmt: skip
    return [verdict]


def _xavier(near: xr.Dataset, bias: float) -> list[Verdict]:
    log_q = near["log_q"].sel(q_0=1.0, method="nearest").isel(scales=0).mean("seed")
    change = np.exp((log_q.isel(layer=-1) - log_q.isel(layer=0)).values)
    told = [f"{v:.2g} for {name}" for name, v in zip(near["activation"].values, change, strict=True)]
    return _compare(
        ["C12"], "Length in every layer over theory's at sigma_w = 1, sigma_b = 0, Xavier's for square "
        f"layers. From layer 1 to layer {near.sizes['layer']} it changes by {', '.join(told)}",
        exp(near["log_q"] - near["log_q_predicted"]), 1.0, bias, claim="right after repair",
        correction="Xavier keeps lengths where activations are linear. They fall as 1 / (2 l) with tanh, "
        "halve in every layer with relu, and settle at 0.26 with sigmoid, whose gradients vanish.",
    )  # fmt: skip


def _tanh_and_sigmoid(near: xr.Dataset) -> list[Verdict]:
    if not {"tanh", "sigmoid"} <= set(near["activation"].values):
        return []
    pair, steps = near.sel(activation=["tanh", "sigmoid"]), near.sizes["layer"] - 1
    change, expected = (
        2 * (pair[name].isel(layer=0) - pair[name].isel(layer=-1)) / steps
        for name in ("log_delta", "log_delta_predicted")
    )
    return _compare(
        ["A14"], f"Change of log |delta|^2 per layer over {steps} layers at sigma_w = 1, sigma_b = 0: tanh "
        "loses a power of the depth, sigmoid a factor 0.056 in every layer",
        change, expected, (SLOPE[1] * abs(expected)).clip(min=SLOPE[0]), claim="right after repair",
        correction="tanh has slope 1 at zero: at sigma_w = 1 its gradients fall as 1 / L only, at a larger "
        "sigma_w not at all. Sigmoid with its slope of a quarter loses them exponentially.",
    )  # fmt: skip


def position(result: xr.Dataset, scale: tuple[float, float]) -> np.ndarray:
    """Position of a pair of sigma_w and sigma_b; empty if it was not measured."""
    same = (np.isclose(result[name], scale[i], atol=1e-6) for i, name in enumerate(("sigma_w", "sigma_b")))
    return np.flatnonzero(np.logical_and(*same))[:1]


def near_input(result: xr.Dataset) -> xr.Dataset:
    """Layers up to N / 16, in which theory for infinite width holds."""
    return result.sel(layer=slice(1, max(2, run_width(result) // 16)))


def measured_scales(near: xr.Dataset) -> pd.DataFrame:
    """Rates of length, cosine and gradient of the first activation, measured and predicted, at all scales.

    Length: the difference of the longest and the shortest input in the same network, so that what the width
    adds to both cancels. Cosine: 1 - c of the closest pair where c* = 1, else the difference of the two pairs
    next to c*. Theory's trajectories are fitted over the same layers; `theory` is the asymptotic scale.
    """
    rows = []
    for i in range(near.sizes["scales"]):
        at = near.isel(activation=0, scales=i)
        if not (np.isfinite(at["c_star"]) and at["q_star"] > 1e-6):
            continue
        place = {name: at[name].item() for name in ("activation", "sigma_w", "sigma_b")}
        fits = {"xi_q": _fit(*_lengths(at)), "xi_c": _fit(*_cosines(at)), "xi_grad": _gradient(at)}
        for kind, found in fits.items():
            if found:
                rows.append({**place, "kind": kind, **found, "theory": float(at[kind])})
    return pd.DataFrame(rows)


def _lengths(at: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Difference of the longest and the shortest input in units of q*, measured and predicted."""
    long, short = (int(pick(at["q_0"].values)) for pick in (np.argmax, np.argmin))
    q, expected = (exp(at[name]) / float(at["q_star"]) for name in ("log_q", "log_q_predicted"))
    return q.isel(q_0=long) - q.isel(q_0=short), expected.isel(q_0=long) - expected.isel(q_0=short)


def _cosines(at: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """1 - c of the pair next to c*, less that of the second next where c* < 1; measured and predicted."""
    first, second = np.argsort(np.abs(at["pair_c_0"].values - float(at["c_star"])))[:2]
    measured, expected = at["distance"], 1 - at["c_predicted"]
    shared = 0 if at["c_star"] == 1 else 1
    return (
        measured.isel(pair=first) - shared * measured.isel(pair=second),
        expected.isel(pair=first) - shared * expected.isel(pair=second),
    )


def _gradient(at: xr.Dataset) -> dict[str, float]:
    """Mean change of log |delta|^2 per layer towards the input, behind the first three layers."""
    slopes, slope = (
        -2 * at[name].diff("layer").isel(layer=slice(3, None)).mean("layer")
        for name in ("log_delta", "log_delta_predicted")
    )
    return {"rate": float(slopes.mean()), "error": float(standard_error(slopes)), "predicted": float(slope)}


def _fit(values: xr.DataArray, predicted: xr.DataArray) -> dict[str, float] | None:
    """Slopes of the log of a deviation over the first run of layers where it is small but clear; or None."""
    mean, error, expected = values.mean("seed").values, standard_error(values).values, predicted.values
    clear = (np.abs(mean) > 5 * error) & (np.abs(mean) > ROUNDING)
    good = clear & (np.abs(expected) < LINEAR) & (mean * expected > 0)
    first = int(np.argmax(good))
    stop = first + int(np.argmin(np.append(good[first:], False)))
    if stop - first < 3:
        return None
    layer, ends = values["layer"].values[first:stop], [first, stop - 1]
    rate, rate_predicted = (fit_line(layer, np.log(abs(v[first:stop]))).slope for v in (mean, expected))
    error_of_ends = float(np.hypot(*(error[ends] / mean[ends])))
    return {
        "rate": rate,
        "error": error_of_ends / float(layer[-1] - layer[0]),
        "predicted": rate_predicted,
    }
