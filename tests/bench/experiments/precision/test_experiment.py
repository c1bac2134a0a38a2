"""The ends of formats: gradients against jax.grad, and a small run from sweep to verdicts."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from signalprop.analysis.statistics import log_norm
from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.experiments import precision
from signalprop.bench.measure import rounding
from signalprop.models.mlp import MLP

CLAIMS = {"A1", "A3", "B1", "B14", "B23", "B28", "B29", "B30", "B31", "B41", "C4", "C10"}
FEW = tuple(name for name in precision.FEW if name != "erf")
SMALL = replace(precision.SIZES["quick"], activation=FEW, width=16, depth=110, seeds=6)  # float64 outlives it


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(precision.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_a_kept_gradient_is_that_of_jax_grad_on_the_same_weights(outcome):
    first = store.load(outcome.run).isel(seed=0).sel(network="sigmoid")
    keys = jax.random.split(jax.random.fold_in(jax.random.key(SMALL.seed), 0), 3)
    x, cotangent = (jax.random.normal(key, (SMALL.width,), "float32") for key in keys[:2])
    network = MLP((SMALL.width,) * (SMALL.depth + 1), jax.nn.sigmoid, key=keys[2])

    def deltas(dtype):
        kept = jax.tree.map(lambda leaf: leaf.astype(dtype), network)
        (delta,) = kept.pre_activation_gradients(x.astype(dtype), cotangent.astype(dtype))
        return log_norm(delta[::-1].astype("float64"), axis=1) / np.log(10)

    half, single = jax.jit(lambda: (deltas("float16"), deltas("float32")))()
    np.testing.assert_allclose(first["kept"].sel(format="float16")[:6], half[:6], atol=0.02)
    for values in (first["kept"].sel(format="float32"), first["true"]):
        np.testing.assert_allclose(values[:50], single[:50], atol=2e-5)
    assert np.isneginf(first["kept"].sel(format="float32")[-1])
    assert np.isneginf(single[-1])


def test_gradient_descent_in_a_format_is_that_of_single_operations(outcome):
    found = store.load(outcome.run)["rest"].isel(seed=0).sel(format="float16")
    w = np.full(len(rounding.RATES), rounding.START, np.float16)
    rates, minimum = np.asarray(rounding.RATES, np.float16), np.float16(rounding.MINIMUM)
    for _ in range(rounding.UPDATES - 1):
        before, w = w, w - rates * (w - minimum)
    gaps = (w - minimum) / np.finfo(np.float16).eps
    np.testing.assert_array_equal(found, np.sign((before - minimum) * gaps) * np.abs(gaps))


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    assert {claim for verdict in outcome.verdicts for claim in verdict.claims} == CLAIMS


def test_figures_and_table_are_written(outcome):
    for name in ("atlas", "depth", "rounding"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    rows = (outcome.folder / "precision.csv").read_text().splitlines()
    assert len(rows) > 200
    assert sum(row.startswith("slope_edge") for row in rows) == 4 * len(SMALL.activation) * 2


@pytest.mark.parametrize(("field", "value"), [("depth", 1), ("width", 0), ("activation", ("sigmiod",))])
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
