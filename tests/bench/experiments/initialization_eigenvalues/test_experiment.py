"""Eigenvalues at initialization: a small run from sweep to verdicts."""

from dataclasses import replace

import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.experiments import initialization_eigenvalues as experiment

SMALL = replace(
    experiment.SIZES["quick"],
    scheme=("glorot_uniform", "haar_orthogonal", "qr_unsigned"),
    width=12,
    size=(4, 12),
    size_draws=2,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(experiment.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    assert {c for verdict in outcome.verdicts for c in verdict.claims} == {"C1", "C5", "C12", "C14", "C16"}


def test_eigenvalues_and_singular_values_belong_to_one_matrix(outcome):
    at = store.load(outcome.run).isel(width=0)
    log_volume = np.log(at["singular"]).sum("index")
    log_determinant = np.log(np.hypot(at["real"], at["imaginary"])).sum("index")
    np.testing.assert_allclose(log_determinant, log_volume, atol=1e-2)
    assert (at["num_real"] % 2 == 0).all()


def test_figures_and_table_are_written(outcome):
    for name in ("spectra", "size", "haar"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    assert "nan" not in (outcome.folder / "initialization-eigenvalues.csv").read_text()


@pytest.mark.parametrize(("field", "value"), [("width", 2), ("size", (99,)), ("draws", 0)])
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
