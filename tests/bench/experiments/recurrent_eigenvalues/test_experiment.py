"""The eigenvalue audit: a small run from sweep to verdicts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.experiments import recurrent_eigenvalues as experiment

SMALL = replace(
    experiment.SIZES["quick"],
    ensemble=("gaussian", "scaled_identity", "nilpotent"),
    activation=("linear", "tanh", "relu"),
    gain=(0.5, 1.0, 2.5),
    width=16,
    steps=40,
    length=6,
    updates=10,
    batch_size=4,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(experiment.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    assert {c for verdict in outcome.verdicts for c in verdict.claims} == {"D3", "D7", "D9", "D10", "D12"}


def test_a_linear_network_grows_by_its_largest_eigenvalue_and_the_identity_by_its_gain(outcome):
    at = store.load(outcome.run).isel(width=0).sel(activation="linear", gain=2.5)
    identity = at.sel(ensemble="scaled_identity")
    np.testing.assert_allclose(identity["slope"], np.log(2.5), rtol=1e-12)
    gaussian = at.sel(ensemble="gaussian")
    log_rho = np.log(2.5 * gaussian["radius"])
    assert float(np.abs(gaussian["slope"] - log_rho).max()) < 0.1  # log kappa(V) over the lags


def test_eigenvalues_before_training_are_those_of_the_ensemble_and_training_moves_them(outcome):
    at = store.load(outcome.run).isel(width=0)
    before, after = (at["trained_real"].sel(cell="Gaussian", stage=stage) for stage in ("before", "after"))
    drawn = at["real"].sel(ensemble="gaussian")
    np.testing.assert_allclose(np.sort(before, -1), np.sort(drawn, -1), atol=1e-10)
    assert float(np.abs(after - before).max()) > 1e-3
    assert set(at["cell"].values) == {"Gaussian", "half identity", "IRNN"}


def test_figures_and_table_are_written(outcome):
    for name in ("myth", "rules", "gain", "eigenvalues"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    table = pd.read_csv(outcome.folder / "recurrent-eigenvalues.csv")
    assert {"all", "tanh", "nilpotent", "settings"} <= set(table["part"])
    assert len(table) < 2000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gain", (1e-9,)),
        ("gain", (1e9,)),
        ("updates", 15),
        ("ensemble", ("nilpotent",)),
        ("steps", 3),
        ("seeds", 1),
    ],
)
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
