"""Free probability of the input-output Jacobian: squared singular values of deep, infinitely wide networks.

At fixed q (every layer at the fixed point of the length map) J J^T is a product of L free factors, so its
moments follow from those of one layer: mu_k = E phi'(sqrt(q) z)^(2k).
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from signalprop.analysis.gaussian import Elementwise, derivative, expectation, kinks_of

Weights = Literal["gaussian", "orthogonal"]
_S_1 = {"gaussian": -1.0, "orthogonal": 0.0}  # first coefficient of the S transform of W W^T


class Moments(NamedTuple):
    """Logarithm of the mean squared singular value, and the variance of the squares over the squared mean."""

    log_mean: Float[Array, ""]
    relative_variance: Float[Array, ""]


def moments(
    phi: Elementwise,
    sigma_w: Float[ArrayLike, ""],
    q: Float[ArrayLike, ""],
    depth: int,
    weights: Weights = "gaussian",
) -> Moments:
    r"""First two moments of the squared singular values of the Jacobian of a wide network.

    .. math:: m_1 = \chi_1^L, \qquad \sigma_{JJ^T}^2 / m_1^2 = L (\mu_2 / \mu_1^2 - 1 - s_1)

    with s_1 = -1 for Gaussian and 0 for orthogonal weights. Exact for infinite width; at width N the measured
    mean scatters by O(sqrt(L/N)), so divide a measured spectrum by its own mean before comparing.

    Args:
        phi: Activation.
        sigma_w: Weight scale, above zero.
        q: Mean squared pre-activation, the same in every layer.
        depth: Number L of layers.
        weights: ``gaussian`` or ``orthogonal``.

    Returns:
        Natural logarithm of the mean, and the relative variance; NaN where phi' vanishes everywhere.

    Raises:
        ValueError: If ``weights`` is neither.

    References:
        Pennington, Schoenholz & Ganguli (arXiv 1711.04735), where the variance is printed for chi_1 = 1.
    """
    if weights not in _S_1:
        raise ValueError(f"weights must be 'gaussian' or 'orthogonal', got {weights!r}")
    kinks = kinks_of(phi)
    mu_1 = expectation(lambda z: derivative(phi, z) ** 2, q, kinks)
    mu_2 = expectation(lambda z: derivative(phi, z) ** 4, q, kinks)
    log_mean = depth * (2 * jnp.log(jnp.asarray(sigma_w)) + jnp.log(mu_1))
    return Moments(log_mean, depth * (mu_2 / mu_1**2 - 1 - _S_1[weights]))
