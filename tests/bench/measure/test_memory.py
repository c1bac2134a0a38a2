"""Changes of a gated cell's state: paths in the log domain against products of Jacobians from autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis import trajectory
from signalprop.bench.measure import gates, memory
from signalprop.models.cells import cell

N, T = 4, 6
KEY = jax.random.key(0)
INPUTS = jax.random.normal(jax.random.key(1), (T, 3), jnp.float64)
ZERO = jnp.zeros(N), jnp.zeros(N)


def draw(name):
    return cell(name)(KEY, 3, N, gain=2.0, input_scale=1.0, forget_bias=1.0, dtype=jnp.float64)


@pytest.fixture(scope="module")
def followed():
    """An LSTM, what was found along its path, and the Jacobians of its steps by autodiff."""

    @jax.jit
    def run():
        lstm = draw("lstm")
        found = memory.follow(lambda _: lstm, INPUTS, KEY)
        states = trajectory.states(lstm, ZERO, INPUTS)
        kept = jax.vmap(lambda state, x: gates.kept(lstm, state[N:], x))(states[:-1], INPUTS)
        return found, trajectory.state_jacobians(lstm, ZERO, INPUTS), kept

    return run()


def test_the_carry_path_is_the_product_of_all_step_jacobians(followed):
    found, jacobians, _ = followed
    unit = jax.random.normal(KEY, (N,), jnp.float64)
    change = np.append(unit / jnp.linalg.norm(unit), np.zeros(N))
    for t, jacobian in enumerate(np.asarray(jacobians)):
        change = jacobian @ change
        assert found["log_norm"][t, 0] == pytest.approx(np.log(np.linalg.norm(change)), abs=1e-12)


def test_the_hidden_path_is_the_product_of_the_lower_right_blocks(followed):
    found, jacobians, _ = followed
    unit = jax.random.normal(KEY, (N,), jnp.float64)
    change = unit / jnp.linalg.norm(unit)
    for block in np.asarray(jacobians)[:, N:, N:]:
        change = block @ change
    assert found["log_norm"][-1, 1] == pytest.approx(np.log(np.linalg.norm(change)), abs=1e-12)


def test_gates_multiply_for_the_best_and_for_the_typical_unit(followed):
    found, _, kept = followed
    logs = np.log(kept).sum(0)
    np.testing.assert_allclose(found["log_norm"][-1, 3:], [logs.max(), logs.mean()], rtol=1e-12)


def test_the_four_terms_are_those_of_autodiff_and_their_product_misses_a_path_from_the_third_step(followed):
    found, jacobians, _ = followed
    assert found["formula_error"].max() < 1e-14
    assert found["discrepancy"][:2].max() < 1e-14
    assert found["discrepancy"][2:].min() > 1e-3
    # The first step starts from h = 0, whose output gate is taken to be closed.
    assert found["terms"][0, -1] == pytest.approx(np.sum(np.asarray(jacobians)[0, :N, :N] ** 2) / N)


@pytest.mark.parametrize("name", ["gru", "minimal_rnn"])
def test_what_a_gate_keeps_is_how_the_new_state_follows_the_old_one_without_recurrent_weights(name):
    """With h in no gate, dh_t/dh_{t-1} is the diagonal of the gate that keeps."""

    def compute():
        drawn = cell(name)(KEY, 3, N, gain=0.0, input_scale=1.0, forget_bias=1.0, dtype=jnp.float64)
        h = jnp.full(N, 0.3)
        return gates.kept(drawn, h, INPUTS[0]), trajectory.state_jacobian(drawn, h, INPUTS[0])

    kept, jacobian = jax.jit(compute)()
    np.testing.assert_allclose(jacobian, np.diag(kept), atol=1e-14)
