"""Attention: the switched blocks against the models, gradients against autodiff, and a small run."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.experiments import attention
from signalprop.bench.experiments.attention.measure import NORMS, block
from signalprop.bench.experiments.attention.verdicts import deepest
from signalprop.models.transformer import Block, Transformer, draw_attention, draw_feed_forward, layer_norm

SMALL = replace(attention.SIZES["quick"], width=16, tokens=4, depth=(2, 4, 6), seeds=12)
KEY = jax.random.key(4)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(attention.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.mark.parametrize("norm", list(NORMS))
def test_a_switched_block_with_all_parts_is_that_of_the_models(norm):
    x = jax.random.normal(KEY, (4, 8), "float64")
    before, after = NORMS[norm]
    point = {"before": before, "after": after, "skip": 1, "attention": 1, "feed_forward": 1, "depth": 2}
    point = {k: jnp.asarray(v) for k, v in point.items()}
    parts = draw_attention(KEY, 1, 8, 2, "float64"), draw_feed_forward(KEY, 1, 8, 8, "float64")
    expected = Block(*parts, norm)(x)
    np.testing.assert_allclose(block(*parts, 2, point, x), expected, atol=1e-12)
    np.testing.assert_array_equal(block(*parts, 3, point, x), x)
    absent = point | {"feed_forward": jnp.asarray(0), "attention": jnp.asarray(0)}
    np.testing.assert_array_equal(block(*parts, 1, absent, x), x)


def test_the_gradient_at_the_input_is_that_of_the_transformer(outcome):
    depth, shape = 2, (SMALL.tokens, SMALL.width)
    key = jax.random.fold_in(jax.random.key(SMALL.seed), 0)
    block_key, input_key, gradient_key = jax.random.split(key, 3)
    x, noise = (jax.random.normal(k, shape, "float64") for k in (input_key, gradient_key))
    net = Transformer(depth, SMALL.width, 2, SMALL.width, "pre", key=block_key, dtype="float64")
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(net(x) * noise)))(layer_norm(x))
    stored = deepest(store.load(outcome.run), "pre", "full block", depth)["gradient"].isel(seed=0)
    expected = np.log10(np.linalg.norm(gradient) / np.sqrt(x.size))
    assert float(stored[0]) == pytest.approx(expected, abs=1e-9)


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    assert {"C25", "C26"} <= {claim for verdict in outcome.verdicts for claim in verdict.claims}
    for name in ("gradients", "collapse"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize(("field", "value"), [("depth", (4, 2)), ("heads", (3,)), ("tokens", 1)])
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
