"""Kinds of residual blocks: each as a block of a network, and as the profile that mean field predicts."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from signalprop.analysis import growth
from signalprop.analysis.residual import one_layer
from signalprop.models.activations import activation
from signalprop.models.mlp import Layer
from signalprop.models.normalization import norm
from signalprop.models.residual import Branch, ResidualBlock, scaling

HE = 2**0.5


@dataclass(frozen=True)
class Architecture:
    """A kind of block: scales of its two layers, None where there is none, how it begins, and its norms.

    Attributes:
        inner: Scale of the layer below phi.
        outer: Scale of the layer above phi.
        phi: Activation of the branch.
        start: Key of ``models.residual.SCALINGS``; None for a branch without a skip connection.
        before: Norm of the branch's input.
        after: Norm of the sum.
        head: Whether a layer norm follows the last block.
    """

    inner: float | None = HE
    outer: float | None = 1.0
    phi: str = "relu"
    start: str | None = "unscaled"
    before: str = "none"
    after: str = "none"
    head: bool = False

    def block(self, inner: Layer, outer: Layer, depth: jax.Array) -> Callable[[jax.Array], jax.Array]:
        """The block of a network of a ``depth`` that may be traced, with these layers of unit scale."""
        phi, start = activation(self.phi), scaling(self.start or "unscaled")
        below = _scaled(inner, self.inner, start.inner(depth))
        branch = Branch(below, phi, _scaled(outer, self.outer, start.outer(depth)))
        if self.start is None:
            return branch
        return ResidualBlock(branch, start.branch(depth), norm(self.before), norm(self.after))

    def predicted(self, depth: int, width: int, batch_size: int) -> growth.Profile:
        """Signal and gradient of one network, in the mean over networks."""
        phi, below = activation(self.phi), jnp.arange(depth + 1)
        inner, outer = self.inner or 0.0, 1.0 if self.outer is None else self.outer
        if self.before == "batch":
            return growth.pre_batch_norm(phi, depth, outer, batch_size)
        if self.outer is None and self.after == "none":
            return one_layer(phi, depth, inner, 1.0, width)
        branch = growth.branch_gains(phi, 1.0, inner, outer)
        if self.before == "layer":
            return growth.pre_layer_norm(depth, branch.mean_square, branch.gradient_factor)
        signal = jnp.zeros(())
        if self.after == "batch":
            gradient = jnp.log(growth.post_batch_norm_factor(phi, inner, outer, batch_size))
        elif self.after == "layer":
            # (E relu)^2 / E relu^2 = 1 / pi
            variance = branch.mean_square - (branch.mean_square / jnp.pi if self.outer is None else 0.0)
            gradient = jnp.log(growth.post_layer_norm_factor(variance, branch.gradient_factor))
        elif self.start is None:
            signal, gradient = jnp.log(branch.mean_square), jnp.log(branch.gradient_factor)
        else:
            start = scaling(self.start)
            scale = start.branch(depth) * start.inner(depth) * start.outer(depth)
            signal = gradient = growth.log_residual(branch.gradient_factor, scale, 1)
        return growth.Profile(signal * below, gradient * (depth - below))


ARCHITECTURES = {
    "plain": Architecture(start=None),
    "residual": Architecture(),
    "1/sqrt(L)": Architecture(start="root"),
    "1/L": Architecture(start="inverse"),
    "ReZero": Architecture(start="rezero"),
    "Fixup": Architecture(start="fixup"),
    "relu branch": Architecture(outer=None),
    "tanh branch": Architecture(1.0, None, "tanh"),
    "pre-BN": Architecture(None, HE, before="batch"),
    "post-BN": Architecture(after="batch"),
    "pre-LN": Architecture(1.0, before="layer", head=True),
    "post-LN": Architecture(1.0, after="layer"),
    "post-LN relu": Architecture(outer=None, after="layer"),
}


def _scaled(layer: Layer, sigma: float | None, factor: ArrayLike) -> Layer | None:
    if sigma is None:
        return None
    kernel = layer.kernel[...]
    return Layer(kernel * jnp.asarray(sigma * factor, kernel.dtype), layer.bias[...])
