"""Mean field of gated cells against networks whose weights are drawn anew at every step.

A fresh Gaussian matrix turns the few vectors it meets into Gaussian ones with the same inner products, so
such networks are simulated exactly without drawing matrices.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid

from signalprop.analysis import gatedfield
from signalprop.analysis.gated import Gates, ResetGates

N, STEPS, NETWORKS = 200, 60, 6
POPULATION = {"num_units": 500, "num_steps": 300}


def lstm_units(bias):
    def units(c, recurrent, inputs):
        i, f, g, o = recurrent + inputs
        c = sigmoid(f + bias) * c + sigmoid(i) * jnp.tanh(g)
        return c, sigmoid(o) * jnp.tanh(c)

    return units


def gru_units(bias):
    def units(h, recurrent, inputs):
        r, z = sigmoid(recurrent[0] + inputs[0]), sigmoid(recurrent[1] + inputs[1] + bias)
        h = (1 - z) * jnp.tanh(inputs[2] + r * recurrent[2]) + z * h
        return h, h

    return units


def minimal_units(bias):
    def units(h, recurrent, inputs):
        u = sigmoid(recurrent[0] + inputs[0] + bias)
        h = u * h + (1 - u) * inputs[1]
        return h, h

    return units


def untied(key, units, num_gates, sigma_w, memory):
    """Growth of a perturbation of (c, h), mean square of h, and |J u|^2 of random unit vectors u."""

    def step(state, key):
        c, h, dc, dh = state
        noise = jax.random.normal(key, (num_gates, N, 4))
        noise, inputs = noise[..., :3], noise[..., 3]
        probe = jax.random.rademacher(jax.random.fold_in(key, 0), (1 + memory, N)) / jnp.sqrt(
            N * (1 + memory)
        )
        vectors = jnp.stack([h, dh, probe[-1]]) + 1e-12 * jnp.eye(3, N)
        recurrent = sigma_w * noise @ jnp.linalg.cholesky(vectors @ vectors.T / N).T

        def push(change, place):
            tangent = change, recurrent[..., place], jnp.zeros_like(inputs)
            return jax.jvp(units, (c, recurrent[..., 0], inputs), tangent)

        _, image = push(probe[0], 2)
        (c, h), (dc, dh) = push(dc, 1)
        size = jnp.sqrt(jnp.sum(dc**2) + memory * jnp.sum(dh**2))
        stretch = jnp.sum(image[0] ** 2) + memory * jnp.sum(image[1] ** 2)
        return (c, h, dc / size, dh / size), (jnp.log(size), jnp.mean(h**2), stretch)

    start = jnp.zeros(N), jnp.zeros(N), jnp.ones(N), jnp.ones(N)
    _, found = jax.lax.scan(step, start, jax.random.split(key, STEPS))
    return jnp.stack([values[STEPS // 2 :].mean() for values in found])


def simulate(units, num_gates, sigma_w, memory):
    keys = jax.random.split(jax.random.key(1), NETWORKS)
    found = jax.jit(jax.vmap(lambda k: untied(k, units, num_gates, sigma_w, memory)))(keys)
    return found.mean(0), found.std(0, ddof=1) / NETWORKS**0.5


def check(found, error, wanted, own_error=0.0):
    # Five standard errors and the finite width: relative fluctuations of a sum of N squares are O(1/N).
    np.testing.assert_array_less(np.abs(found - np.array(wanted)), 5 * (error + own_error) + 2 / N)


def test_the_lstm_population_is_an_untied_network():
    point = jax.jit(partial(gatedfield.lstm, **POPULATION))(
        jax.random.key(0), 2.0, 1.0, Gates(0.0, 2.0, 0.0, 0.0)
    )
    wanted = [point.exponent, point.q_h, point.jacobian_square]
    # Another derivation and simulation give -0.184 / 2.
    assert point.exponent == pytest.approx(-0.092, abs=float(5 * point.exponent_error) + 1e-3)
    check(*simulate(lstm_units(2.0), 4, 2.0, True), wanted, point.exponent_error)


def test_the_gru_population_is_an_untied_network():
    point = jax.jit(partial(gatedfield.gru, **POPULATION))(
        jax.random.key(0), 2.0, 1.0, ResetGates(0.0, 1.0, 0.0)
    )
    wanted = [point.exponent, point.q_h, point.jacobian_square]
    check(*simulate(gru_units(1.0), 3, 2.0, False), wanted, point.exponent_error)
    # The perturbation of a GRU is independent of its gates, so that one average gives both.
    assert 2 * point.exponent == pytest.approx(
        np.log(point.jacobian_square), abs=float(5 * point.exponent_error)
    )


def test_the_minimal_rnn_fixed_point_is_an_untied_network():
    point = jax.jit(gatedfield.minimal_rnn)(6**0.5, 1.0, 2.0)
    assert point.converged
    check(*simulate(minimal_units(2.0), 2, 6**0.5, False), [np.log(point.chi) / 2, point.q, point.chi])
    assert point.xi == pytest.approx(-1 / np.log(point.chi))


def test_a_minimal_rnn_without_recurrent_weights_has_the_exact_fixed_point():
    """Without any weights the gate is sigmoid(b) = u and Q = R (1 - u) / (1 + u)."""
    point = jax.jit(gatedfield.minimal_rnn)(0.0, 0.0, 1.0, 0.5)
    u = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose([point.q, point.chi], [0.5 * (1 - u) / (1 + u), u**2], rtol=1e-12)
