"""Greedy pretraining: both rules against enumeration and plain loops, and what a whole run does."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.models import pretraining
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier
from signalprop.models.pretraining import UNITS, Tied

STEPS, WIDTH, DEPTH = 60, 5, 3
SEEDS = 40_000


def tied(seed=0):
    """A machine of 3 visible and 2 hidden units."""
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = ((3, 2), (2,), (3,))
    return Tied(*(jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)))


def visible():
    return jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])


def logistic(z):
    return 1 / (1 + np.exp(-z))


def mean_of_cd_1():
    """The slope averaged over all states of the hidden units, by a plain loop, and the slope's entries."""
    w, b, a = (np.asarray(part) for part in tied())
    total = np.zeros(11)
    for v in np.asarray(visible()):
        p = logistic(v @ w + b)
        for state in itertools.product((0, 1), repeat=2):
            weight = np.prod(np.where(state, p, 1 - p))
            again = logistic(w @ np.array(state) + a)
            p_again = logistic(again @ w + b)
            parts = np.outer(v, p) - np.outer(again, p_again), p - p_again, v - again
            total += weight * np.concatenate([part.ravel() for part in parts]) / 2
    return total


@pytest.fixture(scope="module")
def drawn():
    """Slopes of many draws, (draws, entries)."""

    def slope(key):
        found, _ = pretraining.contrastive_divergence(
            key, tied(), visible(), UNITS["sigmoid"], UNITS["sigmoid"]
        )
        return jnp.concatenate([part.ravel() for part in found])

    return np.asarray(jax.jit(jax.vmap(slope))(jax.random.split(jax.random.key(1), SEEDS)))


def test_cd_1_averages_to_the_sum_over_all_hidden_states(drawn):
    error = drawn.std(0) / np.sqrt(SEEDS)
    assert np.all(np.abs(drawn.mean(0) - mean_of_cd_1()) <= 5 * error + 1e-12)


def test_cd_1_climbs_the_likelihood_of_the_machine_by_enumeration():
    """In the mean it is within a right angle of the slope of the exact log likelihood."""

    def log_likelihood(layer):
        states = jnp.array(list(itertools.product((0.0, 1.0), repeat=3)))

        def minus_free_energy(v):
            return v @ layer.visible_bias + jnp.sum(jax.nn.softplus(v @ layer.kernel + layer.bias), -1)

        return jnp.mean(minus_free_energy(visible())) - jax.nn.logsumexp(minus_free_energy(states))

    exact = np.concatenate([np.ravel(part) for part in jax.jit(jax.grad(log_likelihood))(tied())])
    mean = mean_of_cd_1()
    assert exact @ mean / np.linalg.norm(exact) / np.linalg.norm(mean) > 0.5


@pytest.mark.parametrize("family", UNITS)
def test_units_are_the_slope_of_their_log_partition_and_draws_average_to_it(family):
    units, z = UNITS[family], jnp.array([-1.5, 0.3, 2.0])

    @jax.jit
    def both():
        states = units.draw(jax.random.key(0), jnp.broadcast_to(z, (SEEDS, 3)))
        slope = jax.grad(lambda z: jnp.sum(units.log_partition(z)))(z)
        return units.mean(z), slope, states.mean(0), states.std(0)

    mean, slope, average, deviation = both()
    np.testing.assert_allclose(slope, mean, rtol=1e-12)
    assert np.all(np.abs(average - mean) <= 5 * deviation / np.sqrt(SEEDS))


