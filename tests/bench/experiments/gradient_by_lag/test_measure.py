"""What gradients by lag are compared with: against simulation, exact cases and a broken gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from signalprop.analysis import chaos
from signalprop.bench.experiments.gradient_by_lag.figures import e_folding_steps
from signalprop.bench.experiments.gradient_by_lag.measure import log_kept, sum_error
from signalprop.bench.experiments.gradient_by_lag.theory import predicted_rates, untouched_share
from signalprop.models.cells import cell, zero_carry


def test_the_last_visit_of_a_reflected_walk_to_0_follows_the_arcsine_law():
    steps, walks = 20, 20000
    noise = np.random.default_rng(0).normal(size=(steps, walks))
    state, last = np.zeros(walks), np.zeros(walks, int)
    for t in range(1, steps + 1):
        state = np.maximum(state + noise[t - 1], 0)
        last = np.where(state == 0, t, last)
    share = np.array([(last <= steps - k).mean() for k in range(steps + 1)])
    expected = untouched_share(steps)
    assert expected[0] == pytest.approx(1, rel=1e-12)
    assert np.all(abs(share - expected) <= 5 * np.sqrt(expected * (1 - expected) / walks) + 1e-12)


def test_a_memory_without_inputs_keeps_what_its_forget_bias_says():
    network = cell("lstm")(
        jax.random.key(0), 3, 4, gain=0.0, input_scale=0.0, forget_bias=2.0, dtype=jnp.float64
    )
    kept = jax.jit(log_kept)(network, zero_carry(network), jnp.zeros((5, 3)))
    assert kept == pytest.approx(-np.log1p(np.exp(-2.0)), rel=1e-14)


def test_the_sum_over_lags_is_the_gradient_of_the_weights():
    network = cell("tanh")(jax.random.key(0), 3, 4, dtype=jnp.float64)
    inputs = jax.random.normal(jax.random.key(1), (6, 3))
    assert jax.jit(sum_error)(network, zero_carry(network), inputs, jnp.ones(4)) < 1e-14


def test_e_folding_times_are_those_of_the_mean_profile_and_unknown_where_it_is_lost():
    decay = -0.2 * np.arange(101.0)
    lost = np.where(np.arange(101) > 20, -np.inf, 0.0)
    profiles = xr.DataArray([[decay - 1, lost], [decay + 1, lost]], dims=("seed", "setting", "lag"))
    steps = e_folding_steps(profiles)
    np.testing.assert_allclose(steps, [[5, 0], [np.nan, np.nan]], atol=1e-12)


def test_predicted_rates_exist_where_a_theory_covers_the_cell():
    gain = (0.5, 2.0)
    np.testing.assert_array_equal(predicted_rates("lstm_1997", gain, 0.3, 128), [0, 0])
    np.testing.assert_allclose(predicted_rates("linear", gain, 0.3, 128), np.log(gain))
    np.testing.assert_allclose(predicted_rates("irnn", gain, 0.3, 128), [np.nan, np.log(2)])
    np.testing.assert_allclose(predicted_rates("relu", gain, 0.3, 128), np.log(gain) - np.log(2) / 2)
    assert np.isnan(predicted_rates("gru", gain, 0.3, 128)).all()
    assert np.isnan(predicted_rates("smart_tanh", gain, 0.3, 128)).all()


def test_the_predicted_rate_of_tanh_falls_with_the_width_by_its_slopes_and_tends_to_mean_field():
    q = np.asarray(jax.jit(lambda: chaos.mean_field_q(jnp.tanh, 12.0, 0.3))())
    z = np.linspace(-8, 8, 16001)
    weight = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    square = [weight @ np.cosh(np.sqrt(q) * z) ** -k for k in (4.0, 8.0)]
    variety = square[1] / square[0] ** 2 - 1
    for name, shift in (("tanh", -(3 * variety + 2) / 512), ("tanh_orthogonal", -3 * variety / 520)):
        narrow, wide = (predicted_rates(name, (12.0,), 0.3, n)[0] for n in (128, 10**9))
        assert wide == pytest.approx(np.log(144 * square[0]) / 2, rel=2e-3)
        assert narrow - wide == pytest.approx(shift, rel=2e-2)
