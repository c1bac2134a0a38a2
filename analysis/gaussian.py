"""Expectations over one and two Gaussians, by quadrature that is split where the integrand is not smooth.

Composite Gauss-Legendre panels. Their edges are fixed points, the scales 1/sqrt(q), 4/sqrt(q), ... on which a
saturating activation bends, its kinks, and where it needs shorter panels (`smoothness`). Gauss-Hermite is not
used: on the squared derivative of hard-tanh at q = 1 it is off by -0.08 to +0.08 with 31 to 101 nodes.

The number of nodes is fixed and their positions follow a traced q, so everything here can be jitted and
vmapped. The nodes are held constant under differentiation: gradients are those of the integrand.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Real

Elementwise = Callable[[Array], Array]

_EDGES = np.array([-10.0, -5.0, -2.5, 0.0, 2.5, 5.0, 10.0])
_BENDS = np.array([-64.0, -16.0, -4.0, -1.0, 1.0, 4.0, 16.0, 64.0])
_RULE = np.polynomial.legendre.leggauss(20)

# The two-dimensional rule has 144^2 nodes without kinks; these edges are the fewest found to keep 1e-10.
_PAIR_EDGES = np.array([-8.5, -3.0, 0.0, 3.0, 8.5])
_PAIR_BENDS = np.array([-16.0, -4.0, -1.0, 1.0, 4.0, 16.0])
_PAIR_RULE = np.polynomial.legendre.leggauss(12)
_SMOOTHING = np.array([-8.5, -2.8, 2.8, 8.5])


def expectation(f: Elementwise, q: Real[ArrayLike, ""], kinks: tuple[float, ...] = ()) -> Float[Array, ""]:
    r"""Mean of f(sqrt(q) z) over one standard Gaussian z.

    .. math:: \int f(\sqrt q z) e^{-z^2/2} dz / \sqrt{2 \pi}

    Relative error below 1e-12 in float64 and 1e-5 in float32 for the usual activations, their squares and
    derivatives, with q between 0 and 1e4. An integrand that oscillates faster than sin(20 z) needs more
    splits; `expectation_error` tells.

    Args:
        f: Elementwise function of an array.
        q: Variance of the argument, not below zero.
        kinks: Points of the argument of f where f or its derivative jumps, and other ends of panels.

    Returns:
        The mean; f(0) at q = 0, NaN for negative q.
    """
    x, weights = nodes(q, kinks)
    return jnp.dot(weights, f(x))


def expectation_error(
    f: Elementwise, q: Real[ArrayLike, ""], kinks: tuple[float, ...] = ()
) -> Float[Array, ""]:
    """Change of `expectation` when each of its panels is halved, over the mean of abs(f).

    It estimates the error: of the size of that where f jumps or oscillates in ways that the rule does not
    know of. 0 if f vanishes, NaN where its mean is NaN or infinite.
    """
    x, weights = nodes(q, kinks, halved=True)
    values = f(x)
    return change(expectation(f, q, kinks), weights @ values, weights @ jnp.abs(values))


def nodes(
    q: Real[ArrayLike, ""],
    kinks: tuple[float, ...] = (),
    halved: bool = False,
    mean: Real[ArrayLike, ""] = 0.0,
) -> tuple[Float[Array, " nodes"], Float[Array, " nodes"]]:
    """The rule behind `expectation`: points mean + sqrt(q) z and weights, whose sum is 1.

    Args:
        q: Variance of the argument, not below zero.
        kinks: Points of the argument where the function to be averaged, or its derivative, jumps.
        halved: Whether each panel is halved.
        mean: Of the argument.

    Returns:
        Points in ascending order and their weights; points are the mean at q = 0, NaN for negative q.
    """
    q = jnp.asarray(q, jnp.result_type(0.0, q))
    scale = jnp.sqrt(q)
    mean = jnp.asarray(mean, q.dtype)
    breaks = _divide(jnp.asarray(np.concatenate([_BENDS, kinks]), q.dtype) - mean, scale)
    z, weights = _rule(breaks, _EDGES, _RULE, halved)
    return mean + scale * z, weights


def pair_expectation(
    f: Callable[[Array, Array], Array],
    q_a: Real[ArrayLike, ""],
    q_b: Real[ArrayLike, ""],
    c: Real[ArrayLike, ""],
    kinks: tuple[float, ...] = (),
    edges: tuple[float, ...] = (),
    halved: bool = False,
) -> Float[Array, ""]:
    r"""Mean of f(u_a, u_b) over two Gaussians of variances q_a, q_b and correlation c.

    With z, z' independent, u_a = sqrt(q_a) z and u_b = sqrt(q_b) (c z + sqrt(1 - c^2) z'). The edges of the
    inner integral follow the outer node; the outer integral is also split where the inner one, smoothed over
    sqrt(1 - c^2), still shows a kink. Error below 1e-10 in float64 and 1e-5 in float32, relative to the
    value at c = 1, for q up to 100.

    Args:
        f: Function of a scalar u_a and an array u_b, elementwise.
        q_a: Variance of u_a, not below zero.
        q_b: Variance of u_b, not below zero.
        c: Correlation, from -1 to 1.
        kinks: Points of either argument where f or its derivative jumps.
        edges: Other ends of panels in either argument.
        halved: Whether each panel is halved, in both dimensions.

    Returns:
        The mean; NaN outside the domain.
    """
    dtype = jnp.result_type(0.0, q_a, q_b, c)
    q_a, q_b, c = (jnp.asarray(value, dtype) for value in (q_a, q_b, c))
    scale_a, scale_b, rest = jnp.sqrt(q_a), jnp.sqrt(q_b), jnp.sqrt((1 - c) * (1 + c))
    bends = jnp.asarray(np.concatenate([_PAIR_BENDS, kinks, edges]), dtype)

    def inner(z: Array) -> Array:
        breaks = _divide(_divide(bends, scale_b) - c * z, rest)
        z_rest, weights = _rule(breaks, _PAIR_EDGES, _PAIR_RULE, halved)
        return jnp.dot(weights, f(scale_a * z, scale_b * (c * z + rest * z_rest)))

    images = [_divide(jnp.asarray(kink, dtype), scale_b) for kink in kinks]
    smoothed = [_divide(image + rest * _SMOOTHING.astype(dtype), c) for image in images]
    breaks = jnp.concatenate([_divide(bends, scale_a), *smoothed])
    z, weights = _rule(breaks, _PAIR_EDGES, _PAIR_RULE, halved)
    return jnp.dot(weights, jax.vmap(inner)(z))


def pair_expectation_error(
    f: Callable[[Array, Array], Array],
    q_a: Real[ArrayLike, ""],
    q_b: Real[ArrayLike, ""],
    c: Real[ArrayLike, ""],
    kinks: tuple[float, ...] = (),
    edges: tuple[float, ...] = (),
) -> Float[Array, ""]:
    """Relative change of `pair_expectation` when each panel is halved: an estimate of its error."""
    coarse, fine = (pair_expectation(f, q_a, q_b, c, kinks, edges, halved) for halved in (False, True))
    return change(coarse, fine, jnp.abs(fine))


def derivative(phi: Elementwise, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Derivative of an elementwise activation at every point of x, by forward differentiation.

    At a kink it is the value that JAX defines, which need not be a one-sided limit; quadrature avoids kinks.

    Args:
        phi: Elementwise activation.
        x: Points.

    Returns:
        phi'(x), in the shape and dtype of x.
    """
    tangent: Array = jax.jvp(phi, (x,), (jnp.ones_like(x),))[1]
    return tangent


