"""Learning time: one small run to the end, and what is made of times that we choose."""

import json
from dataclasses import asdict, replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import learning_time
from signalprop.bench.experiments.learning_time.measure import critical
from signalprop.bench.experiments.learning_time.verdicts import best

SMALL = replace(
    learning_time.SIZES["quick"], depth=(2, 4), learning_rate=(0.1, 0.3), width=8, steps=40, seeds=2
)
CHOSEN = replace(
    SMALL, network=("linear", "tanh_small"), depth=(3, 10, 30), learning_rate=(1 / 30, 0.1, 1 / 3), steps=400
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of two programs."""
    return pipeline.run(learning_time.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def chosen():
    """A result in which Gaussian starts need L steps at rates 1/L, and orthogonal ones always 10."""
    theory = learning_time.EXPERIMENT.theory(CHOSEN)
    grid = learning_time.EXPERIMENT.grid(CHOSEN)
    labels = {k: v for k, v in grid.labels().items() if k in (*grid.dims, *grid.coords)}
    zero = xr.DataArray(np.zeros((2, 3, 2, 2, 3)), {k: labels[k] for k in grid.dims}, grid.dims)
    depth, rate, orthogonal = (zero[name] for name in ("depth", "learning_rate", "orthogonal"))
    miss = np.abs(np.log(rate * depth))
    time = zero + xr.where(orthogonal > 0, 10, 10 * depth / 3) * (1 + miss)
    strength = zero + theory["strength_predicted"]
    return xr.Dataset(
        {"time": time, "spread": zero + theory["spread_predicted"], "strength": strength},
        attrs={"settings": json.dumps(asdict(CHOSEN))},
    ).merge(theory)


def test_a_small_run_answers_what_it_can(outcome):
    modes = next(v for v in outcome.verdicts if "decoupled" in v.statement)
    assert modes.agreement == "agrees"
    for name in ("learning-time", "modes"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    result = store.load(outcome.run)
    np.testing.assert_allclose(result["spread"].sel(orthogonal=1.0), 0, atol=1e-4)
    assert (result["spread"].sel(orthogonal=0.0) > 0.1).all()


def test_the_best_rate_is_the_fastest(chosen):
    at = best(chosen).sel(network="linear", orthogonal=0.0)
    assert at["rate"].values.tolist() == [1 / 3, 0.1, 1 / 30]
    never = best(chosen.assign(time=chosen["time"] * np.inf))
    assert np.isinf(never["time"]).all()
    assert np.isnan(never["rate"]).all()


def test_times_that_follow_the_claims_agree(chosen):
    found = learning_time.EXPERIMENT.verdicts(chosen)
    assert {v.agreement for v in found} == {"agrees", "no theory"}
    gaussian = next(v for v in found if "from Gaussian" in v.statement)
    assert gaussian.measured == pytest.approx(10, rel=0.2)
    slopes = next(v for v in found if v.statement.startswith("tanh"))
    assert slopes.measured == pytest.approx(0, abs=0.1)
    assert slopes.claim == "right after repair"


def test_times_without_end_are_no_agreement(chosen):
    time, linear = chosen["time"], {"network": ["linear"]}
    deep = chosen.assign(time=time.where(time["depth"] < 30, np.inf)).sel(linear)
    flat = next(
        v for v in learning_time.EXPERIMENT.verdicts(deep) if "orthogonal weights does not" in v.statement
    )
    assert (flat.measured, flat.agreement, flat.claim) == (np.inf, "disagrees", "right after repair")
    steep = next(v for v in learning_time.EXPERIMENT.verdicts(deep) if "from Gaussian" in v.statement)
    assert steep.measured == pytest.approx(400 / 10)
    never = learning_time.EXPERIMENT.verdicts(chosen.assign(time=time * np.inf).sel(linear))
    assert [v.claims for v in never] == [("C2",)]


def test_the_best_rate_needs_three_rates_and_says_where_the_grid_ends(chosen):
    slope = next(v for v in learning_time.EXPERIMENT.verdicts(chosen) if "slope of its log" in v.statement)
    assert "30 hidden layers the best rate is an end" in slope.statement
    one = learning_time.EXPERIMENT.verdicts(chosen.isel(learning_rate=[1]))
    assert not any("slope of its log" in v.statement for v in one)


def test_a_spread_that_orders_nothing_is_no_support(chosen):
    found = learning_time.EXPERIMENT.verdicts(chosen.assign(time=1 / chosen["time"]))
    spread = next(v for v in found if v.statement.startswith("Rank correlation"))
    assert spread.measured < 0
    assert spread.claim == "wrong"


def test_what_was_not_run_is_not_judged(chosen):
    one = learning_time.EXPERIMENT.verdicts(chosen.isel(network=[1], depth=[0]))
    assert not any("linear" in v.statement for v in one)
    alone = learning_time.EXPERIMENT.verdicts(chosen.isel(network=[0], depth=[0]))
    assert [v.claims[0] for v in alone] == ["C2"]
    for figure in learning_time.EXPERIMENT.figures(chosen.isel(network=[1], depth=[0])).values():
        plt.close(figure)
    table = learning_time.EXPERIMENT.table(chosen)
    assert len(table) == 12


def test_tanh_networks_start_at_their_critical_point():
    sigma_w, sigma_b, scale, ratio = critical("tanh_large")
    assert sigma_w**2 * scale**2 + sigma_b**2 == pytest.approx(1.0)
    assert ratio == pytest.approx(0.583, abs=1e-3)  # L (mu_2 / mu_1^2 - 1) is 37.3 for 64 layers


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("network", ("lineal",), "did you mean linear"),
        ("learning_rate", (0.0,), "above 0"),
        ("steps", 42, "multiple of 5"),
        ("width", 4, "at least 8"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
