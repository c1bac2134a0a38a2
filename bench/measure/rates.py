"""What a result tells about rates: standard errors, where growth is zero, how fast deviations decay."""

import json

import numpy as np
import pandas as pd
import xarray as xr

REACHED = 0.2  # largest |log chi_1| on the critical line where q = 1 at the input leads to it
LINEAR = 0.3  # largest deviation from a fixed point that counts as small
ROUNDING = 1e-11  # smallest 1 - c that float32 resolves


def standard_error(values: xr.DataArray) -> xr.DataArray:
    """Standard error over networks."""
    error: xr.DataArray = values.std("seed", ddof=1) / values.sizes["seed"] ** 0.5
    return error


def exp(values: xr.DataArray) -> xr.DataArray:
    """Exponential, typed: NumPy's own promises an array."""
    result: xr.DataArray = xr.apply_ufunc(np.exp, values)
    return result


def run_width(result: xr.Dataset) -> int:
    """Units of every layer, as the settings have it."""
    return int(json.loads(result.attrs["settings"])["width"])


def near_input(result: xr.Dataset) -> xr.Dataset:
    """Layers up to N / 16, in which theory for infinite width holds."""
    return result.sel(layer=slice(1, max(2, run_width(result) // 16)))


def crossing(log_sigma_w: np.ndarray, growth: np.ndarray) -> tuple[float, float, int] | None:
    """First zero of a growth rate from below: log sigma_w, the slope there, and the point before; or None."""
    rises = np.flatnonzero((growth[:-1] < 0) & (growth[1:] >= 0))
    if rises.size == 0:
        return None
    i = int(rises[0])
    slope = (growth[i + 1] - growth[i]) / (log_sigma_w[i + 1] - log_sigma_w[i])
    return float(log_sigma_w[i] - growth[i] / slope), float(slope), i


def measured_critical(result: xr.Dataset) -> pd.DataFrame:
    """Where measured gradients keep their size, beside the critical line, by activation and sigma_b.

    Theory's growth at the same points tells how far interpolation, finite width and the transient shift the
    crossing; that is taken off. Where q = 1 at the input does not lead to the line, nothing is compared.
    """
    rows = []
    growth, error = result["growth"].mean(("seed", "input")), standard_error(result["growth"].mean("input"))
    for name in result["activation"].values:
        for sigma_b in result["sigma_b"].values:
            at = {"activation": name, "sigma_b": sigma_b}
            line = result.sel(activation=name, sigma_b_line=sigma_b)
            log_sigma_w = np.log(result["ratio"].values * float(line["unit"]))
            measured = crossing(log_sigma_w, growth.sel(at).values)
            predicted = crossing(log_sigma_w, result["growth_predicted"].sel(at).values)
            if measured and predicted and abs(float(line["log_chi_1_line"])) < REACHED:
                critical = float(line["critical_sigma_w"])
                shifted = critical * np.exp(measured[0] - predicted[0])
                spread = float(error.sel(at)[measured[2] : measured[2] + 2].max()) / measured[1]
                rows.append({**at, "critical": critical, "measured": shifted, "error": shifted * spread})
                rows[-1]["slope"] = measured[1] / shifted
    return pd.DataFrame(rows)


def measured_scales(near: xr.Dataset) -> pd.DataFrame:
    """Rates of length, cosine and gradient of the first activation, measured and predicted, at all scales.

    Length: the difference of the longest and the shortest input in the same network, so that what the width
    adds to both cancels. Cosine: 1 - c of the closest pair where c* = 1, else the difference of the two pairs
    next to c*. Theory's trajectories are fitted over the same layers; `theory` is the asymptotic scale.
    """
    rows = []
    for i in range(near.sizes["scales"]):
        at = near.isel(activation=0, scales=i)
        if np.isfinite(at["c_star"]) and at["q_star"] > 1e-6:
            place = {name: at[name].item() for name in ("activation", "sigma_w", "sigma_b")}
            fits = {"xi_q": _fit(*_lengths(at)), "xi_c": _fit(*_cosines(at)), "xi_grad": _gradient(at)}
            rows += [
                {**place, "kind": kind, **found, "theory": float(at[kind])}
                for kind, found in fits.items()
                if found
            ]
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
    return {
        "rate": float(slopes.mean()),
        "error": float(standard_error(slopes)),
        "predicted": float(slope),
    }


def _fit(values: xr.DataArray, predicted: xr.DataArray) -> dict[str, float] | None:
    """Slopes of the log of a deviation over the first run of layers where it is small but clear; or None."""
    mean, error, expected = values.mean("seed").values, standard_error(values).values, predicted.values
    clear = (np.abs(mean) > 5 * error) & (np.abs(mean) > ROUNDING)
    good = clear & (np.abs(expected) < LINEAR) & (mean * expected > 0)
    first = int(np.argmax(good))
    stop = first + int(np.argmin(np.append(good[first:], False)))
    if stop - first < 3:
        return None
    layer = values["layer"].values[first:stop]
    ends = [first, stop - 1]
    return {
        "rate": _slope(mean[first:stop], layer),
        "error": float(np.hypot(*(error[ends] / mean[ends]))) / float(layer[-1] - layer[0]),
        "predicted": _slope(expected[first:stop], layer),
    }


def _slope(deviation: np.ndarray, layer: np.ndarray) -> float:
    """Slope of log |deviation| over the layers, by least squares."""
    return float(np.polyfit(layer, np.log(np.abs(deviation)), 1)[0])
