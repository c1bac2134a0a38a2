"""He training: one small run to the end, the twins in double precision, and successes that we choose."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import he_training
from signalprop.bench.experiments.he_training import STARTS
from signalprop.bench.experiments.he_training.verdicts import best, named_starts

SMALL = replace(
    he_training.SIZES["quick"], depth=(3,), learning_rate=(0.01,), batch_size=4, updates=4, records=2,
    seeds=2, dtype="float64",
)  # fmt: skip
CHOSEN = replace(
    SMALL, depth=(22, 30), start=tuple(STARTS), learning_rate=(0.003, 1e5), updates=2000, records=4, seeds=10
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(he_training.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def chosen():
    """A result in which only He's networks and rescaled ones learn, Xavier's too but later at 22 layers."""
    grid = he_training.EXPERIMENT.grid(CHOSEN)
    labels = {k: v for k, v in grid.labels().items() if k in grid.dims}
    empty = xr.DataArray(np.zeros((*grid.static_shape, *grid.traced_shape)), labels, grid.dims)
    begins = xr.zeros_like(empty)
    places = {name: i for i, name in enumerate(STARTS)}
    begins.loc[{"start": [places["he"], places["xavier_rescaled"]], "learning_rate": 0.003}] = 500
    begins.loc[{"start": places["xavier"], "learning_rate": 0.003, "depth": 22}] = 2000
    update = xr.DataArray([500, 1000, 1500, 2000], dims="update", coords={"update": [500, 1000, 1500, 2000]})
    accuracy = xr.where((begins > 0) & (update >= begins), 0.9, 0.1)
    rng, theory = np.random.default_rng(0), he_training.EXPERIMENT.theory(CHOSEN)
    layers = theory["log_signal_predicted"] + 0 * empty
    scatter = xr.DataArray(rng.normal(size=10), dims="seed") * theory["log_signal_spread"]
    measured = {
        "log_signal": layers + scatter, "log_gradient": layers * 0 - 9, "direction_gap": empty + 1e-6,
        "twin_gap": empty + 1e-7, "accuracy": accuracy, "loss": 2.3 - accuracy, "test_accuracy": empty + 0.1,
        "diverged_at": empty.where(empty["learning_rate"] < 1, 3.0),
    }  # fmt: skip
    return xr.Dataset(measured).merge(theory)


def test_a_small_run_answers_what_it_can(outcome):
    assert all(v.agreement in ("agrees", "no theory") for v in outcome.verdicts)
    assert {"B2", "B3", "B4", "C12", "C13"} <= {claim for v in outcome.verdicts for claim in v.claims}
    for name in ("curves", "signal", "rates"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000


def test_xavier_on_a_larger_input_is_he_with_doubled_rates(outcome):
    result = store.load(outcome.run)
    assert float(result["twin_gap"].max()) < 1e-12
    assert float(result["direction_gap"].max()) < 1e-12


def test_successes_are_counted_at_the_rate_that_counts(chosen):
    found = he_training.EXPERIMENT.verdicts(chosen)
    assert all(v.agreement in ("agrees", "no theory") for v in found)
    differences = [v for v in found if "networks that begin to learn at the best" in v.statement]
    assert [v.measured for v in differences] == [0.0, 10.0]
    assert "overlap" in differences[0].correction
    assert "it stalls" in differences[1].correction
    speed = next(v for v in found if "geometric mean" in v.statement)
    assert speed.measured == pytest.approx(np.log(4))
    large = next(v for v in found if "A16" in v.claims)
    assert large.measured == 0
    assert "10 of 10 leave float range" in large.statement


def test_what_was_not_run_is_not_judged(chosen):
    alone = he_training.EXPERIMENT.verdicts(chosen.isel(start=[1], learning_rate=[1]))
    assert {claim for v in alone for claim in v.claims} == {"B2", "B3", "B4"}


def test_all_starts_are_drawn_and_tabulated(chosen):
    for figure in he_training.EXPERIMENT.figures(chosen).values():
        plt.close(figure)
    table = he_training.EXPERIMENT.table(chosen)
    assert len(table) == 2 * 4 * 2
    row = table[(table.depth == 30) & (table.start == "he") & (table.learning_rate == 0.003)].iloc[0]
    assert (row.begun, row.updates_to_begin_median, row.counts) == (10, 500, 1)
    assert row.low == pytest.approx(0.025 ** (1 / 10))  # Clopper and Pearson at k = n


def test_the_loss_decides_only_where_the_median_network_does_not_begin(chosen):
    named = named_starts(chosen.assign(loss=chosen["loss"] * 0 + (chosen["learning_rate"] < 1)))
    assert (best(named)["learning_rate"].sel(start="he") == 0.003).all()  # begins, at a larger loss
    assert (best(named)["learning_rate"].sel(start="xavier_frozen") == 1e5).all()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("start", ("xavir",), "did you mean xavier"),
        ("learning_rate", (0.0,), "rates above 0"),
        ("momentum", 1.0, "below 1"),
        ("records", 3, "divisor of the 4 updates"),
        ("depth", (1,), "at least 3"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
