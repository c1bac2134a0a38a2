r"""Fluctuations of log q and of log |delta|^2 through a random network, to first order in 1/N.

Square layers of width N without biases, any activation, Gaussian or Haar-orthogonal weights of scale sigma_w.
Mean field gives the length :math:`q^l = \sigma_w^2 |y^{l-1}|^2 / N` and the factor :math:`\sigma_w^2 E
\phi'^2` of a squared gradient at N = infinity; here both fluctuate. In a layer of given q the pre-activations
are :math:`z_i = \sqrt q g_i` and the gradient from above is :math:`h_i`, both Gaussian, so that with

.. math:: V = E \phi(z)^2, \quad D = E \phi'(z)^2, \quad (a, b) = d(\log V, \log D) / d \log q

the pair s = (log q, log gain of the layers below) moves by

.. math:: s' = A s + \epsilon, \quad A = [[a, 0], [b, 1]], \quad
    N Cov \epsilon = [[E \phi^4 / V^2, E \phi^2 \phi'^2 / VD], [., 3 E \phi'^4 / D^2]] - 1.

Means move by -Cov/2 (the log of an average) and by the curvatures of log V and log D. Orthogonal weights keep
|g| and |h|, which takes out what epsilon has along them. One component of h is not fresh, that along y:
:math:`(z \cdot \delta)^2 = (1 + \rho) q |\delta|^2`, handed down by
:math:`\rho' = E g^2 \phi'^2 / D - 1 + \rho a^2 V / (q D)`.

relu and linear agree with the exact laws of `finitewidth` (Hanin & Nica, arXiv 1812.05994) to this order.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from signalprop.analysis.compiled import compiled
from signalprop.analysis.gaussian import Elementwise, derivative, expectation
from signalprop.analysis.meanfield import Scalar
from signalprop.analysis.smoothness import breaks_of


class LayerMoments(NamedTuple):
    """Gaussian expectations in each layer of the infinitely wide network; pairs are those of (V, D).

    Attributes:
        log_q: log of the length q.
        log_chi_1: log of sigma_w^2 D, the factor of a squared gradient; -inf where phi' vanishes.
        noise: N Cov epsilon of Gaussian weights.
        slope: d(log V, log D) / d log q.
        curvature: q^2 (V''/V, D''/D), derivatives in q.
        radial: E g^2 phi'^2 / D - 1, the alignment rho that a layer adds.
        radial_slope: a^2 V / (q D), the part of rho that a layer hands down.
        log_std: log of the standard deviation of phi(z) over units.
        log_std_slope: Its derivative in log q.
    """

    log_q: Float[Array, " depth"]
    log_chi_1: Float[Array, " depth"]
    noise: Float[Array, "depth 2 2"]
    slope: Float[Array, "depth 2"]
    curvature: Float[Array, "depth 2"]
    radial: Float[Array, " depth"]
    radial_slope: Float[Array, " depth"]
    log_std: Float[Array, " depth"]
    log_std_slope: Float[Array, " depth"]


class Fluctuations(NamedTuple):
    """Networks of width N, natural logs; entry L - 1 of the last three is a network of L layers.

    Attributes:
        log_q: Mean of log q^l. With independent weights that of log mean z^2 is 1/N lower.
        log_std: log of the standard deviation of the activities at that length.
        log_gradient_shift: Mean of log |delta^1|^2 / |delta^L|^2 minus its value at infinite width.
        indirect: The part of that shift that comes through the length and the direction of the signal.
        log_gradient_variance: Variance of that log ratio over networks.
    """

    log_q: Float[np.ndarray, " depth"]
    log_std: Float[np.ndarray, " depth"]
    log_gradient_shift: Float[np.ndarray, " depth"]
    indirect: Float[np.ndarray, " depth"]
    log_gradient_variance: Float[np.ndarray, " depth"]


@compiled("phi", "depth")
def layer_moments(phi: Elementwise, sigma_w: Scalar, q_0: Scalar, depth: int) -> LayerMoments:
    r"""Expectations that `fluctuations` needs, in layers 1 to ``depth``.

    Derivatives in q come from Hermite polynomials, :math:`q dV/dq = E \phi^2 (g^2 - 1) / 2` and
    :math:`q^2 d^2V/dq^2 = E \phi^2 (g^4 - 6 g^2 + 3) / 4`, so that kinks do no harm.

    Args:
        phi: Activation.
        sigma_w: Weight scale.
        q_0: Mean square of the input, |x|^2 / N.
        depth: Number of layers.

    Returns:
        The moments; log_q and log_std are -inf where the signal is zero, ratios whose denominator V or D is
        zero are 0. Lengths beyond the fifth root of the dtype's range count as that root, and V continues as
        a power of q.
    """
    sigma_w, q_0 = (jnp.asarray(value, jnp.result_type(0.0, sigma_w, q_0)) for value in (sigma_w, q_0))

    def layer(log_q: Array, _: None) -> tuple[Array, LayerMoments]:
        log_v, moments = _moments(phi, log_q, sigma_w)
        return 2 * jnp.log(sigma_w) + log_v, moments

    moments: LayerMoments = lax.scan(layer, jnp.log(sigma_w**2 * q_0), length=depth)[1]
    return moments


def _moments(phi: Elementwise, log_q: Array, sigma_w: Array) -> tuple[Array, LayerMoments]:
    """Log V and the moments of one layer."""
    largest = -float(np.log(np.finfo(log_q.dtype).tiny)) / 5
    q = jnp.exp(jnp.clip(log_q, -largest, largest))
    beyond = jnp.where(jnp.isfinite(log_q), log_q - jnp.log(q), 0)

    def integrand(x: Array) -> Array:
        y, s = phi(x), x**2 / q
        f, d, he_2, he_4 = y**2, derivative(phi, x) ** 2, (s - 1) / 2, (s**2 - 6 * s + 3) / 4
        products = f * f, f * d, f * d, 3 * d * d
        return jnp.stack([f, d, *products, f * he_2, d * he_2, f * he_4, d * he_4, s * d, y, y * he_2], -1)

    mean, noise, slope, curvature, (radial, y, y_slope) = jnp.split(
        expectation(integrand, q, breaks_of(phi)), [2, 6, 8, 10]
    )
    safe = jnp.where(mean > 0, mean, 1)
    variance = mean[0] - y**2
    log_std_slope = (slope[0] - 2 * y * y_slope) / (2 * variance)
    return jnp.log(mean[0]) + slope[0] / safe[0] * beyond, LayerMoments(
        log_q=log_q,
        log_chi_1=jnp.log(sigma_w**2 * mean[1]),
        noise=jnp.where(jnp.outer(mean, mean) > 0, noise.reshape(2, 2) / jnp.outer(safe, safe) - 1, 0),
        slope=slope / safe,
        curvature=curvature / safe,
        radial=jnp.where(mean[1] > 0, radial / safe[1] - 1, 0),
        radial_slope=slope[0] ** 2 / (safe[0] * safe[1] * q),
        log_std=jnp.log(variance) / 2 + log_std_slope * beyond,
        log_std_slope=log_std_slope,
    )


def fluctuations(moments: LayerMoments, width: int, orthogonal: bool = False) -> Fluctuations:
    r"""Follow mean and covariance of (log q, log gain) up from the input; formulas at the top of the module.

    For relu the variance is 5/N and the shift -5/(2N) per layer, for linear 2/N and -1/N, exact to this
    order. Valid while ``indirect`` is small: not where lengths are unstable (chi_q above 1, as for gelu and
    silu at He weights), nor for weights that mix no units, such as the identity.

    Args:
        moments: One network's, from `layer_moments`.
        width: Units N of every layer and of the input.
        orthogonal: Whether weights are Haar orthogonal; else independent.

    Returns:
        The laws of all prefixes of the network; inf or NaN where the moments are.
    """
    m = jax.device_get(moments)
    pinned = 2 * (m.slope[:, :, None] * m.slope[:, None] + np.diag([0, 1])) if orthogonal else 0
    noise = (m.noise - pinned) / width
    mean, covariance = _propagate(m, noise, orthogonal / width)
    aligned = (1 + m.noise[:, 0, 1] - orthogonal) @ _alignment(m)[1:] / width
    shift = mean[:, 1] + aligned
    direct = np.cumsum(np.append(0, -noise[:-1, 1, 1] / 2))
    log_std = m.log_std + m.log_std_slope * mean[:, 0]
    return Fluctuations(m.log_q + mean[:, 0], log_std, shift, shift - direct, covariance[:, 1, 1])


def _propagate(m: LayerMoments, noise: np.ndarray, fixed_length: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of s in every layer; ``fixed_length`` is 1/N where |g| does not fluctuate."""
    depth = len(m.log_q)
    mean, covariance = np.zeros((depth, 2)), np.zeros((depth, 2, 2))
    for i in range(depth - 1):
        slope, curvature = m.slope[i], m.curvature[i]
        a = np.array([[slope[0], 0], [slope[1], 1]])
        bend = (curvature + slope * (1 - slope)) / 2 * covariance[i, 0, 0] - fixed_length * curvature
        mean[i + 1] = a @ mean[i] + bend - noise[i].diagonal() / 2
        covariance[i + 1] = a @ covariance[i] @ a.T + noise[i]
    return mean, covariance


def _alignment(m: LayerMoments) -> np.ndarray:
    """Rho of each layer (row, and a last one of zeros) in the networks of depth 1, 2, ... (column)."""
    depth = len(m.log_q)
    rho = np.zeros((depth + 1, depth))
    for i in reversed(range(depth)):
        rho[i, i:] = m.radial[i] + rho[i + 1, i:] * m.radial_slope[i]
    return rho
