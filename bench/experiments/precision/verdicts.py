"""Verdicts of ``precision``: edges of slopes and losses, steps, products, and gradients of networks."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy import special

from signalprop.analysis import precision
from signalprop.bench.experiments.precision import shortcuts
from signalprop.bench.experiments.precision.measure import LN10, SIDES, STEP
from signalprop.bench.measure.estimates import run_settings, standard_error
from signalprop.bench.measure.names import FORMATS
from signalprop.bench.measure.rounding import VARIANTS
from signalprop.bench.record.verdict import Standing, Verdict, compare, judge, judge_zero, observe
from signalprop.models.activations import ACTIVATIONS

IEEE = "half-ulp analysis of IEEE 754 rounding"
REPAIR: Standing = "right after repair"
LOSSES = "in a two-class cross entropy by log_softmax (float32, float64) and by softplus (four formats)"


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge slopes, losses, steps, products and networks."""
    once = result.isel(seed=0)
    found = [*_edges(once), _at_zero(), _identity(once), *_tanh(once), *_steps(once), *_products(once)]
    return [*found, *_depths(result), *_log_domain(result), *_explosion(result), *shortcuts.verdicts()]


def first_lost(log_size: xr.DataArray) -> xr.DataArray:
    """First layer whose log size is not finite; NaN where there is none."""
    lost = ~(abs(log_size) < np.inf)
    layers: xr.DataArray = lost.argmax("layer").where(lost.any("layer"))
    return layers


def lost_layers(result: xr.Dataset, name: str) -> xr.Dataset:
    """Layer at which a gradient is lost beside its prediction; NaN where some network never loses it."""
    lost = first_lost(result[name])
    return xr.Dataset({
        "measured": lost.mean("seed", skipna=False),
        "error": standard_error(lost),
        "predicted": result[f"{name}_lost_predicted"],
    })  # fmt: skip


def _edges(once: xr.Dataset) -> list[Verdict]:
    """Edges of all functions, as measured in ``rounding.slopes`` and predicted beside them."""
    everything = [str(name) for name in once["activation"].values if "tanh" not in name]
    found = [
        *_edge(
            once, ["B28"], everything, SIDES,
            "|z| from which on a slope is exactly 0, every activation and loss, both sides, four formats",
            correction="At ordinary inputs every slope has such an edge on some side, but those of linear, "
            "leaky_relu, softsign and sin.",
        ),
        *_edge(
            once, ["B23", "B28"], ["sigmoid"], SIDES,
            "|z| from which on the slope of the sigmoid is exactly 0, both sides, four formats", REPAIR,
            "In a format of p bits it is exactly 0 for z >= p log 2: 16.6 in float32, 5.6 in bfloat16, 7.6 "
            "in float16; on the left only where e^z underflows.",
        ),
        *_edge(
            once, ["B14"], ["elu"], ["left"],
            "|z| from which on the slope of elu is exactly 0, z < 0, four formats", REPAIR,
            "Computed as 1 + expm1(z), as JAX 0.10 does, its slope is exactly 0 below -(p + 1) log 2: -17.3 "
            "in float32, -6.2 in bfloat16; as e^z, as JAX 0.12 does, below -87.",
        ),
        *_edge(
            once, ["B1"], ["relu", "maximum"], ["left", "right"],
            "|z| from which on the slopes of jax.nn.relu and jnp.maximum(z, 0) are exactly 0: the left side "
            "as far as the device tells it from 0, nothing on the right",
        ),
        *_edge(
            once, ["A3"], ["sigmoid"], ["right"],
            "z from which on the computed sigmoid is 1, four formats", REPAIR,
            "True of real numbers. In a format of p bits S(z) is 1 for z >= p log 2: 16.6 in float32.",
            variable="value_edge",
        ),
        *_edge(
            once, ["B41"], ["gelu_tanh"], ["right"],
            "|z| from which on the slope of JAX's default gelu is NaN, as 3 z^2 overflows, four formats",
            correction="Near overflow as near 0 the slope is lost: from |z| = 148 on it is NaN in float16.",
            variable="number_edge",
        ),
    ]  # fmt: skip
    for variable, what in (("value_edge", "the loss"), ("slope_edge", "its gradient")):
        found += _edge(
            once, ["B29"], ["log_softmax_loss", "softplus_loss"], ["right"],
            f"Lead of the true logit from which on {what} is exactly 0, {LOSSES}", REPAIR,
            "A gradient is 0 at a minimum, and rounding makes one of a right answer: in float32 from a "
            "lead of 16.6 on by log_softmax, from 87 on by softplus.", variable=variable,
        )  # fmt: skip
    return found


