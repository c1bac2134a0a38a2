r"""When does a layer of sigmoids saturate, and do its gradients become zero?

A layer z = S(h), h = W x with an input of unit mean square and W_ij ~ N(0, sigma_w^2/n), n inputs: h has the
standard deviation s = sigma_w. A weight has the standard deviation sigma_w / sqrt(n), so at unit weights
s = sqrt(n): width saturates a layer only where the scale of the weights does not go down with it.

Measured: the fraction of saturated units (|h| > 5), the means of the slope S' = z (1 - z) and of its square,
the share of slopes that are exactly 0 in each number format, and the size of both local gradients,
|dE/dW|_F / (|g| |x|) and |dE/dx| / |g| (as mean squares) for a random gradient g of the outputs.

Theory: h is Gaussian. P(|h| > a) = erfc(a / (s sqrt 2)); for large s E S' -> 1 / (s sqrt(2 pi)) and
E S'^2 -> 1 / (6 s sqrt(2 pi)), algebraic in s, never 0. The gradient of W goes with sqrt(E S'^2), that of x
with sqrt(s^2 E S'^2) = sqrt(chi_1), which grows. In a format of p bits S'(h) is exactly 0 above h = p log 2,
where 1 + e^-h rounds to 1, and below -log of the largest number, where e^-h overflows.

Sources: Karpathy, "Yes you should understand backprop" (2016); chi_1 of arXiv 1611.01232.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis import meanfield
from signalprop.analysis.gaussian import expectation
from signalprop.bench.drawings.sigmoid_saturation import SATURATED, figures, tail, zero_edges
from signalprop.bench.engine.grid import Grid, Static, require_count, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure.rounding import FORMATS
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor
from signalprop.models.activations import ACTIVATIONS

SIGMOID = ACTIVATIONS["sigmoid"]
OVER_LAYERS = "five standard errors over layers"
WIDE = 5.0  # scales from which the asymptotic laws are judged
LARGEST_BLOCK = 1024  # inputs whose weights are held at a time


@dataclass(frozen=True)
class Settings:
    """Settings of ``sigmoid-saturation``."""

    width: tuple[int, ...] = (64, 1024, 4096)
    """Inputs n of the layer."""
    sigma_w: tuple[float, ...] = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 400)
    """Standard deviations s of h."""
    units: int = 256
    """Units m of the layer."""
    seeds: int = 24
    """Layers per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights and pre-activations."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_count("width", self.width)
        require_scale("sigma_w", self.sigma_w)
        require_count("units", [self.units])
        require_count("seeds", [self.seeds], 2)
        if min(self.sigma_w) == 0:
            raise ValueError("sigma_w: got 0; write scales above 0")


SIZES = {
    "quick": Settings(),
    "standard": Settings(width=(64, 256, 1024, 4096, 16384, 65536), units=512),
    "full": Settings(width=(64, 256, 1024, 4096, 16384, 65536), units=4096, seeds=48),
}


