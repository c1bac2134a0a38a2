"""Jacobians against autodiff, dense matrices and exact cases."""

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis import jacobian

DEPTH, WIDTH = 4, 6
KERNELS = jax.random.normal(jax.random.key(0), (DEPTH, WIDTH, WIDTH), jnp.float64)
X = jax.random.normal(jax.random.key(1), (WIDTH,), jnp.float64)


def network(x):
    for kernel in KERNELS:
        x = jnp.tanh(x @ kernel)
    return x


def pre_activations(x):
    z = []
    for kernel in KERNELS:
        z.append(x @ kernel)
        x = jnp.tanh(z[-1])
    return jnp.stack(z)


def test_layer_factors_multiply_to_the_jacobian_of_the_network():
    factors = jacobian.layer_factors(jnp.tanh, KERNELS, pre_activations(X))
    product = np.linalg.multi_dot(list(np.asarray(factors)[::-1]))
    np.testing.assert_allclose(product, jacobian.input_output_jacobian(network, X), rtol=1e-12)


def test_dense_jacobian_of_a_wide_or_tall_map_is_its_matrix():
    for shape in [(3, 6), (9, 6)]:
        matrix = jax.random.normal(jax.random.key(2), shape, jnp.float64)
        found = jacobian.input_output_jacobian(lambda x, matrix=matrix: matrix @ x, X)
        np.testing.assert_allclose(found, matrix, rtol=1e-14)


def test_matrix_free_products_equal_those_of_the_dense_jacobian():
    dense = jacobian.input_output_jacobian(network, X)
    free = jacobian.matrix_free(network, X)
    vector = jnp.arange(1.0, WIDTH + 1)
    np.testing.assert_allclose(free.matvec(vector), dense @ vector, rtol=1e-12)
    np.testing.assert_allclose(free.rmatvec(vector), vector @ dense, rtol=1e-12)


def test_log_norms_follow_a_vector_far_beyond_the_range_of_the_dtype():
    factors = jnp.array([[[1e-200, 0.0], [0.0, 1.0]]] * 5)
    logs = jacobian.log_norms(factors, jnp.array([2.0, 0.0]))
    np.testing.assert_allclose(logs, np.log(2) - 200 * np.log(10) * np.arange(1, 6), rtol=1e-14)


def test_log_norms_of_rectangular_factors_equal_norms_of_the_products():
    rng = np.random.default_rng(3)
    factors = [rng.standard_normal(shape) for shape in [(4, 6), (7, 4), (2, 7)]]
    expected, vector = [], np.asarray(X)
    for factor in factors:
        vector = factor @ vector
        expected.append(np.log(np.linalg.norm(vector)))
    found = jacobian.log_norms([jnp.array(f) for f in factors], X)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_vector_mapped_to_zero_has_log_norm_minus_infinity_from_there_on():
    factors = jnp.stack([jnp.eye(2), jnp.zeros((2, 2)), jnp.eye(2)])
    logs = jacobian.log_norms(factors, jnp.array([1.0, 0.0]))
    np.testing.assert_array_equal(logs, [0, -np.inf, -np.inf])


def test_rank_of_a_relu_network_is_the_smallest_number_of_active_units():
    x, slopes, product, ranks = X, [], np.eye(WIDTH), []
    for kernel in KERNELS:
        z = x @ kernel
        slopes.append(z > 0)
        x = jnp.maximum(z, 0)
        product = np.asarray((z > 0)[:, None] * kernel.T) @ product
        ranks.append(np.linalg.matrix_rank(product))
    np.testing.assert_array_equal(jacobian.rank(jnp.array(slopes, float)), ranks)
