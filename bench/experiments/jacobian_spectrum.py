r"""Which singular values has the Jacobian of a deep network, and does orthogonality save it?

Network: fully connected, square, at initialization, with Gaussian or orthogonal weights; its Jacobian is
J = D_L W_L ... D_1 W_1, D_l = diag phi'(z^l) at one random input of mean square 1. All activations and scales
share their draws. They are the cases that theory tells apart: linear (exactly solvable), relu (gates are
independent coins: solvable too), hard_tanh (gates that a small signal never closes), tanh (smooth, critical
at q* = 0), gelu (slopes above 1) and sigmoid (critical only at sigma_w = 10). The last two get the bias that
makes a length q* > 0 critical, since q* = 0 repels the one and does not exist for the other.

Measured: every singular value at many depths from one pass, exactly (stratified product in the log domain, so
nothing under- or overflows); the gain log |Ju|^2 of one fixed unit vector at every layer; the rank; and where
the same vector and its norm are lost in float32. Where the signal itself leaves its dtype, all is NaN.

Theory:

* mean of s^2: the product over layers of sigma_w^2 E phi'(sqrt(q^l) z)^2; chi_1^L at a fixed point.
* variance of s^2 over its squared mean: sum over layers of mu_2 / mu_1^2 - 1 - s_1, mu_k = E phi'^(2k), s_1 =
  -1 (Gaussian) or 0 (orthogonal), for L << N: Pennington, Schoenholz & Ganguli (arXiv 1711.04735).
* any L / N: second moments and the law of log |Ju|^2 where slopes are independent of the weights, as for
  linear and relu: Hanin & Nica (arXiv 1812.05994).
* deep linear Gaussian networks: Newman (1986). Dynamical isometry: Saxe, McClelland & Ganguli (arXiv
  1312.6120), figures 6 and 7.
"""

import itertools
import json
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats
from scipy.special import polygamma, psi

from signalprop.analysis import finitewidth, freeprob, meanfield, products, randommatrix
from signalprop.bench import figures as draw
from signalprop.bench.errors import InputError
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.verdict import Standing, Verdict, judge, sampling_factor
from signalprop.models.activations import ACTIVATIONS, Activation, activation
from signalprop.models.mlp import MLP, draw_layer
from signalprop.models.stream import Signal, rescale

Q_STAR = {"sigmoid": 46.0, "gelu": 8.0}  # lengths of stable critical points; the others have theirs at 0
WEIGHTS = ("gaussian", "orthogonal")
LN10 = float(np.log(10))
SUBNORMAL = 16.0  # nats of a square that subnormal float32 numbers add below the smallest normal one
HANIN = "Hanin & Nica (arXiv 1812.05994)"
NEWMAN = "Newman (1986), The distribution of Lyapunov exponents: exact results for random matrices"
SAXE = "Saxe, McClelland & Ganguli (arXiv 1312.6120)"
IF_DEPENDENT = "; size of the 1/N term where slopes depend on the weights"
PENNINGTON = "Pennington, Schoenholz & Ganguli (arXiv 1711.04735)"


@dataclass(frozen=True)
class Settings:
    """Settings of ``jacobian-spectrum``."""

    activation: tuple[str, ...] = ("linear", "relu", "hard_tanh", "tanh", "gelu", "sigmoid")
    """Activation functions."""
    weights: tuple[str, ...] = WEIGHTS
    """Weight families: gaussian, orthogonal."""
    multiple: tuple[float, ...] = (1.0,)
    """Weight scales, as multiples of the activation's critical sigma_w."""
    sigma_w: tuple[float, ...] = (0.5, 3.0)
    """Weight scales as they are."""
    width: int = 64
    """Units of the input and of every layer."""
    depth: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
    """Depths at which all singular values are found, increasing."""
    seeds: int = 8
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of weights and signals; the product of Jacobians is always kept in float64."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        for family in self.weights:
            if family not in WEIGHTS:
                raise InputError(f"weights: got {family!r}; write gaussian or orthogonal")
        require_scale("multiple", (*self.multiple, *self.sigma_w))
        require_count("width", [self.width], 2)
        require_count("depth", self.depth)
        require_count("seeds", [self.seeds])
        if list(self.depth) != sorted(set(self.depth)):
            raise InputError(f"depth: got {self.depth}; write increasing numbers")


SIZES = {
    "quick": Settings(width=32, depth=(1, 2, 4, 8, 16, 32, 64), seeds=16),
    "standard": Settings(),
    "full": Settings(width=128, multiple=(0.9, 1.0, 1.1), seeds=24),
}


def grid(settings: Settings) -> Grid:
    """One program: activations, weight families and scales share it and its draws."""
    multiple, absolute = settings.multiple, settings.sigma_w
    names = ["critical" if m == 1 else f"{m:g} critical" for m in multiple] + [f"{s:g}" for s in absolute]
    constants = {
        k: v for k, v in asdict(settings).items() if k not in ("multiple", "sigma_w", "seeds", "seed")
    }
    return Grid(
        static={},
        traced={
            "scale": {
                "multiple": [*multiple, *[0.0] * len(absolute)],
                "absolute": [*[0.0] * len(multiple), *absolute],
            }
        },
        seeds=settings.seeds,
        constants=constants | {"critical": critical_scales(settings.activation)},
        coords={
            "scale": names,
            "weights": settings.weights,
            "activation": settings.activation,
            "depth": settings.depth,
            "layer": range(1, settings.depth[-1] + 1),
            "index": range(1, settings.width + 1),
        },
    )


