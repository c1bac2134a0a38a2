"""Verdicts on saturation, slopes and both gradients, exact zeros, and what a saturated unit blocks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.bench.experiments.sigmoid_saturation.measure import SIGMOID
from signalprop.bench.experiments.sigmoid_saturation.theory import tail, zero_edges
from signalprop.bench.measure.estimates import run_settings
from signalprop.bench.measure.names import FORMATS
from signalprop.bench.record.verdict import Verdict, compare, compare_estimates, judge

OVER_LAYERS = "five standard errors over layers"
WIDE = 5.0  # scales from which the asymptotic laws are judged


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge saturation, slopes, both gradients, exact zeros, and what one saturated layer or unit blocks."""
    found = [*_saturation(result), *_unit_weights(result), *_gradients(result), *_exact_zeros(result)]
    found += _blocked()
    if float(result["sigma_w"].max()) >= WIDE:
        found += _asymptotics(result.sel(sigma_w=result["sigma_w"] >= WIDE))
    return found


def _saturation(result: xr.Dataset) -> list[Verdict]:
    predicted = result["saturated_predicted"]
    found = compare_estimates(
        ["A4"], "Fraction of units with |h| > 5, at every width and scale: s = std(h) alone decides",
        "erfc(5 / (s sqrt 2))", result["saturated"].mean("seed"), _fraction_error(result, predicted),
        predicted, tolerance_from="five standard errors of a counted fraction",
    )  # fmt: skip
    if float(result["sigma_w"].min()) <= 1:
        found.append(judge(
            ["A7"], "Largest z (1 - z) among all units", "algebra",
            measured=float(result["largest_slope"].max()), predicted=0.25,
            tolerance=1e-4, tolerance_from="no unit is exactly at h = 0",
        ))  # fmt: skip
    return found


def _fraction_error(result: xr.Dataset, fraction: xr.DataArray) -> xr.DataArray:
    """Standard error of a counted fraction, of one count where hardly any is expected."""
    count = int(run_settings(result)["units"]) * result.sizes["seed"]
    return (fraction * (1 - fraction) / count + 1 / count**2) ** 0.5


def _unit_weights(result: xr.Dataset) -> list[Verdict]:
    """Judge std(h) where the scale makes the weights of a width standard normal."""
    unit = [(n, n**0.5) for n in result["width"].values if n**0.5 in result["sigma_w"].values]
    if not unit:
        return []
    std = xr.concat([result["std"].sel(width=n, sigma_w=s, drop=True) for n, s in unit], "case")
    return compare(
        ["A5"], f"Standard deviation of W x with unit weights and inputs, for {len(unit)} widths n",
        "sqrt(n)", std, xr.DataArray([s for _, s in unit], dims="case"), tolerance_from=OVER_LAYERS,
        claim="right after repair",
        correction="s^2 = n Var(w) E x^2: at Var(w) = 1/n the width drops out. At unit weights and "
        "inputs values of +-400 at three standard deviations need 17,778 inputs.",
    )  # fmt: skip


def _gradients(result: xr.Dataset) -> list[Verdict]:
    law = "Gaussian integral of the squared slope"
    return [
        *compare(
            ["A11", "A12"], "Mean of |dE/dW|^2 / (|g| |x|)^2, at every width and scale", f"{law}, E S'^2",
            result["weight_gradient_squared"], result["weight_gradient_squared_predicted"],
            tolerance_from=OVER_LAYERS,
        ),
        *compare(
            ["A6"], "Mean of |dE/dx|^2 / |g|^2, at every width and scale", f"{law}: s^2 E S'^2 = chi_1",
            result["input_gradient_squared"], result["input_gradient_squared_predicted"],
            tolerance_from=OVER_LAYERS,
            claim="right after repair",
            correction="In a saturated layer the gradient of W falls as s^(-1/2), and that of x grows as "
            "s^(1/2): the weights that saturate the layer also multiply the gradient.",
        ),
    ]  # fmt: skip


def _exact_zeros(result: xr.Dataset) -> list[Verdict]:
    predicted, s = result["exact_zero_predicted"], result["sigma_w"]
    # A device may flush subnormal results to 0, which moves the lower edge, and h is rounded to the format.
    moved = [
        np.abs(tail(-float(np.log(float(jnp.finfo(f).smallest_normal))), s) - tail(zero_edges(f)[1], s))
        + tail(zero_edges(f)[0] * (1 - float(jnp.finfo(f).eps)), s) - tail(zero_edges(f)[0], s)
        for f in FORMATS
    ]  # fmt: skip
    return compare_estimates(
        ["A6", "B23"], "Share of slopes that are exactly 0 in float16, bfloat16, float32 and float64",
        "IEEE 754: S'(h) = 0 above p log 2 and below -log(largest number)",
        result["exact_zero"].mean("seed"), _fraction_error(result, predicted), predicted,
        slack=xr.concat(moved, "format"),
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


def _asymptotics(wide: xr.Dataset) -> list[Verdict]:
    found: list[Verdict] = []
    for name, what, integral in (("slope", "slope", 1.0), ("squared_slope", "squared slope", 1 / 6)):
        law = integral / (wide["sigma_w"] * np.sqrt(2 * np.pi))
        found += compare(
            ["A6"], f"Mean {what} of a saturated layer (s from {float(wide['sigma_w'][0]):g} on)",
            f"density at 0 times the integral of the {what}: {integral:.4g} / (s sqrt(2 pi))",
            wide[name], law, slack=law * 1.65 / wide["sigma_w"] ** 2,
            tolerance_from=f"next order, pi^2 / (6 s^2), and {OVER_LAYERS}", claim="right after repair",
            correction="It falls in proportion to 1/s, not to zero: units near h = 0 always remain.",
        )  # fmt: skip
    return found
