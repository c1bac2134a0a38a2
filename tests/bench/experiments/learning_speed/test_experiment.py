"""Learning speed: one small run to the end, errors against autodiff, and verdicts on chosen results."""

from dataclasses import replace

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import learning_speed
from signalprop.bench.experiments.learning_speed.learners import LEARNERS, find_learner
from signalprop.bench.experiments.learning_speed.measure import examples
from signalprop.bench.experiments.learning_speed.networks import draw, first_examples
from signalprop.bench.experiments.learning_speed.verdicts import FIXED_POINT

SMALL = replace(
    learning_speed.SIZES["quick"], network=("sigmoid-2",), examples=40, epochs=4, records=2, depth=3,
    starts=4, seeds=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(learning_speed.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def result(outcome):
    """Its measured arrays."""
    return store.load(outcome.run)


@pytest.fixture(scope="module")
def everything(result):
    """The same numbers under the names of all networks."""
    names = ["sigmoid-2", "sigmoid-3", "relu-3", "batch_norm-3"]
    measured = result.drop_vars([k for k in result if "network" in result[k].dims and "predicted" in k])
    measured = repeated(measured.fillna(-3.0), names)
    return measured.merge(
        learning_speed.EXPERIMENT.theory(replace(SMALL, network=tuple(names))), compat="override"
    )


def repeated(result, names):
    """One network's numbers for every name."""
    return result.isel(network=[0] * len(names)).assign_coords(network=names)


def test_theory_agrees_in_a_small_run(outcome):
    assert {v.agreement for v in outcome.verdicts} <= {"agrees", "no theory"}
    assert {c for v in outcome.verdicts for c in v.claims} == {"A10", "A15", "A16", "A17", "A18"}
    for name in ("nielsen", "untrained", "moved", "remedies"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000


def test_the_first_layer_moves_little_but_for_its_decay(result):
    moved = result["moved_at_end"].isel(network=0, layer=0)
    assert float(result["moved_by_decay_predicted"]) == pytest.approx(1 - (1 - 0.1 * 5 / 40) ** 4)
    np.testing.assert_allclose(moved, float(result["moved_by_decay_predicted"]), rtol=0.1)
    assert not result["moved"].sel(epoch=0, layer=[1, 2]).any()


def test_errors_above_the_last_layer_are_not_there(result):
    there = np.isfinite(result["mean_error"].isel(network=0, seed=0, start=0).values)
    np.testing.assert_array_equal(there, np.tri(3, dtype=bool))


def test_the_fixed_point_is_where_nielsens_ratio_comes_from():
    z, weight = np.polynomial.hermite_e.hermegauss(60)
    weight, q = weight / weight.sum(), 1.0
    for _ in range(60):
        y = 1 / (1 + np.exp(-(q**0.5) * z))
        q = weight @ y**2 + 1
    assert (weight @ (y * (1 - y)) ** 2) ** -0.5 == pytest.approx(FIXED_POINT, abs=0.01)


def test_the_errors_are_those_of_backpropagation_by_hand(result):
    static = {"data": "digits", "examples": SMALL.examples, "dtype": "float32"}
    x, target = map(np.asarray, examples(static))
    key = jax.random.split(jax.random.fold_in(jax.random.key(0), 0), 3)[2]
    drawn = jax.jit(lambda key: draw(LEARNERS["sigmoid"], key, 64, SMALL.width, 3, "float32"))
    model = jax.tree.map(np.asarray, drawn(jax.random.split(key, SMALL.starts)[0]))

    ys = [x]
    layers = [(w, b) for run in model.runs for w, b in zip(run.layer.kernel, run.layer.bias, strict=True)]
    for kernel, bias in layers:
        ys.append(1 / (1 + np.exp(-(ys[-1] @ kernel + bias))))
    logits = ys[-1] @ model.readout.kernel[...] + model.readout.bias[...]
    delta = (1 / (1 + np.exp(-logits)) - target) @ model.readout.kernel[...].T
    for layer in (3, 2, 1):
        delta = delta * ys[layer] * (1 - ys[layer])
        mean, rms = np.linalg.norm(delta.mean(0)), np.sqrt((delta**2).sum(1).mean())
        found = result.isel(network=0, seed=0, start=0).sel(depth=3, layer=layer)
        np.testing.assert_allclose(np.exp([found["mean_error"], found["rms_error"]]), [mean, rms], rtol=1e-4)
        delta = delta @ layers[layer - 1][0].T


def test_texts_follow_the_numbers(result):
    def about(result, claim):
        return next(v for v in learning_speed.EXPERIMENT.verdicts(result) if claim in v.claims)

    turned = result.assign(speed=-result["speed"])
    assert about(result, "A15").claim == "right after repair"
    assert (about(turned, "A15").claim, about(turned, "A18").claim) == ("wrong", "right")
    assert about(result.assign(accuracy=0 * result["accuracy"] + 1), "A16").claim == "wrong"


def test_everything_is_drawn_judged_and_tabulated(everything):
    assert "mean_step_predicted" in everything
    claims = [v.claims[0] for v in learning_speed.EXPERIMENT.verdicts(everything)]
    assert claims.count("A10") == 6
    for figure in learning_speed.EXPERIMENT.figures(everything).values():
        plt.close(figure)
    assert set(learning_speed.EXPERIMENT.table(everything)["network"]) == set(everything["network"].values)
    alone = everything.sel(network=["relu-3"])
    assert {c for v in learning_speed.EXPERIMENT.verdicts(alone) for c in v.claims} == {"A10"}
    for figure in learning_speed.EXPERIMENT.figures(alone).values():
        plt.close(figure)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("network", ("sigmiod-2",), "did you mean sigmoid"),
        ("network", ("sigmoid",), "sigmoid-4"),
        ("network", ("sigmoid-x",), "number of hidden layers"),
        ("network", ("sigmoid-9",), "at least 9"),
        ("data", "digit", "did you mean digits"),
        ("records", 3, "divisor of the 4 epochs"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})


def test_more_examples_than_there_are_are_refused():
    with pytest.raises(InputError, match="examples: got 5000; write at most 1437"):
        learning_speed.EXPERIMENT.grid(replace(SMALL, examples=5000))


def test_a_learner_is_found_with_its_layers():
    assert find_learner("batch_norm-4") == (LEARNERS["batch_norm"], 4)
    x, target = first_examples("digits", 7)
    assert (x.min(), x.max(), target.sum()) == (0.0, 1.0, 7.0)
