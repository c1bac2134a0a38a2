"""Classifiers against a plain loop over their layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier
from signalprop.models.mlp import MLP
from signalprop.models.normalization import NORMS

FEATURES, WIDTH, DEPTH, CLASSES, BATCH = 5, 4, 3, 2, 6
KINDS = {
    "plain": {},
    "batch norm": {"norm": "batch"},
    "residual": {"skip": True, "branch_scale": 0.5},
    "rezero with layer norm": {"skip": True, "branch_scale": 0.0, "train_scale": True, "norm": "layer"},
}


def draw(features=FEATURES, **kind):
    return draw_classifier(
        jax.random.key(3),
        features,
        WIDTH,
        DEPTH,
        CLASSES,
        activation("tanh"),
        sigma_w=1.5,
        sigma_b=0.3,
        **kind,
    )


def hidden_kernels(model):
    return [kernel for run in model.runs for kernel in np.asarray(run.layer.kernel[...])]


def plain_loop(model, x, norm="none", skip=False, branch_scale=1.0, **_):
    """Logits, z and y of every hidden layer, layer by layer."""
    kernels = hidden_kernels(model)
    biases = [b for run in model.runs for b in np.asarray(run.layer.bias[...])]
    y, zs, ys = np.asarray(x), [], []
    for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        z = np.asarray(NORMS[norm](jnp.asarray(y @ kernel + bias)))
        y = y + branch_scale * np.tanh(z) if skip and number > 0 else np.tanh(z)
        zs.append(z)
        ys.append(y)
    readout = model.readout
    return y @ np.asarray(readout.kernel[...]) + np.asarray(readout.bias[...]), np.stack(zs), np.stack(ys)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("features", [FEATURES, WIDTH])
def test_a_classifier_is_the_loop_over_its_layers(kind, features):
    model = draw(features, **KINDS[kind])
    x = jax.random.normal(jax.random.key(1), (BATCH, features))
    expected = plain_loop(model, x, **KINDS[kind])

    @jax.jit
    def outputs(model, x):
        return model(x), model.trace(x), model.activities(x)

    logits, (traced, z), (active, y) = outputs(model, x)
    for found in (logits, traced, active):
        np.testing.assert_allclose(found, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(z, expected[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y, expected[2], rtol=1e-4, atol=1e-5)


def test_the_hidden_layers_of_a_plain_classifier_are_those_of_the_mlp():
    body = MLP((FEATURES, *(WIDTH,) * DEPTH), jnp.tanh, sigma_w=1.5, sigma_b=0.3, key=jax.random.key(3))
    model = draw()
    for run, layers in zip(model.runs, body.runs, strict=True):
        np.testing.assert_array_equal(run.layer.kernel[...], layers.kernel[...])
        np.testing.assert_array_equal(run.layer.bias[...], layers.bias[...])


def test_skips_norms_and_scales_do_not_change_the_draws():
    for kind in KINDS.values():
        for kernel, plain in zip(hidden_kernels(draw(**kind)), hidden_kernels(draw()), strict=True):
            np.testing.assert_array_equal(kernel, plain)


def test_a_network_without_hidden_layers_is_refused():
    with pytest.raises(ValueError, match="depth is 0, give at least one hidden layer"):
        draw_classifier(jax.random.key(0), 2, 3, 0, 2, jnp.tanh)
