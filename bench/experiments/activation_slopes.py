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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from signalprop.analysis import meanfield
from signalprop.analysis.gaussian import expectation
from signalprop.bench import figures as draw
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.verdict import Verdict, judge, sampling_factor
from signalprop.models import stream
from signalprop.models.activations import ACTIVATIONS, Activation, activation

KARPATHY = "Karpathy (2016), Yes you should understand backprop"
MEAN_FIELD = "Schoenholz et al., arXiv 1611.01232"
FIRST, LAST = 5, 3  # layers left out of the slope: transient of the length below, cotangent above
CURVE_POINTS = 241


@dataclass(frozen=True)
class Settings:
    """Settings of ``activation-slopes``."""

    activation: tuple[str, ...] = ("sigmoid", "tanh", "relu", "linear")
    """Activations of the measured networks; the slopes of all known ones are always checked."""
    sigma_w: tuple[float, ...] = (0.1, 0.3, 1.0, 1.414, 2.0, 4.0, 6.0, 8.0, 10.149, 13.0, 20.0)
    """Weight scales."""
    width: int = 256
    """Units per layer."""
    depth: int = 20
    """Layers."""
    seeds: int = 24
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


SIZES = {
    "quick": Settings(),
    "standard": Settings(width=512, depth=30),
    "full": Settings(width=1024, depth=100, seeds=48),
}


