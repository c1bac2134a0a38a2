"""Residual networks, and how they begin training: unscaled, scaled with the depth, or as the identity.

A block is ``after(y + scale * branch(before(y)))``. Depth-dependent scales need the number of blocks when the
network is drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from signalprop.models.lookup import named
from signalprop.models.mlp import Layer, draw_layer
from signalprop.models.normalization import Norm, identity

Factor = Callable[[Any], Any]  # of the depth, a number or traced


@dataclass(frozen=True)
class Scaling:
    """How a network of L blocks begins: factors of the branch, of its first and of its last kernel.

    Attributes:
        name: Key in ``SCALINGS``.
        branch: Factor of the branch's output; a parameter that is trained.
        inner: Factor of the first kernel.
        outer: Factor of the last kernel.
    """

    name: str
    branch: Factor
    inner: Factor = lambda depth: 1.0
    outer: Factor = lambda depth: 1.0


# Fixup scales the other m - 1 layers of a branch by L^(-1/(2m - 2)), here m = 2, and its last layer by 0.
SCALINGS = {
    "unscaled": Scaling("unscaled", lambda depth: 1.0),  # He et al., arXiv 1603.05027
    "root": Scaling("root", lambda depth: depth**-0.5),  # arXiv 2010.12859
    "inverse": Scaling("inverse", lambda depth: 1 / depth),
    "rezero": Scaling("rezero", lambda depth: 0.0),  # arXiv 2003.04887
    "skipinit": Scaling("skipinit", lambda depth: 0.0),  # arXiv 2002.10444: the same without normalization
    "fixup": Scaling("fixup", lambda depth: 1.0, lambda depth: depth**-0.5, lambda depth: 0.0),  # 1901.09321
}


def scaling(name: str) -> Scaling:
    """Find a way to begin by its name.

    Raises:
        ValueError: If the name is unknown; the message gives the nearest one.

    Example:
        >>> scaling("root").branch(16)
        0.25
    """
    return named("scaling", name, SCALINGS)


class Branch(nnx.Module):
    """``phi(y W_1 + b_1) W_2 + b_2``; without its inner or its outer layer it begins or ends with ``phi``."""

    def __init__(self, inner: Layer | None, phi: Callable[[Array], Array], outer: Layer | None = None):
        """Hold the layers and the activation."""
        self.inner = inner
        self.phi = phi
        self.outer = outer

    def __call__(self, y: Float[Array, "*batch units"]) -> Float[Array, "*batch units"]:
        """Return the branch's output."""
        hidden = self.phi(y if self.inner is None else self.inner(y))
        return hidden if self.outer is None else self.outer(hidden)


class ResidualBlock(nnx.Module):
    """``after(y + scale * branch(before(y)))``: pre-activation, post-norm or plain, by the norms given."""

    def __init__(
        self,
        branch: Callable[[Array], Array],
        scale: Float[ArrayLike, "*stack"] = 1.0,
        before: Norm = identity,
        after: Norm = identity,
    ):
        """Hold a branch, its scale, and the norms before the branch and after the sum."""
        self.branch = branch
        self.scale = nnx.Param(jnp.asarray(scale))
        self.before = before
        self.after = after

    def __call__(self, y: Float[Array, "*batch units"]) -> Float[Array, "*batch units"]:
        """Return the block's output."""
        branch = self.branch(self.before(y))
        return self.after(y + self.scale[...].astype(branch.dtype) * branch)


def draw_block(
    key: PRNGKeyArray,
    number: Int[ArrayLike, ""],
    width: int,
    phi: Callable[[Array], Array],
    depth: int,
    start: Scaling | str = "unscaled",
    *,
    layers: int = 2,
    sigma_in: Float[ArrayLike, ""] = 2**0.5,
    sigma_out: Float[ArrayLike, ""] = 1.0,
    dtype: DTypeLike = jnp.float32,
) -> ResidualBlock:
    """Draw one block without norms and biases; the draws do not depend on scales.

    Args:
        key: The network's key.
        number: The block's number, from 1; may be traced.
        width: Units.
        phi: Activation.
        depth: Number L of blocks of the network.
        start: How it begins.
        layers: 1 for the branch ``phi(y W)``, 2 for ``phi(y W_1) W_2``.
        sigma_in: Scale of the first kernel; the default is He's.
        sigma_out: Scale of the last of two kernels.
        dtype: Type of the parameters.

    Raises:
        ValueError: If ``layers`` is not 1 or 2, the name is unknown, or one layer is given to a way to begin
            that needs two.
    """
    start = scaling(start) if isinstance(start, str) else start
    if layers not in (1, 2) or (layers == 1 and start.outer(depth) != 1):
        raise ValueError(f"layers is {layers}, give 2, or 1 for a branch without a last kernel to scale")
    draw = partial(draw_layer, key, fan_in=width, fan_out=width, dtype=dtype)
    inner = draw(2 * jnp.asarray(number) - 1, sigma_w=jnp.asarray(sigma_in) * start.inner(depth))
    outer = draw(2 * jnp.asarray(number), sigma_w=jnp.asarray(sigma_out) * start.outer(depth))
    branch = Branch(inner, phi, outer if layers == 2 else None)
    return ResidualBlock(branch, jnp.asarray(start.branch(depth), dtype))


class ResidualMLP(nnx.Module):
    """A fully connected residual network of L equal blocks, as a plain pytree.

    Block l equals ``draw_block(key, l, ...)``. It may be built and called under ``jax.vmap``, ``jax.jit`` and
    ``jax.grad``; a read-out, where one is wanted, is a ``Layer`` of its own.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        phi: Callable[[Array], Array],
        start: Scaling | str = "unscaled",
        *,
        key: PRNGKeyArray,
        layers: int = 2,
        sigma_in: Float[ArrayLike, ""] = 2**0.5,
        sigma_out: Float[ArrayLike, ""] = 1.0,
        dtype: DTypeLike = jnp.float32,
    ):
        """Draw the network; arguments as in `draw_block`.

        Raises:
            ValueError: As `draw_block`, or if there is no block.
        """
        if depth < 1:
            raise ValueError(f"depth is {depth}, give at least one block")
        draw = partial(
            draw_block, key, width=width, phi=phi, depth=depth, start=start, layers=layers,
            sigma_in=sigma_in, sigma_out=sigma_out, dtype=dtype,
        )  # fmt: skip
        self.blocks: ResidualBlock = jax.vmap(draw)(jnp.arange(1, depth + 1))

    def __call__(self, x: Float[Array, "*batch units"]) -> Float[Array, "*batch units"]:
        """Return the last block's output."""
        y: Array = jax.lax.scan(lambda y, block: (block(y), None), x, self.blocks)[0]
        return y
