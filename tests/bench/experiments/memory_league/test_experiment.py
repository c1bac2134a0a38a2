"""The memory league: one small run to the end, its parts against other ways, and results that we choose."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import memory_league
from signalprop.bench.experiments.memory_league import competitors, methods
from signalprop.bench.experiments.memory_league import scores as memory_scores
from signalprop.bench.experiments.memory_league.measure import MOMENTS, WATCHED, kept_decades, tune
from signalprop.bench.experiments.memory_league.theory import predicted_decades, step_operations
from signalprop.bench.training import optimizers, recurrent, tasks
from signalprop.bench.training.remedies import REMEDIES

SMALL = replace(
    memory_league.SIZES["quick"], remedy=("none",), optimizer=("sgd", "adam"), task="adding-4",
    multiple=(0.1, 1.0), units=4, batch_size=4, updates=4, records=2, test_size=20, seeds=2,
)  # fmt: skip
CHOSEN = replace(memory_league.SIZES["standard"], task="adding-4", units=4, records=4, seeds=10)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(memory_league.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def chosen():
    """A result in which gates learn with Adam, relu only when clipped, and relu diverges when not."""
    grid, labels = memory_league.EXPERIMENT.grid(CHOSEN), memory_league.EXPERIMENT.grid(CHOSEN).labels()
    dims = (*grid.dims, "optimizer")
    coords = {k: v for k, v in labels.items() if k in (*dims, "update", "moment")}
    shape = [len(coords[d][1]) if d != "seed" else CHOSEN.seeds for d in dims]
    zero = xr.DataArray(np.zeros(shape), {d: coords[d] for d in dims}, dims)
    solved, diverged = zero.copy(), zero.copy()
    names = list(CHOSEN.remedy)
    solved.loc[{"remedy": [n for n in names if "lstm" in n or "gru" in n], "optimizer": "adam"}] = 1
    solved.loc[{"remedy": "relu+clip_norm"}] = 1
    diverged.loc[{"remedy": "relu", "optimizer": "sgd"}] = 3
    alone = zero["optimizer"].isin(list(competitors.ALONE)) & (zero["remedy"] != "none")
    curve = xr.where(solved > 0, 0.01, 0.2).expand_dims(update=coords["update"][1], axis=-1)
    scatter = xr.DataArray(np.linspace(-0.1, 0.1, CHOSEN.seeds), dims="seed")
    decades = (zero - 1 + scatter).expand_dims(moment=list(MOMENTS), axis=-1)
    measured = {
        "solved": solved, "diverged_at": diverged, "rate": zero + 0.1, "curve": curve, "decades": decades,
        "test_loss": xr.where(solved > 0, 0.01, 0.2), "clip_rate": curve, "log_gradient_norm": curve,
    }  # fmt: skip
    known = xr.Dataset({k: v.where(~alone) for k, v in measured.items()})
    remedies = {"remedy": names}
    theory = {
        "decades_predicted": zero.isel(seed=0, optimizer=0, drop=True) - 1,
        "test_loss_predicted": 1 / 6,
    }
    theory |= {"cost": xr.ones_like(theory["decades_predicted"]), "length": 4, "updates": CHOSEN.updates}
    return known.merge(xr.Dataset(theory, coords=remedies))


def test_a_small_run_goes_to_the_end(outcome):
    result = store.load(outcome.run)
    assert result["decades"].shape == (1, 2, 2, 2)
    assert np.isfinite(result["test_loss"]).all()
    assert np.unique(result["rate"].sel(optimizer="adam")).size == 1  # all seeds take the tuned rate
    for name in ("league", "curves", "gradient"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    assert {"C17"} <= {claim for v in outcome.verdicts for claim in v.claims}


def test_the_chosen_optimizer_moves_the_network_and_the_others_keep_their_memory():
    entry, names = competitors.competitor("l2"), ("sgd", "adam")
    weights, slopes = {"kernel": jnp.array([1.0, -2.0])}, {"kernel": jnp.array([0.5, 3.0])}

    @jax.jit
    def both(index):
        mixed = methods.any_optimizer(names, index, 0.1, entry)
        updates, memory = mixed.update(slopes, mixed.init(weights), weights)
        return updates, jax.tree.leaves(memory[1])

    for index, name in enumerate(names):
        alone = optimizers.optimizer(name, 0.1, l2=entry.l2)
        wanted, _ = alone.update(slopes, alone.init(weights), weights)
        updates, adam = both(jnp.asarray(index))
        np.testing.assert_allclose(updates["kernel"], wanted["kernel"], rtol=1e-6)
        assert (max(float(jnp.max(jnp.abs(leaf))) for leaf in adam) > 0) == (name == "adam")


def test_the_rate_with_most_successes_wins_and_divergence_loses():
    protocol = {"tuning_seeds": 2, "seed": 0}
    rates = jnp.array([0.1, 0.2, 0.3])

    def run(key, rate):
        loss = jnp.where(rate > 0.25, jnp.nan, 1 - rate)
        return {"solved": (rate < 0.15).astype(float), "test_loss": loss}

    assert float(tune(rates, run, protocol)) == pytest.approx(0.1)
    never = lambda key, rate: {**run(key, rate), "solved": jnp.zeros(())}  # noqa: E731
    assert float(tune(rates, never, protocol)) == pytest.approx(0.2)


def test_kept_decades_are_those_of_the_answer():
    task = tasks.TASKS["adding"]
    model = recurrent.draw(REMEDIES["tanh"], jax.random.key(0), task, 5, "float64")
    batch = task.draw(jax.random.key(1), 6, WATCHED, "float64")

    def answer(start, inputs):
        h = start
        for x in inputs:
            h, _ = model.cell(h, x)
        return model.readout(h)[0]

    @jax.jit
    def both():
        slopes = jax.vmap(jax.grad(answer), (None, 1))(jnp.zeros(5), batch.inputs)
        last = jnp.linalg.norm(model.readout.kernel[...])
        direct = jnp.mean(jnp.log10(jnp.linalg.norm(slopes, axis=1) / last))
        return direct, kept_decades(model, batch)

    direct, kept = both()
    assert float(kept) == pytest.approx(float(direct), abs=1e-10)


def test_costs_of_gates_are_those_of_their_matrices():
    settings = replace(SMALL, units=64)
    tanh, gru, lstm = (step_operations(n, settings) for n in ("none", "gru", "lstm_forget_1"))
    assert gru / tanh == pytest.approx(3, rel=0.1)
    assert lstm / tanh == pytest.approx(4, rel=0.1)


def test_relu_at_the_scale_of_he_loses_only_to_the_width():
    lost = predicted_decades("relu", 50, 32)
    assert lost == pytest.approx(-50 * 5 / (4 * 32) / np.log(10), rel=1e-5)
    assert np.isnan(predicted_decades("gru", 50, 32))


def test_every_claim_is_answered_from_the_counts(chosen):
    found = memory_league.EXPERIMENT.verdicts(chosen)
    assert {"C8", "C17", "C18", "C31", "D24"} <= {claim for v in found for claim in v.claims}
    assert all(v.agreement != "disagrees" for v in found)
    exploding = next(v for v in found if "C8" in v.claims)
    assert exploding.measured == 1.0
    clipping = next(v for v in found if "D24" in v.claims)
    assert clipping.claim == "right"
    assert clipping.measured == pytest.approx(2 / 6)  # relu with both optimizers, of six pairs


def test_what_was_not_run_is_not_judged(chosen):
    few = chosen.sel(remedy=["gru"], optimizer=["adam"])
    assert {claim for v in memory_league.EXPERIMENT.verdicts(few) for claim in v.claims} <= {"C17", "C18"}
    assert len(memory_scores.scores(few)) == 1


def test_the_table_ranks_by_success_and_leaves_out_what_was_not_run(chosen):
    rows = memory_scores.scores(chosen)
    assert len(rows) == len(CHOSEN.optimizer) + 2 * (len(CHOSEN.remedy) - 1)
    assert rows["solved"].is_monotonic_decreasing
    assert set(rows["network"]) == {"memory"}
    first = rows.iloc[0]
    assert (first.low, first.high) == (pytest.approx(0.025**0.1), 1.0)
    for figure in memory_league.EXPERIMENT.figures(chosen).values():
        plt.close(figure)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("remedy", ("gur",), "did you mean gru"),
        ("remedy", ("gru+relu",), "sets network twice"),
        ("optimizer", ("adm",), "did you mean adam"),
        ("task", "copying-5", "a number as its answer"),
        ("multiple", (0.0,), "rates above 0"),
        ("records", 3, "a divisor of 4"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
