"""Kernels of the eigenvalue experiment: the wrong recipe, corners and real eigenvalues."""

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.bench.measure.kernels import corners, count_real, draw_kernels
from signalprop.bench.measure.names import UNSIGNED

KEYS = jax.random.split(jax.random.key(0), 300)


def test_only_the_wrong_recipe_has_determinants_of_one_sign():
    wrong, right = (
        np.linalg.det(draw_kernels(name, KEYS, 4, "float32")) for name in (UNSIGNED, "orthogonal")
    )
    np.testing.assert_allclose(wrong, -1, atol=1e-5)
    assert abs(np.sign(right).mean()) < 5 / np.sqrt(len(KEYS))


def test_a_corner_adds_nothing_but_zeros_to_the_eigenvalues_of_the_smaller_matrix():
    matrix = draw_kernels("gaussian", KEYS[:1], 6, "float64")
    padded = np.linalg.eigvals(corners(matrix, 4)[0])
    own = np.linalg.eigvals(matrix[0, :4, :4] * np.sqrt(6 / 4))
    np.testing.assert_allclose(np.sort(np.abs(padded))[2:], np.sort(np.abs(own)), rtol=1e-10)
    np.testing.assert_allclose(np.sort(np.abs(padded))[:2], 0, atol=1e-12)


def test_real_eigenvalues_are_counted_up_to_rounding():
    values = jnp.array([[1, -0.5 + 1e-7j, 0.3 + 0.4j, 0.3 - 0.4j], [1, 1j, -1j, 0]], jnp.complex64)
    assert count_real(values).tolist() == [2, 2]
