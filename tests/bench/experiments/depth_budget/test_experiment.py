"""Depth budget: one small run to the end, and limits of results that we choose."""

import json
from dataclasses import asdict, replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import depth_budget
from signalprop.bench.experiments.depth_budget.limits import LIMITS
from signalprop.bench.experiments.depth_budget.networks import NETWORKS
from signalprop.bench.experiments.depth_budget.verdicts import limits

SMALL = replace(
    depth_budget.SIZES["quick"], network=("relu_he_8",), top=3, probe=(1, 3), steps=10, batch_size=8
)
CHOSEN = replace(depth_budget.SIZES["standard"], seeds=2)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(depth_budget.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def chosen():
    """A result in which every network trains to the smallest of its limits."""
    theory = depth_budget.EXPERIMENT.theory(CHOSEN)
    names, probe = list(CHOSEN.network), np.array(CHOSEN.probe, float)
    coords = {"network": names, "seed": [0, 1], "probe": list(CHOSEN.probe)}
    zero = xr.DataArray(np.zeros((len(names), 2, probe.size)), coords, ("network", "seed", "probe"))
    fast = xr.DataArray([NETWORKS[n].learning_rate >= 0.2 for n in names], dims="network")
    sharp = xr.where(fast, np.log(10 / 4) + np.log(zero["probe"]), -9.0)
    result = xr.Dataset(
        {
            "trainable_depth": zero.isel(probe=0, drop=True),
            "log_gradient": zero - 1.5 * zero["probe"],
            "log_sharpness": zero + sharp,
            "log_weight": zero.isel(probe=0, drop=True),
        },
        attrs={"settings": json.dumps(asdict(CHOSEN))},
    ).merge(theory)
    smallest = np.minimum(limits(result).min("limit"), CHOSEN.top)
    return result.assign(trainable_depth=result["trainable_depth"] + smallest)


def test_a_small_run_answers_what_it_can(outcome):
    assert {"C6", "C1"} == {claim for verdict in outcome.verdicts for claim in verdict.claims}
    for name in ("budget", "prediction"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    result = store.load(outcome.run)
    assert result["trainable_depth"].isin([0, 1, 2, 3]).all()
    assert np.isfinite(result["log_gradient"]).all()
    assert np.isfinite(result["log_sharpness"]).all()


def test_every_limit_binds_where_it_should(chosen):
    found = limits(chosen)
    binding = {str(n): LIMITS[int(found.sel(network=n).argmin("limit"))] for n in chosen["network"].values}
    assert binding["sigmoid_sgd_32"] == "information"
    assert binding["relu_he_8"] == "width"
    assert np.isinf(found.sel(network="sigmoid_adam_32", limit="sharpness"))
    assert float(found.sel(network="tanh_critical_fast_32", limit="sharpness")) == pytest.approx(4)
    assert float(found.sel(network="sigmoid_adam_32", limit="floating point")) == pytest.approx(
        -np.log(1e-8) / 1.5
    )


def test_networks_that_follow_their_smallest_limit_are_predicted(chosen):
    found = depth_budget.EXPERIMENT.verdicts(chosen)
    assert found[0].measured == pytest.approx(1)
    assert found[1].measured == pytest.approx(1)
    assert {"C6", "C1", "C15", "C9"} == {claim for verdict in found for claim in verdict.claims}


def test_few_networks_and_another_order_are_drawn_and_judged(chosen):
    two = chosen.sel(network=["tanh_critical_fast_32", "tanh_critical_32"])
    assert len(depth_budget.EXPERIMENT.verdicts(two)) == 2
    for figure in depth_budget.EXPERIMENT.figures(two).values():
        plt.close(figure)
    assert len(depth_budget.EXPERIMENT.verdicts(chosen.isel(network=[0]))) == 1
    assert len(depth_budget.EXPERIMENT.table(chosen)) == len(CHOSEN.network)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("network", ("tanh",), "did you mean|choose from"),
        ("top", 10, "power of two"),
        ("probe", (3, 1), "increasing"),
        ("steps", 15, "multiple of 10"),
        ("threshold", 0.0, "between 0 and 1"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
