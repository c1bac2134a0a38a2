r"""How many decades does a gradient lose on its way to the first layer, by activation and initialization?

Network: fully connected, square, without biases, at initialization. All activations and inputs travel through
the same random matrices; gradients start from a fresh random read-out at each of several depths. One example
gives the gradients, a small batch the activities. Error bars are over networks.

Measured: size, mean and histogram of the activities and of delta^l = dE/dz^l in every layer, and of the
weight gradient, |dE/dW^l|_F = |delta^l| |y^(l-1)| for one example.

Theory: an infinitely wide layer multiplies |delta|^2 by sigma_w^2 E phi'(sqrt(q^l) z)^2 (Schoenholz et al.,
arXiv 1611.01232). The logarithm of that factor fluctuates at width N. For Gaussian relu networks its law is
exact (Hanin & Nica, arXiv 1812.05994); `finite_width` extends mean and variance to any activation, and to
orthogonal weights, to first order in 1/N. Where lengths are unstable, as with gelu and silu at He weights,
fluctuations grow with depth and only the wide profile is given. The identity mixes no units and has no
prediction. Pictures after Glorot & Bengio (2010), figures 6 and 7, and the activation statistics of CS231n.
"""

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from jax import Array
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.analysis import finitewidth, meanfield
from signalprop.analysis.gaussian import expectation
from signalprop.bench import data, figures
from signalprop.bench.errors import InputError
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.verdict import Standing, Verdict, judge, observe, sampling_factor
from signalprop.models.activations import ACTIVATIONS, Activation, activation, derivative
from signalprop.models.initializers import SCHEMES, scheme
from signalprop.models.mlp import draw_layer
from signalprop.models.stream import Signal, rescale

BINS = np.linspace(-3, 3, 61)  # of activities, and of gradients in units of their rms in the top layer
INPUTS = ("gaussian", *data.READERS, *(f"{name}_raw" for name in data.READERS))
NET = ("scheme", "activation", "input")
TO_DECADES = 1 / (2 * math.log(10))  # natural log of a square -> log10 of a norm


@dataclass(frozen=True)
class Settings:
    """Settings of ``layer-profiles``."""

    activation: tuple[str, ...] = tuple(ACTIVATIONS)
    """Activation functions."""
    scheme: tuple[str, ...] = tuple(SCHEMES)
    """Weight initializations."""
    input: tuple[str, ...] = ("gaussian", "digits")
    """Inputs, moved to the network's width by a random isometry and scaled to |x|^2 = width."""
    width: int = 256
    """Units of the input and of every layer."""
    depth: tuple[int, ...] = (10, 20, 50, 100)
    """Layers that get a read-out; activities are followed to the deepest."""
    histogram_layer: tuple[int, ...] = (1, 3, 5, 8, 10)
    """Layers whose histograms are kept, of the network with the smallest depth."""
    weight_std: float = 1.0
    """Standard deviation of the weights of the schemes gaussian and orthogonal; 1 is oversized."""
    batch: int = 4
    """Examples of each input in the statistics of activities."""
    seeds: int = 24
    """Networks per scheme."""
    seed: int = 0
    """Seed of the first random key."""
    dtype: str = "float32"
    """Type of weights and signals."""

    def __post_init__(self) -> None:
        """Check the values."""
        require_known("activation", self.activation, ACTIVATIONS)
        require_known("scheme", self.scheme, SCHEMES)
        require_known("input", self.input, INPUTS)
        require_scale("weight-std", [self.weight_std])
        require_count("depth", self.depth, 2)
        require_count("histogram-layer", self.histogram_layer)
        require_count("seeds", [self.seeds], 2)
        for axis in ("width", "batch"):
            require_count(axis, [getattr(self, axis)])
        if min(self.histogram_layer) > min(self.depth):
            raise InputError(
                f"histogram-layer: got {self.histogram_layer}; write one of 1 to {min(self.depth)}"
            )


SIZES = {
    "quick": Settings(
        activation=("linear", "sigmoid", "tanh", "relu", "gelu"),
        scheme=("normal_001", "uniform_standard", "glorot_uniform", "he_normal", "gaussian"),
        width=128,
        depth=(10, 30),
        seeds=16,
    ),
    "standard": Settings(),
    "full": Settings(width=1000, batch=30, seeds=100),
}


def grid(settings: Settings) -> Grid:
    """One program for everything: schemes, activations, inputs and depths are axes of the measurement."""
    coords: dict[str, Sequence[Any]] = {
        "scheme": settings.scheme,
        "activation": settings.activation,
        "input": settings.input,
        "depth": settings.depth,
        "layer": range(1, max(settings.depth) + 1),
        "histogram_layer": [n for n in settings.histogram_layer if n <= min(settings.depth)],
        "bin": list((BINS[1:] + BINS[:-1]) / 2),
    }
    return Grid({}, {}, settings.seeds, asdict(settings), coords)


VARIABLES = {
    "log_q": Variable((*NET, "layer"), "log of the mean squared pre-activation", "nat"),
    "log_std": Variable((*NET, "layer"), "log of the standard deviation of activities over units", "nat"),
    "relative_mean": Variable((*NET, "layer"), "mean activity over units / rms pre-activation"),
    "forward_lost_at": Variable(NET, "first layer where the signal left the dtype's range, 0 if never"),
    "decades": Variable((*NET, "depth", "layer"), "log10 |delta^l| / |delta^L|", "decades"),
    "weight_decades": Variable((*NET, "depth", "layer"), "log10 |dE/dW^l| / |dE/dW^L|", "decades"),
    "total_decades": Variable((*NET, "depth"), "log10 |delta^1| / |delta^L|", "decades"),
    "activity_histogram": Variable((*NET, "histogram_layer", "bin"), "share of the activities"),
    "gradient_histogram": Variable((*NET, "histogram_layer", "bin"), "share of delta^l / rms delta^L"),
}


