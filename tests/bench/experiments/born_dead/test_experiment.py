"""Born dead networks: one small run to the end, and the first layer that is off against a walk by hand."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import born_dead
from signalprop.bench.experiments.born_dead import STARTS, Start
from signalprop.bench.experiments.born_dead.measure import EDGE, draw_start, off_at
from signalprop.bench.experiments.born_dead.verdicts import share_by_depth

SMALL = replace(
    born_dead.SIZES["quick"], width=(2,), depth=10, networks=10, points=32, examples=(1, 2, 4), fit_depth=4,
    batch_size=4, updates=2, seeds=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(born_dead.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def result(outcome):
    """Its measured arrays."""
    return store.load(outcome.run)


def test_theory_agrees_in_a_small_run(outcome):
    assert {v.agreement for v in outcome.verdicts} <= {"agrees", "no theory"}
    assert {c for v in outcome.verdicts for c in v.claims} == {"B6", "B7", "B10", "B11"}
    for name in ("dead_by_depth", "collapse", "dead_units"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000


def test_the_scale_of_the_weights_changes_nothing(result):
    he, xavier = result["dead_at_all"].values[0][:, 0], result["dead_at_all"].values[0][:, 1]
    assert [list(STARTS)[int(i)] for i in result["start"].values[:2]] == ["he", "xavier"]
    np.testing.assert_array_equal(he, xavier)


def test_a_network_dead_on_all_inputs_is_dead_at_the_given_one(result):
    one, every = (share_by_depth(result, f"dead_at_{at}") for at in ("input", "all"))
    assert bool((every <= one).all())
    assert bool((result["collapsed"] >= result["collapsed_before"]).all())


def test_the_first_layer_that_is_off_is_found_by_hand():
    static = {"width": 3, "depth": 6, "points": 16, "dtype": "float64"}
    starts = Start(*(jnp.array([getattr(s, field) for s in STARTS.values()]) for field in Start._fields))
    key, numbers = jax.random.key(4), jnp.arange(1, 7)

    @jax.jit
    @jax.vmap
    def both(start):
        fan_in = jnp.where(numbers == 1, 1, 3)
        draw = partial(draw_start, key, start, shape=(10, 3), dtype="float64")
        layers = jax.vmap(draw)(numbers, fan_in)
        return off_at(key, start, jnp.int32(1), static), layers.kernel[...], layers.bias[...]

    x = jax.random.uniform(jax.random.fold_in(key, 0), (16, 10), "float64", minval=-EDGE, maxval=EDGE)
    for found, kernels, biases in zip(*map(np.asarray, both(starts)), strict=True):
        y, first = np.asarray(x)[:, :1], np.zeros(16, int)
        for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True), start=1):
            y = np.maximum(y @ kernel[: y.shape[1]] + bias, 0)
            first = np.where((first == 0) & (y == 0).all(1), number, first)
        np.testing.assert_array_equal(found, first)


def test_units_of_which_none_is_expected_to_die_are_not_judged(result):
    rare = result.assign(unit_dead_predicted=0 * result["unit_dead_predicted"])
    assert not [v for v in born_dead.EXPERIMENT.verdicts(rare) if "examples of mean" in v.statement]


def test_parts_of_a_result_are_judged_without_the_rest(result):
    assert born_dead.EXPERIMENT.verdicts(result.isel(start=[3]))
    alone = born_dead.EXPERIMENT.verdicts(result.isel(start=[0], features=[1]))
    assert "B11" not in {c for v in alone for c in v.claims}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("width", (1,), "at least 2"),
        ("start", ("hee",), "did you mean he"),
        ("ratio", (-1.0,), "not negative"),
        ("learning_rate", 0.0, "above 0"),
        ("points", 1, "at least 32"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