def test_the_denoising_gradient_equals_a_plain_loop_of_binary_units():
    """Cross-entropy of logistic units, differentiated by hand: one visible unit is masked."""
    layer, v = tied(), np.asarray(visible())
    w, b, a = (np.asarray(part) for part in layer)
    masked = v * np.array([1.0, 1.0, 0.0])
    slope = [np.zeros_like(w), np.zeros_like(b), np.zeros_like(a)]
    for clean, seen in zip(v, masked, strict=True):
        h = logistic(seen @ w + b)
        error = logistic(w @ h + a) - clean
        back = (error @ w) * h * (1 - h)
        slope[0] += (np.outer(error, h) + np.outer(seen, back)) / len(v)
        slope[1] += back / len(v)
        slope[2] += error / len(v)
    binary = UNITS["sigmoid"]
    gradient = jax.jit(
        jax.grad(lambda layer: pretraining.denoising_loss(layer, v, masked, binary, binary)[0])
    )(layer)
    for found, expected in zip(gradient, slope, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def decode(coder, x):
    """Up and down again through all layers, one after the other."""
    layers = [
        (run.layer.kernel[...][i], run.layer.bias[...][i], bias[i])
        for run, bias in zip(coder.model.runs, coder.visible_bias, strict=True)
        for i in range(len(bias))
    ]
    for kernel, bias, _ in layers:
        x = jax.nn.sigmoid(x @ kernel + bias)
    for number, (kernel, _, bias) in reversed(list(enumerate(layers))):
        s = x @ kernel.T + bias
        x = jax.nn.sigmoid(s) if number else s
    return x


@pytest.fixture(scope="module")
def pretrained():
    """Two sigmoid classifiers pretrained in one program by both methods, at two learning rates."""
    x = jax.random.normal(jax.random.key(2), (50, 2)) @ jnp.array(
        [[1.0, -1.0, 0.5, 0.0], [0.2, 0.4, -1.0, 1.0]]
    )

    def run(key, rate):
        model = draw_classifier(
            key, 4, WIDTH, DEPTH, 3, activation("sigmoid"), sigma_w=0.1, dtype=jnp.float64
        )
        rbm = pretraining.pretrain_rbm(key, model, x, rate, STEPS, 10, 3)
        coder = pretraining.pretrain_autoencoder(key, model, x, rate, STEPS, 10, 3, noise=0.1)
        kernels = [[run.layer.kernel[...] for run in m.runs] for m in (model, rbm.model, coder.model)]
        decoded = pretraining.reconstruct(coder.model, coder.visible_bias, x) - decode(coder, x)
        return (
            kernels,
            rbm.error,
            coder.error,
            decoded,
            rbm.model.readout.kernel[...] - model.readout.kernel[...],
        )

    return jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(3), 2), jnp.array([0.1, 0.0]))


def test_reconstructions_improve_in_every_record_of_the_first_layer(pretrained):
    _, rbm, coder, _, _ = pretrained
    assert rbm.shape == coder.shape == (2, DEPTH, 3)
    for error in (rbm, coder):
        assert error[0, 0, 2] < 0.9 * error[0, 0, 0]
        assert np.isfinite(error).all()


def test_a_learning_rate_of_0_changes_no_kernel_and_no_method_touches_the_read_out(pretrained):
    (before, rbm, coder), _, _, _, readout = pretrained
    for start, *ends in zip(before, rbm, coder, strict=True):
        for end in ends:
            np.testing.assert_array_equal(start[1], end[1])
            assert np.abs(start[0] - end[0]).max() > 1e-3
    assert not np.any(readout)


def test_reconstructions_go_up_and_down_through_all_layers(pretrained):
    np.testing.assert_allclose(pretrained[3], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("relu", {}, "no units"),
        ("tanh", {"norm": "batch"}, "plain layers"),
        ("tanh", {"skip": True}, "plain"),
    ],
)
def test_networks_that_cannot_be_pretrained_are_refused(name, more, message):
    model = jax.eval_shape(
        lambda key: draw_classifier(key, 4, 3, 2, 2, activation(name), **more), jax.random.key(0)
    )
    with pytest.raises(ValueError, match=message):
        pretraining.pretrain_rbm(jax.random.key(0), model, np.zeros((5, 4)), 0.1, 2, 1)
