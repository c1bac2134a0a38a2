"""Lyapunov exponents against eigenvalues, exact laws, dense Jacobians and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import polygamma

from signalprop.analysis import lyapunov
from signalprop.analysis.randommatrix import newman_exponents
from signalprop.analysis.trajectory import state_jacobians

STEPS, N = 800, 4


def linear(h, matrix):
    return matrix @ h, None


@pytest.fixture(scope="module")
def exponents():
    """Exponents of a product of 4 x 4 matrices, decomposed at every third; 101 steps are transient."""
    return jax.jit(lambda h, m: lyapunov.spectrum(linear, h, m, N, transient=101, interval=3))


@pytest.fixture(scope="module")
def stopping():
    """The same, decomposed at every second, with automatic stop."""
    return jax.jit(
        lambda h, m, tolerance: lyapunov.converged_spectrum(
            linear, h, m, N, tolerance=tolerance, transient=20, interval=2
        )
    )


@pytest.fixture(scope="module")
def gaussian():
    """Independent Gaussian matrices."""
    return np.random.default_rng(1).standard_normal((STEPS, N, N))


def constant(matrix):
    return np.broadcast_to(matrix, (STEPS, N, N))


def test_one_matrix_has_the_logarithms_of_the_moduli_of_its_eigenvalues(exponents, stopping):
    basis, (c, s) = np.random.default_rng(0).standard_normal((N, N)), (np.cos(1), np.sin(1))
    core = np.diag([0.0, 0.0, -0.4, 0.1])
    core[:2, :2] = [[2 * c, -2 * s], [2 * s, 2 * c]]
    matrix = constant(basis @ core @ np.linalg.inv(basis))
    expected = np.log([2.0, 2.0, 0.4, 0.1])
    for found in (exponents(jnp.zeros(N), matrix), stopping(jnp.zeros(N), matrix, 0.0)):
        np.testing.assert_allclose(found.exponents[2:], expected[2:], atol=1e-9)
        assert found.exponents[0] + found.exponents[1] == pytest.approx(2 * np.log(2), abs=1e-9)
        np.testing.assert_allclose(found.exponents[:2], np.log(2), atol=5e-3)  # a pair turns the directions
    assert exponents(jnp.zeros(N), matrix).steps == STEPS - 101


def test_random_products_have_newmans_exponents(exponents, gaussian):
    found = exponents(jnp.zeros(N), gaussian)
    assert np.all(np.abs(found.exponents - newman_exponents(N)) < 5 * found.standard_error)
    variance = polygamma(1, np.arange(N, 0, -1) / 2) / 4
    np.testing.assert_allclose(found.standard_error, np.sqrt(variance / int(found.steps)), rtol=0.5)


def test_it_stops_where_the_error_asked_for_is_reached(stopping, gaussian):
    found = stopping(jnp.zeros(N), gaussian, 0.1)
    assert 64 <= found.steps < 500
    assert found.standard_error.max() <= 0.1
    assert np.all(np.abs(found.exponents - newman_exponents(N)) < 5 * found.standard_error)


def test_a_state_that_overflows_is_recorded_and_counted_until_then(exponents, stopping):
    lost_at = 1 + int(np.log(np.finfo(float).max) / np.log(3))
    for run, steps in ((exponents, 543), (lambda *a: stopping(*a, -1.0), 626)):
        found = run(jnp.ones(N), constant(3 * np.eye(N)))
        assert found.lost_at == lost_at == 647
        assert found.steps == steps
        np.testing.assert_allclose(found.exponents, np.log(3), rtol=1e-12)


def test_a_direction_that_is_mapped_to_zero_has_exponent_minus_infinity(exponents):
    found = exponents(jnp.ones(N), constant(np.diag([1.0, 0.5, 0.2, 0.0])))
    np.testing.assert_allclose(found.exponents, [*np.log([1.0, 0.5, 0.2]), -np.inf], atol=1e-12)


def test_directions_neither_overflow_nor_underflow_between_decompositions(exponents):
    found = exponents(jnp.zeros(N), constant(np.diag([1e150, 1.0, 1e-150, 1e-200])))
    np.testing.assert_allclose(found.exponents[0], np.log(1e150), rtol=1e-12)
    assert np.all(np.isfinite(found.exponents))


def test_a_correlated_series_has_a_larger_error():
    """AR(1): variance of the mean (1 + r) / (1 - r) / n."""
    noise, n, r = np.random.default_rng(2).standard_normal((4096, 8)), 4096, 0.9
    series = np.zeros_like(noise)
    for t in range(1, n):
        series[t] = r * series[t - 1] + np.sqrt(1 - r * r) * noise[t]
    error, part, same, few = jax.jit(lambda x: (
        lyapunov.block_error(x),
        lyapunov.block_error(x[:35], 32),
        lyapunov.block_error(x[:32]),
        lyapunov.block_error(x[:7]),
    ))(series)  # fmt: skip
    assert np.mean(error) == pytest.approx(np.sqrt((1 + r) / (1 - r) / n), rel=0.3)
    np.testing.assert_allclose(part, same, rtol=1e-12)
    assert np.isnan(few).all()


@pytest.fixture(scope="module")
def lstm():
    """Exponents of a driven LSTM of four units in both dtypes, and the Jacobians of all its steps."""
    cell = jax.tree.map(lambda w: 4 * w, nnx.LSTMCell(4, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(0)))

    def renamed(state, x):
        (c, h), _ = cell((state["memory"], state["output"]), x)
        return {"memory": c, "output": h}, None

    def run(inputs):
        carry = {"memory": jnp.zeros(4, inputs.dtype), "output": jnp.zeros(4, inputs.dtype)}
        return lyapunov.spectrum(renamed, carry, inputs, 8, transient=100)

    inputs = jax.random.normal(jax.random.key(1), (240, 4))
    return jax.jit(lambda x: (
        run(x),
        run(x.astype(jnp.float32)),
        state_jacobians(cell, (jnp.zeros(4), jnp.zeros(4)), x),
    ))(inputs)  # fmt: skip


def test_an_lstm_has_the_exponents_of_its_dense_jacobians_on_the_whole_carry(lstm):
    found, _, factors = lstm
    frame, logs = np.random.default_rng(3).standard_normal((8, 8)), []
    for t, factor in enumerate(np.asarray(factors)):
        frame, triangle = np.linalg.qr(factor @ frame)
        logs += [np.log(np.abs(np.diag(triangle)))] * (t >= 100)
    np.testing.assert_allclose(found.exponents, np.mean(logs, 0), atol=1e-8)
    assert lyapunov.precision_warning(found) == ""


def test_float32_says_which_exponents_it_cannot_resolve(lstm):
    exact, found, _ = lstm
    wrong = np.abs(found.exponents - exact.exponents)
    assert np.all(wrong < 10 * found.rounding + 1e-6)  # an estimate of the order of magnitude
    assert wrong.max() > 1e-3
    assert "exponents 7 to 8 are not resolved in float32" in lyapunov.precision_warning(found)
    assert lyapunov.longest_interval(exact.exponents) == 2
    assert lyapunov.longest_interval(found.exponents) == 1


def test_the_gradient_of_exponents_is_that_of_finite_differences():
    rng = np.random.default_rng(4)
    weights, direction, inputs = (jnp.asarray(rng.standard_normal(s)) for s in ((4, 4), (4, 4), (10, 4)))

    def loss(w):
        found = lyapunov.spectrum(
            lambda h, x: (jnp.tanh(w @ h + x), None), jnp.zeros(4), inputs, 3, transient=4, interval=3
        )
        return found.exponents @ jnp.array([1.0, 0.5, 2.0])

    value, gradient = jax.jit(jax.value_and_grad(loss)), 0.0
    for sign in (1, -1):
        gradient += sign * value(weights + sign * 1e-6 * direction)[0] / 2e-6
    assert float(jnp.vdot(value(weights)[1], direction)) == pytest.approx(float(gradient), rel=1e-6)


def test_dimension_and_entropy_follow_from_the_exponents():
    both = jax.jit(lambda x: (lyapunov.kaplan_yorke(x), lyapunov.entropy_bound(x)))
    assert both(np.array([0.9, 0.0, -14.5])) == pytest.approx((2 + 0.9 / 14.5, 0.9))  # Lorenz
    assert both(np.array([-14.5, 0.9, 0.1])) == pytest.approx((2 + 1.0 / 14.5, 1.0))
    assert both(np.array([-0.1, -0.2, -0.3])) == (0, 0)
    assert both(np.array([0.3, -0.1, -np.inf])) == pytest.approx((2, 0.3))
    assert both(np.array([0.3, -0.1, -0.1])) == pytest.approx((3, 0.3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_exponents": 4}, "num_exponents: got 4 for a carry of 3"),
        ({"transient": 10}, "give at least 12 steps"),
        ({"interval": 0}, "write at least 1"),
        ({"inputs": (jnp.zeros(4), jnp.zeros(5))}, "lengths"),
        ({"carry": jnp.zeros(3, int)}, "floating"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, message):
    given = {"carry": jnp.zeros(3), "inputs": jnp.zeros(10), "num_exponents": 2, "interval": 2} | change
    with pytest.raises(ValueError, match=message):
        lyapunov.spectrum(lambda h, x: (h, None), **given)
