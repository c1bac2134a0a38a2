"""Normalized networks: the measured gradient against autodiff, and a small run from sweep to verdicts."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from signalprop.bench import pipeline
from signalprop.bench.experiments import normalization
from signalprop.bench.experiments.normalization.measure import SATURATED, cases
from signalprop.bench.experiments.normalization.theory import share_saturated
from signalprop.models.activations import activation

SMALL = replace(
    normalization.SIZES["quick"], activation=("relu", "tanh"), batch_size=(8,), width=64, depth=15, skipped=8
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(normalization.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    assert {"C21", "C22", "C24"} <= {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert len(outcome.verdicts) == 8


def test_figures_and_table_are_written(outcome):
    for name in ("profiles", "growth", "units"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    text = (outcome.folder / "normalization.csv").read_text().splitlines()
    assert len(text) == 1 + 2 * len(cases(SMALL.batch_size, SMALL.keep))


def test_batches_of_one_run_are_normalized_by_themselves():
    norms = {case.name: case.norm for case in cases((4, 8), ())}
    z = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)))
    alone = jnp.concatenate([norms["batch 4"](part) for part in jnp.split(z, 2)])
    np.testing.assert_allclose(norms["batch 4"](z), alone, rtol=1e-12)
    np.testing.assert_allclose(norms["batch 8"](z).mean(0), 0, atol=1e-12)


@pytest.mark.parametrize("name", SATURATED)
def test_units_are_saturated_where_the_slope_is_below_a_tenth_of_the_largest(name):
    is_saturated, least = SATURATED[name]
    phi = activation(name)
    z = jnp.array([0.99, 1.01]) * least
    np.testing.assert_array_equal(is_saturated(phi(z)), [False, True])
    largest = phi.derivative(jnp.zeros(()))
    np.testing.assert_allclose(phi.derivative(jnp.asarray(least)), largest / 10, rtol=1e-9)
    none, batch = (case for case in cases((8,), ()) if case.name in ("none, large", "batch 8"))
    assert share_saturated(name, none, 4.0) == pytest.approx(2 * stats.norm.sf(least / 2))
    h = np.random.default_rng(1).normal(size=(50_000, 8))
    h = np.asarray(jax.vmap(batch.norm)(h[:, :, None]))[:, 0, 0]
    share = share_saturated(name, batch, 1.0)
    assert abs((np.abs(h) > least).mean() - share) < 5 * (share / len(h)) ** 0.5 + 1e-9


@pytest.mark.parametrize(
    ("field", "value"), [("activation", ("rleu",)), ("batch_size", (8, 12)), ("keep", (0.0,)), ("depth", 12)]
)
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(normalization.SIZES["quick"], **{field: value})


def test_growth_in_the_transient_at_the_input_is_counted_and_not_judged():
    settings = replace(SMALL, skipped=0, seeds=3)
    predicted = normalization.EXPERIMENT.theory(settings)
    norms = [str(name) for name in predicted["norm"].values]
    known = predicted["rate_predicted"].notnull().all("activation")
    assert [name for name, is_known in zip(norms, known, strict=True) if not is_known] == [
        "layer", "rms", "batch 8"
    ]  # fmt: skip
    at_one = normalization.EXPERIMENT.theory(replace(settings, skipped=1))
    assert at_one["rate_predicted"].sel(norm=["layer", "rms"]).notnull().all()
    shape = {"seed": 3, "norm": len(norms), "activation": 2}
    measured = predicted.assign(
        log_gradient_squared=xr.DataArray(
            np.zeros((3, len(norms), 2, 16)), dims=(*shape, "layer"), coords={"layer": range(16)}
        ),
        **{
            name: xr.DataArray(np.zeros(tuple(shape.values())), dims=tuple(shape))
            for name in ("saturated", "cosine")
        },
    )
    outside = [v for v in normalization.EXPERIMENT.verdicts(measured) if "outside the range" in v.statement]
    assert [v.agreement for v in outside] == ["no theory", "no theory"]
    assert "(2 of 2 settings" in outside[0].statement
    assert "(4 of 4 settings" in outside[1].statement
