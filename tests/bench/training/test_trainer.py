"""The training engine against a plain loop in NumPy, and runs that must diverge."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from signalprop.bench.engine.errors import InputError
from signalprop.bench.training import trainer as training
from signalprop.models.mlp import Layer

STEPS, RECORDS = 12, 4
SETTINGS = {"rate": [0.05, 0.1, 0.1], "clip_norm": [np.inf, np.inf, 1.0], "seed": [0, 1, 1]}
TRUE = np.array([[1.0], [-2.0], [0.5]])


def draw_batch(key):
    x = jax.random.normal(key, (8, 3))
    return x, x @ TRUE


def squared_error(model, batch):
    x, y = batch
    error = model(x) - y
    return jnp.mean(error**2), {"largest": jnp.max(jnp.abs(error))}


def observe(model, gradients, updates, batch):
    return {"kernel": model.kernel[...], "update": updates.kernel[...], "gradient": gradients.kernel[...]}


def model(dtype=None):
    return Layer(jnp.full((3, 1), 0.1, dtype), jnp.zeros(1, dtype))


def run(rate, clip_norm, seed):
    return training.train(
        jax.random.key(seed), model(), squared_error, draw_batch, optax.sgd(rate), STEPS, RECORDS, observe,
        clip_norm=clip_norm,
    )  # fmt: skip


@pytest.fixture(scope="module")
def together():
    """Three settings in one program."""
    return jax.jit(jax.vmap(run))(*(jnp.array(v) for v in SETTINGS.values()))


@pytest.fixture(scope="module")
def batches():
    """The batches of every step, by seed."""
    keys = [[jax.random.fold_in(jax.random.key(seed), n) for n in range(STEPS)] for seed in (0, 1)]
    draw = jax.jit(jax.vmap(jax.vmap(draw_batch)))
    return jax.device_get(draw(jnp.stack([jnp.stack(row) for row in keys])))


def plain_loop(batches, rate, clip_norm, seed):
    """Loss, gradient norm, kernel and update of every step; the last kernel."""
    kernel, bias, rows = np.full((3, 1), 0.1), np.zeros(1), []
    for x, y in zip(batches[0][seed], batches[1][seed], strict=True):
        error = x @ kernel + bias - y
        slope = [2 * x.T @ error / len(x), 2 * error.mean(0)]
        norm = np.sqrt(sum((g**2).sum() for g in slope))
        change = [-rate * min(1, clip_norm / norm) * g for g in slope]
        rows.append(((error**2).mean(), np.abs(error).max(), norm, kernel, change[0]))
        kernel, bias = kernel + change[0], bias + change[1]
    return [np.array(column) for column in zip(*rows, strict=True)], kernel


@pytest.mark.parametrize("i", range(3))
def test_runs_trained_together_equal_a_plain_loop_and_record_means_of_strides(together, batches, i):
    setting = {k: v[i] for k, v in SETTINGS.items()}
    (loss, largest, norm, kernel, update), last = plain_loop(batches, **setting)
    record = {k: v[i] for k, v in together.record.items()}
    stride, rows = STEPS // RECORDS, (RECORDS, -1)
    np.testing.assert_allclose(record["loss"], loss.reshape(rows).mean(1), rtol=1e-10)
    np.testing.assert_allclose(record["largest"], largest.reshape(rows).mean(1), rtol=1e-10)
    root_mean_square = np.sqrt((norm**2).reshape(rows).mean(1))
    np.testing.assert_allclose(record["log_gradient_norm"], np.log(root_mean_square), atol=1e-10)
    np.testing.assert_allclose(
        record["clip_rate"], (norm > setting["clip_norm"]).reshape(rows).mean(1), atol=1e-12
    )
    np.testing.assert_allclose(record["kernel"], kernel[::stride], rtol=1e-10)
    np.testing.assert_allclose(record["update"], update[::stride], rtol=1e-8)
    np.testing.assert_allclose(together.model.kernel[i], last, rtol=1e-10)
    assert int(together.diverged_at[i]) == 0


def test_clipping_engaged_in_some_steps_only(together):
    assert 0 < float(together.record["clip_rate"][2].mean()) <= 1
    assert not together.record["clip_rate"][:2].any()


@pytest.fixture(scope="module")
def fragile():
    """Four runs whose kernel falls by 0.1 a step: to a loss of infinity, a bad slope, too large an update."""

    def one(limit, root, slope):
        def loss(model, batch):
            weight = model.kernel[0, 0]
            cliff = jnp.where(weight < limit, jnp.inf, 0.0)
            return cliff + slope * weight + 1e-30 * jnp.sqrt(jnp.abs(model.bias[0] - root))

        return training.train(
            jax.random.key(0),
            model(jnp.float32),
            loss,
            lambda key: 0.0,
            optax.sgd(10.0),
            STEPS,
            RECORDS,
            observe,
        )

    columns = ([-10.0, -0.45, -10.0, -10.0], [1.0, 1.0, 0.0, 1.0], [0.01, 0.01, 0.01, 3e38])
    return jax.jit(jax.vmap(one))(*(jnp.array(v, jnp.float32) for v in columns))


def test_a_diverged_run_is_marked_with_its_step_and_quantity(fragile):
    # The sixth update leads from -0.4 to -0.5, below -0.45: the loss of the seventh step is infinite.
    assert fragile.diverged_at.tolist() == [0, 7, 1, 1]
    named = [training.QUANTITIES[i] for i in fragile.diverged_in]
    assert named == ["none", "loss", "gradient", "parameters"]


def test_a_diverged_run_is_frozen_and_spoils_no_other(fragile):
    end = [0.1 - 0.1 * STEPS, -0.5, 0.1, 0.1]
    np.testing.assert_allclose(fragile.model.kernel[:, 0, 0], end, atol=1e-6)
    assert np.isfinite(fragile.record["loss"]).sum(1).tolist() == [RECORDS, 2, 0, 0]
    assert np.isfinite(fragile.record["kernel"][:, :, 0, 0]).sum(1).tolist() == [RECORDS, 3, 1, 1]


def test_the_log_norm_holds_where_squares_overflow_and_of_zeros():
    norm = jax.jit(jax.vmap(lambda a, b: training.log_global_norm([a, b])))
    first = jnp.full((5, 4), 1.0) * jnp.array([[1e200], [1e-200], [0.0], [np.inf], [np.nan]])
    found = np.asarray(norm(first, jnp.zeros((5, 2))))
    np.testing.assert_allclose(found[:2], [np.log(2e200), np.log(2e-200)], rtol=1e-12)
    assert found[2] == -np.inf
    assert not (found[3:] < np.inf).any()


def test_records_that_do_not_divide_the_steps_are_refused():
    with pytest.raises(InputError, match="write a multiple of 4"):
        training.train(jax.random.key(0), model(), squared_error, draw_batch, optax.sgd(0.1), 10, 4)


def test_a_second_moment_that_overflows_is_a_divergence():
    def loss(model, batch):
        return 1e21 * model.kernel[0, 0]

    run = jax.jit(
        lambda: training.train(
            jax.random.key(0), model(jnp.float32), loss, lambda key: 0.0, optax.adam(0.1), 4, 2
        )
    )()
    assert run.diverged_at == 1
    assert training.QUANTITIES[run.diverged_in] == "optimizer"
