r"""Which initializations make gradients vanish, and which make them explode?

Square networks over the plane of sigma_w (weights of variance sigma_w^2 / N) and sigma_b (standard deviation
of the biases), with Gaussian and with real input. Measured in layers behind the transient and before the end:

* growth: the logarithm of |delta^l|^2 / |delta^{l+1}|^2, the back-propagated gradient of a pre-activation;
* separation: the logarithm of the same factor for q (1 - c), half the mean squared difference of the
  pre-activations of two nearly equal inputs on their way forward, while 1 - c stays within [1e-11, 1e-4].

Theory says that both are log chi_1, chi_1 = sigma_w^2 E phi'(z)^2: vanishing gradients in the ordered phase,
chi_1 < 1, exploding ones in the chaotic phase, chi_1 > 1 (Poole et al., arXiv 1606.05340; Schoenholz et al.,
arXiv 1611.01232). The mean of a logarithm lies below the logarithm of the mean: at width N by
(3 mu_2 / mu_1^2 - 1) / 2N per layer, mu_k = E phi'^{2k}; for relu 5 / 2N, as in arXiv 1801.03744. chi_1 is
taken at the length that theory gives each layer of the window, so that slow transients, relu without a fixed
point (sigma_b > 0), and gelu, which on part of its critical line is unstable in length, are predicted too.

The plane is drawn over sigma_w on a logarithmic axis, on which Schoenholz's sigma_w^2 gives the same picture.
Each activation has its own range: sigma_w is set as a multiple of the critical one at sigma_b = 0.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis import meanfield
from signalprop.analysis.growth import layer_growth
from signalprop.bench.drawings.phase_diagram import SETTLED, figures
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure import data
from signalprop.bench.measure.rates import measured_critical, standard_error
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor
from signalprop.models import stream
from signalprop.models.activations import ACTIVATIONS, Activation, activation
from signalprop.models.mlp import MLP

CLOSE = 1e-8  # 1 - c of the two inputs of a pair
MEASURABLE = (1e-11, 1e-4)  # above rounding in float32, and small enough for the slope at c = 1
SLOPE = (0.03, 0.05)  # agreed accuracy of a growth rate: absolute, relative
CURVE = 25  # points of a drawn line
MAP = (32, 18)  # points of the drawn plane
POOLE, SCHOENHOLZ = "Poole et al. (2016), arXiv 1606.05340", "Schoenholz et al. (2017), arXiv 1611.01232"


@dataclass(frozen=True)
class Settings:
    """Settings of ``phase-diagram``."""

    activation: tuple[str, ...] = ("tanh", "sigmoid")
    """Activations, one compilation each."""
    ratio: tuple[float, ...] = (0.1, 0.4, 0.7, 0.9, 1.1, 1.4, 2.0, 3.0)
    """Weight scales, as multiples of the activation's critical sigma_w at sigma_b = 0."""
    sigma_b: tuple[float, ...] = (0.0, 0.2236, 0.5, 1.0)
    """Standard deviations of the biases."""
    data: tuple[str, ...] = ("gaussian",)
    """Inputs: gaussian or the name of a data set."""
    width: int = 192
    """Units N of every layer."""
    depth: int = 16
    """Layers L; theory for infinite width holds up to about N / 16."""
    skip: tuple[int, int] = (5, 3)
    """Layers left out of the window at the input and at the output."""
    seeds: int = 16
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights and signals."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        require_scale("ratio", self.ratio)
        require_scale("sigma_b", self.sigma_b)
        require_count("seeds", [self.seeds], 2)
        if min(self.ratio) == 0 or list(self.ratio) != sorted(set(self.ratio)):
            raise ValueError(f"ratio: got {self.ratio}; write increasing scales above 0")
        if self.depth < sum(self.skip) + 3:
            raise ValueError(f"depth: got {self.depth}; write at least {sum(self.skip) + 3}")


WIDE = ("tanh", "erf", "relu", "gelu", "sigmoid", "selu")
FINE = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.8, 2.2, 3.0)
BOTH = ("gaussian", "digits")
SIZES = {
    "quick": Settings(),
    "standard": Settings(activation=WIDE, ratio=FINE, data=BOTH, width=512, depth=32, seeds=20),
    "full": Settings(
        activation=WIDE, ratio=FINE, sigma_b=(0.0, 0.1, 0.2236, 0.5, 1.0), data=BOTH, width=1000, depth=36,
        seeds=100,
    ),
}  # fmt: skip


def grid(settings: Settings) -> Grid:
    """One compilation per activation; all scales share their draws."""
    return Grid(
        static={"activation": settings.activation},
        traced={"ratio": settings.ratio, "sigma_b": settings.sigma_b},
        seeds=settings.seeds,
        constants={
            "data": settings.data,
            "width": settings.width,
            "depth": settings.depth,
            "skip": settings.skip,
            "dtype": settings.dtype,
            "unit": {name: unit(name, settings) for name in settings.activation},
        },
        coords={"input": settings.data},
    )


