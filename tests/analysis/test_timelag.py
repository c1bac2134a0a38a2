"""Gradients by lag against jax.grad, exact linear cases, finite differences, and far beyond float range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from signalprop.analysis import timelag
from signalprop.analysis.trajectory import states
from signalprop.models.cells import cell, zero_carry

T, N = 5, 4
INPUTS = jax.random.normal(jax.random.key(1), (T, 3), jnp.float64)


def drawn(name):
    return cell(name)(jax.random.key(0), 3, N, gain=1.5, input_scale=1.0, dtype=jnp.float64)


def scalar_step(carry, x):
    """A linear unit: h' = 2 h + x."""
    return 2 * carry + x, None


def test_gradients_by_lag_are_those_of_jax_grad_from_each_state_on():
    step = drawn("lstm")
    carry = zero_carry(step)
    loss_gradient = jax.tree.map(lambda leaf: jnp.cos(1 + jnp.arange(N)), carry)

    def loss(carry, inputs):
        last, _ = jax.lax.scan(step, carry, inputs)
        return sum(jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (last, loss_gradient)), strict=True))

    @jax.jit
    def both():
        gradients, at = [], carry
        for t in range(T):
            gradients.append(jax.grad(loss)(at, INPUTS[t:]))
            at, _ = step(at, INPUTS[t])
        found = timelag.gradient_by_lag(step, carry, INPUTS, loss_gradient)
        return (
            [*gradients, loss_gradient],
            found,
            timelag.gradients(step, carry, INPUTS, loss_gradient).log_size(),
        )

    gradients, found, units = both()
    for k, expected in enumerate(reversed(gradients)):
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(expected)]
        parts = [part[k] for part in jax.tree.leaves(found.log_part_norms)]
        np.testing.assert_allclose(np.exp(parts), [np.linalg.norm(leaf) for leaf in leaves], rtol=1e-12)
        np.testing.assert_allclose(np.exp(found.log_norm[k]), np.linalg.norm(leaves), rtol=1e-12)
        np.testing.assert_allclose(np.exp(units[k]), np.abs(np.concatenate(leaves)), rtol=1e-11)
    assert found.lost_at == found.zero_at == 0


def test_norms_of_jacobians_by_lag_are_those_of_finite_differences():
    step = drawn("gru")

    @jax.jit
    def find():
        visited = states(step, zero_carry(step), INPUTS)
        profiles = [
            timelag.jacobian_by_lag(step, zero_carry(step), INPUTS, 3, norm=norm).log_norm
            for norm in ("operator", "frobenius")
        ]
        moved = [visited[T - 3] + sign * 1e-5 * jnp.eye(N) for sign in (1, -1)]
        after = [jax.vmap(lambda h: jax.lax.scan(step, h, INPUTS[T - 3 :])[0])(h) for h in moved]
        return profiles, (after[0] - after[1]) / 2e-5

    (operator, frobenius), jacobian = find()
    assert operator.shape == (4,)
    np.testing.assert_allclose(operator[0], 0, atol=1e-14)
    np.testing.assert_allclose(frobenius[0], np.log(N) / 2, rtol=1e-14)
    np.testing.assert_allclose(np.exp(operator[3]), np.linalg.norm(jacobian, 2), rtol=1e-8)
    np.testing.assert_allclose(np.exp(frobenius[3]), np.linalg.norm(jacobian), rtol=1e-8)


def test_a_linear_gradient_is_exact_over_thousands_of_decades():
    step = cell("linear")(jax.random.key(0), 1, 3, input_scale=0.0, dtype=jnp.float64)
    step.dense_h.kernel[...] = jnp.diag(jnp.array([0.5, 0.1, 0.1]))
    inputs, ones = jnp.zeros((20000, 1)), jnp.ones(3)
    found = jax.jit(timelag.gradient_by_lag, static_argnums=(4,))(step, ones, inputs, ones, 15000)
    assert found.log_norm[-1] == pytest.approx(-15000 * np.log(2), rel=1e-14)
    assert found.log_norm[1] == pytest.approx(np.log(0.25 + 0.02) / 2, rel=1e-14)