def measure(key: Array, point: Mapping[str, Array], static: Static) -> dict[str, Array]:
    """Walk forward and back once per scheme; activations, inputs and read-outs are axes of the signal."""
    width, dtype = static["width"], jnp.dtype(static["dtype"])
    weight_key, input_key, readout_key = jax.random.split(key, 3)
    layers = jnp.arange(1, max(static["depth"]) + 1, dtype=jnp.int32)
    x = jnp.stack([data.inputs(n, input_key, static["batch"], width, dtype=dtype) for n in static["input"]])
    readout = jax.random.normal(readout_key, (len(static["depth"]), width), dtype)

    def kernels(name: str) -> Array:
        sigma_w = static["weight_std"] * math.sqrt(width)
        draw = partial(
            draw_layer, weight_key, fan_in=width, fan_out=width, scheme=scheme(name), sigma_w=sigma_w
        )
        drawn: Array = jax.lax.map(lambda layer: draw(layer, dtype=dtype).kernel[...], layers)
        return drawn

    def statistics(index: Array) -> dict[str, Array]:
        chosen = jax.lax.switch(index, [partial(kernels, name) for name in static["scheme"]])
        return _statistics(chosen, x, readout, static)

    measured: dict[str, Array] = jax.lax.map(statistics, jnp.arange(len(static["scheme"])))
    return measured


def _statistics(kernels: Array, x: Array, readout: Array, static: Static) -> dict[str, Array]:
    """Everything measured on one network with one set of weights, (activation, input, ...)."""
    phis, depths = [activation(name) for name in static["activation"]], static["depth"]
    x = jnp.broadcast_to(x, (len(phis), *x.shape))
    seen = _forward(phis, kernels, x)
    delta = _backward(phis, kernels, seen["z"], depths, readout)
    lost = jnp.cumsum(seen["lost"], 0) > 0
    log_delta, log_y = delta.log_norm(), seen["y"].log_norm()
    log_below = jnp.concatenate([jnp.log(jnp.linalg.norm(x[None, :, :, 0], axis=-1)), log_y[:-1]])
    decades = _decades(log_delta, depths, lost)
    weight_decades = _decades(log_delta + log_below[:, None], depths, lost)

    shallow = depths.index(min(depths))
    shown = np.array([n for n in static["histogram_layer"] if n <= min(depths)]) - 1
    y, top = (jax.tree.map(lambda a: a[shown], s) for s in (seen["y"], delta))
    unit = jnp.exp(log_delta[min(depths) - 1, shallow]) / math.sqrt(readout.shape[-1])
    shallow_delta = jnp.ldexp(top.mantissa, top.exponent[..., None])[:, shallow]
    forward = {name: jnp.where(lost, jnp.nan, seen[name]) for name in ("log_q", "log_std", "relative_mean")}
    return {name: jnp.moveaxis(values, 0, -1) for name, values in forward.items()} | {
        "forward_lost_at": jnp.where(lost.any(0), jnp.argmax(lost, 0) + 1, 0),
        "decades": jnp.transpose(decades, (2, 3, 1, 0)),
        "weight_decades": jnp.transpose(weight_decades, (2, 3, 1, 0)),
        "total_decades": jnp.moveaxis(decades[0], 0, -1),
        "activity_histogram": _histogram(jnp.ldexp(y.mantissa, y.exponent[..., None])),
        "gradient_histogram": _histogram(shallow_delta / unit[..., None]),
    }


def _each(f: Callable[[Activation, Array], Array], phis: Sequence[Activation], z: Array) -> Array:
    """Apply every activation to its own slice of the first axis."""
    return jnp.stack([f(phi, part) for phi, part in zip(phis, z, strict=True)])


def _forward(phis: Sequence[Activation], kernels: Array, x: Array) -> dict[str, Any]:
    """Statistics of every layer (layer, activation, input), and the first example's z and y.

    The signals of homogeneous activations are rescaled after every layer, so that they are never lost.
    """
    scaled = jnp.array([phi.homogeneous for phi in phis])[:, None, None]
    smallest = jnp.finfo(x.dtype).smallest_normal  # type: ignore[no-untyped-call]

    def layer(y: Signal, kernel: Array) -> tuple[Signal, dict[str, Any]]:
        raw = Signal(y.mantissa @ kernel, y.exponent)
        unit = rescale(raw)
        mantissa = jnp.where(scaled[..., None], unit.mantissa, raw.mantissa)
        z = Signal(mantissa, jnp.where(scaled, unit.exponent, raw.exponent))
        y = Signal(_each(lambda phi, part: phi(part), phis, mantissa), z.exponent)
        size = jnp.max(jnp.abs(mantissa), -1)
        relative_mean = y.mantissa.mean(-1) / jnp.sqrt(jnp.mean(mantissa**2, -1))
        return y, {
            "log_q": z.log_mean_square().mean(-1),
            "log_std": (jnp.log(y.mantissa.std(-1)) + z.exponent * math.log(2)).mean(-1),
            "relative_mean": relative_mean.mean(-1),
            "lost": ~(jnp.isfinite(size) & (size >= smallest)).all(-1),
            "z": mantissa[:, :, 0],
            "y": jax.tree.map(lambda a: a[:, :, 0], y),
        }

    seen: dict[str, Any] = jax.lax.scan(layer, Signal(x, jnp.zeros(x.shape[:-1], jnp.int32)), kernels)[1]
    return seen


