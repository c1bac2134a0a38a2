"""Quadrature against closed forms, adaptive quadrature and bivariate normal probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special
from scipy.stats import multivariate_normal

from signalprop.analysis import gaussian
from signalprop.analysis.smoothness import kinks_of
from signalprop.models.activations import ACTIVATIONS

LENGTHS = (1e-6, 0.3, 1.0, 5.0, 25.0, 400.0)


def elu_second_moment(q):
    s = np.sqrt(q)
    left = special.erfcx(2 * s / np.sqrt(2)) / 2 - special.erfcx(s / np.sqrt(2)) + 0.5
    return q / 2 + left


def hard_tanh_second_moment(q):
    inside = special.erf(1 / np.sqrt(2 * q)) - np.sqrt(2 / (np.pi * q)) * np.exp(-1 / (2 * q))
    return q * inside + special.erfc(1 / np.sqrt(2 * q))


def gelu_second_moment(q):
    return q / 4 + q / (2 * np.pi) * (np.arcsin(q / (1 + q)) + 2 * q / ((1 + q) * np.sqrt(1 + 2 * q)))


def gelu_derivative_moment(q):
    curved = q * (3 + 5 * q) / (2 * np.pi * (1 + q) * (1 + 2 * q) ** 1.5)
    return 0.25 + np.arcsin(q / (1 + q)) / (2 * np.pi) + curved


SECOND_MOMENTS = {
    "linear": lambda q: q,
    "relu": lambda q: q / 2,
    "leaky_relu": lambda q: (1 + 0.01**2) * q / 2,
    "erf": lambda q: 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q)),
    "sin": lambda q: -np.expm1(-2 * q) / 2,
    "hard_tanh": hard_tanh_second_moment,
    "elu": elu_second_moment,
    "gelu": gelu_second_moment,
}
DERIVATIVE_MOMENTS = {
    "linear": lambda q: 1,
    "relu": lambda q: 0.5,
    "leaky_relu": lambda q: (1 + 0.01**2) / 2,
    "erf": lambda q: 4 / np.pi / np.sqrt(1 + 4 * q),
    "sin": lambda q: (1 + np.exp(-2 * q)) / 2,
    "hard_tanh": lambda q: special.erf(1 / np.sqrt(2 * q)),
    "elu": lambda q: 0.5 + special.erfcx(2 * np.sqrt(q / 2)) / 2,
    "gelu": gelu_derivative_moment,
}


def second_moment(phi, q):
    return gaussian.expectation(lambda x: phi(x) ** 2, q, kinks_of(phi))


def derivative_moment(phi, q):
    return gaussian.expectation(lambda x: gaussian.derivative(phi, x) ** 2, q, kinks_of(phi))


def largest_length(name):
    return 25 if name == "sin" else np.inf  # beyond it, sin turns faster than the rule resolves


@pytest.mark.parametrize("name", SECOND_MOMENTS)
def test_second_moments_equal_their_closed_forms(name):
    for q in (q for q in LENGTHS if q <= largest_length(name)):
        expected = SECOND_MOMENTS[name](q)
        if name == "elu" and q < 1e-3:  # the closed form cancels
            expected = q
        tolerance = 1e-3 if name == "elu" and q < 1e-3 else 1e-10
        np.testing.assert_allclose(second_moment(ACTIVATIONS[name], q), expected, rtol=tolerance)


@pytest.mark.parametrize("name", DERIVATIVE_MOMENTS)
def test_derivative_moments_equal_their_closed_forms(name):
    for q in (q for q in LENGTHS if q <= largest_length(name)):
        expected = DERIVATIVE_MOMENTS[name](q)
        np.testing.assert_allclose(derivative_moment(ACTIVATIONS[name], q), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "q"), [("sigmoid", 188.476), ("sigmoid", 0.3), ("tanh", 25.0), ("tanh", 1.0)]
)
def test_steep_sigmoids_agree_with_adaptive_quadrature(name, q):
    slope = {"sigmoid": lambda x: special.expit(x) * special.expit(-x), "tanh": lambda x: 1 - np.tanh(x) ** 2}
    density = lambda z: np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)  # noqa: E731
    reference = 2 * sum(
        integrate.quad(lambda z: slope[name](np.sqrt(q) * z) ** 2 * density(z), a, b, epsabs=0, epsrel=1e-13)[
            0
        ]
        for a, b in [
            (0, 1 / np.sqrt(q)),
            (1 / np.sqrt(q), 5 / np.sqrt(q)),
            (5 / np.sqrt(q), 5 / np.sqrt(q) + 8),
        ]
    )
    np.testing.assert_allclose(derivative_moment(ACTIVATIONS[name], q), reference, rtol=1e-10)


def test_a_kink_off_the_origin_is_integrated_exactly():
    tail, density = special.ndtr(-0.5), np.exp(-0.125) / np.sqrt(2 * np.pi)
    expected = 1.25 * tail - 0.5 * density  # E max(z - 1/2, 0)^2
    value = gaussian.expectation(lambda x: jnp.maximum(x - 0.5, 0) ** 2, 1.0, (0.5,))
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_panels_without_width_do_not_look_at_a_kink():
    """The derivative of x sqrt(abs(x)) is 0 * inf at 0 in JAX; E f'^2 = 9/4 E abs(x)."""
    phi = lambda x: x * jnp.sqrt(jnp.abs(x))  # noqa: E731
    value = gaussian.expectation(lambda x: gaussian.derivative(phi, x) ** 2, 1.0, (0.0, 0.0))
    np.testing.assert_allclose(value, 9 / 4 * np.sqrt(2 / np.pi), rtol=1e-12)


