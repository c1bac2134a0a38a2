"""Layer-sequential unit variance against the definition, layer by layer."""

import jax
import numpy as np
import pytest

from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier
from signalprop.models.lsuv import unit_variance


@pytest.fixture(scope="module")
def models():
    """A tanh network of five layers before and after, and its inputs, in double precision."""

    @jax.jit
    def draw(key):
        x = jax.random.normal(key, (24, 9), "float64")
        model = draw_classifier(key, 9, 12, 5, 3, activation("tanh"), sigma_b=0.3, dtype="float64")
        return x, model, unit_variance(model, x)

    return draw(jax.random.key(0))


def test_every_layer_has_unit_variance_over_batch_and_units(models):
    x, _, model = models
    y = np.asarray(x)
    for run in model.runs:
        for kernel, bias in zip(run.layer.kernel[...], run.layer.bias[...], strict=True):
            assert np.std(y @ kernel) == pytest.approx(1, abs=1e-12)
            y = np.tanh(y @ kernel + bias)


def test_kernels_are_only_scaled_and_the_rest_is_kept(models):
    _, before, after = models
    for old, new in zip(before.runs, after.runs, strict=True):
        ratio = np.asarray(new.layer.kernel[...] / old.layer.kernel[...])
        np.testing.assert_allclose(ratio, ratio[:, :1, :1] + 0 * ratio, rtol=1e-12)
        np.testing.assert_array_equal(new.layer.bias[...], old.layer.bias[...])
    np.testing.assert_array_equal(after.readout.kernel[...], before.readout.kernel[...])