def _edge(
    once: xr.Dataset,
    claims: list[str],
    names: list[str],
    sides: Sequence[str],
    statement: str,
    claim: Standing = "right",
    correction: str = "",
    variable: str = "slope_edge",
) -> list[Verdict]:
    """Compare edges in all formats with the half-ulp analysis, to one number of the format."""
    names = [name for name in names if name in once["activation"].values]
    chosen = once[[variable, "slope_edge_predicted"]].sel(activation=names, side=list(sides))
    flat = chosen.stack(place=("format", "activation", "side")).dropna("place")
    if flat.sizes["place"] == 0:
        return []
    predicted = flat["slope_edge_predicted"].values
    gap = np.spacing(np.where(np.isfinite(predicted), predicted, 0.0))  # of float64
    in_format = np.array([2.0 ** (52 - jnp.finfo(f).nmant) for f in flat["format"].values])
    return [judge(
        claims, statement, IEEE, measured=flat[variable], predicted=predicted,
        tolerance=gap * (in_format + 8), tolerance_from="one number of the format",
        claim=claim, correction=correction,
    )]  # fmt: skip


def _at_zero() -> Verdict:
    spellings = ACTIVATIONS["relu"].function, VARIANTS["maximum"]
    return judge(
        ["B1"], "Slopes of jax.nn.relu and of jnp.maximum(z, 0) at z = 0", "JAX's rules of differentiation",
        measured=[float(jax.grad(f)(0.0)) for f in spellings], predicted=[0.0, 0.5],
        tolerance=0, tolerance_from="exact",
        correction="At 0, where biases and inputs often are, two spellings of relu differ.",
    )  # fmt: skip


def _identity(once: xr.Dataset) -> Verdict:
    error = once["slope_error"].transpose("format", "z")
    limits = [precision.number_format(f) for f in FORMATS]
    unit = xr.DataArray([2.0**-limit.precision for limit in limits], dims="format")
    lowest = xr.DataArray([2.0**limit.log2_smallest_normal for limit in limits], dims="format")
    exact = special.expit(error["z"]) * special.expit(-error["z"])
    bound = unit * (4 + 2 * np.exp(error["z"])) + lowest / exact
    return judge(
        ["A1"], "Relative error of S (1 - S), which JAX takes for the slope of the sigmoid, at 129 places "
        "from -24 to 40, four formats", "the rounding of S relative to 1 - S, 2^-p e^z",
        measured=error, predicted=0.0, tolerance=bound.transpose("format", "z"),
        tolerance_from="2^-p (4 + 2 e^z) and underflow", claim=REPAIR,
        correction="True of real numbers. To compute with, 1 - S loses its digits on the right: in float32 a "
        "tenth is wrong from z = 15 on. S(z) S(-z) loses none.",
    )  # fmt: skip


def _tanh(once: xr.Dataset) -> list[Verdict]:
    """A device may round its tanh otherwise than correctly, but the slope ends where the value does."""
    if "tanh" not in once["activation"].values:
        return []
    tanh = once.sel(activation="tanh").transpose("format", "side", ...)
    ones, correct = tanh["value_edge"].values, tanh["slope_edge_predicted"].values
    eps = np.array([[float(jnp.finfo(f).eps)] for f in FORMATS])
    measured, predicted = tanh["slope_edge"].values, ones
    if "gelu_tanh" in once["activation"].values:
        left = once["slope_edge"].sel(activation="gelu_tanh", side="left").values
        measured = np.column_stack([measured, left])
        predicted = np.column_stack([ones, [precision.gelu_argument(float(u)) for u in ones[:, 1]]])
    return [
        judge(
            ["B28"], "|z| from which on the slopes of tanh, and of gelu by tanh on the left, are exactly 0: "
            "where this device's tanh is 1, four formats", "1 - tanh^2 of the rounded output",
            measured=measured, predicted=predicted, tolerance=2 * predicted * eps,
            tolerance_from="two numbers of the format",
        ),
        judge(
            ["B28"], "|z| from which on this device's tanh is 1, float16 and bfloat16",
            f"{IEEE}: (p + 2) log(2) / 2", measured=ones[:2], predicted=correct[:2],
            tolerance=correct[:2] * eps[:2], tolerance_from="one number of the format",
        ),
        observe(
            ["B28"], "z from which on this device's tanh is 1 in float32; rounded correctly it would be "
            f"{correct[2, 0]:.4g}, and XLA approximates it", "measured", measured=float(ones[2, 0]),
        ),
    ]  # fmt: skip


