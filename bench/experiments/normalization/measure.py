"""Gradient, saturation and cosine of one network of every norm and activation, from the same draws."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy import special

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.normalization import Settings
from signalprop.models.activations import chosen
from signalprop.models.chain import chain_profile
from signalprop.models.mlp import Layer, draw_layer
from signalprop.models.normalization import Dropout, Norm, batch_norm, draw_dropout, norm

SATURATED: dict[str, tuple[Callable[[jax.Array], jax.Array], float]] = {
    "sigmoid": (lambda y: y * (1 - y) < 0.025, float(special.logit((1 + 0.9**0.5) / 2))),
    "tanh": (lambda y: 1 - y * y < 0.1, float(np.arctanh(0.9**0.5))),
}  # where the slope is below a tenth of the largest, from the output, and the least |z| for it


def grid(settings: Settings) -> Grid:
    """One program: all networks of a seed share their draws."""
    names = "activation", "batch_size", "keep", "sigma_w", "width", "depth", "dtype"
    return Grid(
        static={},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in names},
        coords={
            "norm": [case.name for case in cases(settings.batch_size, settings.keep)],
            "activation": settings.activation,
            "layer": range(settings.depth + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow one network of every norm and activation."""
    names, depth, width, dtype = (static[k] for k in ("activation", "depth", "width", "dtype"))
    kinds, shape = cases(static["batch_size"], static["keep"]), (max(static["batch_size"]), width)
    weights_key, mask_key, x_key, g_key = jax.random.split(key, 4)
    x, g = jax.random.normal(x_key, shape, dtype), jax.random.normal(g_key, shape, dtype)
    keeps, own = jnp.array([kind.keep for kind in kinds], dtype), jnp.array([*map(own_scale, names)], dtype)
    is_large = jnp.array([kind.large for kind in kinds])
    draw_unit = partial(draw_layer, weights_key, fan_in=width, fan_out=width, dtype=dtype)
    kernels = jax.vmap(lambda number: draw_unit(number).kernel[...])(jnp.arange(1, depth + 1))

    def one(place: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        kind, index = place
        phi, keep = chosen(names, index), keeps[kind]
        sigma_w = jnp.where(is_large[kind], static["sigma_w"], own[index] * jnp.sqrt(keep)).astype(dtype)

        def call(layer: Layer, dropout: Dropout, y: jax.Array) -> jax.Array:
            return dropout(phi(jax.lax.switch(kind, [k.norm for k in kinds], layer(y))))

        def draw(number: jax.Array) -> Callable[[jax.Array], jax.Array]:
            layer = Layer(sigma_w * kernels[number - 1], jnp.zeros(width, dtype))
            return Partial(call, layer, draw_dropout(mask_key, number, shape, keep, dtype))

        start = jnp.where(keep < 1, jnp.broadcast_to(x[0], shape), x)
        found = chain_profile(draw, depth, start, lambda y: g)
        unit = found.y / jnp.linalg.norm(found.y, axis=1, keepdims=True)
        cosine = (jnp.sum(jnp.sum(unit, 0) ** 2) / shape[0] - 1) / (shape[0] - 1)
        shares = [lambda y: jnp.full((), jnp.nan, dtype)] + [
            lambda y, is_saturated=is_saturated: jnp.mean(is_saturated(y), dtype=dtype)
            for is_saturated, _ in SATURATED.values()
        ]
        which = jnp.array([1 + [*SATURATED].index(n) if n in SATURATED else 0 for n in names])[index]
        return {
            "log_gradient_squared": 2 * (found.log_gradient - found.log_gradient[-1]),
            "log_mean_square": found.log_mean_square,
            "saturated": jnp.where(keep < 1, jnp.nan, jax.lax.switch(which, shares, found.y)),
            "cosine": cosine,
        }

    places = jnp.meshgrid(jnp.arange(len(kinds)), jnp.arange(len(names)), indexing="ij")
    found = jax.lax.map(one, tuple(place.ravel() for place in places))
    return {name: x.reshape(len(kinds), len(names), *x.shape[1:]) for name, x in found.items()}


class Case(NamedTuple):
    """A kind of network: its norm, and the scale of its weights where that is not the large one."""

    name: str
    norm: Norm
    keep: float = 1.0
    large: bool = True


def cases(batch_size: tuple[int, ...], keep: tuple[float, ...]) -> list[Case]:
    """All kinds of networks."""
    over_batches = [Case(f"batch {b}", partial(_by_batch, batch_size=b)) for b in batch_size]
    dropped = [Case(f"dropout {k:g}", norm("none"), k, False) for k in keep]
    plain = [Case("none", norm("none"), large=False), Case("none, large", norm("none"))]
    return [*plain, Case("layer", norm("layer")), Case("rms", norm("rms")), *over_batches, *dropped]


def _by_batch(z: jax.Array, batch_size: int) -> jax.Array:
    """Batch norm of consecutive batches, all with the same weights."""
    return jax.vmap(batch_norm)(z.reshape(-1, batch_size, z.shape[-1])).reshape(z.shape)


def own_scale(name: str) -> float:
    """He's scale for rectifiers, LeCun's for the others."""
    return float(2**0.5) if name in ("relu", "leaky_relu") else 1.0
