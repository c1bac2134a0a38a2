"""The experiment carousel: a small run from sweep to verdicts, and its laws where they are exact."""

from dataclasses import replace

import numpy as np
import pytest

from signalprop.bench import pipeline, store
from signalprop.bench.experiments import carousel
from signalprop.bench.forgetting import exponents

SMALL = replace(
    carousel.SIZES["quick"],
    cell=("lstm", "lstm_1997"),
    forget_bias=(0.0, 1.0, 2.0),
    gain=(0.0, 1.0, 2.0),
    width=16,
    steps=60,
    transient=20,
    population=300,
    seeds=8,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(carousel.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert answered >= {f"D{n}" for n in (14, 15, 16, 17, 18, 19, 20, 22, 23, 25, 26)}


def test_figures_and_table_are_written(outcome):
    for name in ("factors", "paths", "memory", "phase", "growth"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    assert len((outcome.folder / "carousel.csv").read_text().splitlines()) == 1 + 2 * 3 * 3


def test_without_recurrent_weights_the_hidden_block_is_zero_and_the_carry_is_the_carousel(outcome):
    rate = exponents(store.load(outcome.run)).sel(cell="lstm", gain=0.0)
    assert np.all(rate.sel(path="hidden") == -np.inf)
    apart = rate.sel(path="carry") - rate.sel(path="four_terms")
    np.testing.assert_allclose(apart, 0.0, atol=1e-2)
    assert np.all(rate.sel(path="carry") > rate.sel(path="typical_unit"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("cell", ("lstn",)), ("steps", 30), ("stride", 7), ("transient", 0), ("gain", (-1.0,))],
)
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
