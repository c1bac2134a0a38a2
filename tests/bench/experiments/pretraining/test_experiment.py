"""Pretraining: one small run to the end, and results that we choose."""

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
from signalprop.bench.experiments import pretraining
from signalprop.bench.experiments.pretraining import decoupling
from signalprop.bench.experiments.pretraining.verdicts import best, updates_to_target
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier

SMALL = replace(
    pretraining.SIZES["quick"], depth=(3,), start=("normal_001", "orthogonal_critical", "rbm", "autoencoder"),
    width=64, batch_size=4, updates=4, records=2, pretraining=4, joint_updates=3, seeds=2,
)  # fmt: skip
CHOSEN = replace(SMALL, activation=("sigmoid", "tanh"), depth=(2, 4), start=pretraining.STARTS, seeds=8)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program, compiled as fast as tests are."""
    return pipeline.run(pretraining.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def chosen():
    """A result in which only pretrained and critical starts learn, at the larger rate."""
    theory, grid = pretraining.EXPERIMENT.theory(CHOSEN), pretraining.EXPERIMENT.grid(CHOSEN)
    labels = {k: v for k, v in grid.labels().items() if k in grid.dims or k == "position"}
    empty = xr.DataArray(np.zeros((*grid.static_shape, *grid.traced_shape)), labels, grid.dims)
    learns = empty["start"].isin([*pretraining.PRETRAINED, "critical", "orthogonal_critical"])
    learns = (learns & (empty["learning_rate"] == 3.0)).broadcast_like(empty)
    curve = xr.where(learns, 0.1, 2.3).expand_dims(update=[2, 4], axis=-1)
    layers = empty.expand_dims(layer=range(1, 6), axis=-1)
    when = empty.expand_dims(when=["before", "after"], axis=-1)
    method = when.expand_dims(method=list(pretraining.PRETRAINED), axis=-2)
    measured = {
        "curve": curve, "saturated": 0 * curve + 0.2, "top_mean": 0 * curve + 0.5,
        "log_gradient": when.expand_dims(layer=layers["layer"].values, axis=-1) - 1.0,
        "spread": when + 2, "alignment": when + 0.9, "train_loss": xr.where(learns, 0.1, 2.3),
        "train_accuracy": empty + 0.5, "test_accuracy": empty + 0.5, "diverged_at": empty,
        "joint_error": method + xr.DataArray([1.0, 0.8], {"when": ["before", "after"]}, "when"),
    }  # fmt: skip
    return xr.Dataset(measured).merge(theory)


def test_a_small_run_answers_every_claim(outcome):
    assert {claim for verdict in outcome.verdicts for claim in verdict.claims} == {"C28", "C29"}
    assert outcome.verdicts[0].agreement == "agrees"  # orthogonal layers
    for name in ("curves", "start"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    result = store.load(outcome.run)
    assert np.isfinite(result["joint_error"]).all()
    assert np.isfinite(result["greedy_error"].isel(layer=slice(3))).all()


def test_pretraining_is_shared_by_all_starts_and_rates(outcome):
    error = store.load(outcome.run)["greedy_error"].transpose("start", "learning_rate", ...).values
    assert np.array_equal(error, np.broadcast_to(error[0, 0], error.shape), equal_nan=True)


def test_alignment_is_1_of_fitting_layers_and_by_hand_of_others():
    def both(key):
        model = draw_classifier(key, 4, 4, 3, 2, activation("tanh"), dtype=jnp.float64)
        _, second, third = model.runs[0].layer.kernel[...]
        plain = decoupling.alignment(model)
        direct = jnp.linalg.norm(second @ third) ** 2 / jnp.sum(
            jnp.linalg.svd(second, compute_uv=False) ** 2 * jnp.linalg.svd(third, compute_uv=False) ** 2
        )
        u, s, v = jnp.linalg.svd(second)
        fitting = v.T @ jnp.diag(s) @ u  # its input directions are the output directions of ``second``
        kernel = jnp.stack([second, second, fitting])
        model.runs[0].layer.kernel[...] = kernel
        return direct, plain, decoupling.alignment(model)

    direct, plain, fitting = jax.jit(both)(jax.random.key(0))
    assert float(plain) == pytest.approx(float(direct), rel=1e-10)
    assert float(fitting) == pytest.approx(1, rel=1e-10)


def test_the_spread_is_that_of_the_jacobian_between_hidden_layers():
    @jax.jit
    def both(key):
        model = draw_classifier(key, 3, 5, 3, 2, activation("tanh"), sigma_w=1.4, dtype=jnp.float64)
        x = jnp.ones((1, 3))
        y = jnp.tanh(model.runs[0].layer(x)[0, 0])
        kernels = model.runs[1].layer.kernel[...]
        jacobian = jax.jacobian(lambda y: jnp.tanh(jnp.tanh(y @ kernels[0]) @ kernels[1]))(y)
        direct = jnp.std(jnp.log(jnp.linalg.svd(jacobian, compute_uv=False)))
        return direct, decoupling.log_spread(model, x)

    direct, found = both(jax.random.key(1))
    assert float(found) == pytest.approx(float(direct), rel=1e-9)


def test_the_better_learning_rate_counts_and_pretraining_is_counted(chosen):
    at = best(chosen)
    updates = updates_to_target(at)
    assert set(updates.sel(start="rbm").values.ravel()) == {2.0 + SMALL.pretraining}
    assert set(updates.sel(start="critical").values.ravel()) == {2.0}
    assert np.isinf(updates.sel(start="glorot_uniform")).all()


def test_every_verdict_follows_from_the_counts(chosen):
    found = pretraining.EXPERIMENT.verdicts(chosen)
    assert {v.claims[0] for v in found} == {"C28", "C29"}
    speed = [v for v in found if "base-rate loss" in v.statement]
    assert [v.measured for v in speed] == [
        1.0,
        1.0,
    ]  # sigmoid and tanh: all, against none of the usual starts
    assert "8 of 8 (0.63 to 1.00)" in speed[0].statement  # Clopper-Pearson: 0.025 ** (1 / 8)
    joint = next(v for v in found if "one autoencoder" in v.statement)
    assert joint.measured == pytest.approx(0.8)


def test_what_was_not_run_is_not_judged(chosen):
    plain = chosen.sel(start=["normal_001", "critical"])
    assert not [v for v in pretraining.EXPERIMENT.verdicts(plain) if "retrain" in v.statement]
    for part in (chosen.sel(start=["rbm"]), chosen.isel(depth=[0]), chosen.isel(seed=[0], learning_rate=[0])):
        assert pretraining.EXPERIMENT.verdicts(part)


def test_all_starts_are_drawn_and_tabulated(chosen):
    drawn = pretraining.EXPERIMENT.figures(chosen)
    assert set(drawn) == {"curves", "start", "updates"}
    for figure in drawn.values():
        plt.close(figure)
    table = pretraining.EXPERIMENT.table(chosen)
    assert len(table) == 2 * 2 * len(pretraining.STARTS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("start", ("rmb",), "did you mean rbm"),
        ("activation", ("relu",), "relu"),
        ("data", ("diggits",), "did you mean digits"),
        ("learning_rate", (-1.0,), "rates above 0"),
        ("batch_size", 0, "batch_size: got 0"),
        ("noise", 1.0, "a probability below 1"),
        ("records", 3, "a divisor of the 4 updates"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
