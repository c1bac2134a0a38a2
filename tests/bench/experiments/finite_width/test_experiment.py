"""Finite width: a small run from sweep to verdicts."""

from dataclasses import replace

import pytest

from signalprop.bench import pipeline
from signalprop.bench.experiments import finite_width
from signalprop.bench.experiments.finite_width.measure import profiles

SMALL = replace(
    finite_width.SIZES["quick"],
    scheme=("gaussian",),
    width=(4, 8, 20),
    depth=(1, 2, 6),
    profile_depth=(3, 6),
    shapes=2,
    weights=400,
    inputs=8,
    spectrum=(8, 3),
    draws=40,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(finite_width.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    assert {claim for verdict in outcome.verdicts for claim in verdict.claims} == {"B3", "B4", "C1", "C13"}


def test_figures_and_table_are_written(outcome):
    for name in ("collapse", "rare"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    rows = (outcome.folder / "finite-width.csv").read_text().splitlines()
    assert len(rows) > 2 * len(profiles(SMALL))


@pytest.mark.parametrize(
    ("field", "value"),
    [("depth", (5, 1)), ("width", ()), ("profile_depth", (9,)), ("inputs", 99), ("spectrum", (99, 2))],
)
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})


def test_unknown_laws_of_weights_are_refused():
    with pytest.raises(ValueError, match="scheme: no 'he_unifrm'; did you mean he_uniform"):
        replace(SMALL, scheme=("he_unifrm",))
