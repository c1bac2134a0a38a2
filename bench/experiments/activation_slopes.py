r"""How large is the slope of an activation, and does a gradient shrink by it in every layer?

The slopes of all activations are checked against closed forms, and the popular rule "each sigmoid multiplies
the gradient by at most 1/4" against wide, fully connected networks without biases, W_ij ~ N(0, sigma_w^2/N).

Measured: log |delta^l| of every layer, delta^l = dE/dz^l, for an input of unit mean square and a random
cotangent. The factor per layer is its slope, without some layers at either end.

Theory: |delta^l|^2 = chi_1 |delta^{l+1}|^2 with chi_1 = sigma_w^2 E phi'(sqrt(q) z)^2 at the length q of the
layer (Schoenholz et al., arXiv 1611.01232). The bound 1/4 on the slope is no bound on sqrt(chi_1), which for
the sigmoid passes 1 at sigma_w = 10.149. At width N the mean logarithm is lower by
(3 mu_2 / mu_1^2 - 1) / (4 N) per layer, mu_k = E phi'^{2k} (for relu the 5 / (4 N) of Hanin and Nica, arXiv
1812.05994).

Sources of the claims: see ``bench.claims``, A1 to A25.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis import meanfield
from signalprop.analysis.gaussian import expectation
from signalprop.bench.drawings.activation_slopes import FIRST, LAST, critical, figures, mean_slope, slopes
from signalprop.bench.engine.grid import (
    Grid,
    Static,
    label_array,
    require_count,
    require_known,
    require_scale,
)
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor
from signalprop.models import stream
from signalprop.models.activations import ACTIVATIONS, Activation, activation

MEAN_FIELD = "Schoenholz et al., arXiv 1611.01232"
CURVE_POINTS = 241
Z = np.arange(-2000, 2001) / 100  # where all activations are evaluated


@dataclass(frozen=True)
class Settings:
    """Settings of ``activation-slopes``."""

    activation: tuple[str, ...] = ("sigmoid", "tanh", "relu")
    """Activations of the measured networks; the slopes of all known ones are always checked."""
    sigma_w: tuple[float, ...] = (0.3, 1.0, 1.414, 4.0, 8.0, 10.149, 13.0, 20.0)
    """Weight scales."""
    width: int = 128
    """Units per layer."""
    depth: int = 20
    """Layers."""
    seeds: int = 12
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of the networks."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        require_scale("sigma_w", self.sigma_w)
        require_count("width", [self.width])
        require_count("depth", [self.depth], FIRST + LAST + 2)
        require_count("seeds", [self.seeds], 2)


FOUR = ("sigmoid", "tanh", "relu", "linear")
SCALES = (0.1, 0.3, 1.0, 1.414, 2.0, 4.0, 6.0, 8.0, 10.149, 13.0, 20.0)
SIZES = {
    "quick": Settings(),
    "standard": Settings(FOUR, SCALES, width=512, depth=30, seeds=24),
    "full": Settings(FOUR, SCALES, width=1024, depth=100, seeds=48),
}


def grid(settings: Settings) -> Grid:
    """One compilation per activation."""
    return Grid(
        static={"activation": settings.activation},
        traced={"sigma_w": settings.sigma_w},
        seeds=settings.seeds,
        constants={"width": settings.width, "depth": settings.depth, "dtype": settings.dtype},
        coords={"layer": range(1, settings.depth + 1)},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Log norm of the gradient in every layer of one network; NaN where the signal left the range."""
    width, depth, dtype = static["width"], static["depth"], static["dtype"]
    input_key, top_key, key = jax.random.split(key, 3)
    x = jax.random.normal(input_key, (width,), dtype)
    network = stream.LazyMLP(
        (width,) * (depth + 1),
        activation(static["activation"]),
        "gaussian",
        point["sigma_w"],
        key=key,
        dtype=dtype,
    )
    cotangent = jax.random.normal(top_key, (width,), dtype)
    profile = stream.profile(network, x / jnp.sqrt(jnp.mean(x**2)), cotangent)
    return {"log_delta": jnp.where(profile.lost_at == 0, profile.log_delta, jnp.nan)}


def theory(settings: Settings) -> xr.Dataset:
    """Mean-field profile and factor at the measured scales, the factor over a continuum, and all slopes."""
    phis = [activation(name) for name in settings.activation]
    predicted = [_predicted_profile(phi, settings) for phi in phis]
    profile, correction = (np.array(part) for part in zip(*predicted, strict=True))
    curve_sigma_w, curve_factor = np.moveaxis(np.array([factor_curve(phi) for phi in phis]), 1, 0)
    value, slope = map(np.asarray, jax.jit(_all_activations)(Z))
    by_point, by_z = ("activation", "sigma_w"), ("known", "z")
    return xr.Dataset(
        {
            "log_delta_predicted": ((*by_point, "layer"), profile),
            "slope_predicted": (by_point, mean_slope(profile) - correction),
            "width_correction": (by_point, correction),
            "curve_sigma_w": (("activation", "place"), curve_sigma_w),
            "curve_factor": (("activation", "place"), curve_factor),
            "phi": (by_z, value.astype("float32")),
            "phi_slope": (by_z, slope),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k != "seed"}
        | {"known": label_array(list(ACTIVATIONS)), "z": Z},
    )


