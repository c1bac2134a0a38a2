"""Predicted exponents of wide random networks against tables, integrals, limits and sampled products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

from signalprop.analysis import chaos, lyapunov, meanfield
from signalprop.analysis.gaussian import expectation
from signalprop.models.activations import ACTIVATIONS

# g, noise, q, largest exponent: an independent program in NumPy and SciPy
TABLE = np.array([
    [1.2, 0.0, 0.2495130402, 0.0164762596],
    [2.0, 0.0, 2.1214735682, 0.1547242298],
    [3.0, 0.0, 6.3053914788, 0.3102493151],
    [10.0, 0.0, 91.7051311953, 0.8564351892],
    [3.0, 0.5, np.nan, 0.29894],
    [2.0, 1.0, np.nan, 0.04597504],
    [1.2, 0.3, np.nan, -0.06962457],
])  # fmt: skip
EDGE = 1.39558397515  # gain at which input of standard deviation 0.3 still holds chaos down
PLACES = (np.arange(40) + 0.5) / 40


@pytest.fixture(scope="module")
def largest():
    """Length and largest exponent of nine tanh networks."""

    def both(g, noise):
        return chaos.mean_field_q(jnp.tanh, g, noise), chaos.mean_field_exponent(jnp.tanh, g, noise)

    program = jax.jit(lambda g, noise: jax.lax.map(lambda at: both(*at), (g, noise)))
    others = np.array([[1.01, 0.0], [1.001, 0.0], [EDGE, 0.3]])
    return program(*np.concatenate([TABLE[:, :2], others]).T)


@pytest.fixture(scope="module")
def spectrum():
    """Whole spectra of tanh networks at 40 places, for both families of weights."""

    def both(x, g, q):
        return [chaos.mean_field_spectrum(jnp.tanh, x, g, q, w) for w in ("gaussian", "orthogonal")]

    return jax.jit(jax.vmap(both, (0, None, None)))


def test_the_largest_exponent_of_tanh_is_that_of_the_table(largest):
    q, exponent = (values[: len(TABLE)] for values in largest)
    known = np.isfinite(TABLE[:, 2])
    np.testing.assert_allclose(q[known], TABLE[known, 2], rtol=1e-9)
    np.testing.assert_allclose(exponent, TABLE[:, 3], atol=6e-9)


def test_near_the_edge_of_chaos_it_grows_as_two_thirds_of_the_square(largest):
    q, exponent = (np.asarray(values[len(TABLE) : -1]) for values in largest)
    distance = np.array([1e-2, 1e-3])
    assert np.all(np.abs(exponent / distance**2 - 2 / 3) < 5 * distance)
    np.testing.assert_allclose(q, distance, rtol=0.03)


def test_input_moves_the_edge_of_chaos(largest):
    edge = jax.jit(lambda s: chaos.edge_of_chaos(jnp.tanh, s))(0.3)
    assert edge == pytest.approx(EDGE, abs=1e-10)
    assert largest[1][-1] == pytest.approx(0, abs=1e-9)


def test_the_spectrum_adds_up_to_the_mean_logarithm_of_the_determinant(spectrum):
    x, weight = np.polynomial.legendre.leggauss(len(PLACES) - 1)
    found = spectrum(np.append((x + 1) / 2, 0.0), 2.0, 1.0)
    log_slopes = expectation(lambda a: -4 * jnp.log(jnp.cosh(a)), 1.0)
    # The rule misses a part of the logarithm at x = 1.
    assert weight @ found[0][:-1] / 2 == pytest.approx(float(np.log(4) - 1 + log_slopes) / 2, abs=2e-3)
    largest = np.log(meanfield.chi_1(jnp.tanh, 1.0, 2.0)) / 2
    np.testing.assert_allclose([values[-1] for values in found], largest, atol=1e-12)


def test_where_most_units_saturate_the_spectrum_is_that_of_their_true_slopes():
    """At gain 30 slopes of tanh go down to exp(-600); 1 - tanh^2 is 0 for more than half of the units."""
    phi, g, x = ACTIVATIONS["tanh"], 30.0, np.array([0.02, 0.2, 0.4, 0.6, 0.9, 0.99])
    q = float(chaos.mean_field_q(phi, g))
    z = (np.arange(40_000) + 0.5) * 2.5e-4
    shares, u = np.exp(-(z**2) / 2) / np.sum(np.exp(-(z**2) / 2)), np.sqrt(q) * z
    log_d = 4 * (np.log(2) - u - np.log1p(np.exp(-2 * u)))
    log_v = [
        optimize.brentq(lambda v, x=x: special.expit(log_d - v) @ shares - x, -2000, 20, xtol=1e-9) for x in x
    ]
    exact = np.log(g * g * x) / 2 + np.array(log_v) / 2
    found, bare = (
        np.asarray(jax.vmap(lambda x, phi=phi: chaos.mean_field_spectrum(phi, x, g, q))(x))
        for phi in (phi, jnp.tanh)
    )
    np.testing.assert_allclose(found, exact, rtol=2e-3)  # each node stands for a cell of the rule
    np.testing.assert_allclose(bare[:3], exact[:3], rtol=2e-3)
    assert np.all(np.isneginf(bare[3:]))


def test_constant_slopes_give_newmans_law_and_isometry():
    gaussian, orthogonal, half = jax.jit(lambda: (
        chaos.mean_field_spectrum(lambda a: a, 0.3, 2.0, 1.0),
        chaos.mean_field_spectrum(lambda a: a, 0.3, 2.0, 1.0, "orthogonal"),
        chaos.mean_field_spectrum(jax.nn.relu, 0.6, 2.0, 1.0),
    ))()  # fmt: skip
    assert gaussian == pytest.approx(np.log(4 * 0.7) / 2, abs=1e-12)
    assert orthogonal == pytest.approx(np.log(2), abs=1e-12)
    assert half == -np.inf


def test_products_of_independent_weights_and_slopes_have_the_predicted_spectrum(spectrum):
    n, steps, gain, rng = 40, 160, 2.0, np.random.default_rng(0)
    draws = rng.standard_normal((2, steps, n, n)) / np.sqrt(n)
    draws[1] = np.linalg.qr(draws[1])[0]
    factors = gain * draws / np.cosh(rng.standard_normal((2, steps, n, 1))) ** 2
    found = jax.jit(jax.vmap(
        lambda m: lyapunov.spectrum(lambda h, a: (a @ h, None), jnp.zeros(n), m, n, transient=40)
    ))(factors)  # fmt: skip
    predicted = np.asarray(spectrum(PLACES, gain, 1.0))
    chosen = np.array([0, 10, 20, 32])
    for family in range(2):
        expected = np.interp((chosen + 0.5) / n, PLACES, predicted[family])
        # O(1/n): a place is blurred by 1/n, where the spectrum falls by 1 to 4 per unit of x.
        tolerance = 2 / n + 5 * found.standard_error[family, chosen]
        assert np.all(np.abs(found.exponents[family, chosen] - expected) < tolerance)


def test_finite_width_lowers_the_growth_of_one_vector():
    """One step in each family: rows that meet a unit vector are independent, or a point of the sphere."""
    n, samples, rng = 60, 30000, np.random.default_rng(1)
    variety = float(jax.jit(lambda: chaos.slope_variety(jnp.tanh, 1.0))())
    rows, slopes = rng.standard_normal((samples, n)), 1 / np.cosh(rng.standard_normal((samples, n))) ** 4
    mean = float(jax.jit(lambda: meanfield.derivative_moment(jnp.tanh, 1.0))())
    for name, scale in (("gaussian", n), ("orthogonal", np.sum(rows**2, 1))):
        logs = np.log(np.sum(slopes * rows**2, 1) / scale / mean) / 2
        expected = float(chaos.finite_width_correction(variety, n, name))
        # The next order is of the size of the square.
        assert np.mean(logs) == pytest.approx(expected, abs=3 * expected**2 + 5 * np.std(logs) / samples**0.5)


def test_a_correction_that_is_not_small_is_withheld():
    """The share of tanh units with a slope falls as q^(-1/2), so the term in 1/n grows as q^(1/2)."""
    q = 1e12
    variety = float(jax.jit(lambda: chaos.slope_variety(jnp.tanh, q))())
    # E sech^8 / (E sech^4)^2 of a flat density at 0: integrals 32/35 and 4/3.
    assert variety == pytest.approx(32 / 35 / (4 / 3) ** 2 * np.sqrt(2 * np.pi * q), rel=1e-5)
    assert np.isnan(chaos.finite_width_correction(variety, 128))
    for weights in ("gaussian", "orthogonal"):
        least = float(chaos.least_width(variety, weights))
        assert np.isnan(chaos.finite_width_correction(variety, 0.9999 * least, weights))
        inside = float(chaos.finite_width_correction(variety, 1.0001 * least, weights))
        assert inside == pytest.approx(-chaos.LARGEST_SHIFT, rel=2e-4)
    assert np.isnan(chaos.finite_width_correction(0.0, 2))
    assert float(chaos.finite_width_correction(0.0, 2, "orthogonal")) == 0


def test_weights_of_an_unknown_family_are_refused():
    with pytest.raises(ValueError, match="'gaussian' or 'orthogonal', got 'sparse'"):
        chaos.mean_field_spectrum(jnp.tanh, 0.5, 1.0, 1.0, "sparse")
