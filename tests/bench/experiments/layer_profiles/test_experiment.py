"""Gradients of random networks, layer by layer, against autodiff, float64 and the infinitely wide limit."""

import warnings
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis import meanfield
from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.experiments import layer_profiles
from signalprop.bench.experiments.layer_profiles import EXPERIMENT, Settings, profiles
from signalprop.bench.experiments.layer_profiles.theory import theory
from signalprop.bench.measure import data
from signalprop.bench.record.verdict import Outcome
from signalprop.models.activations import activation
from signalprop.models.mlp import MLP

SMALL = Settings(
    activation=("linear", "sigmoid", "tanh", "relu", "binary_step"),
    scheme=("normal_001", "glorot_uniform", "he_normal", "gaussian"),
    width=64,
    depth=(6, 12),
    histogram_layer=(1, 6),
    input=("gaussian",),
    seeds=12,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One small run, from settings to verdicts."""
    found = pipeline.run(EXPERIMENT, SMALL, tmp_path_factory.mktemp("layer-profiles"))
    assert found is not None
    return found


def test_theory_and_small_networks_agree(outcome: Outcome) -> None:
    assert [v.statement for v in outcome.disagreements] == []
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    wanted = "A9 A10 A13 A14 A15 B3 B12 C1 C2 C11 C12 C13 C16 C19 C20"
    assert answered == set(wanted.split())


def test_every_figure_is_drawn_and_the_table_is_finite_where_it_is_measured(
    outcome: Outcome,
) -> None:
    for name in ("decades", "profiles", "finite-width", "glorot", "activities"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    table = EXPERIMENT.table(store.load(outcome.run))
    assert len(table) == 4 * 5 * 2
    smooth = table[(table["activation"] != "binary_step") & (table["lost"] == 0)]
    assert len(smooth) > 25
    assert np.isfinite(smooth[["decades", "standard_error", "decades_wide", "spread"]].to_numpy()).all()


def test_ratios_are_those_of_autodiff_and_histograms_hold_every_unit() -> None:
    settings = Settings(("tanh", "relu"), ("glorot_uniform",), ("gaussian",), 32, (3, 5), (1,))
    key = jax.random.key(3)
    grid = layer_profiles.EXPERIMENT.grid(settings)
    measured = jax.jit(lambda key: layer_profiles.EXPERIMENT.measure(key, {}, grid.constants))(key)
    weight_key, input_key, readout_key = jax.random.split(key, 3)
    x = data.inputs("gaussian", input_key, settings.batch, 32)[0]
    readout = jax.random.normal(readout_key, (2, 32), jnp.float32)

    @partial(jax.jit, static_argnums=(0, 1))
    def expected(name: str, depth: int, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        net = MLP((32,) * (depth + 1), activation(name), "glorot_uniform", key=weight_key)
        (delta,), (z,) = net.pre_activation_gradients(x, u), net.trace(x)
        below = jnp.concatenate([x[None], activation(name)(z)[:-1]])
        return jnp.linalg.norm(delta, axis=-1), jnp.linalg.norm(below, axis=-1)

    for a, d in ((0, 0), (1, 1)):
        depth = settings.depth[d]
        norms, below = expected(settings.activation[a], depth, readout[d])
        for found, size in (("decades", norms), ("weight_decades", norms * below)):
            ratios = measured[found][0, a, 0, d, :depth]
            np.testing.assert_allclose(ratios, np.log10(size / size[-1]), atol=1e-5)
    for found in ("activity_histogram", "gradient_histogram", "weight_gradient_histogram"):
        np.testing.assert_allclose(measured[found].sum(-1), 1, atol=1e-5)


def test_float32_keeps_gradients_that_only_float64_could_hold() -> None:
    rng, width, depth = np.random.default_rng(0), 16, 100
    kernels = rng.standard_normal((depth, width, width)) / np.sqrt(width)
    x, u = rng.standard_normal(width), rng.standard_normal(width)
    slopes, y = [], x
    for kernel in kernels:
        y = 1 / (1 + np.exp(-(y @ kernel)))
        slopes.append(y * (1 - y))
    delta, norms = slopes[-1] * u, []
    for kernel, slope in zip(kernels[::-1], [*slopes[-2::-1], np.ones(width)], strict=True):
        norms.append(np.linalg.norm(delta))
        delta = slope * (kernel @ delta)
    expected = np.log10(norms[::-1] / norms[0])
    assert expected[0] < -50

    inputs = (jnp.asarray(a, jnp.float32) for a in (kernels, x[None, None], u[None]))
    walk = jax.jit(partial(profiles.measure, [activation("sigmoid")], depths=(depth,), shown=(1,)))
    measured = walk(*inputs)["decades"][0, 0, 0]
    np.testing.assert_allclose(measured, expected, atol=1e-3)


def test_a_lost_signal_is_marked_and_not_zero() -> None:
    settings = Settings(("tanh", "linear"), ("normal_001",), ("gaussian",), 16, (5, 60), (1,), batch=1)
    grid = layer_profiles.EXPERIMENT.grid(settings)
    found = jax.jit(lambda key: layer_profiles.EXPERIMENT.measure(key, {}, grid.constants))(jax.random.key(0))
    assert 20 < found["forward_lost_at"][0, 0, 0] < 35  # 1e-38 at 0.04 per layer
    assert np.isnan(found["total_decades"][0, 0, 0, 1])
    assert np.isfinite(found["total_decades"][0, :, 0, 0]).all()
    assert found["forward_lost_at"][0, 1, 0] == 0  # homogeneous: carried with its scale
    assert found["total_decades"][0, 1, 0, 1] < -60


def test_the_wide_profile_is_that_of_mean_field_theory() -> None:
    settings = Settings(("tanh", "binary_step"), ("he_normal",), depth=(6, 12))
    predicted = layer_profiles.EXPERIMENT.theory(settings)["decades_predicted"].sel(
        scheme="he_normal", depth=12
    )
    for name in settings.activation:
        profile = partial(meanfield.log_gradient_profile, activation(name), sigma_b=0.0, q_0=1.0, depth=12)
        wide = jax.jit(lambda s, profile=profile: profile(sigma_w=s))(2**0.5)
        np.testing.assert_allclose(predicted.sel(activation=name), wide / np.log(100), atol=1e-9)


def test_the_mean_field_of_dense_weights_says_nothing_of_others() -> None:
    """Units that stay apart saturate for good at large weights, where dense weights explode."""
    schemes = ("gaussian", "identity", "scaled_identity", "smart_tanh")
    found = theory(replace(SMALL, activation=("tanh",), scheme=schemes))
    known = found["total_decades_predicted"].notnull().any(("activation", "depth"))
    assert dict(zip(schemes, known.values.tolist(), strict=True)) == {
        "gaussian": True, "identity": False, "scaled_identity": False, "smart_tanh": False,
    }  # fmt: skip


def test_weights_of_zero_pass_nothing_and_warn_of_nothing() -> None:
    settings = replace(SMALL, activation=("tanh", "relu"), scheme=("gaussian", "he_normal"), weight_std=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predicted = theory(settings)
    first = predicted["decades_predicted"].sel(layer=1)
    assert (first.sel(scheme="gaussian") == -np.inf).all()
    assert np.isfinite(first.sel(scheme="he_normal")).all()
