"""Critical points keep the gradient, and a signal that leaves its dtype is lost and not infinite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments.jacobian_spectrum.measure import Case, critical_scales, follow
from signalprop.bench.experiments.jacobian_spectrum.theory import layer_moments
from signalprop.bench.experiments.jacobian_spectrum.verdicts import chain_rule_error
from signalprop.models.activations import activation
from signalprop.models.mlp import MLP

SMALL = {"width": 16, "dtype": "float32", "form": "fast", "input": "gaussian"}


def test_a_signal_that_leaves_its_dtype_is_lost_and_not_infinite() -> None:
    static = SMALL | {"activation": ("tanh", "gelu"), "weights": ("orthogonal",), "depth": (10, 60)}
    scales = jnp.array([0.1, 30.0], jnp.float32)
    cases = Case(jnp.array([0, 0]), jnp.array([0, 1]), scales, jnp.zeros(2, jnp.float32))
    found = jax.jit(jax.vmap(lambda case: follow(jax.random.key(0), case, static)))(cases)
    tanh, gelu = ({k: v[i] for k, v in found.items()} for i in (0, 1))
    assert 35 < int(tanh["forward_lost_at"]) < 41  # 0.1^38 is the smallest normal number
    assert 27 < int(gelu["forward_lost_at"]) < 33  # (30 / sqrt(2))^29 is the largest
    for lost in (tanh, gelu):
        np.testing.assert_array_equal(np.isnan(lost["log_mean_square"]), [False, True])
        np.testing.assert_array_equal(np.isnan(lost["log_gain"]), np.arange(1, 61) >= lost["forward_lost_at"])

    weight_key, input_key = jax.random.split(jax.random.key(0))
    network = MLP((16,) * 11, activation("tanh"), "orthogonal", 0.1, key=weight_key)
    x = jax.random.normal(input_key, (16,), jnp.float32)
    factors = np.asarray(network.factors(x * 4 / jnp.linalg.norm(x))[0], np.float64)
    expected = np.linalg.svd(np.linalg.multi_dot(factors[::-1]), compute_uv=False)
    np.testing.assert_allclose(tanh["log_singular_values"][0], np.log(expected), atol=1e-5)


def test_the_input_moves_the_spectrum_of_a_nonlinear_network_only() -> None:
    static = SMALL | {"activation": ("linear", "tanh"), "weights": ("gaussian",), "depth": (3,)}
    scale = jnp.ones(2, jnp.float32)
    cases = Case(jnp.array([0, 0]), jnp.array([0, 1]), scale, 0 * scale)

    def spectra(source: str) -> np.ndarray:
        every = jax.vmap(lambda case: follow(jax.random.key(0), case, static | {"input": source}))
        return np.asarray(jax.jit(every)(cases)["log_singular_values"])

    (linear, tanh), (linear_digits, tanh_digits) = spectra("gaussian"), spectra("digits")
    np.testing.assert_allclose(linear_digits, linear, atol=1e-4)
    assert np.all(np.isfinite(tanh_digits))
    assert np.max(np.abs(tanh_digits - tanh)) > 1e-2


def test_critical_scales_keep_the_gradient() -> None:
    names = ("linear", "relu", "gelu", "sigmoid")
    sigma_w, sigma_b = np.array(critical_scales(names)).T
    log_chi, _ = layer_moments(names, sigma_w[:, None], sigma_b, 400)
    np.testing.assert_allclose(log_chi[:2], 0, atol=1e-12)
    np.testing.assert_allclose(log_chi[2, 0, -1], 0, atol=1e-4)
    np.testing.assert_allclose(log_chi[3, 0, -1], 0, atol=1e-9)


def test_an_activation_without_a_critical_point_is_refused() -> None:
    with pytest.raises(InputError, match="softplus"):
        critical_scales(("softplus",))


def test_the_chain_rule_holds_for_one_activation() -> None:
    assert float(jax.jit(lambda s: chain_rule_error(activation("gelu"), s))(1.4)) < 1e-12
