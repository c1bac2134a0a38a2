"""Dead relu units: one small run to the end, and verdicts on results that we choose."""

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
from signalprop.bench.experiments import dead_relu
from signalprop.bench.experiments.dead_relu import RECTIFIERS
from signalprop.bench.experiments.dead_relu.measure import dead_units, unit_gradients
from signalprop.bench.training import classification
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier

SMALL = replace(
    dead_relu.SIZES["quick"], network=("sgd",), rate=(1 / 16, 8.0), bias=(0.0, -4.0), width=8, batch_size=16,
    updates=8, records=4, seeds=2,
)  # fmt: skip
CHOSEN = replace(SMALL, network=tuple(RECTIFIERS), rate=(0.1, 0.5, 1.0), seeds=3)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(dead_relu.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def chosen():
    """A result where half of the units die at the middle rate, all at the largest, on uncentred input."""
    grid = dead_relu.EXPERIMENT.grid(CHOSEN)
    labels = {k: v for k, v in grid.labels().items() if k in grid.dims}
    empty = xr.DataArray(np.zeros((*grid.static_shape, *grid.traced_shape)), labels, grid.dims)
    gone = empty + 0.5 * (empty["rate"] == 0.5) + 1.0 * (empty["rate"] == 1.0)
    gone = gone.where(empty["centred"] == 0, 0.0)
    gone.loc[{"network": ["leaky_relu", "batch_norm"]}] = 0
    in_time = xr.DataArray([0, 0, 1, 1, 1], {"update": grid.coords["update"]}, "update")
    layers = xr.DataArray(np.ones(8), {"layer": range(1, 9)}, "layer")
    biases = xr.DataArray([0.0, 1.0], {"initial_bias": list(CHOSEN.bias)}, "initial_bias")
    deaths = 8 * gone * layers
    learned = (empty["rate"] < 1.0) + empty
    measured = {
        "dead": gone * in_time * layers, "deaths": deaths,
        "revivals": (deaths / 4).where(layers["layer"] > 1, 0),
        "dead_gradient": 0 * deaths, "accuracy": learned, "learned": learned, "diverged_at": empty,
        "dead_by_bias": (empty + biases) * layers,
    }  # fmt: skip
    return xr.Dataset(measured).merge(dead_relu.EXPERIMENT.theory(CHOSEN))


def test_a_small_run_holds_what_is_exact(outcome):
    result = store.load(outcome.run)
    assert {v.agreement for v in outcome.verdicts} <= {"agrees", "no theory"}
    assert not result["dead_gradient"].any()
    assert not result["revivals"].sel(layer=1).any()
    change = result["dead"].diff("update").sum("update") * 8
    np.testing.assert_allclose(
        (result["deaths"] - result["revivals"]).transpose(*change.dims), change, atol=1e-4
    )
    assert float(result["dead_by_bias"].sel(initial_bias=-4.0).min()) == 1
    for name in ("dead_by_rate", "dead_by_layer", "deaths_and_revivals", "dead_by_bias"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000


def test_a_unit_killed_by_hand_is_dead_and_gets_no_gradient():
    @jax.jit
    def look():
        model = draw_classifier(jax.random.key(0), 5, 4, 2, 10, activation("relu"), sigma_w=2**0.5)
        bias = model.runs[1].layer.bias
        bias[...] = bias[...].at[0, 2].set(-100.0)
        x, label = jax.random.normal(jax.random.key(1), (30, 5)), jnp.arange(30) % 10
        gradients = jax.grad(lambda m: classification.cross_entropy(m, (x, label))[0])(model)
        return dead_units(model, x), unit_gradients(gradients)

    gone, gradients = map(np.asarray, look())
    assert gone.tolist() == [[False] * 4, [False, False, True, False]]
    np.testing.assert_array_equal(gradients == 0, gone)


def test_every_claim_is_answered_from_the_counts(chosen):
    found = {}
    for v in dead_relu.EXPERIMENT.verdicts(chosen):
        found.setdefault(v.claims[0], []).append(v)
    assert set(found) == {"B5", "B6", "B7", "B8", "B9", "B11", "B13", "B14", "B19", "B21", "B22"}
    assert found["B8"][0].measured == 0.5
    assert found["B7"][1].measured == pytest.approx(0.25)
    assert found["B9"][0].measured == 2.0  # 40 % dead from half the rate of failure on
    assert found["B9"][1].measured == 0.0


def test_what_was_not_run_is_not_judged(chosen):
    def answered(result):
        return {c for v in dead_relu.EXPERIMENT.verdicts(result) for c in v.claims}

    assert answered(chosen.sel(network=["leaky_relu"])) == {"B5", "B13"}
    assert answered(chosen.sel(network=["batch_norm"])) == {"B21"}
    assert {"B8", "B9"} <= answered(chosen.sel(centred=[0], network=["adam"]))
    assert "B8" not in answered(chosen.sel(centred=[1]))
    assert dead_relu.EXPERIMENT.verdicts(chosen.isel(rate=[2, 0, 1])) == dead_relu.EXPERIMENT.verdicts(chosen)


def test_any_part_is_drawn_and_tabulated(chosen):
    for part in (chosen, chosen.isel(network=[5], centred=[1], rate=[0])):
        for figure in dead_relu.EXPERIMENT.figures(part).values():
            plt.close(figure)
    assert len(dead_relu.EXPERIMENT.table(chosen)) == len(RECTIFIERS) * 2 * 3 * 8


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("network", ("sdg",), "did you mean sgd"),
        ("rate", (0.0,), "above 0"),
        ("centred", (2,), "write 0, 1 or both"),
        ("records", 3, "divisor of the 8 updates"),
        ("data", "gm11", "did you mean gm10"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
