"""The search for the first root against functions whose roots are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis.roots import first_crossing


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_first_of_several_roots_is_found_to_the_last_digits(dtype):
    root, found = first_crossing(jnp.sin, jnp.linspace(-1, 20, 50, dtype=dtype), 0.0)
    assert found
    np.testing.assert_allclose(root, 0, atol=20 * float(jnp.finfo(dtype).eps))
    root, _ = first_crossing(jnp.sin, jnp.linspace(4, 20, 50, dtype=dtype), 0.0)
    np.testing.assert_allclose(root, 2 * np.pi, rtol=20 * float(jnp.finfo(dtype).eps))


def test_a_descending_search_stops_at_the_nearest_root_below():
    root, found = first_crossing(lambda x: (1 - x) * (x - 3), jnp.linspace(2.0, -9.0, 30), 0.0)
    assert not found  # above zero from the start
    assert root == 2
    root, found = first_crossing(lambda x: (1 - x) * (x + 3), jnp.linspace(2.0, -9.0, 30), 0.0)
    assert found
    np.testing.assert_allclose(root, 1, rtol=1e-14)


def test_no_crossing_ends_at_the_last_point():
    root, found = first_crossing(lambda x: -1 - x**2, jnp.linspace(0.0, 5.0, 10), 0.0)
    assert not found
    assert root == 5


def test_rounding_is_not_taken_for_a_crossing():
    _, found = first_crossing(lambda x: 1e-15 * jnp.sin(50 * x) - 1e-16, jnp.linspace(0.0, 5.0, 100), 1e-13)
    assert not found


def test_the_search_can_be_batched():
    points = jnp.linspace(0.0, 10.0, 40)
    roots = jax.vmap(lambda level: first_crossing(lambda x: x**2 - level, points, 0.0)[0])(
        jnp.array([2.0, 50.0])
    )
    np.testing.assert_allclose(roots, np.sqrt([2, 50]), rtol=1e-13)
