"""Mean field against published numbers, closed forms, iterated maps and sampled networks.

The numbers of the critical table were computed once with SciPy, by composite quadrature and Brent's method.
"""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from signalprop.analysis import gaussian, meanfield
from signalprop.models.activations import ACTIVATIONS, Activation

SIGMA_B = (0.0, 0.05, 0.1, 0.3, 0.5, 1.0)
CRITICAL = {  # name: (sigma_w, q_star, chi_q) for each sigma_b
    "tanh": [
        (1, 0, 1),
        (1.12253900, 0.15369194, 0.782196),
        (1.19340073, 0.27330091, 0.678191),
        (1.39558398, 0.76347477, 0.451640),
        (1.54967391, 1.31793900, 0.332900),
        (1.85558910, 3.03639639, 0.186371),
    ],
    "erf": [
        (0.88622693, 0, 1),
        (0.99368629, 0.14514586, 0.775019),
        (1.05559465, 0.25320966, 0.663826),
        (1.23367251, 0.68877127, 0.420602),
        (1.37133047, 1.18327244, 0.297040),
        (1.64875145, 2.74489093, 0.154088),
    ],
    "hard_tanh": [
        (1, 0, 1),
        (1.00885349, 0.17705153, 0.885427),
        (1.02570035, 0.25914622, 0.760517),
        (1.11614500, 0.60156744, 0.441825),
        (1.21314785, 1.01337966, 0.287801),
        (1.43969045, 2.38780978, 0.131962),
    ],
    "sin": [
        (1, 0, 1),
        (1.09281669, 0.19674832, 0.805752),
        (1.14226672, 0.31477326, 0.695227),
        (1.26266460, 0.68432190, 0.405678),
        (1.33032883, 1.01977479, 0.230225),
        (1.40042128, 1.96117975, 0.038820),
    ],
    "elu": [
        (1, 0, 1),
        (1.13186979, 0.18917363, 0.892183),
        (1.17614847, 0.43782923, 0.870837),
        (1.26310785, 2.03453846, 0.863052),
        (1.30611167, 4.88662652, 0.881292),
        (1.35797718, 21.77754992, 0.926718),
    ],
    "selu": [
        (0.69048607, 0, 1),
        (0.82201264, 0.14065471, 0.834221),
        (0.87191316, 0.30894164, 0.787377),
        (0.98369147, 1.22196719, 0.724845),
        (1.04963733, 2.55550958, 0.720278),
        (1.14791720, 8.39908923, 0.763049),
    ],
    "gelu": [None, None, None, None, (1.39986822, 6.43410249, 0.985872), (1.40594453, 82.31277917, 0.988577)],
    "silu": [None, None, None, None, None, (1.40251242, 39.39459122, 0.986677)],
    "sigmoid": [
        (10.14926371, 45.62427780, 0.060250),
        None,
        None,
        None,
        (10.17885955, 46.17377347, 0.059591),
        (10.26499294, 47.80048411, 0.057722),
    ],
}


def compiled(function):
    """The function with phi static; strongly typed arguments, so that each activation is compiled once."""
    program = jax.jit(function, static_argnums=0)
    return lambda phi, *values: program(phi, *(np.asarray(value) for value in values))


fixed_point = compiled(meanfield.fixed_point)
critical_table = compiled(meanfield.critical_table)
critical_line = compiled(meanfield.critical_line)
length_fixed_point = compiled(meanfield.length_fixed_point)
length_map = compiled(meanfield.length_map)
correlation_map = compiled(meanfield.correlation_map)
correlation_slope = compiled(meanfield.correlation_slope)
chi_1 = compiled(meanfield.chi_1)
chi_q = compiled(meanfield.chi_q)
log_gradient_profile = jax.jit(meanfield.log_gradient_profile, static_argnums=(0, 4))
length_trajectory = jax.jit(meanfield.length_trajectory, static_argnums=(0, 4))


