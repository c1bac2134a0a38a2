"""Learning rate or depth: one small run to the end, and its parts against direct computations."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import learning_rate_or_depth
from signalprop.bench.experiments.learning_rate_or_depth import descent
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier

SMALL = replace(
    learning_rate_or_depth.SIZES["quick"], sigma_w2=(0.5, 1.0), learning_rate=(0.01, 1.0), batch_size=(8, 16),
    examples=16, depth=3, width=64, steps=20, within=20, settling=60, seeds=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program, compiled as fast as tests are."""
    return pipeline.run(learning_rate_or_depth.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def direct():
    """A network of 3 layers in float64: its deltas by autodiff, and two runs beside a plain loop."""
    every = tuple(jnp.asarray(a) for a in np.random.default_rng(0).normal(size=(2, 6, 4)))

    def run(key):
        model = draw_classifier(key, 4, 5, 3, 4, activation("tanh"), sigma_w=1.5, dtype=jnp.float64)
        weights = [(run.layer.kernel[...], run.layer.bias[...]) for run in model.runs]

        def loss(parts, shift=(0.0, 0.0, 0.0)):
            (first, rest), (kernel, bias) = parts
            y = jnp.tanh(every[0] @ first[0][0] + first[1][0] + shift[0])
            y = jnp.tanh(y @ rest[0][0] + rest[1][0] + shift[1])
            y = jnp.tanh(y @ rest[0][1] + rest[1][1] + shift[2])
            return jnp.mean(jnp.sum((y @ kernel + bias - every[1]) ** 2, 1)) / 2

        parts = weights, (model.readout.kernel[...], model.readout.bias[...])
        shifts = jax.grad(lambda s: loss(parts, s))(tuple(jnp.zeros((6, 5)) for _ in range(3)))
        norms = [jnp.linalg.norm(s) for s in shifts]
        losses = []
        for _ in range(4):
            value, slope = jax.value_and_grad(loss)(parts)
            losses.append(value)
            parts = jax.tree.map(lambda w, g: w - 0.3 * g, parts, slope)
        found = descent.descend(key, model, every, 6, 0.3, 4)
        return descent.delta_decades(model, every), jnp.log10(norms[0] / norms[2]), found, jnp.stack(losses)

    return jax.jit(run)(jax.random.key(0))


def test_a_small_run_answers_every_claim(outcome):
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert {"C6", "C9"} <= answered
    for verdict in outcome.verdicts[:3]:  # the initial gradient, the quadratic, the edge near a minimum
        assert verdict.agreement == "agrees", verdict
    for name in ("map", "edges"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000


def test_curvature_and_edges_do_not_depend_on_the_learning_rate(outcome):
    result = store.load(outcome.run)
    for name in ("edge", "sharpness", "decades"):
        values = result[name].transpose("learning_rate", "batch_size", ...).values
        assert np.array_equal(values, np.broadcast_to(values[0, 0], values.shape)), name
    whole = result["log_gradient_norm"].sel(batch_size=16)
    assert not np.array_equal(result["log_gradient_norm"].sel(batch_size=8), whole)


def test_deltas_at_both_ends_equal_those_of_autodiff(direct):
    found, expected, _, _ = direct
    assert float(found) == pytest.approx(float(expected), abs=1e-10)


def test_full_batch_descent_equals_a_plain_loop(direct):
    _, _, found, losses = direct
    np.testing.assert_allclose(found.log_loss, np.log(losses / losses[0]), atol=1e-10)
    assert found.diverged_at == 0


def test_a_loss_that_is_not_finite_has_blown_up():
    assert descent.blown_up(jnp.array([0.0, -1.0, jnp.inf]))
    assert not descent.blown_up(jnp.array([0.0, -1.0, 5e-4]))


def test_verdicts_survive_one_rate_one_variance_and_any_order(outcome):
    result = store.load(outcome.run)
    turned = result.isel(sigma_w2=[1, 0], learning_rate=[1, 0])
    assert {v.statement for v in learning_rate_or_depth.EXPERIMENT.verdicts(turned)} == {
        v.statement for v in outcome.verdicts
    }
    single = result.isel(sigma_w2=[0], learning_rate=[0], batch_size=[0], seed=[0])
    assert learning_rate_or_depth.EXPERIMENT.verdicts(single)
    for figure in learning_rate_or_depth.EXPERIMENT.figures(single).values():
        plt.close(figure)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("learning_rate", (0.0,), "learning_rate: got 0.0; write finite rates above 0"),
        ("batch_size", (0,), "batch_size: got 0"),
        ("data", "gm11", "did you mean gm10"),
        ("depth", 1, "at least 2"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})


def test_more_examples_than_there_are_is_refused():
    with pytest.raises(InputError, match="examples: got 5000; write at most 4000"):
        learning_rate_or_depth.EXPERIMENT.grid(replace(SMALL, examples=5000))