def test_gauss_hermite_fails_where_the_split_rule_does_not():
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    exact = special.erf(1 / np.sqrt(2))
    hermite = weights @ (np.abs(nodes) < 1) / weights.sum()
    np.testing.assert_allclose(hermite - exact, -0.077, atol=1e-3)
    np.testing.assert_allclose(derivative_moment(ACTIVATIONS["hard_tanh"], 1.0), exact, rtol=1e-12)


def test_expectation_at_zero_length_is_the_value_at_zero():
    assert gaussian.expectation(jnp.cos, 0.0) == pytest.approx(1, abs=1e-14)
    assert second_moment(ACTIVATIONS["relu"], 0.0) == 0
    assert jnp.isnan(gaussian.expectation(jnp.cos, -1.0))


@pytest.mark.parametrize("name", ["tanh", "relu", "hard_tanh"])
def test_float32_stays_float32_and_near_float64(name):
    phi, q = ACTIVATIONS[name], jnp.float32(1.7)
    narrow, wide = second_moment(phi, q), second_moment(phi, 1.7)
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, wide, rtol=1e-5)
    narrow = gaussian.pair_expectation(lambda a, b: phi(a) * phi(b), q, q, jnp.float32(0.6), phi.kinks)
    wide = gaussian.pair_expectation(lambda a, b: phi(a) * phi(b), 1.7, 1.7, 0.6, phi.kinks)
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, wide, rtol=1e-5)


def test_vmap_and_jit_agree_with_a_loop():
    phi = ACTIVATIONS["hard_tanh"]
    lengths = jnp.array([0.1, 1.0, 7.0])
    batch = jax.jit(jax.vmap(lambda q: second_moment(phi, q)))(lengths)
    np.testing.assert_allclose(batch, [second_moment(phi, q) for q in lengths], rtol=1e-13)


def test_the_gradient_in_q_is_the_stein_form():
    phi, q = ACTIVATIONS["hard_tanh"], 1.0
    slope = jax.grad(lambda q: second_moment(phi, q))(q)
    stein = gaussian.expectation(lambda x: x * phi(x) * gaussian.derivative(phi, x), q, phi.kinks) / q
    np.testing.assert_allclose(slope, stein, rtol=1e-12)


