"""Spectral radius, non-normality and bounds against NumPy, exact cases and simulated networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from signalprop.analysis import recurrent

RNG = np.random.default_rng(0)
JORDAN = 0.3 * np.eye(8) + np.diag(np.full(7, 2.0), 1)
GAUSSIAN = 0.8 * RNG.standard_normal((8, 8)) / 8**0.5
ROTATION = linalg.block_diag(*[[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in (0.3, 1, 2, 3)])
NILPOTENT = np.kron([[3.0, -3.0], [3.0, -3.0]], np.diag([1.0, 0, 0, 0]))
MATRICES = {"jordan": JORDAN, "gaussian": GAUSSIAN, "rotation": ROTATION, "nilpotent": NILPOTENT}
STEPS = 200


@jax.jit
def found(matrix):
    """Everything about one matrix, from one program for all of the tests."""
    names = ("spectral_radius", "largest_singular_value", "numerical_radius", "henrici_departure")
    numbers = {name: getattr(recurrent, name)(matrix) for name in (*names, "kreiss_constant")}
    numbers["eigenbasis_condition"] = recurrent.eigenbasis_condition(matrix)
    return numbers, recurrent.transient_bounds(matrix, STEPS), recurrent.log_power_norms(matrix, STEPS)


@pytest.fixture(scope="module", params=[*MATRICES])
def case(request):
    """One matrix, its numbers, its bounds and the norms of its powers."""
    return request.param, MATRICES[request.param], *found(MATRICES[request.param])


def test_radius_norm_and_departure_are_those_of_numpy(case):
    _, matrix, numbers, _, _ = case
    values = np.linalg.eigvals(matrix)
    departure = np.sqrt(max(0, np.sum(matrix**2) - np.sum(np.abs(values) ** 2)))
    np.testing.assert_allclose(numbers["spectral_radius"], np.abs(values).max(), atol=1e-12)
    np.testing.assert_allclose(numbers["largest_singular_value"], np.linalg.norm(matrix, 2), rtol=1e-13)
    np.testing.assert_allclose(numbers["henrici_departure"], departure, atol=1e-6)


def test_the_numerical_radius_is_the_largest_of_a_dense_search(case):
    _, matrix, numbers, _, _ = case
    turns = np.exp(1j * np.linspace(0, np.pi, 4001))[:, None, None]
    searched = np.linalg.eigvalsh((turns * matrix + turns.conj() * matrix.T) / 2)[:, -1].max()
    assert searched * (1 - 1e-12) <= numbers["numerical_radius"] <= searched * (1 + 3e-7)


def test_the_kreiss_constant_is_the_largest_of_a_dense_search(case):
    _, matrix, numbers, _, _ = case
    distance, turn = np.meshgrid(np.geomspace(1e-4, 10, 60), np.exp(1j * np.linspace(0, np.pi, 61)))
    z = ((1 + distance) * turn)[..., None, None] * np.eye(len(matrix))
    searched = (distance / np.linalg.svd(z - matrix, compute_uv=False)[..., -1]).max()
    assert max(1, searched) * (1 - 1e-9) <= numbers["kreiss_constant"] <= max(1, searched) * 1.01


def test_exact_values_of_normal_nilpotent_and_jordan_matrices():
    rotation, nilpotent, jordan = (found(MATRICES[name])[0] for name in ("rotation", "nilpotent", "jordan"))
    for name, value in rotation.items():
        np.testing.assert_allclose(value, 0 if name == "henrici_departure" else 1, atol=1e-7)
    np.testing.assert_allclose(nilpotent["largest_singular_value"], 6, rtol=1e-13)
    np.testing.assert_allclose(nilpotent["numerical_radius"], 3, rtol=1e-9)
    np.testing.assert_allclose(nilpotent["henrici_departure"], 6, rtol=1e-9)
    # 0.3 + 2 S with the shift S of size 8, whose numerical radius is cos(pi / 9).
    np.testing.assert_allclose(jordan["numerical_radius"], 0.3 + 2 * np.cos(np.pi / 9), rtol=1e-9)


def test_the_powers_are_those_of_numpy_and_keep_within_all_bounds(case):
    name, matrix, numbers, bounds, powers = case
    direct = [np.linalg.norm(np.linalg.matrix_power(matrix, k), 2) for k in range(12)]
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(powers[:12], np.log(direct), atol=1e-12)
    slack = 1e-9
    assert np.all(powers >= bounds.log_spectral - 1e-6) or name == "nilpotent"  # whose radius 0 is rounded
    for upper in (bounds.log_singular, bounds.log_berger, bounds.log_eigenbasis):
        assert np.all(powers <= upper + slack)
    assert bounds.log_kreiss_lower - slack <= powers.max() <= bounds.log_kreiss_upper
    if name in ("gaussian", "rotation"):
        condition = np.linalg.cond(np.linalg.eig(matrix)[1])
        np.testing.assert_allclose(numbers["eigenbasis_condition"], condition, rtol=1e-8)
        np.testing.assert_allclose(powers[-1] / STEPS, np.log(numbers["spectral_radius"]), atol=0.02)


def test_powers_stay_finite_beyond_the_range_of_the_dtype_and_zero_is_exact():
    matrices = jnp.stack([1e6 * jnp.eye(8, dtype=jnp.float32), jnp.asarray(NILPOTENT, jnp.float32)])
    powers = jax.jit(jax.vmap(lambda m: recurrent.log_power_norms(m, 20)))(matrices)
    np.testing.assert_allclose(powers[0, -1], 20 * np.log(1e6), rtol=1e-6)
    assert powers[1, 1] == pytest.approx(np.log(6))
    assert np.all(powers[1, 2:] == -np.inf)


def test_radius_one_and_above_decide_whether_the_kreiss_constant_is_finite():
    kreiss = jax.jit(recurrent.kreiss_constant)
    assert kreiss(np.diag([1.0, 0.5])) == pytest.approx(1)
    assert kreiss(np.diag([1.01, 0.5]).astype(np.float32)) == np.inf


def test_what_is_not_finite_or_not_square_is_an_error_and_under_jit_not_a_number():
    broken = np.where(np.eye(8), np.nan, GAUSSIAN)
    numbers, _, _ = found(broken)
    assert all(np.isnan(value) for value in numbers.values())
    with pytest.raises(ValueError, match=r"got nan at row 0, column 0; give numbers"):
        recurrent.spectral_radius(broken)
    with pytest.raises(ValueError, match=r"got shape \(2, 3\); give a square matrix"):
        recurrent.largest_singular_value(np.ones((2, 3)))
    assert recurrent.spectral_radius(np.array([[-2.0]])) == 2


def driven(weights, states):
    """Jacobian of a tanh network whose inputs are chosen so that it visits the given pre-activations."""
    product = np.eye(len(weights))
    for z in states:
        product = np.diag(1 / np.cosh(z) ** 2) @ weights @ product
    return product


def test_spectral_radius_zero_can_explode_and_the_singular_value_bounds_it():
    weights = np.array([[3.0, -3.0], [3.0, -3.0]])
    one_sided = recurrent.one_sided_bounds(weights, 1.0)
    growth = np.log(np.linalg.norm(driven(weights, [(0.0, 6.0)] * 40), 2)) / 40
    assert float(recurrent.spectral_radius(weights)) < 1e-7
    assert growth == pytest.approx(np.log(3), abs=0.02)
    assert one_sided.may_explode
    assert not one_sided.must_vanish
    assert growth < one_sided.log_rate
    assert recurrent.one_sided_bounds(0.16 * weights, 1.0).must_vanish
    assert recurrent.one_sided_bounds(weights, 0.16).must_vanish


def relu_network(draw, width, steps):
    """Growth per step of a state and of a tangent, and the last cosine, with a new or the same matrix."""
    h, u = np.abs(RNG.standard_normal(width)), RNG.standard_normal(width)
    h, u, growth, cosine = h / np.linalg.norm(h), u / np.linalg.norm(u), np.zeros(2), 0.0
    for _ in range(steps):
        weights = draw()
        z = weights @ h
        after, u = np.maximum(z, 0), (z > 0) * (weights @ u)
        sizes = np.linalg.norm(after), np.linalg.norm(u)
        growth += np.log(sizes) / steps
        cosine, h, u = after @ h / sizes[0], after / sizes[0], u / sizes[1]
    return (*growth, cosine)


@pytest.mark.parametrize("tied", [True, False])
def test_a_wide_relu_network_grows_and_turns_as_predicted(tied):
    width, steps, seeds = 160, 12, 24
    rows = []
    for _ in range(seeds):
        fixed = RNG.standard_normal((width, width)) * (1.5 / width**0.5)

        def draw(fixed=fixed):
            return fixed if tied else RNG.standard_normal((width, width)) * (1.5 / width**0.5)

        rows.append(relu_network(draw, width, steps))
    mean, error = np.mean(rows, 0), np.std(rows, 0, ddof=1) / seeds**0.5
    cosines = recurrent.relu_cosines(2**0.5 / np.pi, steps)
    predicted = [float(recurrent.relu_exponent(1.5))] * 2 + [float(cosines[-1]) if tied else 1 / np.pi]
    assert np.all(np.abs(mean - predicted) < 5 * error + 2.5 / width)


def test_the_direction_of_a_relu_network_freezes_by_an_inverse_square():
    cosines = jax.jit(lambda: recurrent.relu_cosines(1 / np.pi, 3000))()
    assert (1 - cosines[-1]) * 3000**2 == pytest.approx(4.5 * np.pi**2, rel=0.02)


def test_gradients_through_nilpotent_weights_grow_as_predicted():
    half, steps, gain, noise = 200, 60, 2.0, 1.0
    rates = []
    for _ in range(6):
        block = RNG.standard_normal((half, half)) * gain / half**0.5
        weights = np.block([[block, -block], [block, -block]])
        h, u, logs = np.zeros(2 * half), RNG.standard_normal(2 * half), []
        for _ in range(steps):
            h = np.tanh(weights @ h + noise * RNG.standard_normal(2 * half))
            u = (1 - h**2) * (weights @ u)
            logs.append(np.log(np.linalg.norm(u)))
            u = u / np.linalg.norm(u)
        rates.append(np.mean(logs[10:]))
    predict = jax.jit(lambda gain, noise: recurrent.nilpotent_exponent(jnp.tanh, gain, noise))
    error = np.std(rates, ddof=1) / len(rates) ** 0.5
    assert abs(np.mean(rates) - predict(gain, noise)) < 5 * error + 0.01
    assert predict(gain, 0.0) == -np.inf
