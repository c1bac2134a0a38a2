"""Networks whose layers differ: against mean field where they do not, and against sampled networks."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from signalprop.analysis import meanfield
from signalprop.analysis.layerwise import LARGEST_VARIANCE, layerwise
from signalprop.models.activations import ACTIVATIONS

FUNCTIONS = {
    "linear": (lambda h: h, np.ones_like),
    "tanh": (np.tanh, lambda h: 1 / np.cosh(h) ** 2),
    "relu": (lambda h: np.maximum(h, 0), lambda h: (h > 0) * 1.0),
    "sigmoid": (special.expit, lambda h: special.expit(h) * special.expit(-h)),
    "softplus": (lambda h: np.logaddexp(h, 0), special.expit),
    "erf": (special.erf, lambda h: 2 / np.sqrt(np.pi) * np.exp(-(h**2))),
}


def sample(name, x, widths, sigma_w, sigma_b, weight_mean, bias_mean, networks, rng):
    """Mean and mean square of every layer's pre-activations, and |delta^l|^2 / |delta^L|^2, per network."""
    phi, slope = FUNCTIONS[name]
    y, weights, fields = np.broadcast_to(x, (networks, x.size)), [], []
    for layer, n in enumerate(widths[:-1]):
        above = (networks, widths[layer + 1])
        w = rng.normal(size=(*above, n)) * sigma_w[layer] / np.sqrt(n) + weight_mean[layer] / n
        h = np.einsum("kij,kj->ki", w, y) + sigma_b[layer] * rng.normal(size=above) + bias_mean[layer]
        weights.append(w)
        fields.append(h)
        y = phi(h)
    squares = [rng.normal(size=h.shape)]
    for w, h in zip(weights[:0:-1], fields[-2::-1], strict=True):
        squares.append(slope(h) * np.einsum("kij,ki->kj", w, squares[-1]))
    gradients = np.array([np.sum(d**2, 1) for d in squares[::-1]])
    means, lengths = (np.array([np.mean(h**power, 1) for h in fields]) for power in (1, 2))
    return means, lengths, gradients / gradients[-1]


def excess(samples, expected, allowed):
    """How far a mean is beyond what is allowed, in its standard errors; 0 where rounding decides."""
    error = np.std(samples, axis=1, ddof=1) / np.sqrt(samples.shape[1]) + 1e-9 * np.abs(expected)
    return (np.abs(np.mean(samples, axis=1) - expected) - allowed) / error


@pytest.mark.parametrize("name", ["tanh", "relu", "sigmoid"])
def test_equal_layers_without_means_are_mean_field(name):
    phi, sigma_w = ACTIVATIONS[name], np.full(12, 1.3)
    found = layerwise(phi, sigma_w, np.full(12, np.inf), 0.2, q_0=0.7)
    np.testing.assert_allclose(found.q, meanfield.length_trajectory(phi, 1.3, 0.2, 0.7, 12), rtol=1e-12)
    expected = meanfield.log_gradient_profile(phi, 1.3, 0.2, 0.7, 12)
    np.testing.assert_allclose(found.log_gradient, expected, rtol=1e-10, atol=1e-14)
    assert bool(found.in_range.all())
    assert float(found.error.max()) < 1e-12


