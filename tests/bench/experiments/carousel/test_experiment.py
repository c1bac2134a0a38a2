"""The experiment carousel: a small run from sweep to verdicts, and its laws where they are exact."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.experiments import carousel
from signalprop.bench.experiments.carousel.verdicts import exponents

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


def test_settings_may_be_given_in_any_order(outcome):
    result = store.load(outcome.run)
    turned = result.isel(forget_bias=[2, 0, 1], gain=[1, 2, 0])
    assert carousel.EXPERIMENT.verdicts(turned) == carousel.EXPERIMENT.verdicts(result)


@pytest.mark.parametrize(
    ("cell", "place"),
    [
        ("gru", {}),
        ("lstm_untied", {"gain": [0.0]}),
        ("lstm", {"gain": [0.0]}),
        ("lstm", {"gain": [2.0], "forget_bias": [2.0]}),
    ],
)
def test_what_is_not_measured_is_left_out(outcome, cell, place):
    result = store.load(outcome.run).sel(cell=["lstm"], **place).assign_coords(cell=[cell])
    assert all(np.isfinite(v.measured) for v in carousel.EXPERIMENT.verdicts(result))
    for figure in carousel.EXPERIMENT.figures(result).values():
        plt.close(figure)


def test_a_bias_above_three_has_no_share_of_diagonals_but_the_other_verdicts(outcome):
    result = store.load(outcome.run).assign_coords(forget_bias=[4.0, 5.0, 6.0])
    stated = [v.statement for v in carousel.EXPERIMENT.verdicts(result)]
    assert not any("diagonals" in s for s in stated)
    assert any("additive path" in s for s in stated)


@pytest.mark.parametrize(("factor", "agreement"), [(0.99, "agrees"), (1.02, "disagrees")])
def test_gates_that_keep_are_told_apart_from_a_change_that_grows(outcome, factor, agreement):
    result = store.load(outcome.run).sel(cell=["lstm"]).assign_coords(cell=["minimal_rnn"])
    result["exponent_predicted"] = xr.full_like(result["exponent_predicted"], np.log(0.99))
    result["log_norm"] = xr.full_like(result["log_norm"], np.log(factor)) * result["time"]
    judged = [v.agreement for v in carousel.EXPERIMENT.verdicts(result) if v.agreement != "no theory"]
    assert judged == [agreement]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cell", ("lstn",)),
        ("steps", 30),
        ("stride", 7),
        ("stride", 0),
        ("stride", 60),
        ("transient", 0),
        ("transient", 40),
        ("gain", (-1.0,)),
    ],
)
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
