"""Growth per layer: exact cases, sampled layers of finite width, and networks of blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis import growth
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


def batch_of(phi, batch, count, seed=1):
    """Layers z -> phi(BN(z)) at their fixed point, for sampled units, with the gradient they hand down."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, batch))  # any isotropic covariance: the scale drops out
    z -= z.mean(1, keepdims=True)
    s = np.sqrt((z**2).mean(1, keepdims=True))
    g = rng.normal(size=(count, batch))
    g -= g.mean(1, keepdims=True)  # gradients sum to 0 over the batch
    return np.asarray(z / s), np.asarray(s), g


def handed_down(phi, h, s, g):
    """The gradient below the norm, by its Jacobian."""
    g = g * np.asarray(phi.derivative(h))
    return (g - g.mean(1, keepdims=True) - h * (g * h).mean(1, keepdims=True)) / s


@pytest.mark.parametrize("name", ["gelu"])
def test_batch_norm_multiplies_gradients_of_sampled_units_by_the_factor(name):
    phi, batch, count = ACTIVATIONS[name], 8, 40_000
    h, s, g = batch_of(phi, batch, count)
    y = np.asarray(phi(h))
    spread = ((y - y.mean(1, keepdims=True)) ** 2).sum(1) / (batch - 1)  # of the layer that z comes from
    gain = (handed_down(phi, h, s, g) ** 2).sum(1) / (batch - 1)
    measured = gain.mean() / spread.mean()
    error = measured * np.hypot(gain.std() / gain.mean(), spread.std() / spread.mean()) / count**0.5
    assert abs(float(growth.batch_norm_factor(phi, batch)) - measured) < 5 * error


@pytest.mark.parametrize("batch", [5, 32])
def test_batch_norm_of_a_linear_network_is_exact(batch):
    assert float(growth.batch_norm_factor(ACTIVATIONS["linear"], batch)) == pytest.approx(
        (batch - 2) / (batch - 3)
    )


def test_batch_norm_of_relu_has_its_closed_form_and_limit():
    batch = 8
    r = -1 / (batch - 1)
    overlap = (np.sqrt(1 - r**2) + r * (np.pi - np.arccos(r))) / (2 * np.pi)
    both = 1 / 4 + np.arcsin(r) / (2 * np.pi)
    trace = batch / 2 * (1 - 1 / batch) ** 2 + (batch - 1) * both / batch
    radial = 1 / 2 - (1 / 2 + (batch - 1) * overlap) / batch
    exact = batch / ((1 / 2 - overlap) * (batch - 3) * (batch - 1)) * (trace - radial)
    relu = ACTIVATIONS["relu"]
    assert float(growth.batch_norm_factor(relu, batch)) == pytest.approx(exact, rel=1e-8)
    assert float(growth.batch_norm_factor(relu)) == pytest.approx(np.pi / (np.pi - 1), rel=1e-12)
    assert float(growth.batch_norm_factor(relu, 10**6)) == pytest.approx(np.pi / (np.pi - 1), rel=1e-5)


@pytest.mark.parametrize(("name", "batch", "layer"), [
    ("tanh", 1.177807, 1.177807), ("gelu", 1.318845, 1.072032), ("silu", 1.212081, 1.066634),
    ("sigmoid", 1.033592, 0.152827), ("softplus", 1.080528, 0.318459), ("linear", 1, 1),
])  # fmt: skip
def test_the_limits_of_batch_and_layer_norm(name, batch, layer):
    phi = ACTIVATIONS[name]
    np.testing.assert_allclose(
        [growth.batch_norm_factor(phi), growth.layer_norm_factor(phi)], [batch, layer], atol=1e-6
    )


def sampled_norm_layer(rng, phi, slope, n, centred, count):
    """One layer y' = phi(norm(W y)) in many networks: |dE/dy|^2 |y|^2 over |dE/dy'|^2 |y'|^2.

    The gradient dE/dy' is orthogonal to y', as the norm above hands it down. The lengths of y and y' belong
    to the layers below and above: in a product of layers they cancel.
    """
    y, weights = rng.standard_normal((count, n)), rng.standard_normal((count, n, n))
    z = np.einsum("kij,kj->ki", weights, y)
    z -= centred * z.mean(1, keepdims=True)
    h = z * np.sqrt(n) / np.linalg.norm(z, axis=1, keepdims=True)
    above, g = phi(h), rng.standard_normal((count, n))
    g -= above * (np.sum(above * g, 1) / np.sum(above**2, 1))[:, None]
    d = slope(h) * g
    d -= centred * d.mean(1, keepdims=True) + h * np.mean(h * d, 1, keepdims=True)
    below = np.einsum("kij,ki->kj", weights, d) * np.sqrt(n) / np.linalg.norm(z, axis=1, keepdims=True)
    return np.sum(below**2, 1) * np.sum(y**2, 1) / (np.sum(g**2, 1) * np.sum(above**2, 1))


