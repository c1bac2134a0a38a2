"""What is watched while training, against the arrays themselves."""

import jax
import numpy as np
import pytest

from signalprop.bench.training.classification import cross_entropy
from signalprop.bench.training.diagnostics import by_layer
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import train
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier

DEPTH, RATE = 3, 0.5


def draw_batch(key):
    x = jax.random.normal(key, (8, 5))
    return x, (x[:, 0] > 0).astype(int)


@pytest.fixture(scope="module")
def watched():
    """A relu network, its first batch and what was observed on it."""

    def run(key):
        model = draw_classifier(key, 5, 4, DEPTH, 2, activation("relu"), sigma_w=2**0.5)
        trained = train(key, model, cross_entropy, draw_batch, optimizer("sgd", RATE), 2, 2, by_layer)
        batch = draw_batch(jax.random.fold_in(key, 0))
        return model, batch, jax.grad(lambda m: cross_entropy(m, batch)[0])(model), trained.record

    return jax.jit(run)(jax.random.key(5))


def kernels(tree):
    hidden = [kernel for run in tree.runs for kernel in np.asarray(run.layer.kernel[...])]
    return [*hidden, np.asarray(tree.readout.kernel[...])]


def test_norms_are_those_of_every_kernel_and_bias(watched):
    model, _, gradient, record = watched
    with np.errstate(divide="ignore"):
        weights, slopes = (np.log([np.linalg.norm(k) for k in kernels(tree)]) for tree in (model, gradient))
        biases = np.log([np.linalg.norm(b) for run in gradient.runs for b in np.asarray(run.layer.bias[...])])
    np.testing.assert_allclose(record["log_weight"][0], weights, rtol=1e-5)
    np.testing.assert_allclose(record["log_gradient"][0], slopes, rtol=1e-4)
    np.testing.assert_allclose(record["log_update"][0], slopes + np.log(RATE), rtol=1e-4)
    np.testing.assert_allclose(record["log_bias_gradient"][0], biases, rtol=1e-4)


def test_inactive_relu_units_are_those_not_above_zero(watched):
    model, (x, _), _, record = watched
    _, z = model.trace(x)
    share = (np.asarray(z) <= 0).mean((1, 2))
    np.testing.assert_allclose(record["inactive"][0], share, rtol=1e-6)
    np.testing.assert_allclose(record["saturated"][0], share, rtol=1e-6)
