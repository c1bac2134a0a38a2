"""One signal up and one gradient down a very deep network that is drawn as it is walked."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from signalprop.analysis import meanfield
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.depth_limits import NETWORKS, Settings
from signalprop.models.chain import Block, chain_profile
from signalprop.models.convolutional import draw_convolution
from signalprop.models.mlp import draw_layer

WEIGHTS = ("orthogonal", "gaussian")
STARTS = ("critical", "unit input", "no bias", "ordered", "chaotic")
DECADES = 1 / np.log(10)
DRAW: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "mlp": (draw_layer, ()),
    "conv": (draw_convolution, ((3,),)),
}  # how a layer is drawn, and its window


def grid(settings: Settings) -> Grid:
    """One compilation per network; all starts share their draws."""
    return Grid(
        static={"network": settings.network},
        traced={"weights": {"gaussian": [0.0, 1.0]}, "start": starts(settings.depth)},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in ("width", "places", "depth", "dtype")},
        coords={"weights": WEIGHTS, "start": STARTS, "layer": recorded(settings.depth)},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Send one signal up and one gradient down a network that is drawn as it is walked."""
    width, depth, dtype = static["width"], static["depth"], jnp.dtype(static["dtype"])
    input_key, gradient_key, layer_key = jax.random.split(key, 3)
    scales = {"sigma_b": point["sigma_b"] / point["sigma_w"], "dtype": dtype}
    (make, window), schemes = DRAW[static["network"]], NETWORKS[static["network"]]

    def draw(number: jax.Array) -> Block:
        sizes = *window, width, width
        drawn = [make(layer_key, number, *sizes, scheme, **scales) for scheme in schemes]
        layer = jax.tree.map(partial(jnp.where, point["gaussian"] == 0), *drawn)
        return Partial(tanh_layer, layer, point["sigma_w"])

    shape = (width,) if static["network"] == "mlp" else (static["places"], width)
    x = jax.random.normal(input_key, shape, dtype)
    x = x * jnp.sqrt(point["q_0"] / jnp.mean(x * x, -1, keepdims=True))
    gradient = jax.random.normal(gradient_key, shape, dtype)
    found = chain_profile(draw, depth, x, lambda y: gradient)
    layers = jnp.array(recorded(depth))
    return {
        "signal": found.log_mean_square[layers] / 2 * DECADES,
        "gradient": (found.log_gradient[layers] - found.log_gradient[depth]) * DECADES,
        "lost_at": found.lost_at,
    }


def starts(depth: int) -> dict[str, list[float]]:
    """Scales and mean square of the input, one column per entry of STARTS.

    At, and entering at, the critical point of q* = 1/L; the same with an input of unit size; sigma_w = 1
    without biases; 1% below critical, with biases that keep q*; 5% above, without biases.
    """
    q = 1 / depth
    point = meanfield.critical_line(jnp.tanh, q)
    sigma_w, sigma_b = float(point.sigma_w), float(point.sigma_b)
    output = (q - sigma_b**2) / sigma_w**2
    below = 0.99 * sigma_w
    return {
        "sigma_w": [sigma_w, sigma_w, 1.0, below, 1.05 * sigma_w],
        "sigma_b": [sigma_b, sigma_b, 0.0, float(np.sqrt(q - below**2 * output)), 0.0],
        "q_0": [output, 1.0, 1.0, output, 1.0],
    }


def recorded(depth: int) -> tuple[int, ...]:
    """Layers at the chosen distances from the input, and from the output."""
    steps = distances(depth)
    return tuple(int(layer) for layer in np.unique([*steps, *(depth - steps), 0, depth]))


def distances(depth: int) -> np.ndarray:
    """Numbers of layers from one to all, about six per decade."""
    return np.unique(np.round(np.geomspace(1, depth, round(6 * np.log10(depth)) + 1)).astype(int))


def tanh_layer(layer: Block, sigma_w: jax.Array, y: jax.Array) -> jax.Array:
    """One block of the chain, with the scale outside the layer so that all starts share one kernel."""
    return jnp.tanh(sigma_w * layer(y))
