"""The remedy league: one small run to the end, and what is made of results that we choose."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import remedy_league
from signalprop.bench.experiments.remedy_league import recipes as league
from signalprop.bench.experiments.remedy_league import scores as league_scores
from signalprop.bench.experiments.remedy_league.scores import league as by_remedy
from signalprop.bench.experiments.remedy_league.scores import scored, tuned_rate
from signalprop.bench.experiments.remedy_league.theory import Prediction

SMALL = replace(
    remedy_league.SIZES["quick"], network=("vanishing",), remedy=("none", "he", "clip_norm"), depth=4,
    width=6, batch_size=4, steps=4, records=2, seeds=2, tuning_seeds=1,
)  # fmt: skip
CHOSEN = replace(
    remedy_league.SIZES["quick"], remedy=tuple(league.REMEDIES), rate=(0.1, 0.01), steps=20, records=4,
    seeds=10, tuning_seeds=4,
)  # fmt: skip
GOOD = {"relu", "batch_norm", "relu_batch_norm", "residual", "rezero", "tanh", "xavier", "orthogonal"}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(remedy_league.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(autouse=True)
def separated(monkeypatch):
    """No theory is computed here: inputs stay apart, but for one penalty."""
    monkeypatch.setattr(league_scores, "separation", lambda one, depth: 0.1 if one.l2 else 1.0)


@pytest.fixture(scope="module")
def chosen():
    """A result in which remedies of ``GOOD`` work at the smaller rate, apart from the failing networks'."""
    with pytest.MonkeyPatch.context() as patch:
        theory = "signalprop.bench.experiments.remedy_league.theory"
        patch.setattr(f"{theory}.prediction", _expected)
        patch.setattr(f"{theory}.step_operations", lambda recipe, width, batch: 2.0 * len(recipe.optimizer))
        theory = remedy_league.EXPERIMENT.theory(CHOSEN)
    grid = remedy_league.EXPERIMENT.grid(CHOSEN)
    labels = {k: v for k, v in grid.labels().items() if k in grid.dims or k in ("step", "moment")}
    dims, shape = (*grid.dims, "member"), (*grid.static_shape, *grid.traced_shape, len(grid.coords["member"]))
    solved = xr.DataArray(np.zeros(shape), {k: v for k, v in labels.items() if k in dims}, dims)
    lost = solved.copy()
    for network in league.NETWORKS:
        for name in league.REMEDIES:
            at = theory.sel(network=network, remedy=name)
            here = {"structure": int(at["structure_of"]), "member": int(at["member_of"])}
            works = league.recipe(network, name) != league.recipe(network, "none") and name in GOOD
            solved[{**here, "rate": 1}] = float(works)
            lost[here] = float(at["decades_predicted"]) + 0.1 * np.array([[-1], [1]] * 5)
    step = xr.DataArray(labels["step"][1] / 20, {"step": labels["step"][1]}, "step")
    end = xr.DataArray([1.0, 0.0], {"moment": labels["moment"]}, "moment")
    return xr.Dataset(
        {
            "solved": solved, "accuracy": 0.1 + 0.8 * solved, "curve": solved * step,
            "decades": lost * end, "diverged_at": 0 * solved,
        }
    ).merge(theory)  # fmt: skip


def _expected(recipe, *shape):
    return Prediction(-3.0 if recipe.activation == "sigmoid" else 0.5, 60.0, 0.2)


