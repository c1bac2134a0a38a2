"""Padded networks against the same networks of their own widths, and random width profiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench.experiments.finite_width.gains import padded, random_profile, walk
from signalprop.models.mlp import draw_layer

PROFILES = padded([(6, 6, 6, 6), (3, 5, 2), (4, 6, 3, 5)])


def log_gains(widths, kernels):
    """Log gains of one network with the given unpadded weights, by forming its Jacobians in float64."""
    y, relu, linear = np.ones(widths[0]), np.eye(widths[0]), np.eye(widths[0])
    for kernel in kernels:
        z = kernel.T @ y
        y, relu, linear = np.maximum(z, 0), (z > 0)[:, None] * (kernel.T @ relu), kernel.T @ linear / 2**0.5
    with np.errstate(divide="ignore"):
        return np.log([np.sum(relu[:, 0] ** 2), np.sum(linear[:, 0] ** 2), np.sum(y**2) / widths[0]])


@pytest.mark.parametrize("scheme", ["gaussian", "he_uniform"])
def test_a_padded_network_is_the_network_of_its_own_widths(scheme):
    key = jax.random.key(2)
    gains = jax.jit(lambda k: walk(k, scheme, PROFILES, 4, "float64"))(key)
    whole = [draw_layer(key, i, 6, 6, scheme, 2**0.5, dtype=jnp.float64).kernel[...] for i in (1, 2, 3)]
    for i, widths in enumerate(PROFILES):
        own = [n for n in widths if n]
        kernels = [
            np.asarray(k[:below, :here]) * np.sqrt(6 / below)
            for k, below, here in zip(whole, own, own[1:], strict=False)
        ]
        expected = log_gains(own, kernels)
        np.testing.assert_allclose(gains.logs[len(own) - 2, i], expected, rtol=1e-11)
        np.testing.assert_array_equal(gains.logs[-1, i], gains.logs[len(own) - 2, i])


def test_the_traces_are_those_of_the_square_network():
    key = jax.random.key(2)
    traces = jax.jit(lambda k: walk(k, "gaussian", PROFILES, 4, "float64"))(key).traces
    kernels = [
        np.asarray(draw_layer(key, i, 6, 6, "gaussian", 2**0.5, dtype=jnp.float64).kernel[...])[:4, :4]
        * np.sqrt(6 / 4)
        for i in (1, 2, 3)
    ]
    y, relu, linear = np.ones(4), np.eye(4), np.eye(4)
    for kernel in kernels:
        z = kernel.T @ y
        y, relu, linear = np.maximum(z, 0), (z > 0)[:, None] * (kernel.T @ relu), kernel.T @ linear / 2**0.5
    for found, jacobian in zip(traces[-1], (relu, linear), strict=True):
        gram = jacobian @ jacobian.T
        expected = ((np.trace(gram) / 4) ** 2, np.sum(gram**2) / 4)
        np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_random_profiles_have_the_number_of_weights_asked_for():
    rng = np.random.default_rng(0)
    for depth in (3, 10, 30):
        for source in (None, rng):
            widths = np.array(random_profile(source, depth, inputs=16, weights=4000, largest=64))
            assert widths[:-1] @ widths[1:] == pytest.approx(4000, rel=0.1)
            assert widths.size == depth + 1
            assert 2 <= widths.min() <= widths.max() <= 64
    equal = random_profile(None, 10, inputs=16, weights=4000, largest=64)
    assert len(set(equal[1:])) == 1
