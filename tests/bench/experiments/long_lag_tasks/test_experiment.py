"""Long-lag tasks: one small run to the end, and what is made of results that we choose."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from flax import nnx

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import long_lag_tasks
from signalprop.bench.experiments.long_lag_tasks.measure import answer_by_lag
from signalprop.bench.experiments.long_lag_tasks.verdicts import best
from signalprop.bench.training import recurrent, tasks
from signalprop.bench.training.remedies import REMEDIES

SMALL = replace(
    long_lag_tasks.SIZES["quick"], task=("temporal_order-10",), network=("tanh",), units=6, batch_size=4,
    updates=4, records=2, test_size=20, seeds=2,
)  # fmt: skip
CHOSEN = replace(
    SMALL, task=("adding-20", "digits_rows"), network=tuple(REMEDIES), learning_rate=(0.001, 0.01), seeds=4
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(long_lag_tasks.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def chosen():
    """A result in which LSTMs solve all, the IRNN only with clipping, tanh only at the larger rate."""
    theory = long_lag_tasks.EXPERIMENT.theory(CHOSEN)
    grid = long_lag_tasks.EXPERIMENT.grid(CHOSEN)
    labels = {k: v for k, v in grid.labels().items() if k in grid.dims}
    empty = xr.DataArray(np.zeros((*grid.static_shape, *grid.traced_shape)), labels, grid.dims)
    solved = empty.copy()
    solved.loc[{"network": [n for n in REMEDIES if "lstm" in n]}] = 1
    solved.loc[{"network": "irnn", "clip_norm": 1.0}] = 1
    solved.loc[{"network": "tanh", "learning_rate": 0.01}] = 1
    fall = empty - xr.DataArray(0.5 * np.arange(21), {"lag": range(21)}, "lag")
    curve = empty.expand_dims(update=[1.0, 3.0], axis=-1)
    measured = {
        "solved": solved, "test_loss": 0.2 - 0.19 * solved, "correct": solved, "diverged_at": empty,
        "curve": curve + 0.1, "clip_rate": curve, "lag_after": fall,
        "lag_before": fall.where(empty["network"] != "lstm_forget_1", 0.0),
    }  # fmt: skip
    return xr.Dataset(measured).merge(theory)


def test_a_small_run_answers_what_it_can(outcome):
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert {"D6", "D11", "D24"} <= answered
    for name in ("success", "curves", "lags", "predictor"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    result = store.load(outcome.run)
    assert result["curve"].shape == (1, 1, 2, 1, 2, 2)
    assert np.isfinite(result["lag_after"]).all()
    clipped = result["clip_rate"].sel(clip_norm=0.0)
    assert not clipped.any()


def test_the_gradient_by_lag_is_that_of_the_last_answer():
    task = tasks.TASKS["temporal_order"]
    model = recurrent.draw(REMEDIES["tanh"], jax.random.key(0), task, 6, "float64")
    batch = task.draw(jax.random.key(1), 10, 1, "float64")

    @jax.jit
    def norms(model):
        graph, parameters = nnx.split(model)

        def loss(start):
            end = start
            for x in batch.inputs[:, 0]:
                end, _ = nnx.merge(graph, parameters).cell(end, x)
            return -jax.nn.log_softmax(model.readout(end))[batch.targets[0]], end

        slope, end = jax.grad(loss, has_aux=True)(jnp.zeros(6))
        last = jax.grad(lambda h: -jax.nn.log_softmax(model.readout(h))[batch.targets[0]])(end)
        direct = jnp.log(jnp.linalg.norm(slope)) - jnp.log(jnp.linalg.norm(last))
        return direct, answer_by_lag(model, task, batch)

    direct, by_lag = norms(model)
    assert by_lag.shape == (11,)
    assert float(by_lag[-1]) == pytest.approx(float(direct), abs=1e-10)


def test_the_better_learning_rate_counts(chosen):
    at = best(chosen)
    assert at["solved"].sel(network="tanh").min() == 1
    assert float(at["solved"].sel(network="irnn", clip_norm=0.0).max()) == 0


def test_every_claim_is_answered_from_the_counts(chosen):
    found = {v.claims[0]: v for v in long_lag_tasks.EXPERIMENT.verdicts(chosen)}
    assert set(found) == {"D6", "D11", "D12", "D13", "D20", "D24", "D25"}
    pairs = 2 * len(REMEDIES) * 4 * 2
    assert found["D24"].claim == "right"
    assert found["D24"].measured == pytest.approx(16 / pairs)  # the IRNN's 4 seeds, 2 tasks, 2 rates
    assert found["D6"].measured == 1.0  # tanh at the larger rate
    decades = (20 + 8) / 2 * 0.5 / np.log(10)  # lost over 20 steps and over 8 rows
    assert found["D20"].measured == pytest.approx(decades)


def test_the_order_of_the_clipping_norms_changes_nothing(chosen):
    assert long_lag_tasks.EXPERIMENT.verdicts(
        chosen.isel(clip_norm=[1, 0])
    ) == long_lag_tasks.EXPERIMENT.verdicts(chosen)


def test_what_was_not_run_is_not_judged(chosen):
    def answered(result):
        return {v.claims[0]: v for v in long_lag_tasks.EXPERIMENT.verdicts(result)}

    hoping = answered(chosen.sel(clip_norm=[0.0]))
    assert "D24" not in hoping
    assert "without clipping" in hoping["D25"].statement
    assert "clipped to" not in " ".join(v.statement for v in hoping.values())
    gated = answered(chosen.sel(network=["gru", "lstm_forget_1"]))
    assert set(gated) == {"D11", "D24", "D25"}
    nothing = answered(chosen.assign(solved=0 * chosen["solved"]))["D6"]
    assert nothing.claim == "not checkable"
    assert nothing.statement.startswith("No network")


def test_all_networks_and_tasks_are_drawn_and_tabulated(chosen):
    both = xr.concat([chosen, chosen.assign_coords(task=["adding-10", "digits_pixels"])], "task")
    drawn = long_lag_tasks.EXPERIMENT.figures(both.isel(task=[0, 1, 2]))
    assert set(drawn) == {"success", "curves", "lags", "predictor", "lengths"}
    for figure in drawn.values():
        plt.close(figure)
    table = long_lag_tasks.EXPERIMENT.table(chosen)
    assert len(table) == 2 * len(REMEDIES) * 2
    row = table[(table.network == "irnn") & (table.clip_norm == 1) & (table.task == "adding-20")].iloc[0]
    assert (row.solved, row.seeds) == (4, 4)
    assert row.low == pytest.approx(0.025**0.25)  # all of n succeed: (5 % / 2)^(1/n)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("task", ("adding",), "write adding-50"),
        ("task", ("ading-50",), "did you mean adding"),
        ("task", ("digits_rows-5",), "write digits_rows"),
        ("network", ("ltsm",), "did you mean"),
        ("optimizer", "adm", "did you mean adam"),
        ("records", 3, "write a divisor of the 4 updates"),
        ("learning_rate", (0.0,), "rates above 0"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
