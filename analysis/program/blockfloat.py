"""Block floating point: arrays of any size as a mantissa whose norm is near 1, and one power of two.

A gradient of 1e-300 in a network of float16 is an array of float16 and a whole number. Factors are powers of
two, so that scaling rounds nothing.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

NOTHING = -(2**20)
"""Exponent of an exact zero, below that of any number."""


class BlockFloat(NamedTuple):
    """The array mantissa * 2^exponent; the exponent, int32, is `NOTHING` where all entries are 0."""

    mantissa: Array
    exponent: Array


def power_of_two(exponent: Array, dtype: Any) -> Array:
    """2^exponent, exact; at the ends of the dtype's normal numbers where it lies beyond."""
    about = jnp.finfo(dtype)
    whole = jnp.dtype(f"int{about.bits}")
    biased = jnp.clip(exponent, about.minexp, about.maxexp - 1) - about.minexp + 1
    return lax.bitcast_convert_type(biased.astype(whole) << about.nmant, jnp.dtype(dtype))


def shifted(array: Array, exponent: Array) -> Array:
    """The array times 2^exponent, by two factors; what is below the smallest number is 0."""
    half = exponent // 2
    return array * power_of_two(half, array.dtype) * power_of_two(exponent - half, array.dtype)


def joint_exponent(arrays: Sequence[Array]) -> Array:
    """Exponent k for which the joint norm of the arrays times 2^-k is near the fourth root of their size.

    That root is half way between a norm of 1, which loses the entries of a large array in float16, and a root
    mean square of 1, whose sums overflow there. `NOTHING` if all are 0, and 0 if they are not finite.
    """
    wide = [x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in arrays]
    about = jnp.finfo(wide[0].dtype)
    far = 3 * about.maxexp // 4
    square, up, down = (
        sum(jnp.vdot(x * 2.0**k, x * 2.0**k) for x in wide) for k in (0, far, -far)
    )  # dot products, as reductions take XLA long to compile
    small, large = square < 2.0 ** (about.minexp + 26), ~jnp.isfinite(square)
    square = jnp.where(small, up, jnp.where(large, down, square))
    offset = jnp.where(small, -far, jnp.where(large, far, 0))
    size = sum(x.size for x in arrays)
    exponent = jnp.frexp(square)[1] // 2 + offset - round(np.log2(max(size, 1)) / 4)
    exponent = jnp.where(jnp.isfinite(square), exponent, 0)
    return jnp.where(square == 0, NOTHING, exponent).astype(jnp.int32)


def rescaled(array: Array, exponent: Array) -> BlockFloat:
    """The same number with its mantissa near 1."""
    own = joint_exponent([array])
    nothing = own == NOTHING
    mantissa = shifted(array, jnp.where(nothing, 0, -own))
    return BlockFloat(*lax.optimization_barrier((mantissa, jnp.where(nothing, NOTHING, exponent + own))))


def aligned(values: Sequence[BlockFloat]) -> tuple[list[Array], Array]:
    """The mantissas at one exponent, the largest, and it."""
    top = values[0].exponent
    for value in values[1:]:
        top = jnp.maximum(top, value.exponent)
    return [shifted(x.mantissa, x.exponent - top) for x in values], top


@jax.jit
def added(a: BlockFloat, b: BlockFloat) -> BlockFloat:
    """The sum."""
    (x, y), top = aligned([a, b])
    return rescaled(x + y, top)


def sized(array: Array, exponent: Array) -> tuple[Array, Array]:
    """Squared norm of array * 2^exponent, as a number near 1 and the norm's exponent, for `log_norm_of`."""
    mantissa, exponent = rescaled(array, exponent)
    wide = mantissa.astype(jnp.promote_types(mantissa.dtype, jnp.float32))
    return jnp.vdot(wide, wide), exponent


def log_norm_of(square: Any, exponent: Any) -> np.ndarray:
    """Natural log of a norm as `sized` gives it, in float64; -inf of 0, NaN where it is not a number."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(0.5 * np.log(np.asarray(square, np.float64)) + np.asarray(exponent) * np.log(2.0))


def log_norm(value: BlockFloat) -> float:
    """Natural logarithm of the Euclidean norm, by sums in float64; -inf of 0."""
    flat = np.asarray(value.mantissa).astype(np.float64).ravel()
    return float(log_norm_of(np.dot(flat, flat), value.exponent))
