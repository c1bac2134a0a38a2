"""Restarts of tiny tanh networks on XOR: which end in a bad minimum, and which on a plateau.

A net of 2 to 16 hidden units and a linear output fits the four points (+-1, +-1) with targets x_1 x_2. Where
it ends is judged by its Hessian: a strict minimum has curvature above 0 in all directions, by more than
rounding explains, and lies within a short Newton step.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from signalprop.bench.experiments.stuck_or_solved import WIDEST
from signalprop.bench.training.curvature import hessian
from signalprop.bench.training.optimizers import optimizer

RATE = 0.1
UNSOLVED = 0.05  # mean squared error over that of the mean, from which an end is bad
CERTAIN = 100  # times the rounding error of an eigenvalue, from which it is above 0
NEAR = 0.1  # length of the Newton step within which a certified minimum lies


def draw_net(key: jax.Array, width: jax.Array, dtype: DTypeLike) -> dict[str, jax.Array]:
    """Draw a net; units beyond the width are 0 and stay so."""
    keys = jax.random.split(key, 3)
    used = (jnp.arange(WIDEST) < width).astype(dtype)
    return {
        "weights": jax.random.normal(keys[0], (2, WIDEST), dtype) * used,
        "biases": jax.random.normal(keys[1], (WIDEST,), dtype) * used,
        "readout": jax.random.normal(keys[2], (WIDEST,), dtype) * used / jnp.sqrt(width.astype(dtype)),
        "output": jnp.zeros((), dtype),
    }


def error(net: dict[str, jax.Array], width: jax.Array) -> jax.Array:
    """Mean squared error over the four points; 1 for the best constant."""
    x = jnp.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], net["biases"].dtype)
    hidden = jnp.tanh(x @ net["weights"] + net["biases"]) * (jnp.arange(WIDEST) < width)
    return jnp.mean((hidden @ net["readout"] + net["output"] - x[:, 0] * x[:, 1]) ** 2)


def restart(
    key: jax.Array, width: jax.Array, penalty: jax.Array, *, steps: int, dtype: DTypeLike
) -> dict[str, jax.Array]:
    """Train one net by heavy ball on all four points, and look at where it ends.

    Returns:
        ``error`` at the end, ``gradient``: the norm of the gradient of what is minimised, with the penalty
        ``penalty |w|^2 / 2``, ``least``: its smallest curvature, and ``minimum``: 1 if a strict minimum is
        certified.
    """

    def total(net: dict[str, jax.Array]) -> jax.Array:
        square = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(net))
        return error(net, width) + penalty * square / 2

    method = optimizer("heavy_ball", RATE)
    net = draw_net(key, width, dtype)

    def step(state: Any, _: None) -> tuple[Any, None]:
        net, memory = state
        updates, memory = method.update(jax.grad(total)(net), memory, net)
        return (jax.tree.map(jnp.add, net, updates), memory), None

    (end, _), _ = jax.lax.scan(step, (net, method.init(net)), length=steps)
    used = jnp.arange(WIDEST) < width
    mask = {"weights": jnp.stack([used, used]), "biases": used, "readout": used, "output": jnp.array(True)}
    kept = jnp.concatenate([jnp.ravel(mask[name]) for name in sorted(mask)])
    slope = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(jax.grad(total)(end))])
    least, minimum = strict_minimum(hessian(total, end), slope, kept)
    return {
        "error": error(end, width),
        "gradient": jnp.linalg.norm(slope),
        "least": least,
        "minimum": minimum.astype(dtype),
    }


def strict_minimum(curvature: jax.Array, slope: jax.Array, kept: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Smallest curvature among the kept parameters, and whether a strict minimum is certified near by.

    An eigenvalue of a symmetric (P, P) matrix has an error of up to about P machine epsilons times the
    largest one; the smallest counts as above 0 from ``CERTAIN`` times that. Other parameters get the mean
    curvature, which changes neither end of the spectrum.
    """
    mean = jnp.sum(jnp.where(kept, jnp.diag(curvature), 0)) / jnp.sum(kept)
    padded = jnp.where(kept[:, None] & kept, curvature, jnp.diag(jnp.where(kept, 0, mean)))
    values, directions = jnp.linalg.eigh(padded)
    rounding = len(kept) * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))
    newton = jnp.linalg.norm((directions.T @ slope) / jnp.where(values > 0, values, 1))
    return values[0], (values[0] > CERTAIN * rounding) & (newton < NEAR)