@pytest.mark.parametrize(("name", "phi", "slope", "centred"), [
    ("relu", lambda h: np.maximum(h, 0), lambda h: h > 0, True),
    ("tanh", np.tanh, lambda h: 1 / np.cosh(h) ** 2, True),
    ("tanh", np.tanh, lambda h: 1 / np.cosh(h) ** 2, False),
])  # fmt: skip
def test_layer_norm_of_few_units_has_the_term_in_1_over_n(name, phi, slope, centred):
    rng, wide = np.random.default_rng(3), float(growth.layer_norm_factor(ACTIVATIONS[name]))
    for n, count, rounds in ((8, 100_000, 2), (32, 10_000, 4)):
        draws = [sampled_norm_layer(rng, phi, slope, n, centred, count) for _ in range(rounds)]
        error = np.std(draws) / np.sqrt(count * rounds)
        found = float(growth.layer_norm_factor(ACTIVATIONS[name], n, centred))
        assert abs(np.mean(draws) / found - 1) < 5 * error / found + 9 / n**2  # the next order: (3 / N)^2
        assert abs(np.mean(draws) / wide - 1) > 10 * error / wide  # the term is seen
    linear = [float(growth.layer_norm_factor(ACTIVATIONS["linear"], 8, norm)) for norm in (True, False)]
    np.testing.assert_allclose(linear, [6 / 5, 7 / 6], rtol=1e-12)  # exact at every width
    assert growth.layer_norm_factor(ACTIVATIONS[name], 3) == np.inf


def sampled_network(rng, width, batch, depth):
    """Growth of log |gradient|^2 per layer of one relu network with batch norm, towards the input."""
    y, layers, logs = rng.standard_normal((batch, width)), [], []
    for _ in range(depth):
        weights = rng.standard_normal((width, width)) / np.sqrt(width)
        z = y @ weights
        s = z.std(0)
        h = (z - z.mean(0)) / s
        layers.append((weights, h, s))
        y = np.maximum(h, 0)
    g = rng.standard_normal(y.shape)
    for weights, h, s in reversed(layers):
        d = g * (h > 0)
        g = (d - d.mean(0) - h * (d * h).mean(0)) / s @ weights.T
        logs.append(np.log((g**2).sum()))
    return np.diff(logs)[2:-9]  # away from both ends


def test_typical_networks_with_small_batches_grow_as_the_sum_of_few_heavy_terms():
    """At 4 examples the mean factor, 3.08, has no variance; at 8 mean and typical factor are near."""
    rng, width = np.random.default_rng(0), 64
    for batch, nets in ((4, 60), (8, 30)):
        logs = np.array([sampled_network(rng, width, batch, 32).mean() for _ in range(nets)])
        typical = np.log(growth.batch_norm_typical_factor(ACTIVATIONS["relu"], batch, width))
        # What the width adds otherwise is of order B / N of the shift, below 0.01.
        assert abs(logs.mean() - typical) < 5 * logs.std() / np.sqrt(nets) + 0.01
    gap = np.log(float(growth.batch_norm_factor(ACTIVATIONS["relu"], 4))) - logs.mean()
    assert gap > 0.15


def test_the_typical_factor_of_a_linear_unit_is_a_mean_of_ratios_of_chi_squares():
    """Linear: |P g|^2 is chi-squared with B - 2 degrees of freedom, 1 / variance inverse chi-squared."""
    rng, batch, width, count = np.random.default_rng(1), 4, 32, 100_000
    ratios = rng.chisquare(batch - 2, (count, width)) / rng.chisquare(batch - 1, (count, width))
    logs = np.log(ratios.mean(1))  # of mean (B - 2) / (B - 3)
    found = np.log(growth.batch_norm_typical_factor(ACTIVATIONS["linear"], batch, width))
    assert abs(logs.mean() - found) < 5 * logs.std() / np.sqrt(count) + 1e-3  # of the fixed draws
    wide = [growth.batch_norm_typical_factor(ACTIVATIONS["tanh"], b, 10**7) for b in (8, 2000)]
    np.testing.assert_allclose(
        wide, [growth.batch_norm_factor(ACTIVATIONS["tanh"], b) for b in (8, 2000)], rtol=1e-6
    )
    assert growth.batch_norm_typical_factor(ACTIVATIONS["binary_step"], 8, 64) == 0


def test_residual_growth_has_its_three_limits():
    found = [float(growth.log_residual(1.0, scale, 1000)) for scale in (1.0, 1000**-0.5, 1e-3, 0.0)]
    np.testing.assert_allclose(found, [1000 * np.log(2), 1, 0, 0], atol=2e-3)
    gains = growth.branch_gains(ACTIVATIONS["relu"], 3.0, 2**0.5, 1.0)
    np.testing.assert_allclose(gains, (3.0, 1.0), rtol=1e-12)


