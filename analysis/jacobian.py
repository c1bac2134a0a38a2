"""Input-output Jacobians: layer by layer, of any callable, and as the growth of one vector.

The factors are D_l W_l with D_l = diag phi'(z^l), of shape (fan_out, fan_in); the first acts first. Their
singular values are found by `signalprop.analysis.products`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from signalprop.analysis.gaussian import Elementwise, derivative


class MatrixFree(NamedTuple):
    """A Jacobian J as two functions: ``matvec(u) = J u`` and ``rmatvec(v) = J^T v``."""

    matvec: Callable[[Array], Array]
    rmatvec: Callable[[Array], Array]


def layer_factors(
    phi: Elementwise, kernels: Float[Array, "depth fan_in fan_out"], z: Float[Array, "depth fan_out"]
) -> Float[Array, "depth fan_out fan_in"]:
    """Jacobian factors D_l W_l = dy^l/dy^{l-1} of layers of equal shape.

    Args:
        phi: Activation.
        kernels: Weights in the arrangement of Flax, (in, out).
        z: Pre-activations of one example.

    Returns:
        One matrix (out, in) per layer. A unit whose slope is exactly 0 is a row of zeros.
    """
    factors: Array = derivative(phi, z)[:, :, None] * jnp.swapaxes(kernels, 1, 2)
    return factors


def input_output_jacobian(
    f: Callable[[Array], Array], x: Float[Array, " n_in"]
) -> Float[Array, "n_out n_in"]:
    """Jacobian dy/dx of a function of one vector, dense.

    Forward or reverse mode, whichever takes fewer passes. Entries outside the dtype's range are lost: of deep
    networks take `layer_factors` and `signalprop.analysis.products`.

    Args:
        f: Function from a vector to a vector.
        x: Where to differentiate.
    """
    (n_out,) = jax.eval_shape(f, x).shape
    jacobian: Array = (jax.jacrev if n_out < x.size else jax.jacfwd)(f)(x)
    return jacobian


def matrix_free(f: Callable[[Array], Array], x: Float[Array, " n_in"]) -> MatrixFree:
    """Jacobian dy/dx of a function of one vector, as its products with vectors from either side.

    The function is linearized once; a product costs about one evaluation.

    Args:
        f: Function from a vector to a vector.
        x: Where to differentiate.
    """
    _, matvec = jax.linearize(f, x)
    transposed = jax.linear_transpose(matvec, x)
    return MatrixFree(matvec, lambda v: transposed(v)[0])


def log_norms(
    factors: Float[Array, "depth n n"] | Sequence[Float[Array, "_ _"]], u: Float[Array, " n_in"]
) -> Float[Array, " depth"]:
    """Natural logarithms of |A_l ... A_1 u| for l = 1..L.

    The vector is brought back to unit length after every factor, so no norm is out of range.

    Args:
        factors: Square factors as one array, or a sequence of rectangular ones (fan_out, fan_in);
            ``factors[0]`` acts first.
        u: Vector to start from, not zero; of any length.

    Returns:
        The logarithms; -inf from the factor that maps the vector to exactly zero.
    """
    direction, log_norm = _unit(u)
    logs = []
    if isinstance(factors, Sequence):
        for factor in factors:
            direction, step = _unit(factor @ direction)
            logs.append(step)
        return log_norm + jnp.cumsum(jnp.stack(logs))
    _, steps = jax.lax.scan(lambda direction, factor: _unit(factor @ direction), direction, factors)
    return log_norm + jnp.cumsum(steps)


def rank(slopes: Float[Array, "depth n"]) -> Int[Array, " depth"]:
    """Rank of dy^l/dy^0 for l = 1..L: the smallest number of active units up to there.

    Exact with probability one where the weights are drawn from a density; less if a kernel is singular.

    Args:
        slopes: phi'(z^l) of one example in layers of equal width.
    """
    return jax.lax.cummin(jnp.sum(slopes != 0, axis=1))


def _unit(vector: Array) -> tuple[Array, Array]:
    """A vector at unit length and the logarithm of its length; zero stays zero, at -inf."""
    largest = jnp.max(jnp.abs(vector))
    scaled = vector / jnp.where(largest == 0, 1, largest)
    length = jnp.linalg.norm(scaled)
    return scaled / jnp.where(length == 0, 1, length), jnp.log(largest) + jnp.log(length)