PAIRS = [(0.5, 2.0, 0.3), (3.0, 1.0, -0.8), (1.0, 1.0, 0.95), (1.0, 1.0, 1 - 1e-8), (25.0, 25.0, 0.5)]


def arc_cosine(order, q_a, q_b, c):
    if order == 0:
        return (np.pi - np.arccos(c)) / (2 * np.pi)
    return np.sqrt(q_a * q_b) / (2 * np.pi) * (np.sqrt(1 - c * c) + c * (np.pi - np.arccos(c)))


def erf_kernel(order, q_a, q_b, c):
    covariance = c * np.sqrt(q_a * q_b)
    if order == 0:
        return 4 / np.pi / np.sqrt((1 + 2 * q_a) * (1 + 2 * q_b) - 4 * covariance**2)
    return 2 / np.pi * np.arcsin(2 * covariance / np.sqrt((1 + 2 * q_a) * (1 + 2 * q_b)))


def sin_kernel(order, q_a, q_b, c):
    covariance = c * np.sqrt(q_a * q_b)
    return np.exp(-(q_a + q_b) / 2) * (np.cosh(covariance) if order == 0 else np.sinh(covariance))


def pair_product(name, order):
    phi = ACTIVATIONS[name]
    f = phi if order == 1 else phi.derivative
    return jax.jit(
        lambda q_a, q_b, c: gaussian.pair_expectation(lambda a, b: f(a) * f(b), q_a, q_b, c, phi.kinks)
    )


@pytest.mark.parametrize("order", [0, 1], ids=["derivative", "function"])
@pytest.mark.parametrize(("name", "kernel"), [("relu", arc_cosine), ("erf", erf_kernel), ("sin", sin_kernel)])
def test_two_point_kernels_equal_their_closed_forms(name, kernel, order):
    product = pair_product(name, order)
    for q_a, q_b, c in PAIRS[:4] if name == "sin" else PAIRS:
        tolerance = 1e-8 if name == "sin" else 1e-10
        np.testing.assert_allclose(product(q_a, q_b, c), kernel(order, q_a, q_b, c), rtol=tolerance)


def test_the_derivative_kernel_of_hard_tanh_is_a_bivariate_probability():
    product = pair_product("hard_tanh", 0)
    for q_a, q_b, c in PAIRS:
        covariance = c * np.sqrt(q_a * q_b)
        below = multivariate_normal([0, 0], [[q_a, covariance], [covariance, q_b]]).cdf
        square = below([1, 1]) - below([1, -1]) - below([-1, 1]) + below([-1, -1])
        np.testing.assert_allclose(product(q_a, q_b, c), square, rtol=1e-10)


@pytest.mark.parametrize("name", ["tanh", "hard_tanh", "silu"])
def test_pairs_reduce_to_single_expectations_at_the_ends(name):
    product, phi = pair_product(name, 1), ACTIVATIONS[name]
    mean = gaussian.expectation(phi, 2.0, phi.kinks)
    np.testing.assert_allclose(product(2.0, 2.0, 1.0), second_moment(phi, 2.0), rtol=1e-10)
    np.testing.assert_allclose(product(2.0, 2.0, 0.0), mean**2, atol=1e-11)
    opposite = gaussian.expectation(lambda x: phi(x) * phi(-x), 2.0, phi.kinks)
    np.testing.assert_allclose(product(2.0, 2.0, -1.0), opposite, rtol=1e-10)


def test_kinks_are_read_from_the_callable_and_default_to_none():
    assert kinks_of(ACTIVATIONS["hard_tanh"]) == (-1.0, 1.0)
    assert kinks_of(jnp.tanh) == ()


def test_derivatives_equal_their_formulas_at_points():
    x = jnp.linspace(-3, 3, 7) + 0.1
    np.testing.assert_allclose(gaussian.derivative(jnp.sin, x), np.cos(x), rtol=1e-14)
    np.testing.assert_allclose(gaussian.derivative(jax.nn.relu, x), np.asarray(x) > 0)
