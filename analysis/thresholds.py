"""Where a function of one number becomes constant, or its derivative zero, in a floating-point format.

The numbers of a format, in order of size, are the integers that their bits spell. A search over these
integers finds a threshold to the last number, whatever the format: each pass looks at a few thousand equally
spaced ones and narrows down to the last gap in which something still changes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

BITS_PER_PASS = 12
NumberFunction = Callable[[Array], Array]


class Edges(NamedTuple):
    """Smallest sizes of input from which on a function has died; see `edges`."""

    value: Float[Array, "functions 2"]
    slope: Float[Array, "functions 2"]
    defined: Float[Array, "functions 2"]


def first_dead(alive: NumberFunction, shape: tuple[int, ...], dtype: DTypeLike) -> Float[Array, "*shape"]:
    """Find the smallest number of a format at which, and above which, a predicate is false.

    Looks at 4,096 numbers per pass, equally spaced in bits: the first are 8 (16-bit types), 2^19 (float32,
    1/16 octave) or 2^51 (float64, half an octave) numbers apart, the last are neighbours. What is true again
    only between two neighbours of a pass, above what it found, escapes.

    Args:
        alive: Predicate of numbers that are not negative, ``(*shape, n) -> (*shape, n)``; the last of the n
            is the largest number of the format, whose result is not used.
        shape: Shape of the batch of searches.
        dtype: The format; float64 needs 64-bit mode.

    Returns:
        The numbers, in the format: 0 where the predicate is never true, inf where it is true at the largest.
    """
    dtype = jnp.dtype(dtype)
    code = _code(dtype)
    top = lax.bitcast_convert_type(jnp.finfo(dtype).max, code)
    free_bits = 8 * dtype.itemsize - 1

    def narrow(state: tuple[Array, Array], stride: Array) -> tuple[tuple[Array, Array], None]:
        low, met = state
        tried = low[..., None] + stride * jnp.arange(1 << BITS_PER_PASS, dtype=code)
        codes = jnp.concatenate([jnp.minimum(tried, top), jnp.broadcast_to(top, (*shape, 1))], axis=-1)
        found = alive(lax.bitcast_convert_type(codes, dtype))[..., :-1] & (tried <= top)
        last = found.shape[-1] - 1 - jnp.argmax(found[..., ::-1], axis=-1)
        highest = jnp.take_along_axis(tried, last[..., None], axis=-1)[..., 0]
        return (jnp.where(jnp.any(found, axis=-1), highest, low), met | jnp.any(found, axis=-1)), None

    # Behind a barrier, lest a compiler evaluates by its own rules what has no input.
    shifts = [*range(free_bits - BITS_PER_PASS, 0, -BITS_PER_PASS), 0]
    strides = lax.optimization_barrier(jnp.asarray([1 << shift for shift in shifts], code))
    (low, met), _ = lax.scan(narrow, (jnp.zeros(shape, code), jnp.zeros(shape, bool)), strides)
    return lax.bitcast_convert_type(jnp.where(met, low + 1, 0).astype(code), dtype)


def edges(functions: Sequence[NumberFunction], dtype: DTypeLike) -> Edges:
    """Find where functions saturate, where their derivatives vanish and where these are no longer numbers.

    ``value`` is the smallest |z| such that f has the same value there and at every larger number of the
    format, ``slope`` that from which `jax.grad` of f is exactly 0 or not a number, ``defined`` that from
    which it is not a number; on the right (z > 0) and on the left. An isolated zero below the edge does not
    count.

    Inputs are made from bits and results are judged by their bits, so that each is rounded to the format and
    none is flushed by a comparison. In between stands what XLA compiles for this device: it may keep a 16-bit
    intermediate result in float32, and it may flush subnormal numbers to 0.

    Args:
        functions: Elementwise functions, differentiable by JAX.
        dtype: The format; float64 needs 64-bit mode.

    Returns:
        Three arrays (functions, 2) in the format: inf where there is no such number, 0 where all are.
    """
    code = _code(dtype)
    sign = 1 << (8 * code.itemsize - 1)
    signs = jnp.asarray([0, sign], code)[:, None]

    def size(y: Array) -> Array:
        return lax.bitcast_convert_type(y, code) & jnp.asarray(sign - 1, code)

    def alive(x: Array) -> Array:  # (functions, 3, 2, n)
        signed = lax.bitcast_convert_type(lax.bitcast_convert_type(x, code) | signs, x.dtype)
        found = []
        for f, z in zip(functions, signed, strict=True):
            value, slope = (y.reshape(z.shape) for y in jax.vmap(jax.value_and_grad(f))(z.reshape(-1)))
            changes, number = size(value) != size(value[..., -1:]), ~jnp.isnan(slope)
            found.append(jnp.stack([changes[0], (number & (size(slope) != 0))[1], number[2]]))
        return jnp.stack(found)

    first = first_dead(alive, (len(functions), len(Edges._fields), 2), dtype)
    return Edges(*jnp.moveaxis(first, 1, 0))


def _code(dtype: DTypeLike) -> jnp.dtype:
    """The unsigned integers of the format's size."""
    return jnp.dtype(f"uint{8 * jnp.dtype(dtype).itemsize}")
