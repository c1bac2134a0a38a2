"""Exponents and laws of Gaussian products against tabulated values and sampled products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis import products, randommatrix


def sampled_log_sizes(n, num_factors, num_samples, sigma=1.0):
    """Sample log |M e_1| and log |M_11| of products of Gaussian matrices."""

    def step(product, key):
        factor = sigma * jax.random.normal(key, (n, n), jnp.float64)
        return products.append_scaled(product, factor), None

    def sample(key):
        keys = jax.random.split(key, num_factors)
        product, _ = jax.lax.scan(step, products.start_scaled(n, jnp.float64), keys)
        column = product.mantissa[:, 0]
        sizes = jnp.stack([jnp.linalg.norm(column), jnp.abs(column[0])])
        return product.log_scale + jnp.log(sizes)

    return np.asarray(jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(0), num_samples)))


def test_exponents_of_four_by_four_matrices_are_the_tabulated_ones():
    expected = [0.5579657578, 0.3648185773, 0.0579657578, -0.6351814227]
    np.testing.assert_allclose(randommatrix.newman_exponents(4), expected, atol=1e-10)
    shifted = randommatrix.newman_exponents(4, sigma=3.0)
    np.testing.assert_allclose(shifted - np.log(3), expected, atol=1e-10)


def test_exponents_are_the_mean_growth_of_a_qr_iteration():
    n, steps = 4, 10_000

    def step(basis, key):
        basis, triangle = jnp.linalg.qr(jax.random.normal(key, (n, n), jnp.float64) @ basis)
        return basis, jnp.log(jnp.abs(jnp.diag(triangle)))

    _, growth = jax.lax.scan(step, jnp.eye(n), jax.random.split(jax.random.key(1), steps))
    error = np.std(growth, axis=0) / np.sqrt(steps)
    assert np.all(np.abs(np.mean(growth, axis=0) - randommatrix.newman_exponents(n)) < 5 * error)


def test_exponents_keep_float32():
    exponents = randommatrix.newman_exponents(128, jnp.float32(1.0))
    assert exponents.dtype == jnp.float32
    np.testing.assert_allclose(exponents, randommatrix.newman_exponents(128), rtol=1e-5, atol=1e-5)


def test_law_of_101_factors_is_that_of_the_textbook_example():
    law = randommatrix.product_vector_law(4, 101)
    decades = np.log(10)
    np.testing.assert_allclose(law.log_norm_mean / decades, 24.474, atol=5e-4)
    np.testing.assert_allclose(np.sqrt(law.log_norm_variance) / decades, 1.753, atol=5e-4)
    np.testing.assert_allclose(law.log_entry_mean / decades, 23.956, atol=5e-4)
    np.testing.assert_allclose(np.sqrt(law.log_entry_variance) / decades, 1.809, atol=5e-4)


@pytest.mark.parametrize(("n", "num_factors", "sigma"), [(4, 101, 1.0), (8, 20, 0.3), (2, 1, 2.0)])
def test_law_of_one_vector_and_one_entry_is_that_of_sampled_products(n, num_factors, sigma):
    num_samples = 2000
    logs = sampled_log_sizes(n, num_factors, num_samples, sigma)
    law = randommatrix.product_vector_law(n, num_factors, sigma)
    means = [law.log_norm_mean, law.log_entry_mean]
    variances = [law.log_norm_variance, law.log_entry_variance]
    assert np.all(np.abs(logs.mean(0) - means) < 5 * logs.std(0) / np.sqrt(num_samples))
    squares = (logs - logs.mean(0)) ** 2
    assert np.all(np.abs(squares.mean(0) - variances) < 5 * squares.std(0) / np.sqrt(num_samples))


def test_the_law_of_many_depths_is_that_of_each():
    together = randommatrix.product_vector_law(4, np.array([1, 7, 101]), 0.7)
    for i, num_factors in enumerate((1, 7, 101)):
        alone = randommatrix.product_vector_law(4, num_factors, 0.7)
        np.testing.assert_allclose([part[i] for part in together], alone, rtol=1e-14)


def test_the_finite_depth_correction_is_that_of_sampled_products():
    n, depth, num_samples = 3, 40, 1000
    factors = jax.random.normal(jax.random.key(4), (num_samples, depth, n, n), jnp.float64)
    logs = jax.jit(jax.vmap(products.log_singular_values))(factors)
    rest = np.asarray(logs - depth * randommatrix.newman_exponents(n))
    error = rest.std(0) / np.sqrt(num_samples)
    correction = randommatrix.finite_depth_correction(n)
    assert np.all(np.abs(rest.mean(0) - correction) < 5 * error)
    assert correction[0] > 10 * error[0], "the sample must resolve the correction"


def test_the_finite_depth_correction_of_two_by_two_matrices_is_log_two():
    # The minor is |cos| of a uniform angle, whose mean logarithm is -log 2.
    np.testing.assert_allclose(randommatrix.finite_depth_correction(2), np.log([2.0, 0.5]), rtol=1e-14)
    for n in (1, 5, 64):
        assert abs(randommatrix.finite_depth_correction(n).sum()) < 1e-12


def test_critical_variances_are_the_known_ones():
    quenched = [float(randommatrix.quenched_critical_variance(n)) for n in (2, 4, 8, 16, 64)]
    np.testing.assert_allclose(quenched, [0.891, 0.3276, 0.1424, 0.0666, 0.01587], rtol=1e-3)
    for n in (2, 4, 64):
        assert randommatrix.annealed_critical_variance(n) == 1 / n
        sigma = jnp.sqrt(randommatrix.quenched_critical_variance(n))
        assert abs(randommatrix.newman_exponents(n, sigma)[0]) < 1e-14


def test_between_the_critical_variances_the_mean_grows_while_typical_products_vanish():
    n, num_factors, sigma = 4, 100, np.sqrt(0.29)
    logs = sampled_log_sizes(n, num_factors, 2000, sigma)[:, 0]
    assert num_factors * np.log(n * sigma**2) > 0
    assert np.mean(logs < 0) > 0.9


def test_a_product_of_no_factors_is_refused():
    with pytest.raises(ValueError, match="whole numbers of at least 1, got 0"):
        randommatrix.product_vector_law(4, 0)


def test_one_factor_has_the_quarter_circle_law_to_the_smallest_and_the_largest_values():
    x = np.array([1e-300, 1e-20, 1e-5, 0.1, 1.0, 2.0, 3.9])
    exact = np.sqrt((4 - x) / x) / (2 * np.pi)
    np.testing.assert_allclose(randommatrix.fuss_catalan_density(x, 1), exact, rtol=2e-13)
    assert np.asarray(randommatrix.fuss_catalan_density(jnp.array([-1.0, 0.0, 4.0, 5.0]), 1)).tolist() == [
        0.0,
        np.inf,
        0.0,
        0.0,
    ]


@pytest.mark.parametrize("depth", [1, 2, 16])
def test_the_fuss_catalan_density_has_the_fuss_catalan_moments(depth):
    nodes, weights = np.polynomial.legendre.leggauss(200)
    angles = (nodes + 1) * np.pi / 4  # x = edge sin^(L+1) removes both singularities
    edge = float(randommatrix.fuss_catalan_edge(depth))
    x = edge * np.sin(angles) ** (depth + 1)
    slope = edge * (depth + 1) * np.sin(angles) ** depth * np.cos(angles)
    mass = np.asarray(randommatrix.fuss_catalan_density(x, depth)) * slope * weights * np.pi / 4
    for order in range(4):
        assert mass @ x**order == pytest.approx(randommatrix.fuss_catalan_moment(order, depth), rel=1e-11)


def test_fuss_catalan_numbers_are_the_known_ones():
    assert [randommatrix.fuss_catalan_moment(k, 1) for k in range(6)] == [1, 1, 2, 5, 14, 42]
    assert [randommatrix.fuss_catalan_moment(k, 2) for k in range(5)] == [1, 1, 3, 12, 55]
    np.testing.assert_allclose(
        randommatrix.fuss_catalan_edge(np.array([1, 4, 16])),
        np.array([2, 3.493856, 6.696625]) ** 2,
        rtol=1e-6,
    )


def test_squared_singular_values_of_a_sampled_product_follow_the_fuss_catalan_density():
    n, depth = 200, 2
    factors = np.random.default_rng(0).standard_normal((depth, n, n)) / np.sqrt(n)
    squares = np.sort(np.linalg.svd(factors[1] @ factors[0], compute_uv=False) ** 2)
    grid = np.geomspace(1e-12, float(randommatrix.fuss_catalan_edge(depth)), 4000)
    density = np.asarray(randommatrix.fuss_catalan_density(grid, depth)) * grid  # of log x
    above = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(np.log(grid)))])
    below = np.interp(squares, grid, above + 1 - above[-1])
    assert np.abs(below - (np.arange(n) + 0.5) / n).max() < 0.02


def test_the_fuss_catalan_density_keeps_float32():
    density = randommatrix.fuss_catalan_density(jnp.float32([0.01, 1.0, 3.0]), 4)
    assert density.dtype == jnp.float32
    np.testing.assert_allclose(
        density, randommatrix.fuss_catalan_density(np.array([0.01, 1.0, 3.0]), 4), rtol=2e-5
    )


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_the_marchenko_pastur_density_has_its_mass_mean_and_second_moment(ratio):
    lower, upper = (float(end) for end in randommatrix.marchenko_pastur_edges(ratio))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    angles = (nodes + 1) * np.pi / 4
    x = lower + (upper - lower) * np.sin(angles) ** 2  # removes both square roots
    slope = (upper - lower) * np.sin(2 * angles)
    mass = np.asarray(randommatrix.marchenko_pastur_density(x, ratio)) * slope * weights * np.pi / 4
    assert mass.sum() == pytest.approx(min(1, 1 / ratio), rel=1e-10)
    assert mass @ x == pytest.approx(1, rel=1e-10)
    assert mass @ x**2 == pytest.approx(1 + ratio, rel=1e-10)
    outside = np.array([-1.0, 0.0, upper + 1e-9, 100.0])
    assert np.all(randommatrix.marchenko_pastur_density(outside, ratio) == 0)


def test_the_square_case_of_marchenko_pastur_is_fuss_catalan_of_one_factor():
    x = np.array([1e-6, 0.3, 2.0, 3.99])
    square, one = randommatrix.marchenko_pastur_density(x, 1.0), randommatrix.fuss_catalan_density(x, 1)
    np.testing.assert_allclose(square, one, rtol=1e-11)


@pytest.mark.parametrize(("rows", "columns"), [(48, 48), (24, 48), (48, 24)])
def test_extreme_singular_values_of_sampled_matrices_have_their_laws(rows, columns):
    count = 1500
    matrices = np.random.default_rng(rows).standard_normal((count, rows, columns)) / np.sqrt(columns)
    values = np.linalg.svd(matrices, compute_uv=False)
    law, largest = randommatrix.largest_squared_singular_value(rows, columns), values[:, 0] ** 2
    # What the law leaves out is of relative order (size)^(-4/3), a few times 0.006 here.
    assert abs(largest.mean() - law.mean) < 5 * largest.std() / np.sqrt(count) + 0.015
    assert largest.var() == pytest.approx(float(law.variance), rel=0.25)
    if rows == columns:
        t = np.sort(columns * values[:, -1])
        places = (np.arange(count) + 0.5) / count
        distance = np.abs(np.asarray(randommatrix.smallest_singular_value_cdf(t)) - places).max()
        assert distance < 2.72 / np.sqrt(count) + 1 / columns


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_largest_singular_value_of_a_sampled_product_is_below_the_edge_as_predicted(depth):
    n, count = 60, 300
    factors = np.random.default_rng(depth).standard_normal((depth, count, n, n)) / np.sqrt(n)
    product = factors[0]
    for factor in factors[1:]:
        product = factor @ product
    largest = np.linalg.svd(product, compute_uv=False)[:, 0] ** 2
    law = randommatrix.largest_square_of_product(n, depth)
    error = largest.std() / np.sqrt(count)
    assert abs(largest.mean() - law.mean) < 5 * error + float(law.mean) * depth / n
    assert largest.var() == pytest.approx(float(law.variance), rel=0.5)


@pytest.mark.parametrize("n", [3, 8, 9])
def test_q_without_the_sign_fix_has_a_determinant_of_one_sign_and_the_predicted_trace(n):
    q = np.linalg.qr(np.random.default_rng(n).standard_normal((20_000, n, n)))[0]
    assert np.all(np.sign(np.linalg.det(q)) == (-1) ** (n - 1))
    traces = np.trace(q, axis1=1, axis2=2)
    error = traces.std() / np.sqrt(traces.size)
    assert abs(traces.mean() - randommatrix.householder_trace(n)) < 5 * error
    assert abs(traces.mean()) > 10 * error, "Haar has mean 0"