def grid(settings: Settings) -> Grid:
    """One compilation per width; all scales share the draw of W."""
    return Grid(
        static={"width": settings.width},
        traced={"sigma_w": settings.sigma_w},
        seeds=settings.seeds,
        constants={"units": settings.units, "dtype": settings.dtype},
        coords={"format": FORMATS},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """One layer; its weights are drawn in blocks of inputs, once forward and once back, and never stored."""
    width, units, dtype = static["width"], static["units"], static["dtype"]
    block = math.gcd(width, LARGEST_BLOCK)
    weight_key, input_key, gradient_key = jax.random.split(key, 3)
    x = jax.random.normal(input_key, (width // block, block), dtype)
    x = x / jnp.sqrt(jnp.mean(x**2))
    g = jax.random.normal(gradient_key, (units,), dtype)
    scale = point["sigma_w"] / jnp.sqrt(jnp.asarray(width, dtype))

    def unit_weights(number: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(weight_key, number), (block, units), dtype)

    numbers = jnp.arange(width // block)
    h = scale * jax.lax.scan(
        lambda h, part: (h + part[1] @ unit_weights(part[0]), None), jnp.zeros(units, dtype), (numbers, x)
    )[0]  # fmt: skip
    slope = SIGMOID.derivative(h)
    delta = slope * g
    squares = jax.lax.map(lambda number: jnp.sum((unit_weights(number) @ delta) ** 2), numbers)
    return {
        "std": jnp.sqrt(jnp.mean(h**2)),
        "saturated": jnp.mean(jnp.abs(h) > SATURATED, dtype=dtype),
        "slope": jnp.mean(slope),
        "squared_slope": jnp.mean(slope**2),
        "largest_slope": jnp.max(slope),
        "weight_gradient": jnp.sum(delta**2) / jnp.sum(g**2),
        "input_gradient": scale**2 * jnp.sum(squares) / jnp.sum(g**2),
        "exact_zero": jnp.stack(
            [jnp.mean(SIGMOID.derivative(h.astype(f)) == 0, dtype=dtype) for f in FORMATS]
        ),
    }


def theory(settings: Settings) -> xr.Dataset:
    """Gaussian means at every scale; none depends on the width."""
    s = np.array(settings.sigma_w, float)
    slope, squared = map(np.asarray, jax.jit(jax.vmap(_slope_moments))(s**2))
    edges = [zero_edges(f) for f in FORMATS]
    zero = np.stack([tail(above, s) + tail(below, s) for above, below in edges], axis=1)
    return xr.Dataset(
        {
            "std_predicted": ("sigma_w", s),
            "saturated_predicted": ("sigma_w", 2 * tail(SATURATED, s)),
            "slope_predicted": ("sigma_w", slope),
            "squared_slope_predicted": ("sigma_w", squared),
            "weight_gradient_predicted": ("sigma_w", squared),
            "input_gradient_predicted": ("sigma_w", s**2 * squared),
            "exact_zero_predicted": (("sigma_w", "format"), zero),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k not in ("seed", "width")},
    )


def _slope_moments(q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """E S' and E S'^2 over pre-activations of variance q."""
    return expectation(SIGMOID.derivative, q), meanfield.derivative_moment(SIGMOID, q)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge saturation, slopes, both gradients, exact zeros, and what one saturated layer or unit blocks."""
    found = [*_saturation(result), *_gradients(result), _exact_zeros(result), *_blocked()]
    if float(result["sigma_w"].max()) >= WIDE:
        found += _asymptotics(result.sel(sigma_w=result["sigma_w"] >= WIDE))
    return found


def _mean(result: xr.Dataset, name: str) -> dict[str, Any]:
    """Arguments of ``judge``: mean over seeds beside the prediction, five standard errors allowed."""
    values = result[name]
    error = values.std("seed", ddof=1) / np.sqrt(values.sizes["seed"])
    predicted, mean = xr.broadcast(result[f"{name}_predicted"], values.mean("seed"))
    factor = sampling_factor(mean.size, values.sizes["seed"])
    return {
        "measured": mean,
        "predicted": predicted,
        "uncertainty": error.transpose(*mean.dims),
        "tolerance": factor * error.transpose(*mean.dims),
    }


def _fraction_error(result: xr.Dataset, fraction: xr.DataArray) -> xr.DataArray:
    """Standard error of a counted fraction, of one count where hardly any is expected."""
    count = json.loads(result.attrs["settings"])["units"] * result.sizes["seed"]
    error: xr.DataArray = np.sqrt(fraction * (1 - fraction) / count + 1 / count**2)
    return error


def _saturation(result: xr.Dataset) -> list[Verdict]:
    predicted, measured = xr.broadcast(result["saturated_predicted"], result["saturated"].mean("seed"))
    error = _fraction_error(result, predicted)
    found = [
        judge(
            ["A4"], "Fraction of units with |h| > 5, at every width and scale: s = std(h) alone decides",
            "erfc(5 / (s sqrt 2))", measured=measured, predicted=predicted,
            uncertainty=error, tolerance=sampling_factor(measured.size) * error,
            tolerance_from="five standard errors of a counted fraction",
        )
    ]  # fmt: skip
    if float(result["sigma_w"].min()) <= 1:
        found.append(judge(
            ["A7"], "Largest z (1 - z) among all units", "algebra",
            measured=float(result["largest_slope"].max()), predicted=0.25,
            tolerance=1e-4, tolerance_from="no unit is exactly at h = 0",
        ))  # fmt: skip
    return [*found, *_unit_weights(result)]


def _unit_weights(result: xr.Dataset) -> list[Verdict]:
    """Judge std(h) where the scale makes the weights of a width standard normal."""
    unit = [(n, n**0.5) for n in result["width"].values if n**0.5 in result["sigma_w"].values]
    if not unit:
        return []
    std = xr.concat([result["std"].sel(width=n, sigma_w=s) for n, s in unit], "case")
    error = std.std("seed", ddof=1) / np.sqrt(std.sizes["seed"])
    return [
        judge(
            ["A5"], f"Standard deviation of W x with unit weights and inputs, for {len(unit)} widths n",
            "sqrt(n)", measured=std.mean("seed"), predicted=[s for _, s in unit],
            uncertainty=error, tolerance=sampling_factor(len(unit), std.sizes["seed"]) * error,
            tolerance_from=OVER_LAYERS, claim="right after repair",
            correction="s^2 = n Var(w) E x^2: at Var(w) = 1/n the width drops out. At unit weights and "
            "inputs values of +-400 at three standard deviations need 17,778 inputs.",
        )
    ]  # fmt: skip


def _gradients(result: xr.Dataset) -> list[Verdict]:
    law = "Gaussian integral of the squared slope"
    return [
        judge(
            ["A11", "A12"], "Mean of |dE/dW|^2 / (|g| |x|)^2, at every width and scale", f"{law}, E S'^2",
            tolerance_from=OVER_LAYERS, **_mean(result, "weight_gradient"),
        ),
        judge(
            ["A6"], "Mean of |dE/dx|^2 / |g|^2, at every width and scale", f"{law}: s^2 E S'^2 = chi_1",
            tolerance_from=OVER_LAYERS, claim="right after repair",
            correction="In a saturated layer the gradient of W falls as s^(-1/2), and that of x grows as "
            "s^(1/2): the weights that saturate the layer also multiply the gradient.",
            **_mean(result, "input_gradient"),
        ),
    ]  # fmt: skip


def _asymptotics(wide: xr.Dataset) -> list[Verdict]:
    found = []
    for name, what, integral in (("slope", "slope", 1.0), ("squared_slope", "squared slope", 1 / 6)):
        checks = _mean(wide, name)
        law = integral / (wide["sigma_w"] * np.sqrt(2 * np.pi))
        law = law.broadcast_like(checks["measured"]).transpose(*checks["measured"].dims)
        checks |= {"predicted": law, "tolerance": checks["tolerance"] + law * 1.65 / wide["sigma_w"] ** 2}
        found.append(judge(
            ["A6"], f"Mean {what} of a saturated layer (s from {float(wide['sigma_w'][0]):g} on)",
            f"density at 0 times the integral of the {what}: {integral:.4g} / (s sqrt(2 pi))",
            tolerance_from=f"next order, pi^2 / (6 s^2), and {OVER_LAYERS}", claim="right after repair",
            correction="It falls in proportion to 1/s, not to zero: units near h = 0 always remain.",
            **checks,
        ))  # fmt: skip
    return found


def _exact_zeros(result: xr.Dataset) -> Verdict:
    predicted, measured = xr.broadcast(result["exact_zero_predicted"], result["exact_zero"].mean("seed"))
    error, s = _fraction_error(result, predicted), result["sigma_w"]
    # A device may flush subnormal results to 0, which moves the lower edge, and h is rounded to the format.
    moved = [
        np.abs(tail(-float(np.log(float(jnp.finfo(f).smallest_normal))), s) - tail(zero_edges(f)[1], s))
        + tail(zero_edges(f)[0] * (1 - float(jnp.finfo(f).eps)), s) - tail(zero_edges(f)[0], s)
        for f in FORMATS
    ]  # fmt: skip
    slack = xr.concat(moved, "format").broadcast_like(predicted).transpose(*predicted.dims)
    return judge(
        ["A6", "B23"], "Share of slopes that are exactly 0 in float16, bfloat16, float32 and float64",
        "IEEE 754: S'(h) = 0 above p log 2 and below -log(largest number)",
        measured=measured, predicted=predicted, uncertainty=error,
        tolerance=sampling_factor(measured.size) * error + slack,
        tolerance_from="five standard errors of a counted fraction, rounding of h, flushed subnormal numbers",
        claim="right after repair",
        correction="z (1 - z) is 0 only in floating point: above h = 16.6 in float32, 5.5 in bfloat16.",
    )  # fmt: skip


def _blocked() -> list[Verdict]:
    """Gradients of a small network of which one layer, or one unit, has slopes that are exactly 0."""
    width, layer, depth = 8, 2, 4
    x = jnp.linspace(-1.0, 1.0, width)
    weights = jnp.asarray(np.random.default_rng(0).standard_normal((depth, width, width)))

    @jax.jit
    @jax.vmap
    @jax.grad
    def deltas(biases: jax.Array) -> jax.Array:  # dE/dz = dE/db
        layers = weights, biases
        return jnp.sum(jax.lax.scan(lambda y, layer: (SIGMOID(layer[0] @ y + layer[1]), None), x, layers)[0])

    biases = np.zeros((2, depth, width))
    biases[0, layer - 1, :] = biases[1, layer - 1, 0] = 1000.0
    whole, single = np.count_nonzero(deltas(biases), axis=2)
    exact: dict[str, Any] = {"tolerance": 0, "tolerance_from": "exact", "claim": "right after repair"}
    return [
        judge(
            ["A9"], "Units of layers 1 to 4 with a non-zero gradient where all 8 units of layer 2 are "
            "saturated", "chain rule", measured=whole, predicted=[0, 0, width, width], **exact,
            correction="A layer blocks all gradients only if each of its units has a slope of exactly 0.",
        ),
        judge(
            ["A9"], "The same where one unit of layer 2 is saturated", "chain rule",
            measured=single, predicted=[width, width - 1, width, width], **exact,
            correction="One saturated unit blocks its own weights and no others.",
        ),
    ]  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """Means over layers beside the predictions, and the share of exact zeros by format."""
    names = ("std", "saturated", "slope", "squared_slope", "weight_gradient", "input_gradient")
    columns = {name: result[name].mean("seed") for name in names}
    columns |= {f"{name}_predicted": result[f"{name}_predicted"] for name in names}
    columns |= {f"zero_{f}": result["exact_zero"].sel(format=f, drop=True).mean("seed") for f in FORMATS}
    return xr.Dataset(columns).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="sigmoid-saturation",
    question="When does a layer of sigmoids saturate, and do its gradients become zero?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "std": Variable((), "root mean square of h"),
        "saturated": Variable((), "fraction of units with |h| > 5"),
        "slope": Variable((), "mean slope"),
        "squared_slope": Variable((), "mean squared slope"),
        "largest_slope": Variable((), "largest slope"),
        "weight_gradient": Variable((), "|dE/dW|^2 / (|g| |x|)^2"),
        "input_gradient": Variable((), "|dE/dx|^2 / |g|^2"),
        "exact_zero": Variable(("format",), "share of slopes that are exactly 0"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
