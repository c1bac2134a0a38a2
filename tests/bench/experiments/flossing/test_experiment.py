"""Flossing: the task, equal budgets, and a small run from sweep to verdicts."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.experiments import flossing
from signalprop.bench.training.flossing import SCHEDULES, Plan, cost, delayed_xor

SMALL = replace(
    flossing.SIZES["quick"],
    delay=(4,),
    schedule=("before",),
    start=("gaussian",),
    width=16,
    exponents=4,
    steps=160,
    floss_steps=40,
    records=4,
    batch_size=4,
    floss_rate=1e-2,
    seeds=8,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(flossing.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.mark.parametrize("delay", [4, 5])
def test_the_target_is_the_xor_of_two_past_bits(delay):
    batch = delayed_xor(delay).draw(jax.random.key(0), delay, 3)
    bits = np.asarray(batch.inputs)[:, :, 0] > 0
    for t in range(delay, 3 * delay):
        different = bits[t - delay] ^ bits[t - delay // 2]
        np.testing.assert_array_equal(np.asarray(batch.targets)[t - delay] < 0, different)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_costs_the_same_to_a_record(schedule):
    plan = Plan(delayed_xor(4), 4, 8, 1000, 100, 3, 2, 10, 1e-3, 1e-3)
    cycles = SCHEDULES[schedule]
    floss_steps, train_steps = plan.split(cycles)
    whole = max(cycles, 1) * (3 * floss_steps + train_steps)
    assert 1000 - 10 < whole <= 1000
    places = plan.places(schedule)
    assert len(places) == 10
    assert np.all(np.diff(places) > 0)
    assert places[-1] == pytest.approx(whole - train_steps / (10 // max(cycles, 1)) / 2)


def test_the_cost_counts_vectors_and_steps():
    assert cost(17, 60, 16) == pytest.approx(1.0)


def test_flossing_brings_exponents_and_gradients_to_zero(outcome):
    at = store.load(outcome.run).isel(delay=0, schedule=0, start=0).mean("seed")
    leading = at["exponents"].isel(index=slice(0, 4))
    assert (
        float(abs(leading.sel(moment="flossed")).mean()) < float(abs(leading.sel(moment="start")).mean()) / 2
    )
    assert float(at["log_gradient"].sel(moment="flossed").isel(lag=-1)) > float(
        at["log_gradient"].sel(moment="start").isel(lag=-1)
    )
    assert float(at["floss_loss"][-1]) < float(at["floss_loss"][0]) / 2


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert {"D6", "D12"} <= answered


def test_figures_and_table_are_written(outcome):
    for name in ("exponents", "gradients", "training", "success"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    assert "gaussian" in (outcome.folder / "flossing.csv").read_text()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("delay", (5,)),
        ("schedule", ("after",)),
        ("start", ("gauss",)),
        ("records", 3),
        ("steps", 100),
        ("floss_steps", 0),
    ],
)
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