def critical_point(phi, sigma_b):
    table = critical_table(phi, SIGMA_B)
    return jax.tree.map(lambda column: column[SIGMA_B.index(sigma_b)], table)


@compiled
def iterate(phi, q, sigma_w, sigma_b, layers):
    return jax.lax.fori_loop(0, layers, lambda _, q: meanfield.length_map(phi, q, sigma_w, sigma_b), q)


@pytest.mark.parametrize("name", CRITICAL)
def test_the_critical_table_is_reproduced(name):
    table = critical_table(ACTIVATIONS[name], SIGMA_B)
    for row, expected in enumerate(CRITICAL[name]):
        if expected is None:
            continue
        point = (table.sigma_w[row], table.q_star[row], table.chi_q[row])
        assert table.exists[row]
        np.testing.assert_allclose(point, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["tanh", "hard_tanh", "elu", "sigmoid"])
def test_iterating_the_map_at_a_critical_point_leads_to_its_length(name):
    phi = ACTIVATIONS[name]
    point = critical_point(phi, 0.5)
    q = iterate(phi, 1.3 * point.q_star, point.sigma_w, 0.5, 300)
    np.testing.assert_allclose(q, point.q_star, rtol=1e-7)
    np.testing.assert_allclose(chi_1(phi, q, point.sigma_w), 1, rtol=1e-7)


@pytest.mark.parametrize("q", [0.1, 0.5, 2.0, 5.0])
def test_the_critical_lines_of_sin_and_erf_equal_their_closed_forms(q):
    line = critical_line(ACTIVATIONS["sin"], q)
    np.testing.assert_allclose(line.sigma_w**2, 1 + np.tanh(q), rtol=1e-10)
    np.testing.assert_allclose(line.sigma_b**2, q - np.tanh(q), rtol=1e-10)
    np.testing.assert_allclose(line.chi_q, 1 - np.tanh(q), rtol=1e-9)
    line, root = meanfield.critical_line(ACTIVATIONS["erf"], q), np.sqrt(1 + 4 * q)
    np.testing.assert_allclose(line.sigma_w**2, np.pi / 4 * root, rtol=1e-10)
    np.testing.assert_allclose(line.sigma_b**2, q - root / 2 * np.arcsin(2 * q / (1 + 2 * q)), rtol=1e-10)
    np.testing.assert_allclose(line.chi_q, 1 / (1 + 2 * q), rtol=1e-10)


@pytest.mark.parametrize("name", ["softplus", "binary_step"])
def test_some_activations_have_no_critical_point(name):
    table = critical_table(ACTIVATIONS[name], SIGMA_B)
    assert not table.exists.any()
    assert jnp.isnan(table.sigma_w).all()


@pytest.mark.parametrize(
    "phi",
    [
        lambda x: jax.nn.relu(x) ** 2,
        lambda x: x**2 / (1 + x**2),
        lambda x: x * jax.scipy.special.erf(x) / (1 + abs(x)),
    ],
    ids=["relu squared", "x^2 / (1 + x^2)", "x erf(x) / (1 + |x|)"],
)
def test_nothing_is_critical_without_bias_where_the_slope_at_zero_vanishes(phi):
    """The length jumps: small lengths decay whatever sigma_w, and where they stay chi_1 is above 1."""
    phi = Activation("own", phi, (0.0,), np.nan)
    point = critical_point(phi, 0.0)
    assert not point.exists
    assert np.isnan(point.sigma_w)
    assert critical_point(phi, 0.1).exists
    for sigma_w in (0.5, 1.0, 2.0, 4.0):
        q_star = meanfield.length_fixed_point(phi, sigma_w, 0.0)[0]
        chi = float(meanfield.chi_1(phi, q_star, sigma_w))
        assert chi < 0.01 if q_star < 1e-6 else chi > 1.2, (sigma_w, q_star)


