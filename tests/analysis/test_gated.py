"""Gated cells: Jacobians against autodiff of Flax's cells and differences; time scales against integrals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import integrate, special, stats

from signalprop.analysis import gated, trajectory

N, M, T = 5, 4, 5
RNG = np.random.default_rng(4)
INPUTS = RNG.standard_normal((T, M))
CARRY = RNG.standard_normal(N), 0.3 * RNG.standard_normal(N)


def randomized(cell, seed):
    """A Flax cell whose parameters, biases included, are Gaussian in float64."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: jnp.asarray(0.6 * rng.standard_normal(p.shape)), cell)


LSTM = randomized(nnx.LSTMCell(M, N, param_dtype=jnp.float64, rngs=nnx.Rngs(0)), 1)
GRU = randomized(nnx.GRUCell(M, N, param_dtype=jnp.float64, rngs=nnx.Rngs(0)), 2)
KERNELS = gated.Gates(*(getattr(LSTM, name).kernel[...] for name in ("hi", "hf", "hg", "ho")))


def lstm_gates(h, x):
    """Activities of the LSTM, from its layers."""
    sums = (getattr(LSTM, "i" + k if k != "f" else "if_")(x) + getattr(LSTM, "h" + k)(h) for k in "ifgo")
    return gated.Gates(
        *(f(z) for f, z in zip((jax.nn.sigmoid,) * 2 + (jnp.tanh, jax.nn.sigmoid), sums, strict=True))
    )


def follow(carry):
    """Carries before each step, gates of each step, and both kinds of Jacobian."""
    states = trajectory.states(LSTM, carry, INPUTS)
    gates = jax.vmap(lstm_gates)(states[:-1, N:], INPUTS)
    exact = jax.vmap(partial(gated.lstm_jacobian, KERNELS))(gates, states[:-1, :N])
    return states, gates, exact, trajectory.state_jacobians(LSTM, carry, INPUTS)


@pytest.fixture(scope="module")
def path():
    """One trajectory of the LSTM."""
    return jax.jit(follow)(jax.tree.map(jnp.asarray, CARRY))


def cell_path(c, output):
    """Cell states c_2..c_T as a function of c_1, with h_1 = output tanh(c_1) at this output gate."""
    states = trajectory.states(LSTM, (c, output * jnp.tanh(c)), INPUTS[1:])
    return states[1:, :N]


@pytest.fixture(scope="module")
def total(path):
    """True derivatives of c_2..c_T by c_1, by autodiff."""
    states, gates, _, _ = path
    return jax.jit(jax.jacobian(cell_path))(states[1, :N], gates.o[0])


