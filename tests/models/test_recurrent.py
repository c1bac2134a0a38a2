"""Cells without gates against the recursion written out, against sampled noise and against nnx.RNN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.models.activations import ACTIVATIONS
from signalprop.models.recurrent import draw_gate, draw_vanilla

KEY = jax.random.key(0)


@pytest.mark.parametrize("phi", ["tanh", "relu"])
def test_a_drawn_cell_is_phi_of_the_affine_map_that_its_kernels_define(phi):
    cell = draw_vanilla(KEY, 3, 5, phi, gain=1.5, bias_scale=0.7, dtype=jnp.float64)
    h, x = np.linspace(-1, 1, 5), np.array([0.3, -2.0, 1.0])
    kernel, input_kernel = np.asarray(cell.dense_h.kernel[...]), np.asarray(cell.dense_i.kernel[...])
    expected = ACTIVATIONS[phi](kernel.T @ h + input_kernel.T @ x + np.asarray(cell.dense_i.bias[...]))
    carry, output = cell(jnp.asarray(h), jnp.asarray(x))
    np.testing.assert_allclose(carry, expected, rtol=1e-14)
    np.testing.assert_array_equal(carry, output)


def test_white_inputs_add_noise_of_the_input_scale_to_every_pre_activation():
    cell = draw_vanilla(KEY, 50, 40, "linear", input_scale=0.3, dtype=jnp.float64)
    inputs = jax.random.normal(jax.random.key(1), (4000, 50))
    noise = np.asarray(cell(jnp.zeros((4000, 40)), inputs)[1])
    # the mean over 40 units of |v_j|^2, v_j of 50 normal entries, scatters by sqrt(2 / 50 / 40)
    assert np.mean(noise**2) == pytest.approx(0.3**2, rel=5 * np.sqrt(2 / 50 / 40))


def test_draws_are_shared_by_all_scales_and_biases():
    one, two = (draw_gate(KEY, 3, 5, "orthogonal", g, 1 / g, g, jnp.float64) for g in (1.0, 2.0))
    np.testing.assert_allclose(2 * one.kernel[...], two.kernel[...], rtol=1e-15)
    np.testing.assert_allclose(one.input_kernel[...] / 2, two.input_kernel[...], rtol=1e-15)
    np.testing.assert_array_equal(two.bias[...], np.full(5, 2.0))
    np.testing.assert_allclose(
        two.kernel[...].T @ two.kernel[...], 4 * np.eye(5), atol=1e-13, err_msg="gain times orthogonal"
    )
