"""Mean field of deep random networks: length and correlation maps, fixed points, depth scales, critical line.

Weights have variance sigma_w^2 / fan_in, biases variance sigma_b^2. A layer is z = W y + b, y = phi(z), and
q = mean z^2. Exact for infinite width; a network of width N departs by O(1/N) per layer. Sources: Poole et
al. (arXiv 1606.05340), Schoenholz et al. (arXiv 1611.01232). Functions are for one point; callers vmap. For
many points of `fixed_point` on a CPU, `jax.lax.map` is several times faster than `jax.vmap`.

Slopes use the classical derivative of phi, as back-propagation does: for a step function it is 0.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from signalprop.analysis.compiled import compiled
from signalprop.analysis.gaussian import (
    Elementwise,
    derivative,
    expectation,
    expectation_error,
    pair_expectation,
    pair_expectation_error,
    resolvable,
)
from signalprop.analysis.roots import first_crossing, newton
from signalprop.analysis.smoothness import breaks_of, jumps_of, pair_breaks_of

Scalar = Real[ArrayLike, ""]

LARGEST_ERROR = 1e-6
"""Estimated relative error of its averages up to which a fixed point counts as found; 1e-3 in float32."""


class FixedPoint(NamedTuple):
    """Fixed point of the maps and how it is approached; see `fixed_point`."""

    q_star: Float[Array, "..."]
    c_star: Float[Array, "..."]
    chi_1: Float[Array, "..."]
    chi_q: Float[Array, "..."]
    xi_q: Float[Array, "..."]
    xi_c: Float[Array, "..."]
    xi_grad: Float[Array, "..."]
    stable: Bool[Array, "..."]
    error: Float[Array, "..."]
    converged: Bool[Array, "..."]


class CriticalPoint(NamedTuple):
    """Point of the critical line chi_1 = 1; NaN where `exists` is false. Its `error`: `quadrature_error`."""

    sigma_w: Float[Array, "..."]
    sigma_b: Float[Array, "..."]
    q_star: Float[Array, "..."]
    chi_q: Float[Array, "..."]
    error: Float[Array, "..."]
    exists: Bool[Array, "..."]


@compiled("phi")
def length_map(phi: Elementwise, q: Scalar, sigma_w: Scalar, sigma_b: Scalar) -> Float[Array, ""]:
    r"""Length of the next layer: sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2 (arXiv 1606.05340, eq. 3).

    Args:
        phi: Activation.
        q: Mean squared pre-activation, not below zero.
        sigma_w: Weight scale.
        sigma_b: Standard deviation of the biases.

    Returns:
        The length; NaN for negative q, inf or NaN where phi(z)^2 leaves the dtype's range.
    """
    q, sigma_w, sigma_b = _floats(q, sigma_w, sigma_b)
    return sigma_w**2 * expectation(lambda x: phi(x) ** 2, q, breaks_of(phi)) + sigma_b**2


@compiled("phi")
def correlation_map(
    phi: Elementwise, c: Scalar, q_a: Scalar, q_b: Scalar, sigma_w: Scalar, sigma_b: Scalar
) -> Float[Array, ""]:
    r"""Correlation in the next layer of two inputs, normalized by their next lengths.

    .. math:: [\sigma_w^2 E \phi(u_a) \phi(u_b) + \sigma_b^2] / \sqrt{q_a' q_b'}

    At the fixed point, q_a = q_b = q*, it is the C map of arXiv 1606.05340, eq. 5. The product is taken from
    E (phi(u_a) - phi(u_b))^2, so that 1 - c keeps its relative accuracy for inputs that are nearly alike.

    Args:
        phi: Activation.
        c: Cosine of the pre-activations, from -1 to 1.
        q_a: Length of the first input.
        q_b: Length of the second input.
        sigma_w: Weight scale.
        sigma_b: Standard deviation of the biases.

    Returns:
        The correlation; NaN where a next length is 0.
    """
    c, q_a, q_b, sigma_w, sigma_b = _floats(c, q_a, q_b, sigma_w, sigma_b)
    distance = pair_expectation(_squared_difference(phi), q_a, q_b, c, *pair_breaks_of(phi))
    next_a, next_b = (length_map(phi, q, sigma_w, sigma_b) for q in (q_a, q_b))
    covariance = (next_a + next_b - sigma_w**2 * distance) / 2
    return jnp.clip(covariance / jnp.sqrt(next_a * next_b), -1, 1)


@compiled("phi")
def correlation_slope(phi: Elementwise, c: Scalar, q: Scalar, sigma_w: Scalar) -> Float[Array, ""]:
    """Slope of the correlation map at lengths q: sigma_w^2 E phi'(u_a) phi'(u_b); at c = 1 it is chi_1.

    Where phi itself jumps it is the slope of the map, to 1e-6, in which back-propagation has no part; inf at
    c = 1.
    """
    c, q, sigma_w = _floats(c, q, sigma_w)
    length, breaks = resolvable(q), pair_breaks_of(phi)
    if jumps_of(phi):

        def distance(c: Array) -> Array:
            return pair_expectation(_squared_difference(phi), length, length, c, *breaks)

        h = 0.02 * (1 - jnp.abs(c))
        far, near = (distance(c + k * h) - distance(c - k * h) for k in (2, 1))
        return sigma_w**2 / (2 * length) * jnp.where(h > 0, (far - 8 * near) / (12 * h), jnp.inf)
    product = lambda a, b: derivative(phi, a) * derivative(phi, b)  # noqa: E731
    return sigma_w**2 * pair_expectation(product, length, length, c, *breaks)


@compiled("phi", "order")
def derivative_moment(phi: Elementwise, q: Scalar, order: int = 1) -> Float[Array, ""]:
    """Moment mu_k = E phi'(sqrt(q) z)^(2k), with k the order.

    Beyond the dtype's resolution of phi' it is the limit of small or large q.
    """
    (q,) = _floats(q)
    return expectation(lambda x: derivative(phi, x) ** (2 * order), resolvable(q), breaks_of(phi))


@compiled("phi")
def chi_1(phi: Elementwise, q: Scalar, sigma_w: Scalar) -> Float[Array, ""]:
    """Growth factor of a squared gradient per layer, sigma_w^2 E phi'(sqrt(q) z)^2 (arXiv 1611.01232, eq. 5).

    Also the slope of the correlation map at c = 1. At q = 0 it is the limit of small q.
    """
    q, sigma_w = _floats(q, sigma_w)
    return sigma_w**2 * derivative_moment(phi, q)


@compiled("phi")
def chi_q(phi: Elementwise, q: Scalar, sigma_w: Scalar) -> Float[Array, ""]:
    r"""Slope of the length map, in Stein's form sigma_w^2 E[z phi(u) phi'(u)] / sqrt(q) with u = sqrt(q) z.

    It needs no second derivative and so holds for kinked activations, where E[phi'^2 + phi phi''] without the
    delta functions of phi'' does not. At q = 0 it is the limit of small q.
    """
    q, sigma_w = _floats(q, sigma_w)
    q = resolvable(q)
    return sigma_w**2 * expectation(lambda x: x * phi(x) * derivative(phi, x), q, breaks_of(phi)) / q


@compiled("phi")
def quadrature_error(phi: Elementwise, q: Scalar) -> Float[Array, ""]:
    """Estimated relative error of E phi^2, E phi'^2 and E u phi phi' at the length q, the largest of them."""
    (q,) = _floats(q)

    def integrands(x: Array) -> Array:
        value, slope = jax.jvp(phi, (x,), (jnp.ones_like(x),))
        return jnp.stack([value**2, slope**2, x * value * slope], -1)

    return jnp.max(expectation_error(integrands, resolvable(q), breaks_of(phi)))


def depth_scale(chi: Scalar) -> Float[Array, ""]:
    """Number of layers -1 / log(abs(chi)) over which a deviation changes by e.

    Negative for growth; inf where chi is 1 to rounding. A deviation whose chi is negative alternates.
    """
    chi = jnp.abs(*_floats(chi))
    marginal = jnp.abs(chi - 1) <= 16 * float(np.finfo(chi.dtype).eps)
    return jnp.where(marginal, jnp.inf, -1 / jnp.log(jnp.where(marginal, 0.5, chi)))


def depth_scales(
    phi: Elementwise, q: Scalar, c: Scalar, sigma_w: Scalar, error: Scalar = 0.0
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Depth scales xi_q, xi_c, xi_grad of length, correlation and gradient at the fixed point (q, c).

    xi_q = -1/log chi_q, xi_c = -1/log(correlation_slope), xi_grad = -1/log chi_1, in layers (arXiv
    1611.01232). xi_grad is negative where gradients grow; xi_c = xi_grad where c = 1 only.

    A slope that is lost in the error of its average counts as 0, and so does its depth scale, as where a map
    ends in one step: the slope of sin(10 x) at c* = 0 and sigma_w = 1 is 2e-20, of which no digit is left.
    The true depth scale is at most -1/log(error), of an error in terms of the mean size of what is averaged:
    0.043 layers in float64 (1e-10), 0.09 in float32 (1e-5).

    Args:
        phi: Activation.
        q: Fixed point of the lengths.
        c: Fixed point of the correlation.
        sigma_w: Weight scale.
        error: Relative error of the averages, as of `quadrature_error`, where it is larger than these.
    """
    q, c, sigma_w, error = _floats(q, c, sigma_w, error)
    error = jnp.maximum(error, max(1e-10, 100 * float(np.finfo(q.dtype).eps)))
    gradient, length = chi_1(phi, q, sigma_w), resolvable(q)
    size = expectation(lambda x: jnp.abs(x * phi(x) * derivative(phi, x)), length, breaks_of(phi)) / length
    of_length = _beyond(error * sigma_w**2 * size, chi_q(phi, q, sigma_w))
    of_angle = _beyond(error * gradient, correlation_slope(phi, c, q, sigma_w))
    return (
        depth_scale(of_length),
        depth_scale(jnp.where(c == 1, gradient, of_angle)),
        depth_scale(gradient),
    )


@compiled("phi")
def length_fixed_point(
    phi: Elementwise, sigma_w: Scalar, sigma_b: Scalar, q_0: Scalar = 1.0
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """Length to which the map leads from q_0, and whether it is finite.

    The map is followed in the direction of its first step, as iteration would if it increases with q: q* is
    the nearest root of length_map(q) = q on that side, bracketed in log q from 1e-30 to 1e30.
    A q_0 that is a fixed point to rounding is returned as it is: any q_0 at the critical point of relu.

    Returns:
        q_star: 0 where the length decays to nothing (also for the critical tanh, as 1/(2 l)), inf where it
            grows without bound.
        converged: False where q_star is inf or NaN.
    """
    sigma_w, sigma_b, q_0 = _floats(sigma_w, sigma_b, q_0)

    def drift(log_q: Array) -> Array:
        return length_map(phi, jnp.exp(log_q), sigma_w, sigma_b) * jnp.exp(-log_q) - 1

    noise = 256 * float(np.finfo(q_0.dtype).eps)
    start = jnp.clip(jnp.log(q_0), *_LOG_RANGE)
    first = drift(start)
    grows = first > 0
    points = jnp.linspace(start, jnp.where(grows, _LOG_RANGE[1], _LOG_RANGE[0]), 256, dtype=q_0.dtype)
    log_q, found = first_crossing(lambda t: jnp.where(grows, -drift(t), drift(t)), points, noise)
    beyond = jnp.where(grows, jnp.inf, sigma_w**2 * phi(jnp.zeros_like(q_0)) ** 2 + sigma_b**2)
    q_star = jnp.where(jnp.abs(first) <= noise, q_0, jnp.where(found, jnp.exp(log_q), beyond))
    q_star = jnp.where(jnp.isnan(first), jnp.nan, q_star)
    return q_star, jnp.isfinite(q_star)


@compiled("phi")
def correlation_fixed_point(
    phi: Elementwise, q: Scalar, sigma_w: Scalar
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    r"""Stable fixed point c* of the correlation map at a fixed point q of the lengths, and its success.

    The chord slope to c = 1, free of cancellation,

    .. math:: R(c) = (1 - C(c)) / (1 - c) = \sigma_w^2 E(\phi(u_a) - \phi(u_b))^2 / (2 q (1 - c)),

    is a power series in c without negative terms, so Newton's method on R(c) = 1 converges from any start
    inside (0, 1). c* = 1 where R stays below 1, which is where chi_1 <= 1. The result is NaN for infinite q.
    """
    q, sigma_w = _floats(q, sigma_w)
    q = jnp.where(jnp.isinf(q), jnp.nan, q)
    eps = float(np.finfo(q.dtype).eps)
    upper = 1 - eps**0.5
    length = resolvable(q)

    def excess(c: Array) -> Array:
        difference = pair_expectation(_squared_difference(phi), length, length, c, *pair_breaks_of(phi))
        return sigma_w**2 * difference / (2 * length * (1 - c)) - 1

    def solve() -> tuple[Array, Array]:
        c, found = newton(excess, jnp.full_like(q, 0.5), -0.01, upper, eps**0.75)  # c* may be 0 exactly
        return jnp.maximum(c, 0), found

    chaotic = excess(jnp.full_like(q, upper)) > max(256 * eps, 1e-10)
    c_star, converged = lax.cond(chaotic, solve, lambda: (jnp.ones_like(q), jnp.asarray(True)))
    return jnp.where(jnp.isnan(q), jnp.nan, c_star), converged & ~jnp.isnan(q)


@compiled("phi")
def fixed_point(phi: Elementwise, sigma_w: Scalar, sigma_b: Scalar, q_0: Scalar = 1.0) -> FixedPoint:
    """Fixed point that the maps reach from the length q_0, with slopes and depth scales in layers.

    Args:
        phi: Activation.
        sigma_w: Weight scale.
        sigma_b: Standard deviation of the biases.
        q_0: Length of the first layer's pre-activations; it chooses among several fixed points.

    Returns:
        q_star: see `length_fixed_point`.
        c_star: 1 in the ordered phase, below 1 in the chaotic phase; NaN without a finite q_star.
        chi_1, chi_q: At q_star; their limits for small or large q where q_star is 0 or inf.
        xi_q, xi_c, xi_grad: see `depth_scales`, 0 where the slope is lost in the error; xi_q and xi_c are NaN
            without a finite q_star.
        stable: Whether q_star is finite and chi_q <= 1 to rounding. A finite q_star is unstable only when q_0
            was put on it: on GELU's and SiLU's low branch of the critical line any other start leaves.
        error: Estimated relative error of the averages behind these numbers, see `quadrature_error`; of
            an activation that does not declare its kinks, also of the average over two inputs at c_star.
        converged: Whether a finite q_star and its c_star were found, and the error is below `LARGEST_ERROR`.
    """
    sigma_w, sigma_b, q_0 = _floats(sigma_w, sigma_b, q_0)
    q_star, length_found = length_fixed_point(phi, sigma_w, sigma_b, q_0)
    c_star, correlation_found = correlation_fixed_point(phi, q_star, sigma_w)
    slope = chi_q(phi, q_star, sigma_w)
    eps = float(np.finfo(q_star.dtype).eps)
    marginal = 1 + eps**0.5
    error = quadrature_error(phi, q_star)
    if getattr(phi, "kinks", None) is None:
        length, breaks = resolvable(q_star), pair_breaks_of(phi)
        pair = pair_expectation_error(_squared_difference(phi), length, length, c_star, *breaks)
        error = jnp.maximum(error, jnp.where(c_star < 1, pair, 0))
    xi_q, xi_c, xi_grad = depth_scales(phi, q_star, c_star, sigma_w, error)
    return FixedPoint(
        q_star=q_star,
        c_star=c_star,
        chi_1=chi_1(phi, q_star, sigma_w),
        chi_q=slope,
        xi_q=jnp.where(length_found, xi_q, jnp.nan),
        xi_c=jnp.where(length_found, xi_c, jnp.nan),
        xi_grad=xi_grad,
        stable=length_found & (slope <= marginal),
        error=error,
        converged=length_found & correlation_found & (error < max(LARGEST_ERROR, 1e4 * eps)),
    )


@compiled("phi")
def critical_sigma_w(phi: Elementwise, q: Scalar) -> Float[Array, ""]:
    """Weight scale 1 / sqrt(E phi'^2) at which chi_1 = 1 for the length q; inf where phi' vanishes."""
    return 1 / jnp.sqrt(derivative_moment(phi, q))


@compiled("phi", "dtype")
def has_slope_at_zero(phi: Elementwise, dtype: Any = float) -> Bool[Array, ""]:
    """Whether E phi'^2 tends to a number above 0 as q does: it is the same at two small q.

    Only then is there a critical sigma_w at q = 0. A step and relu squared have none.
    """
    small, larger = (derivative_moment(phi, jnp.asarray(q, dtype)) for q in (0.0, 1e-8))
    return (small > 0) & (jnp.abs(larger / small - 1) < 0.01)


@compiled("phi")
def critical_line(phi: Elementwise, q: Scalar) -> CriticalPoint:
    """Point of the critical line whose fixed point is q.

    sigma_w^2 = 1/E phi'^2 and sigma_b^2 = q - sigma_w^2 E phi^2: parametrised by q the line needs no root
    finding. `exists` is false where sigma_b^2 would be negative beyond rounding. chi_q > 1 marks the branch
    that is unstable in q.
    """
    (q,) = _floats(q)
    sigma_w = critical_sigma_w(phi, q)
    excess = _critical_excess(phi, q)
    exists = excess >= -256 * float(np.finfo(q.dtype).eps)
    sigma_b = jnp.sqrt(jnp.maximum(excess, 0) * q)
    return _critical(phi, sigma_w, sigma_b, q, exists)


@compiled("phi")
def critical_point(phi: Elementwise, sigma_b: Scalar) -> CriticalPoint:
    """Critical point with the smallest length at a given bias scale.

    The critical line is followed upward from q = 1e-16 to 1e8, to the first q that reaches sigma_b.

    Args:
        phi: Activation.
        sigma_b: Standard deviation of the biases, not below zero.

    Returns:
        The point. q_star is 0, with sigma_w and chi_q in the limit of small q, where the line starts at
        sigma_b = 0 (tanh, and linear and relu, for which every other q would do as well). It does not exist
        for softplus, nor for linear and relu with sigma_b > 0, nor at sigma_b = 0 where phi'(0) = 0 (relu
        squared): there the length jumps from 0 to a value whose chi_1 is above 1.
    """
    (sigma_b,) = _floats(sigma_b)
    noise = 256 * float(np.finfo(sigma_b.dtype).eps)

    def above(log_q: Array) -> Array:
        q = jnp.exp(log_q)
        return _critical_excess(phi, q) - sigma_b**2 / q

    points = jnp.linspace(np.log(1e-16), np.log(1e8), 256, dtype=sigma_b.dtype)
    log_q, found = first_crossing(above, points, noise)
    at_zero = (sigma_b == 0) & (above(points[0]) >= -noise) & has_slope_at_zero(phi, sigma_b.dtype)
    q = jnp.where(at_zero, 0, jnp.exp(log_q))
    sigma_w, exists = critical_sigma_w(phi, q), found | at_zero
    return _critical(phi, sigma_w, sigma_b, q, exists)


@compiled("phi")
def critical_table(phi: Elementwise, sigma_b: Real[ArrayLike, " n"]) -> CriticalPoint:
    """Critical points at several bias scales, as one record of arrays."""
    (sigma_b,) = _floats(sigma_b)
    return jax.vmap(lambda value: critical_point(phi, value))(sigma_b)


@compiled("phi", "depth")
def length_trajectory(
    phi: Elementwise, sigma_w: Scalar, sigma_b: Scalar, q_0: Scalar, depth: int
) -> Float[Array, " depth"]:
    """Lengths q^1 .. q^depth for an input of mean square q_0; q^1 = sigma_w^2 q_0 + sigma_b^2.

    inf beyond the square root of the dtype's largest number (1.8e19 in float32), 0 below its smallest.
    """
    sigma_w, sigma_b, q_0 = _floats(sigma_w, sigma_b, q_0)
    largest = float(np.finfo(q_0.dtype).max) ** 0.5

    def layer(q: Array, _: None) -> tuple[Array, Array]:
        following = length_map(phi, jnp.minimum(q, largest), sigma_w, sigma_b)
        return following, jnp.where(q > largest, jnp.inf, q)

    return lax.scan(layer, sigma_w**2 * q_0 + sigma_b**2, length=depth)[1]


@compiled("phi", "depth")
def correlation_trajectory(
    phi: Elementwise, sigma_w: Scalar, sigma_b: Scalar, q_0: Scalar, c_0: Scalar, depth: int
) -> Float[Array, " depth"]:
    """Correlations c^1 .. c^depth of two inputs, both of mean square q_0, with cosine c_0.

    NaN from the layer on whose length leaves the dtype's range.
    """
    sigma_w, sigma_b, q_0, c_0 = _floats(sigma_w, sigma_b, q_0, c_0)
    q_1 = sigma_w**2 * q_0 + sigma_b**2

    def layer(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        q, c = state
        return (length_map(phi, q, sigma_w, sigma_b), correlation_map(phi, c, q, q, sigma_w, sigma_b)), c

    first = (q_1, (sigma_w**2 * q_0 * c_0 + sigma_b**2) / q_1)
    return lax.scan(layer, first, length=depth)[1]


@compiled("phi", "depth")
def log_gradient_profile(
    phi: Elementwise, sigma_w: Scalar, sigma_b: Scalar, q_0: Scalar, depth: int
) -> Float[Array, " depth"]:
    r"""Predicted log of |delta^l|^2 / |delta^L|^2, l = 1..L, natural, as sums over the units of a layer.

    .. math:: \sum_{m=l}^{L-1} \log [\sigma_w^2 E \phi'(\sqrt{q^m} z)^2]

    with the length q^m of each layer, not that of the fixed point (arXiv 1611.01232, section 4). delta is the
    gradient with respect to pre-activations; the sum over units does not depend on the widths under fan-in
    scaling, a mean per unit does. Valid while depth is below about width / 16 and the last error is
    independent of the weights. Where q^m under- or overflows the dtype the factor is its limit for small or
    large q, so the profile stays finite over any number of decades.

    Args:
        phi: Activation.
        sigma_w: Weight scale.
        sigma_b: Standard deviation of the biases.
        q_0: Mean square of the input, |x|^2 / N_0.
        depth: Number L of layers.

    Returns:
        The profile; 0 in the last layer, -inf below a layer whose factor is exactly 0.
    """
    q = length_trajectory(phi, sigma_w, sigma_b, q_0, depth)
    log_chi_1 = jnp.log(jax.vmap(lambda length: chi_1(phi, length, sigma_w))(q[:-1]))
    return jnp.append(jnp.cumsum(log_chi_1[::-1])[::-1], 0)


def _squared_difference(phi: Elementwise) -> Callable[[Array, Array], Array]:
    """(phi(a) - phi(b))^2, whose mean holds 1 - c without cancellation."""
    return lambda a, b: (phi(a) - phi(b)) ** 2


def _beyond(error: Array, value: Array) -> Array:
    """The value, or 0 where it is within its error."""
    return jnp.where(jnp.abs(value) <= error, 0, value)


_LOG_RANGE = (float(np.log(1e-30)), float(np.log(1e30)))


def _critical_excess(phi: Elementwise, q: Array) -> Array:
    """sigma_b^2 / q on the critical line."""
    ratio = expectation(lambda x: phi(x) ** 2, q, breaks_of(phi)) / derivative_moment(phi, q)
    return 1 - ratio / q


def _critical(phi: Elementwise, sigma_w: Array, sigma_b: Array, q: Array, exists: Array) -> CriticalPoint:
    """The point, with NaN in place of its numbers if it does not exist."""
    numbers = (sigma_w, sigma_b, q, chi_q(phi, q, sigma_w), quadrature_error(phi, q))
    masked = [jnp.where(exists, value, jnp.nan) for value in numbers]
    return CriticalPoint(masked[0], masked[1], masked[2], masked[3], masked[4], exists)


def _floats(*values: ArrayLike) -> tuple[Array, ...]:
    """The arguments in their common inexact dtype."""
    dtype = jnp.result_type(0.0, *values)
    return tuple(jnp.asarray(value, dtype) for value in values)
