"""Deep linear networks: their gradient descent against one step by hand, and decoupled modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench.experiments.learning_time import linear
from signalprop.bench.experiments.learning_time.theory import predicted_strengths


def test_kernels_are_orthogonal_or_gaussian():
    draw = jax.jit(lambda flag: linear.draw_kernels(jax.random.key(0), 3, 8, flag, "float64"))
    turned = draw(jnp.array(True))
    np.testing.assert_allclose(
        turned @ turned.transpose(0, 2, 1), jnp.broadcast_to(jnp.eye(8), (3, 8, 8)), atol=1e-9
    )
    assert float(jnp.abs(draw(jnp.array(False)) ** 2 * 8).mean()) == pytest.approx(
        1, abs=5 * (2 / 192) ** 0.5
    )


def test_one_kernel_learns_in_the_time_of_a_quadratic_loss():
    target = jnp.eye(4)[:, :2]
    found = jax.jit(linear.learning_time, static_argnums=(3, 4))(jnp.zeros((1, 4, 4)), target, 0.1, 50, 0.01)
    assert float(found) == np.ceil(np.log(0.1) / np.log(0.9))  # the distance falls by 0.9 per step
    never = jax.jit(linear.learning_time, static_argnums=(3, 4))(jnp.zeros((1, 4, 4)), target, 3.0, 50, 0.01)
    assert np.isinf(never)


def test_decoupled_modes_follow_the_equation():
    measured = jax.jit(linear.decoupled_strengths, static_argnums=1)(jax.random.key(1), 4)
    predicted = predicted_strengths(4)
    assert measured.shape == predicted.shape == (linear.MOMENTS, 3)
    np.testing.assert_allclose(measured, predicted, atol=0.02)
    assert predicted[-1] == pytest.approx(linear.STRENGTHS, rel=1e-3)
