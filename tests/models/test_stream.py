"""Walks against the stored network, and beyond the range of float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.models.activations import activation
from signalprop.models.mlp import MLP
from signalprop.models.stream import LazyMLP, Signal, backward, forward, join, profile, rescale

CASES = [
    ((5, 8, 8, 8, 3), "tanh", "gaussian", 1.5, 0.3),
    ((8,) * 7, "leaky_relu", "orthogonal", 1.4, 0.3),
]


def show(carry, layer, kernel, signal):
    """Put out every layer's signal."""
    return carry, signal


def identify(carry, layer, kernel, signal):
    """Add up the layers' numbers and put out what identifies each, beside its signal."""
    return carry + layer, (signal, layer, jnp.sum(kernel**2))


def whole(signal):
    return np.asarray(jnp.ldexp(signal.mantissa, signal.exponent[..., None]))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[1]}-{case[4]}")
def walks(request):
    """Everything the stored and the lazy network say of a batch of three."""
    widths, name, *scale = request.param

    @jax.jit
    def compute(key, x, cotangent):
        recipe = (widths, activation(name), *scale)
        stored, lazy = (kind(*recipe, key=key, dtype=jnp.float64) for kind in (MLP, LazyMLP))
        ahead = forward(lazy, x, identify, jnp.int32(0))
        trace = [signal for signal, _, _ in ahead.outs]
        return {
            "trace": stored.trace(x),
            "y": stored(x),
            "gradients": stored.pre_activation_gradients(x, cotangent),
            "input_gradient": jax.vjp(stored, x)[1](cotangent)[0],
            "kernels": [run.kernel[...] for run in stored.runs],
            "stored": forward(stored, x, show, None),
            "forward": ahead,
            "backward": backward(lazy, trace, cotangent, identify, jnp.int32(0)),
            "profile": profile(lazy, x, cotangent),
        }

    x, cotangent = (jax.random.normal(jax.random.key(n), (3, widths[n]), jnp.float64) for n in (0, -1))
    return compute(jax.random.key(1), x, cotangent)


