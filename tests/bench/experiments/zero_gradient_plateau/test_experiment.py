"""The plateau of zero gradient: one small run to the end, a walk by hand, and verdicts on changes."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import zero_gradient_plateau as experiment
from signalprop.bench.experiments.zero_gradient_plateau import saddles
from signalprop.bench.experiments.zero_gradient_plateau.escapes import escapes
from signalprop.bench.experiments.zero_gradient_plateau.plateaus import RATE, draw_instance
from signalprop.bench.experiments.zero_gradient_plateau.routes import ROUTES
from signalprop.bench.experiments.zero_gradient_plateau.theory import foresee_chain
from signalprop.bench.record.verdict import Verdict

SMALL = replace(
    experiment.SIZES["quick"], instances=2, steps=126, examples=24, units=5, seeds=2,
    route=(
        "sgd", "adam_rest", "l2_all", "ball_moving", "adam_moving_10", "noise", "l2_rising", "ball_l2_fast",
        "adam_l2",
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(experiment.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def result(outcome):
    return store.load(outcome.run)


def test_every_instance_escapes_at_the_step_of_its_closed_form_or_never(outcome, result):
    assert outcome.disagreements == []
    escapes = np.isfinite(result["escape"]).mean(("seed", "instance")).to_series()
    assert (escapes[["sgd", "adam_rest", "l2_all"]] == 0).all()
    assert (escapes[["l2_rising", "ball_l2_fast", "adam_l2"]] == 1).all()
    assert {"resurrection.png", "ways.svg", "curvature.png"} <= {p.name for p in outcome.folder.iterdir()}


def test_heavy_ball_coasts_as_a_walk_by_hand_does(result):
    shape = (SMALL.examples, SMALL.features, SMALL.units, "float64")
    draw = jax.jit(lambda key: draw_instance(key, *shape))
    for seed in range(SMALL.seeds):
        instance_key = jax.random.split(jax.random.fold_in(jax.random.key(SMALL.seed), seed))[0]
        for i, key in enumerate(jax.random.split(instance_key, SMALL.instances)):
            start = draw(key)
            x = np.hstack([start.x, np.ones((SMALL.examples, 1))])
            rows, velocity = np.array(start.starts[0]), np.array(start.velocity)
            highest = [(x @ rows).max()]
            for _ in range(1, SMALL.steps):
                velocity = 0.9 * velocity
                rows = rows - RATE * velocity
                highest.append((x @ rows).max())
            awake = np.flatnonzero(np.array(highest) > 0)
            escape = awake[0] if awake.size else np.inf
            assert float(result["escape"].sel(route="ball_moving", seed=seed, instance=i)) == escape


def judged(result, claim: str) -> list[Verdict]:
    return [v for v in experiment.EXPERIMENT.verdicts(result) if claim in v.claims]


def test_one_escape_at_another_step_is_a_disagreement(result):
    changed = result["escape"].copy()
    changed.loc[{"route": "l2_rising", "seed": 0, "instance": 0}] += 1
    assert "disagrees" in [v.agreement for v in judged(result.assign(escape=changed), "B20")]


def test_a_silent_layer_that_moves_is_a_disagreement(result):
    moved = result["moved"] + 1e-30
    assert "disagrees" in [v.agreement for v in judged(result.assign(moved=moved), "B18")]


def test_routes_that_were_not_run_are_not_judged(result):
    some = experiment.EXPERIMENT.verdicts(result.sel(route=["noise"]))
    assert {"B19", "B20", "B21"}.isdisjoint(claim for v in some for claim in v.claims)


def test_norms_wake_a_layer_as_theorems_and_plain_arithmetic_say():
    names = ("batch_norm", "batch_norm_limit", "batch_norm_low", "layer_norm")

    @jax.jit
    def run(key):
        start = draw_instance(key, 12, 4, 3, "float64")
        return escapes(start, names, 2, key), start.x @ start.starts[2][:-1]

    for seed in range(6):
        found, values = run(jax.random.key(seed))
        np.testing.assert_array_equal(found["escape"], found["foreseen"])
        highest = ((values - values.mean(0)) / values.std(0)).max()
        low = 0 if highest > -ROUTES["batch_norm_low"].shift * 11**0.5 else np.inf
        np.testing.assert_array_equal(found["foreseen"], [0, np.inf, low, 0])


def test_newton_takes_no_more_steps_than_there_are():
    def run(key):
        return escapes(draw_instance(key, 8, 2, 2, "float64"), ("newton",), 1, key)

    assert jax.eval_shape(run, jax.random.key(0))["highest"].shape == (1, 1)


def test_every_route_has_a_label_and_a_known_program():
    assert {route.program for route in ROUTES.values()} == {"plain", "normalized", "newton"}
    assert len({route.label for route in ROUTES.values()}) == len(ROUTES)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("route", ("sdg",), "did you mean sgd"), ("examples", 1, "at least 2"), ("steps", 0, "at least 1")],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})


def test_damped_newton_on_an_unstable_orbit_is_not_foretold():
    """sqrt(2/5 damping) = 0.02 is a fixed orbit of period two at depth 4, whose fate rounding decides."""
    orbit = (2 * saddles.DAMPING / 5) ** 0.5
    assert orbit == pytest.approx(saddles.STARTS[1])
    descent, newton, saddle_free = foresee_chain(4, orbit)
    assert (descent, np.isnan(newton), saddle_free) == (np.inf, True, 15)
    np.testing.assert_array_equal(foresee_chain(2, 0.2), [17, np.inf, 2])