def _backward(
    phis: Sequence[Activation], kernels: Array, z: Array, depths: Sequence[int], readout: Array
) -> Signal:
    """Delta of every layer (layer, depth, activation, input, unit); a read-out starts at each depth."""

    def layer(gradient: Signal, here: tuple[Array, Array, Array]) -> tuple[Signal, Signal]:
        number, kernel, z = here
        starts = (jnp.array(depths) == number)[:, None, None, None]
        mantissa = jnp.where(starts, readout[:, None, None], gradient.mantissa)
        slope = _each(lambda phi, part: derivative(phi.function, part), phis, z)
        delta = rescale(Signal(slope * mantissa, gradient.exponent))
        return Signal(delta.mantissa @ kernel.T, delta.exponent), delta

    shape = (len(depths), *z.shape[1:])
    silent = Signal(jnp.zeros(shape, z.dtype), jnp.zeros(shape[:-1], jnp.int32))
    numbers = jnp.arange(1, len(z) + 1)
    deltas: Signal = jax.lax.scan(layer, silent, (numbers, kernels, z), reverse=True)[1]
    return deltas


def _decades(log_norm: Array, depths: Sequence[int], lost: Array) -> Array:
    """Log10 of a norm over that in its last layer; NaN above a read-out and where the signal was lost."""
    top = jnp.stack([log_norm[depth - 1, i] for i, depth in enumerate(depths)])
    ratio = jnp.where(log_norm == -jnp.inf, -jnp.inf, (log_norm - top) / math.log(10))
    layer, depth = jnp.arange(1, len(log_norm) + 1)[:, None, None, None], jnp.array(depths)[:, None, None]
    usable = ~jnp.stack([lost[d - 1] for d in depths]) & (layer <= depth)
    return jnp.where(usable, jnp.where(layer == depth, 0, ratio), jnp.nan)


def _histogram(values: Array) -> Array:
    """Share of the units in each bin, layers moved next to the bins; the outer bins hold all beyond them."""
    below = jnp.mean(values[..., None] < jnp.asarray(BINS[1:-1], values.dtype), -2)
    ends = [(0, 0)] * (below.ndim - 1) + [(1, 1)]
    return jnp.moveaxis(jnp.diff(jnp.pad(below, ends, constant_values=(0, 1))), 0, -2)


class FiniteWidth(NamedTuple):
    """Networks of width N to first order in 1/N; natural logs, of squares except for log_std."""

    log_q: np.ndarray  # mean, per layer
    log_std: np.ndarray  # of the activities at that length, per layer
    shift: np.ndarray  # of the mean log |delta^1|^2 / |delta^L|^2 from its wide limit, per L = 1, 2, ...
    indirect: np.ndarray  # the part of the shift that comes through the signal's length and direction
    variance: np.ndarray  # of that log ratio


def finite_width(moments: Mapping[str, np.ndarray], width: int, orthogonal: bool) -> FiniteWidth:
    r"""Follow mean and covariance of s = (log q^l, log gain so far) through the layers.

    Given the length q below, z_i = sqrt(q) g_i and the gradient from above is h_i, both Gaussian. With
    V = E phi^2, D = E phi'^2 and slopes (a, b) = d(log V, log D) / d log q a layer does

    .. math:: s' = A s + \epsilon, \quad A = [[a, 0], [b, 1]], \quad
        N Cov \epsilon = [[E \phi^4 / V^2, E \phi^2 \phi'^2 / VD], [., 3 E \phi'^4 / D^2]] - 1,

    and means move by -Var/2 and by the curvatures of log V and log D. relu: variance 5/N, mean -5/2N per
    layer. Orthogonal weights keep |g| and |h|, which takes away what epsilon has along them. The gradient
    from above has one component that is not fresh, that along y: (z . delta)^2 = (1 + rho) q |delta|^2,
    passed down by rho' = E z^2 phi'^2 / D - 1 + rho a^2 V / (q D). Holds while ``indirect`` is small, so not
    where lengths are unstable.

    Args:
        moments: Of every layer, see `layer_moments`.
        width: Units N of every layer.
        orthogonal: Whether weights are Haar orthogonal and not independent.
    """
    m, depth = moments, len(moments["log_q"])
    mean, cov, rho = np.zeros((depth, 2)), np.zeros((depth, 2, 2)), np.zeros((depth + 1, depth))
    noise = m["noise"] - 2 * orthogonal * (m["slope"][:, :, None] * m["slope"][:, None] + np.diag([0, 1]))
    for i in range(depth - 1):
        slope, second, var_q = m["slope"][i], m["second"][i], cov[i, 0, 0]
        a = np.array([[slope[0], 0], [slope[1], 1]])
        mean[i + 1] = a @ mean[i] + var_q * (second + slope * (1 - slope)) / 2 - orthogonal * second / width
        mean[i + 1, 0] -= noise[i, 0, 0] / (2 * width)
        cov[i + 1] = a @ cov[i] @ a.T + noise[i] / width
    for i in reversed(range(depth)):
        rho[i] = np.where(np.arange(depth) >= i, m["radial"][i] + rho[i + 1] * m["radial_slope"][i], 0)
    indirect = mean[:, 1] + (1 + m["noise"][:, 0, 1] - orthogonal) @ rho[1:] / width
    direct = np.cumsum(np.append(0, -noise[:-1, 1, 1] / (2 * width)))
    log_std = m["log_std"] + m["log_std_slope"] * mean[:, 0]
    return FiniteWidth(m["log_q"] + mean[:, 0], log_std, direct + indirect, indirect, cov[:, 1, 1])


