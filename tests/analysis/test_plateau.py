"""Closed forms of motion without gradient, against the recursions of the optimizers themselves."""

import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate

from signalprop.analysis import plateau

STEPS = 60


def walk(optimizer, state, weight, steps=STEPS, slope=lambda w: 0 * w):
    """Displacements of one weight under an optax optimizer."""
    path = [weight]
    for _ in range(steps):
        update, state = optimizer.update(slope(path[-1]), state, path[-1])
        path.append(path[-1] + update)
    return np.array(path)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_coasts_as_optax_does(nesterov):
    optimizer = optax.sgd(0.1, 0.9, nesterov=nesterov)
    weight, velocity = jnp.array(2.0), jnp.array(0.7)
    state = (optax.TraceState(velocity), *optimizer.init(weight)[1:])
    path = walk(optimizer, state, weight)
    coasting = plateau.coasting_nesterov if nesterov else plateau.coasting_heavy_ball
    np.testing.assert_allclose(path, 2 - 0.07 * coasting(np.arange(STEPS + 1), 0.9), rtol=1e-13)


def test_momentum_coasts_nine_last_steps_and_adam_a_little_more():
    assert float(plateau.coasting_heavy_ball(10_000, 0.9)) == pytest.approx(9, abs=1e-12)
    assert float(plateau.coasting_nesterov(10_000, 0.9)) == pytest.approx(8.1, abs=1e-12)
    assert float(plateau.coasting_adam_limit(0.9, 0.999)) == pytest.approx(9.045237, abs=1e-6)
    assert float(plateau.coasting_adam(2000, 1e6, 0.9, 0.999)[-1]) == pytest.approx(9.0452375, abs=1e-6)
    assert plateau.coasting_adam_limit(0.9, 0.8) == np.inf


@pytest.mark.parametrize(("count", "factor"), [(1, 1.5829), (10, 1.4772), (100, 2.9178)])
def test_adam_coasts_as_optax_does_with_bias_correction(count, factor):
    optimizer = optax.scale_by_adam(0.9, 0.999, 1e-300)
    state = optax.ScaleByAdamState(jnp.array(count, jnp.int32), jnp.array(0.3), jnp.array(0.04))
    path = walk(optimizer, state, jnp.array(0.0))
    forms = plateau.coasting_adam(2000, count, 0.9, 0.999)
    np.testing.assert_allclose(path[1:], 1.5 * forms[:STEPS], rtol=1e-12)
    assert float(forms[-1]) == pytest.approx(factor, abs=6e-5)


@pytest.mark.parametrize("shrink", [0.001, 0.0026, 0.0027, 0.05, 1.5])
def test_heavy_ball_with_decay_follows_its_modes_and_oscillates_above_the_threshold(shrink):
    optimizer = optax.sgd(1.0, 0.9)
    start = jnp.array(1.0)
    path = walk(optimizer, optimizer.init(start), start, 400, lambda w: shrink * w)
    factor = plateau.heavy_ball_decay_factor(np.arange(401), 0.9, shrink)
    np.testing.assert_allclose(factor, path, atol=1e-11)
    assert bool((path < 0).any()) == (shrink > plateau.oscillation_threshold(0.9))


def test_decay_alone_never_changes_a_sign():
    factors = plateau.decay_factor(np.arange(2000), 0.02)
    assert float(factors.min()) > 0
    np.testing.assert_allclose(factors[:3], [1, 0.98, 0.9604])


def test_decaying_weights_under_a_positive_bias_wake_a_unit_at_the_counted_step():
    drive, bias, shrink = np.array([-3.0, -0.7, -3.0]), np.array([0.2, 0.2, -0.2]), 0.01
    found = plateau.decay_escape_step(drive, bias, shrink)
    counted = [next(t for t in range(1000) if 0.99**t * d + 0.2 > 0) for d in drive[:2]]
    assert found.tolist() == [*counted, math.inf]


def test_adam_divides_the_size_of_a_penalty_out():
    weights = np.array([2.0, -0.5])
    path = plateau.adam_decay_path(weights, STEPS, learning_rate=0.01, l2=1e-3)
    optimizer, start = optax.adam(0.01), jnp.asarray(weights)
    direct = walk(optimizer, optimizer.init(start), start, STEPS, lambda w: 1e-3 * w)
    np.testing.assert_allclose(path, direct[1:], atol=1e-12)
    large = plateau.adam_decay_path(weights, STEPS, learning_rate=0.01, l2=1.0)
    np.testing.assert_allclose(path, large, atol=1e-3)


def test_no_example_exceeds_samuelsons_limit_and_an_outlier_attains_it():
    outlier = np.eye(16)[0]
    standardised = (outlier - outlier.mean()) / outlier.std()
    assert standardised.max() == pytest.approx(float(plateau.samuelson_limit(16)), rel=1e-12)


@pytest.mark.parametrize("start", [-1.0, -5.0])
def test_the_time_of_a_slow_sigmoid_is_the_integral_of_its_flow(start):
    time, _ = integrate.quad(lambda b: (1 + math.exp(b)) ** 3 / math.exp(b), start, 0)
    assert float(plateau.sigmoid_escape_time(start)) == pytest.approx(time, rel=1e-9)
