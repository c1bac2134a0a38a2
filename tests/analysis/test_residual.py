"""One-layer branches: the fixed point of relu, the law of tanh, and sampled networks."""

import jax.numpy as jnp
import numpy as np

from signalprop.analysis import growth
from signalprop.analysis.residual import one_layer
from signalprop.models.activations import ACTIVATIONS


def test_relu_networks_of_finite_width_have_the_profile():
    """Fifty small networks, whose gradients soon follow the signal: means of squares, block by block."""
    width, depth, count, sigma_w = 48, 16, 60, 2**0.5
    rng = np.random.default_rng(2)
    gradients, signals = np.empty((count, depth + 1)), np.empty((count, depth + 1))
    for i in range(count):
        x = rng.normal(size=(8, width))
        x *= np.sqrt(width) / np.linalg.norm(x, axis=1, keepdims=True)
        layers = []
        signals[i, 0] = 1
        for block in range(depth):
            w = rng.normal(size=(width, width)) * sigma_w / np.sqrt(width)
            z = x @ w
            layers.append((w, z > 0))
            x = x + np.maximum(z, 0)
            signals[i, block + 1] = (x**2).mean()
        g = rng.normal(size=x.shape)
        gradients[i, depth] = top = (g**2).sum()
        for block, (w, gate) in reversed(list(enumerate(layers))):
            g = g + (g * gate) @ w.T
            gradients[i, block] = (g**2).sum()
        gradients[i] /= top
    found = one_layer(ACTIVATIONS["relu"], depth, sigma_w, 1.0, width)
    for samples, log in ((gradients, found.log_gradient), (signals, found.log_mean_square)):
        error = samples.std(0) / samples.mean(0) / count**0.5
        slack = depth / (2 * width)  # the recursion is of leading order in 1/N
        assert (np.abs(np.log(samples.mean(0)) - log) <= 5 * error + slack).all()


def test_relu_gains_two_per_block_at_first_and_the_gain_of_its_signal_in_the_end():
    relu = ACTIVATIONS["relu"]
    wide, narrow = (one_layer(relu, 60, 2**0.5, 1.0, width) for width in (jnp.inf, 64.0))
    np.testing.assert_allclose(-np.diff(wide.log_gradient), np.log(2), rtol=1e-12)
    steps = -np.diff(narrow.log_gradient)
    signal = np.diff(narrow.log_mean_square)
    assert steps[-1] < np.log(2.2)
    np.testing.assert_allclose(steps[20], signal[-1], rtol=2e-3)


def test_tanh_grows_as_the_exponential_of_a_root():
    depth, sigma_w = 4000, 1.5**0.5
    profile = one_layer(ACTIVATIONS["tanh"], depth, sigma_w)
    from_1000 = float(profile.log_gradient[1000])
    leading = float(growth.log_residual_tanh(sigma_w, depth) - growth.log_residual_tanh(sigma_w, 1000))
    assert abs(from_1000 / leading - 1) < 0.05  # corrections are logarithmic
    assert abs(float(jnp.exp(profile.log_mean_square[-1])) / depth - 1) < 0.05
    assert profile.log_gradient[-1] == 0