def layer_moments(phi: Activation, sigma_w: Array, depth: int) -> dict[str, Array]:
    """Expectations in every layer; derivatives in log q by Hermite polynomials, so that kinks do no harm."""

    def layer(length: Array) -> dict[str, Array]:
        q = jnp.clip(length, 1e-60, 1e60)  # beyond, phi has reached its limit

        def integrand(x: Array) -> Array:
            y, s = phi(x), x**2 / q
            f, d, he_2, he_4 = y**2, derivative(phi.function, x) ** 2, (s - 1) / 2, (s**2 - 6 * s + 3) / 4
            squares = f, d, f * f, f * d, f * d, 3 * d * d, f * he_2, d * he_2, f * he_4, d * he_4
            return jnp.stack([*squares, s * d, y, y * he_2], -1)

        values = expectation(integrand, q, phi.kinks)
        mean, noise, slope, second, (radial, y, y_slope) = jnp.split(values, [2, 6, 8, 10])
        safe = jnp.where(mean > 0, mean, 1)
        variance = mean[0] - y**2
        return {
            "log_q": jnp.log(length),
            "log_chi": jnp.log(sigma_w**2 * mean[1]),
            "noise": jnp.where(jnp.outer(mean, mean) > 0, noise.reshape(2, 2) / jnp.outer(safe, safe) - 1, 0),
            "slope": slope / safe,
            "second": second / safe,
            "radial": jnp.where(mean[1] > 0, radial / safe[1] - 1, 0),
            "radial_slope": slope[0] ** 2 / (safe[0] * safe[1] * q),
            "log_std": (jnp.log(variance) + jnp.log(length) - jnp.log(q)) / 2,
            "log_std_slope": (slope[0] - 2 * y * y_slope) / (2 * variance),
        }

    return jax.vmap(layer)(meanfield.length_trajectory(phi, sigma_w, 0.0, 1.0, depth))


LARGEST_INDIRECT = 0.5  # nat: beyond it the expansion in 1/N says nothing
EXACT = {"relu": finitewidth.log_gain, "linear": finitewidth.linear_log_gain}


def theory(settings: Settings) -> xr.Dataset:
    """Wide profiles, and totals at this width; nothing for the identity, which mixes no units."""
    width, depth = settings.width, max(settings.depth)
    free = settings.weight_std * math.sqrt(width)
    sigma_w = np.array([scheme(name).effective_sigma_w(width, width, free) for name in settings.scheme])
    found = []
    for name in settings.activation:
        moments = jax.jit(jax.vmap(partial(layer_moments, activation(name), depth=depth)))(sigma_w)
        per_scheme = [{k: np.asarray(v[i]) for k, v in moments.items()} for i in range(len(sigma_w))]
        found.append(
            [_predict(name, *pair, settings) for pair in zip(settings.scheme, per_scheme, strict=True)]
        )
    dims = {"log_q": ("layer",), "log_std": ("layer",), "decades": ("depth", "layer")}
    variables = {
        k: (
            ("activation", "scheme", *dims.get(k.removesuffix("_predicted"), ("depth",))),
            np.array([[predictions[k] for predictions in row] for row in found]),
        )
        for k in found[0][0]
    }
    labels = grid(settings).labels()
    return xr.Dataset(variables, {k: labels[k] for k in ("activation", "scheme", "depth", "layer")})


def _predict(name: str, scheme: str, moments: Mapping[str, np.ndarray], settings: Settings) -> dict[str, Any]:
    """Predictions for one activation and one scheme."""
    orthogonal, depths = "orthogonal" in scheme, np.array(settings.depth)
    with np.errstate(over="ignore", invalid="ignore"):
        law = finite_width(moments, settings.width, orthogonal)
        below = np.append(0, np.cumsum(moments["log_chi"][:-1]))  # log of the wide gain of the layers below
        decades = TO_DECADES * (below[depths - 1][:, None] - below)
    layer = np.arange(1, len(below) + 1)
    decades = np.select([layer < depths[:, None], layer == depths[:, None]], [decades, 0.0], np.nan)
    decades = np.where((layer < depths[:, None]) & np.isnan(decades), -np.inf, decades)
    shift, indirect, variance = (a[depths - 1] for a in (law.shift, law.indirect, law.variance))
    next_order = abs(indirect) / 2 + abs(shift - indirect) / 20
    if name in EXACT and not orthogonal:
        shift, variance = np.array([EXACT[name]((settings.width,) * d) for d in settings.depth]).T
        next_order = 0 * shift
    shift = np.where(abs(indirect) > LARGEST_INDIRECT, np.nan, shift)
    answer = {
        "log_q_predicted": law.log_q,
        "log_std_predicted": law.log_std,
        "decades_predicted": decades,
        "total_decades_predicted": decades[:, 0] + TO_DECADES * shift,
        "total_decades_spread": TO_DECADES * np.sqrt(np.maximum(variance, 0)),
        "total_decades_next_order": TO_DECADES * next_order,
    }
    return {k: v * np.nan for k, v in answer.items()} if scheme == "identity" else answer


