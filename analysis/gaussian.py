"""Expectations over one and two Gaussians, by quadrature that is split where the integrand is not smooth.

Composite Gauss-Legendre panels on [-10, 10]. Their edges are fixed points, the scales 1/sqrt(q), 4/sqrt(q), ...
on which a saturating activation bends, and its kinks. Gauss-Hermite is not used: on the squared derivative of
hard-tanh at q = 1 it is off by -0.08 to +0.08 with 31 to 101 nodes.

The number of nodes is fixed and their positions follow a traced q, so everything here can be jitted and vmapped.
The nodes are held constant under differentiation: gradients with respect to q and c are those of the integrand.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float

Elementwise = Callable[[Array], Array]

_FIXED_EDGES = np.array([-10.0, -5.0, -2.5, 0.0, 2.5, 5.0, 10.0])
_BENDS = np.array([-64.0, -16.0, -4.0, -1.0, 1.0, 4.0, 16.0, 64.0])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_PAIR_NODES, _PAIR_WEIGHTS = np.polynomial.legendre.leggauss(12)


def expectation(f: Elementwise, q: Float[ArrayLike, ""], kinks: tuple[float, ...] = ()) -> Float[Array, ""]:
    r"""Mean of f(sqrt(q) z) over one standard Gaussian z.

    .. math:: \int f(\sqrt q z) e^{-z^2/2} dz / \sqrt{2 \pi}

    Relative error below 1e-12 in float64 and 1e-5 in float32 for the usual activations, their squares and
    derivatives, with q between 0 and 1e4. An integrand that oscillates faster than sin(20 z) is not resolved.

    Args:
        f: Elementwise function of an array.
        q: Variance of the argument, not below zero.
        kinks: Points of the argument of f where f or its derivative jumps.

    Returns:
        The mean; f(0) at q = 0, NaN for negative q.
    """
    q = jnp.asarray(q, jnp.result_type(float, q))
    scale = jnp.sqrt(q)
    z, weights = _rule(_breaks(scale, kinks), _NODES, _WEIGHTS)
    return jnp.dot(weights, f(scale * z))


def pair_expectation(
    f: Callable[[Array, Array], Array],
    q_a: Float[ArrayLike, ""],
    q_b: Float[ArrayLike, ""],
    c: Float[ArrayLike, ""],
    kinks: tuple[float, ...] = (),
) -> Float[Array, ""]:
    r"""Mean of f(u_a, u_b) over two Gaussians of variances q_a, q_b and correlation c.

    With z, z' independent, u_a = sqrt(q_a) z and u_b = sqrt(q_b) (c z + sqrt(1 - c^2) z'). The edges of the inner
    integral follow the outer node; the outer integral is also split where the inner one, smoothed over
    sqrt(1 - c^2), still shows a kink. Relative error below 1e-10 in float64, 1e-5 in float32.

    Args:
        f: Function of a scalar u_a and an array u_b, elementwise.
        q_a: Variance of u_a, not below zero.
        q_b: Variance of u_b, not below zero.
        c: Correlation, from -1 to 1.
        kinks: Points of either argument where f or its derivative jumps.

    Returns:
        The mean; NaN outside the domain.
    """
    dtype = jnp.result_type(float, q_a, q_b, c)
    q_a, q_b, c = (jnp.asarray(value, dtype) for value in (q_a, q_b, c))
    scale_a, scale_b, rest = jnp.sqrt(q_a), jnp.sqrt(q_b), jnp.sqrt((1 - c) * (1 + c))

    def inner(z: Array) -> Array:
        breaks = _divide(_breaks(scale_b, kinks) - c * z, rest)
        z_rest, weights = _rule(breaks, _PAIR_NODES, _PAIR_WEIGHTS)
        return jnp.dot(weights, f(scale_a * z, scale_b * (c * z + rest * z_rest)))

    smoothed = [_divide(k / scale_b + rest * _FIXED_EDGES.astype(dtype), c) for k in kinks]
    z, weights = _rule(jnp.concatenate([_breaks(scale_a, kinks), *smoothed]), _PAIR_NODES, _PAIR_WEIGHTS)
    return jnp.dot(weights, jax.vmap(inner)(z))


def derivative(phi: Elementwise, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Derivative of an elementwise activation at every point of x, by forward differentiation.

    At a kink it is the value that JAX defines, which need not be a one-sided limit; no quadrature node lies on one.

    Args:
        phi: Elementwise activation.
        x: Points.

    Returns:
        phi'(x), in the shape and dtype of x.
    """
    tangent: Array = jax.jvp(phi, (x,), (jnp.ones_like(x),))[1]
    return tangent


def kinks_of(phi: Elementwise) -> tuple[float, ...]:
    """Points where an activation is not smooth: its attribute `kinks`, none when it has no such attribute."""
    return tuple(getattr(phi, "kinks", ()))


def _rule(breaks: Array, nodes: np.ndarray, weights: np.ndarray) -> tuple[Array, Array]:
    """Nodes and weights of the composite rule for the standard Gaussian, split at the breaks."""
    dtype = breaks.dtype
    inside = jnp.clip(breaks, _FIXED_EDGES[0], _FIXED_EDGES[-1])
    edges = lax.stop_gradient(jnp.sort(jnp.concatenate([_FIXED_EDGES.astype(dtype), inside])))
    half, middle = jnp.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
    z = (middle + half * nodes.astype(dtype)).ravel()
    density = jnp.exp(-(z**2) / 2) / np.sqrt(2 * np.pi).astype(dtype)
    return z, (half * weights.astype(dtype)).ravel() * density


def _breaks(scale: Array, kinks: tuple[float, ...]) -> Array:
    """Points z where scale * z reaches a bend or a kink of the activation."""
    return _divide(jnp.asarray(np.concatenate([_BENDS, kinks]), scale.dtype), scale)


def _divide(numerator: Array, denominator: Array) -> Array:
    """Quotient with finite values where the denominator vanishes (their size is clipped afterwards)."""
    tiny = jnp.finfo(denominator.dtype).tiny ** 0.5
    return numerator / jnp.where(jnp.abs(denominator) < tiny, tiny, denominator)
