"""Averages over normalized batches: exact moments, and sampled points of the sphere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis.spherical import pair_average


@pytest.mark.parametrize("batch_size", [6, 8, 32, 1000])
def test_moments_of_the_coordinates_are_exact(batch_size):
    b = batch_size
    found = pair_average(lambda x, y: jnp.stack(jnp.broadcast_arrays(x**2, x * y, x**4, x**2 * y**2)), b)
    fourth = 3 * (b - 1) / (b + 1)  # E t^4 = 3 / (n (n + 2)) at n = B - 1
    mixed = (b - fourth) / (b - 1)  # the squares add up to B
    np.testing.assert_allclose(found, [1, -1 / (b - 1), fourth, mixed], rtol=1e-9)


def test_a_kinked_function_of_a_sampled_batch_has_the_average():
    batch, count = 8, 40_000
    h = np.random.default_rng(1).normal(size=(count, batch))
    h -= h.mean(1, keepdims=True)
    h *= np.sqrt(batch) / np.linalg.norm(h, axis=1, keepdims=True)
    samples = np.maximum(h[:, 0] - 0.5, 0) * np.abs(h[:, 1])
    found = pair_average(lambda x, y: jax.nn.relu(x - 0.5) * jnp.abs(y), batch, (0.0, 0.5))
    assert abs(float(found) - samples.mean()) < 5 * samples.std() / count**0.5


def test_a_batch_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="batch_size is 3"):
        pair_average(jnp.multiply, 3)
