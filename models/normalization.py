"""Normalization and dropout as they are when training begins: batch statistics, gain 1, bias 0.

The three norms agree with ``nnx.BatchNorm``, ``nnx.LayerNorm`` and ``nnx.RMSNorm`` but hold no state: they
can be vmapped, scanned and differentiated like any function.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from signalprop.models.lookup import named
from signalprop.models.mlp import Layer

Norm = Callable[[Array], Array]


def batch_norm(
    z: Float[Array, "batch units"], epsilon: Float[ArrayLike, ""] = 1e-5
) -> Float[Array, "batch units"]:
    """Normalize every unit over the batch to mean 0 and variance 1 (arXiv 1502.03167).

    Args:
        z: Pre-activations, examples along the first axis.
        epsilon: Added to the (biased) variance.
    """
    return _over(0, z - z.mean(axis=0), epsilon)


def layer_norm(
    z: Float[Array, "*batch units"], epsilon: Float[ArrayLike, ""] = 1e-5
) -> Float[Array, "*batch units"]:
    """Normalize every example over its units to mean 0 and variance 1 (arXiv 1607.06450).

    Args:
        z: Pre-activations, units along the last axis.
        epsilon: Added to the (biased) variance.
    """
    return _over(-1, z - z.mean(axis=-1, keepdims=True), epsilon)


def rms_norm(
    z: Float[Array, "*batch units"], epsilon: Float[ArrayLike, ""] = 1e-5
) -> Float[Array, "*batch units"]:
    """Normalize every example over its units to mean square 1; the mean stays (arXiv 1910.07467).

    Args:
        z: Pre-activations, units along the last axis.
        epsilon: Added to the mean square.
    """
    return _over(-1, z, epsilon)


def identity(z: Array) -> Array:
    """Leave the pre-activations as they are."""
    return z


NORMS: dict[str, Norm] = {"none": identity, "batch": batch_norm, "layer": layer_norm, "rms": rms_norm}


def norm(name: str) -> Norm:
    """Find a norm by its name.

    Raises:
        ValueError: If the name is unknown; the message gives the nearest one.

    Example:
        >>> norm("rms").__name__
        'rms_norm'
    """
    return named("norm", name, NORMS)


class NormalizedLayer(nnx.Module):
    """The block ``phi(norm(y W + b))``.

    For a whole network, give ``phi`` after ``norm`` as the activation of `signalprop.models.mlp.MLP`.
    """

    def __init__(self, layer: Layer, norm: Norm, phi: Callable[[Array], Array]):
        """Hold an affine layer, a norm and an activation."""
        self.layer = layer
        self.norm = norm
        self.phi = phi

    def __call__(self, y: Float[Array, "*batch units"]) -> Float[Array, "*batch units"]:
        """Map the activities below to those above."""
        return self.phi(self.norm(self.layer(y)))


class Dropout(nnx.Module):
    """Inverted dropout with one mask: entries are kept and divided by the probability to be kept, or 0."""

    def __init__(self, mask: Float[Array, "*shape"]):
        """Hold a mask with entries 0 and 1 / keep."""
        self.mask = nnx.Variable(mask)

    def __call__(self, y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Multiply by the mask."""
        return y * self.mask[...]


def draw_dropout(
    key: PRNGKeyArray,
    layer: Int[ArrayLike, ""],
    shape: tuple[int, ...],
    keep: Float[ArrayLike, ""],
    dtype: DTypeLike = jnp.float32,
) -> Dropout:
    """Draw one mask; its key is folded with the layer's number, and masks of two probabilities are nested.

    Args:
        key: The network's key.
        layer: The layer's number, may be traced.
        shape: Of the activities, (batch, units) for a mask per example.
        keep: Probability to keep an entry, above 0; may be traced.
        dtype: Type of the mask.
    """
    uniform = jax.random.uniform(jax.random.fold_in(key, layer), shape)
    return Dropout(jnp.where(uniform < keep, 1 / jnp.asarray(keep), 0).astype(dtype))


def _over(axis: int, z: Array, epsilon: Float[ArrayLike, ""]) -> Array:
    """Divide by the root of the mean square along an axis."""
    return z * jax.lax.rsqrt(jnp.mean(z * z, axis=axis, keepdims=True) + epsilon)
