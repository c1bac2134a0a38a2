"""The atlas of every number format, and gradients of deep networks kept in each format on their way back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signalprop.analysis.statistics import log_norm
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.precision import Settings
from signalprop.bench.measure import rounding
from signalprop.bench.measure.names import FORMATS
from signalprop.bench.measure.rounding import FACTORS, RATES, SLOPE_AT, VARIANTS, WEIGHTS
from signalprop.models.activations import Activation, activation, derivative
from signalprop.models.stream import LazyMLP, backward, forward

SIDES = ("right", "left")  # of 0, where an edge is looked for
NETWORKS = {"sigmoid": 1.0, "sin": 8.0}  # activation and sigma_w
STEP = 0.01  # learning rate of the update that is compared with the weights
LN10 = float(np.log(10))


def grid(settings: Settings) -> Grid:
    """One program; all but the networks is the same for every seed."""
    names = ("activation", "width", "depth", "dtype")
    return Grid(
        static={},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in names},
        coords={
            "format": FORMATS,
            "activation": settings.activation,
            "side": SIDES,
            "factor": FACTORS,
            "weight": WEIGHTS,
            "rate": RATES,
            "z": SLOPE_AT,
            "network": tuple(NETWORKS),
            "layer": range(settings.depth),
        },
    )


def measure(key: Array, point: dict[str, Array], static: Static) -> dict[str, Array]:
    """The atlas of every format, and the gradients of one network of each kind."""
    functions = [VARIANTS.get(name) or activation(name).function for name in static["activation"]]
    rows = [{**rounding.slopes(functions, f), **rounding.steps(f), **rounding.products(f)} for f in FORMATS]
    atlas = {name: jnp.stack([jnp.asarray(row[name], float) for row in rows]) for name in rows[0]}
    return {**atlas, **gradients(key, static["width"], static["depth"], static["dtype"])}


def gradients(key: Array, width: int, depth: int, dtype: str) -> dict[str, Array]:
    """Back-propagate through one network of each kind, from a random cotangent.

    The two share their random draws: sigmoids that make the gradient vanish, sqrt(chi_1) = 0.236, and sines
    that make it explode, sqrt(chi_1) = 5.66. The signal keeps one dtype and never leaves its range, so that
    it is the format of the gradient alone that is tested.

    Args:
        key: The network's key.
        width: Units of every layer.
        depth: Number of layers.
        dtype: Type of signal, weights and log-domain gradient.

    Returns:
        log10 of a norm by network and layer, from the last layer down: ``kept``, |delta| as a format keeps
        its entries; ``plain``, the same by a sum of squares in that format; ``true``, |delta| in the log
        domain; ``step``, lr |dE/dW| over |W|. -inf where all is 0, inf or NaN where it overflowed.
    """
    input_key, cotangent_key, key = jax.random.split(key, 3)
    x, cotangent = (jax.random.normal(k, (width,), dtype) for k in (input_key, cotangent_key))

    def walk(sigma_w: Array, is_first: Array) -> tuple[Array, ...]:
        phi = phi_of(is_first)
        network = LazyMLP((width,) * (depth + 1), phi, sigma_w=sigma_w, key=key, dtype=dtype)
        signal = forward(network, x, lambda carry, number, kernel, z: (carry, z), None).outs

        def observe(kept: list[Array], number: Array, kernel: Array, delta: Any) -> tuple[Any, Any]:
            z = signal[0].mantissa[number - 1]
            deltas = [derivative(phi, z.astype(g.dtype)) * g for g in kept]
            below = [d @ kernel.astype(d.dtype).T for d in deltas]
            plain = [jnp.log(jnp.linalg.norm(d).astype(float)) for d in deltas]
            scaled = [log_norm(d.astype(float)) for d in deltas]
            return below, (jnp.stack(scaled), jnp.stack(plain), delta.log_norm())

        kept = [cotangent.astype(f) for f in FORMATS]
        scaled, plain, true = backward(network, signal, cotangent, observe, kept).outs[0]
        # |dE/dW| = |delta| |y| with |y| = |z| / sigma_w from below, |W| = sigma_w sqrt(N)
        step = jnp.log(STEP) + true + signal[0].log_mean_square() / 2 - 2 * jnp.log(sigma_w)
        return tuple(jnp.moveaxis(a[::-1], 0, -1) / LN10 for a in (scaled, plain, true, step))

    walks = jax.vmap(walk)(*both(dtype))
    return dict(zip(("kept", "plain", "true", "step"), walks, strict=True))


def both(dtype: Any) -> tuple[Array, Array]:
    """The scales of both networks, and which of them is the first."""
    return jnp.asarray(list(NETWORKS.values()), dtype), jnp.arange(len(NETWORKS)) == 0


def phi_of(is_first: Array) -> Activation:
    """The activation of the first network or of the second, in one program; both are smooth."""
    first, second = (activation(name).function for name in NETWORKS)
    return Activation(
        "first or second", lambda z: jnp.where(is_first, first(z), second(z)), kinks=(), max_slope=np.nan
    )
