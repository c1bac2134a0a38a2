"""Signal and gradient through one network of every depth and kind of block, from the same draws."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.residual import Settings
from signalprop.bench.experiments.residual.architectures import ARCHITECTURES
from signalprop.models.chain import chain_profile
from signalprop.models.mlp import Layer, draw_layer
from signalprop.models.normalization import layer_norm


def grid(settings: Settings) -> Grid:
    """One program: architectures and depths share it and its draws."""
    names = "architecture", "depth", "width", "batch_size", "dtype"
    return Grid(
        static={},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in names},
        coords={
            "architecture": settings.architecture,
            "depth": settings.depth,
            "block": range(max(settings.depth) + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow signal and gradient through one network of every depth and architecture, from the same draws.

    A network is a chain as long as the deepest, whose blocks beyond its own depth are the identity.
    """
    names, depths, width, dtype = (static[k] for k in ("architecture", "depth", "width", "dtype"))
    kinds, shape = [ARCHITECTURES[name] for name in names], (static["batch_size"], width)
    weights_key, x_key, g_key = jax.random.split(key, 3)
    x, g = jax.random.normal(x_key, shape, dtype), jax.random.normal(g_key, shape, dtype)
    x, g = x * jax.lax.rsqrt(jnp.mean(x * x, axis=1, keepdims=True)), g / jnp.linalg.norm(g)
    draw_unit = partial(draw_layer, weights_key, fan_in=width, fan_out=2 * width, dtype=dtype)
    kernels = jax.vmap(lambda number: draw_unit(number).kernel[...])(jnp.arange(1, max(depths) + 1))

    def one(depth_and_kind: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        depth, index = depth_and_kind

        def call(inner: Layer, outer: Layer, place: jax.Array, y: jax.Array) -> jax.Array:
            blocks = [kind.block(inner, outer, depth) for kind in kinds]
            out: jax.Array = jax.lax.switch(jnp.int32(place), [*blocks, lambda y: y], y)
            return out

        def draw(number: jax.Array) -> Callable[[jax.Array], jax.Array]:
            parts = jnp.split(kernels[number - 1], 2, axis=1)
            layers = (Layer(part, jnp.zeros(width, dtype)) for part in parts)
            return Partial(call, *layers, jnp.where(number <= depth, index, len(kinds)).astype(dtype))

        def loss_gradient(y: jax.Array) -> jax.Array:
            has_head = jnp.array([kind.head for kind in kinds])[index]
            return jnp.where(has_head, jax.vjp(layer_norm, y)[1](g)[0], g)

        found = chain_profile(draw, max(depths), x, loss_gradient)
        inside = jnp.arange(max(depths) + 1) <= depth
        log_gradient = 2 * (found.log_gradient - found.log_gradient[-1])
        return {
            "log_mean_square": jnp.where(inside, found.log_mean_square, jnp.nan),
            "log_gradient_squared": jnp.where(inside, log_gradient, jnp.nan),
            "log_last_gradient_squared": 2 * found.log_parameter_gradients.args[1].kernel[...][depth - 1],
        }

    cases = jnp.meshgrid(jnp.array(depths), jnp.arange(len(kinds)), indexing="ij")
    found = jax.lax.map(one, tuple(case.ravel() for case in cases))
    return {name: x.reshape(len(depths), len(kinds), *x.shape[1:]) for name, x in found.items()}
