"""Curvature of a loss: the largest eigenvalue of its Hessian, without forming it.

Gradient descent with step size h on a quadratic loss multiplies its component along an eigenvector of
eigenvalue lambda by ``1 - h lambda`` per step: it diverges if and only if ``h > 2 / lambda_max``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray


class Curvature(NamedTuple):
    """Extreme eigenvalues of a Hessian.

    Attributes:
        largest: The largest eigenvalue, from below.
        smallest: The smallest, from above: negative where the loss curves downwards.
        error: An eigenvalue lies within this of ``largest``: the norm of its Ritz vector's residual.
    """

    largest: Float[Array, ""]
    smallest: Float[Array, ""]
    error: Float[Array, ""]


def curvature(
    key: PRNGKeyArray, loss: Callable[[Any], Array], parameters: Any, num_products: int = 30
) -> Curvature:
    """Largest and smallest eigenvalue of the Hessian by Lanczos' method with full orthogonalization.

    Each product is one forward derivative of the gradient (Pearlmutter 1994, Neural Computation 6(1)). With
    as many products as parameters the eigenvalues are exact; products beyond that are harmless.

    Args:
        key: Random key of the first vector.
        loss: ``parameters -> scalar``, twice differentiable.
        parameters: Pytree of P floating-point numbers of one type.
        num_products: Number m of products; memory is m P numbers.

    Returns:
        Ritz values, and the residual of the largest; NaN where the Hessian is not finite.

    Raises:
        ValueError: If there is no product.
    """
    if num_products < 1:
        raise ValueError(f"num_products is {num_products}, give at least 1")
    flat, unflatten = ravel_pytree(parameters)
    slope = jax.grad(lambda p: loss(unflatten(p)))
    first = jax.random.normal(key, flat.shape, flat.dtype)
    basis = jnp.zeros((num_products, flat.size), flat.dtype)

    def step(carry: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        basis, v = carry
        basis = basis.at[i].set(v)
        w = jax.jvp(slope, (flat,), (v,))[1]
        diagonal = v @ w
        for _ in range(2):  # once more, against rounding
            w = w - basis.T @ (basis @ w)
        norm = jnp.linalg.norm(w)
        ended = norm <= jnp.finfo(flat.dtype).eps * 10 * jnp.abs(diagonal)
        return (basis, jnp.where(ended, 0, w / jnp.where(ended, 1, norm))), (
            diagonal,
            jnp.where(ended, 0, norm),
        )

    start = basis, first / jnp.linalg.norm(first)
    _, (diagonal, beside) = jax.lax.scan(step, start, jnp.arange(num_products))
    tridiagonal = jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)
    # rows after the end of the Krylov space are zeros: move their eigenvalues inside the others
    spent = jnp.cumsum(jnp.concatenate([jnp.zeros(1), beside[:-1] == 0])) > 0
    tridiagonal += jnp.diag(jnp.where(spent, diagonal[0], 0).astype(flat.dtype))
    values, vectors = jnp.linalg.eigh(tridiagonal)
    return Curvature(values[-1], values[0], jnp.abs(beside[-1] * vectors[-1, -1]))
