"""Activation race: the critical starts, one small run to the end, and arrivals that we choose."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import activation_race
from signalprop.bench.experiments.activation_race import RACERS, SMOOTH
from signalprop.bench.experiments.activation_race.racers import critical, racer, racing
from signalprop.bench.experiments.activation_race.theory import operations_per_element
from signalprop.bench.experiments.activation_race.verdicts import best, named_racers

RUN = tuple(name for name in RACERS if name != "gelu")  # whose start takes seconds to compile
SMALL = replace(
    activation_race.SIZES["quick"], depth=(2,), width=16, batch_size=4, updates=4, records=2, seeds=4
)
CHOSEN = replace(
    SMALL, depth=(5, 20), racer=RUN, learning_rate=(0.001, 0.01), updates=400, records=4, seeds=5
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(activation_race.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def chosen():
    """A result in which relu arrives at 300, tanh and abs at 200, sigmoid never, the others at 300."""
    grid = activation_race.EXPERIMENT.grid(CHOSEN)
    labels = {k: v for k, v in grid.labels().items() if k in grid.dims}
    empty = xr.DataArray(np.zeros((*grid.static_shape, *grid.traced_shape)), labels, grid.dims)
    arrives = xr.DataArray([{"tanh": 200, "abs": 200, "sigmoid": 900}.get(n, 300) for n in RUN], dims="racer")
    update = xr.DataArray([100, 200, 300, 400], dims="update")
    learns = (update >= arrives) & (empty["learning_rate"] == 0.01)
    theory = activation_race.EXPERIMENT.theory(CHOSEN)
    measured = {
        "accuracy": empty + xr.where(learns, 0.9, 0.1), "test_accuracy": empty, "diverged_at": empty,
        "mean_activity": empty + theory["mean_activity_predicted"],
        "zero_slopes": empty + theory["zero_slopes_predicted"],
    }  # fmt: skip
    return xr.Dataset(measured).merge(theory).assign_coords(grid.labels())


def test_a_small_run_answers_what_it_can(outcome):
    assert all(v.agreement in ("agrees", "no theory") for v in outcome.verdicts)
    assert {"B2", "B13", "B15", "B16", "B32"} <= {claim for v in outcome.verdicts for claim in v.claims}
    for name in ("curves", "updates", "slope"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", RUN)
def test_every_start_is_critical_and_keeps_its_length(name):
    start, phi = critical(name), racer(name)
    z, weight = np.polynomial.hermite_e.hermegauss(200)
    weight = weight / weight.sum()
    at = np.sqrt(start.q) * z
    slope = np.asarray(phi.derivative(jnp.asarray(at)))
    square = float(weight @ np.asarray(phi(jnp.asarray(at))) ** 2)
    accuracy = 0.01  # of Gauss-Hermite at kinks
    assert start.sigma_w**2 * float(weight @ slope**2) == pytest.approx(1, abs=accuracy)
    assert start.sigma_w**2 * square + start.sigma_b**2 == pytest.approx(start.q, rel=accuracy)
    assert start.sigma_w**2 * start.input_scale**2 + start.sigma_b**2 == pytest.approx(start.q, rel=1e-6)


def test_a_traced_racer_is_the_named_one():
    x = jnp.linspace(-3, 3, 7)
    traced = jax.jit(lambda family, slope: racing(family, slope)(x))
    for name, found in RACERS.items():
        np.testing.assert_allclose(traced(found.family, found.slope), racer(name)(x), rtol=1e-5, atol=1e-6)
    assert racer("abs")(jnp.array(-2.0)) == 2
    assert [RACERS[name].family for name in SMOOTH] == [1, 2, 3, 4]


def test_only_smooth_activations_need_transcendental_functions():
    assert operations_per_element("relu")[1] == 0
    assert operations_per_element("tanh")[1] > 0


def test_speeds_are_compared_at_the_rate_that_counts(chosen):
    found = activation_race.EXPERIMENT.verdicts(chosen)
    assert all(v.agreement in ("agrees", "no theory") for v in found)
    pairs = {
        v.statement.split(" over relu")[0].split(" ")[-1]: v for v in found if "over relu" in v.statement
    }
    assert pairs["tanh"].measured == pytest.approx(np.log(200 / 300))
    assert pairs["tanh"].claim == "wrong"
    assert pairs["sigmoid"].measured == pytest.approx(np.log(800 / 300))
    assert "arrive: 0 and 4 of 4" in pairs["sigmoid"].statement
    assert "chosen by 1 other network" in pairs["sigmoid"].statement
    assert pairs["leaky_0.01"].measured == 0


def test_the_networks_that_choose_the_rate_are_not_those_compared(chosen):
    chooser = chosen["seed"] == chosen["seed"][0]
    switched = chosen["learning_rate"] == xr.where(chooser, 0.001, 0.01)  # 0.01 suits all but the chooser
    accuracy = xr.where(switched, 0.9, 0.1) + 0 * chosen["accuracy"]
    at = best(named_racers(chosen.assign(accuracy=accuracy)))
    assert (at["learning_rate"] == 0.001).all()
    assert at.sizes["seed"] == 4
    assert at["arrived_at"].isnull().all()


def test_what_was_not_run_is_not_judged(chosen):
    few = activation_race.EXPERIMENT.verdicts(chosen.isel(racer=[-1]))
    assert [v.claims for v in few] == [("B15",)]


def test_all_racers_are_drawn_and_tabulated(chosen):
    drawn = activation_race.EXPERIMENT.figures(chosen)
    assert set(drawn) == {"curves", "updates", "slope"}
    for figure in drawn.values():
        plt.close(figure)
    table = activation_race.EXPERIMENT.table(chosen)
    assert len(table) == 2 * len(RUN) * 2
    row = table[(table.racer == "relu") & (table.learning_rate == 0.01) & (table.depth == 5)].iloc[0]
    assert (row.arrived, row.updates_median, row.counts) == (5, 300, 1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("racer", ("leaky",), "did you mean leaky"),
        ("learning_rate", (0.0,), "rates above 0"),
        ("momentum", 1.5, "below 1"),
        ("records", 3, "divisor of the 4 updates"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