def test_a_lazy_walk_equals_the_stored_network(walks):
    for (signal, _, _), z in zip(walks["forward"].outs, walks["trace"], strict=True):
        np.testing.assert_allclose(whole(signal), z, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(whole(walks["forward"].y), walks["y"], rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(walks["forward"].lost_at, 0)


def test_a_stored_walk_is_the_stored_network_to_the_last_bit_because_rescaling_is_exact(walks):
    for signal, z in zip(walks["stored"].outs, walks["trace"], strict=True):
        np.testing.assert_array_equal(whole(signal), z)


def test_a_backward_walk_equals_automatic_differentiation(walks):
    for (signal, _, _), gradient in zip(walks["backward"].outs, walks["gradients"], strict=True):
        np.testing.assert_allclose(whole(signal), gradient, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(
        whole(walks["backward"].gradient), walks["input_gradient"], rtol=1e-11, atol=1e-14
    )


def test_profile_gives_the_logs_of_lengths_and_gradients(walks):
    q = np.concatenate([np.mean(z**2, -1) for z in walks["trace"]])
    delta = np.concatenate([np.linalg.norm(delta, axis=-1) for delta in walks["gradients"]])
    np.testing.assert_allclose(walks["profile"].log_q, np.log(q), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(walks["profile"].log_delta, np.log(delta), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_the_observer_sees_every_layer_with_its_number_and_kernel(walks, direction):
    layers, squares = join([out[1:] for out in walks[direction].outs])
    expected = [np.sum(kernel**2) for run in walks["kernels"] for kernel in np.asarray(run)]
    np.testing.assert_array_equal(layers, 1 + np.arange(len(expected)))
    np.testing.assert_allclose(squares, expected, rtol=1e-12)
    assert walks[direction].carry == sum(layers)


def test_homogeneous_signals_cross_a_thousand_layers_in_float32_with_exact_log_scale():
    def lengths(sigma_w):
        lazy = LazyMLP((32,) * 1001, activation("relu"), "gaussian", sigma_w, 0.0, key=jax.random.key(2))
        walk = forward(lazy, jnp.ones(32, jnp.float32), show, None)
        return join(walk.outs).log_mean_square(), walk.lost_at

    sigma_w = jnp.array([1.0, 3.0, 0.3], jnp.float32)
    (unit, *scaled), lost_at = jax.jit(jax.vmap(lengths))(sigma_w)
    np.testing.assert_array_equal(lost_at, 0)
    for log_q, sigma in zip(scaled, sigma_w[1:], strict=True):
        assert abs(log_q[-1]) > 4 * 88  # far outside float32, whose log is within 88
        np.testing.assert_allclose(log_q - unit, 2 * np.arange(1, 1001) * np.log(sigma), rtol=2e-6, atol=2e-3)


def test_gradients_of_any_activation_leave_the_range_of_float32_unharmed():
    @jax.jit
    def profiles():
        single = MLP((16,) * 401, activation("tanh"), "gaussian", 0.8, 0.5, key=jax.random.key(3))
        double = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), single)
        both = ((single, jnp.ones(16, jnp.float32)), (double, jnp.ones(16, jnp.float64)))
        return [profile(network, ones, ones) for network, ones in both]

    found, expected = profiles()
    assert found.log_delta.dtype == jnp.float32
    assert found.log_delta[0] < -100
    assert found.lost_at == 0
    np.testing.assert_allclose(found.log_delta, expected.log_delta, atol=1e-2)


def test_a_bias_is_scaled_with_the_signal_and_takes_over_when_the_signal_has_vanished():
    @jax.jit
    def traces():
        network = MLP((16,) * 101, activation("leaky_relu"), "gaussian", 0.5, 1e-3, key=jax.random.key(4))
        x = jnp.ones(16, jnp.float32)
        return forward(network, x, show, None).outs[0], network.trace(x)[0]

    walked, expected = traces()
    assert np.max(np.abs(expected[-1])) < 0.01  # of the bias' size, not of the input's
    np.testing.assert_allclose(whole(walked), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("phi", "dtype", "layers"),
    [
        (lambda z: z / 4, jnp.float32, (65, 15)),  # |z^l| = |x| 4^(1 - l), normal down to 2^-126
        (lambda z: z / 4, jnp.float16, (9, 1)),  # normal down to 2^-14
        (lambda z: 4 * z, jnp.float32, (65, 0)),  # overflows at 2^128
        (lambda z: z / 4, jnp.float64, (0, 0)),
        (activation("relu"), jnp.float32, (0, 0)),
    ],
)
def test_lost_at_is_the_first_layer_outside_the_normal_range_of_the_dtype(phi, dtype, layers):
    lazy = LazyMLP((4,) * 101, phi, "identity", key=jax.random.key(5), dtype=dtype)
    x = jnp.ones((2, 4), dtype) * jnp.array([[1.0], [2.0**-100]], dtype)
    found = jax.jit(lambda x: forward(lazy, x, show, None).lost_at)(x)
    np.testing.assert_array_equal(found, layers)


def test_a_dead_network_has_length_minus_infinity_and_is_not_lost():
    lazy = LazyMLP((4,) * 9, activation("relu"), "identity", key=jax.random.key(6))
    found = jax.jit(lambda x: profile(lazy, -x, x))(jnp.ones(4, jnp.float32))
    np.testing.assert_array_equal(found.log_q[1:], -np.inf)
    np.testing.assert_array_equal(found.log_delta, -np.inf)
    assert found.log_q[0] == 0
    assert found.lost_at == 0


def test_rescaling_keeps_the_value_and_brings_the_largest_entry_near_one():
    signal = Signal(
        jnp.array([[3e-30, -1e-29], [0.0, 0.0], [4e20, 1.0]], jnp.float32), jnp.array([5, 5, 5], jnp.int32)
    )
    scaled = rescale(signal)
    np.testing.assert_array_equal(whole(scaled), whole(signal))
    largest = np.max(np.abs(scaled.mantissa), axis=-1)
    assert largest[1] == 0
    assert np.all((largest[[0, 2]] >= 0.5) & (largest[[0, 2]] < 1))
    expected = np.log(np.linalg.norm(np.asarray(signal.mantissa, np.float64)[[0, 2]], axis=-1)) + 5 * np.log(
        2
    )
    np.testing.assert_allclose(signal.log_norm()[jnp.array([0, 2])], expected, rtol=1e-6)
