"""Verdicts on the slopes of activations, the chain rule, and the factor per layer of networks."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis import meanfield
from signalprop.bench.experiments.activation_slopes.theory import mean_slope
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record.verdict import Verdict, compare, judge, sampling_factor
from signalprop.models.activations import ACTIVATIONS

MEAN_FIELD = "Schoenholz et al., arXiv 1611.01232"


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the identities of the sigmoid, the slopes of all activations, and the factors of networks."""
    return [*_sigmoid_identities(), *_largest_slopes(result), _chain_rule(), *_moments(), *_networks(result)]


def _sigmoid_identities() -> list[Verdict]:
    sigmoid = jax.jit(lambda x: (ACTIVATIONS["sigmoid"](x), ACTIVATIONS["sigmoid"].derivative(x)))
    x = np.arange(-3000, 3001) / 100
    s, slope = map(np.asarray, sigmoid(x))
    at = dict(zip(x.tolist(), slope.tolist(), strict=True))
    single = np.linspace(16.0, 18.0, 20001, dtype=np.float32)
    first_zero = float(single[np.argmax(np.asarray(sigmoid(single)[1]) == 0)])
    z = np.linspace(0.0, 1.0, 10001)[1:-1]
    eps, rounded = float(np.finfo(float).eps), "in float32 S(x) = 1 and S'(x) = 0 from x = 16.64 on."
    return [
        judge(
            ["A1"], "S' = S (1 - S): largest difference from autodiff on [-30, 30], in 64 bits", "algebra",
            measured=np.max(np.abs(slope - s * (1 - s))), predicted=0.0, tolerance=2 * eps,
            tolerance_from="rounding",
        ),
        judge(
            ["A3"], "In float32 the sigmoid is exactly 1 and its slope exactly 0 from here on",
            "1 + e^-x rounds to 1 below half the spacing of floats at 1: x = 24 log 2",
            measured=first_zero, predicted=24 * np.log(2), tolerance=1e-3,
            tolerance_from="grid and rounding", claim="right after repair",
            correction=f"True of real numbers; {rounded}",
        ),
        judge(
            ["A2"], "The slope of the sigmoid at the inputs 0 and 1", "algebra",
            measured=[at[0.0], at[1.0]], predicted=[0.25, np.e / (1 + np.e) ** 2],
            tolerance=10 * eps, tolerance_from="rounding", claim="wrong",
            correction="S'(0) = 1/4 is the largest slope, S'(1) = 0.197; S' tends to 0 as S tends to 0 or 1.",
        ),
        judge(
            ["A3"], "Smallest increase of the sigmoid over steps of 0.01 on [-25, 25], times e^25 / 0.01",
            "the slope is at least e^-25 there",
            measured=np.min(np.diff(s[500:-500])) / 0.01 * np.exp(25.0), predicted=1.005,
            tolerance=0.01, tolerance_from="rounding near 1: eps e^25 / 0.01", claim="right after repair",
            correction=f"True of real numbers; {rounded}",
        ),
        judge(
            ["A7"], "z (1 - z): largest value and its place on (0, 1)", "algebra",
            measured=[np.max(z * (1 - z)), z[np.argmax(z * (1 - z))]], predicted=[0.25, 0.5],
            tolerance=1e-4, tolerance_from="grid",
        ),
        judge(
            ["A12"], "log of the sigmoid's slope at -20 and 20", "S'(x) tends to e^-|x|",
            measured=np.log([at[-20.0], at[20.0]]), predicted=-20.0,
            tolerance=1e-6, tolerance_from="next term, 2 e^-20, and cancellation",
        ),
    ]  # fmt: skip


def _largest_slopes(result: xr.Dataset) -> list[Verdict]:
    """Largest slopes of all activations, and what the derivative of relu is at 0."""
    largest = abs(result["phi_slope"]).max("z").values
    maximum = jax.grad(lambda v: jnp.maximum(v, 0.0))(0.0)
    return [
        judge(
            ["A7", "A25"], f"Largest slopes of {largest.size} activations on [-20, 20]", "closed forms",
            measured=largest, predicted=[ACTIVATIONS[str(name)].max_slope for name in result["known"].values],
            tolerance=1e-5, tolerance_from="grid of 0.01",
        ),
        judge(
            ["B1"], "Slope of relu at -1, 1 and 0, and of maximum(x, 0) at 0", "JAX's convention at 0",
            measured=[*result["phi_slope"].sel(known="relu", z=[-1.0, 1.0, 0.0]).values, float(maximum)],
            predicted=[0, 1, 0, 0.5], tolerance=0.0, tolerance_from="exact",
            correction="At 0 the slope is a convention: 0 for jax.nn.relu, 1/2 for jnp.maximum(x, 0).",
        ),
    ]  # fmt: skip


