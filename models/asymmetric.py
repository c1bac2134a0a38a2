"""Randomized asymmetric initialization, which lowers the chance that a relu layer is off from the start."""

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, Int, PRNGKeyArray

from signalprop.models.mlp import Layer


def make_asymmetric(key: PRNGKeyArray, layer: Layer, fan_in: Int[ArrayLike, ""]) -> Layer:
    """Replace, in every unit, one of its weights or its bias by a draw from Beta(2, 1), which is positive.

    With the other entries normal, of standard deviation ``0.6007 / sqrt(fan_in)``, this is the
    initialization of Lu et al. (2019), arXiv:1903.06733, section 4.

    Args:
        key: Random key.
        layer: Kernel (in, out) and bias.
        fan_in: Rows of the kernel that count, from the first; the rest keep their entries. May be traced.
    """
    beta, place = jax.random.uniform(key, (2, *layer.bias.shape), layer.bias[...].dtype)
    place = jnp.floor(place * (fan_in + 1))  # the last place is the bias
    positive = jnp.sqrt(beta)  # Beta(2, 1)
    rows = jnp.arange(layer.kernel.shape[0])[:, None]
    kernel = jnp.where((rows == place) & (rows < fan_in), positive, layer.kernel[...])
    return Layer(kernel, jnp.where(place >= fan_in, positive, layer.bias[...]))
