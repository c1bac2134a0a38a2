"""Laws of eigenvalues against sampled matrices, closed forms and printed values."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from signalprop.analysis import ginibre


def sampled_eigenvalues(n, count, complex_entries=False):
    """Eigenvalues of Gaussian matrices with entries of mean square 1/n."""
    rng = np.random.default_rng(n)
    matrices = rng.standard_normal((count, n, n))
    if complex_entries:
        matrices = (matrices + 1j * rng.standard_normal(matrices.shape)) / np.sqrt(2)
    return np.linalg.eigvals(matrices / np.sqrt(n))


def assert_mean(samples, expected):
    """The mean of the samples within five standard errors."""
    assert abs(samples.mean() - expected) < 5 * samples.std() / np.sqrt(samples.size)


@pytest.mark.parametrize("n", [2, 7, 16])
def test_the_spectral_radius_of_real_matrices_has_the_exact_law(n):
    law, samples = ginibre.real_spectral_radius(n), np.abs(sampled_eigenvalues(n, 4000)).max(1)
    assert_mean(samples, law.mean)
    assert_mean((samples - law.mean) ** 2, law.variance)
    smooth = CubicSpline(law.radii, 2 * law.radii * (1 - law.cdf)).integrate(0, law.radii[-1])
    assert law.variance == pytest.approx(float(smooth) - law.mean**2, rel=1e-4)
    places = (np.arange(samples.size) + 0.5) / samples.size
    distance = np.abs(np.interp(np.sort(samples), law.radii, law.cdf) - places).max()
    assert distance < 2.72 / np.sqrt(samples.size)  # Kolmogorov: five sigma
    assert (np.diff(law.cdf) >= 0).all()


def test_a_matrix_of_one_entry_is_refused():
    with pytest.raises(ValueError, match="of at least 2, got 1"):
        ginibre.mean_spectral_radius(1)


def test_mean_spectral_radii_are_those_of_large_samples_elsewhere():
    # means of 1e4 matrices and more, with their standard errors
    for n, mean, error in ((32, 1.0654, 0.0007), (64, 1.0560, 0.0007), (128, 1.0485, 0.0010)):
        assert abs(ginibre.mean_spectral_radius(n) - mean) < 3 * error


def test_the_spectral_radius_of_complex_matrices_has_kostlans_law():
    samples = np.abs(sampled_eigenvalues(12, 2000, complex_entries=True)).max(1)
    r = np.linspace(0, 3, 3001)
    cdf = ginibre.spectral_radius_cdf(r, 12)
    assert_mean(samples, np.trapezoid(1 - cdf, r))
    assert cdf[0] == 0
    assert cdf[-1] == pytest.approx(1, abs=1e-12)
    assert ginibre.spectral_radius_cdf(1e-3, 500) == 0.0


def test_the_gumbel_law_of_the_spectral_radius_is_of_no_use():
    assert np.isnan(ginibre.gumbel_mean_spectral_radius(128))
    assert ginibre.gumbel_mean_spectral_radius(300) == pytest.approx(1.0125, abs=5e-5)
    assert ginibre.mean_spectral_radius(256) > 1 + 3 * (ginibre.gumbel_mean_spectral_radius(256) - 1)


def test_small_matrices_have_the_known_mean_number_of_real_eigenvalues():
    known = [1, np.sqrt(2), 1 + np.sqrt(2) / 2, 11 * np.sqrt(2) / 8, 1 + 13 * np.sqrt(2) / 16]
    found = [ginibre.expected_real_eigenvalues(n) for n in range(1, 6)]
    np.testing.assert_allclose(found, known, rtol=1e-14)


def test_sampled_matrices_have_the_mean_number_and_the_variance_of_real_eigenvalues():
    count = (sampled_eigenvalues(16, 4000).imag == 0).sum(1)
    assert_mean(count, ginibre.expected_real_eigenvalues(16))
    assert count.var() == pytest.approx(ginibre.variance_of_real_eigenvalues(16), rel=0.15)
    wide = np.sqrt(2 * 100 / np.pi) + 0.5
    assert ginibre.expected_real_eigenvalues(100) == pytest.approx(wide, rel=4e-3)