def test_hundreds_of_decades_stay_numbers():
    found = layerwise(ACTIVATIONS["relu"], np.full(400, 10.0), np.full(400, np.inf))
    np.testing.assert_allclose(found.log_gradient[0], 399 * np.log(50), rtol=1e-12)
    faded = layerwise(ACTIVATIONS["tanh"], np.full(400, 1e-3), np.full(400, np.inf))
    np.testing.assert_allclose(faded.log_gradient[0], 2 * 399 * np.log(1e-3), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "weight_mean"),
    [("tanh", 0.0), ("relu", 0.0), ("relu", 0.8), ("sigmoid", 2.0), ("sigmoid", -20.0)],
)
def test_networks_of_unequal_widths_scales_and_means_are_as_predicted(name, weight_mean):
    """400 networks; 1/N terms of the gradient included, those of the signal within their own estimate."""
    rng = np.random.default_rng(1)
    widths = [100, 80, 120, 60, 150, 40]
    sigma_w, sigma_b = np.array([0.5, 1.2, 1.6, 1.0, 1.4]), np.array([0.1, 0.2, 0.0, 0.3, 0.1])
    means = np.full(5, weight_mean), np.array([0.0, 0.1, -0.2, 0.1, 0.0])
    x = rng.normal(size=100) + 0.3
    mean, q, gradient = sample(name, x, widths, sigma_w, sigma_b, *means, 400, rng)
    found = layerwise(
        ACTIVATIONS[name], sigma_w, np.array(widths[:-1], float), sigma_b, *means, np.mean(x**2), x.mean()
    )
    v = np.asarray(found.q - found.mean**2)
    assert np.max(excess(mean, np.asarray(found.mean), np.sqrt(v) * found.signal_variance)) < 5
    assert np.max(excess(q, np.asarray(found.q), v * found.signal_variance)) < 5
    assert np.max(excess(gradient, np.exp(found.log_gradient), 0)) < 5
    if weight_mean == 0:
        spread = np.var(np.log(gradient), axis=1)[:-1]
        np.testing.assert_allclose(spread, found.log_gradient_variance[:-1], rtol=0.35)


def test_weights_from_0_to_1_give_fields_of_a_large_mean():
    rng = np.random.default_rng(0)
    x, n = rng.uniform(size=100), 100
    found = layerwise(
        ACTIVATIONS["sigmoid"],
        np.full(2, np.sqrt(n / 12)),
        np.full(2, 100.0),
        0.0,
        n / 2,
        0.0,
        np.mean(x**2),
        x.mean(),
    )
    fields = np.array([rng.uniform(size=(n, n)) @ x for _ in range(200)])
    assert np.mean(fields) == pytest.approx(float(found.mean[0]), rel=0.01)
    assert np.mean(fields.var(1)) == pytest.approx(float(found.q[0] - found.mean[0] ** 2), rel=0.05)


def test_random_networks_are_as_predicted_or_out_of_range():
    rng, judged = np.random.default_rng(2), 0
    for _ in range(40):
        name, depth = rng.choice(list(FUNCTIONS)), rng.integers(2, 6)
        widths = rng.integers(30, 121, depth + 1)
        sigma_w, sigma_b = rng.uniform(0.3, 2, depth), rng.uniform(0, 0.5, depth)
        weight_mean = rng.uniform(-1, 1, depth) * rng.choice([0, 1, 3])
        bias_mean = rng.uniform(-0.5, 0.5, depth) * rng.choice([0, 1])
        x = rng.normal(size=widths[0]) + rng.choice([0, 1])
        found = layerwise(
            ACTIVATIONS[name], sigma_w, widths[:-1].astype(float), sigma_b, weight_mean, bias_mean,
            np.mean(x**2), x.mean(),
        )  # fmt: skip
        if not bool(found.in_range.all()):
            continue
        judged += 1
        _, q, gradient = sample(name, x, widths, sigma_w, sigma_b, weight_mean, bias_mean, 100, rng)
        v, expected = np.asarray(found.q - found.mean**2), np.exp(found.log_gradient)
        assert np.max(excess(q, np.asarray(found.q), v * found.signal_variance)) < 5, (name, widths)
        assert np.max(excess(gradient, expected, expected * np.max(found.signal_variance))) < 5, (
            name,
            widths,
        )
    assert judged > 30


def test_few_units_are_out_of_range():
    found = layerwise(ACTIVATIONS["relu"], np.full(20, np.sqrt(2)), np.full(20, 8.0))
    assert float(found.log_gradient_variance[0]) > LARGEST_VARIANCE
    assert not bool(found.in_range[0])
    assert bool(found.in_range[-1]) == (float(jnp.max(found.signal_variance)) <= LARGEST_VARIANCE)