def test_a_small_run_answers_what_it_can(outcome):
    assert {"C8", "C17"} <= {claim for verdict in outcome.verdicts for claim in verdict.claims}
    for name in ("league", "theory"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    result = store.load(outcome.run)
    assert result["curve"].shape == (1, 2, 1, 3, 2)
    assert np.isfinite(result["decades"].sel(moment="start")).all()
    assert (result["decades"].isel(member=0) == result["decades"].isel(member=2)).sel(moment="start").all()


def test_the_tuning_seeds_choose_the_rate_and_are_not_scored(chosen):
    table = by_remedy(chosen)
    choice = tuned_rate(table)
    assert int(choice.sel(network="vanishing", remedy="relu")) == 1
    assert scored(table).sizes["seed"] == 6
    assert float(scored(table)["solved"].sel(network="vanishing", remedy="relu").min()) == 1
    failing = choice.sel(network="vanishing", remedy="none")
    assert float(chosen["rate"][int(failing)]) == 0.01  # all alike: the smaller rate
    other = chosen["solved"].copy()
    other[{"seed": slice(4, None)}] = 1 - other[{"seed": slice(4, None)}]
    xr.testing.assert_equal(tuned_rate(by_remedy(chosen.assign(solved=other))), choice)
    lucky = chosen.assign(accuracy=chosen["accuracy"] + (chosen["rate"] == 0.1) * 0.01)
    assert int(tuned_rate(by_remedy(lucky)).sel(network="vanishing", remedy="none")) == 0


def test_steps_are_those_to_the_threshold_and_diverged_runs_never_reach_it(chosen):
    at = scored(by_remedy(chosen)).sel(network="vanishing", remedy="relu")
    assert (at["steps"] == 15).all()  # the first record above a half, of 5, 10, 15, 20
    lost = chosen.assign(diverged_at=chosen["diverged_at"] + 7)
    assert np.isinf(by_remedy(lost)["steps"]).all()


def test_every_claim_is_answered_from_the_counts(chosen):
    found = {}
    for verdict in remedy_league.EXPERIMENT.verdicts(chosen):
        found.setdefault(verdict.claims[0], []).append(verdict)
    assert set(found) == {"C8", "C14", "C15", "C17", "C18", "C23", "B4"}
    gradient, identity, _, merging, popular, norms = found["C17"]
    assert "overlap" in merging.statement
    assert gradient.agreement == "agrees"
    assert identity.agreement == "disagrees"  # these made-up networks lose decades with ReZero too
    assert popular.measured == pytest.approx(7 / 12)  # relu, batch norm, residual twice, Xavier once
    assert norms.measured == 1
    assert [v.claim for v in found["C8"]] == ["right after repair"] * 2
    assert found["C14"][0].measured == 1
    assert found["B4"][0].claim == "wrong"
    assert {v.measured for v in found["C23"]} == {1.0}
    assert found["C15"][0].agreement == "agrees"


def test_an_optimizer_that_moved_the_initial_gradient_would_be_noticed(chosen):
    moved = chosen["decades"].copy()
    adam = chosen.sel(network="vanishing", remedy="adam")
    moved[{"structure": int(adam["structure_of"]), "member": int(adam["member_of"])}] += 0.01
    found = {v.claims[0]: v for v in remedy_league.EXPERIMENT.verdicts(chosen.assign(decades=moved))[::-1]}
    assert found["C15"].agreement == "disagrees"


def test_what_was_not_run_is_not_judged(chosen):
    for remedies in (["none"], ["relu"], ["l2", "adam"], ["batch_norm", "relu_xavier"]):
        part = chosen.sel(remedy=remedies, network=["exploding"]).isel(rate=[1, 0])
        for verdict in remedy_league.EXPERIMENT.verdicts(part):
            assert np.isfinite(verdict.measured)
        for figure in remedy_league.EXPERIMENT.figures(part).values():
            plt.close(figure)


def test_the_table_is_ranked_and_complete(chosen):
    table = remedy_league.EXPERIMENT.table(chosen)
    assert len(table) == 2 * len(league.REMEDIES)
    for _, rows in table.groupby("network"):
        assert (rows["solved"].diff().dropna() <= 0).all()
    row = table[(table.network == "vanishing") & (table.remedy == "relu")].iloc[0]
    assert (row.solved, row.seeds, row.high) == (6, 6, 1.0)
    assert row.low == pytest.approx(0.025 ** (1 / 6))  # Clopper-Pearson at k = n
    assert table[table.remedy == "adam"].cost.iloc[0] == pytest.approx(len("adam") / len("heavy_ball"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("remedy", ("residul",), "did you mean residual"),
        ("network", ("tanh",), "choose from vanishing, exploding"),
        ("rate", (0.0,), "rates above 0"),
        ("records", 3, "write a divisor of the 4 steps"),
        ("tuning_seeds", 2, "write fewer than the 2 seeds"),
        ("threshold", 1.0, "a share between 0 and 1"),
        ("depth", 2, "at least 3"),
        ("batch_size", 3, "at least 4"),
        ("data", "gm11", "gm10"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
