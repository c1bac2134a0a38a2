"""Adam's epsilon: one small run to the end, and the reach of steps that we choose."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import adam_epsilon
from signalprop.bench.experiments.adam_epsilon.verdicts import reach

SMALL = replace(
    adam_epsilon.SIZES["quick"], format=("float64",), epsilon=(1e-3, 1e-4, 1e-5, 1e-6), depth=12, top=1,
    width=12, steps=10, batch_size=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(adam_epsilon.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_a_small_run_answers_its_claims(outcome):
    assert {claim for v in outcome.verdicts for claim in v.claims} == {"C15", "A16", "C6"}
    assert (outcome.folder / "epsilon.png").stat().st_size > 10_000


def test_the_first_step_is_the_gradient_over_its_size_plus_epsilon(outcome):
    result = store.load(outcome.run).isel(format=0)
    gradient, epsilon = np.exp(result["log_gradient"]), result["epsilon"]
    small = (gradient < epsilon / 1e3).transpose(*result["log_step"].dims)
    assert small.any()
    expected = result["log_gradient"] - np.log(epsilon)
    np.testing.assert_allclose(
        result["log_step"].values[small.values],
        expected.transpose(*small.dims).values[small.values],
        atol=0.01,
    )


def test_the_reach_is_counted_from_the_read_out():
    steps = np.log([1e-3, 1e-2, 0.25, 1.0, 1.0])  # half lies half way from 1 to 1/4 in the log
    result = xr.Dataset({"log_step": (("seed", "layer"), [steps, steps])})
    assert float(reach(result)) == pytest.approx(1.5)
    assert float(reach(xr.Dataset({"log_step": (("seed", "layer"), np.zeros((1, 5)))}))) == 4


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", ("float16",), "did you mean"),
        ("epsilon", (0.0,), "write a small number"),
        ("top", 6, "power of two"),
        ("threshold", 2.0, "between 0 and 1"),
        ("steps", 11, "multiple of 10"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
