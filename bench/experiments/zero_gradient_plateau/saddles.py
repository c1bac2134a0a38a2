"""Where curvature helps: a saddle of second order, saddles of higher order, and a sigmoid that is only slow.

The smooth saddle is ``x^2 - y^2``. A chain of L scalar factors fits the target 1, ``(w_1 ... w_L - 1)^2 /
2``: all its derivatives at 0 up to the order L - 1 vanish (Kawaguchi 2016, arXiv 1605.07110). The sigmoid
unit has target 1 and starts at a negative bias.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from signalprop.bench.training.curvature import hessian, newton

DEPTHS = (2, 3, 4, 5)
METHODS = ("gradient descent", "damped Newton", "saddle-free Newton")
RATE, DAMPING = 0.1, 1e-3
OFFSET = 1e-6  # from the ridge of x^2 - y^2
STARTS = (0.2, 0.02)  # of every factor of the chain
LIMIT = 600  # steps
SIGMOID_STARTS = (-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0)


def ridge(point: jax.Array) -> jax.Array:
    """The saddle of second order."""
    return point[0] ** 2 - point[1] ** 2


def chain(factors: jax.Array, depth: jax.Array | int) -> jax.Array:
    """Loss of a product of the first ``depth`` factors."""
    return (product(factors, depth) - 1) ** 2 / 2


def product(factors: jax.Array, depth: jax.Array | int) -> jax.Array:
    """Product of the first ``depth`` factors."""
    return jnp.prod(jnp.where(jnp.arange(len(factors)) < depth, factors, 1))


def steps_to_leave(
    loss: Callable[[jax.Array], jax.Array], start: jax.Array, left: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """Steps of each of ``METHODS`` until ``left``; infinite beyond ``LIMIT``."""
    gradient = jax.grad(loss)

    def walk(method: jax.Array) -> jax.Array:
        curved = newton(1.0, DAMPING, saddle_free=method == 2)

        def step(point: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            slope = gradient(point)
            by_curvature, _state = curved.update(slope, None, point, value_fn=loss)
            moved = point + jnp.where(method == 0, -RATE * slope, by_curvature)
            held = jnp.where(left(point) | ~jnp.all(jnp.isfinite(moved)), point, moved)
            return held, left(point)

        _, done = jax.lax.scan(step, start, length=LIMIT)
        return jnp.where(jnp.any(done), jnp.argmax(done), jnp.inf)

    return jax.vmap(walk)(jnp.arange(len(METHODS)))


def measure_saddles(dtype: str) -> dict[str, jax.Array]:
    """Steps to leave every saddle, and what the derivatives at the origin of the chains are.

    Returns:
        ``ridge_steps`` (methods,); ``chain_steps`` (depths, starts, methods), until the product passes 1/2;
        ``chain_derivative`` (depths, orders from 1): derivatives at 0 along (1, ..., 1);
        ``chain_hessian`` (depths,): largest second derivative at 0; ``sigmoid_steps`` (starts,) of gradient
        descent to b = 0.
    """
    ones, origin = jnp.ones(max(DEPTHS), dtype), jnp.zeros((), dtype)

    def one(depth: jax.Array) -> dict[str, jax.Array]:
        line: Callable[[jax.Array], jax.Array] = lambda t: chain(t * ones, depth)  # noqa: E731
        derivatives = []
        for _ in range(max(DEPTHS)):
            line = jax.grad(line)
            derivatives.append(line(origin))
        loss = partial(chain, depth=depth)
        leave = partial(steps_to_leave, loss, left=lambda factors: product(factors, depth) > 0.5)
        return {
            "chain_steps": jax.vmap(leave)(jnp.asarray(STARTS, dtype)[:, None] * ones),
            "chain_derivative": jnp.stack(derivatives),
            "chain_hessian": jnp.max(jnp.abs(hessian(loss, 0 * ones))),
        }

    near = jnp.array([1, OFFSET], dtype)
    return {
        **jax.vmap(one)(jnp.asarray(DEPTHS)),
        "ridge_steps": steps_to_leave(ridge, near, lambda p: jnp.abs(p[1]) > 1),
        "sigmoid_steps": jax.vmap(_sigmoid_steps)(jnp.asarray(SIGMOID_STARTS, dtype)),
    }


def _sigmoid_steps(start: jax.Array) -> jax.Array:
    """Steps of gradient descent until one sigmoid unit with target 1 reaches b = 0."""
    slope = jax.grad(lambda b: (1 - jax.nn.sigmoid(b)) ** 2 / 2)
    steps: jax.Array
    _, steps = jax.lax.while_loop(
        lambda state: state[0] < 0,
        lambda state: (state[0] - RATE * slope(state[0]), state[1] + 1),
        (start, jnp.zeros((), int)),
    )
    return steps
