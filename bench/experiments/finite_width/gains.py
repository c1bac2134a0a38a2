"""Gains of random networks of many width profiles at once: one padded program in place of one per profile.

A profile is (n_0, ..., n_L). Every network is drawn at the largest width; a narrower profile uses the first
n_{l-1} rows and n_l columns of each kernel, rescaled to its own fan-in, so all profiles share their draws.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from signalprop.models.mlp import draw_layer

HE = 2**0.5  # sigma_w of all three: critical for relu; a linear network divides it out
NETWORKS = ("relu", "linear")
SPREAD = 0.7  # standard deviation of the log widths of a random profile
Widths = tuple[int, ...]


def random_profile(
    rng: np.random.Generator | None, depth: int, inputs: int, weights: int, largest: int
) -> Widths:
    """Log-normal widths with that many weights, to within rounding, none above ``largest``.

    Args:
        rng: Source of the shape; None gives equal widths.
        depth: Number of layers.
        inputs: n_0.
        weights: Sum of n_{l-1} n_l.
        largest: Largest width.
    """
    shape = np.ones(depth) if rng is None else np.exp(SPREAD * rng.standard_normal(depth))

    def widths(log_scale: float) -> np.ndarray:
        return np.append(inputs, np.clip(np.exp(log_scale) * shape, 2, largest))

    def excess(log_scale: float) -> float:
        n = widths(log_scale)
        return float(n[:-1] @ n[1:]) - weights

    widest = 2 + float(np.log(largest))
    scale = optimize.brentq(excess, -widest, widest) if excess(-widest) < 0 < excess(widest) else widest
    return tuple(int(n) for n in np.round(widths(scale)))


def padded(profiles: list[Widths]) -> tuple[Widths, ...]:
    """Profiles filled up to the longest with zeros, which stand for layers that are not there."""
    longest = max(map(len, profiles))
    return tuple(w + (0,) * (longest - len(w)) for w in profiles)


class Gains(NamedTuple):
    """What a network of every profile does, layer by layer.

    Attributes:
        logs: Natural logarithms of |Ju|^2 of the relu network, u being the first unit vector, of |Ju|^2 of
            the linear one, and of |y|^2 / |x|^2 of the relu network, x being the vector of ones; -inf where
            it is dead.
        traces: (tr S / n)^2 and tr S^2 / n of S = J J^T of the square networks, relu and linear.
    """

    logs: jax.Array
    """(layer, profile, 3)"""
    traces: jax.Array
    """(layer, network, 2)"""


def walk(key: jax.Array, scheme: str, profiles: tuple[Widths, ...], width: int, dtype: str) -> Gains:
    """Gains after every layer of one network of each profile, and of a square one, relu and linear.

    Args:
        key: Random key of the network.
        scheme: Name in ``SCHEMES`` of the experiment.
        profiles: Widths, as `padded` returns them; beyond its last layer a network keeps its values.
        width: Units of every layer of the square network, whose whole Jacobian is formed.
        dtype: Type in which the network is drawn and walked through.
    """
    widths, largest = jnp.asarray(profiles).T, max(map(max, profiles))

    def step(state: Any, numbered: Any) -> Any:
        (vectors, logs, square), (number, below, here) = state, numbered
        kernel = draw_layer(key, number, largest, largest, scheme, HE, dtype=dtype).kernel[...]
        scale = jnp.sqrt(largest / jnp.maximum(below, 1).astype(dtype))[:, None, None]
        vectors, logs = _append(vectors, logs, scale, kernel, here)
        square, traces = _append_square(square, kernel[:width, :width].T * (largest / width) ** 0.5)
        return (vectors, logs, square), Gains(logs, traces)

    ones = (jnp.arange(largest) < widths[0][:, None]).astype(dtype)
    x = ones / jnp.linalg.norm(ones, axis=-1, keepdims=True)
    u = jnp.zeros_like(x).at[:, 0].set(1)
    eyes = jnp.broadcast_to(jnp.eye(width, dtype=dtype), (2, width, width))
    start = jnp.stack([u, u, x], 1), jnp.zeros((len(profiles), 3), dtype), (eyes, jnp.ones(width, dtype))
    gains: Gains = jax.lax.scan(step, start, (jnp.arange(1, len(widths)), widths[:-1], widths[1:]))[1]
    return gains


def _append(vectors: jax.Array, logs: jax.Array, scale: jax.Array, kernel: jax.Array, here: jax.Array) -> Any:
    """One layer of every profile, ``here`` units wide: unit vectors and the logs of their squared sizes."""
    z = scale * (vectors @ kernel) * (jnp.arange(kernel.shape[1]) < here[:, None])[:, None]
    gates = jnp.stack([z[:, 2] > 0, jnp.full_like(z[:, 0], 1 / HE), z[:, 2] > 0], 1)
    norms = jnp.linalg.norm(gates * z, axis=-1, keepdims=True)
    there = (here > 0)[:, None]
    logs = jnp.where(there, logs + 2 * jnp.log(norms[..., 0]), logs)
    return jnp.where(there[..., None], gates * z / jnp.where(norms > 0, norms, 1), vectors), logs


def _append_square(square: tuple[jax.Array, jax.Array], weights: jax.Array) -> Any:
    """One layer of the square networks: Jacobians, relu and linear, and relu signal; and both traces."""
    jacobians, y = square
    z = weights @ y
    gates = jnp.stack([z > 0, jnp.full_like(z, 1 / HE)])[..., None]
    jacobians = gates * (weights @ jacobians)
    grams = jacobians @ jnp.swapaxes(jacobians, 1, 2)
    mean = jnp.trace(grams, axis1=1, axis2=2) / len(weights)
    return (jacobians, jnp.maximum(z, 0)), jnp.stack([mean**2, jnp.sum(grams**2, (1, 2)) / len(weights)], -1)