def _steps(once: xr.Dataset) -> list[Verdict]:
    half, eps = once["moving_step_predicted"], [[float(jnp.finfo(f).eps)] for f in FORMATS]
    return [
        judge(
            ["B30"], "Smallest step towards 0 that changes a weight, 16 weights from 1 to 2.9, four formats",
            f"{IEEE}: just above half the gap to the next number",
            measured=once["moving_step"], predicted=half,
            tolerance=half * eps, tolerance_from="one number of the format",
            correction="Learning halts where |lr g| < ulp(w) / 2: in bfloat16 always below |w| / 512, never "
            "from |w| / 256 on.",
        ),
        judge(
            ["B31"], "Gradient descent on a quadratic, ten rates lr h from 0.06 to 1.94, four formats: gaps "
            "between weight and minimum in the end, negative where it changes sides for ever",
            "round(k |1 - lr h|) = k: k lr h <= 1/2 or k (2 - lr h) <= 1/2",
            measured=once["rest"], predicted=once["rest_predicted"], tolerance=0, tolerance_from="exact",
            claim="right after repair",
            correction="It freezes beside the minimum for lr h <= 1/2 and alternates around it, with period "
            "two, for lr h >= 3/2; in between it arrives. On a quadratic there is no chaos.",
        ),
    ]  # fmt: skip


def _products(once: xr.Dataset) -> list[Verdict]:
    flat = once[["product_end", "product_end_predicted"]].stack(place=("format", "factor"))
    flat = flat.dropna("place", how="all")
    return [
        judge(
            ["B41", "C4"], "Factors after which 0.25^L, 0.5^L and 0.9^L are exactly 0, and 1.5^L infinite, "
            "rounded after each factor, four formats", "the same products in integers",
            measured=flat["product_end"], predicted=flat["product_end_predicted"],
            tolerance=1, tolerance_from="one factor, for devices that flush before they round",
        ),
        judge(
            ["B41"], "What 0.25^L, 0.5^L, 0.9^L and 1.5^L are in the end: 0, infinity, or a subnormal number "
            "at which factors above 1/2 stick, four formats", "round(k r) = k for k (1 - r) <= 1/2",
            measured=once["product_rest"], predicted=once["product_rest_predicted"],
            tolerance=0, tolerance_from="exact",
        ),
    ]  # fmt: skip


def _depths(result: xr.Dataset) -> list[Verdict]:
    found = []
    parts = {"kept": "its entries are all 0, or one infinite", "plain": "the root of its sum of squares is"}
    for name, what in parts.items():
        lost, predicted = first_lost(result[name]), result[f"{name}_lost_predicted"]
        single = float(lost.sel(network="sigmoid", format="float32").mean(skipna=False))
        found += compare(
            ["C4", "B28"], f"Layers that a gradient passes before {what}: vanishing sigmoids "
            f"({single:.3g} in float32) and exploding sines, four formats",
            "exponent of the limit over log2 sqrt(chi_1), to first order in 1/N",
            lost, predicted.where(lost.notnull().all("seed")), slack=1.0,  # all lose it within the depth
            tolerance_from="one layer, five standard errors",
        )  # fmt: skip
    return found


def _log_domain(result: xr.Dataset) -> list[Verdict]:
    kept, true = result["kept"].sel(format="float64"), result["true"]
    difference = abs(kept - true).where(abs(kept) < 250)
    settings = run_settings(result)
    bound = settings["width"] * settings["depth"] * float(jnp.finfo(settings["dtype"]).eps) / LN10
    return [
        judge_zero(
            ["C4"], "Layers at which the logarithm of a gradient is lost, vanishing and exploding networks",
            "mantissa and exponent", float((~np.isfinite(true)).sum()),
        ),
        judge(
            ["C4"], "Largest difference in decades between the logarithm of a gradient and the gradient in "
            "float64, where that still holds it", "the same arithmetic", measured=float(difference.max()),
            predicted=0.0, tolerance=bound, tolerance_from="rounding of sums of N terms in every layer",
        ),
    ]  # fmt: skip


def _explosion(result: xr.Dataset) -> list[Verdict]:
    sines = result.sel(network="sin")
    first = first_lost(sines["step"].where(sines["step"] <= 0))
    overflow = float(sines["kept_lost_predicted"].sel(format="float32"))
    return compare(
        ["C10"], f"Layers that an exploding gradient passes before one step of learning rate {STEP:g} "
        f"exceeds the weights; float32 overflows after {overflow:.0f}", "mean field: sqrt(chi_1) per layer",
        first, sines["oversized_predicted"], slack=1.0, tolerance_from="one layer, five standard errors",
        claim="right after repair",
        correction="Overflow is the extreme. A step exceeds the weights that it changes long before.",
    )  # fmt: skip