def differences(f, x, step=1e-6):
    """Jacobian by central differences."""
    return np.transpose([(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(len(x))])


def test_the_lstm_jacobian_is_that_of_the_flax_cell(path):
    _, _, exact, differentiated = path
    np.testing.assert_allclose(exact, differentiated, atol=1e-12)


def test_the_lstm_jacobian_agrees_with_finite_differences(path):
    states, _, exact, _ = path
    flat = trajectory.flatten(LSTM, CARRY)
    step = jax.jit(flat.step)
    np.testing.assert_allclose(exact[2], differences(lambda s: step(s, INPUTS[2]), states[2]), atol=1e-8)


def test_the_four_terms_are_one_step_with_the_output_gate_held_fixed(path, total):
    states, gates, _, _ = path
    terms = gated.four_terms(KERNELS, jax.tree.map(lambda a: a[1], gates), states[1, :N], gates.o[0])
    np.testing.assert_allclose(terms.total, total[0], atol=1e-12)
    np.testing.assert_array_equal(terms.carousel, gates.f[1])
    assert np.linalg.norm(terms.forget + terms.input + terms.candidate) > 0.1


def test_the_whole_carry_gives_the_total_derivative_and_the_four_terms_do_not(path, total):
    states, gates, exact, _ = path
    found = gated.cell_derivatives(exact[1:], states[1, :N], gates.o[0])
    np.testing.assert_allclose(found.mantissa * jnp.exp(found.log_scale)[:, None, None], total, atol=1e-12)
    later = jax.tree.map(lambda a: a[1:], gates)
    terms = jax.vmap(partial(gated.four_terms, KERNELS))(later, states[1:-1, :N], gates.o[:-1])
    product = gated.prefix_products(jax.vmap(lambda t: t.total)(terms), jnp.eye(N))
    error = product.mantissa[-1] * jnp.exp(product.log_scale[-1]) - total[-1]
    assert np.linalg.norm(error) > 0.02 * np.linalg.norm(total[-1])


def test_without_forget_gate_the_truncated_carousel_is_exactly_one_and_the_untruncated_is_not(path):
    states, gates, _, _ = path
    one = jax.tree.map(lambda a: a[1], gates)._replace(f=jnp.ones(N))
    truncated = gated.lstm_jacobian(jax.tree.map(jnp.zeros_like, KERNELS), one, states[1, :N])
    np.testing.assert_array_equal(truncated[:N], np.eye(N, 2 * N))
    whole = gated.lstm_jacobian(KERNELS, one, states[1, :N])
    assert np.abs(whole[:N, N:]).max() > 0.1


def test_derivatives_over_many_steps_stay_in_the_log_domain():
    factors = jnp.broadcast_to(jnp.diag(jnp.array([1e-3, 1e-4])), (400, 2, 2))
    found = gated.cell_derivatives(factors, jnp.zeros(1), jnp.ones(1))
    logs = found.log_scale + jnp.log(jnp.abs(found.mantissa[:, 0, 0]))
    np.testing.assert_allclose(logs, np.log(1e-3) * np.arange(1, 401), rtol=1e-12)


def gru_gates(h, x, before):
    """Activities of a GRU with the parameters of the Flax cell, and what its reset gate multiplies."""
    kernels = gated.ResetGates(*jnp.split(GRU.dense_h.kernel[...], 3, axis=1))
    x_r, x_z, x_n = jnp.split(GRU.dense_i(x), 3)
    r, z = jax.nn.sigmoid(x_r + h @ kernels.r), jax.nn.sigmoid(x_z + h @ kernels.z)
    recurrent = h @ kernels.n
    inside = (r * h) @ kernels.n if before else r * recurrent
    return kernels, gated.ResetGates(r, z, jnp.tanh(x_n + inside)), recurrent


def test_the_gru_jacobian_is_that_of_the_flax_cell():
    h, x = jnp.asarray(CARRY[0]), jnp.asarray(INPUTS[0])
    found = jax.jit(lambda: gated.gru_jacobian(*gru_gates(h, x, False)[:2], h, gru_gates(h, x, False)[2]))()
    np.testing.assert_allclose(found, trajectory.state_jacobian(GRU, h, x), atol=1e-12)


def test_the_jacobian_of_a_gru_that_resets_first_agrees_with_autodiff():
    h, x = jnp.asarray(CARRY[0]), jnp.asarray(INPUTS[0])

    def step(h):
        _, (_, z, n), _ = gru_gates(h, x, True)
        return (1 - z) * n + z * h

    found = jax.jit(lambda: gated.gru_before_jacobian(*gru_gates(h, x, True)[:2], h))()
    np.testing.assert_allclose(found, jax.jit(jax.jacobian(step))(h), atol=1e-12)


@pytest.mark.parametrize(
    ("bias", "lifetime", "e_folding"), [(1.0, 3.718282, 3.192219), (5.0, 149.413159, 148.912599)]
)
def test_time_scales_of_a_constant_forget_gate(bias, lifetime, e_folding):
    assert gated.forget_lifetime(bias) == pytest.approx(lifetime, abs=1e-6)
    assert gated.forget_e_folding(bias) == pytest.approx(e_folding, abs=1e-6)
    keep = special.expit(bias)
    assert gated.forget_lifetime(bias) == pytest.approx(stats.geom(1 - keep).mean(), rel=1e-12)
    assert gated.forget_lifetime(30.0) - gated.forget_e_folding(30.0) == pytest.approx(0.5, abs=1e-2)


def test_random_gates_decay_as_adaptive_quadrature_says_and_in_jensens_order():
    mean, deviation = 1.5, 1.0
    decay = jax.jit(gated.random_gate_decay)
    found = decay(mean, deviation)
    normal = stats.norm(mean, deviation)
    typical, first, second = (
        integrate.quad(lambda z, f=f: normal.pdf(z) * f(z), -11, 14, epsabs=1e-13)[0]
        for f in (special.log_expit, special.expit, lambda z: special.expit(z) ** 2)
    )
    np.testing.assert_allclose(found, [typical, np.log(first), np.log(second) / 2], rtol=1e-10)
    assert found.typical < found.mean < found.root_mean_square < 0
    np.testing.assert_allclose(decay(3.0, 0.0), special.log_expit(3.0), rtol=1e-10)


@pytest.mark.parametrize("bias", [-1000.0, -50.0, -30.0, -3.0, 3.0, 30.0])
def test_gates_far_from_the_middle_decay_as_their_asymptotes_say(bias):
    """At deviation 0 all rates are log f; at 1 and far below 0, f is e^z: E log f = b, log E f = b + 1/2."""
    decay = jax.jit(gated.random_gate_decay)
    np.testing.assert_allclose(decay(bias, 0.0), special.log_expit(bias), rtol=1e-10)
    if bias <= -30:
        np.testing.assert_allclose(decay(bias, 1.0), [bias, bias + 0.5, bias + 1], rtol=1e-10)


def test_chrono_units_keep_what_the_integral_over_their_lifetimes_says():
    longest = 200.0
    for lag in (0.0, 1.0, 40.0, 1000.0):
        wanted = integrate.quad(
            lambda u, lag=lag: (u / (1 + u)) ** lag, 1, longest - 1, epsabs=0, epsrel=1e-11
        )[0]
        found = gated.chrono_memory(lag, longest)
        assert found == pytest.approx(wanted / (longest - 2), rel=1e-9)
