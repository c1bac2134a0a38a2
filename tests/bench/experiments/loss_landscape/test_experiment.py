"""Loss landscape: one small run to the end, its measures by plain loops, and verdicts on chosen results."""

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
from signalprop.bench.experiments import loss_landscape
from signalprop.bench.experiments.loss_landscape.measure import (
    NOISE_MEAN,
    NOISE_SCALE,
    STEP_SIZES,
    along_the_gradient,
    shifted,
)
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier

SMALL = replace(
    loss_landscape.SIZES["quick"], network=("noisy_batch_norm",), depth=2, width=64, batch_size=6, updates=4,
    records=2, seeds=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program, compiled as fast as tests are."""
    return pipeline.run(loss_landscape.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def direct():
    """The measures of a linear softmax classifier behind one layer, and the same by a plain loop."""

    def both(key):
        model = draw_classifier(key, 3, 4, 1, 2, activation("tanh"), dtype=jnp.float64)
        batch = jax.random.normal(key, (5, 3), jnp.float64), jnp.array([0, 1, 1, 0, 1]), key
        parts = [*(p[...][0] for p in (model.runs[0].layer.kernel, model.runs[0].layer.bias))]
        parts += [model.readout.kernel[...], model.readout.bias[...]]

        def value(parts):
            w, b, v, c = parts
            logits = jnp.tanh(batch[0] @ w + b) @ v + c
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(5), batch[1]])

        slope = jax.grad(value)(parts)
        flat = jnp.concatenate([g.ravel() for g in slope])
        losses, changes = [], []
        for size in STEP_SIZES:
            moved, there = jax.value_and_grad(value)(
                [w - size * g for w, g in zip(parts, slope, strict=True)]
            )
            losses.append(moved)
            changes.append(jnp.linalg.norm(jnp.concatenate([g.ravel() for g in there]) - flat))
        return (
            along_the_gradient("plain", model, batch),
            jnp.stack(losses),
            jnp.stack(changes),
            flat,
        )

    return jax.jit(both)(jax.random.key(0))


def test_the_measures_along_the_gradient_equal_a_plain_loop(direct):
    found, losses, changes, flat = direct
    norm, sizes = np.linalg.norm(flat), np.array(STEP_SIZES)
    assert found["loss_range"] == pytest.approx(float(losses.max() - losses.min()), rel=1e-9)
    assert found["gradient_change"] == pytest.approx(float(changes.max() / norm), rel=1e-9)
    assert found["smoothness"] == pytest.approx(float((changes / (sizes * norm)).max()), rel=1e-9)


def test_a_small_run_is_drawn_and_tabulated_and_one_network_is_not_judged(outcome):
    assert outcome.verdicts == []
    assert (outcome.folder / "landscape.png").stat().st_size > 10_000
    assert np.isfinite(store.load(outcome.run)["smoothness"]).all()


def test_noise_shifts_units_with_a_norm_and_leaves_the_others():
    def both(key):
        def out(norm):
            run = draw_classifier(key, 4, 4, 2, 2, activation("linear"), norm=norm, dtype=jnp.float64).runs[0]
            noisy = shifted(run, key)
            return (run.gain, run.shift), (noisy.gain, noisy.shift)

        _, (gain, shift) = out("batch")
        assert out("none")[1] == (None, None)
        return gain[...], shift[...]

    gain, shift = jax.jit(both)(jax.random.key(1))
    assert np.all((gain >= 1) & (gain <= NOISE_SCALE))
    assert np.all(np.abs(shift) <= NOISE_MEAN)
    assert min(np.ptp(gain), np.ptp(shift)) > 0


def test_a_flat_landscape_of_a_network_that_does_not_learn_is_no_merit(outcome):
    one = store.load(outcome.run)
    result = xr.concat([one, one], "network", data_vars="minimal").assign_coords(
        network=["plain", "batch_norm"]
    )
    chance = float(result["loss_predicted"])
    normalized = result["network"] == "batch_norm"
    chosen = result.assign(
        loss=0 * result["loss"] + chance * (1 - 0.9 * normalized),
        loss_range=0 * result["loss_range"] + 0.1 + 0.9 * normalized,
    )
    smoother, faster = loss_landscape.EXPERIMENT.verdicts(chosen)
    assert smoother.measured == 0
    assert smoother.statement.count(": 10 (") == 2  # the ratio of the ranges, at both scales
    assert faster.measured == 0  # it reaches the target, the plain network never
    for figure in loss_landscape.EXPERIMENT.figures(chosen.isel(update=[0], seed=[0])).values():
        plt.close(figure)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("network", ("batchnorm",), "did you mean batch_norm"),
        ("batch_size", 1, "at least 2"),
        ("learning_rate", (0.0,), "rates above 0"),
        ("records", 3, "a divisor of the 4 updates"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
