"""The gain of one layer by mean field, at the means and lengths that its pre-activations have.

Extends chi_1 = sigma_w^2 E phi'(sqrt(q) z)^2 (Schoenholz et al., arXiv 1611.01232) to pre-activations with a
mean, example by example.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from signalprop.analysis.compiled import compiled
from signalprop.analysis.gaussian import Elementwise, nodes, resolvable
from signalprop.analysis.smoothness import breaks_of


class Gain(NamedTuple):
    """Logarithm of |delta^l| / |delta^{l+1}|, norms over all units and examples.

    Attributes:
        log_gain: By mean field.
        deviation: Standard deviation between networks to first order in 1/N, the other layers' not included.
    """

    log_gain: float
    deviation: float


@compiled("phi")
def slope_moments(
    phi: Elementwise, mean: Float[Array, " points"], variance: Float[Array, " points"]
) -> tuple[Float[Array, " points"], Float[Array, " points"]]:
    """E phi'^2 and E phi'^4 of Gaussian pre-activations with these means and variances."""
    breaks = breaks_of(phi)

    def at(mean: Array, variance: Array) -> tuple[Array, Array]:
        v = resolvable(variance)  # the mean goes with it, so that their ratio stays
        x, weight = nodes(v, breaks, False, mean * jnp.sqrt(v / jnp.where(variance > 0, variance, v)))
        slope = jax.jvp(phi, (x,), (jnp.ones_like(x),))[1]
        return weight @ slope**2, weight @ slope**4

    return jax.vmap(at)(mean, variance)


def gain(
    square: Float[np.ndarray, " examples"],
    fourth: Float[np.ndarray, " examples"],
    sigma_w: float,
    width: int,
) -> Gain:
    r"""The gain from the slope moments of the examples.

    .. math:: \frac12 \log \sigma_w^2 \langle\mu_1\rangle, \qquad
        \frac12 \sqrt{(3 \mu_2 / \mu_1^2 - 1) / N}

    The deviation is that of a single example; a batch of unlike ones averages over it, so that it is an upper
    bound.

    Args:
        square: mu_1 of each example.
        fourth: mu_2.
        sigma_w: Root mean square of the next layer's weights times sqrt(fan_in).
        width: N, the units of the layer.
    """
    mu_1, mu_2 = float(np.mean(square)), float(np.mean(fourth))
    if mu_1 <= 0 or sigma_w <= 0:
        return Gain(-np.inf, np.nan)
    spread = max(3 * mu_2 / mu_1**2 - 1, 0) / width
    return Gain(float(0.5 * np.log(sigma_w**2 * mu_1)), float(0.5 * np.sqrt(spread)))
