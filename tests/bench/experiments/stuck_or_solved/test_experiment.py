"""Stuck or solved: one small run to the end, results that we choose, and nets whose ends are known."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import stuck_or_solved as experiment
from signalprop.bench.experiments.stuck_or_solved import xor
from signalprop.bench.experiments.stuck_or_solved.conditions import CONDITIONS
from signalprop.bench.experiments.stuck_or_solved.verdicts import foretells, separation, states

SMALL = replace(
    experiment.SIZES["quick"], examples=4, width=3, depth=2, steps=4, records=2, probe_steps=2, random=3,
    xor_width=(2, 3), penalty=(0.0,), restarts=2, xor_steps=3, seeds=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(experiment.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def result(outcome):
    return store.load(outcome.run)


def test_a_small_run_answers_every_claim(outcome, result):
    assert outcome.disagreements == []
    assert {"B24", "B40"} <= {claim for v in outcome.verdicts for claim in v.claims}
    assert float(result["inactive"].sel(network="dead").min()) == 1
    assert (outcome.folder / "telltales.png").exists()


def test_copies_keep_flipped_labels_from_being_fitted(result):
    base = result["base"].sel(network="solved")
    np.testing.assert_allclose(base, np.log(2), rtol=1e-12)
    assert float(result["loss"].sel(network="dead").std()) < 0.1


def test_a_restart_that_regains_much_is_what_calls_a_network_stuck(result):
    chosen = result.assign(continued=result["stuck"].fillna(0) * result["base"], restarted=0 * result["base"])
    at = states(chosen)
    assert separation(at["regained"], at["stuck"]) == (1, 1, 1)
    rule = next(v for v in experiment.EXPERIMENT.verdicts(chosen) if "restart" in v.statement)
    assert rule.measured == 1
    assert f"right for {2 * len(CONDITIONS)} of {2 * len(CONDITIONS)}" in rule.statement
    assert rule.claim == "right after repair"


def test_signals_that_order_the_outcomes_foretell_them(result):
    failed = np.array([[True, False, True], [False, True, True]])
    chosen = result.copy(deep=True)
    free = slice(len(CONDITIONS), None)
    chosen["loss"][{"network": free}] = np.where(failed, 1, 0) * result["base"][{"network": free}].values
    chosen["saturated"][{"network": free}] = failed[..., None] * np.ones(2)
    chosen["log_first"][{"network": free}] = failed[..., None] * np.ones(2)
    assert foretells(chosen, "saturated", 0)[0] == 1
    assert foretells(chosen, "log_first", 0)[0] == 0  # here a small gradient would foretell success


def test_two_units_solve_xor_exactly_and_a_constant_does_not():
    large = 20.0
    used = jnp.zeros(xor.WIDEST).at[:2].set(1)
    net = {
        "weights": large * used * jnp.ones((2, 1)), "biases": large * used * jnp.array([1, -1] + [0] * 14),
        "readout": used * jnp.array([-1, 1] + [0] * 14), "output": jnp.array(1.0),
    }  # fmt: skip
    assert float(xor.error(net, jnp.array(2))) < 1e-12
    assert float(xor.error(jax.tree.map(jnp.zeros_like, net), jnp.array(2))) == 1


def test_a_flat_direction_is_no_strict_minimum_and_a_slight_curvature_is():
    def judged(least):
        draw = np.random.default_rng(1)
        certified = []
        for _ in range(40):
            turn = np.linalg.qr(draw.standard_normal((9, 9)))[0]
            curvature = np.zeros((65, 65))
            curvature[:9, :9] = turn * np.append(draw.uniform(0.1, 20, 8), least) @ turn.T
            certified.append(strict(curvature, np.zeros(65), np.arange(65) < 9))
        return np.array(certified).T

    strict = jax.jit(xor.strict_minimum)
    values, certified = judged(0.0)
    np.testing.assert_allclose(values, 0, atol=1e-12)
    assert not certified.any()
    values, certified = judged(1e-6)
    np.testing.assert_allclose(values, 1e-6, rtol=1e-6)
    assert certified.all()
    assert not strict(np.eye(65), np.full(65, 0.1), np.arange(65) < 9)[1]  # a Newton step of 0.3 away


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("records", 3, "divisor"), ("xor_width", (20,), "at most 16"), ("penalty", (-1.0,), "not negative")],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
