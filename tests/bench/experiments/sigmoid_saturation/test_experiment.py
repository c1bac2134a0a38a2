"""The saturated layer: what is measured against a stored layer, and a small run to its verdicts."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.experiments import sigmoid_saturation as experiment
from signalprop.bench.experiments.sigmoid_saturation.measure import SIGMOID
from signalprop.bench.experiments.sigmoid_saturation.theory import zero_edges

SMALL = replace(
    experiment.SIZES["quick"], width=(64,), sigma_w=(0.5, 4.0, 8.0, 32.0, 128.0), units=128, seeds=12
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(experiment.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_blocks_of_weights_give_the_gradients_of_the_stored_layer(monkeypatch):
    monkeypatch.setattr("signalprop.bench.experiments.sigmoid_saturation.measure.LARGEST_BLOCK", 8)
    key, n, m, sigma_w = jax.random.key(5), 24, 10, 3.0
    static = {"width": n, "units": m, "dtype": "float64"}
    measured = jax.jit(lambda s: experiment.EXPERIMENT.measure(key, {"sigma_w": s}, static))(sigma_w)
    weight_key, input_key, gradient_key = jax.random.split(key, 3)
    x = jax.random.normal(input_key, (3, 8)).ravel()
    x = x / jnp.sqrt(jnp.mean(x**2))
    g = jax.random.normal(gradient_key, (m,))
    blocks = [jax.random.normal(jax.random.fold_in(weight_key, i), (8, m)) for i in range(3)]
    w = sigma_w / np.sqrt(n) * jnp.concatenate(blocks)

    def loss(w, x):
        return jnp.dot(g, jax.nn.sigmoid(x @ w))

    of_w, of_x = jax.jit(jax.grad(loss, (0, 1)))(w, x)
    np.testing.assert_allclose(measured["std"], jnp.sqrt(jnp.mean((x @ w) ** 2)), rtol=1e-12)
    np.testing.assert_allclose(
        measured["input_gradient_squared"], jnp.sum(of_x**2) / jnp.sum(g**2), rtol=1e-12
    )
    np.testing.assert_allclose(
        measured["weight_gradient_squared"], jnp.sum(of_w**2) / jnp.sum(g**2) / jnp.sum(x**2), rtol=1e-12
    )


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_the_slope_is_exactly_zero_beyond_the_predicted_edge_of_the_format(name):
    above, _ = zero_edges(name)
    slope = SIGMOID.derivative(jnp.array([0.98 * above, 1.02 * above]).astype(name))
    assert slope[0] > 0
    assert slope[1] == 0


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert {"A4", "A5", "A6", "A7", "A9", "A11", "A12"} <= answered


def test_figures_and_table_are_written(outcome):
    for name in ("saturation", "gradients"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    assert "nan" not in (outcome.folder / "sigmoid-saturation.csv").read_text()


@pytest.mark.parametrize(("field", "value"), [("width", (0,)), ("sigma_w", (-1.0,)), ("units", 0)])
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