def test_pre_and_post_layer_norm_of_the_feed_forward_block():
    profile = growth.pre_layer_norm(24)
    blocks = np.arange(25)
    np.testing.assert_allclose(profile.log_mean_square, np.log(1 + blocks / 2), rtol=1e-12)
    np.testing.assert_allclose(profile.log_gradient, np.log(26 / (blocks + 2)), atol=1e-12)
    assert float(growth.post_layer_norm_factor()) == 1
    assert float(growth.post_layer_norm_factor(1 - 1 / np.pi, 1.0)) == pytest.approx(2 / (2 - 1 / np.pi))


def test_pre_batch_norm_grows_as_the_power_of_the_factor():
    relu, depths = ACTIVATIONS["relu"], np.array([200, 20_000])
    top = [float(growth.pre_batch_norm(relu, int(depth), 1.0).log_gradient[0]) for depth in depths]
    power = (top[1] - top[0]) / np.log(100)
    assert power == pytest.approx(np.pi / (np.pi - 1), abs=0.01)
    finite = growth.pre_batch_norm(relu, 8, 1.0, 10**6)
    np.testing.assert_allclose(
        finite.log_gradient, growth.pre_batch_norm(relu, 8, 1.0).log_gradient, atol=1e-4
    )


def test_post_batch_norm_equals_a_unit_followed_through_many_blocks():
    batch, units, depth = 8, 10_000, 10
    n, r, rng = batch - 1, -1 / (batch - 1), np.random.default_rng(0)
    f = 1 - (np.sqrt(1 - r * r) + r * (np.pi - np.arccos(r))) / np.pi
    chi = 1 - (1 - 2 * (1 / 4 + np.arcsin(r) / (2 * np.pi))) / batch
    x, passed = rng.normal(size=(units, n)), []
    for _ in range(depth):
        x *= np.sqrt(batch) / np.linalg.norm(x, axis=1, keepdims=True)
        x = x + np.sqrt(f) * rng.normal(size=x.shape)
        size = np.linalg.norm(x, axis=1, keepdims=True)
        passed.append((x / size, size / np.sqrt(batch)))
    g, logs = rng.normal(size=(units, n)), []
    for unit, s in reversed(passed):
        g = (g - unit * (g * unit).sum(1, keepdims=True)) / s
        g = g + np.sqrt(chi * (g**2).mean()) * rng.normal(size=g.shape)
        logs.append(np.log((g**2).mean()))
    steps = np.diff(logs)[2:]  # the first gradient is not orthogonal to the signal above it
    found = np.log(float(growth.post_batch_norm_factor(ACTIVATIONS["relu"], 2**0.5, 1.0, batch)))
    assert abs(found - steps.mean()) < 5 * steps.std() / len(steps) ** 0.5
    limits = [
        float(growth.post_batch_norm_factor(ACTIVATIONS["relu"], 2**0.5, 1.0, b)) for b in (10**6, np.inf)
    ]
    np.testing.assert_allclose(limits, 2 / (2 - 1 / np.pi), rtol=1e-5)


def test_dropout_scales_the_maps_and_separates_masks():
    keep = jnp.array([0.8, 1.0])
    law = jax.vmap(lambda k: growth.dropout(ACTIVATIONS["relu"], 1.0, k, jnp.sqrt(2 * k)))
    q, chi, (c, same) = jax.jit(law)(keep)
    np.testing.assert_allclose([q, chi], 1, rtol=1e-12)
    assert same == 1
    assert float(c) == pytest.approx(0.472799, abs=1e-6)
    kappa = (np.sqrt(1 - c * c) + c * (np.pi - np.arccos(c))) / np.pi
    assert float(c) == pytest.approx(0.8 * float(kappa), rel=1e-9)


def test_a_batch_without_a_mean_inverse_variance_is_refused():
    for law in (
        growth.batch_norm_factor,
        growth.batch_gains,
        lambda phi, b: growth.pre_batch_norm(phi, 2, 1.0, b),
    ):
        with pytest.raises(ValueError, match="batch_size is 3"):
            law(ACTIVATIONS["relu"], 3)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("width", "eps"), [(2, 0.0), (2, 0.1), (3, 0.5), (16, 0.0), (16, 1e-2)])
def test_the_factor_of_a_norm_is_that_of_its_jacobian(width, eps, centred):
    x = np.random.default_rng(width).normal(size=width) * 0.7 + 0.4
    middle = x - x.mean() if centred else x
    std = np.sqrt(np.mean(middle**2))
    eye = np.eye(width) - centred * np.ones((width, width)) / width
    jacobian = (eye - np.outer(middle, middle) / (width * (std**2 + eps))) @ eye / np.sqrt(std**2 + eps)
    factor = growth.norm_factor(std, width, eps, centred)
    np.testing.assert_allclose(factor, np.sum(jacobian**2) / width, rtol=1e-12, atol=1e-14)
