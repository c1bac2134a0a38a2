"""One walk through the weights of each scheme, for all activations, inputs and depths."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.layer_profiles import NET, Settings, profiles
from signalprop.bench.measure import data
from signalprop.models.activations import activation
from signalprop.models.initializers import Scheme, scheme
from signalprop.models.mlp import draw_layer


def grid(settings: Settings) -> Grid:
    """One program for everything: schemes, activations, inputs and depths are axes of the measurement."""
    coords: dict[str, Sequence[Any]] = {
        **{axis: getattr(settings, axis) for axis in (*NET, "depth")},
        "layer": range(1, max(settings.depth) + 1),
        "histogram_layer": [n for n in settings.histogram_layer if n <= min(settings.depth)],
        "bin": list((profiles.BINS[1:] + profiles.BINS[:-1]) / 2),
    }
    return Grid({}, {}, settings.seeds, asdict(settings), coords)


def measure(key: Array, point: Mapping[str, Array], static: Static) -> dict[str, Array]:
    """Walk forward and back once per scheme; activations, inputs and read-outs are axes of the signal."""
    width, dtype = static["width"], jnp.dtype(static["dtype"])
    weight_key, input_key, readout_key = jax.random.split(key, 3)
    x = jnp.stack([data.inputs(n, input_key, static["batch"], width, dtype=dtype) for n in static["input"]])
    readout = jax.random.normal(readout_key, (len(static["depth"]), width), dtype)
    draws = [partial(_kernels, weight_key, scheme(name), static) for name in static["scheme"]]
    phis = [activation(name) for name in static["activation"]]
    shown = [layer for layer in static["histogram_layer"] if layer <= min(static["depth"])]

    def statistics(chosen: Array) -> dict[str, Array]:
        kernels = jax.lax.switch(chosen, draws)
        return profiles.measure(phis, kernels, x, readout, static["depth"], shown)

    measured: dict[str, Array] = jax.lax.map(statistics, jnp.arange(len(draws)))
    return measured


def _kernels(key: Array, scheme: Scheme, static: Static) -> Array:
    """All kernels of one network, (layer, in, out)."""
    width, sigma_w = static["width"], static["weight_std"] * math.sqrt(static["width"])

    def kernel(layer: Array) -> Array:
        drawn = draw_layer(key, layer, width, width, scheme, sigma_w, dtype=jnp.dtype(static["dtype"]))
        return drawn.kernel[...]

    kernels: Array = jax.lax.map(kernel, jnp.arange(1, max(static["depth"]) + 1, dtype=jnp.int32))
    return kernels
