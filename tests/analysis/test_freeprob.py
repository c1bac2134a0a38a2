"""Moments of squared singular values against closed forms and sampled wide networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from signalprop.analysis import freeprob


def hard_tanh(x):
    return jnp.clip(x, -1, 1)


hard_tanh.kinks = (-1.0, 1.0)


def relative_variance_of_samples(phi, sigma_w, q, depth, orthogonal, width=96, num_samples=24):
    """Relative variance of the squares, one value per product of factors with independent slopes."""

    def sample(key):
        product = jnp.eye(width)
        for layer_key in jax.random.split(key, depth):
            weight_key, z_key = jax.random.split(layer_key)
            weights = jax.random.normal(weight_key, (width, width), jnp.float64)
            weights = jnp.linalg.qr(weights)[0] if orthogonal else weights / jnp.sqrt(width)
            z = jnp.sqrt(q) * jax.random.normal(z_key, (width,), jnp.float64)
            product = jax.vmap(jax.grad(phi))(z)[:, None] * sigma_w * weights @ product
        squares = jnp.linalg.svd(product, compute_uv=False) ** 2
        return jnp.var(squares) / jnp.mean(squares) ** 2

    return np.asarray(
        jax.jit(lambda keys: jax.lax.map(sample, keys))(jax.random.split(jax.random.key(0), num_samples))
    )


def test_linear_networks_have_the_fuss_catalan_and_the_trivial_variance():
    for depth in (1, 5):
        gaussian = freeprob.moments(lambda z: z, 1.0, 1.0, depth)
        np.testing.assert_allclose(gaussian, (0, depth), atol=1e-12)
        orthogonal = freeprob.moments(lambda z: z, 1.5, 1.0, depth, "orthogonal")
        np.testing.assert_allclose(orthogonal, (2 * depth * np.log(1.5), 0), atol=1e-12)


def test_gates_of_hard_tanh_give_the_closed_form():
    q, sigma_w, depth = 0.5, 1.2, 7
    active = erf(1 / np.sqrt(2 * q))
    log_mean, variance = freeprob.moments(hard_tanh, sigma_w, q, depth, "orthogonal")
    np.testing.assert_allclose(log_mean, depth * np.log(sigma_w**2 * active), rtol=1e-10)
    np.testing.assert_allclose(variance, depth * (1 / active - 1), rtol=1e-10)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_variance_of_a_wide_tanh_product_is_that_of_the_theory(weights):
    depth, q = 4, 0.6
    samples = relative_variance_of_samples(jnp.tanh, 1.3, q, depth, weights == "orthogonal")
    expected = freeprob.moments(jnp.tanh, 1.3, q, depth, weights).relative_variance
    bias = expected * depth / 96
    assert abs(samples.mean() - expected) < 5 * samples.std() / np.sqrt(samples.size) + bias


def test_log_mean_of_a_deep_network_stays_finite_where_the_mean_underflows():
    log_mean, _ = freeprob.moments(jnp.tanh, jnp.float32(0.1), jnp.float32(0.1), 1000)
    assert np.isfinite(log_mean)
    assert log_mean < -1000


def test_unknown_weights_are_refused():
    with pytest.raises(ValueError, match="weights must be 'gaussian' or 'orthogonal', got 'uniform'"):
        freeprob.moments(jnp.tanh, 1.0, 1.0, 2, "uniform")
