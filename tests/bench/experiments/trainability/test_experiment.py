"""Trainability: one small run to the end, and trainable depths of results that we choose."""

import json
from dataclasses import asdict, replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import trainability
from signalprop.bench.experiments.trainability.verdicts import trainable_depth

SMALL = replace(
    trainability.SIZES["quick"], depth=(9,), sigma_w_squared=(1.0, 4.0), width=6, batch_size=4, steps=4,
    watched=20, networks=10,
)  # fmt: skip
CHOSEN = replace(SMALL, depth=(5, 10, 20, 40, 60), sigma_w_squared=(1.0, 1.2, 1.3, 1.76, 3.0, 4.0))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(trainability.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def chosen():
    """A result whose accuracy falls from 1 to 0 around six depth scales."""
    theory = trainability.EXPERIMENT.theory(CHOSEN)
    grid = trainability.EXPERIMENT.grid(CHOSEN)
    labels = {k: v for k, v in grid.labels().items() if k in (*grid.dims, *grid.coords)}
    depth, xi = xr.DataArray(list(CHOSEN.depth), dims="depth"), theory["xi_c"].drop_vars("sigma_w_squared")
    accuracy = np.clip(0.5 + (6 * xi - depth) / 40, 0, 1)
    full = xr.DataArray(
        np.zeros((1, 5, 1, 6, 2)), {k: labels[k] for k in (*grid.dims, "step")}, (*grid.dims, "step")
    )
    accuracy = (full + accuracy.assign_coords(depth=list(CHOSEN.depth))).transpose(*full.dims)
    walks = full.isel(step=0, drop=True).expand_dims(network=10, axis=-1)
    rate = walks + (theory["log_chi_1"] - theory["shift"])
    layers = walks.isel(network=0, drop=True).expand_dims(layer=labels["layer"][1], axis=-1)
    return xr.Dataset(
        {
            "accuracy": accuracy, "loss": full, "log_moved": full.isel(step=0, drop=True) - 3,
            "diverged_at": full.isel(step=0, drop=True), "log_distance": layers, "log_delta": layers,
            "forward_rate": rate, "gradient_rate": rate,
            "product": walks.expand_dims(way=labels["way"][1], axis=-2) + 0.1,
        },
        attrs={"settings": json.dumps(asdict(CHOSEN))},
    ).merge(theory)  # fmt: skip


def test_a_small_run_answers_what_it_can(outcome):
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert {"A22", "A14"} <= answered
    exact = next(v for v in outcome.verdicts if "(JVP)" in v.statement)
    # a sum of n products rounds by at most n eps (Higham 2002, eq. 3.5), in each of the layers
    assert exact.measured < SMALL.width * SMALL.depth[0] * np.finfo(float).eps
    for name in ("trainability", "multiple", "directions"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    result = store.load(outcome.run)
    assert result["accuracy"].shape == (1, 1, 1, 2, 2)
    assert np.isfinite(result["accuracy"]).all()
    assert np.isfinite(result["log_delta"]).all()


def test_the_trainable_depth_is_interpolated(chosen):
    found = trainable_depth(chosen).sel(data="gm10")
    expected = np.minimum(6 * chosen["xi_c"].values, 60)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_no_trained_network_means_depth_0_and_a_diverged_one_counts_as_failed(chosen):
    assert not trainable_depth(chosen.assign(accuracy=0 * chosen["accuracy"])).any()
    assert not trainable_depth(chosen.assign(accuracy=np.nan * chosen["accuracy"])).any()


def test_a_result_that_follows_theory_agrees(chosen):
    found = trainability.EXPERIMENT.verdicts(chosen)
    judged = [v for v in found if v.agreement != "no theory"]
    assert len(judged) == 7
    assert {v.agreement for v in judged} == {"agrees"}
    multiple = next(v for v in found if v.statement.startswith("Largest depth"))
    assert multiple.measured == pytest.approx(6, rel=1e-6)


def test_a_smaller_multiple_in_the_chaotic_phase_fails_the_criterion_set_beforehand(chosen):
    chosen = chosen.isel(sigma_w_squared=[0, 1, 4, 5])
    quarter = xr.where(chosen["log_chi_1"] > 0, 0.25, 1.0)
    accuracy = 0.5 + (6 * chosen["xi_c"] * quarter - chosen["depth"]) / 40
    accuracy = (0 * chosen["accuracy"] + accuracy.clip(0, 1)).transpose(*chosen["accuracy"].dims)
    found = trainability.EXPERIMENT.verdicts(chosen.assign(accuracy=accuracy))
    both = next(v for v in found if "set beforehand" in v.statement)
    apart = next(v for v in found if "ordered phase alone" in v.statement)
    assert (both.agreement, both.claim) == ("disagrees", "right after repair")
    assert (apart.agreement, apart.claim) == ("agrees", "right")


def test_no_rate_is_judged_in_networks_too_shallow_for_it(chosen):
    found = " ".join(v.statement for v in trainability.EXPERIMENT.verdicts(chosen.isel(depth=[0, 1, 2])))
    assert "per layer" not in found


def test_the_order_of_the_weight_scales_changes_nothing(chosen):
    assert trainability.EXPERIMENT.verdicts(
        chosen.isel(sigma_w_squared=slice(None, None, -1))
    ) == trainability.EXPERIMENT.verdicts(chosen)


def test_what_was_not_run_is_not_judged(chosen):
    one = trainability.EXPERIMENT.verdicts(chosen.isel(sigma_w_squared=[3], depth=[4]))
    assert "6 xi_c" not in " ".join(v.statement for v in one)
    ordered = chosen.isel(sigma_w_squared=[0], network=[0, 1])
    for figure in trainability.EXPERIMENT.figures(ordered).values():
        plt.close(figure)
    assert {v.claims[0] for v in trainability.EXPERIMENT.verdicts(ordered)} <= {"A14", "A16", "A22"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data", ("gm11",), "did you mean gm10"),
        ("depth", (4, 2), "increasing"),
        ("sigma_w_squared", (0.0,), "variances above 0"),
        ("threshold", 1.0, "between 0 and 1"),
        ("snapshots", 3, "divisor"),
        ("learning_rate", 0.0, "above 0"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