@pytest.mark.parametrize(
    ("name", "sigma_w"), [("linear", 1.0), ("relu", np.sqrt(2)), ("leaky_relu", np.sqrt(2 / 1.0001))]
)
def test_scale_free_activations_are_critical_without_bias_only(name, sigma_w):
    table = critical_table(ACTIVATIONS[name], SIGMA_B)
    np.testing.assert_array_equal(table.exists, [True] + [False] * 5)
    np.testing.assert_allclose(table.sigma_w[0], sigma_w, rtol=1e-12)
    np.testing.assert_allclose(table.chi_q[0], 1, rtol=1e-12)


def test_sigmoid_and_softplus_need_negative_bias_variance_at_short_lengths():
    for name, longest in (("sigmoid", 40), ("softplus", 1e4)):
        for q in np.geomspace(1e-3, longest, 30):
            assert not critical_line(ACTIVATIONS[name], q).exists


@pytest.mark.parametrize(
    ("name", "q", "sigma_b_squared", "sigma_w_squared"),
    [("gelu", 3.56155281, 0.17292239, 1.98305826), ("silu", 14.32017362, 0.55514317, 1.98800468)],
)
def test_the_half_stable_points_of_gelu_and_silu(name, q, sigma_b_squared, sigma_w_squared):
    """chi_1 = chi_q = 1 (arXiv 2106.10165); the ten times smaller sigma_b^2 in use for silu is wrong."""
    line = critical_line(ACTIVATIONS[name], q)
    np.testing.assert_allclose(line.chi_q, 1, atol=1e-8)
    np.testing.assert_allclose(line.sigma_b**2, sigma_b_squared, rtol=1e-7)
    np.testing.assert_allclose(line.sigma_w**2, sigma_w_squared, rtol=1e-7)


@pytest.mark.parametrize(("name", "q_critical"), [("gelu", 0.18348319), ("silu", 0.25971250)])
def test_the_low_branch_of_gelu_and_silu_is_unstable_in_length(name, q_critical):
    phi, point = ACTIVATIONS[name], critical_point(ACTIVATIONS[name], 0.1)
    np.testing.assert_allclose(point.q_star, q_critical, rtol=1e-6)
    assert point.chi_q > 1
    assert iterate(phi, 1.02 * point.q_star, point.sigma_w, 0.1, 150) > 100 * point.q_star
    on, above, below = (
        length_fixed_point(phi, point.sigma_w, 0.1, f * point.q_star)[0] for f in (1, 1.02, 0.98)
    )
    np.testing.assert_allclose(on, point.q_star, rtol=1e-12)
    assert above > 100 * point.q_star
    np.testing.assert_allclose(below, iterate(phi, 0.98 * point.q_star, point.sigma_w, 0.1, 600), rtol=1e-6)
    assert chi_1(phi, below, point.sigma_w) < 1
    assert chi_q(phi, below, point.sigma_w) < 1


def test_a_fixed_point_that_only_its_own_length_reaches_is_unstable():
    phi, point = ACTIVATIONS["gelu"], critical_point(ACTIVATIONS["gelu"], 0.1)
    states = [fixed_point(phi, point.sigma_w, 0.1, factor * point.q_star) for factor in (0.98, 1.0, 1.02)]
    assert [bool(state.stable) for state in states] == [True, False, False]
    assert [bool(state.converged) for state in states] == [True, True, False]


def test_selu_with_lecun_weights_is_slightly_chaotic():
    state = fixed_point(ACTIVATIONS["selu"], 1.0, 0.0, 0.7)
    np.testing.assert_allclose(state.q_star, 1, rtol=1e-9)
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    expected = scale**2 * (0.5 + alpha**2 * np.exp(2) * special.ndtr(-2))
    np.testing.assert_allclose(state.chi_1, expected, rtol=1e-9)
    np.testing.assert_allclose(state.chi_1, 1.07157499, rtol=1e-8)


