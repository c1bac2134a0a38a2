"""Pascanu's regulariser: exact cases, gradients by restarting the network, and training with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench.engine.errors import InputError
from signalprop.bench.training import omega, recurrent, tasks
from signalprop.bench.training.remedies import REMEDIES, remedy

T, B, N = 4, 3, 5


@pytest.fixture(scope="module")
def network():
    """A small tanh network of float64 on the adding problem."""
    task = tasks.TASKS["adding"]
    model = recurrent.draw(REMEDIES["tanh"], jax.random.key(0), task, N, "float64")
    return model, task.draw(jax.random.key(1), T, B, "float64"), task.loss


def test_an_orthogonal_matrix_with_slopes_of_one_costs_nothing_and_a_multiple_its_distance_from_one():
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(N, N)))
    cost = jax.jit(omega.omega)
    gradients = jax.random.normal(jax.random.key(0), (T, B, N))
    for scale in (1.0, 0.5, 3.0):
        found = cost(jnp.asarray(scale * turn), jnp.ones((T, B, N)), gradients)
        assert float(found) == pytest.approx((scale - 1) ** 2, abs=1e-12)


def test_steps_without_gradient_do_not_count_and_leave_the_derivative_finite():
    gradients = jnp.zeros((T, B, N)).at[0, 0, 0].set(1.0)
    kernel, slopes = 2 * jnp.eye(N), jnp.ones((T, B, N))
    value, slope = jax.jit(jax.value_and_grad(omega.omega))(kernel, slopes, gradients)
    assert float(value) == pytest.approx(1.0)
    assert np.isfinite(slope).all()
    blocked = jax.jit(jax.grad(omega.omega))(kernel, 0 * slopes, gradients)
    assert np.isfinite(blocked).all()


@pytest.fixture(scope="module")
def parts(network):
    """The gradients of every step, the slopes, and the loss with Omega, from one program."""
    model, batch, loss = network

    @jax.jit
    def find(model):
        _, states = model.run(batch.inputs)
        direct = jax.grad(lambda h: loss(omega.Outputs(model, h), batch)[0])(states)
        slopes = omega.step_slopes(model, batch.inputs, states)
        gradients = omega.gradients_by_step(direct, slopes, model.cell.dense_h.kernel[...])

        def restart(h, t):
            end = h
            for x in batch.inputs[t:]:
                end, _ = model.cell(end, x)
            return jnp.mean((model.readout(end)[:, 0] - batch.targets) ** 2)

        restarted = jnp.stack([jax.grad(restart)(states[t - 1], t) for t in range(1, T + 1)])
        total = omega.with_omega(loss, 2.0)
        return (
            gradients,
            slopes,
            restarted,
            jax.grad(lambda m: total(m, batch)[0])(model),
            total(model, batch),
        )

    return find(model)


def test_gradients_by_step_are_those_of_the_network_restarted_at_that_step(parts):
    gradients, _, restarted, *_ = parts
    np.testing.assert_allclose(gradients, restarted, rtol=1e-10)


def test_only_the_immediate_derivative_by_the_recurrent_kernel_is_added(network, parts):
    model, batch, loss = network
    gradients, slopes, _, slope, (value, aside) = parts
    kernel = model.cell.dense_h.kernel[...]
    plain = jax.jit(jax.grad(lambda m: loss(m, batch)[0]))(model)
    cost = jax.jit(lambda k: omega.omega(k, slopes, gradients))
    expected = np.zeros((N, N))
    for i, j in np.ndindex(N, N):
        nudge = jnp.zeros((N, N)).at[i, j].set(1e-6)
        expected[i, j] = (cost(kernel + nudge) - cost(kernel - nudge)) / 2e-6
    added = slope.cell.dense_h.kernel[...] - plain.cell.dense_h.kernel[...]
    np.testing.assert_allclose(added, 2 * expected, atol=1e-7)
    np.testing.assert_allclose(slope.cell.dense_i.kernel[...], plain.cell.dense_i.kernel[...], rtol=1e-9)
    assert float(value) == pytest.approx(float(aside["task_loss"] + 2 * aside["omega"]))


def test_a_remedy_is_found_by_its_name_or_is_any_cell():
    assert remedy("omega").omega == 4
    assert remedy("smart_tanh").cell == "smart_tanh"
    with pytest.raises(InputError, match="did you mean 'tanh'"):
        remedy("tahn")
