"""Random recurrent networks: the step against the suite's cell, and a small run from sweep to verdicts."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.experiments import edge_of_chaos_rnn
from signalprop.models.initializers import scheme

SMALL = replace(
    edge_of_chaos_rnn.SIZES["quick"],
    width=(24,),
    gain=(0.5, 1.0, 1.5, 3.0),
    settle=50,
    align=20,
    steps=100,
    spectrum_width=24,
    spectrum_steps=40,
    seeds=8,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run, with short lines in its figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signalprop.bench.experiments.edge_of_chaos_rnn.theory.FINE", (8, 2))
        return pipeline.run(edge_of_chaos_rnn.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_the_exponent_is_the_growth_of_a_small_difference():
    """Two copies of a network in float64, 1e-9 apart, against the measured exponent."""
    static = {
        "width": 20, "scheme": ("gaussian",), "activation": "tanh", "settle": 30, "align": 0, "steps": 40,
        "spectrum_width": 0, "spectrum_steps": 0, "dtype": "float64",
    }  # fmt: skip
    key, point = jax.random.key(0), {"gain": jnp.asarray(2.0), "noise": jnp.asarray(0.3)}
    found = jax.jit(lambda: edge_of_chaos_rnn.EXPERIMENT.measure(key, point, static))()
    weights_key, start_key, input_key = jax.random.split(key, 3)
    kernel = np.asarray(scheme("gaussian").draw(weights_key, 20, 20, dtype="float64"))
    a, inputs = jax.random.normal(start_key, (20,)), np.asarray(jax.random.normal(input_key, (70, 20)))
    a = np.asarray(a)
    frame = np.asarray(jnp.linalg.qr(jax.random.normal(jax.random.key(0), (20, 1), jnp.float32))[0])[:, 0]
    squares, growth, size = [], 0.0, 1e-7
    for t, x in enumerate(inputs):
        b = a + size * frame
        a, b = (2.0 * np.tanh(v) @ kernel + 0.3 * x for v in (a, b))
        if t >= 30:
            difference = (b - a) / size
            growth += np.log(np.linalg.norm(difference))
            frame = difference / np.linalg.norm(difference)
            squares.append(np.mean(a**2))
    assert float(found["exponent"][0]) == pytest.approx(growth / 40, abs=1e-5)
    assert float(found["q"][0]) == pytest.approx(np.mean(squares), rel=1e-10)
    radius = np.abs(np.linalg.eigvals(kernel)).max()
    assert float(found["radius"][0]) == pytest.approx(radius, rel=1e-9)


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert {"D1", "D5", "D7", "D9", "D10", "D12"} == answered


def test_figures_and_table_are_written(outcome):
    for name in ("exponent", "rule", "spectra", "dimension"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    assert "nan" not in (outcome.folder / "edge-of-chaos-rnn.csv").read_text()


@pytest.mark.parametrize(
    ("field", "value"), [("gain", (0.0,)), ("noise", (-1.0,)), ("scheme", ("sparse",)), ("width", (1,))]
)
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