def _chain_rule() -> Verdict:
    """A chain of four scalar sigmoid layers, differentiated by hand and by autodiff."""
    sigmoid, weights = ACTIVATIONS["sigmoid"], np.array([0.7, -1.3, 2.1, 0.9])

    @jax.jit
    @jax.grad
    def autodiff(w: jax.Array) -> jax.Array:
        last: jax.Array = jax.lax.scan(lambda f, weight: (sigmoid(weight * f), None), jnp.array(0.8), w)[0]
        return last**2 / 2

    f = [0.8]
    for w in weights:
        f.append(1 / (1 + np.exp(-w * f[-1])))
    slope = [above * (1 - above) for above in f[1:]]
    by_hand = f[4] * (slope[3] * weights[3]) * (slope[2] * weights[2]) * (slope[1] * f[1])
    return judge(
        ["A19"], "dL/dw2 of a chain of four scalar layers, L = f4^2 / 2: chain rule over autodiff",
        "dL/df4 df4/df3 df3/df2 df2/dw2",
        measured=by_hand / float(autodiff(weights)[1]), predicted=1.0,
        tolerance=100 * float(np.finfo(float).eps), tolerance_from="rounding", claim="wrong",
        correction="dL/dw2 = dL/df4 df4/df3 df3/df2 df2/dw2: no factor is a layer over itself.",
    )  # fmt: skip


def _moments() -> list[Verdict]:
    """Gaussian means against a sample."""
    z = np.random.default_rng(0).standard_normal(1_000_000)
    tanh_moment = float(jax.jit(lambda q: meanfield.derivative_moment(ACTIVATIONS["tanh"], q))(1.0))
    mean_slope = "Mean squared slope of tanh over standard Gaussian inputs"
    mean_output = "Mean output of relu over standard Gaussian inputs, 1 / sqrt(2 pi)"
    return [
        judge(
            [claim], statement, "Gaussian integral", measured=sample.mean(), predicted=predicted,
            uncertainty=sample.std() / 1000, tolerance=sampling_factor() * sample.std() / 1000,
            tolerance_from="five standard errors of a million inputs",
        )
        for claim, statement, sample, predicted in (
            ("A25", mean_slope, (1 - np.tanh(z) ** 2) ** 2, tanh_moment),
            ("B12", mean_output, np.maximum(z, 0), 1 / np.sqrt(2 * np.pi)),
        )
    ]  # fmt: skip


def _networks(result: xr.Dataset) -> list[Verdict]:
    found: list[Verdict] = []
    names = list(result["activation"].values)
    for name in names:
        found += _factor(name, result.sel(activation=name))
    if "sigmoid" in names and float(result["sigma_w"].max()) > 12:
        found += _sigmoid_crossing(result.sel(activation="sigmoid"))
    return found


def _factor(name: str, at: xr.Dataset) -> list[Verdict]:
    """Factor per layer of one activation, at all scales where no network lost its signal."""
    is_sigmoid, measured = name == "sigmoid", slopes(at)
    scales = measured.dropna("sigma_w")["sigma_w"].values
    if scales.size == 0:
        return []
    return compare(
        ["A8", "A21", "A20"] if is_sigmoid else ["A20"],
        f"Change of log |delta| per {name} layer, sigma_w from {scales[0]:g} to {scales[-1]:g}: half the log "
        "of chi_1",
        MEAN_FIELD, measured, at["slope_predicted"], slack=at["width_correction"],
        tolerance_from="the correction in 1/width in full, and five standard errors over networks",
        claim="right after repair",
        correction="At most 1/4 holds for the slope alone. A layer multiplies the gradient by sqrt(chi_1): "
        "0.236 at sigma_w = 1, 0.632 at 4, 1 at 10.149 and 1.389 at 20."
        if is_sigmoid else "The factor of a layer is sigma_w times the root mean square slope.",
    )  # fmt: skip


def _sigmoid_crossing(at: xr.Dataset) -> list[Verdict]:
    """Where the measured factor passes 1 between two scales, if it does.

    The finite width moves the place by the correction over the steepness.
    """
    scale, each = at["sigma_w"].values, slopes(at)
    log_factor = each.mean("seed", skipna=False).values
    i = int(np.argmax(log_factor > 0))
    if i == 0 or not np.isfinite(log_factor[i - 1]):
        return []
    steepness = (log_factor[i] - log_factor[i - 1]) / np.log(scale[i] / scale[i - 1])
    found = critical(scale[i - 1 : i + 1], np.exp(log_factor[i - 1 : i + 1]))
    error = found * float(standard_error(each)[i]) / steepness
    shift = float(at["width_correction"][i]) / steepness
    infinite = critical(at["curve_sigma_w"].values, at["curve_factor"].values)
    return [judge(
        ["A8", "A13"], "Weight scale at which gradients of a sigmoid network neither shrink nor grow: "
        f"{infinite:.3f} at infinite width, more at this one", MEAN_FIELD,
        measured=found, predicted=infinite * np.exp(shift), uncertainty=error,
        tolerance=infinite * shift + sampling_factor(1, at.sizes["seed"]) * error,
        tolerance_from="the shift by the finite width, in full, and five standard errors over networks",
        claim="right after repair",
        correction="Sigmoid networks shrink gradients below sigma_w = 10.149 and make them explode above.",
    )]  # fmt: skip


def slopes(result: xr.Dataset) -> xr.DataArray:
    """Measured change of log |delta| per layer, of every network."""
    found: xr.DataArray = xr.apply_ufunc(mean_slope, result["log_delta"], input_core_dims=[["layer"]])
    return found


def critical(sigma_w: np.ndarray, factor: np.ndarray) -> float:
    """Scale at which a rising curve of factors passes 1, by interpolation of logarithms; NaN if nowhere."""
    inside = factor.min() < 1 < factor.max()
    with np.errstate(divide="ignore"):  # a factor that is exactly 0 is far below 1
        return float(np.exp(np.interp(0.0, np.log(factor), np.log(sigma_w)))) if inside else np.nan