def test_sigmoid_at_unit_scale_makes_all_inputs_alike():
    phi = ACTIVATIONS["sigmoid"]
    state = fixed_point(phi, 1.0, 0.0, 1.0)
    np.testing.assert_allclose(
        [state.q_star, state.chi_1, state.c_star], [0.26468688, 0.05572071, 1], rtol=1e-7
    )
    at_zero = correlation_map(phi, 0.0, state.q_star, state.q_star, 1.0, 0.0)
    np.testing.assert_allclose(at_zero, 0.25 / state.q_star, rtol=1e-10)
    np.testing.assert_allclose(at_zero, 0.9445, atol=1e-4)


@pytest.mark.parametrize(
    ("sigma_w_squared", "xi", "c_star", "xi_grad"),
    [
        (1.0, 3.63, 1, 3.63),
        (1.5, 15.8, 1, 15.8),
        (2.0, 25.2, 0.744, 21.5),
        (3.0, 9.05, 0.299, 5.27),
        (4, 6.98, 0.165, 3.4),
    ],
)
def test_depth_scales_of_tanh_on_both_sides_of_criticality(sigma_w_squared, xi, c_star, xi_grad):
    state = fixed_point(ACTIVATIONS["tanh"], np.sqrt(sigma_w_squared), np.sqrt(0.05), 1.0)
    np.testing.assert_allclose([state.xi_c, abs(state.xi_grad)], [xi, xi_grad], rtol=3e-3)
    np.testing.assert_allclose(state.c_star, c_star, atol=6e-4)
    assert state.converged
    assert state.stable


@pytest.mark.parametrize("sigma_w", [1.3, 2.5])
def test_depth_scales_are_the_rates_of_the_iterated_maps(sigma_w):
    phi, sigma_b = ACTIVATIONS["tanh"], 0.3
    state = fixed_point(phi, sigma_w, sigma_b, 1.0)
    lengths = [
        iterate(phi, state.q_star * (1 + 1e-5), sigma_w, sigma_b, n) / state.q_star - 1 for n in (4, 5)
    ]
    np.testing.assert_allclose(lengths[1] / lengths[0], np.exp(-1 / state.xi_q), rtol=1e-4)

    def c_map(c):
        return correlation_map(phi, c, state.q_star, state.q_star, sigma_w, sigma_b)

    np.testing.assert_allclose(c_map(state.c_star), state.c_star, rtol=1e-10)
    step = 1e-4
    slope = (c_map(state.c_star - step) - c_map(state.c_star - 2 * step)) / step
    np.testing.assert_allclose(slope, np.exp(-1 / state.xi_c), rtol=2e-3)
    c = 0.5
    for _ in range(250):
        c = c_map(c)
    np.testing.assert_allclose(c, state.c_star, atol=1e-5)
    assert (state.c_star == 1) == (state.chi_1 <= 1)


def test_the_slope_of_the_correlation_map_is_its_difference_quotient():
    phi, q, sigma_w, step = ACTIVATIONS["hard_tanh"], 2.0, 1.7, 1e-5
    q_next = length_map(phi, q, sigma_w, 0.2)
    beside = [correlation_map(phi, c, q, q, sigma_w, 0.2) for c in (0.4 - step, 0.4 + step)]
    quotient = (beside[1] - beside[0]) / (2 * step)
    np.testing.assert_allclose(correlation_slope(phi, 0.4, q, sigma_w) * q / q_next, quotient, rtol=1e-6)
    np.testing.assert_allclose(correlation_slope(phi, 1.0, q, sigma_w), chi_1(phi, q, sigma_w), rtol=1e-10)


def test_the_length_slope_of_hard_tanh_includes_the_jumps_of_its_derivative():
    phi, q, step = ACTIVATIONS["hard_tanh"], 1.0, 1e-4
    slope = chi_q(phi, q, 1.0)
    quotient = (length_map(phi, q + step, 1.0, 0.0) - length_map(phi, q - step, 1.0, 0.0)) / (2 * step)
    closed = special.erf(1 / np.sqrt(2)) - 2 * np.exp(-0.5) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(slope, quotient, rtol=1e-6)
    np.testing.assert_allclose(slope, closed, rtol=1e-10)
    np.testing.assert_allclose(slope, 0.199, atol=1e-3)  # E phi'^2 + E phi phi'' without the jumps: 0.683


