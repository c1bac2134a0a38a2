"""Forward and backward through one untrained network: how two inputs approach, how a gradient shrinks.

Both follow one product of layer Jacobians J = D_L W_L ... D_1 W_1. The product is asked for one number,
v^T J u, in three ways: forward (JVP), by back-propagation (VJP) and without derivatives (differences).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from signalprop.models.activations import Activation
from signalprop.models.mlp import MLP
from signalprop.models.stream import join, profile

WAYS = ("JVP", "VJP", "differences")
STEP = 1e-4  # of the central difference, for a unit direction: its error is of order 1e-8 and 1e-12 / |J u|
SETTLED, TOP = 20, 3  # layers at the input and at the output whose gradient is not at its final rate


class Directions(NamedTuple):
    """What one network does; see `both`.

    Attributes:
        log_distance: Natural log of 1 - c^l for two inputs.
        log_delta: Natural log of |delta^l| over |delta^L|, the gradient by pre-activations.
        product: v^T J u over |J u|, by the three ``WAYS``.
    """

    log_distance: jax.Array
    log_delta: jax.Array
    product: jax.Array


def both(
    key: jax.Array, x: jax.Array, phi: Activation, width: int, depth: int, sigma_w: jax.Array, sigma_b: float
) -> Directions:
    """Draw a network in float64 and walk through it up and down.

    Args:
        key: Of the weights, the read-out and the directions u and v.
        x: Two inputs, (2, features).
        phi: Activation.
        width: Units of every layer.
        depth: Number of layers.
        sigma_w: Scale of the weights.
        sigma_b: Standard deviation of the biases.
    """
    net_key, out_key, in_key = jax.random.split(key, 3)
    x = x.astype(jnp.float64)
    widths = (x.shape[1], *(width,) * depth)
    network = MLP(widths, phi, "gaussian", sigma_w, sigma_b, key=net_key, dtype=jnp.float64)
    v, u = _unit(jax.random.normal(out_key, (width,))), _unit(jax.random.normal(in_key, x.shape[1:]))
    z = join(network.trace(x))
    direction = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
    log_delta = profile(network, x[0], v).log_delta
    _, moved = jax.jvp(network, (x[0],), (u,))
    _, pull_back = jax.vjp(network, x[0])
    difference = (network(x[0] + STEP * u) - network(x[0] - STEP * u)) / (2 * STEP)
    product = jnp.stack([v @ moved, pull_back(v)[0] @ u, v @ difference])
    return Directions(
        2 * jnp.log(jnp.linalg.norm(direction[:, 0] - direction[:, 1], axis=-1)) - jnp.log(2.0),
        log_delta - log_delta[-1],
        product / jnp.linalg.norm(moved),
    )


def rate(log_square: jax.Array, first: int, last: int) -> jax.Array:
    """Mean change per layer of a log between two layers, counted from 1."""
    return (log_square[last - 1] - log_square[first - 1]) / (last - first)


def _unit(vector: jax.Array) -> jax.Array:
    return jnp.divide(vector.astype(jnp.float64), jnp.linalg.norm(vector))
