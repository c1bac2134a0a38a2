"""Newton's method for small networks, as one of the suite's optimizers: all curvature, dense."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike


def newton(
    learning_rate: ArrayLike = 1.0, damping: ArrayLike = 1e-3, *, saddle_free: ArrayLike = True
) -> optax.GradientTransformationExtraArgs:
    """Build a damped Newton method from the eigenvalues h of the whole Hessian of ``value_fn``.

    Along each eigenvector the gradient is divided by ``|h| + damping``, which descends along negative
    curvature (saddle-free Newton, Dauphin et al. 2014, arXiv 1406.2572), or by ``h + damping`` (Levenberg
    1944), which is drawn to saddles. P parameters cost P Hessian-vector products and an eigen-decomposition
    of P^3 per step: for P up to about 1000.

    Args:
        learning_rate: Share of the Newton step; may be traced.
        damping: Above 0 where the Hessian may be singular: without it 0 / 0 makes the update NaN.
        saddle_free: Whether to take the absolute value of the curvature; may be traced.
    """

    def update(gradients: Any, state: Any, parameters: Any = None, *, value_fn: Any, **others: Any) -> Any:
        flat, unravel = ravel_pytree(parameters)
        gradient = ravel_pytree(gradients)[0]
        curvature, directions = jnp.linalg.eigh(hessian(value_fn, parameters))
        stiffness = jnp.where(saddle_free, jnp.abs(curvature), curvature)
        step = directions @ ((directions.T @ gradient) / (stiffness + damping))
        return unravel((-jnp.asarray(learning_rate) * step).astype(flat.dtype)), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def hessian(value_fn: Any, parameters: Any) -> jax.Array:
    """Second derivatives of a scalar function of a pytree, (P, P) in the order of ``ravel_pytree``."""
    flat, unravel = ravel_pytree(parameters)
    second: jax.Array = jax.hessian(lambda p: value_fn(unravel(p)))(flat)
    return second
