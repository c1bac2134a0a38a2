"""The first root of a scalar function along a line of points: scan for the sign change, then bisect in it.

Plain iteration of a mean-field map stalls where its slope is 1, and Newton's method leaves the domain;
bracketing does neither, and a scan says which of several roots is meant.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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
    import optimistix as optx

    above = jax.vmap(f)(points) > noise
    last = points.shape[0] - 1
    index = jnp.where(jnp.any(above), jnp.argmax(above), last)
    found = jnp.any(above) & ~above[0]
    before, after = points[jnp.maximum(index - 1, 0)], points[index]
    precision = 8 * float(np.finfo(points.dtype).eps)
    solver: optx.AbstractRootFinder[Any, Any, Any, Any]
    solver = optx.Bisection(rtol=precision, atol=precision, flip=False)  # type: ignore[call-arg]

    def along(fraction: Array, _: None) -> Array:
        return f(before + fraction * (after - before))

    middle = jnp.asarray(0.5, points.dtype)
    options = {"lower": 0.0, "upper": 1.0}
    steps = np.finfo(points.dtype).nmant + 4
    fraction = optx.root_find(along, solver, middle, options=options, max_steps=steps, throw=False).value
    return jnp.where(found, before + fraction * (after - before), after), found
