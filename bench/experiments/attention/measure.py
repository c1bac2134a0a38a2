"""Tokens up and gradients down one stack of transformer blocks, whose parts are switched by numbers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.attention import Settings
from signalprop.models.chain import chain_profile
from signalprop.models.transformer import (
    Attention,
    FeedForward,
    draw_attention,
    draw_feed_forward,
    layer_norm,
)

DECADES = 1 / np.log(10)
NORMS = {"none": (0.0, 0.0), "pre": (1.0, 0.0), "post": (0.0, 1.0)}  # layer norm before and after a part
BY_DEPTH = ("full block", "feed-forward")  # measured at every depth, the others at the largest


class Parts(NamedTuple):
    """What a block consists of, 1 or 0 each."""

    skip: float
    attention: float
    feed_forward: float


NETWORKS = {
    "full block": Parts(1, 1, 1),
    "feed-forward": Parts(1, 0, 1),
    "attention, skip": Parts(1, 1, 0),
    "attention": Parts(0, 1, 0),
    "no skip": Parts(0, 1, 1),
}


def grid(settings: Settings) -> Grid:
    """One compilation per number of heads; norms and networks share their draws."""
    chosen = networks(settings)
    columns = {name: [getattr(parts, name) for _, parts, _ in chosen] for name in Parts._fields}
    return Grid(
        static={"heads": settings.heads},
        traced={
            "norm": {
                name: [norm[i] for norm in NORMS.values()] for i, name in enumerate(("before", "after"))
            },
            "network": {**columns, "depth": [depth for _, _, depth in chosen]},
        },
        seeds=settings.seeds,
        constants={
            "width": settings.width,
            "tokens": settings.tokens,
            "largest_depth": settings.depth[-1],
            "dtype": settings.dtype,
        },
        coords={
            "norm": tuple(NORMS),
            "network": [labelled(name, depth) for name, _, depth in chosen],
            "block": range(settings.depth[-1] + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Send tokens up and gradients down one network."""
    width, depth, dtype = static["width"], static["largest_depth"], jnp.dtype(static["dtype"])
    block_key, input_key, gradient_key = jax.random.split(key, 3)
    x, noise = (jax.random.normal(k, (static["tokens"], width), dtype) for k in (input_key, gradient_key))

    def parts(number: jax.Array) -> tuple[Attention, FeedForward]:
        attention = draw_attention(block_key, number, width, static["heads"], dtype)
        return attention, draw_feed_forward(block_key, number, width, width, dtype)

    drawn = jax.vmap(parts)(jnp.arange(1, depth + 1))

    def draw(number: jax.Array) -> Any:
        attention, feed_forward = jax.tree.map(lambda leaf: leaf[number - 1], drawn)
        return Partial(block, attention, feed_forward, number.astype(dtype), point)

    def loss_gradient(y: jax.Array) -> jax.Array:
        """The noise, seen through the last layer norm of a pre-LN network."""
        through = jax.vjp(layer_norm, y)[1](noise)[0]
        return jnp.where(point["before"] == 1, through, noise)

    def up(x: jax.Array, number: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = draw(number)(x)
        return x, residual(x)

    x = layer_norm(x)
    residuals = jax.lax.scan(up, x, jnp.arange(1, depth + 1))[1]
    found = chain_profile(draw, depth, x, loss_gradient)
    attention, feed_forward, *_ = found.log_parameter_gradients.args
    outside = jnp.arange(depth + 1) > point["depth"]
    first = jnp.full(1, jnp.nan, dtype)

    def recorded(values: jax.Array) -> jax.Array:
        values = values if values.size > depth else jnp.concatenate([first, values])
        return jnp.where(outside, jnp.nan, values)

    return {
        "residual": recorded(jnp.concatenate([residual(x)[None], residuals])),
        "gradient": recorded((found.log_gradient - jnp.log(noise.size) / 2) * DECADES),
        "query": recorded(attention.query.kernel[...] * DECADES),
        "value": recorded(attention.value.kernel[...] * DECADES),
        "relu": recorded(feed_forward.out.kernel[...] * DECADES),
    }


def networks(settings: Settings) -> list[tuple[str, Parts, int]]:
    """Name, parts and depth of every network along the grid's axis."""
    return [
        (name, parts, depth)
        for name, parts in NETWORKS.items()
        for depth in (settings.depth if name in BY_DEPTH else settings.depth[-1:])
    ]


def labelled(name: str, depth: int) -> str:
    """Coordinate of a network along the grid's axis."""
    return f"{name}, {depth} blocks"


def residual(x: jax.Array) -> jax.Array:
    """Log10 of |x - mean over tokens| / |x|."""
    return jnp.log10(jnp.linalg.norm(x - x.mean(0)) / jnp.linalg.norm(x))


def block(
    attention: Attention,
    feed_forward: FeedForward,
    number: jax.Array,
    point: dict[str, jax.Array],
    x: jax.Array,
) -> jax.Array:
    """One block; the identity beyond the network's depth."""
    out = join(attention, x, point["attention"], point)
    out = join(feed_forward, out, point["feed_forward"], point)
    return jnp.where(number <= point["depth"], out, x)


def join(part: Any, x: jax.Array, present: jax.Array, point: dict[str, jax.Array]) -> jax.Array:
    """A part of a block with its skip and its norm, as in `models.transformer`, but switched by numbers."""
    seen = jnp.where(point["before"] == 1, layer_norm(x), x)
    out = point["skip"] * x + part(seen)
    out = jnp.where(point["after"] == 1, layer_norm(out), out)
    return jnp.where(present == 1, out, x)
