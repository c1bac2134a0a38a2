"""Extreme singular values of square Gaussian matrices: exact cases, samples and Edelman's density."""

import numpy as np
import pytest
from scipy import integrate, special

from signalprop.analysis import extremes, randommatrix


@pytest.fixture(scope="module")
def sampled():
    """Singular values of matrices of five sizes; 100,000 of the small ones."""
    rng, count = np.random.default_rng(0), {2: 100_000, 3: 100_000, 4: 100_000, 8: 40_000, 20: 10_000}
    return {
        n: np.linalg.svd(rng.standard_normal((m, n, n)) / np.sqrt(n), compute_uv=False)
        for n, m in count.items()
    }


def test_two_by_two_is_the_sum_and_difference_of_two_rayleigh_variables():
    """s_1 + s_2 and |s_1 - s_2| are independent Rayleigh variables, times sqrt(2) for variance 1."""
    law = extremes.largest_law(2)
    assert law.mean == pytest.approx(np.sqrt(np.pi / 2), rel=1e-12)
    assert law.variance + law.mean**2 == pytest.approx(1 + np.pi / 4, rel=1e-8)


@pytest.mark.parametrize("n", [2, 3, 4, 8, 20])
def test_the_largest_of_sampled_matrices_has_its_law(n, sampled):
    largest, law = np.sort(sampled[n][:, 0]), extremes.largest_law(n)
    count = len(largest)
    assert abs(largest.mean() - law.mean) < 5 * np.sqrt(law.variance / count)
    # The relative error of a variance is sqrt(2 / count) for nearly normal numbers; tails add some.
    assert largest.var() == pytest.approx(law.variance, rel=7 * np.sqrt(2 / count))
    # Shares at the ends of the panels have binomial errors.
    share = np.searchsorted(largest, law.values) / count
    assert np.all(np.abs(share - law.cdf) < 5 * np.sqrt(law.cdf * (1 - law.cdf) / count) + 5 / count)


@pytest.mark.parametrize("n", [2, 3, 4, 8, 20])
def test_the_smallest_of_sampled_matrices_has_its_law(n, sampled):
    smallest = sampled[n][:, -1]
    share = np.mean(smallest < extremes.smallest_median(n))
    assert abs(share - 0.5) < 2.5 / np.sqrt(len(smallest))
    for t in (0.1, 1.0, 2.0):
        above = float(extremes.smallest_above(t, n))
        assert abs(np.mean(n * smallest > t) - above) < 5 * np.sqrt(above * (1 - above) / len(smallest))


@pytest.mark.parametrize("n", [2, 5, 64])
def test_the_law_of_the_smallest_is_the_integral_of_edelmans_density(n):
    def density(t):
        tricomi = special.hyperu((n - 1) / 2, -0.5, t**2 / (2 * n))
        factor = np.exp(special.gammaln((n + 1) / 2) - t**2 / 2)
        return np.sqrt(2 * n / np.pi) * factor * tricomi

    for t in (0.2, 1.0, 3.0):
        above = integrate.quad(density, t, 12, epsabs=1e-12)[0]
        assert float(extremes.smallest_above(t, n)) == pytest.approx(above, abs=1e-10)


def test_wide_matrices_approach_their_limits():
    t = np.array([0.1, 0.5, 2.0])
    limit = 1 - np.asarray(randommatrix.smallest_singular_value_cdf(t))
    np.testing.assert_allclose(extremes.smallest_above(t, 10**6), limit, rtol=1e-5)
    assert 10**6 * extremes.smallest_median(10**6) == pytest.approx(np.sqrt(1 + np.log(4)) - 1, rel=1e-5)
    exact, wide = (extremes.largest_moments(n) for n in (extremes.LARGEST_EXACT, extremes.LARGEST_EXACT + 1))
    # Left out beyond: 0.25 n^(-4/3) of the mean and 2.5 % of the variance; one size changes 2e-5 and 0.3 %.
    assert abs(exact.mean - wide.mean) < 0.3 * 256 ** (-4 / 3)
    assert wide.variance == pytest.approx(exact.variance, rel=0.03)


def test_sizes_without_a_law_are_refused():
    for law in (extremes.largest_law, extremes.largest_moments, extremes.smallest_median):
        with pytest.raises(ValueError, match="at least 2, got 1"):
            law(1)
        with pytest.raises(ValueError, match=r"whole number of at least 2, got 2\.5"):
            law(2.5)
    with pytest.raises(ValueError, match="at most 256, got 257"):
        extremes.largest_law(257)
