"""The measured spectra are those of the network, and every law agrees with an independent computation."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from signalprop.analysis import finitewidth, products
from signalprop.bench import experiment, figures, pipeline, store
from signalprop.bench.errors import InputError
from signalprop.bench.experiments import jacobian_spectrum as js
from signalprop.models.activations import activation
from signalprop.models.mlp import MLP

SMALL = js.Settings(width=16, depth=(1, 2, 4, 16, 40), seeds=8)


@cache
def outcome() -> tuple[pipeline.Outcome, xr.Dataset]:
    """One small run for all tests of this file."""
    found = pipeline.run(experiment.find("jacobian-spectrum"), SMALL, Path(mkdtemp()))
    assert found is not None
    return found, store.load(found.run)


def test_every_verdict_agrees_and_every_claim_is_answered() -> None:
    verdicts = outcome()[0].verdicts
    assert [v.statement for v in verdicts if v.agreement == "disagrees"] == []
    assert {id for v in verdicts for id in v.claims} >= {"A19", "A20", "B3", "C3", "C4", "C5", "C14"}


def test_four_figures_and_a_finite_table() -> None:
    folder, result = outcome()[0].folder, outcome()[1]
    assert {p.stem for p in folder.glob("*.png")} == {"spectrum", "mean_square", "variance", "density"}
    table = js.table(result)
    assert len(table) == 2 * 6 * 3 * 5
    assert np.isfinite(table.drop(columns=["weights", "activation", "scale"]).to_numpy(float)).all()


@pytest.mark.parametrize(
    "part",
    [
        {"activation": [1]},
        {"activation": [3, 5], "weights": [1], "scale": [1]},
        {"seed": [0, 1], "weights": [0], "activation": [0]},
        {"depth": [0], "layer": [0], "activation": [0, 4]},
    ],
)
def test_a_part_of_the_settings_can_be_judged_and_drawn(part: dict[str, list[int]]) -> None:
    result = outcome()[1].isel(part)
    assert all(v.agreement != "disagrees" for v in js.verdicts(result))
    with figures.style():
        for figure in js.make_figures(result).values():
            figure.canvas.draw()
            plt.close(figure)
    assert len(js.table(result)) > 0


@pytest.mark.parametrize("weights", js.WEIGHTS)
@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
def test_spectra_are_those_of_the_network(name: str, weights: str) -> None:
    result = outcome()[1]
    at = result.sel(activation=name, weights=weights, seed=3).isel(scale=0)
    weight_key, input_key = jax.random.split(jax.random.fold_in(jax.random.key(SMALL.seed), np.uint32(3)))
    sigma_w, sigma_b = js.critical_scales((name,))[0]
    widths = (SMALL.width,) * 5
    network = MLP(widths, activation(name), weights, sigma_w, sigma_b, key=weight_key, dtype=jnp.float64)
    x = jax.random.normal(input_key, (SMALL.width,), jnp.float64)
    x = x * jnp.sqrt(SMALL.width / jnp.sum(x**2))
    expected = products.log_singular_values(network.factors(x)[0])
    np.testing.assert_allclose(at["log_singular_values"].sel(depth=4), expected, atol=1e-9)
    gain = jnp.log(jnp.sum(jax.jacobian(network)(x)[:, 0] ** 2))
    np.testing.assert_allclose(at["log_gain"].sel(layer=4), gain, atol=1e-9)


def test_the_signal_of_a_homogeneous_network_is_never_lost_and_scale_only_shifts() -> None:
    at = outcome()[1].sel(activation="relu")
    shift = 2 * np.log(at["sigma_w"].sel(scale="3") / at["sigma_w"].sel(scale="0.5"))
    difference = at["log_gain"].sel(scale="3") - at["log_gain"].sel(scale="0.5") - shift * at["layer"]
    np.testing.assert_allclose(difference, 0, atol=1e-9)
    assert int(at["forward_lost_at"].max()) == 0


def test_the_rank_is_the_smallest_number_of_active_units() -> None:
    at = outcome()[1].sel(activation="relu")
    np.testing.assert_array_equal(at["rank"], at["fewest_active"])


def test_a_signal_that_leaves_its_dtype_is_lost_and_not_infinite() -> None:
    settings = js.Settings(("tanh", "gelu"), ("orthogonal",), (), (0.1, 30.0), 16, (10, 60), dtype="float32")
    static = js.grid(settings).constants

    def measure(sigma_w: jax.Array) -> dict[str, jax.Array]:
        return js.measure(
            jax.random.key(0), {"multiple": jnp.zeros_like(sigma_w), "absolute": sigma_w}, static
        )

    found = jax.jit(jax.vmap(measure))(jnp.array([0.1, 30.0], jnp.float32))
    tanh, gelu = ({k: v[i, 0, i] for k, v in found.items()} for i in (0, 1))
    assert 35 < int(tanh["forward_lost_at"]) < 41  # 0.1^38 is the smallest normal number
    assert 27 < int(gelu["forward_lost_at"]) < 33  # (30 / sqrt(2))^29 is the largest
    for lost in (tanh, gelu):
        np.testing.assert_array_equal(np.isnan(lost["log_mean_square"]), [False, True])
        np.testing.assert_array_equal(np.isnan(lost["log_gain"]), np.arange(1, 61) >= lost["forward_lost_at"])


def test_moments_at_finite_width_agree_with_the_exact_recursion_and_with_the_wide_limit() -> None:
    log_square, kurtosis = js.finite_width_moments(np.full(12, 2.0), 20, "gaussian")
    exact = finitewidth.spectral_moments(20, 12, active=0.5)
    np.testing.assert_allclose(log_square[-1], np.log(exact.mean_square_trace), rtol=1e-12)
    np.testing.assert_allclose(kurtosis[-1], exact.mean_trace_square / exact.mean_square_trace, rtol=1e-12)
    for weights, wide in (("gaussian", 25.0), ("orthogonal", 13.0)):
        _, kurtosis = js.finite_width_moments(np.full(12, 2.0), 10**9, weights)
        np.testing.assert_allclose(kurtosis[-1], wide, rtol=1e-6)


def test_moments_of_gated_orthogonal_products_agree_with_samples() -> None:
    width, depth = 6, 3
    keys = jax.random.split(jax.random.key(1), 20_000)

    def moments(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        rotate, gate = jax.random.split(key)
        factors = jax.random.orthogonal(rotate, width, (depth,)) * jnp.sqrt(2.0)
        factors = factors * jax.random.bernoulli(gate, 0.5, (depth, width, 1))
        product = factors[2] @ factors[1] @ factors[0]
        s = product @ product.T
        return (jnp.trace(s) / width) ** 2, jnp.trace(s @ s) / width

    sampled = np.array(jax.jit(jax.vmap(moments))(keys))
    log_square, kurtosis = js.finite_width_moments(np.full(depth, 2.0), width, "orthogonal")
    expected = np.exp(log_square[-1]) * np.array([1, kurtosis[-1]])
    error = sampled.std(1, ddof=1) / np.sqrt(sampled.shape[1])
    assert (np.abs(sampled.mean(1) - expected) < 5 * error).all(), (sampled.mean(1), expected, error)


def test_a_gated_orthogonal_layer_has_the_gain_of_the_beta_law() -> None:
    width = 8
    rng = np.random.default_rng(0)
    gates = rng.binomial(width, 0.5, 200_000)
    gates = gates[gates > 0]
    full = gates == width
    draws = np.where(full, 0.0, np.log(rng.beta(gates / 2, np.maximum(width - gates, 0.5) / 2)))
    samples = draws + np.log(2.0)
    mean, variance = (law[0] for law in js.gain_law("relu", np.full(3, 2.0), width, "orthogonal"))
    assert abs(samples.mean() - mean) < 5 * samples.std() / np.sqrt(samples.size)
    spread = samples.var() * np.sqrt((np.mean((samples - mean) ** 4) / samples.var() ** 2 - 1) / samples.size)
    assert abs(samples.var() - variance) < 5 * spread


def test_critical_scales_keep_the_gradient() -> None:
    names = SMALL.activation
    sigma_w, sigma_b = np.array(js.critical_scales(names)).T
    log_chi, _ = js.layer_moments(names, sigma_w[:, None], sigma_b, 400)
    np.testing.assert_allclose(log_chi[:2], 0, atol=1e-12)
    np.testing.assert_allclose(log_chi[names.index("sigmoid"), 0, -1], 0, atol=1e-9)
    np.testing.assert_allclose(log_chi[names.index("gelu"), 0, -1], 0, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": ("rleu",)}, "relu"),
        ({"weights": ("uniform",)}, "gaussian or orthogonal"),
        ({"depth": (4, 2)}, "increasing"),
        ({"multiple": (-1.0,)}, "multiple"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(change: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        js.Settings(**change)


def test_an_activation_without_a_critical_point_is_refused() -> None:
    with pytest.raises(InputError, match="softplus"):
        js.grid(js.Settings(activation=("softplus",)))
