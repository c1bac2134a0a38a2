"""Depth limits: the point of the critical line, gradients against the MLP, and a small run."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.experiments import depth_limits
from signalprop.bench.experiments.depth_limits.measure import recorded, starts
from signalprop.models.convolutional import draw_convolution

SMALL = replace(depth_limits.SIZES["quick"], network=("conv",), width=12, places=3, depth=60, seeds=12)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(depth_limits.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_the_critical_start_is_the_fixed_point_of_length_one_over_depth():
    depth = 10_000
    sigma_w, sigma_b, q_0 = (values[0] for values in starts(depth).values())
    z = np.random.default_rng(0).standard_normal(10**6) / np.sqrt(depth)
    error = 5 * np.sqrt(2 / z.size)
    assert sigma_w**2 * q_0 + sigma_b**2 == pytest.approx(1 / depth, rel=1e-12)
    assert np.mean(np.tanh(z) ** 2) == pytest.approx(q_0, rel=error)
    assert sigma_w**2 * np.mean(np.cosh(z) ** -4) == pytest.approx(1, rel=4 * error / depth)
    # To third order in q: sigma_w^2 = 1 + 2 q and sigma_b^2 = 4 q^3 / 3.
    assert sigma_b**2 * depth**3 == pytest.approx(4 / 3, rel=1e-3)


def test_layers_are_recorded_from_both_ends():
    layers = recorded(1000)
    assert layers[:3] == (0, 1, 2)
    assert layers[-3:] == (998, 999, 1000)
    assert len(layers) < 50


def test_delta_orthogonal_layers_without_biases_are_those_of_the_models(outcome):
    width = SMALL.width
    input_key, _, layer_key = jax.random.split(jax.random.fold_in(jax.random.key(SMALL.seed), 0), 3)
    draw = jax.jit(
        lambda n: draw_convolution(layer_key, n, (3,), width, width, "delta_orthogonal").kernel[...]
    )
    y = np.asarray(jax.random.normal(input_key, (SMALL.places, width), "float32"), float)
    y /= np.sqrt(np.mean(y * y, -1, keepdims=True))
    for number in range(1, SMALL.depth + 1):
        y = np.tanh(y @ np.asarray(draw(number))[1])
    stored = store.load(outcome.run).isel(network=0, weights=0, start=2, seed=0, layer=-1)
    assert str(stored["start"].values) == "no bias"
    assert float(stored["signal"]) == pytest.approx(np.log10(np.mean(y * y)) / 2, abs=1e-4)
    assert int(stored["lost_at"]) == 0


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    assert {"C1", "C14"} <= {claim for verdict in outcome.verdicts for claim in verdict.claims}
    for name in ("limits", "slow-decay"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    assert "nan" not in (outcome.folder / "depth-limits.csv").read_text()


@pytest.mark.parametrize(("field", "value"), [("network", ("cnn",)), ("depth", 5), ("places", 2)])
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
