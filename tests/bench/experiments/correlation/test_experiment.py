"""Lengths and cosines in depth: inputs as stated, measurement against plain code, and a small run."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.experiments import correlation as experiment
from signalprop.bench.experiments.correlation.measure import inputs
from signalprop.bench.experiments.correlation.theory import cosines
from signalprop.bench.experiments.correlation.verdicts import _fit
from signalprop.models.activations import ACTIVATIONS
from signalprop.models.mlp import MLP

SMALL = replace(
    experiment.SIZES["quick"],
    activation=("tanh", "sigmoid"),
    sigma_w=(1.0, 1.732),
    q_0=(0.2, 1.0),
    c_0=(0.3, 0.9),
    width=128,
    depth=10,
    seeds=12,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(experiment.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_inputs_have_the_stated_lengths_and_cosines():
    static = experiment.EXPERIMENT.grid(replace(SMALL, dtype="float64")).constants
    x = jax.jit(lambda key: inputs(key, static))(jax.random.key(2))
    x = np.asarray(x)
    np.testing.assert_allclose(np.mean(x**2, axis=1), [0.2, 1, 1, 1, 1, 1, 1], rtol=1e-12)
    found = [np.mean(x[2] * x[3]), np.mean(x[2] * x[4]), np.mean(x[5] * x[6])]
    np.testing.assert_allclose(found, cosines(SMALL), atol=1e-12)


def test_a_measurement_is_that_of_the_network_with_scaled_weights():
    settings = replace(SMALL, width=64, depth=5, dtype="float64")
    static = {"activation": "tanh", **experiment.EXPERIMENT.grid(settings).constants}
    key, sigma_w, sigma_b = jax.random.key(1), 1.7, 0.3
    measure = jax.jit(partial(experiment.EXPERIMENT.measure, static=static))
    measured = measure(key, {"sigma_w": jnp.array(sigma_w), "sigma_b": jnp.array(sigma_b)})
    network_key, input_key, _ = jax.random.split(key, 3)

    @jax.jit
    def trace(key, x):
        phi = ACTIVATIONS["tanh"]
        network = MLP((64,) * 6, phi, sigma_w=sigma_w, sigma_b=sigma_b, key=key, dtype="float64")
        return network.trace(x)[0]

    z = trace(network_key, inputs(input_key, static))
    np.testing.assert_allclose(jnp.exp(measured["log_q"]), jnp.mean(z[:, :2] ** 2, axis=2).T, rtol=1e-10)
    lengths = jnp.linalg.norm(z, axis=2)
    cosine = jnp.sum(z[:, 2] * z[:, 4], axis=1) / (lengths[:, 2] * lengths[:, 4])
    np.testing.assert_allclose(1 - measured["distance"][1], cosine, rtol=1e-10)


def test_a_fit_recovers_the_rate_of_an_exponential_and_ignores_what_is_lost_in_noise():
    layer = np.arange(1, 13)
    clean = 0.8 * np.exp(-0.4 * layer)
    values = xr.DataArray(
        clean + 1e-2 * np.random.default_rng(0).standard_normal((40, 12)),
        dims=("seed", "layer"),
        coords={"layer": layer},
    )
    fit = _fit(values, xr.DataArray(clean, dims="layer"))
    assert fit["predicted"] == pytest.approx(-0.4)
    assert abs(fit["rate"] + 0.4) < 5 * fit["error"]
    assert _fit(values.isel(layer=slice(9, None)), xr.DataArray(clean[9:], dims="layer")) is None


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert answered == {"A14", "B12", "C1", "C12"}


def test_figures_and_table_are_written(outcome):
    names = {path.name for path in outcome.folder.iterdir()}
    assert {"maps.png", "depth-scales.svg", "correlation.csv", "verdicts.json"} <= names
    assert "tanh" in (outcome.folder / "correlation.csv").read_text()


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="c_0: got"):
        replace(SMALL, c_0=(1.5,))