def grid(settings: Settings) -> Grid:
    """One compilation per activation."""
    return Grid(
        static={"activation": settings.activation},
        traced={"sigma_w": settings.sigma_w},
        seeds=settings.seeds,
        constants={"width": settings.width, "depth": settings.depth, "dtype": settings.dtype},
        coords={"layer": range(1, settings.depth + 1), "place": range(CURVE_POINTS)},
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


def mean_slope(log_delta: Any) -> Any:
    """Change of log |delta| per layer towards the input, between the layers left out; along the last axis."""
    top = log_delta.shape[-1] - LAST
    return (log_delta[..., FIRST - 1] - log_delta[..., top - 1]) / (top - FIRST)


def theory(settings: Settings) -> xr.Dataset:
    """Mean-field profile and factor at the measured scales, and the factor over a continuum of scales."""
    sigma_w = jnp.array(settings.sigma_w)
    profiles, corrections, curves = [], [], []
    for name in settings.activation:
        phi = activation(name)

        def point(s: jax.Array, phi: Activation = phi) -> tuple[jax.Array, jax.Array]:
            decades = meanfield.gradient_profile(phi, s, 0.0, 1.0, settings.depth)
            q = meanfield.length_trajectory(phi, s, 0.0, 1.0, settings.depth)[settings.depth // 2]
            kurtosis = meanfield.derivative_moment(phi, q, 2) / meanfield.derivative_moment(phi, q) ** 2
            return decades * jnp.log(10.0), (3 * kurtosis - 1) / (4 * settings.width)

        profile, correction = jax.jit(jax.vmap(point))(sigma_w)
        profiles.append(np.asarray(profile))
        corrections.append(np.asarray(correction))
        curves.append(factor_curve(phi))
    log_profile, correction = np.array(profiles), np.array(corrections)
    curve_sigma_w, curve_factor = np.moveaxis(np.array(curves), 1, 0)
    return xr.Dataset(
        {
            "log_delta_predicted": (("activation", "sigma_w", "layer"), log_profile),
            "slope_predicted": (("activation", "sigma_w"), mean_slope(log_profile) - correction),
            "width_correction": (("activation", "sigma_w"), correction),
            "curve_sigma_w": (("activation", "place"), curve_sigma_w),
            "curve_factor": (("activation", "place"), curve_factor),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k != "seed"},
    )


def factor_curve(phi: Activation) -> tuple[np.ndarray, np.ndarray]:
    """Scales sigma_w without biases and the factor sqrt(chi_1) there, parametrised by the fixed point q.

    sigma_w^2 = q / E phi^2 needs no root. A homogeneous activation has every q at one scale, so its factor
    sigma_w sqrt(E phi'^2) is given over scales; one with phi(0) = 0 has q = 0 at all scales below the first.
    """
    if phi.homogeneous:
        sigma_w = np.geomspace(0.05, 25, CURVE_POINTS)
        return sigma_w, sigma_w * float(jnp.sqrt(meanfield.derivative_moment(phi, 1.0)))

    def point(q: jax.Array) -> tuple[jax.Array, jax.Array]:
        sigma_w = jnp.sqrt(q / expectation(lambda x: phi(x) ** 2, q, phi.kinks))
        return sigma_w, jnp.sqrt(meanfield.chi_1(phi, q, sigma_w))

    sigma_w, factor = map(np.array, jax.jit(jax.vmap(point))(jnp.geomspace(1e-3, 1e3, CURVE_POINTS)))
    if float(phi(jnp.zeros(()))) == 0:
        below = np.geomspace(0.05, sigma_w[0], 20)
        sigma_w[:20], factor[:20] = below, below * abs(float(phi.derivative(jnp.zeros(()))))
    return sigma_w, factor


def critical(sigma_w: np.ndarray, factor: np.ndarray) -> float:
    """Scale at which a rising curve of factors passes 1, by interpolation of logarithms; NaN if nowhere."""
    inside = factor.min() < 1 < factor.max()
    return float(np.exp(np.interp(0.0, np.log(factor), np.log(sigma_w)))) if inside else np.nan


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the identities of the sigmoid, the slopes of all activations, and the factors of networks."""
    return [*_sigmoid_identities(), *_slopes(), _chain_rule(), *_moments(), *_networks(result)]


def _sigmoid_identities() -> list[Verdict]:
    sigmoid = ACTIVATIONS["sigmoid"]
    x = jnp.linspace(-30.0, 30.0, 6001)
    s, slope = sigmoid(x), sigmoid.derivative(x)
    z = jnp.linspace(0.0, 1.0, 10001)[1:-1]
    single = jnp.linspace(16.0, 18.0, 20001).astype(jnp.float32)
    first_zero = float(single[jnp.argmax(sigmoid.derivative(single) == 0)])
    eps = float(jnp.finfo(x.dtype).eps)
    identity = "algebra"
    return [
        judge(
            ["A1"], "S' = S (1 - S): largest difference from autodiff on [-30, 30], in 64 bits", identity,
            measured=float(jnp.max(jnp.abs(slope - s * (1 - s)))), predicted=0.0, tolerance=2 * eps,
            tolerance_from="rounding",
        ),
        judge(
            ["A3"], "In float32 the sigmoid is exactly 1 and its slope exactly 0 from here on",
            "1 + e^-x rounds to 1 below half the spacing of floats at 1: x = 24 log 2",
            measured=first_zero, predicted=24 * float(np.log(2)), tolerance=1e-3,
            tolerance_from="grid and rounding", claim="right after repair",
            correction="True of real numbers; in float32 S(x) = 1 and S'(x) = 0 from x = 16.64 on.",
        ),
        judge(
            ["A2"], "The slope of the sigmoid at the inputs 0 and 1", identity,
            measured=sigmoid.derivative(jnp.array([0.0, 1.0])), predicted=[0.25, np.e / (1 + np.e) ** 2],
            tolerance=10 * eps, tolerance_from="rounding", claim="wrong",
            correction="S'(0) = 1/4 is the largest slope, S'(1) = 0.197; S' tends to 0 as S tends to 0 or 1.",
        ),
        judge(
            ["A3"], "Smallest increase of the sigmoid over steps of 0.01 on [-25, 25], times e^25 / 0.01",
            "the slope is at least e^-25 there",
            measured=float(jnp.min(jnp.diff(s[500:-500])) / 0.01 * jnp.exp(25.0)), predicted=1.005,
            tolerance=0.01, tolerance_from="rounding near 1: eps e^25 / 0.01", claim="right after repair",
            correction="True of real numbers; in float32 S(x) = 1 and S'(x) = 0 from x = 16.64 on.",
        ),
        judge(
            ["A7"], "z (1 - z): largest value and its place on (0, 1)", identity,
            measured=[float(jnp.max(z * (1 - z))), float(z[jnp.argmax(z * (1 - z))])], predicted=[0.25, 0.5],
            tolerance=1e-4, tolerance_from="grid",
        ),
        judge(
            ["A12"], "log of the sigmoid's slope at -20 and 20", "S'(x) tends to e^-|x|",
            measured=jnp.log(sigmoid.derivative(jnp.array([-20.0, 20.0]))), predicted=-20.0,
            tolerance=1e-6, tolerance_from="next term, 2 e^-20, and cancellation",
        ),
    ]  # fmt: skip


def _slopes() -> list[Verdict]:
    """Largest slopes of all activations, and what the derivative of relu is at 0."""
    x = jnp.arange(-200_000, 200_001) / 10_000
    largest = [float(jnp.max(jnp.abs(phi.derivative(x)))) for phi in ACTIVATIONS.values()]
    at = jnp.array([-1.0, 1.0, 0.0])
    maximum = jax.grad(lambda v: jnp.maximum(v, 0.0))(0.0)
    return [
        judge(
            ["A7", "A25"], f"Largest slopes of {len(largest)} activations on [-20, 20]", "closed forms",
            measured=largest, predicted=[phi.max_slope for phi in ACTIVATIONS.values()],
            tolerance=1e-8, tolerance_from="grid of 0.0001 and the tail beyond 20",
        ),
        judge(
            ["B1"], "Slope of relu at -1, 1 and 0, and of maximum(x, 0) at 0", "JAX's convention at 0",
            measured=[*ACTIVATIONS["relu"].derivative(at).tolist(), float(maximum)], predicted=[0, 1, 0, 0.5],
            tolerance=0.0, tolerance_from="exact",
            correction="At 0 the slope is a convention: 0 for jax.nn.relu, 1/2 for jnp.maximum(x, 0).",
        ),
    ]  # fmt: skip


def _chain_rule() -> Verdict:
    """A chain of four scalar sigmoid layers, differentiated by hand and by autodiff."""
    sigmoid, w = ACTIVATIONS["sigmoid"], jnp.array([0.7, -1.3, 2.1, 0.9])

    def layers(w: jax.Array) -> list[jax.Array]:
        f = [jnp.asarray(0.8, w.dtype)]
        for weight in w:
            f.append(sigmoid(weight * f[-1]))
        return f

    f = layers(w)
    slope = [sigmoid.derivative(weight * below) for weight, below in zip(w, f, strict=False)]
    by_hand = f[4] * (slope[3] * w[3]) * (slope[2] * w[2]) * (slope[1] * f[1])
    return judge(
        ["A19"], "dL/dw2 of a chain of four scalar layers, L = f4^2 / 2: chain rule over autodiff",
        "dL/df4 df4/df3 df3/df2 df2/dw2",
        measured=float(by_hand / jax.grad(lambda w: layers(w)[4] ** 2 / 2)(w)[1]), predicted=1.0,
        tolerance=100 * float(jnp.finfo(w.dtype).eps), tolerance_from="rounding", claim="wrong",
        correction="dL/dw2 = dL/df4 df4/df3 df3/df2 df2/dw2: no factor is a layer over itself.",
    )  # fmt: skip


def _moments() -> list[Verdict]:
    """Gaussian means against a sample."""
    z = np.random.default_rng(0).standard_normal(1_000_000)
    tanh, relu = ACTIVATIONS["tanh"], ACTIVATIONS["relu"]
    found = []
    for ids, what, sample, predicted, correction in (
        (
            ["A25"], "Mean squared slope of tanh over standard Gaussian inputs",
            np.asarray(tanh.derivative(jnp.asarray(z))) ** 2, meanfield.derivative_moment(tanh, 1.0), "",
        ),
        (
            ["B12"], "Mean output of relu over standard Gaussian inputs, 1 / sqrt(2 pi)",
            np.asarray(relu(jnp.asarray(z))), 1 / np.sqrt(2 * np.pi), "",
        ),
    ):  # fmt: skip
        error = sample.std() / np.sqrt(z.size)
        found.append(
            judge(
                ids, what, "Gaussian integral", measured=float(sample.mean()), predicted=float(predicted),
                uncertainty=error, tolerance=sampling_factor() * error,
                tolerance_from="five standard errors of a million inputs", correction=correction,
            )
        )  # fmt: skip
    return found


def slopes(result: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Measured change of log |delta| per layer: mean and standard error over networks."""
    each = xr.apply_ufunc(mean_slope, result["log_delta"], input_core_dims=[["layer"]])
    return each.mean("seed", skipna=False), each.std("seed", ddof=1) / np.sqrt(each.sizes["seed"])


def _networks(result: xr.Dataset) -> list[Verdict]:
    mean, error = slopes(result)
    seeds, names = result.sizes["seed"], list(result["activation"].values)
    together = xr.Dataset(
        {
            "mean": mean,
            "error": error,
            "predicted": result["slope_predicted"],
            "width": result["width_correction"],
        }
    )
    found = []
    for name in names:
        flat = together.sel(activation=name).dropna("sigma_w")
        if flat.sizes["sigma_w"] == 0:
            continue
        is_sigmoid = name == "sigmoid"
        found.append(
            judge(
                ["A8", "A21", "A20"] if is_sigmoid else ["A20"],
                f"Change of log |delta| per {name} layer, sigma_w from {float(flat['sigma_w'][0]):g} to "
                f"{float(flat['sigma_w'][-1]):g}: half the log of chi_1",
                MEAN_FIELD,
                measured=flat["mean"],
                predicted=flat["predicted"],
                uncertainty=flat["error"],
                tolerance=flat["width"] + sampling_factor(flat.sizes["sigma_w"], seeds) * flat["error"],
                tolerance_from="the correction in 1/width in full, and five standard errors over networks",
                claim="right after repair",
                correction="At most 1/4 holds for the slope alone. A layer multiplies the gradient by "
                "sqrt(chi_1): 0.236 at sigma_w = 1, 0.632 at 4, 1 at 10.149 and 1.389 at 20."
                if is_sigmoid
                else "The factor of a layer is sigma_w times the root mean square slope.",
            )
        )
    if "sigmoid" in names and float(result["sigma_w"].max()) > 12:
        found.append(_sigmoid_crossing(together.sel(activation="sigmoid"), result.sel(activation="sigmoid")))
    return found


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
        ["A8", "A13"],
        f"Weight scale at which gradients of a sigmoid network neither shrink nor grow: {infinite:.3f} at "
        "infinite width, more at this one",
        MEAN_FIELD,
        measured=found,
        predicted=infinite * np.exp(shift),
        uncertainty=error,
        tolerance=infinite * shift + sampling_factor(1, result.sizes["seed"]) * error,
        tolerance_from="the shift by the finite width, in full, and five standard errors over networks",
        claim="right after repair",
        correction="Sigmoid networks shrink gradients below sigma_w = 10.149 and make them explode above.",
    )


def make_figures(result: xr.Dataset) -> dict[str, Figure]:
    """All activations with their slopes, the factor against the scale, and the sigmoid's profiles."""
    found = {"curves": _curves_figure(), "factor": _factor_figure(result)}
    if "sigmoid" in result["activation"].values:
        found["sigmoid"] = _sigmoid_figure(result.sel(activation="sigmoid"))
    return found


def _curves_figure() -> Figure:
    figure, axes = draw.canvas(3, 5, height=1.75, sharex=True)
    x = jnp.linspace(-5.0, 5.0, 1001)
    for panel, (name, phi) in zip(axes.ravel(), ACTIVATIONS.items(), strict=True):
        panel.plot(x, phi(x), label=r"$\phi$")
        panel.plot(x, phi.derivative(x), "--", label=r"$\phi'$")
        panel.axhline(phi.max_slope, color="0.4", linestyle=":", linewidth=0.9)
        panel.set(title=f"{name}: {phi.max_slope:.4g}", ylim=(-1.9, 2.4))
    axes[0, 0].legend(loc="upper left")
    figure.suptitle(r"Activations, their slopes, and the largest slope (dotted)", fontsize=9)
    figure.supxlabel("$z$", fontsize=8.5)
    return figure


def _factor_figure(result: xr.Dataset) -> Figure:
    figure, ((axes,),) = draw.canvas(1, 1, height=3.6)
    mean, error = slopes(result)
    for name, look in draw.series([str(a) for a in result["activation"].values]).items():
        at = result.sel(activation=name)
        scale, factor = at["curve_sigma_w"].values, at["curve_factor"].values
        draw.theory(axes, scale, factor, look)
        draw.theory(axes, at["sigma_w"], np.exp(at["slope_predicted"]), look, linewidth=0.6)
        measured = np.exp(mean.sel(activation=name))
        draw.measured(axes, at["sigma_w"], measured, measured * error.sel(activation=name), look, label=name)
        at_one = critical(scale, factor)
        if np.isfinite(at_one):
            axes.axvline(at_one, ymax=0.5, color=look["color"], linewidth=0.8, linestyle=":")
            axes.plot(at_one, 1, "|", color=look["color"], markersize=12, markeredgewidth=2)
            axes.text(at_one * 1.02, 0.0125, f"{at_one:.4g}", rotation=90, fontsize=7, color=look["color"])
    axes.axhline(1.0, color="0.3", linewidth=0.8)
    axes.axhline(0.25, color="0.3", linewidth=0.8, linestyle="--")
    axes.text(2.2, 0.235, "1/4, largest slope of the sigmoid", fontsize=7.5, va="top")
    axes.set(xscale="log", yscale="log", xlim=(0.07, 25), ylim=(0.01, 30))
    axes.set(xlabel=r"weight scale $\sigma_w$", ylabel=r"factor per layer, $|\delta^{l}| / |\delta^{l+1}|$")
    axes.set_title(r"A layer multiplies the gradient by $\sqrt{\chi_1(\sigma_w)}$, not by its slope")
    axes.legend(loc="upper left", title=r"lines $\sqrt{\chi_1}$; thin, at this width")
    return figure


def _sigmoid_figure(result: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=2.9)
    x, sigmoid = jnp.linspace(-8.0, 8.0, 401), ACTIVATIONS["sigmoid"]
    left.plot(x, sigmoid(x), label="sigmoid")
    left.plot(x, sigmoid.derivative(x), "--", label="gradient")
    left.set(xlabel="$z$", title="The sigmoid and its gradient")
    left.legend(loc="upper left")
    layer, top = result["layer"].values, int(result["layer"][-1])
    chosen = [s for s in (1.0, 4.0, 10.149, 20.0) if s in result["sigma_w"].values]
    looks = draw.series([f"{s:g}" for s in chosen])
    for scale, look in zip(chosen, looks.values(), strict=True):
        at = result.sel(sigma_w=scale)
        decades = (at["log_delta"] - at["log_delta"].sel(layer=top)) / np.log(10)
        error = decades.std("seed", ddof=1) / np.sqrt(decades.sizes["seed"])
        draw.theory(right, layer, at["log_delta_predicted"] / np.log(10), look)
        draw.measured(right, layer, decades.mean("seed"), error, look, label=rf"$\sigma_w$ = {scale:g}")
    bound = (top - layer) * np.log10(0.25)
    right.plot(layer, bound, color="0.4", linestyle=":", label=r"$(1/4)^{L-l}$")
    right.set(xlabel="layer $l$", ylabel=r"$\log_{10} |\delta^l| / |\delta^L|$")
    right.set_title("Sigmoid networks against the bound")
    right.legend(loc="lower right")
    return figure


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
    figures=make_figures,
    table=table,
)
