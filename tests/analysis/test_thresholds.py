"""The search over all numbers of a format against looking at every one of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis.thresholds import edges, first_dead

FUNCTIONS = (jax.nn.sigmoid, jnp.tanh, jax.nn.elu)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("last", [1.0, 240.0])
def test_the_first_dead_number_follows_the_last_that_lives(dtype, last):
    found = first_dead(lambda x: x <= jnp.asarray(last, dtype), (), dtype)
    assert float(jnp.nextafter(jnp.asarray(last, dtype), jnp.asarray(jnp.inf, dtype))) == float(found)


def test_a_predicate_that_is_never_or_always_true_gives_zero_or_infinity():
    limits = jnp.asarray([-1.0, jnp.inf], "float32")
    found = first_dead(lambda x: x <= limits[:, None], (2,), "float32")
    np.testing.assert_array_equal(found, [0.0, np.inf])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_edges_are_those_of_operations_dispatched_one_by_one_on_every_number(dtype):
    """Without compilation every result is rounded to the format, so nothing hides in a fused loop."""
    found = edges(FUNCTIONS, dtype)
    z = np.arange(int(np.asarray(jnp.finfo(dtype).max).view(np.uint16)) + 1, dtype=np.uint16)
    for sign, side in ((1, 0), (-1, 1)):
        x = jnp.asarray(sign * z.view(jnp.dtype(dtype)))
        for row, f in enumerate(FUNCTIONS):
            with jax.disable_jit():
                value, pull_back = jax.vjp(f, x)
                slope = pull_back(jnp.ones_like(x))[0]
            lives = np.asarray(slope, float) != 0
            changes = np.asarray(value, float) != float(value[-1])
            for alive, edge in ((lives, found.slope), (changes, found.value)):
                first = 0 if not alive.any() else len(z) - np.argmax(alive[::-1])
                expected = np.inf if first == len(z) else abs(float(x[first]))
                assert float(edge[row, side]) == expected
    assert np.isinf(np.asarray(found.defined, float)).all()


def test_a_slope_that_is_not_a_number_is_reported_apart():
    found = edges([lambda z: jnp.sqrt(4 - z)], "float32")
    np.testing.assert_array_equal(found.defined[0], [np.nextafter(np.float32(4), np.float32(5)), np.inf])
