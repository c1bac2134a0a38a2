"""How much of a layer is at work: saturated units and dead units."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

SATURATED = 0.1  # of the largest slope


def saturated(
    slopes: Float[ArrayLike, "*layers examples units"], largest: Float[ArrayLike, ""]
) -> Float[Array, "*layers"]:
    """Share of examples and units whose slope is below a tenth of the activation's largest.

    For the sigmoid that is ``|z| > 3.64``, for tanh ``|z| > 1.82``; of relu's units it is the inactive share.

    Args:
        slopes: ``phi'(z)``.
        largest: Supremum of ``|phi'|``.
    """
    return jnp.mean(jnp.abs(jnp.asarray(slopes)) < SATURATED * largest, axis=(-2, -1))


def inactive(slopes: Float[ArrayLike, "*layers examples units"]) -> Float[Array, "*layers"]:
    """Share of examples and units whose slope is exactly 0, by design or by rounding."""
    return jnp.mean(jnp.asarray(slopes) == 0, axis=(-2, -1))


def dead(slopes: Float[ArrayLike, "*layers examples units"]) -> Bool[Array, "*layers units"]:
    """Whether a unit's slope is exactly 0 on every example: its weights get no gradient from any of them.

    Args:
        slopes: ``phi'(z)`` on all examples that could wake the unit: the whole training set.
    """
    return jnp.all(jnp.asarray(slopes) == 0, axis=-2)