MEAN_FIELD = "Schoenholz et al. (arXiv 1611.01232), with the 1/N terms of `finite_width`"
TOLERANCE = "half of the indirect 1/N terms, 5% of the direct ones, five standard errors of predicted spread"
ROUNDING = 1e-3  # decades


class Case(NamedTuple):
    """Claims answered by the gradient that one pair of activation and scheme loses."""

    claims: tuple[str, ...]
    activation: str
    scheme: str
    claim: Standing
    statement: str
    correction: str = ""


CASES = (
    Case(
        ("A10", "C20"), "sigmoid", "glorot_uniform", "right after repair",
        "A sigmoid network with Xavier weights loses 0.6 decades per layer towards the input",
        "Lower layers get smaller gradients while sigma_w is below 10.15; above, they get larger ones.",
    ),
    Case(
        ("A13",), "sigmoid", "normal_001", "right after repair",
        "Sigmoids whose inputs all lie near zero, where the slope is largest, lose most",
        "At zero the factor per layer is sigma_w / 4: being near zero helps only from sigma_w = 4 on.",
    ),
    Case(
        ("A14",), "tanh", "glorot_uniform", "right after repair",
        "A tanh network with Xavier weights, sigma_w = 1, loses no more than two decades",
        "tanh has slope 1 at zero: at sigma_w = 1 it loses a power of depth, the sigmoid 0.236^L.",
    ),
    Case(
        ("B3", "C20"), "relu", "glorot_uniform", "wrong",
        "Active relu units have slope 1, and with Xavier weights gradients still fall by sqrt(2) per layer",
        "The slope is one factor of two; relu keeps the mean of |delta|^2 at sigma_w^2 = 2 only.",
    ),
    Case(
        ("B3", "C19"), "linear", "gaussian", "wrong",
        "With slope exactly 1 everywhere, and unscaled Gaussian weights, gradients grow by sigma_w per layer",
        "A product of weight matrices remains, and it vanishes or explodes by itself.",
    ),
    Case(
        ("C1", "C11"), "tanh", "normal_001", "right after repair",
        "tanh with weights N(0, 0.01^2) loses a factor of sigma_w = 0.01 sqrt(N) per layer",
        "N(0, 0.01^2) suits one or two layers; deep networks need sigma_w = 1 (tanh) or sqrt(2) (relu).",
    ),
    Case(
        ("C1", "C19"), "relu", "gaussian", "right",
        "relu with too large weights explodes by sigma_w / sqrt(2) per layer",
    ),
    Case(
        ("C2", "C12"), "linear", "glorot_uniform", "right",
        "The Xavier weights that starve relu and sigmoid keep the gradient of a linear network",
    ),
    Case(
        ("C13", "A9"), "relu", "he_normal", "right after repair",
        "He weights keep relu's gradient though half of its slopes are zero; its log drifts by -5/4 (L-1)/N",
        "He keeps the mean of |delta|^2; its log drifts down. Single flat nodes do not block the others.",
    ),
    Case(
        ("A9",), "binary_step", "he_normal", "right after repair",
        "A layer that is flat in every unit stops the gradient completely",
        "It takes the whole layer: half of relu's units are flat and its gradient passes.",
    ),
)  # fmt: skip

# Activation, scheme, claims, standing, correction.
PICTURES: tuple[tuple[str, str, tuple[str, ...], Standing, str], ...] = (
    ("tanh", "normal_001", ("C11",), "right after repair", "The spread falls by 0.01 sqrt(N) per layer."),
    ("tanh", "glorot_uniform", ("C12",), "right after repair", "It falls slowly, as 1 / sqrt(2 l)."),
    ("relu", "glorot_uniform", ("C12",), "right after repair", "With relu it falls by sqrt(2) per layer."),
    ("relu", "he_normal", ("C13",), "right", ""),
    ("tanh", "gaussian", ("C19",), "right", ""),
)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """All pairs at once, then claim by claim; what was not measured is left out."""
    special = (_relu_spread, _smallest_layer, _relu_mean, _paradox)
    found = [_all_pairs(result), *(_case(result, case) for case in CASES)]
    found += [_activity_spread(result, *row) for row in PICTURES] + [judged(result) for judged in special]
    return [verdict for verdict in found if verdict is not None] + [_count_schemes()]


def _pair(result: xr.Dataset, activation: str, scheme: str) -> xr.Dataset | None:
    known = activation in result["activation"] and scheme in result["scheme"]
    return result.sel(activation=activation, scheme=scheme) if known else None


def _deviation(values: xr.DataArray) -> xr.DataArray:
    """Standard deviation over networks; NaN where one of them lost its gradient."""
    return values.where(np.isfinite(values.values)).std("seed", ddof=1, skipna=False)


def _standard_error(values: xr.DataArray) -> xr.DataArray:
    return _deviation(values) / math.sqrt(values.sizes["seed"])


