"""Finite-width laws against sampled relu and linear networks."""

from itertools import pairwise

import numpy as np
import pytest

from signalprop.analysis import finitewidth


def sampled_log_gains(widths, relu, num_samples, along_input):
    """Sample log |Ju|^2 of networks, u at random or along the input; no network with a dead layer."""
    rng = np.random.default_rng(len(widths))
    x = rng.standard_normal((num_samples, widths[0], 1))
    u = x if along_input else rng.standard_normal(x.shape)
    u, log_gains = u / np.linalg.norm(u, axis=1, keepdims=True), 0.0
    for fan_in, fan_out in pairwise(widths):
        weights = rng.standard_normal((num_samples, fan_out, fan_in)) * np.sqrt((1 + relu) / fan_in)
        z, u = weights @ x, weights @ u
        x, u = (z, u) if not relu else (np.maximum(z, 0), (z > 0) * u)
        norms = np.linalg.norm(u, axis=1, keepdims=True)
        alive = norms.ravel() > 0
        log_gains = (log_gains + 2 * np.log(np.where(norms > 0, norms, 1)).ravel())[alive]
        x, u, num_samples = x[alive], (u / np.where(norms > 0, norms, 1))[alive], alive.sum()
    return log_gains


def assert_moments(samples, mean, variance):
    """Mean and variance within five standard errors of the samples."""
    squares = (samples - samples.mean()) ** 2
    for found, expected in ((samples, mean), (squares, variance)):
        error = found.std() / np.sqrt(found.size)
        assert abs(found.mean() - expected) < 5 * error, (found.mean(), expected, error)


@pytest.mark.parametrize("along_input", [True, False])
@pytest.mark.parametrize("widths", [(20,) * 11, (10, 30, 16, 8)])
def test_log_gain_of_sampled_relu_networks_has_the_exact_mean_and_variance(widths, along_input):
    samples = sampled_log_gains(widths, True, 4000, along_input)
    assert_moments(samples, *finitewidth.log_gain(widths))


def test_log_gain_of_sampled_linear_networks_has_the_exact_mean_and_variance():
    widths = (12, 25, 6, 9)
    samples = sampled_log_gains(widths, False, 4000, along_input=False)
    assert_moments(samples, *finitewidth.linear_log_gain(widths))


def test_the_asymptotic_variance_is_twenty_percent_low_at_width_twenty_and_right_when_wide():
    exact, wide = finitewidth.log_gain((20,) * 11), finitewidth.asymptotic_log_gain((20,) * 11)
    assert abs(exact.variance / 10 - 0.3118) < 5e-5
    assert abs(wide.variance / 10 - 0.25) < 1e-15
    exact, wide = (
        finitewidth.log_gain((4000, 2000, 2000)),
        finitewidth.asymptotic_log_gain((4000, 2000, 2000)),
    )
    np.testing.assert_allclose(exact, wide, rtol=5e-3)


@pytest.mark.parametrize(
    ("law", "relu"), [(finitewidth.fourth_moment, True), (finitewidth.linear_fourth_moment, False)]
)
def test_second_and_fourth_moments_of_sampled_networks_are_exact(law, relu):
    widths, num_samples = (6, 20, 12, 16), 20_000
    logs = sampled_log_gains(widths, relu, num_samples, along_input=False)
    second = np.exp(logs) * widths[0] / widths[-1]
    for samples, expected in ((second, 1.0), (second**2, law(widths))):
        assert abs(samples.mean() - expected) < 5 * samples.std() / np.sqrt(num_samples)


@pytest.mark.parametrize("relu", [True, False])
def test_spectral_moments_of_sampled_networks_are_exact(relu):
    width, depth, num_samples = 10, 3, 10_000
    rng = np.random.default_rng(5)
    x, jacobian = rng.standard_normal((num_samples, width, 1)), np.eye(width)
    for _ in range(depth):
        weights = rng.standard_normal((num_samples, width, width)) * np.sqrt((1 + relu) / width)
        z, jacobian = weights @ x, weights @ jacobian
        x, jacobian = (np.maximum(z, 0), (z > 0) * jacobian) if relu else (z, jacobian)
    gram = jacobian @ jacobian.swapaxes(1, 2)
    found = (np.trace(gram, axis1=1, axis2=2) / width) ** 2, (gram**2).sum((1, 2)) / width
    expected = finitewidth.spectral_moments(width, depth, 0.5 if relu else 1.0)
    for samples, value in zip(found, expected, strict=True):
        assert abs(samples.mean() - value) < 5 * samples.std() / np.sqrt(num_samples)


def test_spectral_moments_of_relu_at_width_sixteen_and_in_the_wide_limit():
    assert abs(finitewidth.spectral_moments(16, 4, 0.5).mean_trace_square - 13.943) < 5e-4
    assert abs(finitewidth.spectral_moments(10**9, 4, 0.5).mean_trace_square - 9) < 1e-6


def test_bad_arguments_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"widths must be \(n_0, ..., n_L\)"):
        finitewidth.log_gain((3,))
    with pytest.raises(ValueError, match="active must be above 0 and at most 1, got 0"):
        finitewidth.spectral_moments(3, 2, 0)