def _all_activations(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Values and slopes of all known activations."""
    pairs = [(phi(z), phi.derivative(z)) for phi in ACTIVATIONS.values()]
    return jnp.stack([value for value, _ in pairs]), jnp.stack([slope for _, slope in pairs])


def _predicted_profile(phi: Activation, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Log |delta^l| / |delta^L| at every scale, and what the finite width takes from its slope."""

    @jax.jit
    @jax.vmap
    def point(s: jax.Array) -> tuple[jax.Array, jax.Array]:
        q = meanfield.length_trajectory(phi, s, 0.0, 1.0, settings.depth)
        mu_1, mu_2 = (jax.vmap(partial(meanfield.derivative_moment, phi, order=k))(q) for k in (1, 2))
        return jnp.log(s**2 * mu_1) / 2, (3 * mu_2 / mu_1**2 - 1) / (4 * settings.width)

    log_factor, correction = map(np.asarray, point(jnp.array(settings.sigma_w)))
    above = np.cumsum(log_factor[:, -2::-1], axis=1)[:, ::-1]
    return np.pad(above, ((0, 0), (0, 1))), correction[:, settings.depth // 2]


def factor_curve(phi: Activation) -> tuple[np.ndarray, np.ndarray]:
    """Scales sigma_w without biases and the factor sqrt(chi_1) there, parametrised by the fixed point q.

    sigma_w^2 = q / E phi^2 needs no root. A homogeneous activation has every q at one scale, so its factor
    sigma_w sqrt(E phi'^2) is given over scales; one with phi(0) = 0 has q = 0 at all scales below the first.
    """
    if phi.homogeneous:
        sigma_w = np.geomspace(0.05, 25, CURVE_POINTS)
        return sigma_w, sigma_w * float(jax.jit(lambda q: meanfield.chi_1(phi, q, 1.0))(1.0)) ** 0.5

    def point(q: jax.Array) -> tuple[jax.Array, jax.Array]:
        sigma_w = jnp.sqrt(q / expectation(lambda x: phi(x) ** 2, q, phi.kinks))
        return sigma_w, jnp.sqrt(meanfield.chi_1(phi, q, sigma_w))

    sigma_w, factor = map(np.array, jax.jit(jax.vmap(point))(jnp.geomspace(1e-3, 1e3, CURVE_POINTS)))
    if float(phi(jnp.zeros(()))) == 0:
        below = np.geomspace(0.05, sigma_w[0], 20)
        sigma_w[:20], factor[:20] = below, below * abs(float(phi.derivative(jnp.zeros(()))))
    return sigma_w, factor


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
    mean, error = slopes(result)
    columns = {"mean": mean, "error": error, "predicted": result["slope_predicted"]}
    together = xr.Dataset({**columns, "width": result["width_correction"]})
    seeds, names = result.sizes["seed"], list(result["activation"].values)
    measured = {name: together.sel(activation=name).dropna("sigma_w") for name in names}
    found = [_factor(name, at, seeds) for name, at in measured.items() if at.sizes["sigma_w"] > 0]
    if "sigmoid" in names and float(result["sigma_w"].max()) > 12:
        found.append(_sigmoid_crossing(together.sel(activation="sigmoid"), result.sel(activation="sigmoid")))
    return found


def _factor(name: str, at: xr.Dataset, seeds: int) -> Verdict:
    """Factor per layer of one activation, at all scales."""
    is_sigmoid = name == "sigmoid"
    low, high = float(at["sigma_w"][0]), float(at["sigma_w"][-1])
    return judge(
        ["A8", "A21", "A20"] if is_sigmoid else ["A20"],
        f"Change of log |delta| per {name} layer, sigma_w from {low:g} to {high:g}: half the log of chi_1",
        MEAN_FIELD, measured=at["mean"], predicted=at["predicted"], uncertainty=at["error"],
        tolerance=at["width"] + sampling_factor(at.sizes["sigma_w"], seeds) * at["error"],
        tolerance_from="the correction in 1/width in full, and five standard errors over networks",
        claim="right after repair",
        correction="At most 1/4 holds for the slope alone. A layer multiplies the gradient by sqrt(chi_1): "
        "0.236 at sigma_w = 1, 0.632 at 4, 1 at 10.149 and 1.389 at 20."
        if is_sigmoid else "The factor of a layer is sigma_w times the root mean square slope.",
    )  # fmt: skip


def _sigmoid_crossing(measured: xr.Dataset, result: xr.Dataset) -> Verdict:
    """Where the measured factor passes 1; the finite width moves it by the correction over the steepness."""
    scale, log_factor = measured["sigma_w"].values, measured["mean"].values
    i = int(np.argmax(log_factor > 0))
    steepness = (log_factor[i] - log_factor[i - 1]) / np.log(scale[i] / scale[i - 1])
    found = critical(scale[i - 1 : i + 1], np.exp(log_factor[i - 1 : i + 1]))
    error = found * float(measured["error"][i]) / steepness
    shift = float(measured["width"][i]) / steepness
    infinite = critical(result["curve_sigma_w"].values, result["curve_factor"].values)
    return judge(
        ["A8", "A13"], "Weight scale at which gradients of a sigmoid network neither shrink nor grow: "
        f"{infinite:.3f} at infinite width, more at this one", MEAN_FIELD,
        measured=found, predicted=infinite * np.exp(shift), uncertainty=error,
        tolerance=infinite * shift + sampling_factor(1, result.sizes["seed"]) * error,
        tolerance_from="the shift by the finite width, in full, and five standard errors over networks",
        claim="right after repair",
        correction="Sigmoid networks shrink gradients below sigma_w = 10.149 and make them explode above.",
    )  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """Factor per layer, measured and predicted."""
    mean, error = slopes(result)
    factor = np.exp(mean)
    columns = {
        "factor": factor,
        "error": factor * error,
        "predicted_factor": np.exp(result["slope_predicted"]),
        "width_correction": result["width_correction"],
    }
    return xr.Dataset(columns).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="activation-slopes",
    question="How large is the slope of an activation, and does a gradient shrink by it in every layer?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={"log_delta": Variable(("layer",), "log norm of dE/dz in a layer", "nats")},
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
