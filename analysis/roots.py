"""Roots of scalar functions: the first along a line of points, by scan and bisection, and Newton's method.

Plain iteration of a mean-field map stalls where its slope is 1, and Newton's method leaves the domain;
bracketing does neither, and a scan says which of several roots is meant. Both are a few lines here because a
library for them takes longer to import than they take to compile.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float


def first_crossing(
    f: Callable[[Array], Array], points: Float[Array, " n"], noise: float
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """First root along the points at which f passes from below zero to above zero.

    Two roots between neighbouring points are not seen. The root is exact to a few units in the last place of
    the points, or to where f is lost in its own rounding.

    Args:
        f: Scalar function of a scalar.
        points: Where to look, in the order of the search; ascending or descending.
        noise: f counts as above zero only beyond this, so that rounding is not taken for a crossing.

    Returns:
        The root and whether there is one. Without a crossing the root is the last point; when f is above zero
        at the first point already, it is that point and there is no crossing.
    """
    above = jax.vmap(f)(points) > noise
    last = points.shape[0] - 1
    index = jnp.where(jnp.any(above), jnp.argmax(above), last)
    found = jnp.any(above) & ~above[0]
    ends = points[jnp.maximum(index - 1, 0)], points[index]

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        beyond = f(middle) > 0
        return jnp.where(beyond, ends[0], middle), jnp.where(beyond, middle, ends[1])

    below, beyond = lax.fori_loop(0, np.finfo(points.dtype).nmant + 4, halve, ends)
    return jnp.where(found, (below + beyond) / 2, ends[1]), found


def newton(
    f: Callable[[Array], Array], start: Float[Array, ""], lower: float, upper: float, precision: float
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """Root of a scalar function by Newton's method, kept between two ends; at most 64 steps.

    Args:
        f: Scalar function of a scalar, differentiated forward.
        start: First guess.
        lower: Lower end of the domain.
        upper: Upper end of the domain.
        precision: A step below this, relative above 1 and absolute below, ends the search.

    Returns:
        The root and whether the last step was that small.
    """

    def small(step: Array, x: Array) -> Array:
        return jnp.abs(step) <= precision * jnp.maximum(1, jnp.abs(x))

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        x, step, count = state
        return ~small(step, x) & (count < 64)

    def move(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, _, count = state
        value, slope = jax.jvp(f, (x,), (jnp.ones_like(x),))
        following = jnp.clip(x - value / slope, lower, upper)
        return following, following - x, count + 1

    x, step, _ = lax.while_loop(unfinished, move, (start, jnp.full_like(start, jnp.inf), jnp.zeros((), int)))
    return x, small(step, x)