def test_the_stein_form_equals_the_second_derivative_form_for_tanh():
    q = 1.7
    smooth = gaussian.expectation(
        lambda x: (1 - jnp.tanh(x) ** 2) ** 2 - 2 * jnp.tanh(x) ** 2 * (1 - jnp.tanh(x) ** 2), q
    )
    np.testing.assert_allclose(chi_q(jnp.tanh, q, 1.3), 1.69 * smooth, rtol=1e-10)


def test_schoenholz_critical_point_of_tanh():
    """(sigma_w^2, sigma_b^2) = (1.76, 0.05), arXiv 1611.01232."""
    state = fixed_point(ACTIVATIONS["tanh"], np.sqrt(1.76), np.sqrt(0.05), 0.5)
    np.testing.assert_allclose(state.chi_1, 0.9998, atol=5e-5)


def test_moments_of_the_squared_derivative():
    np.testing.assert_allclose(meanfield.derivative_moment(ACTIVATIONS["relu"], 3.0, 4), 0.5, rtol=1e-12)
    expected = gaussian.expectation(lambda x: jnp.cos(x) ** 6, 0.8)
    np.testing.assert_allclose(meanfield.derivative_moment(jnp.sin, 0.8, 3), expected, rtol=1e-12)


EDGE_CASES = {  # (name, sigma_w, sigma_b): q_star, chi_1, chi_q, stable, converged
    ("relu", np.sqrt(2), 0.0): (1, 1, 1, True, True),
    ("relu", np.sqrt(2), 0.1): (np.inf, 1, 1, False, False),
    ("relu", 1.0, 0.5): (0.5, 0.5, 0.5, True, True),
    ("relu", 1.0, 0.0): (0, 0.5, 0.5, True, True),
    ("relu", 2.0, 0.0): (np.inf, 2, 2, False, False),
    ("linear", 1.0, 0.0): (1, 1, 1, True, True),
    ("linear", 1.0, 1.0): (np.inf, 1, 1, False, False),
    ("tanh", 1.0, 0.0): (0, 1, 1, True, True),
    ("tanh", 0.0, 0.3): (0.09, 0, 0, True, True),
    ("tanh", 0.0, 0.0): (0, 0, 0, True, True),
    ("softplus", 2.0, 0.1): (np.inf, 2, 2, False, False),
    ("binary_step", 1.0, 0.1): (0.51, 0, 0, True, True),
    ("hard_tanh", 1.0, 0.0): (0, 1, 1, True, True),
}


@pytest.mark.parametrize(("name", "sigma_w", "sigma_b"), EDGE_CASES)
def test_fixed_points_report_what_became_of_the_length(name, sigma_w, sigma_b):
    state = fixed_point(ACTIVATIONS[name], sigma_w, sigma_b, 1.0)
    expected = EDGE_CASES[name, sigma_w, sigma_b]
    np.testing.assert_allclose([state.q_star, state.chi_1, state.chi_q], expected[:3], rtol=1e-9, atol=1e-11)
    assert (bool(state.stable), bool(state.converged)) == expected[3:]
    assert jnp.isnan(state.c_star) == jnp.isinf(state.q_star)
    if name != "binary_step" and state.converged:
        assert state.c_star == 1


def test_the_step_function_separates_inputs_though_its_derivative_vanishes():
    state = fixed_point(ACTIVATIONS["binary_step"], 1.0, 0.1, 1.0)
    closed = ((np.pi - np.arccos(state.c_star)) / (2 * np.pi) + 0.01) / 0.51
    np.testing.assert_allclose(closed, state.c_star, rtol=1e-9)


