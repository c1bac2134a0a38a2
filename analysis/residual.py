"""Residual networks whose branch is one layer, x + phi(W x): its mean, unless phi is odd, changes the laws.

The mean adds up along the skip connection in the signal, and a gradient that is aligned with the signal grows
as the signal does. `signalprop.analysis.growth` has the branches without a mean.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from signalprop.analysis.compiled import compiled
from signalprop.analysis.gaussian import Elementwise, derivative, expectation
from signalprop.analysis.growth import Profile
from signalprop.analysis.meanfield import Scalar
from signalprop.analysis.smoothness import breaks_of


@compiled("phi", "depth")
def one_layer(
    phi: Elementwise, depth: int, sigma_w: Scalar, q_0: Scalar = 1.0, width: Scalar = jnp.inf
) -> Profile:
    r"""Profile of blocks x + phi(W x), whose branch has a mean unless phi is odd.

    With p = |x|^2 / N, m the mean of x over units and z of variance sigma_w^2 p,

    .. math:: p' = p + 2 m E \phi + E \phi^2, \qquad m' = m + E \phi.

    Given z, the weights are :math:`W = z x^T / |x|^2` plus a part independent of z, so that a gradient g
    from above gains :math:`\sigma_w^2 E \phi'^2` and, through :math:`T = \sum_i z_i \phi'(z_i) g_i`, what its
    mean and its overlap with x hand down. Both are of relative size 1/N at the top and grow faster than g
    itself, so that they take over after about log N blocks: this is followed by the second moments of the
    sum of g and of x . g, to leading order. Deep relu nets with He weights gain 2 per block at first and
    2.90 in the end, as their signals do. For odd phi the width matters at order 1/N only.

    Args:
        phi: Activation.
        depth: Number L of blocks.
        sigma_w: Weight scale.
        q_0: Mean square of the input, whose units have mean 0.
        width: Units N; inf leaves out mean and overlap.

    Returns:
        The profile of the mean squares over networks, for a gradient dE/dy^L of independent normal entries.
    """
    dtype = jnp.result_type(0.0, q_0, sigma_w, width)
    q_0, sigma_w, width = (jnp.asarray(value, dtype) for value in (q_0, sigma_w, width))

    def up(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        p, m = state
        mean, covariance, slope = _branch_moments(phi, sigma_w**2 * p)
        above = p + 2 * m * mean[1] + mean[1] ** 2 + covariance[1, 1], m + mean[1]
        return above, (p, m, *above, mean, covariance, sigma_w**2 * slope)

    (p_top, m_top), below = lax.scan(up, (q_0, jnp.zeros_like(q_0)), length=depth)
    overlaps = jnp.stack([jnp.ones_like(m_top), m_top, m_top, p_top]).reshape(2, 2)
    top = jnp.zeros_like(q_0), overlaps
    _, log_gradient = lax.scan(lambda state, layer: _pull(state, layer, width), top, below, reverse=True)
    return Profile(jnp.log(jnp.append(below[0], p_top)), jnp.append(log_gradient, 0))


def _branch_moments(phi: Elementwise, q: Array) -> tuple[Array, Array, Array]:
    """Mean and covariance of (z phi', phi), and E phi'^2, over z of variance q."""

    def integrand(z: Array) -> Array:
        y, slope = phi(z), derivative(phi, z)
        t = z * slope
        return jnp.stack([t, y, t * t, t * y, t * y, y * y, slope**2], -1)

    mean, square, slope = jnp.split(expectation(integrand, q, breaks_of(phi)), [2, 6])
    return mean, square.reshape(2, 2) - jnp.outer(mean, mean), slope[0]


def _pull(
    state: tuple[Array, Array], layer: tuple[Array, ...], width: Array
) -> tuple[tuple[Array, Array], Array]:
    """One block down: log |g|^2, and E (S, c)(S, c)^T / (N |g|^2) with S the sum of g and c = x . g.

    T and R, the sums of z phi' g and phi g over units, depend on x above, which contains phi: they are
    regressed on it, and the rest is independent.
    """
    log_size, overlaps = state
    p, m, p_above, m_above, mean, covariance, chi = layer
    spread = p_above - m_above**2
    share = covariance[:, 1] / spread
    on_s_and_c = jnp.stack([mean - share * m_above, share], 1)
    rest = covariance - jnp.outer(share, share) * spread
    cross = overlaps @ on_s_and_c.T
    moments = jnp.block([[overlaps, cross], [cross.T, on_s_and_c @ cross + rest]])
    s, c, t, r = jnp.eye(4, dtype=overlaps.dtype)
    below = c - r  # x below . g above
    gain = 1 + chi + (t + 2 * below) @ moments @ t / (width * p)
    down = jnp.stack([s + m / p * t, below + t])
    fresh = jnp.diag(jnp.stack([chi * (1 - m**2 / p), jnp.zeros_like(chi)]))
    log_size = log_size + jnp.log(gain)
    return (log_size, (down @ moments @ down.T + fresh) / gain), log_size
