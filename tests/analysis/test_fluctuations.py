"""First order in 1/N against the exact laws of relu and linear networks, and against sampled networks."""

import jax
import numpy as np
import pytest

from signalprop.analysis import finitewidth, meanfield
from signalprop.analysis.fluctuations import LayerMoments, fluctuations, layer_moments


def relu(x):
    return jax.nn.relu(x)


relu.kinks = (0.0,)


def linear(x):
    return x


def moments(phi, sigma_w, depth, q_0=1.0):
    """Moments of one network in float64."""
    return jax.jit(lambda s, q: layer_moments(phi, s, q, depth))(sigma_w, q_0)


def sampled_log_ratios(phi, slope, kernels, rng):
    """Sample log |delta^1|^2 / |delta^L|^2 and log q^L of networks (network, layer, in, out)."""
    count, depth, width, _ = kernels.shape
    x = rng.standard_normal((count, 1, width))
    y, slopes = x * np.sqrt(width) / np.linalg.norm(x, axis=-1, keepdims=True), []
    for layer in range(depth):
        length = np.sum(y**2, (1, 2))
        y = y @ kernels[:, layer]
        slopes.append(slope(y))
        y = phi(y)
    delta = top = slopes[-1] * rng.standard_normal((count, 1, width))
    for layer in reversed(range(1, depth)):
        delta = slopes[layer - 1] * (delta @ kernels[:, layer].swapaxes(1, 2))
    return np.log(np.sum(delta**2, (1, 2)) / np.sum(top**2, (1, 2))), np.log(length / width)


def assert_law(samples, mean, variance, next_order):
    """Mean and variance within five standard errors of the samples and the next order."""
    squares = (samples - samples.mean()) ** 2
    for found, expected, slack in ((samples, mean, next_order), (squares, variance, 0.1 * variance)):
        error = found.std() / np.sqrt(found.size)
        assert abs(found.mean() - expected) < 5 * error + slack, (found.mean(), expected, error)


@pytest.mark.parametrize(
    ("phi", "sigma_w", "exact"),
    [(relu, 2**0.5, finitewidth.log_gain), (linear, 1.0, finitewidth.log_gain_linear)],
)
def test_relu_and_linear_networks_follow_their_exact_laws_to_first_order(phi, sigma_w, exact):
    found = moments(phi, sigma_w, 12)
    for width, order in ((100, 0.05), (10_000, 0.0005)):
        law = fluctuations(found, width)
        for depth in (1, 5, 12):
            expected = exact((width,) * depth) if depth > 1 else (0.0, 0.0)
            mine = law.log_gradient_shift[depth - 1], law.log_gradient_variance[depth - 1]
            np.testing.assert_allclose(mine, expected, rtol=order, atol=1e-9)


def test_relu_has_the_variance_and_the_drift_of_hanin_and_nica():
    depth, width = 30, 100
    law = fluctuations(moments(relu, 2**0.5, depth), width)
    wide = finitewidth.log_gain_asymptotic((width,) * depth)
    np.testing.assert_allclose([law.log_gradient_shift[-1], law.log_gradient_variance[-1]], wide, rtol=1e-6)
    np.testing.assert_allclose(law.log_q[-1] - np.log(2), wide.mean, rtol=1e-6)  # q^1 = sigma_w^2 = 2


def test_a_rotation_changes_nothing():
    law = fluctuations(moments(linear, 1.0, 30), 100, orthogonal=True)
    np.testing.assert_allclose(
        [law.log_gradient_shift, law.log_gradient_variance, law.log_q, law.indirect], 0, atol=1e-9
    )


@pytest.mark.parametrize("orthogonal", [False, True])
def test_sampled_tanh_networks_have_the_predicted_mean_and_variance(orthogonal):
    count, depth, width, sigma_w = 1500, 6, 40, 1.3
    rng = np.random.default_rng(7)
    kernels = rng.standard_normal((count, depth, width, width)) / np.sqrt(width)
    if orthogonal:
        q, r = np.linalg.qr(kernels)
        kernels = q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    kernels = sigma_w * kernels
    found = moments(jax.numpy.tanh, sigma_w, depth)
    law = fluctuations(found, width, orthogonal)
    ratios, log_q = sampled_log_ratios(np.tanh, lambda z: 1 / np.cosh(z) ** 2, kernels, rng)
    wide = float(np.sum(found.log_chi_1[:-1]))
    next_order = abs(law.indirect[-1]) / 2 + abs(law.log_gradient_shift[-1] - law.indirect[-1]) / 20
    assert_law(ratios, wide + law.log_gradient_shift[-1], law.log_gradient_variance[-1], next_order)
    assert abs(log_q.mean() + 2 * np.log(sigma_w) - law.log_q[-1]) < 5 * log_q.std() / np.sqrt(count)


def test_lengths_and_factors_are_those_of_mean_field_theory():
    depth, sigma_w, q_0 = 8, 1.7, 0.4
    found = moments(jax.numpy.tanh, sigma_w, depth, q_0)
    q = meanfield.length_trajectory(jax.numpy.tanh, sigma_w, 0.0, q_0, depth)
    profile = meanfield.log_gradient_profile(jax.numpy.tanh, sigma_w, 0.0, q_0, depth)
    np.testing.assert_allclose(found.log_q, np.log(q), rtol=1e-10)
    np.testing.assert_allclose(np.sum(found.log_chi_1[:-1]), profile[0], rtol=1e-10)


def test_lengths_beyond_the_range_of_the_dtype_are_carried_as_logarithms():
    found = jax.jit(lambda s: layer_moments(linear, s, 1.0, 40))(np.float32(1e-3))
    assert found.log_q.dtype == np.float32
    np.testing.assert_allclose(found.log_q, 2 * np.log(1e-3) * np.arange(1, 41), rtol=1e-5)
    np.testing.assert_allclose(found.log_std, np.asarray(found.log_q) / 2, rtol=1e-5)
    np.testing.assert_allclose(found.slope, np.tile([1.0, 0.0], (40, 1)), atol=1e-4)


def test_a_flat_activation_blocks_the_gradient_and_adds_no_noise():
    def step(x):
        return jax.numpy.where(x >= 0, 1.0, 0.0)

    step.kinks = (0.0,)
    found = moments(step, 1.0, 4)
    assert np.all(np.isneginf(found.log_chi_1))
    law = fluctuations(found, 50)
    np.testing.assert_array_equal([law.log_gradient_shift, law.log_gradient_variance], 0)
    assert isinstance(found, LayerMoments)