def _totals(result: xr.Dataset) -> dict[str, Any]:
    """Measured and predicted totals with tolerances, flat, without what was lost or is not predicted."""
    measured, predicted = result["total_decades"], result["total_decades_predicted"]
    mean = measured.mean("seed", skipna=False)
    error = _standard_error(measured).fillna(0)
    kept = (mean.notnull() & predicted.notnull()).transpose(*mean.dims).values
    factor = sampling_factor(max(1, int(kept.sum()))) / math.sqrt(measured.sizes["seed"])
    tolerance = result["total_decades_next_order"] + factor * result["total_decades_spread"] + ROUNDING
    columns = {"measured": mean, "predicted": predicted, "tolerance": tolerance, "uncertainty": error}
    return {k: v.broadcast_like(mean).transpose(*mean.dims).values[kept] for k, v in columns.items()}


def _all_pairs(result: xr.Dataset) -> Verdict | None:
    totals = _totals(result)
    what = (
        "log10 |delta^1| / |delta^L| of every activation, scheme, input and depth within reach of 1/N terms"
    )
    if totals["measured"].size == 0:
        return None
    return judge(["C1", "C2", "C20"], what, MEAN_FIELD, **totals, tolerance_from=TOLERANCE)


def _case(result: xr.Dataset, case: Case) -> Verdict | None:
    """The deepest network whose signal survived and whose total is predicted."""
    if (pair := _pair(result, case.activation, case.scheme)) is None:
        return None
    for depth in sorted(result["depth"].values, reverse=True):
        totals = _totals(pair.sel(depth=depth))
        if totals["measured"].size == result.sizes["input"]:
            return judge(
                case.claims, f"{case.statement}: log10 |delta^1| / |delta^{depth}|", MEAN_FIELD, **totals,
                tolerance_from=TOLERANCE, claim=case.claim, correction=case.correction,
            )  # fmt: skip
    return None


