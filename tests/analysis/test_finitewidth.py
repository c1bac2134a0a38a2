"""Finite-width laws against sampled relu and linear networks."""

from itertools import pairwise

import numpy as np
import pytest

from signalprop.analysis import finitewidth
from signalprop.analysis.dying import dead_input


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


def ratios(relu, depth):
    """mu_2 / mu_1^2 of every layer."""
    return np.full(depth, 2.0 if relu else 1.0)


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
    assert_moments(samples, *finitewidth.log_gain_linear(widths))


def test_the_asymptotic_variance_is_twenty_percent_low_at_width_twenty_and_right_when_wide():
    exact, wide = finitewidth.log_gain((20,) * 11), finitewidth.log_gain_asymptotic((20,) * 11)
    assert abs(exact.variance / 10 - 0.3118) < 5e-5
    assert abs(wide.variance / 10 - 0.25) < 1e-15
    exact, wide = (
        finitewidth.log_gain((4000, 2000, 2000)),
        finitewidth.log_gain_asymptotic((4000, 2000, 2000)),
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


def test_a_gated_orthogonal_layer_has_the_gain_of_the_beta_law():
    width, num_samples = 8, 100_000
    rng = np.random.default_rng(0)
    directions, gates = rng.standard_normal((num_samples, width)), rng.random((num_samples, width)) < 0.5
    share = (directions**2 * gates).sum(1) / (directions**2).sum(1)
    law = finitewidth.log_gain_orthogonal(width, 3)
    assert_moments(np.log(2 * share[share > 0]), law.mean / 3, law.variance / 3)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_the_first_order_law_of_the_gain_is_the_exact_one_for_relu_when_wide(weights):
    width, depth = 2000, 3
    exact = finitewidth.log_gain if weights == "gaussian" else finitewidth.log_gain_orthogonal
    expected = exact((width,) * (depth + 1)) if weights == "gaussian" else exact(width, depth)
    mean, variance = finitewidth.log_gain_as_if_independent(ratios(True, depth), width, weights)
    np.testing.assert_allclose((mean[-1], variance[-1]), expected, rtol=5e-3)


def sampled_moments(relu, weights, width, depth, num_samples):
    """Sample (tr S / n)^2 and tr S^2 / n of real networks at He variance."""
    rng = np.random.default_rng(5)
    x, jacobian = rng.standard_normal((num_samples, width, 1)), np.eye(width)
    for _ in range(depth):
        draws = rng.standard_normal((num_samples, width, width))
        if weights == "orthogonal":
            q, r = np.linalg.qr(draws)
            draws = q * np.sign(np.einsum("sii->si", r))[:, None] * np.sqrt(width)
        draws = draws * np.sqrt((1 + relu) / width)
        z, jacobian = draws @ x, draws @ jacobian
        x, jacobian = (np.maximum(z, 0), (z > 0) * jacobian) if relu else (z, jacobian)
    gram = jacobian @ jacobian.swapaxes(1, 2)
    return (np.trace(gram, axis1=1, axis2=2) / width) ** 2, (gram**2).sum((1, 2)) / width


@pytest.mark.parametrize(("relu", "weights"), [(True, "gaussian"), (False, "gaussian"), (True, "orthogonal")])
def test_spectral_moments_of_sampled_networks_are_exact(relu, weights):
    width, depth, num_samples = 10, 3, 10_000
    found = sampled_moments(relu, weights, width, depth, num_samples)
    log_square, kurtosis = finitewidth.spectral_moments(ratios(relu, depth), width, weights)
    square = np.exp(log_square[-1])
    for samples, value in zip(found, (square, square * kurtosis[-1]), strict=True):
        assert abs(samples.mean() - value) < 5 * samples.std() / np.sqrt(num_samples)


def test_spectral_moments_of_relu_at_width_sixteen_and_in_the_wide_limit():
    log_square, kurtosis = finitewidth.spectral_moments(ratios(True, 4), 16)
    assert abs(np.exp(log_square[-1]) * kurtosis[-1] - 13.943) < 5e-4
    for weights, wide in (("gaussian", [3, 5, 7, 9]), ("orthogonal", [2, 3, 4, 5])):
        moments = finitewidth.spectral_moments(ratios(True, 4), 10**9, weights)
        np.testing.assert_allclose(moments.kurtosis, wide, rtol=1e-6)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_spectral_moments_take_many_settings_at_once_and_stay_below_the_width(weights):
    many = np.array([[1.0] * 3000, [2.0] * 3000, [3.5] * 3000])
    together = finitewidth.spectral_moments(many, 16, weights)
    alone = finitewidth.spectral_moments(many[2], 16, weights)
    np.testing.assert_allclose([m[2] for m in together], alone, rtol=1e-12)
    assert (together.kurtosis <= 16).all()


def test_the_rank_of_a_relu_network_has_the_mean_and_variance_of_sampled_coins():
    rng = np.random.default_rng(1)
    samples = rng.binomial(12, 0.5, (50_000, 6)).min(1)
    assert_moments(samples, *finitewidth.relu_rank(12, 6))


def sampled_fourth_moments(widths, relu, draw, direction, num_samples):
    """Sample |Ju|^4 in units of (E|Ju|^2)^2 at weights of unit variance given by ``draw``."""
    rng = np.random.default_rng(11)
    x = rng.standard_normal((num_samples, widths[0], 1))
    u = np.broadcast_to(direction[:, None], x.shape)
    for fan_in, fan_out in pairwise(widths):
        weights = draw(rng, (num_samples, fan_out, fan_in)) * np.sqrt((1 + relu) / fan_in)
        z, u = weights @ x, weights @ u
        x, u = (z, u) if not relu else (np.maximum(z, 0), (z > 0) * u)
    return (u**2).sum((1, 2)) ** 2 * (widths[0] / widths[-1]) ** 2


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("kurtosis", "spread"), [(1.8, False), (1.0, False), (1.0, True), (6.0, False)])
def test_weights_of_any_symmetric_law_give_the_fourth_moment_of_their_kurtosis(kurtosis, relu, spread):
    draws = {
        1.8: lambda rng, shape: rng.uniform(-np.sqrt(3), np.sqrt(3), shape),
        1.0: lambda rng, shape: rng.choice([-1.0, 1.0], shape),
        6.0: lambda rng, shape: rng.laplace(0, np.sqrt(0.5), shape),
    }
    widths = (6, 5, 9)
    direction = np.full(6, 6**-0.5) if spread else np.eye(6)[0]
    samples = sampled_fourth_moments(widths, relu, draws[kurtosis], direction, 30_000)
    law = finitewidth.fourth_moment if relu else finitewidth.linear_fourth_moment
    expected = law(widths, kurtosis, (direction**4).sum())
    assert abs(samples.mean() - expected) < 5 * samples.std() / np.sqrt(samples.size)
    assert abs(law(widths) - expected) > 0.05 * expected, "the kurtosis must matter"


