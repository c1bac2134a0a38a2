r"""Where does floating point end a gradient that mathematics keeps?

Four formats, float16, bfloat16, float32 and float64, from one number to a deep network. Theory needs their
bits, and whether this device flushes subnormal numbers to 0, which is measured (`analysis.precision`).

* Slopes. The smallest |z| from which on `jax.grad` of an activation is exactly 0, found among all numbers of
  a format, beside half-ulp analysis of the expression that JAX differentiates to. A slope computed from the
  output, S (1 - S), ends where the output rounds to its limit; one computed from the input by underflow. The
  same for two spellings of a cross entropy.
* Steps. w - lr g == w below half a gap between numbers. Gradient descent on a quadratic of curvature h rests
  k gaps beside the minimum, k |lr h| <= 1/2, or alternates around it if lr h > 3/2, where exact arithmetic
  still converges (it diverges only above 2).
* Products. r^L ends at 0, at infinity, or at a few subnormal numbers for ever.
* Networks. The gradient of a deep network is kept in each format on its way back, beside the log domain, and
  lost after log(limit of the format) / log sqrt(chi_1) layers (`bench.underflow`; arXiv 1611.01232); a plain
  sum of squares is lost at half the depth.
* Singular values. J J^T takes half of their digits; the diagonal of one QR sweep has others
  (`bench.shortcuts`).

Sources: IEEE 754-2019; Goldberg (1991), What every computer scientist should know about floating-point
arithmetic.
"""

import json
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax import Array

from signalprop.analysis import precision
from signalprop.bench import shortcuts, underflow
from signalprop.bench.drawings.precision import figures, first_lost, lost_layers
from signalprop.bench.edges import BOTH, IEEE, edge_verdicts
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure import rounding
from signalprop.bench.measure.rounding import FACTORS, FORMATS, RATES, SLOPE_AT, VARIANTS, WEIGHTS
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor
from signalprop.bench.underflow import LN10, NETWORKS, STEP
from signalprop.models.activations import ACTIVATIONS, activation


