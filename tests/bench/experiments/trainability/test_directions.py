"""Both directions of an untrained network, against direct computation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench.experiments.trainability.directions import both, rate
from signalprop.models.activations import activation
from signalprop.models.mlp import MLP


def test_distance_and_gradient_are_those_of_the_network():
    key, phi = jax.random.key(3), activation("tanh")
    x = jax.random.normal(jax.random.key(4), (2, 7), jnp.float64)
    found = jax.jit(lambda: both(key, x, phi, 5, 6, 1.2, 0.1))()
    net_key, out_key, _ = jax.random.split(key, 3)
    network = MLP((7, *(5,) * 6), phi, "gaussian", 1.2, 0.1, key=net_key, dtype=jnp.float64)
    z = jnp.concatenate(network.trace(x))
    cosine = (
        (z[:, 0] * z[:, 1]).sum(-1) / jnp.linalg.norm(z[:, 0], axis=-1) / jnp.linalg.norm(z[:, 1], axis=-1)
    )
    np.testing.assert_allclose(found.log_distance, jnp.log(1 - cosine), rtol=1e-9)
    delta = jnp.concatenate(network.pre_activation_gradients(x[0], jax.random.normal(out_key, (5,))))
    sizes = jnp.log(jnp.linalg.norm(delta, axis=-1))
    np.testing.assert_allclose(
        found.log_delta, sizes - sizes[-1], atol=1e-6
    )  # the cotangent's draw is float32
    np.testing.assert_allclose(found.product, found.product[0], atol=1e-7)
    assert float(abs(found.product[0] - found.product[1])) < 1e-15 * 100


def test_a_rate_is_the_mean_change_per_layer():
    assert float(rate(jnp.array([0.0, 5.0, 1.0, 4.0]), 1, 4)) == pytest.approx(4 / 3)
