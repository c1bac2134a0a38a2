"""Lyapunov exponents, mean square and spectral radius of one random recurrent network of each family."""

import jax
import jax.numpy as jnp

from signalprop.analysis import lyapunov
from signalprop.analysis.eigenvalues import eigenvalues
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.edge_of_chaos_rnn import Settings
from signalprop.models.activations import activation
from signalprop.models.initializers import scheme

RESOLVED = 1e-3  # largest error from rounding, in nats per step, of an exponent that counts


def grid(settings: Settings) -> Grid:
    """One compilation per width; gains and inputs share their draws."""
    names = ("scheme", "activation", "settle", "align", "steps", "spectrum_width", "spectrum_steps", "dtype")
    return Grid(
        static={"width": settings.width},
        traced={"gain": settings.gain, "noise": settings.noise},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in names},
        coords={"scheme": settings.scheme, "index": range(1, num_exponents(settings) + 1)},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow one network of each family; weights and input are drawn at scale 1, for all gains alike."""
    width, dtype = static["width"], static["dtype"]
    weights_key, start_key, input_key = jax.random.split(key, 3)
    kernels = [scheme(name).draw(weights_key, width, width, dtype=dtype) for name in static["scheme"]]
    steps = static["spectrum_steps"] if width == static["spectrum_width"] else static["steps"]
    start = jax.random.normal(start_key, (width,), dtype)
    inputs = jax.random.normal(input_key, (static["settle"] + static["align"] + steps, width), dtype)
    return jax.vmap(lambda kernel: follow(kernel, start, inputs, point, static))(jnp.stack(kernels))


def num_exponents(settings: Settings) -> int:
    """Length of the measured spectra; 1 if there are none."""
    return settings.spectrum_width if settings.spectrum_width in settings.width else 1


def follow(
    kernel: jax.Array, a: jax.Array, inputs: jax.Array, point: dict[str, jax.Array], static: Static
) -> dict[str, jax.Array]:
    """Exponents, mean square and spectral radius of one network; a are the first pre-activations."""
    width, phi, settle = len(kernel), activation(static["activation"]), static["settle"]
    whole = width == static["spectrum_width"]

    def step(a: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        after = point["gain"] * (phi(a) @ kernel) + point["noise"] * x
        return after, jnp.mean(after * after)

    a, _ = jax.lax.scan(step, a, inputs[:settle])
    found = lyapunov.spectrum(step, a, inputs[settle:], width if whole else 1, transient=static["align"])
    _, squares = jax.lax.scan(step, a, inputs[settle:])
    resolved = jnp.where(found.rounding < RESOLVED, found.exponents, jnp.nan)
    return {
        "exponent": found.exponents[0],
        "q": jnp.mean(squares),
        "radius": jnp.max(jnp.abs(eigenvalues(kernel))),
        "exponents": resolved if whole else jnp.full(1, jnp.nan, kernel.dtype),
    }
