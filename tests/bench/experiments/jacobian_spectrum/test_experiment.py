"""The measured spectra are those of the network, and any part of a result can be judged and drawn."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from signalprop.analysis import products
from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import jacobian_spectrum as js
from signalprop.bench.experiments.jacobian_spectrum.figures import shown_depths
from signalprop.bench.experiments.jacobian_spectrum.measure import critical_scales
from signalprop.bench.record import figures
from signalprop.bench.record.verdict import Outcome
from signalprop.models.activations import activation
from signalprop.models.mlp import MLP

SMALL = js.Settings(("linear", "relu", "tanh", "sigmoid"), width=12, depth=(1, 2, 4, 32), seeds=8)


@cache
def outcome() -> tuple[Outcome, xr.Dataset]:
    """One small run for all tests of this file."""
    found = pipeline.run(js.EXPERIMENT, SMALL, Path(mkdtemp()))
    assert found is not None
    return found, store.load(found.run)


def test_every_verdict_agrees_and_every_claim_is_answered() -> None:
    verdicts = outcome()[0].verdicts
    assert [v.statement for v in verdicts if v.agreement == "disagrees"] == []
    assert {id for v in verdicts for id in v.claims} >= {"A19", "A20", "B3", "C3", "C4", "C5", "C14"}


def test_four_figures_and_a_finite_table() -> None:
    folder, result = outcome()[0].folder, outcome()[1]
    assert {p.stem for p in folder.glob("*.png")} == {"spectrum", "mean_square", "variance", "density"}
    table = js.EXPERIMENT.table(result)
    assert len(table) == 2 * 4 * 3 * 4
    assert np.isfinite(table.drop(columns=["weights", "activation", "scale"]).to_numpy(float)).all()


@pytest.mark.parametrize(
    "part",
    [
        {"activation": [1], "weights": [1], "scale": [1]},
        {"seed": [0, 1], "weights": [0], "activation": [0]},
        {"depth": [0], "layer": [0], "activation": [0, 3]},
    ],
)
def test_a_part_of_the_settings_can_be_judged_and_drawn(part: dict[str, list[int]]) -> None:
    result = outcome()[1].isel(part)
    assert all(v.agreement != "disagrees" for v in js.EXPERIMENT.verdicts(result))
    with figures.style():
        for figure in js.EXPERIMENT.figures(result).values():
            figure.canvas.draw()
            plt.close(figure)
    assert len(js.EXPERIMENT.table(result)) > 0


@pytest.mark.parametrize(
    ("name", "weights"), [("relu", "gaussian"), ("relu", "orthogonal"), ("sigmoid", "orthogonal")]
)
def test_spectra_are_those_of_the_network(name: str, weights: str) -> None:
    result = outcome()[1]
    at = result.sel(activation=name, weights=weights, seed=3).isel(scale=0)
    weight_key, input_key = jax.random.split(jax.random.fold_in(jax.random.key(SMALL.seed), np.uint32(3)))
    sigma_w, sigma_b = critical_scales((name,))[0]
    widths = (SMALL.width,) * 5
    network = MLP(widths, activation(name), weights, sigma_w, sigma_b, key=weight_key, dtype=jnp.float64)
    x = jax.random.normal(input_key, (SMALL.width,), jnp.float64)
    x = x * jnp.sqrt(SMALL.width / jnp.sum(x**2))
    expected = products.log_singular_values(network.factors(x)[0])
    np.testing.assert_allclose(at["log_singular_values"].sel(depth=4), expected, atol=1e-9)
    assert int(at["rank"].sel(depth=4)) == min(
        int((factor != 0).any(1).sum()) for factor in network.factors(x)[0]
    )
    gain = jnp.log(jnp.sum(jax.jacobian(network)(x)[:, 0] ** 2))
    np.testing.assert_allclose(at["log_gain"].sel(layer=4), gain, atol=1e-9)


def test_the_signal_of_a_homogeneous_network_is_never_lost_and_scale_only_shifts() -> None:
    at = outcome()[1].sel(activation="relu")
    shift = 2 * np.log(at["sigma_w"].sel(scale="3") / at["sigma_w"].sel(scale="0.5"))
    difference = at["log_gain"].sel(scale="3") - at["log_gain"].sel(scale="0.5") - shift * at["layer"]
    np.testing.assert_allclose(difference, 0, atol=1e-9)
    assert int(at["forward_lost_at"].max()) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": ("rleu",)}, "relu"),
        ({"weights": ("uniform",)}, "gaussian, orthogonal"),
        ({"depth": (4, 2)}, "increasing"),
        ({"multiple": (-1.0,)}, "multiple"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(change: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        js.Settings(**change)


@pytest.mark.parametrize(
    ("measured", "shown"),
    [
        ([1, 2, 4, 8, 16, 32], [2, 8, 32]),
        ([2, 4, 16], [2, 4, 16]),
        ([4, 16, 64], [4, 16, 64]),
        ([7], [7]),
        ([1, 3, 5, 9, 17, 33, 65], [1, 5, 17, 65]),
    ],
)
def test_the_density_is_drawn_at_the_depths_that_were_asked_for(measured, shown) -> None:
    assert shown_depths(measured) == shown


def test_an_activation_without_a_critical_point_needs_scales_as_they_are() -> None:
    step = replace(SMALL, activation=("binary_step",))
    with pytest.raises(InputError, match=r"binary_step has no critical point .* --multiple --sigma-w"):
        js.EXPERIMENT.grid(step)
    assert js.EXPERIMENT.grid(replace(step, multiple=())).constants["critical"] == ((0.0, 0.0),)
