r"""Transformer blocks at initialization: self-attention and a relu network, with layer norm before or after.

With f the attention and then the feed-forward part (Vaswani et al., arXiv 1706.03762; Xiong et al., arXiv
2002.04745, table 1):

.. math:: \text{post-LN:} \; x \to LN(x + f(x)), \qquad \text{pre-LN:} \; x \to x + f(LN(x))

and a pre-LN network ends with one more layer norm. Arrays are (..., tokens, width). Matrices are drawn from
Xavier's normal law, variance 2 / (fan_in + fan_out), biases are zero, layer norms have no parameters.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from signalprop.models import normalization
from signalprop.models.lookup import named
from signalprop.models.mlp import Layer, draw_layer, scan_run

XAVIER = "glorot_normal"
EPSILON = 1e-6  # added to the variance by layer norm
Part = Callable[[Array], Array]


def layer_norm(x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
    """Shift and scale every token to mean 0 and mean square 1."""
    return normalization.layer_norm(x, EPSILON)


def pre_layer_norm(f: Part, x: Array, skip: Float[ArrayLike, ""] = 1.0) -> Array:
    """Return ``skip x + f(LN(x))``."""
    return jnp.multiply(skip, x) + f(layer_norm(x))


def post_layer_norm(f: Part, x: Array, skip: Float[ArrayLike, ""] = 1.0) -> Array:
    """Return ``LN(skip x + f(x))``."""
    return layer_norm(jnp.multiply(skip, x) + f(x))


def no_layer_norm(f: Part, x: Array, skip: Float[ArrayLike, ""] = 1.0) -> Array:
    """Return ``skip x + f(x)``."""
    return jnp.multiply(skip, x) + f(x)


# How a part of a block is joined to its input; the factor `skip` may be traced, and 0 removes the skip.
ARRANGEMENTS: dict[str, Callable[..., Array]] = {
    "pre": pre_layer_norm,
    "post": post_layer_norm,
    "none": no_layer_norm,
}


class Attention(nnx.Module):
    """Multi-head self-attention over all tokens, no mask: softmax(Q K^T / sqrt(d_head)) V, mixed by ``out``.

    On its own, as the block of a chain, it is the pure attention network of Dong et al. (arXiv 2103.03404).
    """

    def __init__(self, query: Layer, key: Layer, value: Layer, out: Layer, heads: int = 1):
        """Hold four square layers and the number of heads, a divisor of the width."""
        self.query, self.key, self.value, self.out = query, key, value, out
        self.heads = heads

    def __call__(self, x: Float[Array, "*batch tokens width"]) -> Float[Array, "*batch tokens width"]:
        """Return the attended values of every token."""
        query, key, value = (
            layer(x).reshape(*x.shape[:-1], self.heads, -1) for layer in (self.query, self.key, self.value)
        )
        scores = jnp.einsum("...ihd,...jhd->...hij", query, key) / query.shape[-1] ** 0.5
        # jax.nn.dot_product_attention does the same, with a softmax in float32 whatever the input.
        attended = jnp.einsum("...hij,...jhd->...ihd", jax.nn.softmax(scores), value)
        return self.out(attended.reshape(x.shape))


class FeedForward(nnx.Module):
    """Two layers with a relu between them, applied to every token: relu(x W_1 + b_1) W_2 + b_2."""

    def __init__(self, hidden: Layer, out: Layer):
        """Hold the layers."""
        self.hidden, self.out = hidden, out

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        """Return the output for every token."""
        return self.out(jax.nn.relu(self.hidden(x)))


def draw_attention(
    key: PRNGKeyArray, number: Int[ArrayLike, ""], width: int, heads: int = 1, dtype: DTypeLike = jnp.float32
) -> Attention:
    """Draw the attention of one block.

    Args:
        key: The network's key.
        number: The block's number, from 1; may be traced.
        width: Units of a token.
        heads: Heads, a divisor of the width.
        dtype: Type of the parameters.

    Raises:
        ValueError: If the heads do not divide the width.
    """
    if width % heads:
        raise ValueError(f"heads must divide the width {width}, got {heads}")
    keys = jax.random.split(jax.random.fold_in(key, 0), 4)
    layers = jax.vmap(lambda k: draw_layer(k, number, width, width, XAVIER, dtype=dtype))(keys)
    first, second, third, fourth = (jax.tree.map(lambda leaf, i=i: leaf[i], layers) for i in range(4))
    return Attention(query=first, key=second, value=third, out=fourth, heads=heads)


def draw_feed_forward(
    key: PRNGKeyArray, number: Int[ArrayLike, ""], width: int, hidden: int, dtype: DTypeLike = jnp.float32
) -> FeedForward:
    """Draw the feed-forward part of one block.

    Args:
        key: The network's key.
        number: The block's number, from 1; may be traced.
        width: Units of a token.
        hidden: Units between the two layers.
        dtype: Type of the parameters.
    """
    below, above = jax.random.split(jax.random.fold_in(key, 1))
    return FeedForward(
        draw_layer(below, number, width, hidden, XAVIER, dtype=dtype),
        draw_layer(above, number, hidden, width, XAVIER, dtype=dtype),
    )


class Block(nnx.Module):
    """Attention and feed-forward part, each joined to its input in the same way."""

    def __init__(self, attention: Attention, feed_forward: FeedForward, norm: str = "pre"):
        """Hold the parts; ``norm`` is ``pre``, ``post`` or ``none``.

        Raises:
            ValueError: If the arrangement is unknown.
        """
        named("norm", norm, ARRANGEMENTS)
        self.attention, self.feed_forward, self.norm = attention, feed_forward, norm

    def __call__(self, x: Float[Array, "*batch tokens width"]) -> Float[Array, "*batch tokens width"]:
        """Apply the block."""
        join = ARRANGEMENTS[self.norm]
        return join(self.feed_forward, join(self.attention, x))


def draw_block(
    key: PRNGKeyArray,
    number: Int[ArrayLike, ""],
    width: int,
    heads: int = 1,
    hidden: int | None = None,
    norm: str = "pre",
    dtype: DTypeLike = jnp.float32,
) -> Block:
    """Draw one block from the key and its number; see `draw_attention` and `draw_feed_forward`.

    Args:
        key: The network's key.
        number: The block's number, from 1; may be traced.
        width: Units of a token.
        heads: Heads, a divisor of the width.
        hidden: Units between the two layers of the feed-forward part; four times the width if None.
        norm: ``pre``, ``post`` or ``none``.
        dtype: Type of the parameters.
    """
    attention = draw_attention(key, number, width, heads, dtype)
    hidden = 4 * width if hidden is None else hidden
    return Block(attention, draw_feed_forward(key, number, width, hidden, dtype), norm)


class Transformer(nnx.Module):
    """A stack of blocks on embedded tokens, with the final layer norm of a pre-LN network.

    Block l equals ``draw_block(key, l, ...)``. Embedding and read-out are the caller's.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        heads: int = 1,
        hidden: int | None = None,
        norm: str = "pre",
        *,
        key: PRNGKeyArray,
        dtype: DTypeLike = jnp.float32,
    ):
        """Draw the network; arguments as of `draw_block`, ``depth`` is the number of blocks.

        Raises:
            ValueError: If the depth is below 1, or as `draw_block`.
        """
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.norm = norm
        draw = partial(draw_block, width=width, heads=heads, hidden=hidden, norm=norm, dtype=dtype)
        self.blocks = jax.vmap(lambda number: draw(key, number))(jnp.arange(1, depth + 1))

    def __call__(self, x: Float[Array, "*batch tokens width"]) -> Float[Array, "*batch tokens width"]:
        """Return the last block's tokens, normalized if the blocks are pre-LN."""
        x, _ = scan_run(lambda x, block: (block(x), None), x, self.blocks)
        return layer_norm(x) if self.norm == "pre" else x
