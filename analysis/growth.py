"""Growth of a back-propagated gradient per layer, with what a finite width takes off its mean logarithm."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from signalprop.analysis.gaussian import Elementwise
from signalprop.analysis.meanfield import Scalar, derivative_moment


class LayerGrowth(NamedTuple):
    """Growth of log |delta|^2 through one layer: log chi_1, and N times what a width of N takes off it."""

    log_chi_1: Float[Array, "..."]
    shift: Float[Array, "..."]


def layer_growth(phi: Elementwise, q: Scalar, sigma_w: Scalar) -> LayerGrowth:
    r"""Growth of log |delta|^2 from a layer of length q to the one below, towards the input.

    With independent Gaussian weights, :math:`\mu_k = E \phi'^{2k}` and N units,

    .. math:: E \log (|\delta^l|^2 / |\delta^{l+1}|^2)
        = \log \chi_1 - (3 \mu_2 / \mu_1^2 - 1) / (2 N) + O(N^{-2})

    The mean of a logarithm lies below the logarithm of the mean by half the relative variance of a mean of N
    terms g^2 phi'^2, g normal. It is 5 / 2N for relu, as in arXiv 1801.03744, and 1 / N for a linear network.

    Args:
        phi: Activation.
        q: Mean squared pre-activation of the layer.
        sigma_w: Weight scale.

    Returns:
        log chi_1 in nats, -inf where phi' vanishes, and the shift (3 mu_2 / mu_1^2 - 1) / 2, NaN there.
    """
    mu_1, mu_2 = (derivative_moment(phi, q, order) for order in (1, 2))
    return LayerGrowth(jnp.log(jnp.asarray(sigma_w) ** 2 * mu_1), (3 * mu_2 / mu_1**2 - 1) / 2)
