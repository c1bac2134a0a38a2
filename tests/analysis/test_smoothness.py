"""Kinks, turns and steps that nobody declared are found, and averages over them are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from signalprop.analysis import gaussian, meanfield, smoothness
from signalprop.models.activations import ACTIVATIONS, Activation, chosen

KNOTS = np.linspace(-8, 8, 65)


def clipped(x):
    return jnp.clip(x, 0, 6)


def hard_sigmoid(x):
    return jnp.clip(x / 6 + 0.5, 0, 1)


def siren(x):
    return jnp.sin(30 * x)


def table(x):
    return jnp.interp(x, KNOTS, np.tanh(KNOTS))


FOUND = {
    "relu6": (clipped, (0.0, 6.0)),
    "hard sigmoid": (hard_sigmoid, (-3.0, 3.0)),
    "hard swish": (jax.nn.hard_swish, (-3.0, 3.0)),
    "soft shrinkage": (lambda x: jnp.where(jnp.abs(x) > 0.1, x - 0.1 * jnp.sign(x), 0.0), (-0.1, 0.1)),
    "step": (lambda x: (x > 0.3).astype(x.dtype), (0.3,)),
    "x abs(x), whose second derivative jumps": (lambda x: x * jnp.abs(x), (0.0,)),
    "a bend of a thousandth": (lambda x: x + 0.001 * jnp.maximum(x - 1 / 3, 0), (1 / 3,)),
    "float32 inside": (lambda x: jnp.clip(x.astype(jnp.float32), 0, 6).astype(x.dtype), (0.0, 6.0)),
    "tanh": (lambda x: jnp.tanh(x), ()),
    "gelu": (lambda x: jax.nn.gelu(x), ()),
    "cube": (lambda x: x**3, ()),
    "exponential": (lambda x: jnp.exp(x), ()),
    "sine": (siren, ()),
}


def grid_mean(f, q):
    """E f(sqrt(q) z) by 2,000,000 equal steps."""
    z = (np.arange(2_000_000) + 0.5) * 2e-5 / 2 - 10
    return np.sum(f(np.sqrt(q) * z) * np.exp(-(z**2) / 2)) * 1e-5 / np.sqrt(2 * np.pi)


@pytest.mark.parametrize("name", FOUND)
def test_kinks_are_found_to_rounding(name):
    phi, kinks = FOUND[name]
    precise = 1e-7 if name == "float32 inside" else 1e-15
    np.testing.assert_allclose(smoothness.kinks_of(phi), kinks, rtol=precise)
    assert not smoothness.splits_of(phi).rough or name == "sine"


def test_many_kinks_become_ends_of_panels():
    splits = smoothness.splits_of(table)
    assert not splits.kinks
    inside = KNOTS[(np.abs(KNOTS) > 0) & ~np.isin(np.abs(KNOTS), (1, 4))]
    assert set(inside) <= set(splits.edges)


def test_an_oscillation_gets_panels_shorter_than_a_few_turns_up_to_where_they_run_out():
    splits = smoothness.splits_of(siren)
    ends = np.array(splits.edges)
    assert np.diff(ends[np.abs(ends) < 500]).max() < 4 * 2 * np.pi / 30
    assert len(splits.pair_edges) <= 64
    assert min(splits.rough)[0] < -500


def test_what_is_declared_is_believed_and_parts_are_united():
    assert smoothness.splits_of(ACTIVATIONS["hard_tanh"]) == smoothness.Splits((-1.0, 1.0))
    own = Activation("own", clipped, None, np.nan)
    assert smoothness.kinks_of(own) == smoothness.kinks_of(own.times(2.0)) == (0.0, 6.0)
    both = Activation("both", own, None, np.nan, parts=(own, ACTIVATIONS["hard_tanh"]))
    assert smoothness.kinks_of(both) == (-1.0, 0.0, 1.0, 6.0)


def test_parts_are_looked_at_where_a_traced_value_chooses_or_scales(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_relu6.py").write_text(
        "import jax.numpy as jnp\ndef phi(x):\n    return jnp.clip(x, 0, 6)\n"
    )
    names = ("own_relu6:phi", "tanh")
    length = lambda i, s: meanfield.length_map(chosen(names, i).times(s), 40.0, 2.0, 1.0)  # noqa: E731
    found = jax.vmap(jax.vmap(length, (None, 0)), (0, None))(jnp.arange(2), jnp.array([1.0, 3.0]))
    for row, phi in zip(found, (lambda x: np.clip(x, 0, 6), np.tanh), strict=True):
        expected = 4 * grid_mean(lambda x: phi(x) ** 2, 40.0)  # noqa: B023
        np.testing.assert_allclose(row, [expected + 1, 9 * expected + 1], rtol=1e-8)


def test_a_function_of_traced_values_must_declare():
    def length(scale):
        return meanfield.length_map(lambda x: jnp.clip(scale * x, 0, 6), 1.0, 1.0, 0.0)

    with pytest.raises(ValueError, match=r"depends on traced values.*attribute `kinks`"):
        jax.jit(length)(2.0)


@pytest.mark.parametrize("name", ["relu6", "hard sigmoid", "step", "a bend of a thousandth", "sine", "table"])
@pytest.mark.parametrize("q", [0.01, 1.0, 40.0, 3612.0])
def test_lengths_of_undeclared_functions_are_those_of_a_fine_grid(name, q):
    phi = table if name == "table" else FOUND[name][0]
    value = gaussian.expectation(lambda x: phi(x) ** 2, q, smoothness.breaks_of(phi))
    expected = grid_mean(lambda x: np.asarray(jax.jit(lambda x: phi(x))(x)) ** 2, q)
    np.testing.assert_allclose(value, expected, rtol=1e-8 if name != "step" else 2e-5)
    assert gaussian.expectation_error(lambda x: phi(x) ** 2, q, smoothness.breaks_of(phi)) < 1e-9


def test_relu6_has_its_fixed_point():
    point = meanfield.fixed_point(clipped, 2.0, 1.0)
    s, c = np.sqrt(float(point.q_star)), float(point.c_star)

    def clipped_mean(mean, spread):
        low, high = -mean / spread, (6 - mean) / spread
        density = lambda x: np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)  # noqa: E731
        inside = special.ndtr(high) - special.ndtr(low)
        return mean * inside + spread * (density(low) - density(high)) + 6 * special.ndtr(-high)

    def both(z):
        mean = clipped_mean(c * s * z, s * np.sqrt(1 - c**2))
        return np.clip(s * z, 0, 6) * mean * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)

    product = integrate.quad(both, -10, 10, points=[0, 6 / s], epsabs=1e-12)[0]
    square = grid_mean(lambda x: np.clip(x, 0, 6) ** 2, s**2)
    assert 4 * square + 1 == pytest.approx(s**2, rel=1e-8)
    assert 4 * product + 1 == pytest.approx(c * s**2, rel=1e-8)
    assert float(point.chi_1) == pytest.approx(4 * (special.ndtr(6 / s) - 0.5), rel=1e-12)
    expected = [39.4537, 0.8922, 1.32108, 5.94, -3.59]
    numbers = [float(x) for x in (point.q_star, point.c_star, point.chi_1, point.xi_c, point.xi_grad)]
    np.testing.assert_allclose(numbers, expected, rtol=1e-3)
    assert bool(point.converged)
    assert float(point.error) < 1e-12


def test_a_hard_sigmoid_has_its_slope():
    point = meanfield.fixed_point(hard_sigmoid, 8.0, 0.0)
    s = np.sqrt(float(point.q_star))
    assert 64 * grid_mean(lambda x: np.clip(x / 6 + 0.5, 0, 1) ** 2, s**2) == pytest.approx(s**2, rel=1e-8)
    assert float(point.chi_1) == pytest.approx(64 / 36 * (2 * special.ndtr(3 / s) - 1), rel=1e-12)
    assert float(point.chi_1) == pytest.approx(0.77224, abs=1e-5)


@pytest.mark.parametrize("sigma_w", [0.04714, 1.0])
def test_a_siren_has_the_closed_forms_of_a_sine(sigma_w):
    point = meanfield.fixed_point(siren, sigma_w, 0.0)
    q = float(point.q_star)
    assert q == pytest.approx(-(sigma_w**2) * np.expm1(-2 * 900 * q) / 2, rel=1e-9)
    assert float(point.chi_1) == pytest.approx(sigma_w**2 * 450 * (1 + np.exp(-2 * 900 * q)), rel=1e-9)
    assert float(point.c_star) == pytest.approx(0, abs=1e-6)  # C(c) ~ sinh(900 q c), and C'(0) < 1
    assert bool(point.converged)


@pytest.mark.parametrize("kinks", [None, ()])
def test_a_slope_that_is_lost_in_the_error_of_its_average_has_no_depth(kinks):
    """sin(a x) at sigma_w = 1: q = (1 - exp(-2 a^2 q)) / 2, slope a^2 exp(-a^2 q) of the angle at c* = 0."""
    fast, slow = (Activation(f"sin {a}", lambda x, a=a: jnp.sin(a * x), kinks, float(a)) for a in (10, 2))
    lost, seen = meanfield.fixed_point(fast, 1.0, 0.0), meanfield.fixed_point(slow, 1.0, 0.0)
    assert lost.c_star < 1e-4  # where the map is flat to rounding, so is what tells its fixed point
    assert (lost.xi_q, lost.xi_c) == (0, 0)
    np.testing.assert_allclose(lost.xi_grad, -1 / np.log(50), rtol=1e-9)
    q = float(seen.q_star)
    np.testing.assert_allclose(q, (1 - np.exp(-8 * q)) / 2, rtol=1e-10)
    np.testing.assert_allclose(seen.xi_c, -1 / np.log(4 * np.exp(-4 * q)), rtol=1e-8)
    np.testing.assert_allclose(seen.xi_q, -1 / np.log(4 * np.exp(-8 * q)), rtol=1e-8)


def test_a_siren_on_pixel_coordinates_has_its_profile():
    """E sin(30 u)^2 = 1/2 and chi_1 = 450 sigma_w^2 where exp(-1800 q) is 0."""
    q = meanfield.length_trajectory(siren, 0.408, 0.0, 21700.0, 3)
    np.testing.assert_allclose(q[1:], 0.408**2 / 2, rtol=1e-6)
    np.testing.assert_allclose(meanfield.chi_1(siren, q[0], 0.408), 450 * 0.408**2, rtol=1e-6)
    profile = meanfield.log_gradient_profile(siren, 0.408, 0.0, 21700.0, 3)
    np.testing.assert_allclose(profile[0], 2 * np.log(450 * 0.408**2), rtol=1e-6)


def test_the_correlation_of_a_step_is_left_at_the_slope_of_its_map():
    """C(c) = 1/2 + arcsin(c) / pi for sigma_w = 1, lengths 1/2: C' = 1 / (pi sqrt(1 - c^2))."""
    point = meanfield.fixed_point(ACTIVATIONS["binary_step"], 1.0, 0.0)
    c = float(point.c_star)
    assert 0.5 + np.arcsin(c) / np.pi == pytest.approx(c, abs=1e-9)
    slope = meanfield.correlation_slope(ACTIVATIONS["binary_step"], point.c_star, point.q_star, 1.0)
    assert float(slope) == pytest.approx(1 / np.pi / np.sqrt(1 - c**2), rel=1e-6)
    assert float(point.xi_c) == pytest.approx(1.525, abs=1e-3)
    assert float(point.chi_1) == 0


def test_a_wrong_declaration_and_turns_beyond_the_rule_show_in_the_error():
    wrong = meanfield.fixed_point(Activation("wrong", clipped, (), 1.0), 2.0, 1.0)
    assert float(wrong.error) > 1e-4
    assert not bool(wrong.converged)
    fast = meanfield.fixed_point(ACTIVATIONS["sin"], 40.0, 0.0)
    assert float(fast.error) > 1e-3
    assert not bool(fast.converged)
    assert float(meanfield.critical_point(ACTIVATIONS["tanh"], 0.1).error) < 1e-12


def test_endless_turns_are_named():
    splits = smoothness.splits_of(lambda x: jnp.sin(1 / x))
    assert splits.rough
    assert all(abs(a) < 1e-2 and abs(b) < 1e-2 for a, b in splits.rough)
