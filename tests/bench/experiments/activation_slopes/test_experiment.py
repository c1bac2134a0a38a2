"""Slopes of activations: what the experiment measures against autodiff, and a small run to its verdicts."""

import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis import meanfield
from signalprop.bench import pipeline
from signalprop.bench.experiments import activation_slopes
from signalprop.bench.experiments.activation_slopes.theory import factor_curve
from signalprop.bench.experiments.activation_slopes.verdicts import critical, slopes
from signalprop.models.activations import ACTIVATIONS
from signalprop.models.mlp import MLP

SMALL = replace(
    activation_slopes.SIZES["quick"],
    activation=("sigmoid",),
    sigma_w=(1.0, 4.0, 8.0, 20.0),
    width=64,
    depth=14,
    seeds=12,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(activation_slopes.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_the_measured_profile_is_that_of_autodiff():
    key, width, depth = jax.random.key(2), 12, 9
    static = {"activation": "sigmoid", "width": width, "depth": depth, "dtype": "float64"}
    measured = jax.jit(
        lambda s: activation_slopes.EXPERIMENT.measure(key, {"sigma_w": s}, static)["log_delta"]
    )(3.0)
    input_key, top_key, net_key = jax.random.split(key, 3)
    net = MLP((width,) * (depth + 1), ACTIVATIONS["sigmoid"], "gaussian", 3.0, key=net_key, dtype="float64")
    x = jax.random.normal(input_key, (width,), "float64")
    cotangent = jax.random.normal(top_key, (width,), "float64")
    x = x / jnp.sqrt(jnp.mean(x**2))
    (deltas,) = jax.jit(lambda x: net.pre_activation_gradients(x, cotangent))(x)
    np.testing.assert_allclose(measured, jnp.log(jnp.linalg.norm(deltas, axis=-1)), atol=1e-11)


def test_the_predicted_profile_is_the_mean_field_profile():
    predicted = activation_slopes.EXPERIMENT.theory(SMALL)["log_delta_predicted"].sel(
        activation="sigmoid", sigma_w=4.0
    )
    profile = jax.jit(lambda s: meanfield.log_gradient_profile(ACTIVATIONS["sigmoid"], s, 0.0, 1.0, 14))(4.0)
    np.testing.assert_allclose(predicted, profile / 2, rtol=1e-10)


def test_the_curve_of_factors_passes_one_where_theory_puts_it():
    known = {"sigmoid": 10.14926371, "relu": np.sqrt(2), "linear": 1.0}
    for name, sigma_w in known.items():
        crossing = critical(*factor_curve(ACTIVATIONS[name]))
        assert crossing == pytest.approx(sigma_w, rel=1e-4), name


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert {"A1", "A2", "A3", "A7", "A8", "A12", "A19", "A21", "A25", "B1", "B12"} <= answered


def test_figures_and_table_are_written(outcome):
    for name in ("curves", "factor", "sigmoid"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    assert "nan" not in (outcome.folder / "activation-slopes.csv").read_text()


def test_a_network_whose_signal_leaves_the_range_is_not_a_number():
    static = {"activation": "tanh", "width": 4, "depth": 40, "dtype": "float32"}
    key = jax.random.key(0)
    measured = jax.jit(lambda s: activation_slopes.EXPERIMENT.measure(key, {"sigma_w": s}, static))(
        jnp.float32(0.01)
    )
    assert np.isnan(measured["log_delta"]).all()


def test_an_unknown_activation_is_refused_with_a_hint():
    with pytest.raises(ValueError, match="did you mean sigmoid"):
        replace(SMALL, activation=("sigmiod",))


def test_weights_of_zero_pass_nothing_and_warn_of_nothing():
    settings = replace(SMALL, sigma_w=(0.0, 13.0), seeds=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predicted = activation_slopes.EXPERIMENT.theory(settings)
        silent = predicted.assign(log_delta=predicted["log_delta_predicted"].expand_dims(seed=2))
        assert (slopes(silent).sel(sigma_w=0) == -np.inf).all()
        activation_slopes.EXPERIMENT.verdicts(silent)
    assert predicted["slope_predicted"].sel(sigma_w=0) == -np.inf
    np.testing.assert_allclose(predicted["log_delta_predicted"].sel(sigma_w=0)[0, [0, -1]], [-np.inf, 0])