def test_a_slope_of_exactly_one_has_infinite_depth_scale():
    assert meanfield.depth_scale(1.0) == jnp.inf
    np.testing.assert_allclose(meanfield.depth_scale(np.exp(-0.2)), 5)
    assert meanfield.depth_scale(1.5) < 0
    assert meanfield.depth_scale(0.0) == 0


def test_relu_at_criticality_aligns_inputs_as_the_inverse_square_of_depth():
    c = meanfield.correlation_trajectory(ACTIVATIONS["relu"], np.sqrt(2), 0.0, 1.0, 0.0, 1000)
    exact = 0.0
    for _ in range(999):
        exact = (np.sqrt(1 - exact**2) + exact * (np.pi - np.arccos(exact))) / np.pi
    np.testing.assert_allclose(1 - c[-1], 1 - exact, rtol=1e-5)
    np.testing.assert_allclose((1 - c[-1]) * 1000**2, 9 * np.pi**2 / 2, rtol=0.05)


def test_critical_tanh_loses_length_and_gradient_as_one_over_depth():
    lengths = length_trajectory(jnp.tanh, 1.0, 0.0, 1.0, 4001)
    np.testing.assert_allclose(2 * 2000 * lengths[1999], 1, rtol=0.02)
    profile = log_gradient_profile(jnp.tanh, 1.0, 0.0, 1.0, 4001)
    second_half = np.exp(profile[2000])  # of the product of 4000 factors chi_1
    np.testing.assert_allclose(second_half, 0.5, rtol=0.01)


@pytest.mark.parametrize(("name", "curvature"), [("tanh", -2.0), ("sin", -1.0), ("erf", -2.0)])
def test_odd_activations_leave_criticality_with_the_third_derivative(name, curvature):
    phi, q = ACTIVATIONS[name], 1e-4
    sigma_w = meanfield.critical_sigma_w(phi, 0.0)
    np.testing.assert_allclose((length_map(phi, q, sigma_w, 0.0) - q) / q**2, curvature, rtol=2e-3)
    np.testing.assert_allclose((chi_1(phi, q, sigma_w) - 1) / q, curvature, rtol=2e-3)


def test_critical_tanh_with_bias_aligns_inputs_as_one_over_depth():
    point = critical_point(ACTIVATIONS["tanh"], 0.3)
    curved = gaussian.expectation(lambda x: (2 * jnp.tanh(x) * (1 - jnp.tanh(x) ** 2)) ** 2, point.q_star)
    rate = point.q_star * point.sigma_w**2 * curved / 2
    q_0 = (point.q_star - 0.09) / point.sigma_w**2
    c_0 = (0.98 * point.q_star - 0.09) / (point.sigma_w**2 * q_0)
    c = meanfield.correlation_trajectory(jnp.tanh, point.sigma_w, 0.3, q_0, c_0, 121)
    np.testing.assert_allclose(c[0], 0.98, rtol=1e-12)
    np.testing.assert_allclose((1 / (1 - c[120]) - 1 / (1 - c[60])) / 60, rate, rtol=0.01)


PROFILES = {  # decades of the squared norm from layer 20 to layer 1, q_0 = 1
    ("sigmoid", 1.0, 0.0): -23.92,
    ("sigmoid", 2.0, 0.0): -19.07,
    ("tanh", 1.0, 0.0): -1.42,
    ("tanh", 2.0, 0.0): 0.46,
    ("relu", 1.0, 0.0): -5.72,
    ("relu", 2.0, 0.0): 0.0,
    ("relu", 0.0256, 0.0): -35.96,  # normal(0.01) at 256 units
    ("relu", 1 / 3, np.sqrt(1 / 768)): -14.78,  # uniform in +-1/sqrt(256), biases too
    ("gelu", 2.0, 0.0): -2.12,
    ("selu", 1.0, 0.0): 0.57,
}