def test_gaussian_fourth_moments_are_the_printed_products():
    widths = (6, 20, 12, 16)
    relu, linear = (np.prod([1 + c / n for n in widths[1:]]) for c in (5, 2))
    assert finitewidth.fourth_moment(widths) == pytest.approx(relu, rel=1e-14)
    assert finitewidth.linear_fourth_moment(widths) == pytest.approx(linear, rel=1e-14)
    assert finitewidth.gain_moment(widths, 2) == pytest.approx(relu, rel=1e-14)
    assert finitewidth.gain_moment(widths, 1) == pytest.approx(1, rel=1e-14)
    one = finitewidth.linear_fourth_moment((20, 20), 1.8, 1.0)
    assert one == pytest.approx(1 + (2 - 1.2) / 20, rel=1e-14)


def test_the_exact_density_has_the_exact_mean_and_variance_and_the_law_of_samples():
    widths = (4, 5, 3, 6)
    law = finitewidth.log_gain(widths)
    x = np.linspace(-60, 20, 4001)
    density = finitewidth.log_gain_density(x, widths) * (x[1] - x[0])
    assert density.sum() == pytest.approx(1, abs=1e-6)
    assert density @ x == pytest.approx(law.mean, abs=1e-5)
    assert density @ (x - law.mean) ** 2 == pytest.approx(law.variance, rel=1e-5)
    samples = np.sort(sampled_log_gains(widths, True, 4000, along_input=True))
    places = (np.arange(samples.size) + 0.5) / samples.size
    distance = np.abs(np.interp(samples, x, np.cumsum(density)) - places).max()
    assert distance < 2.72 / np.sqrt(samples.size)  # Kolmogorov: five sigma


def test_networks_die_as_often_as_a_layer_without_an_open_gate_comes_up():
    widths, num_samples = (4, 3, 5, 2), 20_000
    alive = sampled_log_gains(widths, True, num_samples, along_input=True).size / num_samples
    expected = float(dead_input(widths[1:])[-1])
    assert abs(1 - alive - expected) < 5 * np.sqrt(expected * (1 - expected) / num_samples)
    assert float(dead_input((60,))[-1]) == pytest.approx(2.0**-60, rel=1e-12)


def test_bad_arguments_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"widths must be \(n_0, ..., n_L\)"):
        finitewidth.log_gain((3,))
    with pytest.raises(ValueError, match=r"slope_ratios must be mu_2 / mu_1\^2, at least 1, got 0.5"):
        finitewidth.spectral_moments([0.5, 2.0], 3)
