"""Averages, fits and scaled norms against exact cases, NumPy, SciPy and repeated sampling."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from signalprop.analysis import statistics


def test_mean_and_error_of_a_sample_agree_with_scipy():
    values = np.random.default_rng(0).normal(size=(40, 3))
    mean, error = statistics.mean_and_error(values)
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(error, stats.sem(values), rtol=1e-12)
    np.testing.assert_allclose(
        statistics.mean_and_error(values, axis=1)[1], stats.sem(values, axis=1), rtol=1e-12
    )


def test_the_error_of_a_single_value_is_unknown():
    mean, error = statistics.mean_and_error(jnp.array([[2.0, 3.0]]))
    np.testing.assert_array_equal(mean, [2, 3])
    assert jnp.isnan(error).all()


def test_bootstrap_intervals_cover_the_mean_as_often_as_stated():
    rng = np.random.default_rng(1)
    trials = 200
    intervals = [
        statistics.bootstrap_interval(rng.exponential(size=40), num_resamples=300) for _ in range(trials)
    ]
    covered = np.mean([low < 1 < high for low, high in intervals])
    assert covered > 0.95 - 5 * np.sqrt(0.95 * 0.05 / trials)


def test_bootstrap_takes_any_statistic_and_constant_values():
    values = np.random.default_rng(2).normal(size=101)
    low, high = statistics.bootstrap_interval(values, np.median)
    assert low < np.median(values) < high
    assert statistics.bootstrap_interval(np.full(5, 2.0)) == (2.0, 2.0)
    assert statistics.bootstrap_interval(values, seed=3) == statistics.bootstrap_interval(values, seed=3)


def test_bootstrap_refuses_a_single_value():
    with pytest.raises(ValueError, match="values has 1 entries"):
        statistics.bootstrap_interval(np.ones(1))


def test_an_unweighted_fit_agrees_with_scipy():
    x = np.arange(8.0)
    y = 2 - 0.5 * x + np.random.default_rng(3).normal(size=8)
    line, reference = statistics.fit_line(x, y), stats.linregress(x, y)
    np.testing.assert_allclose(
        line, [reference.slope, reference.stderr, reference.intercept, reference.intercept_stderr], rtol=1e-12
    )


def test_a_weighted_fit_agrees_with_numpy_and_its_error_with_repeated_sampling():
    rng = np.random.default_rng(4)
    x, error = np.arange(6.0), np.array([0.1, 0.5, 0.2, 1.0, 0.3, 0.1])
    y = 1 + 3 * x + error * rng.normal(size=(4000, 6))
    line = statistics.fit_line(x, y[0], error)
    (slope, intercept), covariance = np.polyfit(x, y[0], 1, w=1 / error, cov="unscaled")
    np.testing.assert_allclose([line.slope, line.intercept], [slope, intercept], rtol=1e-10)
    np.testing.assert_allclose(
        [line.slope_error, line.intercept_error], np.sqrt(np.diag(covariance)), rtol=1e-10
    )
    slopes = np.array([statistics.fit_line(x, row, error).slope for row in y])
    assert abs(slopes.std() / line.slope_error - 1) < 5 / np.sqrt(2 * len(slopes))


def test_a_fit_leaves_out_lost_points_and_refuses_a_single_one():
    exact = statistics.fit_line(np.arange(4), np.array([1, 3, -np.inf, 7]))
    np.testing.assert_allclose(exact, [2, 0, 1, 0], atol=1e-14)
    with pytest.raises(ValueError, match="1 different finite points"):
        statistics.fit_line(np.array([1, 1, 2]), np.array([0, 1, np.nan]))
    assert np.isnan(statistics.fit_line(np.arange(2), np.arange(2)).slope_error)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_log_norms_neither_under_nor_overflow(dtype):
    largest, smallest = jnp.finfo(dtype).max / 2, jnp.finfo(dtype).tiny * 4
    x = jnp.array([[3, 4], [largest, largest], [smallest, smallest], [0, 0]], dtype)
    expected = [
        np.log(5),
        np.log(float(largest)) + np.log(2) / 2,
        np.log(float(smallest)) + np.log(2) / 2,
        -np.inf,
    ]
    result = statistics.log_norm(x, axis=1)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, rtol=10 * float(jnp.finfo(dtype).eps))


def test_log_norm_of_a_whole_array_and_of_infinity():
    x = np.random.default_rng(5).normal(size=(3, 4))
    np.testing.assert_allclose(statistics.log_norm(x), np.log(np.linalg.norm(x)), rtol=1e-12)
    assert statistics.log_norm(jnp.array([1.0, jnp.inf])) == jnp.inf


def test_log_mean_exp_spans_decades_and_keeps_zeros():
    x = jnp.array([[1000.0, -jnp.inf, 0.0], [1000.0, -jnp.inf, -jnp.inf]])
    np.testing.assert_allclose(statistics.log_mean_exp(x), [1000, -np.inf, -np.log(2)])
    assert statistics.log_mean_exp(x.astype(jnp.float32)).dtype == jnp.float32


def test_the_area_under_the_roc_curve_counts_pairs_in_order():
    scores, positive = np.array([3.0, 1.0, np.inf, 1.0, -np.inf]), np.array([True, True, False, False, False])
    pairs = [(high > low) + 0.5 * (high == low) for high in scores[positive] for low in scores[~positive]]
    assert statistics.auc(scores, positive) == pytest.approx(np.mean(pairs))
    assert np.isnan(statistics.auc(scores, np.ones(5, bool)))


def test_the_interval_of_a_share_is_exact_and_allows_for_several_tries():
    assert statistics.share_interval(0, 10) == pytest.approx((0.0, 1 - 0.025 ** (1 / 10)))
    assert statistics.share_interval(10, 10)[0] == pytest.approx(0.025 ** (1 / 10))
    assert statistics.share_interval(0, 10, tries=5)[1] == pytest.approx(1 - 0.005 ** (1 / 10))
