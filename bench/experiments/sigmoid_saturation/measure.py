"""Slopes, local gradients and exact zeros of one layer of sigmoids, by width and scale."""

import math

import jax
import jax.numpy as jnp

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.sigmoid_saturation import Settings
from signalprop.bench.measure.names import FORMATS
from signalprop.models.activations import ACTIVATIONS

SIGMOID = ACTIVATIONS["sigmoid"]
LARGEST_BLOCK = 1024  # inputs whose weights are held at a time
SATURATED = 5.0  # |h| from which S'(h) is below 0.0067


def grid(settings: Settings) -> Grid:
    """One compilation per width; all scales share the draw of W."""
    return Grid(
        static={"width": settings.width},
        traced={"sigma_w": settings.sigma_w},
        seeds=settings.seeds,
        constants={"units": settings.units, "dtype": settings.dtype},
        coords={"format": FORMATS},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """One layer; its weights are drawn in blocks of inputs, once forward and once back, and never stored."""
    width, units, dtype = static["width"], static["units"], static["dtype"]
    block = math.gcd(width, LARGEST_BLOCK)
    weight_key, input_key, gradient_key = jax.random.split(key, 3)
    x = jax.random.normal(input_key, (width // block, block), dtype)
    x = x / jnp.sqrt(jnp.mean(x**2))
    g = jax.random.normal(gradient_key, (units,), dtype)
    scale = point["sigma_w"] / jnp.sqrt(jnp.asarray(width, dtype))

    def unit_weights(number: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(weight_key, number), (block, units), dtype)

    numbers = jnp.arange(width // block)
    h = scale * jax.lax.scan(
        lambda h, part: (h + part[1] @ unit_weights(part[0]), None), jnp.zeros(units, dtype), (numbers, x)
    )[0]  # fmt: skip
    slope = SIGMOID.derivative(h)
    delta = slope * g
    squares = jax.lax.map(lambda number: jnp.sum((unit_weights(number) @ delta) ** 2), numbers)
    return {
        "std": jnp.sqrt(jnp.mean(h**2)),
        "saturated": jnp.mean(jnp.abs(h) > SATURATED, dtype=dtype),
        "slope": jnp.mean(slope),
        "squared_slope": jnp.mean(slope**2),
        "largest_slope": jnp.max(slope),
        "weight_gradient_squared": jnp.sum(delta**2) / jnp.sum(g**2),
        "input_gradient_squared": scale**2 * jnp.sum(squares) / jnp.sum(g**2),
        "exact_zero": jnp.stack(
            [jnp.mean(SIGMOID.derivative(h.astype(f)) == 0, dtype=dtype) for f in FORMATS]
        ),
    }
