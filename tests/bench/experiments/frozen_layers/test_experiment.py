"""Frozen layers: one small run to the end, the forward pass by hand, and refused settings."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import frozen_layers as experiment
from signalprop.bench.experiments.frozen_layers.measure import logits as logits_of_measure
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier

SMALL = replace(
    experiment.SIZES["quick"], depth=3, width=8, steps=4, batch_size=8, seeds=2, share=(0.0, 0.5, 1.0)
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(experiment.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def result(outcome):
    return store.load(outcome.run)


def test_nothing_at_or_below_the_layer_moves_and_everything_above_does(outcome, result):
    assert outcome.disagreements == []
    still = result["way"] == -np.inf
    assert bool(still.sel(replaced="step", at=2, layer=[1, 2]).all())
    assert not bool(still.sel(replaced="step", at=2, layer=[3, 4]).any())
    assert bool(still.sel(replaced="silent", at=2, layer=[1, 2, 3]).all())  # layer 3 reads zeros
    assert np.isfinite(result["bias_way"].sel(replaced="silent", at=2, layer=3)).all()
    assert (outcome.folder / "frozen.png").exists()


def test_a_wholly_silent_share_is_the_silent_layer(result):
    np.testing.assert_array_equal(
        result["share_way"].sel(share=1.0), result["way"].sel(replaced="silent", at=2)
    )


def test_a_frozen_layer_that_moves_is_a_disagreement(result):
    moved = result["way"].where(result["way"] > -np.inf, -80.0)
    found = experiment.EXPERIMENT.verdicts(result.assign(way=moved))
    assert "disagrees" in [v.agreement for v in found if "B34" in v.claims]


def test_the_network_with_a_layer_replaced_is_what_it_says():
    shape = (5, 4, 3, 2, activation("relu"))
    model = jax.jit(lambda key: draw_classifier(key, *shape, sigma_b=0.5, dtype="float64"))(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (6, 5), jnp.float64)
    layers = [(run.layer.kernel[...][i], run.layer.bias[...][i])
              for run in model.runs for i in range(len(run.layer.bias[...]))]  # fmt: skip
    logits = jax.jit(logits_of_measure)

    def by_hand(replaced):
        y = np.asarray(x)
        for number, (kernel, bias) in enumerate(layers, start=1):
            z = y @ np.asarray(kernel) + np.asarray(bias)
            y = replaced(z) if number == 2 else np.maximum(z, 0)
        return y @ np.asarray(model.readout.kernel[...])

    half = np.array([0, 0, 1, 1])
    for case, replaced in (
        ((2, True, 4), lambda z: (z >= 0).astype(float)),
        ((2, False, 2), lambda z: half * np.maximum(z, 0)),
        ((0, False, 4), lambda z: np.maximum(z, 0)),
    ):
        np.testing.assert_allclose(logits(model, x, *map(jnp.asarray, case)), by_hand(replaced), atol=1e-12)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("share", (1.5,), "between 0 and 1"),
        ("share", (0.02,), "none or all of 8"),
        ("depth", 1, "at least 2"),
        ("data", "digit", "did you mean"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
