"""Numbers of one layer and their predictions, against exact laws."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from signalprop.analysis.diagnosis import measured, predicted
from signalprop.analysis.diagnosis.recurrence import log_state_gradient, recurrence
from signalprop.analysis.diagnosis.rule import CAUSES, THRESHOLDS, Finding
from signalprop.models.activations import ACTIVATIONS


def test_lengths_and_likeness_are_those_of_numpy_and_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    shared, own = rng.standard_normal((1, 1, 40)), 1e-7 * rng.standard_normal((6, 1, 40))
    z = 1e-30 * (shared + own)
    found = measured.signal(z.astype(np.float64))
    rows = z.reshape(6, -1) / np.linalg.norm(z.reshape(6, -1), axis=1, keepdims=True)
    squares = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    apart = squares[np.triu_indices(6, 1)].mean() / 2
    assert found.log_rms == pytest.approx(0.5 * np.log(np.mean((z / 1e-30) ** 2)) - 30 * np.log(10), abs=1e-9)
    assert 1 - found.cosine == pytest.approx(apart, rel=0.01)  # 1e-14, of which float64 keeps two digits
    assert found.finite == 1


def test_lost_and_vanished_signals_are_told_apart() -> None:
    z = np.ones((4, 3))
    assert measured.signal(0 * z).log_rms == -np.inf
    z[0, 0] = np.inf
    assert measured.signal(z).finite == pytest.approx(11 / 12)
    assert np.isnan(measured.signal(z).log_rms)


@pytest.mark.parametrize("likeness", [0.0, 0.5, 0.9, 0.999])
def test_the_share_of_units_that_are_silent_by_chance_is_the_orthant_of_two_examples(likeness: float) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 20_000))
    z = np.stack([a, likeness * a + np.sqrt(1 - likeness**2) * b])
    fresh = measured.fresh_units(z) > 0
    expected = 0.25 + np.arcsin(likeness) / (2 * np.pi)
    error = np.sqrt(expected * (1 - expected) / measured.FRESH)
    assert np.mean(np.all(~fresh, axis=0)) == pytest.approx(expected, abs=4 * error)


def test_weights_are_taken_apart_into_scale_and_mean() -> None:
    w = np.random.default_rng(2).normal(0.3, 0.2, (3, 3, 16, 50))
    found = measured.weights(w, (0, 1, 2))
    assert found.fan_in == 144
    assert found.sigma_w == pytest.approx(12 * w.std())
    assert found.mean == pytest.approx(144 * w.mean())
    assert found.root == pytest.approx(12 * np.sqrt(np.mean(w**2)))
    assert not found.alike
    assert measured.weights(np.ones((4, 4)), (0,)).alike


def test_slopes_of_a_shifted_relu_are_a_normal_law() -> None:
    mean, variance = np.array([0.0, 1.0, -2.0, 3e8, -3e8]), np.array([1.0, 4.0, 0.25, 1e16, 1e16])
    square, fourth = predicted.slope_moments(ACTIVATIONS["relu"], jnp.asarray(mean), jnp.asarray(variance))
    expected = special.ndtr(mean / np.sqrt(variance))
    np.testing.assert_allclose(square, expected, atol=2e-6)
    np.testing.assert_allclose(fourth, expected, atol=2e-6)


def test_the_gain_of_a_layer_and_its_spread_are_those_of_random_networks() -> None:
    width, tries = 64, 400
    rng = np.random.default_rng(3)
    logs = []
    for _ in range(tries):  # relu behind Gaussian pre-activations, He weights, an independent gradient
        slope = rng.standard_normal(width) > 0
        w = rng.normal(0, (2 / width) ** 0.5, (width, width))
        delta = rng.standard_normal(width)
        logs.append(np.log(np.linalg.norm(slope * (w.T @ delta)) / np.linalg.norm(delta)))
    found = predicted.gain(np.array([0.5]), np.array([0.5]), 2**0.5, width)
    error = np.std(logs) / tries**0.5
    typical = found.log_gain - found.deviation**2  # the mean of a log is half its variance below the log
    assert np.mean(logs) == pytest.approx(typical, abs=4 * error)
    assert np.std(logs) == pytest.approx(found.deviation, rel=4 / (2 * tries) ** 0.5)


def test_a_rate_is_fitted_and_what_is_lost_is_counted() -> None:
    steps = {"carry 0": -0.5 * np.arange(60.0)[::-1], "carry 1": np.full(60, -np.inf), "input 0": np.ones(60)}
    past = recurrence("rnn", log_state_gradient(steps))
    assert past.rate == pytest.approx(-0.5)
    assert np.isnan(past.lost)
    gone = recurrence("rnn", np.where(np.arange(60) < 58, -np.inf, 0.0))
    assert gone.rate == -np.inf
    assert gone.lost == 3


def test_a_number_within_its_uncertainty_breaks_nothing() -> None:
    assert Finding("dead", "", "", 0.5, 0.4, 0.2).borderline
    assert not Finding("dead", "", "", 0.7, 0.4, 0.2).borderline
    assert not Finding("input", "", "", 0.0, 0.0).borderline
    assert all(reason for _, reason in THRESHOLDS.values())
    assert len(set(CAUSES)) == len(CAUSES) == 20
    assert stats.norm.sf(THRESHOLDS["deviations of one layer"].value) * 2 * 1000 < 0.07