def log_slope(phi: Elementwise, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Logarithm of abs(phi'(x)), also where the slope itself is lost in rounding.

    The slope 1 - tanh(x)^2 is 0 from abs(x) = 19 on in float64, from 9 in float32. An activation that
    knows better says so in its attribute ``log_slope``, a function of x that is believed.

    Args:
        phi: Elementwise activation.
        x: Points.

    Returns:
        The logarithm, in the shape and dtype of x; -inf where the slope is 0 or is lost.
    """
    known = getattr(phi, "log_slope", None)
    return jnp.log(jnp.abs(derivative(phi, x))) if known is None else jnp.asarray(known(x))


def _rule(
    breaks: Array, edges: np.ndarray, rule: tuple[np.ndarray, np.ndarray], halved: bool
) -> tuple[Array, Array]:
    """Nodes and weights of the composite rule for the standard Gaussian, split at the edges and breaks."""
    dtype = breaks.dtype
    nodes, weights = (values.astype(dtype) for values in rule)
    inside = jnp.clip(breaks, float(edges[0]), float(edges[-1]))
    ends = lax.stop_gradient(jnp.sort(jnp.concatenate([edges.astype(dtype), inside])))
    if halved:
        ends = jnp.sort(jnp.concatenate([ends, (ends[1:] + ends[:-1]) / 2]))
    half, middle = jnp.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
    z = middle + jnp.where(
        half > 0, half * nodes, 64 * float(np.finfo(dtype).eps)
    )  # an empty panel has weight 0
    density = jnp.exp(-(z**2) / 2) / np.sqrt(2 * np.pi).astype(dtype)
    return z.ravel(), (half * weights * density).ravel()


def change(
    coarse: Float[Array, "*k"], fine: Float[Array, "*k"], size: Float[Array, "*k"]
) -> Float[Array, "*k"]:
    """Difference of two values in terms of a size; 0 if they are equal."""
    return jnp.where(coarse == fine, 0 * fine, jnp.abs(coarse - fine) / size)


def _divide(numerator: Array, denominator: Array) -> Array:
    """Quotient that stays finite where the denominator vanishes; its size is clipped afterwards."""
    tiny = float(np.finfo(denominator.dtype).tiny) ** 0.5
    return numerator / jnp.where(jnp.abs(denominator) < tiny, tiny, denominator)


def resolvable(q: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Move a length into the range where quadrature resolves phi'; beyond it phi' has reached its limit.

    NaN for negative ones.
    """
    q = jnp.asarray(q, jnp.result_type(0.0, q))
    floor = float(np.finfo(q.dtype).eps) ** 1.5
    return jnp.where(q < 0, jnp.nan, jnp.clip(q, floor, floor**-1))