@pytest.mark.parametrize(("name", "sigma_w_squared", "sigma_b"), PROFILES)
def test_gradient_profiles_of_common_initializations(name, sigma_w_squared, sigma_b):
    profile = log_gradient_profile(ACTIVATIONS[name], np.sqrt(sigma_w_squared), sigma_b, 1.0, 20)
    np.testing.assert_allclose(profile[0] / np.log(10), PROFILES[name, sigma_w_squared, sigma_b], atol=0.006)
    assert profile.shape == (20,)
    assert profile[-1] == 0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_profiles_outlast_the_range_of_the_lengths(dtype):
    sigma_w = np.array([0.1, 10.0], dtype)
    profile = jax.vmap(lambda w: log_gradient_profile(jax.nn.relu, w, 0.0, 1.0, 400))(sigma_w)
    assert profile.dtype == dtype
    exact = 2 * np.log(sigma_w[:, None] / np.sqrt(2)) * np.arange(399, -1, -1)
    np.testing.assert_allclose(profile, exact, rtol=1e-4 if dtype == jnp.float32 else 1e-10)
    fading = log_gradient_profile(jnp.tanh, dtype(0.1), 0.0, 1.0, 400)
    np.testing.assert_allclose(fading[1] - fading[101], -200 * np.log(10), rtol=1e-3)


def test_lengths_beyond_the_dtype_are_infinite_or_zero():
    grown = length_trajectory(jax.nn.relu, jnp.float32(10), jnp.float32(0), jnp.float32(1), 60)
    faded = length_trajectory(jax.nn.relu, jnp.float32(0.01), jnp.float32(0), jnp.float32(1), 60)
    assert grown[-1] == jnp.inf
    assert faded[-1] == 0
    assert not jnp.isnan(grown).any()


def test_zero_weights_give_no_gradient():
    profile = log_gradient_profile(jnp.tanh, 0.0, 0.3, 1.0, 4)
    np.testing.assert_array_equal(profile, [-np.inf, -np.inf, -np.inf, 0])


def test_a_phase_plane_is_one_call_and_equals_its_points():
    sigma_w, sigma_b = (axis.ravel() for axis in jnp.meshgrid(jnp.linspace(0.5, 3, 4), jnp.linspace(0, 1, 3)))
    phi = ACTIVATIONS["tanh"]
    plane = jax.jit(partial(jax.lax.map, lambda point: meanfield.fixed_point(phi, *point)))(
        (sigma_w, sigma_b)
    )
    assert plane.converged.all()
    assert (plane.c_star[plane.chi_1 <= 1] == 1).all()
    assert (plane.c_star[plane.chi_1 > 1] < 1).all()
    for index in (0, 5, 11):
        single = fixed_point(phi, sigma_w[index], sigma_b[index], 1.0)
        for one, many in zip(single, plane, strict=True):
            np.testing.assert_allclose(one, many[index], rtol=1e-9, atol=1e-9)


def test_fixed_points_can_be_batched_with_vmap():
    phi, sigma_w = ACTIVATIONS["tanh"], jnp.array([0.8, 2.0])
    batch = jax.jit(jax.vmap(lambda w: meanfield.fixed_point(phi, w, 0.3)))(sigma_w)
    for index in (0, 1):
        single = fixed_point(phi, sigma_w[index], 0.3, 1.0)
        for one, many in zip(single, batch, strict=True):
            np.testing.assert_allclose(one, many[index], rtol=1e-9, atol=1e-9)


def test_single_precision_fixed_points_are_near_double():
    narrow = fixed_point(ACTIVATIONS["tanh"], jnp.float32(2), jnp.float32(0.3), jnp.float32(1))
    wide = fixed_point(ACTIVATIONS["tanh"], 2.0, 0.3, 1.0)
    assert narrow.q_star.dtype == narrow.c_star.dtype == jnp.float32
    np.testing.assert_allclose(narrow[:7], wide[:7], rtol=2e-4)
    assert narrow.converged


