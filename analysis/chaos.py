r"""Lyapunov exponents of wide random recurrent networks, as mean field and free probability predict them.

The network is a_t = W phi(a_{t-1}) + noise. Its weights, the same at every step, have variance g^2/N or are g
times an orthogonal matrix; every unit has independent Gaussian input of standard deviation ``noise`` at every
step. For N to infinity the pre-activations a are Gaussian, and their mean square q is the fixed point of the
length map of a feed-forward network with sigma_w = g and sigma_b = noise: input takes the place of biases.

The theory closes because correlations between different times decay. Where nothing moves (g < 1 without
input) one matrix acts again and again, and at any width its spectral radius decides
(`signalprop.analysis.ginibre.real_spectral_radius`).

References:
    H. Sompolinsky, A. Crisanti, H.-J. Sommers (1988), Physical Review Letters 61, 259: continuous time.
    L. Molgedey, J. Schuchhardt, H. Schuster (1992), Physical Review Letters 69, 3717: input against chaos.
    R. Engelken, F. Wolf, L. Abbott (arXiv 2006.02427): whole spectra, dimension and entropy.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, ArrayLike, Float

from signalprop.analysis import meanfield
from signalprop.analysis.compiled import compiled
from signalprop.analysis.gaussian import Elementwise, log_slope, nodes, resolvable
from signalprop.analysis.roots import first_crossing
from signalprop.analysis.smoothness import breaks_of

Weights = Literal["gaussian", "orthogonal"]
Scalar = Float[ArrayLike, ""]

LARGEST_SHIFT = 0.2  # nat per step of first order in 1/n; beyond it the next order, about its square, counts


@compiled("phi")
def mean_field_q(phi: Elementwise, g: Scalar, noise: Scalar = 0.0) -> Float[Array, ""]:
    """Mean square of the pre-activations, the root of q = g^2 E phi(sqrt(q) z)^2 + noise^2.

    Args:
        phi: Activation.
        g: Gain of the recurrent weights, at least 0.
        noise: Standard deviation of the input to a unit at one step, at least 0.

    Returns:
        q as it is reached from 1: 0 where the state dies, inf where it grows without bound. For tanh without
        noise it leaves 0 at g = 1 as g - 1.
    """
    return meanfield.length_fixed_point(phi, g, noise)[0]


@compiled("phi")
def mean_field_exponent(phi: Elementwise, g: Scalar, noise: Scalar = 0.0) -> Float[Array, ""]:
    r"""Largest exponent of a wide network, in nats per step.

    .. math:: \lambda_1 = \tfrac12 \log[g^2 E \phi'(\sqrt q z)^2]

    Exact for infinite width, Gaussian or orthogonal weights. Just above g = 1 it is (2/3) (g - 1)^2 for tanh
    without noise, in discrete time (in continuous time (g - 1)^2 / 2). Networks of 500 units lie below it by
    0.003 to 0.01. Where the state dies, at g < 1 without noise, it is log g, and a network of N units has the
    logarithm of its spectral radius instead. See also `finite_width_correction`.

    Args:
        phi: Activation.
        g: Gain of the recurrent weights, above 0.
        noise: Standard deviation of the input to a unit at one step, at least 0.
    """
    q = mean_field_q(phi, g, noise)
    return jnp.log(meanfield.chi_1(phi, q, g)) / 2


@compiled("phi", "weights")
def mean_field_spectrum(
    phi: Elementwise, x: Scalar, g: Scalar, q: Scalar, weights: Weights = "gaussian"
) -> Float[Array, ""]:
    r"""The exponent at the place x = i/N of the whole spectrum of a wide network, in nats per step.

    .. math:: \lambda(x) = \tfrac12 \log(g^2 x v), \qquad
        \text{orthogonal: } \tfrac12 \log\frac{g^2 x v}{1 - x}, \qquad E \frac{d}{d + v} = x

    with d = phi'(sqrt(q) z)^2: minus half the logarithm of the S transform, at -x, of the squared singular
    values of one step, as for a product of free matrices. For d = 1 it is Newman's (1/2) log(g^2 (1-x)). The
    integral over x is (1/2) (log g^2 - 1 + E log d) for Gaussian weights. Dimension and entropy per unit are
    `signalprop.analysis.lyapunov.kaplan_yorke` and ``entropy_bound`` of the places (i - 1/2) / M, over M.

    Of one network it holds to 0.01 to 0.04 at N = 200 where q is its own mean over time: networks differ in q
    by several percent, and exponents at x > 1/4 follow q closely.

    Args:
        phi: Activation.
        x: Place, from 0 (the largest exponent) to below 1.
        g: Gain of the recurrent weights, above 0.
        q: Mean square of the pre-activations, not below 0.
        weights: ``gaussian`` or ``orthogonal``.

    Returns:
        The exponent, with an error of 2e-3 of itself where most units saturate. It is -inf at and beyond the
        place where only slopes of 0 are left: x >= 1/2 for relu. So it is for a saturating activation without
        ``log_slope`` (`gaussian.log_slope`) at the share of the units whose slope the dtype cannot tell from
        0, x >= 0.48 for jnp.tanh at g = 30, where the true one is -92 at x = 0.9: back-propagation in this
        dtype has these zeros too, and loses as many directions.

    Raises:
        ValueError: If ``weights`` is neither.
    """
    _require_family(weights)
    dtype = jnp.result_type(0.0, x, g, q)
    x, g, q = (jnp.asarray(value, dtype) for value in (x, g, q))
    share, smallest, steepest = _share_above(phi, resolvable(q))
    # From d_min <= d <= d_max: d_min (1 - x) / x <= v <= d_max (1 - x) / x where no slope is 0.
    end = jnp.log1p(-x) - jnp.log(x)
    points = jnp.stack([smallest - 100, steepest + end + 1])
    log_v, found = first_crossing(lambda log_v: x - share(log_v), points, 0.0)
    orthogonal = -jnp.log1p(-x) if weights == "orthogonal" else 0.0
    inside = jnp.log(g) + (jnp.log(x) + log_v + orthogonal) / 2
    largest = jnp.log(meanfield.chi_1(phi, q, g)) / 2
    return jnp.where(x == 0, largest, jnp.where(found, inside, -jnp.inf))


def _share_above(phi: Elementwise, q: Array) -> tuple[Callable[[Array], Array], Array, Array]:
    """E d / (d + v) as a function of log v, and the smallest and largest log d that is not -inf.

    It is a sum over the nodes of the quadrature; where log d changes by more than 1 from one to the next, as
    at lengths at which most units saturate, each stands for its cell, on which log d is taken as linear.
    """
    x, shares = nodes(q, breaks_of(phi))
    eps = float(jnp.finfo(x.dtype).eps)
    ends = jnp.sqrt(q) * ndtri(jnp.clip(jnp.cumsum(shares)[:-1], eps, 1 - eps))
    ends = jnp.concatenate([x[:1], jnp.clip(ends, x[:-1], x[1:]), x[-1:]])
    inside = x + 0.999 * (jnp.stack([ends[:-1], ends[1:]]) - x)  # an end may be a kink
    log_d, (low, high) = 2 * log_slope(phi, x), 2 * log_slope(phi, inside)
    live, rise = log_d > -jnp.inf, high - low
    steep = jnp.isfinite(rise) & (jnp.abs(rise) > 1)
    rise = jnp.where(steep, rise, 1)

    def share(log_v: Array) -> Array:
        mean = (jax.nn.softplus(high - log_v) - jax.nn.softplus(low - log_v)) / rise
        return jnp.dot(shares, jnp.where(live, jnp.where(steep, mean, jax.nn.sigmoid(log_d - log_v)), 0))

    steepest = jnp.max(log_d)
    return share, jnp.min(jnp.where(live, log_d, steepest)), steepest


@compiled("phi")
def edge_of_chaos(phi: Elementwise, noise: Scalar = 0.0) -> Float[Array, ""]:
    """Gain at which the largest exponent passes 0: 1 for tanh without input, and more with it.

    It is the critical line of a feed-forward network with sigma_b = noise.

    Args:
        phi: Activation.
        noise: Standard deviation of the input to a unit at one step, at least 0.

    Returns:
        The gain; NaN if there is none.
    """
    return meanfield.critical_point(phi, noise).sigma_w


@compiled("phi")
def slope_variety(phi: Elementwise, q: Scalar) -> Float[Array, ""]:
    """Relative variance of the squared slopes, E phi'^4 / (E phi'^2)^2 - 1 at the mean square q."""
    return meanfield.derivative_moment(phi, q, 2) / meanfield.derivative_moment(phi, q) ** 2 - 1


@compiled("weights")
def finite_width_correction(variety: Scalar, n: Scalar, weights: Weights = "gaussian") -> Float[Array, ""]:
    r"""What a finite width adds to the largest exponent, in nats per step, to first order in 1/n.

    .. math:: -\frac{3 v + 2}{4 n}, \qquad \text{orthogonal: } -\frac{3 v}{4 (n + 2)}

    One step multiplies the squared length of a direction by a random factor whose relative variance is
    (3 v + 2) / n; the mean logarithm lies below the logarithm of the mean by half of that. At v = 0 it is
    that of Newman's exponent, -1/(2n). Derived here for weights and slopes that are drawn anew at every step;
    recurrent weights stay, so it holds where slopes vary strongly. In weak chaos networks differ in q; under
    weak input the spectral radius of a Gaussian matrix still shows.

    Args:
        variety: Relative variance v of the squared slopes, see `slope_variety`.
        n: Number of units.
        weights: ``gaussian`` or ``orthogonal``.

    Returns:
        The correction; NaN where its size is above `LARGEST_SHIFT`, 0.2 nat, below `least_width` units: there
        an expansion in 1/n says nothing.

    Raises:
        ValueError: If ``weights`` is neither.
    """
    _require_family(weights)
    variety, n = jnp.asarray(variety), jnp.asarray(n)
    found = -3 * variety / (4 * (n + 2)) if weights == "orthogonal" else -(3 * variety + 2) / (4 * n)
    return jnp.where(jnp.abs(found) <= LARGEST_SHIFT, found, jnp.nan)


def least_width(variety: Scalar, weights: Weights = "gaussian") -> Float[Array, ""]:
    """Units at which `finite_width_correction` has the size `LARGEST_SHIFT`; below them it is withheld.

    (3 v + 2) / (4 s) for Gaussian and 3 v / (4 s) - 2 for orthogonal weights, s = 0.2 nat.

    Args:
        variety: Relative variance v of the squared slopes.
        weights: ``gaussian`` or ``orthogonal``.

    Raises:
        ValueError: If ``weights`` is neither.
    """
    _require_family(weights)
    scaled = 3 * jnp.asarray(variety) / (4 * LARGEST_SHIFT)
    return scaled - 2 if weights == "orthogonal" else scaled + 1 / (2 * LARGEST_SHIFT)


def _require_family(weights: str) -> None:
    if weights not in ("gaussian", "orthogonal"):
        raise ValueError(f"weights must be 'gaussian' or 'orthogonal', got {weights!r}")