def _spread(pair: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Log of the activities' standard deviation, first ten layers: mean and error over networks."""
    values = pair["log_std"].mean("input", skipna=False).sel(layer=slice(1, 10))
    return values.mean("seed", skipna=False), _standard_error(values)


def _activity_spread(
    result: xr.Dataset,
    activation: str,
    scheme: str,
    claims: tuple[str, ...],
    claim: Standing,
    correction: str,
) -> Verdict | None:
    if (pair := _pair(result, activation, scheme)) is None:
        return None
    mean, error = _spread(pair)
    factor = sampling_factor(mean.size, result.sizes["seed"])
    return judge(
        claims, f"Log of the spread of {activation} activities with {scheme}, first {mean.size} layers",
        "CS231n activation statistics; length map (arXiv 1606.05340) with its 1/N shift",
        measured=mean, predicted=pair["log_std_predicted"].sel(layer=mean["layer"]), uncertainty=error,
        tolerance=0.01 + factor * error, claim=claim, correction=correction,
        tolerance_from="1% for higher orders, five standard errors over networks",
    )  # fmt: skip


def _relu_spread(result: xr.Dataset) -> Verdict | None:
    if (pair := _pair(result, "relu", "he_normal")) is None:
        return None
    depth = int(result["depth"].max())
    pair = pair.sel(depth=depth)
    predicted = float(pair["total_decades_spread"])
    error = predicted / math.sqrt(2 * (result.sizes["seed"] - 1))
    return judge(
        ["B3", "C13"], f"Standard deviation over networks of log10 |delta^1| / |delta^{depth}|, He relu",
        "Hanin & Nica (arXiv 1812.05994), exact law", measured=_deviation(pair["total_decades"]),
        predicted=predicted, uncertainty=error, tolerance=sampling_factor(result.sizes["input"]) * error,
        tolerance_from="five standard errors of a standard deviation", claim="wrong",
        correction="Even at the critical scale log |delta|^2 walks at random, with a variance of 5 L/N.",
    )  # fmt: skip


def _smallest_layer(result: xr.Dataset) -> Verdict | None:
    if (pair := _pair(result, "sigmoid", "glorot_uniform")) is None:
        return None
    depth = int(result["depth"].min())
    smallest = pair["weight_decades"].sel(depth=depth, layer=slice(1, depth)).argmin("layer") + 1
    return judge(
        ["A15"], f"Which of {depth} Xavier sigmoid layers has the smallest weight gradient (mean)",
        "chain rule: the lowest layer has the longest product", measured=float(smallest.mean()), predicted=1,
        tolerance=0, tolerance_from="neighbouring layers differ by half a decade", claim="wrong",
        correction="The layers nearest the input get no gradient; the deepest get the most.",
    )  # fmt: skip


def _relu_mean(result: xr.Dataset) -> Verdict | None:
    if (pair := _pair(result, "relu", "he_normal")) is None:
        return None
    means = pair["relative_mean"].mean(["input", "layer"])
    error = float(_standard_error(means))
    width = json.loads(result.attrs["settings"])["width"]
    return judge(
        ["B12"], "Mean of relu's output over the rms of its input, 1 / sqrt(2 pi), in a He network",
        "Gaussian integral", measured=float(means.mean()), predicted=1 / math.sqrt(2 * math.pi),
        uncertainty=error,
        tolerance=1 / width + sampling_factor(1, result.sizes["seed"]) * error,
        tolerance_from="1/N for the fluctuating rms, five standard errors over networks",
    )  # fmt: skip


def _paradox(result: xr.Dataset) -> Verdict | None:
    if (pair := _pair(result, "relu", "glorot_uniform")) is None:
        return None
    depth = int(result["depth"].min())
    ratio = pair["weight_decades"].sel(depth=depth, layer=1)
    error = _standard_error(ratio)
    return judge(
        ["C12", "B3"], f"All {depth} layers of a Xavier relu network have equal weight gradients although "
        "activities and back-propagated gradients lose sqrt(2) per layer: log10 of first over last",
        "Glorot & Bengio (2010), equation 14: |dE/dW^l| = |delta^l| |y^(l-1)|", measured=ratio.mean("seed"),
        predicted=0.0, uncertainty=error,
        tolerance=sampling_factor(ratio.sizes["input"], result.sizes["seed"]) * error,
        tolerance_from="five standard errors over networks", claim="right after repair",
        correction="Equal weight gradients are no sign of health: the signal is lost all the same.",
    )  # fmt: skip


def _count_schemes() -> Verdict:
    public = (maker for name, maker in vars(jax.nn.initializers).items() if not name.startswith("_"))
    distinct = {id(maker) for maker in public if inspect.isfunction(maker)}
    return observe(
        ["C16"], "Distinct functions in jax.nn.initializers; aliases such as xavier and kaiming count once",
        f"jax {jax.__version__}", measured=len(distinct),
    )  # fmt: skip


SATURATED = 5  # decades where the colour scale of the table ends
PANELS = ("sigmoid", "tanh", "relu", "linear", "gelu", "selu")
DRAWN = ("normal_001", "uniform_standard", "glorot_uniform", "he_normal", "gaussian")  # one per sigma_w


def draw(result: xr.Dataset) -> dict[str, Figure]:
    """Every pair at one depth, gradient profiles, the two classical pictures, and the effect of the width."""
    drawn = {
        "decades": _pairs_table(result),
        "profiles": _profiles(result),
        "finite-width": _finite_width(result),
    }
    if _pair(result, "tanh", "glorot_uniform") is not None:
        drawn["glorot"] = _glorot(result)
    if any(_pair(result, *row[:2]) is not None for row in PICTURES):
        drawn["activities"] = _activities(result)
    return drawn


def _pairs_table(result: xr.Dataset) -> Figure:
    depth = int(sorted(result["depth"].values)[result.sizes["depth"] // 2])
    at_depth = result.sel(depth=depth)
    mean = at_depth["total_decades"].mean(["seed", "input"], skipna=False).transpose("activation", "scheme")
    wide = at_depth["decades_predicted"].sel(layer=1).transpose("activation", "scheme")
    text = np.vectorize(_cell)(mean.values, wide.values)
    figure, axes = figures.canvas(height=1.0 + 0.33 * result.sizes["activation"])
    sns.heatmap(
        np.clip(mean.values, -99, 99), ax=axes[0, 0], annot=text, fmt="", annot_kws={"size": 5.5},
        cmap=figures.DIVERGING, vmin=-SATURATED, vmax=SATURATED, linewidths=0.5,
        cbar_kws={"label": "decades", "extend": "both", "extendfrac": 0.02},
        yticklabels=list(mean["activation"].values),
        xticklabels=[str(name).replace("_", "\n") for name in mean["scheme"].values],
    )  # fmt: skip
    ratio = rf"$\log_{{10}} |\delta^1| / |\delta^{{{depth}}}|$"
    axes[0, 0].set(title=f"{ratio}: measured (infinitely wide); grey: the signal was lost", facecolor="0.85")
    axes[0, 0].grid(False)
    axes[0, 0].tick_params(length=0)
    axes[0, 0].tick_params("y", rotation=0)
    axes[0, 0].tick_params("x", rotation=0, labelsize=6)
    return figure


def _cell(mean: float, wide: float) -> str:
    def short(value: float) -> str:
        if np.isinf(value):
            return "none"
        return f"{value:+.0f}" if abs(value) >= 10 else f"{value:+.1f}"

    return short(mean) if np.isnan(wide) else f"{short(mean)}\n({short(wide)})"


def _profiles(result: xr.Dataset) -> Figure:
    names = [name for name in PANELS if name in result["activation"]] or list(result["activation"].values)[:1]
    schemes = [name for name in DRAWN if name in result["scheme"]] or list(result["scheme"].values)[:5]
    depth = int(result["depth"].max())
    figure, axes = figures.canvas(math.ceil(len(names) / 3), min(3, len(names)), height=2.4)
    for name, ax in zip(names, axes.flat, strict=False):
        for chosen, look in figures.series(schemes).items():
            pair = result.sel(activation=name, scheme=chosen, depth=depth)
            profile = pair["decades"].isel(input=0, layer=slice(0, None, max(1, depth // 8)))
            figures.theory(ax, pair["layer"], pair["decades_predicted"], look, linewidth=1.0)
            mean, spread = profile.mean("seed", skipna=False), _deviation(profile)
            figures.measured(ax, profile["layer"], mean, spread, look, label=chosen, markersize=3)
        ax.set_yscale("symlog", linthresh=1)
        ax.set(title=name, xlabel="layer l")
    for ax in axes[:, 0]:
        ax.set_ylabel(r"$\log_{10} |\delta^l| / |\delta^L|$")
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    figure.suptitle(
        f"Gradients in {depth} layers: infinitely wide (lines), networks (points: mean and spread)"
    )
    return figure


def _glorot(result: xr.Dataset) -> Figure:
    """Glorot & Bengio's figures 6 and 7, and what their equation 14 says about weight gradients."""
    plain = "uniform_standard" if "uniform_standard" in result["scheme"] else str(result["scheme"].values[0])
    figure, axes = figures.canvas(2, 3, height=2.2)
    depth = int(result["depth"].min())
    looks = figures.series([f"layer {n}" for n in result["histogram_layer"].values])
    for (left, middle, right), chosen in zip(axes, (plain, "glorot_uniform"), strict=True):
        pair = result.sel(activation="tanh", scheme=chosen, depth=depth, layer=slice(1, depth)).isel(input=0)
        for ax, name in ((left, "activity_histogram"), (middle, "gradient_histogram")):
            density = pair[name].mean("seed").transpose("histogram_layer", "bin") / (BINS[1] - BINS[0])
            for (label, look), one in zip(looks.items(), density, strict=True):
                figures.theory(ax, pair["bin"], one, look, label=label)
        left.set(
            xlim=(-1.15, 1.15), xlabel="activity y", ylabel="density", title=f"tanh, {chosen}: activities"
        )
        middle.set(xlim=(-2.9, 2.9), xlabel=rf"$\delta^l$ / rms $\delta^{{{depth}}}$", title="gradients")
        _norms(right, pair)
    axes[0, 0].legend(fontsize=6)
    axes[0, 2].legend()
    return figure


def _norms(ax: Axes, pair: xr.Dataset) -> None:
    signal, weight = figures.series(["signal", "weight"]).values()
    figures.theory(ax, pair["layer"], pair["decades_predicted"], signal)
    for name, label, look in (
        ("decades", r"$\delta^l$", signal),
        ("weight_decades", r"$\partial E / \partial W^l$", weight),
    ):
        values = pair[name]
        figures.measured(ax, pair["layer"], values.mean("seed"), _standard_error(values), look, label=label)
    ax.set(xlabel="layer l", ylabel="decades above layer L", title="norms")


def _activities(result: xr.Dataset) -> Figure:
    """The activation statistics of CS231n: spread per layer, and what the deepest histogram looks like."""
    pairs = [row[:2] for row in PICTURES if _pair(result, *row[:2]) is not None]
    figure, ((left, right),) = figures.canvas(1, 2, height=2.9)
    looks = figures.series([", ".join(pair) for pair in pairs])
    for (label, look), (name, chosen) in zip(looks.items(), pairs, strict=True):
        pair = result.sel(activation=name, scheme=chosen)
        mean, error = _spread(pair)
        predicted = pair["log_std_predicted"].sel(layer=mean["layer"])
        figures.theory(left, mean["layer"], np.exp(predicted), look)
        figures.measured(left, mean["layer"], np.exp(mean), np.exp(mean) * error, look, label=label)
        share = pair["activity_histogram"].isel(histogram_layer=-1, input=0).mean("seed")
        figures.theory(right, pair["bin"], share / (BINS[1] - BINS[0]), look)
    left.set(
        yscale="log", xlabel="layer l", ylabel="standard deviation of y", title="Spread of the activities"
    )
    left.legend()
    deepest = int(result["histogram_layer"][-1])
    right.set(yscale="log", xlim=(-1.3, 2.9), ylim=(1e-3, 30))
    right.set(xlabel="activity y", ylabel="density", title=f"Activities of layer {deepest}")
    return figure


def _finite_width(result: xr.Dataset) -> Figure:
    """What a finite width adds to the mean of the total, and its spread over networks."""
    figure, ((left, right),) = figures.canvas(1, 2, height=3.4)
    seeds = result.sizes["seed"]
    for name, look in figures.series(list(result["activation"].values)).items():
        one = result.sel(activation=name).isel(input=0)
        wide, predicted = one["decades_predicted"].sel(layer=1), one["total_decades_predicted"]
        mean = one["total_decades"].mean("seed", skipna=False)
        kept = np.isfinite((predicted + mean).values)
        shift, expected = (mean - wide).values[kept], (predicted - wide).values[kept]
        spread = _deviation(one["total_decades"]).values[kept]
        law = one["total_decades_spread"].values[kept]
        figures.measured(left, -expected, -shift, spread / math.sqrt(seeds), look, label=name)
        figures.measured(right, law, spread, spread / math.sqrt(2 * seeds), look)
    titles = "Decades below the infinitely wide network", "Standard deviation over networks"
    for ax, title in zip((left, right), titles, strict=True):
        ends = [0.0, 1.3 * ax.get_xlim()[1]]
        figures.theory(ax, ends, ends)
        ax.set_xscale("symlog", linthresh=0.1)
        ax.set_yscale("symlog", linthresh=0.1)
        ax.set(xlabel="predicted to first order in 1/N", ylabel="measured", title=title)
    figure.legend(loc="outside lower center", ncols=6)
    return figure


def table(result: xr.Dataset) -> pd.DataFrame:
    """Totals of every pair, input and depth: measured, predicted, and in the infinitely wide network."""
    measured = result["total_decades"]
    columns = {
        "decades": measured.mean("seed", skipna=False),
        "standard_error": _standard_error(measured),
        "decades_predicted": result["total_decades_predicted"],
        "decades_wide": result["decades_predicted"].sel(layer=1, drop=True),
        "spread": _deviation(measured),
        "spread_predicted": result["total_decades_spread"],
        "lost": (result["forward_lost_at"] > 0).mean("seed"),
    }
    return xr.Dataset(columns).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="layer-profiles",
    question="How many decades does a gradient lose, for each activation and initialization?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables=VARIABLES,
    theory=theory,
    verdicts=verdicts,
    figures=draw,
    table=table,
)
