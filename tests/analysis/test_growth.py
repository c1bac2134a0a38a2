"""Growth per layer: the two exact shifts, and sampled layers of finite width."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis.growth import layer_growth
from signalprop.models.activations import ACTIVATIONS


@pytest.mark.parametrize(("name", "sigma_w", "shift"), [("relu", 2**0.5, 2.5), ("linear", 1.0, 1.0)])
def test_gates_and_linear_layers_have_the_known_shift(name, sigma_w, shift):
    found = layer_growth(ACTIVATIONS[name], 1.7, sigma_w)
    np.testing.assert_allclose(found, (0.0, shift), atol=1e-12)


def test_the_mean_logarithm_in_sampled_layers_lies_below_log_chi_1_by_the_shift():
    phi, q, sigma_w, width, count = ACTIVATIONS["tanh"], 2.0, 1.5, 64, 40_000
    z_key, g_key = jax.random.split(jax.random.key(5))
    slope = phi.derivative(q**0.5 * jax.random.normal(z_key, (count, width)))
    gain = jnp.mean((slope * sigma_w * jax.random.normal(g_key, (count, width))) ** 2, axis=1)
    logs = np.log(gain)
    log_chi, shift = layer_growth(phi, q, sigma_w)
    beyond = 2 * (float(shift) / width) ** 2  # of the next order in 1/N
    assert abs(logs.mean() - float(log_chi - shift / width)) < 5 * logs.std() / count**0.5 + beyond