@dataclass(frozen=True)
class Settings:
    """Settings of ``precision``."""

    activation: tuple[str, ...] = (*ACTIVATIONS, *VARIANTS)
    """Functions whose slopes are followed to their end."""
    width: int = 128
    """Units of every layer of the networks."""
    depth: int = 540
    """Layers of the networks; float64 loses a vanishing gradient after about 490."""
    seeds: int = 24
    """Networks."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of the signal, the weights and the log-domain gradient."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, (*ACTIVATIONS, *VARIANTS))
        require_count("width", [self.width], 2)
        require_count("depth", [self.depth], 2)
        require_count("seeds", [self.seeds], 2)


FEW = ("sigmoid", "tanh", "erf", "relu", "maximum", "elu", "gelu_tanh", "log_softmax_loss", "softplus_loss")
SIZES = {
    "quick": Settings(activation=FEW, width=32, seeds=16),
    "standard": Settings(),
    "full": Settings(width=512, seeds=48),
}


def grid(settings: Settings) -> Grid:
    """One program; all but the networks is the same for every seed."""
    names = ("activation", "width", "depth", "dtype")
    return Grid(
        static={},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in names},
        coords={
            "format": FORMATS,
            "activation": settings.activation,
            "side": BOTH,
            "factor": FACTORS,
            "weight": WEIGHTS,
            "rate": RATES,
            "z": SLOPE_AT,
            "network": tuple(NETWORKS),
            "layer": range(settings.depth),
        },
    )


def measure(key: Array, point: dict[str, Array], static: Static) -> dict[str, Array]:
    """The atlas of every format, and the gradients of one network of each kind."""
    functions = [VARIANTS.get(name) or activation(name).function for name in static["activation"]]
    rows = [{**rounding.slopes(functions, f), **rounding.steps(f), **rounding.products(f)} for f in FORMATS]
    atlas = {name: jnp.stack([jnp.asarray(row[name], float) for row in rows]) for name in rows[0]}
    return {**atlas, **underflow.gradients(key, static["width"], static["depth"], static["dtype"])}


def theory(settings: Settings) -> xr.Dataset:
    """What the bits of the formats, and the mean field of the networks, predict on this device."""
    flushes = {f: precision.measured_flush_to_zero(f) for f in FORMATS}
    numbers = rounding.predictions(settings.activation, flushes)
    networks = underflow.predictions(settings.width, settings.depth, flushes)
    coords = {k: v for k, v in grid(settings).labels().items() if k != "seed"}
    return xr.merge([numbers, networks]).assign_coords(coords)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge slopes, losses, steps, products and networks."""
    once = result.isel(seed=0)
    networks = [*_depths(result), *_log_domain(result), *_explosion(result)]
    return [*edge_verdicts(once), *_steps(once), *_products(once), *networks, *shortcuts.verdicts()]


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
    depth = flat["product_end_predicted"]
    places = zip(flat["place"].values, depth.values, strict=True)
    drift = [float(precision.drift(r, f, d)) for (f, r), d in places]
    return [
        judge(
            ["B41", "C4"], "Factors after which 0.25^L, 0.5^L and 0.9^L are exactly 0, and 1.5^L infinite, "
            "rounded after each factor, four formats", "exponent of the limit over log2 of the factor",
            measured=flat["product_end"], predicted=depth, tolerance=1 + np.array(drift),
            tolerance_from="one factor, and at most 2^-p of rounding in each",
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
        layers = lost_layers(result, name)
        single = float(layers["measured"].sel(network="sigmoid", format="float32"))
        table = layers.stack(place=("network", "format")).dropna("place")
        if table.sizes["place"]:
            factor = sampling_factor(table.sizes["place"], result.sizes["seed"])
            found.append(judge(
                ["C4", "B28"], f"Layers that a gradient passes before {what}: vanishing sigmoids "
                f"({single:.3g} in float32) and exploding sines, four formats",
                "exponent of the limit over log2 sqrt(chi_1), to first order in 1/N",
                measured=table["measured"], predicted=table["predicted"], uncertainty=table["error"],
                tolerance=1 + factor * table["error"], tolerance_from="one layer, five standard errors",
            ))  # fmt: skip
    return found


def _log_domain(result: xr.Dataset) -> list[Verdict]:
    kept, true = result["kept"].sel(format="float64"), result["true"]
    difference = abs(kept - true).where(abs(kept) < 250)
    settings = json.loads(result.attrs["settings"])
    bound = settings["width"] * settings["depth"] * float(jnp.finfo(settings["dtype"]).eps) / LN10
    return [
        judge(
            ["C4"], "Layers at which the logarithm of a gradient is lost, vanishing and exploding networks",
            "mantissa and exponent", measured=float((~np.isfinite(true)).sum()), predicted=0.0,
            tolerance=0, tolerance_from="exact",
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
    if first.isnull().any():
        return []
    error = float(first.std("seed", ddof=1)) / np.sqrt(first.sizes["seed"])
    overflow = float(sines["kept_lost_predicted"].sel(format="float32"))
    return [judge(
        ["C10"], f"Layers that an exploding gradient passes before one step of learning rate {STEP:g} "
        f"exceeds the weights; float32 overflows after {overflow:.0f}", "mean field: sqrt(chi_1) per layer",
        measured=float(first.mean()), predicted=float(sines["oversized_predicted"]), uncertainty=error,
        tolerance=1 + sampling_factor(1, first.sizes["seed"]) * error,
        tolerance_from="one layer, five standard errors", claim="right after repair",
        correction="Overflow is the extreme. A step exceeds the weights that it changes long before.",
    )]  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """All that the figures show beside its prediction: edges, steps, rests, products and depths of loss."""
    columns = ["quantity", "format", "of", "measured", "error", "predicted"]
    once, parts = result.isel(seed=0), []
    for name in (
        "slope_edge",
        "value_edge",
        "number_edge",
        "moving_step",
        "rest",
        "product_end",
        "product_rest",
    ):
        known = f"{name}_predicted"
        part = once[[n for n in (name, known) if n in once]].to_dataframe().reset_index()
        of = part[list(EXPERIMENT.variables[name].dims[1:])].astype(str).agg(" ".join, axis=1)
        parts.append(part.rename(columns={name: "measured", known: "predicted"}).assign(quantity=name, of=of))
    for name in ("kept", "plain"):
        part = lost_layers(result, name).to_dataframe().reset_index().rename(columns={"network": "of"})
        parts.append(part.assign(quantity=f"{name}_lost"))
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)


EXPERIMENT = Experiment(
    name="precision",
    question="Where does floating point end a gradient that mathematics keeps?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "slope_edge": Variable(("format", "activation", "side"), "|z| from which on the slope is exactly 0"),
        "value_edge": Variable(("format", "activation", "side"), "|z| from which on the value is constant"),
        "number_edge": Variable(("format", "activation", "side"), "|z| from which on the slope is NaN"),
        "slope_error": Variable(("format", "z"), "relative error of the sigmoid's slope"),
        "moving_step": Variable(("format", "weight"), "smallest step that changes a weight"),
        "rest": Variable(("format", "rate"), "gaps from the minimum, negative if alternating"),
        "product_end": Variable(("format", "factor"), "factors after which a product is 0 or infinite"),
        "product_rest": Variable(("format", "factor"), "what a product is in the end"),
        "kept": Variable(("network", "format", "layer"), "log10 |delta| kept in a format", "decades"),
        "plain": Variable(("network", "format", "layer"), "log10 |delta| by a sum of squares", "decades"),
        "true": Variable(("network", "layer"), "log10 |delta| in the log domain", "decades"),
        "step": Variable(("network", "layer"), "log10 of step over weights, |lr dW| / |W|", "decades"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