def test_a_lost_state_is_recorded_with_its_step_unless_a_homogeneous_step_is_rescaled():
    start = jnp.array([1.0])
    args = scalar_step, start, jnp.zeros(1030), start

    @jax.jit
    def both():
        return timelag.gradient_by_lag(*args), timelag.gradient_by_lag(*args, homogeneous=True)

    lost, kept = both()
    assert lost.lost_at == kept.lost_at == 1024
    assert np.all(np.isnan(lost.log_norm))
    np.testing.assert_allclose(kept.log_norm, np.arange(1031) * np.log(2), rtol=1e-14)


def test_rescaling_a_homogeneous_step_changes_no_gradient():
    step = drawn("relu")

    @jax.jit
    def both():
        args = step, zero_carry(step), INPUTS, jnp.ones(N)
        return timelag.gradient_by_lag(*args), timelag.gradient_by_lag(*args, homogeneous=True)

    plain, rescaled = both()
    np.testing.assert_allclose(plain.log_norm, rescaled.log_norm, atol=1e-13)


def test_exact_zeros_are_minus_infinity_from_the_lag_where_they_happen():
    def step(h, x):
        return jax.nn.relu(h + x), h

    inputs = jnp.array([[1.0, 1.0], [1.0, -9.0], [1.0, 1.0], [-9.0, 1.0], [1.0, 1.0]])
    ones = jnp.ones(2)

    @jax.jit
    def both():
        found = timelag.gradient_by_lag(step, ones, inputs, ones)
        return found, timelag.gradients(step, ones, inputs, ones).log_size()

    found, units = both()
    np.testing.assert_array_equal(np.exp(units), [[1, 1], [1, 1], [0, 1], [0, 1], [0, 0], [0, 0]])
    np.testing.assert_allclose(np.exp(2 * found.log_norm), [2, 2, 1, 1, 0, 0])
    assert found.zero_at == 4


def test_errors_say_what_to_write_instead():
    with pytest.raises(ValueError, match="lags: got 9 for a sequence of 5 steps; write 0 to 5"):
        timelag.gradient_by_lag(scalar_step, jnp.ones(1), jnp.ones(5), jnp.ones(1), 9)
    with pytest.raises(ValueError, match="carry: got arrays of type int"):
        timelag.gradient_by_lag(scalar_step, jnp.ones(1, int), jnp.ones(5), jnp.ones(1))
    with pytest.raises(ValueError, match="norm must be 'operator' or 'frobenius', got 'max'"):
        timelag.jacobian_by_lag(scalar_step, jnp.ones(1), jnp.ones(5), norm="max")
    with pytest.raises(ValueError, match="log_norms has 3 finite values, give at least 20 to fit"):
        timelag.e_folding(np.arange(3.0))


def test_fitted_rates_of_random_walks_lie_within_their_errors_of_the_drift():
    walks = np.cumsum(np.random.default_rng(0).normal(-0.02, 0.1, (40, 1001)), axis=1)
    fits = [timelag.e_folding(walk) for walk in walks]
    score = np.array([(fit.rate + 0.02) / fit.rate_error for fit in fits])
    # squares of Student's t with 9 degrees of freedom have mean 9/7 and variance 5.3
    assert abs(np.mean(score**2) - 9 / 7) < 5 * np.sqrt(5.3 / 40)
    line = timelag.e_folding(np.array([np.nan, -np.inf, *(-0.25 * np.arange(100))]), skip=1)
    assert (line.rate, line.steps) == (pytest.approx(-0.25), pytest.approx(4))
    assert line.steps_error < 1e-12


@pytest.mark.parametrize(
    ("step", "carry", "inputs"),
    [
        (nnx.RNN, (5,), (20, 3)),
        (lambda cell: cell, (5,), (4, 20, 3)),  # batch first
        (lambda cell: cell, (4, 5), (4, 20, 3)),
        (lambda cell: cell, (5,), (20, 7)),
    ],
)
def test_a_wrong_cell_or_order_of_axes_says_which_axis_is_what(step, carry, inputs):
    cell = nnx.LSTMCell(3, 5, rngs=nnx.Rngs(0))
    start, ones = ((jnp.zeros(carry),) * 2, (jnp.ones(carry),) * 2)
    with pytest.raises(ValueError, match=r"^step: .*time as their first axis, then the features") as error:
        timelag.gradient_by_lag(step(cell), start, jnp.ones(inputs), ones)
    assert "\n" not in str(error.value)
