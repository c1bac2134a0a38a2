"""Residual networks: the blocks are those of the models, and a small run from sweep to verdicts."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.experiments import residual
from signalprop.bench.experiments.residual.architectures import ARCHITECTURES
from signalprop.models.mlp import Layer
from signalprop.models.normalization import batch_norm, layer_norm

NAMES = "residual", "ReZero", "relu branch", "pre-LN", "post-LN"
SMALL = replace(residual.SIZES["quick"], architecture=NAMES, depth=(6,), width=48, batch_size=12)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(residual.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_every_architecture_is_the_block_that_its_description_says():
    rng, depth = np.random.default_rng(0), 4
    x, w_1, w_2 = rng.normal(size=(3, 5)), rng.normal(size=(5, 5)), rng.normal(size=(5, 5))
    inner, outer = (Layer(jnp.asarray(w), jnp.zeros(5)) for w in (w_1, w_2))
    he, relu = 2**0.5, jax.nn.relu
    two_layers = relu(x @ w_1 * he) @ w_2
    expected = {
        "plain": two_layers,
        "residual": x + two_layers,
        "1/sqrt(L)": x + two_layers / 2,
        "1/L": x + two_layers / 4,
        "ReZero": x,
        "Fixup": x,
        "relu branch": x + relu(x @ w_1 * he),
        "tanh branch": x + jnp.tanh(x @ w_1),
        "pre-BN": x + relu(batch_norm(jnp.asarray(x))) @ w_2 * he,
        "post-BN": batch_norm(x + two_layers),
        "pre-LN": x + relu(layer_norm(jnp.asarray(x)) @ w_1) @ w_2,
        "post-LN": layer_norm(x + relu(x @ w_1) @ w_2),
        "post-LN relu": layer_norm(x + relu(x @ w_1 * he)),
    }
    assert set(expected) == set(ARCHITECTURES)
    for name, kind in ARCHITECTURES.items():
        found = kind.block(inner, outer, jnp.array(depth))(jnp.asarray(x))
        np.testing.assert_allclose(found, expected[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    assert {"C25", "C26"} <= {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert len(outcome.verdicts) == 9


def test_figures_and_table_are_written(outcome):
    for name in ("profiles", "depth"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    text = (outcome.folder / "residual.csv").read_text()
    assert "nan" not in text
    assert ",," not in text


@pytest.mark.parametrize(
    ("field", "value"), [("architecture", ("resnet",)), ("depth", ()), ("batch_size", 3)]
)
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