def relation_of_sampled_inputs(rng, sigma_w, sigma_b, q_0, c_0, width, depth):
    """Length and correlation of two inputs, layer by layer in one tanh network."""
    directions = np.linalg.qr(rng.normal(size=(width, 2)))[0]
    y = np.sqrt(width * q_0) * directions @ np.array([[1, c_0], [0, np.sqrt(1 - c_0**2)]])
    relation = []
    for _ in range(depth):
        z = sigma_w / np.sqrt(width) * rng.normal(size=(width, width)) @ y + sigma_b * rng.normal(
            size=(width, 1)
        )
        gram = z.T @ z / width
        relation.append((gram[0, 0], gram[0, 1] / np.sqrt(gram[0, 0] * gram[1, 1])))
        y = np.tanh(z)
    return relation


def test_sampled_networks_follow_the_length_and_correlation_maps():
    setting = {"sigma_w": 1.5, "sigma_b": 0.3, "q_0": 2.0, "depth": 12}
    rng = np.random.default_rng(0)
    sample = np.array([relation_of_sampled_inputs(rng, c_0=0.4, width=400, **setting) for _ in range(40)])
    lengths = meanfield.length_trajectory(jnp.tanh, **setting)
    correlations = meanfield.correlation_trajectory(jnp.tanh, c_0=0.4, **setting)
    predicted = np.stack([lengths, correlations], axis=1)
    error = sample.std(0, ddof=1) / np.sqrt(len(sample))
    np.testing.assert_array_less(error / predicted, 0.04)
    np.testing.assert_array_less(
        np.abs(sample.mean(0) - predicted), 5 * error + predicted / 200
    )  # bias O(1/width)


def sampled_gradient_growth(rng, phi, slope, sigma_w, sigma_b, q_0, widths):
    """Log of |delta^1|^2 / |delta^L|^2 in one network of the given widths, from a random last error."""
    y = np.sqrt(q_0) * rng.normal(size=widths[0])
    weights, slopes = [], []
    for fan_in, fan_out in pairwise(widths):
        weights.append(sigma_w / np.sqrt(fan_in) * rng.normal(size=(fan_out, fan_in)))
        z = weights[-1] @ y + sigma_b * rng.normal(size=fan_out)
        y = phi(z)
        slopes.append(slope(z))
    delta = slopes[-1] * rng.normal(size=widths[-1])
    last = delta @ delta
    for diagonal, weight in zip(slopes[-2::-1], weights[:0:-1], strict=True):
        delta = diagonal * (weight.T @ delta)
    return np.log(delta @ delta / last)


@pytest.mark.parametrize(
    ("name", "slope", "sigma_w", "sigma_b"),
    [
        ("tanh", lambda z: 1 - np.tanh(z) ** 2, 2.0, 0.3),
        ("tanh", lambda z: 1 - np.tanh(z) ** 2, 1.1, 0.3),
        ("hard_tanh", lambda z: np.abs(z) < 1, 1.5, 0.2),
    ],
)
def test_sampled_gradients_grow_by_chi_1_whatever_the_widths(name, slope, sigma_w, sigma_b):
    phi, widths = ACTIVATIONS[name], (450, 300, 600, 400, 500, 350, 450, 550, 400)
    state = fixed_point(phi, sigma_w, sigma_b, 1.0)
    q_0 = (float(state.q_star) - sigma_b**2) / sigma_w**2
    numpy_phi = {"tanh": np.tanh, "hard_tanh": lambda z: np.clip(z, -1, 1)}[name]
    rng = np.random.default_rng(1)
    growth = [
        sampled_gradient_growth(rng, numpy_phi, slope, sigma_w, sigma_b, q_0, widths) for _ in range(30)
    ]
    per_layer = np.array(growth) / (len(widths) - 2)
    error = per_layer.std(ddof=1) / np.sqrt(len(per_layer))
    assert error < 0.01
    assert abs(per_layer.mean() - np.log(state.chi_1)) < max(0.02, 5 * error)
