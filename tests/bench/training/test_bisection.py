"""The largest trainable depth: a deep classifier used up to a depth, and the bisection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench.engine.errors import InputError
from signalprop.bench.training import bisection
from signalprop.bench.training.classification import problem
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier


def _draw(depth, features):
    return draw_classifier(
        jax.random.key(0), features, 6, depth, 3, activation("tanh"), sigma_w=1.3, sigma_b=0.2, norm="batch"
    )  # fmt: skip


@pytest.mark.parametrize("features", [6, 9])
def test_a_deep_classifier_used_to_a_depth_is_the_shallow_one(features):
    x = jax.random.normal(jax.random.key(1), (5, features))
    used = jax.jit(bisection.shallow)
    for depth in (1, 3, 4):
        expected = _draw(depth, features)(x)
        np.testing.assert_allclose(used(_draw(4, features), x, depth), expected, atol=1e-6)


def test_bisection_finds_every_largest_depth():
    found = jax.jit(jax.vmap(lambda end: bisection.largest(lambda depth: depth <= end, 7)))(jnp.arange(9))
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7]


def test_layers_above_the_depth_are_not_trained():
    data = problem("gm10")
    model = _draw(3, data.features)
    batch = jnp.asarray(data.x[:8]), jnp.asarray(data.label[:8]) % 3
    slope = jax.jit(jax.grad(lambda m: bisection.loss_at(2)(m, batch)[0]))(model)
    size = jnp.abs(slope.runs[1].layer.kernel[...]).max((1, 2))
    assert size[0] > 0
    assert size[1] == 0


def test_a_top_that_needs_unequal_trials_is_refused():
    with pytest.raises(InputError, match="one less than a power of two"):
        bisection.require_top(10)
