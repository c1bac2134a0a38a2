"""The size of the gradient in every layer of one network, by activation and weight scale."""

import jax
import jax.numpy as jnp

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.activation_slopes import Settings
from signalprop.models import stream
from signalprop.models.activations import activation


def grid(settings: Settings) -> Grid:
    """One compilation per activation."""
    return Grid(
        static={"activation": settings.activation},
        traced={"sigma_w": settings.sigma_w},
        seeds=settings.seeds,
        constants={"width": settings.width, "depth": settings.depth, "dtype": settings.dtype},
        coords={"layer": range(1, settings.depth + 1)},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Log norm of the gradient in every layer of one network; NaN where the signal left the range."""
    width, depth, dtype = static["width"], static["depth"], static["dtype"]
    input_key, top_key, key = jax.random.split(key, 3)
    x = jax.random.normal(input_key, (width,), dtype)
    widths, phi = (width,) * (depth + 1), activation(static["activation"])
    network = stream.LazyMLP(widths, phi, "gaussian", point["sigma_w"], key=key, dtype=dtype)
    cotangent = jax.random.normal(top_key, (width,), dtype)
    profile = stream.profile(network, x / jnp.sqrt(jnp.mean(x**2)), cotangent)
    return {"log_delta": jnp.where(profile.lost_at == 0, profile.log_delta, jnp.nan)}