@cache
def critical_scales(names: tuple[str, ...]) -> tuple[tuple[float, float], ...]:
    """Critical sigma_w of each activation, with the sigma_b that keeps its length at the fixed point.

    Raises:
        InputError: If the activation has no critical point at the length 0.
    """

    def biased(index: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
        phi = chosen(names, index)
        sigma_w = meanfield.critical_sigma_w(phi, q)
        return sigma_w, q - meanfield.length_map(phi, q, sigma_w, 0.0)

    q_star = jnp.array([Q_STAR.get(name, 0.0) for name in names])
    found = np.array(jax.jit(jax.vmap(biased))(jnp.arange(len(names)), q_star)).T
    for name, (sigma_w, variance) in zip(names, found, strict=True):
        if not (np.isfinite(sigma_w) and variance > -1e-9):
            raise InputError(f"activation: {name} has no critical point at q = 0; leave it out")
    return tuple((float(sigma_w), float(np.sqrt(max(variance, 0.0)))) for sigma_w, variance in found)


def chosen(names: tuple[str, ...], index: jax.Array) -> Activation:
    """The activation with a traced index, so that all of them share one program."""
    phis = [activation(name) for name in names]
    kinks = tuple(sorted({kink for phi in phis for kink in phi.kinks}))
    return Activation("chosen", lambda x: jax.lax.switch(index, phis, x), kinks, np.nan)


VARIABLES = {
    "log_singular_values": Variable(
        ("weights", "activation", "depth", "index"),
        "log of the singular values of dy^l/dy^0; -inf beyond the rank",
        "nat",
    ),
    "log_mean_square": Variable(
        ("weights", "activation", "depth"), "log of the mean squared singular value", "nat"
    ),
    "relative_variance": Variable(
        ("weights", "activation", "depth"), "variance of s^2 over its squared mean"
    ),
    "rank": Variable(("weights", "activation", "depth"), "singular values that are not exactly zero"),
    "fewest_active": Variable(
        ("weights", "activation", "depth"), "fewest units with slope in any layer so far"
    ),
    "log_gain": Variable(("weights", "activation", "layer"), "log |J u|^2 of a fixed unit vector u", "nat"),
    "forward_lost_at": Variable(
        (
            "weights",
            "activation",
        ),
        "layer where the signal left the dtype's range, 0 if never",
    ),
    "norm_lost_at": Variable(
        (
            "weights",
            "activation",
        ),
        "layer where sqrt(sum (J u)^2) is lost in float32, 0 if never",
    ),
    "vector_lost_at": Variable(
        (
            "weights",
            "activation",
        ),
        "layer where J u itself is lost in float32, 0 if never",
    ),
}


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow the networks of both weight families and all activations, from the same draws."""
    critical, sigma_b = jnp.asarray(static["critical"], point["multiple"].dtype).T
    sigma_w = point["multiple"] * critical + point["absolute"]
    homogeneous = jnp.array([activation(name).homogeneous for name in static["activation"]])

    names, families = static["activation"], len(static["weights"])

    def one(pair: jax.Array) -> dict[str, jax.Array]:
        family, i = jnp.divmod(pair, len(names))
        return follow(key, family, chosen(names, i), homogeneous[i], sigma_w[i], sigma_b[i], static)

    measured = jax.vmap(one)(jnp.arange(families * len(names)))  # one axis: two would compile more slowly
    return {name: x.reshape(families, len(names), *x.shape[1:]) for name, x in measured.items()}


def follow(
    key: jax.Array,
    family: jax.Array,
    phi: Activation,
    homogeneous: jax.Array,
    sigma_w: jax.Array,
    sigma_b: jax.Array,
    static: Static,
) -> dict[str, jax.Array]:
    """Singular values, gain and losses of one network, from one pass."""
    width, dtype, depth = static["width"], static["dtype"], jnp.array(static["depth"])
    weight_key, input_key = jax.random.split(key)

    def step(state: Any, layer: jax.Array) -> Any:
        y, product, gain, plain = state
        draws = [
            draw_layer(weight_key, layer, width, width, w, sigma_w, sigma_b, dtype) for w in static["weights"]
        ]
        drawn = jax.tree.map(lambda *leaves: jnp.stack(leaves)[family], *draws)
        z = drawn(y)
        z = jnp.where(homogeneous, rescale(Signal(z, jnp.array(0))).mantissa, z)
        slopes = phi.derivative(z)
        factor = (drawn.kernel[...] * slopes).T.astype("float64")
        product = products.append(product, factor)
        gain = rescale(Signal(factor @ gain.mantissa, gain.exponent))
        plain = factor.astype("float32") @ plain
        unwanted = jnp.full(width, jnp.nan, "float64")
        spectrum = jax.lax.cond(jnp.any(layer == depth), products.finish, lambda _: unwanted, product)
        size = jnp.max(jnp.abs(z))
        lost = {
            "forward": ~jnp.isfinite(size) | (~homogeneous & (size < jnp.finfo(dtype).tiny)),
            "norm": _is_lost(jnp.sqrt(jnp.sum(plain * plain))),
            "vector": _is_lost(plain),
        }
        return (phi(z), product, gain, plain), (spectrum, jnp.sum(slopes != 0), 2 * gain.log_norm(), lost)

    x = jax.random.normal(input_key, (width,), dtype)
    u = jnp.zeros(width).at[0].set(1)
    state = (
        x * jnp.sqrt(width / jnp.sum(x * x)).astype(dtype),
        products.start(width, "float64"),
        Signal(u.astype("float64"), jnp.array(0)),
        u.astype("float32"),
    )
    layers = jnp.arange(1, static["depth"][-1] + 1)
    _, (spectra, active, log_gain, lost) = jax.lax.scan(step, state, layers)

    seen, at = jnp.cumsum(lost["forward"]) == 0, depth - 1
    return {
        **_statistics(jnp.where(seen[at, None], spectra[at], jnp.nan)),
        "fewest_active": jnp.where(seen, jax.lax.cummin(active), jnp.nan)[at],
        "log_gain": jnp.where(seen, log_gain, jnp.nan),
        **{f"{name}_lost_at": _first(flags) for name, flags in lost.items()},
    }


def _statistics(log_s: jax.Array) -> dict[str, jax.Array]:
    """Singular values at every depth, and what they amount to; NaN stays NaN."""
    log_mean, log_mean_fourth = (
        jax.nn.logsumexp(power * log_s, axis=1) - np.log(log_s.shape[1]) for power in (2, 4)
    )
    rank = jnp.where(jnp.isnan(log_mean), jnp.nan, jnp.sum(log_s > -jnp.inf, axis=1))
    return {
        "log_singular_values": log_s,
        "log_mean_square": log_mean,
        "relative_variance": jnp.exp(log_mean_fourth - 2 * log_mean) - 1,
        "rank": rank,
    }


def _is_lost(values: jax.Array) -> jax.Array:
    return ~(jnp.all(jnp.isfinite(values)) & jnp.any(values != 0))


def _first(flags: jax.Array) -> jax.Array:
    """Layer of the first flag, 0 if there is none."""
    return jnp.where(jnp.any(flags), jnp.argmax(flags) + 1, 0)


def theory(settings: Settings) -> xr.Dataset:
    """Moments of the spectrum at infinite and at finite width, laws of the gain and of the rank."""
    labels = grid(settings).labels()
    width, depth, layers = settings.width, np.array(settings.depth), settings.depth[-1]
    critical, sigma_b = np.array(critical_scales(settings.activation)).T
    sigma_w = critical[:, None] * labels["multiple"][1] + labels["absolute"][1]
    log_chi, ratio = layer_moments(settings.activation, sigma_w, sigma_b, layers)
    at = depth - 1
    ideal, finite, log_bias, gain, gain_variance = [], [], [], [], []
    for weights in settings.weights:
        log_square, kurtosis = finite_width_moments(ratio, width, weights)
        ideal.append(np.cumsum(ratio - 1 + (weights == "gaussian"), -1)[..., at])
        finite.append(kurtosis[..., at] - 1)
        log_bias.append(-log_square[..., at] / 2)
        laws = [gain_law(name, r, width, weights) for name, r in zip(settings.activation, ratio, strict=True)]
        gain.append(np.cumsum(log_chi + np.array([law[0] for law in laws]), -1))
        gain_variance.append(np.cumsum([law[1] for law in laws], -1))
    fewest = np.array([fewest_coins(width, int(k)) for k in depth])
    per_depth = ("weights", "activation", "scale", "depth")
    return xr.Dataset(
        {
            "sigma_w": (("activation", "scale"), sigma_w),
            "log_mean_square_predicted": (per_depth[1:], np.cumsum(log_chi, -1)[..., at]),
            "log_mean_square_bias": (per_depth, log_bias),
            "relative_variance_predicted": (per_depth, ideal),
            "relative_variance_at_width": (per_depth, finite),
            "log_gain_predicted": ((*per_depth[:3], "layer"), gain),
            "log_gain_variance": ((*per_depth[:3], "layer"), gain_variance),
            "rank_predicted": (("depth",), fewest[:, 0]),
            "rank_variance": (("depth",), fewest[:, 1]),
        },
        coords={k: v for k, v in labels.items() if k not in ("seed", "multiple", "absolute")},
    )


def layer_moments(
    names: tuple[str, ...], sigma_w: np.ndarray, sigma_b: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log of sigma_w^2 mu_1 and mu_2 / mu_1^2 of every layer, at its own length: (activation, scale, layer).

    Lengths outside 1e-24 to 1e24 are moved there, where slopes have reached their limits.
    """

    def moments(index: jax.Array, sigma_w: jax.Array, sigma_b: jax.Array) -> freeprob.Moments:
        phi = chosen(names, index)
        q = jnp.clip(meanfield.length_trajectory(phi, sigma_w, sigma_b, 1.0, depth), 1e-24, 1e24)
        return jax.vmap(lambda q: freeprob.moments(phi, sigma_w, q, 1, "orthogonal"))(q)

    over_scales = jax.vmap(moments, (None, 0, None))
    found = jax.jit(jax.vmap(over_scales))(jnp.arange(len(names)), jnp.asarray(sigma_w), jnp.asarray(sigma_b))
    return np.asarray(found.log_mean), 1 + np.asarray(found.relative_variance)


def finite_width_moments(ratio: np.ndarray, width: int, weights: str) -> tuple[np.ndarray, np.ndarray]:
    """Second moments of S = J J^T at every depth, for slopes independent of each other and of the weights.

    With a = E(tr S / N)^2 and b = E tr S^2 / N in units of (E tr S / N)^2, M = W S W^T, r = mu_2 / mu_1^2 and
    t = E sum M_ii^2 / N, a layer maps b to E tr M^2 / N + (r - 1) t and a to E(tr M / N)^2 + (r - 1) t / N.
    For constant r and Gaussian weights it is `finitewidth.spectral_moments`; orthogonal weights leave tr M
    and tr M^2 alone, and E M_ii^2 = (2 tr S^2 + (tr S)^2) / (N (N + 2)).

    Args:
        ratio: r of every layer, (..., depth).
        width: Units N.
        weights: gaussian or orthogonal.

    Returns:
        log a and b / a, both (..., depth).
    """
    log_a, b = np.zeros(ratio.shape[:-1]), np.ones(ratio.shape[:-1])  # b in units of a
    found = []
    for r in np.moveaxis(ratio, -1, 0):
        if weights == "gaussian":
            square, fourth, diagonal = 1 + 2 * b / width**2, 1 + (1 + 1 / width) * b, 1 + 2 * b / width
        else:
            square, fourth, diagonal = np.ones_like(b), b, (width + 2 * b) / (width + 2)
        growth = square + (r - 1) * diagonal / width
        b = (fourth + (r - 1) * diagonal) / growth
        log_a = log_a + np.log(growth)
        found.append((log_a, b))
    log_square, kurtosis = np.moveaxis(np.array(found), 0, -1)
    return log_square, kurtosis


def gain_law(name: str, ratio: np.ndarray, width: int, weights: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance that one layer adds to log |J u|^2, beside log chi_1: (scale, layer).

    Exact for linear and relu, whose slopes are 1 or independent coins. An orthogonal layer turns u to a
    random direction, of which n of N open gates pass Beta(n/2, (N - n)/2). For others it is the first order
    in 1/N, as if slopes were independent of the weights.
    """
    gaussian = weights == "gaussian"
    if name == "linear":
        law = finitewidth.linear_log_gain((width, width)) if gaussian else (0.0, 0.0)
    elif name == "relu":
        law = finitewidth.log_gain((width, width))
        if not gaussian:  # chi^2_n / chi^2_N is Beta(n/2, (N - n)/2) and independent of chi^2_N
            law = law[0] - float(psi(width / 2) - np.log(width / 2)), law[1] - float(polygamma(1, width / 2))
    else:
        variance = (3 * ratio - 1) / width if gaussian else 3 * (ratio - 1) / (width + 2)
        return -variance / 2, variance
    return np.full_like(ratio, law[0]), np.full_like(ratio, law[1])


def fewest_coins(width: int, layers: int) -> tuple[float, float]:
    """Mean and variance of the smallest of several Binomial(width, 1/2) numbers."""
    k = np.arange(1, width + 1)
    at_least = stats.binom.sf(k - 1, width, 0.5) ** layers
    mean = at_least.sum()
    return float(mean), float(((2 * k - 1) * at_least).sum() - mean**2)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the chain rule, growth, spread, isometry, rank, exponents and the loss in float32."""
    judged = [*_gradient(result), *_linear_isometry(result)]
    if result.sizes["seed"] < 3:
        return judged
    rest = (_growth, _random_walk, _moments, _isometry, _rank, _exponents, _float32)
    return judged + [verdict for group in rest for verdict in group(result)]


def _gradient(result: xr.Dataset) -> list[Verdict]:
    names = tuple(str(name) for name in result["activation"].values)
    sigma_w = jnp.asarray(result["sigma_w"].isel(scale=0).values)
    every = jax.jit(jax.vmap(partial(chain_rule_error, names)))
    errors = np.asarray(every(jnp.arange(len(names)), sigma_w))
    rounding = "rounding of 20 products in float64"
    same = partial(judge, measured=errors, predicted=0.0, tolerance=1e-10, tolerance_from=rounding)
    return [
        same(
            ["C3"],
            "dE/dy^l by autodiff is the product of the L - l layer Jacobians above and the gradient on top, "
            "for every l < L = 20: relative error",
            "chain rule",
        ),
        same(
            ["A19"],
            "Every factor in that product is a layer over the one below it: relative error against autodiff",
            "chain rule",
            claim="wrong",
            correction="dE/dw2 = dE/dy4 dy4/dy3 dy3/dy2 dy2/dw2: no factor is a layer over itself.",
        ),
    ]


def chain_rule_error(names: tuple[str, ...], index: jax.Array, sigma_w: jax.Array) -> jax.Array:
    """Largest relative difference over layers between dE/dy^l by autodiff and by products of D_l W_l."""
    width, depth = 16, 20
    keys = jax.random.split(jax.random.key(0), 3)
    widths, phi = (width,) * (depth + 1), chosen(names, index)
    network = MLP(widths, phi, "gaussian", sigma_w, key=keys[0], dtype=jnp.float64)
    x, top = (jax.random.normal(key, (width,), jnp.float64) for key in keys[1:])
    deltas = network.pre_activation_gradients(x, top)[0]
    by_autodiff = jnp.einsum("lij,lj->li", network.runs[0].kernel[...], deltas)
    _, by_product = jax.lax.scan(lambda g, a: (a.T @ g,) * 2, top, network.factors(x)[0], reverse=True)
    difference = jnp.linalg.norm(by_autodiff - by_product, axis=1)
    return jnp.max(difference / jnp.linalg.norm(by_product, axis=1))


def _linear_isometry(result: xr.Dataset) -> list[Verdict]:
    if not ("linear" in result["activation"] and "orthogonal" in result["weights"]):
        return []
    at = result.sel(activation="linear", weights="orthogonal")
    excess = np.abs(at["log_singular_values"] - at["depth"] * np.log(at["sigma_w"])).max()
    eps = float(np.finfo(json.loads(result.attrs["settings"])["dtype"]).eps)
    return [
        judge(
            ["C14"],
            "Linear orthogonal networks: every singular value is sigma_w^L; largest error of its logarithm",
            SAXE,
            measured=float(excess),
            predicted=0.0,
            tolerance=max(1e-9, 10 * eps * result.sizes["index"] * int(result["depth"][-1])),
            tolerance_from="accuracy of the product in the log domain, rounding of the weights",
            claim="right after repair",
            correction="A linear orthogonal network keeps all lengths exactly, but only at sigma_w = 1.",
        )
    ]


def _compare(
    claims: list[str],
    statement: str,
    source: str,
    samples: xr.DataArray,
    predicted: xr.DataArray,
    keep: xr.DataArray | bool = True,
    systematic: xr.DataArray | float = 0.0,
    *,
    variance: xr.DataArray | None = None,
    allowance: str = "",
    claim: Standing = "right after repair",
    correction: str = "",
) -> list[Verdict]:
    """Judge means over seeds at all points that are kept and not lost; nothing if there is none.

    The standard error is that of the samples, or exact where the ``variance`` of one network is known.
    """
    seeds = samples.sizes["seed"]
    whole = (abs(samples) < np.inf).all("seed") & keep
    samples = samples.where(whole)
    columns = {
        "measured": samples.mean("seed"),
        "error": np.sqrt((samples.var("seed", ddof=1) if variance is None else variance) / seeds),
        "predicted": predicted,
        "systematic": xr.zeros_like(predicted) + systematic,
    }
    rows = xr.Dataset(columns).where(whole).to_dataframe()[list(columns)].dropna()
    if rows.empty:
        return []
    factor = sampling_factor(len(rows), seeds if variance is None else None)
    verdict = judge(
        claims,
        statement,
        source,
        measured=rows["measured"],
        predicted=rows["predicted"],
        uncertainty=rows["error"],
        tolerance=factor * rows["error"] + rows["systematic"] + 1e-9,
        tolerance_from=f"five {'' if variance is None else 'exact '}standard errors over networks{allowance}",
        claim=claim,
        correction=correction,
    )
    return [verdict]


def _over_seeds(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean and standard error, without networks that are lost or, by a layer of closed gates, exactly 0."""
    finite = values.where(abs(values) < np.inf)
    return finite.mean("seed"), finite.std("seed", ddof=1) / np.sqrt(values.sizes["seed"])


def _exact(result: xr.Dataset) -> xr.DataArray:
    return result["activation"].isin(["linear", "relu"])


def _growth(result: xr.Dataset) -> list[Verdict]:
    """Growth of log |Ju|^2 per layer, to the largest depth at which no network has lost its signal."""
    at = result[["log_gain", "log_gain_predicted", "log_gain_variance"]].sel(layer=result["depth"].values)
    grown, predicted = at["log_gain"] / at["layer"], at["log_gain_predicted"] / at["layer"]
    correction = at["log_gain_variance"] / 2 / at["layer"]
    whole = grown.notnull().all("seed")
    deepest, exact = at["layer"] == at["layer"].where(whole).max("layer"), _exact(result)
    sigmoid = (result["activation"] == "sigmoid") & (result["weights"] == "orthogonal")
    explodes = "tanh" in result["activation"] and "3" in result["scale"]
    example = "; at sigma_w = 3 tanh explodes, with slopes below 1" if explodes else ""
    layers, scales = int(result["layer"][-1]), ", ".join(str(v) for v in result["scale"].values)
    return [
        *_compare(
            ["B3"],
            f"Slopes of 1 (linear) or 0 and 1 (relu), sigma_w = {scales}, {layers} layers: log |J u|^2 grows "
            "per layer by log sigma_w^2 or log sigma_w^2 / 2, less a term of order 1/N",
            f"exact law, {HANIN}",
            grown,
            predicted,
            deepest & exact,
            variance=2 * correction / at["layer"],
            claim="wrong",
            correction="Slopes of 1 leave the product of the weights, which vanishes or explodes.",
        ),
        *_compare(
            ["A20"],
            f"log |J u|^2 of every activation and weight family grows per layer by log chi_1, less a term "
            f"of order 1/N, over {layers} layers{example}",
            f"mean field (arXiv 1611.01232) with the first order in 1/N; exact laws, {HANIN}",
            grown,
            predicted,
            deepest,
            correction.where(~exact, 0.0),
            allowance=IF_DEPENDENT,
            correction="A layer's factor is slope times weights; what counts is their product's exponent.",
        ),
        *_compare(
            ["C14"],
            f"Orthogonal sigmoid networks vanish all the same, sigma_w = {scales} but for the critical one: "
            f"growth of log |J u|^2 per layer over {layers} layers",
            "mean field (arXiv 1611.01232)",
            grown,
            predicted,
            deepest & sigmoid & (result["multiple"] == 0),
            correction,
            allowance=IF_DEPENDENT,
            correction="Orthogonal weights do not change chi_1, which is 1 at sigma_w = 10 for sigmoid.",
        ),
    ]


def _random_walk(result: xr.Dataset) -> list[Verdict]:
    """Steps of log |Ju|^2, which are independent: all layers and seeds together."""
    rows, told = [], []
    for name, weights in itertools.product(("linear", "relu"), result["weights"].values):
        if name in result["activation"]:
            at = result.sel(activation=name, weights=weights).isel(scale=0)
            steps = np.diff(at["log_gain"].transpose("seed", "layer").values, axis=1, prepend=0.0)
            steps = steps[np.isfinite(steps)]
            variance, spread = float(at["log_gain_variance"][0]), float(steps.var(ddof=1))
            kurtosis = 3 + max(0.0, float(stats.kurtosis(steps))) if variance > 0 else 3.0
            rows.append((steps.mean(), float(at["log_gain_predicted"][0]), np.sqrt(variance / steps.size)))
            rows.append((spread, variance, variance * np.sqrt((kurtosis - 1) / steps.size)))
            told.append(f"{weights} {name} {spread * result.sizes['index']:.2f}/N")
    if not rows:
        return []
    measured, predicted, error = np.array(rows).T
    return [
        judge(
            ["B3"],
            "At criticality log |J u|^2 walks at random even where slopes are 1; mean and variance of a step "
            f"(measured variances: {', '.join(told)})",
            f"exact laws: chi-squared, and Beta for orthogonal weights; {HANIN}: about 5/N for relu",
            measured=measured,
            predicted=predicted,
            uncertainty=error,
            tolerance=sampling_factor(len(rows)) * error + 1e-9,
            tolerance_from="five standard errors over the layers of all networks",
            claim="wrong",
            correction="At sigma_w^2 = 2 the log of a relu gradient's square still has variance 5L/N.",
        )
    ]


def _moments(result: xr.Dataset) -> list[Verdict]:
    shallow = result["depth"] <= max(1, result.sizes["index"] // 16)
    bias, exact = result["log_mean_square_bias"], _exact(result)
    at_width, ideal = result["relative_variance_at_width"], result["relative_variance_predicted"]
    return [
        *_compare(
            ["A20"],
            "Log of the mean squared singular value, to depth N/16: the product over layers of "
            "sigma_w^2 E phi'(sqrt(q^l) z)^2 (and the bias of a logarithm)",
            PENNINGTON,
            result["log_mean_square"],
            result["log_mean_square_predicted"] + bias,
            shallow,
            abs(bias).where(~exact, 0.0),
            allowance=IF_DEPENDENT,
            correction="A layer's factor is chi_1: the mean square of its slopes times sigma_w^2.",
        ),
        *_compare(
            ["C14"],
            "Variance of s^2 over its squared mean, at criticality, to depth N/16: sum over layers of "
            "mu_2 / mu_1^2 - 1 - s_1, at width N; for relu L (orthogonal) and 2L (Gaussian)",
            PENNINGTON,
            result["relative_variance"],
            at_width,
            shallow & (result["scale"] == result["scale"][0]),
            abs(at_width - ideal).where(~exact, 0.0),
            allowance=IF_DEPENDENT,
            correction="Orthogonal weights only remove L from the variance of s^2: relu keeps L of 2L.",
        ),
    ]


def _isometry(result: xr.Dataset) -> list[Verdict]:
    """Odd saturating activations at criticality, where the signal shrinks and slopes tend to 1."""
    odd = result["activation"].isin(["tanh", "hard_tanh"]) & (result["scale"] == "critical")
    at_width, ideal = result["relative_variance_at_width"], result["relative_variance_predicted"]
    return _compare(
        ["C14"],
        "Orthogonal tanh and hard_tanh, sigma_w = 1: the variance of s^2 over its squared mean stays near 1 "
        f"to depth {int(result['depth'][-1])}, because the signal shrinks and slopes tend to 1",
        PENNINGTON,
        result["relative_variance"],
        at_width,
        odd & (result["weights"] == "orthogonal"),
        abs(at_width - ideal),
        allowance=IF_DEPENDENT,
        correction="Isometry in depth needs orthogonal weights, slope 1 at 0, and the critical sigma_w.",
    )


def _rank(result: xr.Dataset) -> list[Verdict]:
    if "relu" not in result["activation"]:
        return []
    relu = result.sel(activation="relu").isel(scale=0)
    exceptions = int((relu["rank"] != relu["fewest_active"]).sum())
    return _compare(
        ["C14"],
        "The rank of a relu Jacobian is the smallest number of active units in any layer, for both weight "
        f"families ({exceptions} exceptions): its mean is E min over layers of Binomial(N, 1/2)",
        f"independent gates, {HANIN}",
        relu["rank"],
        relu["rank_predicted"],
        variance=relu["rank_variance"],
        correction="More than half of a relu network's singular values are exactly 0, whatever its weights.",
    )


def _exponents(result: xr.Dataset) -> list[Verdict]:
    """Linear Gaussian networks; a finite depth shifts log s_i by at most as much as the largest."""
    if not ("linear" in result["activation"] and "gaussian" in result["weights"]):
        return []
    at = result.sel(activation="linear", weights="gaussian").isel(scale=0)
    n, depth, scale = result.sizes["index"], int(result["depth"][-1]), float(at["sigma_w"])
    newman = np.asarray(randommatrix.newman_exponents(n, scale / np.sqrt(n)))
    exponents = xr.DataArray(newman, dims="index", coords={"index": result["index"]})
    radius = mean_log_radius(result, min(depth, 50)) + np.log(scale)
    return [
        *_compare(
            ["C5"],
            f"The log of each singular value of {depth} Gaussian factors grows by an exponent of Newman's",
            NEWMAN,
            at["log_singular_values"].isel(depth=-1) / depth,
            exponents,
            systematic=float(psi(n / 2) - psi(0.5)) / 2 / depth,
            allowance="; largest shift by finite depth",
            correction="It is the product's singular values that spread, by exponents that the eigenvalues "
            "of its factors do not tell.",
        ),
        *_compare(
            ["C5", "A20"],
            f"Growth of log |J u| per linear Gaussian layer; the largest eigenvalues of the same layers "
            f"promise {radius:+.4f}, their largest singular values {np.log(2 * scale):+.2f}",
            NEWMAN,
            at["log_gain"].isel(layer=[-1]) / 2 / depth,
            exponents[0].drop_vars("index"),
            variance=at["log_gain_variance"].isel(layer=-1, drop=True) / (2 * depth) ** 2,
            correction="Eigenvalues of factors do not multiply; Lyapunov exponents of the product decide.",
        ),
    ]


def mean_log_radius(result: xr.Dataset, layers: int) -> float:
    """Mean log of the spectral radius of the first Gaussian layers of seed 0, at sigma_w = 1."""
    settings, n = json.loads(result.attrs["settings"]), result.sizes["index"]
    key, _ = jax.random.split(jax.random.fold_in(jax.random.key(settings["seed"]), np.uint32(0)))
    draw_kernel = jax.vmap(lambda layer: draw_layer(key, layer, n, n, dtype=settings["dtype"]).kernel[...])
    eigenvalues = np.linalg.eigvals(np.asarray(draw_kernel(jnp.arange(1, layers + 1))))
    return float(np.log(np.abs(eigenvalues).max(axis=1)).mean())


def _float32(result: xr.Dataset) -> list[Verdict]:
    """Where a sum of squares in float32 becomes 0 or inf; entries may be smaller than the norm by sqrt(N)."""
    tiny, top = (float(np.log(v)) for v in (np.finfo("float32").tiny, np.finfo("float32").max))
    walk, variance = result["log_gain_predicted"], result["log_gain_variance"].isel(layer=-1, drop=True)
    rate = walk.isel(layer=-1, drop=True) / walk.sizes["layer"]
    beyond = (walk > top) | (walk < tiny)
    predicted = (beyond.argmax("layer") + 1).where(beyond.any("layer"))
    deviation = np.sqrt(variance / walk.sizes["layer"] * predicted)
    below = (rate < 0) * (np.log(result.sizes["index"]) + SUBNORMAL)
    return _compare(
        ["C4"],
        "A float32 norm sqrt(sum g^2) of J u becomes 0 or inf where |J u|^2 leaves the range of float32, at "
        f"half the depth of the vector itself{_sigmoid_example(result)}; its logarithm never",
        "mean field and IEEE 754",
        result["norm_lost_at"].where(result["norm_lost_at"] > 0),
        predicted,
        abs(rate) > 0.25,
        2 + (below + deviation) / abs(rate),
        allowance="; first passage, spread of the walk, largest entry against the norm, subnormal numbers",
        claim="right",
    )


def _sigmoid_example(result: xr.Dataset) -> str:
    if not ("sigmoid" in result["activation"] and "0.5" in result["scale"]):
        return ""
    at = result.sel(activation="sigmoid", scale="0.5").isel(weights=0)
    norm, vector = (round(float(at[name].mean())) for name in ("norm_lost_at", "vector_lost_at"))
    return f" (sigmoid, sigma_w = 0.5: {norm} and {vector} layers)" if norm and vector else ""


def make_figures(result: xr.Dataset) -> dict[str, Figure]:
    """Singular values over depth, their mean square, their variance, and their densities."""
    return {
        "spectrum": _spectrum_figure(result),
        "mean_square": _mean_square_figure(result),
        "variance": _variance_figure(result),
        "density": _density_figure(result),
    }


def _spectrum_figure(result: xr.Dataset) -> Figure:
    """Every singular value as a line over depth: one panel for each activation and weight family."""
    names, families = result["activation"].values, result["weights"].values
    columns = min(3, len(names))
    figure, axes = draw.canvas(-(-len(names) // columns) * len(families), columns, height=1.75, sharex=True)
    n = result.sizes["index"]
    colours = mpl.colormaps[draw.SEQUENTIAL](np.linspace(0, 0.95, n))
    pairs = [(family, name) for family in families for name in names]
    for panel in axes.flat[len(pairs) :]:
        panel.set_axis_off()
    for panel, (family, name) in zip(axes.flat, pairs, strict=False):
        _spectrum_panel(panel, result.isel(scale=0).sel(activation=name, weights=family), colours)
        panel.set_title(f"{name}, {family}")
    for row in axes:
        row[0].set_ylabel(r"$\log_{10} s_i$")
    for panel in axes[-1]:
        panel.set_xlabel("depth $L$")
    mark: dict[str, Any] = {"color": "k", "marker": "o", "linestyle": "none", "markerfacecolor": "white"}
    handles = [
        Line2D([], [], color=colours[n // 3], linewidth=0.8, label="each singular value (median)"),
        Line2D([], [], label="root mean square", **mark),
        Line2D([], [], color="C3", label=r"theory, product of $\sqrt{\chi_1}$"),
        Line2D([], [], color="C1", linestyle="--", label="Newman (first, middle, last)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def _spectrum_panel(panel: Axes, one: xr.Dataset, colours: np.ndarray) -> None:
    depth, n = one["depth"].values, one.sizes["index"]
    with np.errstate(invalid="ignore"):
        median = np.median(one["log_singular_values"].transpose("seed", "index", "depth").values, 0) / LN10
    lines = [np.column_stack([depth, values])[np.isfinite(values)] for values in median]
    panel.add_collection(LineCollection(lines, colors=colours, linewidths=0.5, alpha=0.8, zorder=1))
    draw.theory(panel, depth, one["log_mean_square_predicted"] / 2 / LN10, {"color": "C3"}, linewidth=1.6)
    root = one["log_mean_square"] / 2 / LN10
    draw.measured(panel, depth, *_over_seeds(root), {"color": "k", "marker": "o"}, markersize=2.8)
    if one["activation"] == "linear" and one["weights"] == "gaussian":
        sigma = float(one["sigma_w"]) / np.sqrt(n)
        for exponent in np.asarray(randommatrix.newman_exponents(n, sigma))[[0, n // 2, n - 1]] / LN10:
            panel.plot(depth, exponent * depth, color="C1", linestyle="--", linewidth=1.1, zorder=3)
    silent = 1 - float(one["rank"].isel(depth=-1).mean()) / n
    if silent > 0:
        panel.text(0.03, 0.05, f"{silent:.0%} are exactly 0", transform=panel.transAxes, fontsize=7)
    panel.set_xscale("log", base=2)
    panel.set_yscale("symlog", linthresh=1.0)
    finite = median[np.isfinite(median)]
    panel.set_ylim(min(1.6 * finite.min(initial=0), -1.0), max(1.6 * finite.max(initial=0), 1.0))


def _mean_square_figure(result: xr.Dataset) -> Figure:
    """Hundreds of decades: one panel for each activation."""
    names = result["activation"].values
    columns = min(3, len(names))
    figure, axes = draw.canvas(-(-len(names) // columns), columns, height=2.1, sharex=True)
    depth = result["depth"].values
    looks = draw.series([str(scale) for scale in result["scale"].values])
    marks = dict(zip(WEIGHTS, ("o", "x"), strict=True))
    for panel, name in zip(axes.flat, names, strict=False):
        for scale, look in looks.items():
            one = result.sel(activation=name, scale=scale)
            draw.theory(panel, depth, one["log_mean_square_predicted"] / LN10, {"color": look["color"]})
            for family in result["weights"].values:
                mean = one["log_mean_square"].sel(weights=family).mean("seed", skipna=False) / LN10
                draw.measured(panel, depth, mean, None, {"color": look["color"], "marker": marks[family]})
        panel.set_title(str(name))
    for panel in axes.flat[len(names) :]:
        panel.set_axis_off()
    for panel in axes[-1]:
        panel.set_xlabel("depth $L$")
    for row in axes:
        row[0].set_ylabel(r"$\log_{10}$ of the mean of $s^2$")
    handles = [Line2D([], [], color=v["color"], label=rf"$\sigma_w$: {k}") for k, v in looks.items()]
    for family, mark in marks.items():
        kind: dict[str, Any] = {
            "color": "0.3",
            "marker": mark,
            "linestyle": "none",
            "markerfacecolor": "white",
        }
        handles.append(Line2D([], [], label=family, **kind))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _variance_figure(result: xr.Dataset) -> Figure:
    """Spread of the squared singular values for each weight family, and the random walk of one gradient."""
    families, at = result["weights"].values, result.isel(scale=0)
    figure, (axes,) = draw.canvas(1, len(families) + 1, height=3.2)
    depth, n = result["depth"].values, result.sizes["index"]
    looks = draw.series([str(name) for name in result["activation"].values])
    valid = depth <= n // 16
    for panel, family in zip(axes, families, strict=False):
        for name, look in looks.items():
            one, colour = at.sel(activation=name, weights=family), {"color": look["color"]}
            ideal = one["relative_variance_predicted"].values
            if ideal.max() > 1e-9:
                draw.theory(panel, depth[valid], ideal[valid], colour, linewidth=2.6)
                draw.theory(panel, depth, ideal, {**colour, "linestyle": ":"}, linewidth=0.9)
                draw.theory(panel, depth, one["relative_variance_at_width"], colour, linewidth=0.9)
                draw.measured(panel, depth, *_over_seeds(one["relative_variance"]), look, label=name)
        panel.axhline(n - 1, color="0.6", linewidth=0.8, zorder=0)
        panel.set(
            xscale="log", yscale="log", xlabel="depth $L$", ylim=(0.03, 6 * n), title=f"{family} weights"
        )
    axes[0].legend(loc="lower right")
    kinds: dict[str, tuple[Any, float]] = {
        "infinite width, valid": ("-", 2.6),
        "infinite width, beyond": (":", 0.9),
        "at this width": ("-", 0.9),
    }
    handles = [Line2D([], [], color="0.3", linestyle=v[0], linewidth=v[1], label=k) for k, v in kinds.items()]
    axes[len(families) - 1].legend(handles=handles, loc="lower right")
    axes[0].set_ylabel(r"variance of $s^2$ / mean$^2$")
    _walk_panel(axes[-1], at)
    return figure


def _walk_panel(panel: Axes, at: xr.Dataset) -> None:
    """Variance of log |Ju|^2 over all blocks of L layers, which are independent."""
    depth, layers = at["depth"].values, at.sizes["layer"]
    for label, look in draw.series(["linear, gaussian", "relu, gaussian", "relu, orthogonal"]).items():
        name, family = label.split(", ")
        if name in at["activation"] and family in at["weights"]:
            one = at.sel(activation=name, weights=family)
            walk = np.pad(one["log_gain"].transpose("seed", "layer").values, ((0, 0), (1, 0)))
            blocks = [np.diff(walk[:, :: int(k)][:, : layers // int(k) + 1], axis=1) for k in depth]
            variance = np.array([block.var(ddof=1) for block in blocks])
            error = [v * np.sqrt(2 / max(1, b.size - 1)) for v, b in zip(variance, blocks, strict=True)]
            draw.theory(panel, depth, one["log_gain_variance"].sel(layer=depth), look)
            draw.measured(panel, depth, variance, error, look, label=label)
    panel.plot(depth, 5 * depth / at.sizes["index"], color="0.5", linestyle=":", label="$5L/N$")
    panel.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel=r"variance of $\log |Ju|^2$")
    panel.set_title("a single gradient wanders")
    panel.legend(loc="upper left")


def _density_figure(result: xr.Dataset) -> Figure:
    """Densities of s over its root mean square at a few depths, all networks together."""
    names, families = result["activation"].values, result["weights"].values
    figure, axes = draw.canvas(len(families), len(names), height=1.9, sharex=True, sharey=True)
    depths = [d for d in (2, 8, 32, 128) if d in result["depth"].values] or [int(result["depth"][-1])]
    looks = dict(zip(depths, mpl.colormaps[draw.SEQUENTIAL](np.linspace(0, 0.85, len(depths))), strict=True))
    edges = np.arange(-3.1, 1.6, 0.2)  # with isometry, s = s_rms, in the middle of a bin
    for (family, name), panel in zip(itertools.product(families, names), axes.flat, strict=True):
        for depth, colour in looks.items():
            one = result.isel(scale=0).sel(activation=name, weights=family, depth=depth)
            s = ((one["log_singular_values"] - one["log_mean_square"] / 2) / LN10).values.ravel()
            density = np.histogram(s[np.isfinite(s)], edges)[0] / s.size / (edges[1] - edges[0])
            panel.stairs(density, edges, color=colour, label=f"$L$ = {depth}")
        panel.set_title(str(name))
    for row, family in zip(axes, families, strict=True):
        row[0].set(yscale="log", ylabel=f"{family}\ndensity")
        row[0].minorticks_off()
    for panel in axes[-1]:
        panel.set_xlabel(r"$\log_{10} s / s_{rms}$")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(depths))
    return figure


def table(result: xr.Dataset) -> pd.DataFrame:
    """Means over seeds with their standard errors, beside the predictions; sizes are in decades."""
    largest = result["log_singular_values"].isel(index=0, drop=True)
    measured = {
        "mean_square": result["log_mean_square"] / LN10,
        "largest": largest / LN10,
        "relative_variance": result["relative_variance"],
        "rank": result["rank"],
    }
    columns = {}
    for name, values in measured.items():
        columns[name], columns[f"{name}_error"] = _over_seeds(values)
    columns["mean_square_predicted"] = result["log_mean_square_predicted"] / LN10
    for name in ("relative_variance_predicted", "relative_variance_at_width", "sigma_w"):
        columns[name] = result[name]
    order = ["weights", "activation", "scale", "depth"]
    return xr.Dataset(columns).to_dataframe(order).reset_index()[[*order, *columns]]


EXPERIMENT = Experiment(
    name="jacobian-spectrum",
    question="Which singular values has the Jacobian of a deep network, and does orthogonality save it?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables=VARIABLES,
    theory=theory,
    verdicts=verdicts,
    figures=make_figures,
    table=table,
)