def lines(settings: Settings) -> tuple[float, ...]:
    """Bias scales at which the critical line is computed; 0 and the measured ones are among them."""
    even = np.linspace(0, max(settings.sigma_b), CURVE)
    return tuple(float(s) for s in np.union1d(even, settings.sigma_b))


@cache
def critical_table(name: str, sigma_b: tuple[float, ...]) -> np.ndarray:
    """Critical sigma_w at the given bias scales, NaN where there is none.

    A homogeneous activation has no fixed point above sigma_b = 0, but chi_1 = 1 at the same sigma_w.
    """
    phi = activation(name)
    points = jax.jit(partial(meanfield.critical_table, phi))(jnp.array(sigma_b, jnp.float64))
    sigma_w = np.asarray(points.sigma_w)
    return np.full_like(sigma_w, sigma_w[0]) if phi.homogeneous else sigma_w


def unit(name: str, settings: Settings) -> float:
    """The sigma_w that a ratio of 1 stands for: critical at sigma_b = 0, or 1 where nothing is critical."""
    critical = float(critical_table(name, lines(settings))[0])
    return critical if np.isfinite(critical) else 1.0


def window(depth: int, skip: Sequence[int]) -> slice:
    """Indices, from 0, of the layers l whose step between l and l + 1 is measured."""
    return slice(skip[0], depth - 1 - skip[1])


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Growth of the gradient and separation of two inputs in one network."""
    width, depth, dtype = static["width"], static["depth"], static["dtype"]
    network_key, input_key, cotangent_key = jax.random.split(key, 3)
    sigma_w = point["ratio"] * jnp.asarray(static["unit"][static["activation"]], dtype)
    # sigma_w multiplies the activities and not the weights: then all scales share one matrix product
    phi = activation(static["activation"]).times(sigma_w)
    network = MLP((width,) * (depth + 1), phi, sigma_b=point["sigma_b"], key=network_key, dtype=dtype)
    x = jnp.stack([close_pair(kind, input_key, width, dtype) for kind in static["data"]])
    walk = stream.forward(network, sigma_w * x, lambda carry, layer, kernel, z: (carry, z), None)
    first = [jax.tree.map(lambda leaf: leaf[:, :, 0], z) for z in walk.outs]
    cotangent = jax.random.normal(cotangent_key, (len(static["data"]), width), dtype)
    back = stream.backward(
        network, first, cotangent, lambda carry, layer, kernel, delta: (carry, delta.log_norm()), None
    )
    inside = window(depth, static["skip"])
    log_q = stream.join([z.log_mean_square() for z in first])
    log_distance = stream.join([log_one_minus_c(stream.rescale(z).mantissa) for z in walk.outs])
    found = {
        "growth": -2 * jnp.mean(jnp.diff(stream.join(back.outs), axis=0)[inside], axis=0),
        "separation": separation(log_distance[inside.start :], log_q[inside.start :]),
        "log_q": log_q[inside.stop],
    }
    lost = walk.lost_at[:, 0] > 0
    return {name: jnp.where(lost, jnp.nan, values) for name, values in found.items()}


def close_pair(kind: str, key: jax.Array, width: int, dtype: str) -> jax.Array:
    """An input, and the same with a little of another mixed in, so that 1 - c is about ``CLOSE``: (2, N)."""
    x, other = data.inputs(kind, key, 2, width, dtype=dtype)
    return jnp.stack([x, data.unit_length(x + float(np.sqrt(2 * CLOSE)) * other)])


def log_one_minus_c(pair: jax.Array) -> jax.Array:
    """log(1 - c) of the two vectors along the last but one axis, without cancellation."""
    u = pair / jnp.linalg.norm(pair, axis=-1, keepdims=True)
    return jnp.log(jnp.sum((u[..., 0, :] - u[..., 1, :]) ** 2, axis=-1) / 2)


def separation(log_distance: jax.Array, log_q: jax.Array) -> jax.Array:
    """Mean growth of log(q (1 - c)) over the leading layers that can be measured; NaN if fewer than three."""
    low, high = np.log(MEASURABLE)
    lost = ~((log_distance > low) & (log_distance < high))
    count = jnp.where(jnp.any(lost, axis=0), jnp.argmax(lost, axis=0), len(lost))
    values = log_distance + log_q
    last = jnp.take_along_axis(values, jnp.maximum(count - 1, 0)[None], axis=0)[0]
    return jnp.where(count < 3, jnp.nan, (last - values[0]) / jnp.maximum(count - 1, 1))


def theory(settings: Settings) -> xr.Dataset:
    """Growth over the window at every point and on a finer plane, and the critical line."""
    ratio = np.geomspace(min(settings.ratio), max(settings.ratio), MAP[0])
    sigma_b = np.linspace(0, max(settings.sigma_b), MAP[1])
    labels = {k: v for k, v in grid(settings).labels().items() if k in ("activation", "ratio", "sigma_b")}
    coords = {**labels, "ratio_map": ratio, "sigma_b_map": sigma_b, "sigma_b_line": list(lines(settings))}
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(partial(theory_of, settings=settings, coords=coords), settings.activation))
    return xr.concat(found, "activation").assign_coords(activation=labels["activation"])


def theory_of(name: str, settings: Settings, coords: Mapping[str, Any]) -> xr.Dataset:
    """Theory of one activation: one compilation for the points, the plane and the critical line."""
    critical = critical_table(name, lines(settings))
    places = [
        np.meshgrid(unit(name, settings) * np.array(settings.ratio), settings.sigma_b, indexing="ij"),
        np.meshgrid(unit(name, settings) * coords["ratio_map"], coords["sigma_b_map"], indexing="ij"),
        [np.nan_to_num(critical, nan=1.0), np.array(coords["sigma_b_line"])],
    ]
    sigma_w, sigma_b = (jnp.concatenate([np.ravel(p[i]) for p in places]) for i in (0, 1))
    predict = partial(predicted, activation(name), depth=settings.depth, skip=settings.skip)
    columns = jax.device_get(jax.jit(jax.vmap(predict))(sigma_w, sigma_b))
    cuts = np.cumsum([np.size(p[0]) for p in places])[:-1]
    (chi, on_map, on_line), shift, drift, log_q = (np.split(column, cuts) for column in columns)
    plane = ("ratio", "sigma_b")
    shape = tuple(len(getattr(settings, axis)) for axis in plane)
    return xr.Dataset(
        {
            "unit": unit(name, settings),
            "growth_predicted": (plane, (chi - shift[0] / settings.width).reshape(shape)),
            "log_chi_1": (plane, chi.reshape(shape)),
            "drift": (plane, drift[0].reshape(shape)),
            "log_q_predicted": (plane, log_q[0].reshape(shape)),
            "log_chi_1_map": (("ratio_map", "sigma_b_map"), on_map.reshape(MAP)),
            "critical_sigma_w": ("sigma_b_line", critical),
            "log_chi_1_line": ("sigma_b_line", np.where(np.isnan(critical), np.nan, on_line)),
        },
        coords={k: v for k, v in coords.items() if k != "activation"},
    )


def predicted(
    phi: Activation, sigma_w: jax.Array, sigma_b: jax.Array, depth: int, skip: tuple[int, int]
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Mean of log chi_1 over the window, N times its finite-width shift, its range, and the last log q."""
    inside = window(depth, skip)
    q = meanfield.length_trajectory(phi, sigma_w, sigma_b, 1.0, depth)[inside]
    log_chi, shift = jax.vmap(lambda length: layer_growth(phi, length, sigma_w))(q)
    return jnp.mean(log_chi), jnp.mean(shift), jnp.max(log_chi) - jnp.min(log_chi), jnp.log(q[-1])


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge growth, separation, critical scales, and what is said about large weights and sigmoid."""
    growth, ratio = result["growth_predicted"], result["ratio"]
    kinds = ", ".join((*result["activation"].values, *result["input"].values))
    found = [
        _rates(
            result, xr.ones_like(growth, bool), ["C1"],
            f"log |delta|^2 grows per layer by log chi_1 less its 1/N shift at all sigma_w, sigma_b: {kinds}",
        ),
        _rates(
            result, result["drift"] < SETTLED, ["C1"],
            "Forward, the squared difference of two nearly equal inputs changes by chi_1 per layer too",
            "separation",
        ),
        _signs(result),
        _critical(result),
        _rates(
            result, (growth > 0) & (ratio == ratio.max()), ["C19"],
            f"With {float(ratio.max()):g} times the critical weights gradients explode, log chi_1 per layer",
        ),
        _rates(
            result, (growth < 0) & (ratio == ratio.min()), ["C20"],
            f"With {float(ratio.min()):g} times the critical weights gradients vanish, log chi_1 per layer",
            claim="right after repair",
            correction="In deep networks gradients of every activation vanish if sigma_w is too small.",
        ),
    ]  # fmt: skip
    if "sigmoid" in result["activation"]:
        found += _sigmoid(result.sel(activation=["sigmoid"]))
    return [v for v in found if v is not None]


def _sigmoid(result: xr.Dataset) -> list[Verdict | None]:
    """Judge what is said about sigmoid layers, and about sigmoid where its inputs are large."""
    growth = result["growth_predicted"]
    low, high = (float(np.exp(v)) for v in (growth.min(), growth.max()))
    return [
        _rates(
            result, xr.ones_like(growth, bool), ["A8", "A21"],
            f"A sigmoid layer multiplies the squared gradient by chi_1 (log): from {low:.2g} to {high:.2g}",
            claim="right after repair",
            correction="At most a quarter is the slope of the activation. A layer multiplies by slope and "
            "weights: by 0.24 at sigma_w = 1, by 1 at sigma_w = 10.15, by more beyond.",
        ),
        _rates(
            result, growth > 0, ["A13"],
            _far_from_zero(result.isel(activation=0)),
            claim="right after repair",
            correction="Near zero the factor per layer is sigma_w / 4, so small inputs vanish too. Sigmoid "
            "stops vanishing at sigma_w = 10.15, where its inputs are large.",
        ),
    ]  # fmt: skip


def _rates(
    result: xr.Dataset,
    where: xr.DataArray,
    claims: Sequence[str],
    statement: str,
    name: str = "growth",
    **standing: Any,
) -> Verdict | None:
    """Compare measured rates with theory at the points of a mask; None if there are none."""
    predicted = result["growth_predicted"]
    columns = (result[name].mean("seed", skipna=False), predicted, standard_error(result[name]), where)
    *numbers, mask = (column.values for column in xr.broadcast(*columns))
    keep = mask & ~np.isnan(numbers[0])
    if not keep.any():
        return None
    measured, expected, error = (values[keep] for values in numbers)
    factor = sampling_factor(measured.size, result.sizes["seed"])
    return judge(
        claims, statement,
        f"{POOLE}; {SCHOENHOLZ}", measured=measured, predicted=expected, uncertainty=error,
        tolerance=np.maximum(SLOPE[0], SLOPE[1] * np.abs(expected)) + factor * error,
        tolerance_from="0.03 or 5 % of the rate, and five standard errors over networks", **standing,
    )  # fmt: skip


def _far_from_zero(at: xr.Dataset) -> str:
    rms = np.exp(at["log_q"].isel(ratio=[0, -1]).mean(("seed", "input", "sigma_b")).values / 2)
    sigma_w = at["ratio"].values[[0, -1]] * float(at["unit"])
    places = " and ".join(f"{r:.2g} at sigma_w = {s:.3g}" for r, s in zip(rms, sigma_w, strict=True))
    return (
        "Sigmoid gradients grow by log chi_1 per layer where sigma_w is above critical and inputs are far "
        f"from zero: the pre-activations' root mean square is {places}"
    )


def _signs(result: xr.Dataset) -> Verdict | None:
    clear = abs(result["growth_predicted"]) > 0.1
    if not clear.any():
        return None
    same = np.sign(result["growth"].mean("seed")) == np.sign(result["growth_predicted"])
    return judge(
        ["C1"],
        "Share of the settings with |log chi_1| > 0.1 whose gradients vanish if chi_1 < 1 and explode if not",
        f"{POOLE}; {SCHOENHOLZ}", measured=float(same.where(clear).mean()), predicted=1.0, tolerance=0.0,
        tolerance_from="every setting counts",
    )  # fmt: skip


def _critical(result: xr.Dataset) -> Verdict | None:
    found = measured_critical(result)
    if found.empty:
        return None
    factor = sampling_factor(len(found), result.sizes["seed"])
    return judge(
        ["C2"],
        "The critical sigma_w, at which the gradient neither grows nor shrinks, depends on activation and "
        f"sigma_b: {', '.join(found['activation'].unique())}",
        f"{POOLE}; {SCHOENHOLZ}", measured=found["measured"], predicted=found["critical"],
        uncertainty=found["error"], tolerance=SLOPE[0] / found["slope"] + factor * found["error"],
        tolerance_from="0.03 in the growth rate and five standard errors over networks",
    )  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """Measured and predicted rates at every point, over networks."""
    flat = {
        "sigma_w": result["ratio"] * result["unit"],
        "growth": result["growth"].mean("seed"),
        "growth_error": standard_error(result["growth"]),
        "growth_predicted": result["growth_predicted"],
        "log_chi_1": result["log_chi_1"],
        "separation": result["separation"].mean("seed", skipna=False),
        "log_q": result["log_q"].mean("seed"),
        "log_q_predicted": result["log_q_predicted"],
    }
    return xr.Dataset(flat).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="phase-diagram",
    question="Which initializations make gradients vanish, and which make them explode?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "growth": Variable(("input",), "mean growth of log |delta|^2 per layer towards the input", "nats"),
        "separation": Variable(
            ("input",), "mean growth of log q (1 - c) per layer of two close inputs", "nats"
        ),
        "log_q": Variable(("input",), "log of the mean squared pre-activation behind the window", "nats"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
