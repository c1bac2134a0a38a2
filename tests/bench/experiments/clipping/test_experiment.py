"""Clipping: one small run to the end, its exact statements, and results that we choose."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import clipping
from signalprop.bench.experiments.clipping import scenes as clipped
from signalprop.bench.experiments.clipping import scores as clipping_scores
from signalprop.bench.experiments.clipping import treatments

SMALL = replace(
    clipping.SIZES["quick"], network=("recurrent", "cliff", "td_clipped"), units=4, batch_size=4,
    updates=20, surface=9, seeds=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(clipping.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def result(outcome):
    """What it measured."""
    return store.load(outcome.run)


def test_a_small_run_agrees_with_what_is_exact(outcome):
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert {"C8", "C18", "C30", "C31", "C32", "D24"} <= answered
    assert not outcome.disagreements
    for name in ("cliff", "steps", "success", "weights"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000


def test_the_error_surface_is_that_of_the_recurrence():
    h = 0.5
    for _ in range(7):
        h = 2.0 / (1 + np.exp(-h)) - 1.5
    direct = (1 / (1 + np.exp(-h)) - 0.7) ** 2
    found = jax.jit(clipped.cliff_error, static_argnums=2)(jnp.array(2.0), jnp.array(-1.5), 7)
    assert float(found) == pytest.approx(direct, rel=1e-12)


def test_a_clipped_error_has_no_slope_outside_and_hubers_loss_has_one():
    errors = jnp.array([-3.0, -0.5, 0.25, 2.0])
    square, huber = (jax.vmap(jax.grad(f))(errors) for f in (clipped.squared_clipped, clipped.huber))
    np.testing.assert_array_equal(square, [0, -1, 0.5, 0])
    np.testing.assert_array_equal(huber, [-1, -0.5, 0.25, 1])


def test_paths_begin_ahead_of_the_wall_and_the_wall_is_there(result):
    start = result["place"].sel(network="cliff").isel(update=0).values.reshape(-1, 2).astype(float)
    above = start[:, 1] - clipped.WALL[1] - clipped.WALL[2] * (start[:, 0] - clipped.WALL[0])
    assert (above > 0.099).all()
    assert (above < 0.401).all()
    behind = jnp.array([start[0, 0]]), jnp.array([start[0, 1] - 1])
    assert float(clipped.cliff_error(*behind, 50)[0]) > 0.3


def test_what_is_not_clipped_is_not_changed(result):
    td = result["loss"].sel(network="td_clipped")
    np.testing.assert_array_equal(td.sel(treatment="norm-1"), td.sel(treatment="none"))
    assert (clipping_scores.initial_share(result.sel(network="td_clipped")) == 0).all()


def test_treatments_are_read_from_their_names():
    assert treatments.treatment("norm-0.1").clip_norm == 0.1
    assert treatments.treatment("value-0.01").clip_value == 0.01
    assert (treatments.treatment("l2-0.1").l2, treatments.treatment("l1-0.001").l1) == (0.1, 0.001)
    assert treatments.treatment("none") == treatments.Treatment()
    assert treatments.label("l2-0.1") == "L2 0.1"


def test_deep_networks_are_judged_by_their_counts(result):
    deep = result.sel(network=["recurrent"]).assign_coords(network=["deep"])
    deep["loss"] = 0 * deep["loss"] + 2.0
    deep["loss"].loc[{"treatment": "norm-1"}] = 0.1
    deep["diverged_at"] = 0 * deep["diverged_at"]
    found = clipping.EXPERIMENT.verdicts(deep)
    success = next(v for v in found if "C8" in v.claims)
    assert success.measured == 1.0
    assert "norm clipping at 1 2/2" in success.statement
    assert clipping_scores.solved(deep).sel(treatment="norm-1").all()
    row = clipping.EXPERIMENT.table(deep).query("treatment == 'norm-1' and gain == 2.5").iloc[0]
    assert (row.solved, row.seeds, row.high) == (2, 2, 1.0)
    for figure in clipping.EXPERIMENT.figures(deep).values():
        plt.close(figure)


def test_what_was_not_run_is_not_judged(result):
    def answered(some):
        return {claim for v in clipping.EXPERIMENT.verdicts(some) for claim in v.claims}

    assert answered(result.sel(network=["td_clipped"], treatment=["l2-0.1"])) == set()
    assert answered(result.sel(network=["recurrent"], treatment=["value-0.01"])) <= {"C30", "C32"}
    assert "C31" in answered(result.sel(network=["recurrent"], treatment=["none", "l2-0.1"], gain=[2.5]))
    assert clipping.EXPERIMENT.figures(result.sel(network=["td_clipped"])) == {}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("network", ("deap",), "did you mean deep"),
        ("treatment", ("nrom-1",), "did you mean norm"),
        ("treatment", ("norm",), "write norm-0.1"),
        ("treatment", ("none-1",), "write none"),
        ("treatment", ("l2-x",), "write l2-0.1"),
        ("learning_rate", (0.0,), "rates above 0"),
        ("updates", 15, "a multiple of 10"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
