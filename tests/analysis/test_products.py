"""Singular values of products against mpmath, and the streaming form against the whole."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from signalprop.analysis import products


def gaussian(rng, n, depth):
    return list(rng.standard_normal((depth, n, n)))


def graded(rng, n, depth):
    return [a * 10.0 ** rng.uniform(-3, 0, n) for a in gaussian(rng, n, depth)]


def row_graded(rng, n, depth):
    return [10.0 ** rng.uniform(-30, 0, (n, 1)) * a for a in gaussian(rng, n, depth)]


def near_orthogonal(rng, n, depth):
    return [np.linalg.qr(a)[0] * (1 + 0.02 * rng.standard_normal(n)) for a in gaussian(rng, n, depth)]


def orthogonal(rng, n, depth):
    return [np.linalg.qr(a)[0] for a in gaussian(rng, n, depth)]


def tied(rng, n, depth):
    return gaussian(rng, n, 1) * depth


def relu(rng, n, depth):
    y, factors = rng.standard_normal(n), []
    for a in gaussian(rng, n, depth):
        factors.append((a @ y > 0)[:, None] * a * np.sqrt(2 / n))
        y = factors[-1] @ y
    return factors


def compressed(factors):
    """The factors without their dead rows and the columns that meet them."""
    alive = np.ones(factors[0].shape[1], bool)
    result = []
    for factor in factors:
        now = factor.any(axis=1)
        result.append(factor[now][:, alive])
        alive = now
    return result


def exact_logs(factors):
    """Log singular values of the exact product, to 30 digits beyond its span."""
    steps = [np.linalg.svd(f / np.abs(f).max(), compute_uv=False) for f in factors]
    mpmath.mp.dps = int(sum(np.log10(s[0] / s[-1]) for s in steps)) + 60
    product = mpmath.matrix(factors[0].tolist())
    for factor in factors[1:]:
        product = mpmath.matrix(factor.tolist()) * product
    values = mpmath.svd_r(product, compute_uv=False)
    return np.array([float(mpmath.log(v)) for v in values])


CASES = {
    "one matrix": (gaussian, 8, 1),
    "5 layers": (gaussian, 6, 5),
    "35 decades": (gaussian, 6, 60),
    "over 200 decades": (gaussian, 6, 400),
    "columns over 3 decades each": (graded, 6, 80),
    "rows over 30 decades each": (row_graded, 6, 10),
    "near-orthogonal": (near_orthogonal, 7, 40),
    "orthogonal": (orthogonal, 6, 30),
    "tied": (tied, 6, 50),
}


@pytest.mark.parametrize("case", CASES)
def test_log_singular_values_agree_with_mpmath(case):
    kind, n, depth = CASES[case]
    factors = kind(np.random.default_rng(len(case)), n, depth)
    np.testing.assert_allclose(
        products.log_singular_values(jnp.array(factors)), exact_logs(factors), rtol=0, atol=1e-9
    )


def test_dead_units_keep_the_shape_and_agree_with_the_compressed_factors():
    factors = relu(np.random.default_rng(1), 8, 8)
    small = compressed(factors)
    rank = min(f.shape[0] for f in small)
    exact = exact_logs(small)[:rank]
    same_shape = products.log_singular_values(jnp.array(factors))
    assert np.all(same_shape[rank:] == -np.inf)
    np.testing.assert_allclose(same_shape[:rank], exact, rtol=0, atol=1e-9)
    rectangular = products.log_singular_values([jnp.array(f) for f in small])
    np.testing.assert_allclose(rectangular, exact, rtol=0, atol=1e-9)


def test_rectangular_factors_give_as_many_values_as_the_narrowest_layer():
    rng = np.random.default_rng(2)
    factors = [rng.standard_normal(shape) for shape in [(9, 5), (3, 9), (7, 3), (7, 7)]]
    values = products.log_singular_values([jnp.array(f) for f in factors])
    np.testing.assert_allclose(values, exact_logs(factors)[:3], rtol=0, atol=1e-9)
    assert values.shape == (3,)


def sampled(depth, n, dtype=jnp.float64, seed=4):
    return jax.random.normal(jax.random.key(seed), (depth, n, n), dtype) / jnp.sqrt(jnp.asarray(n, dtype))


def test_every_prefix_of_one_scan_has_the_spectrum_of_its_own_product():
    factors = sampled(7, 16)

    def step(state, factor):
        state = products.append(state, factor)
        return state, products.finish(state)

    _, prefixes = jax.lax.scan(step, products.start(16, jnp.float64), factors)
    for depth in (1, 4, 7):
        whole = products.log_singular_values(factors[:depth])
        np.testing.assert_allclose(prefixes[depth - 1], whole, rtol=0, atol=1e-11)


def test_vmap_equals_a_loop():
    batch = jnp.stack([sampled(5, 9, seed=seed) for seed in range(3)])
    together = jax.vmap(products.log_singular_values)(batch)
    for factors, logs in zip(batch, together, strict=True):
        np.testing.assert_allclose(logs, products.log_singular_values(factors), rtol=0, atol=1e-11)


def test_slopes_given_apart_scale_the_rows_of_the_factor():
    factor, slopes = sampled(1, 12)[0], jnp.linspace(-1, 1, 12).at[3].set(0)
    start = products.start(12, jnp.float64)
    together = products.finish(products.append(start, slopes[:, None] * factor))
    apart = products.finish(products.append(start, factor, slopes))
    np.testing.assert_allclose(apart, together, rtol=0, atol=1e-12)


def test_width_128_and_200_nats_sum_to_the_log_determinant_and_follow_a_transposition():
    factors = sampled(64, 128)
    logs = products.log_singular_values(factors)
    log_determinant = np.sum(np.linalg.slogdet(factors)[1])
    assert abs(jnp.sum(logs) - log_determinant) < 1e-9
    backwards = products.log_singular_values(jnp.swapaxes(factors[::-1], 1, 2))
    np.testing.assert_allclose(logs, backwards, rtol=0, atol=1e-9)
    assert logs[0] - logs[-1] > 180


def test_float32_is_near_float64():
    factors = sampled(30, 16)
    exact = products.log_singular_values(factors)
    logs = products.log_singular_values(factors.astype(jnp.float32))
    assert logs.dtype == jnp.float32
    np.testing.assert_allclose(logs, exact, rtol=0, atol=1e-3)


def test_the_identity_has_zero_logs_and_the_zero_matrix_only_minus_infinity():
    np.testing.assert_array_equal(products.log_singular_values(jnp.eye(5)[None]), np.zeros(5))
    zero = jnp.stack([jnp.eye(5), jnp.zeros((5, 5)), jnp.eye(5)])
    np.testing.assert_array_equal(products.log_singular_values(zero), np.full(5, -np.inf))
    np.testing.assert_array_equal(products.log_singular_values_scaled(zero), np.full(5, -np.inf))


def test_minus_infinity_never_comes_from_underflow():
    small, graded = jnp.eye(3) * 1e-150, jnp.diag(jnp.array([1e150, 1.0, 1e-150]))
    factors = jnp.stack([small] * 20 + [graded] * 20)
    expected = 20 * np.log(10) * np.array([0.0, -150, -300])
    np.testing.assert_allclose(products.log_singular_values(factors), expected, rtol=1e-13, atol=1e-9)


def test_a_factor_that_is_not_finite_gives_nan():
    factors = sampled(3, 4).at[1, 2, 2].set(jnp.nan)
    assert np.all(np.isnan(products.log_singular_values(factors)))


def test_the_fast_form_resolves_what_stands_above_eps_and_marks_the_rest():
    factors = sampled(12, 32, jnp.float32)
    exact = products.log_singular_values(factors.astype(jnp.float64))
    fast = products.log_singular_values_scaled(factors)
    resolved = np.isfinite(fast)
    span = np.log(np.finfo(np.float32).eps)
    assert np.all(resolved[exact - exact[0] > span / 2])
    assert not np.any(resolved[exact - exact[0] < 2 * span])
    sharp = exact - exact[0] > span / 2
    np.testing.assert_allclose(fast[sharp], exact[sharp], rtol=0, atol=0.05)


def test_a_scaled_product_is_the_product_far_beyond_the_range_of_the_dtype():
    factors = sampled(40, 6) * 1e20
    mantissa, log_scale = products.scaled_product(factors.astype(jnp.float32))
    product = np.linalg.multi_dot(list(np.asarray(factors / 1e20)[::-1]))
    assert np.max(np.abs(mantissa)) == 1
    scale = np.abs(product).max()
    np.testing.assert_allclose(log_scale, np.log(scale) + 800 * np.log(10), rtol=1e-5)
    np.testing.assert_allclose(mantissa, product / scale, rtol=0, atol=1e-3)


def test_prepended_kernels_give_the_transposed_product():
    kernels, slopes = sampled(3, 6), jnp.linspace(0.5, 2, 18).reshape(3, 6)
    state = products.start_scaled(6, jnp.float64)
    for kernel, slope in zip(kernels, slopes, strict=True):
        state = products.prepend_scaled(state, kernel, slope)
    factors = [np.asarray(s[:, None] * k.T) for k, s in zip(kernels, slopes, strict=True)]
    product = np.linalg.multi_dot(factors[::-1])
    np.testing.assert_allclose(state.mantissa.T * jnp.exp(state.log_scale), product, rtol=1e-10)


def test_factors_that_do_not_chain_are_refused():
    with pytest.raises(ValueError, match="factors is empty"):
        products.log_singular_values([])
    with pytest.raises(ValueError, match=r"factors do not chain: \(3, 2\) is followed by \(3, 2\)"):
        products.scaled_product([jnp.ones((3, 2)), jnp.ones((3, 2))])


def projection(rng, n):
    """A projection onto fewer directions, as of layer norm: all other values are 0, the kept ones tie."""
    basis = np.linalg.qr(rng.normal(size=(n, rng.integers(1, n))))[0]
    return basis @ basis.T


def permutation(rng, n):
    return np.eye(n)[rng.permutation(n)]


def ties(rng, n):
    left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
    return left * rng.choice([1.0, 1.0, 2.0, 1e-3], n) @ right


def low_rank(rng, n):
    rank = rng.integers(1, n // 2)
    return rng.normal(size=(n, rank)) @ rng.normal(size=(rank, n))


def graded_rows(rng, n):
    return 10.0 ** rng.uniform(-8, 8, (n, 1)) * rng.normal(size=(n, n))


def repeated_rows(rng, n):
    return rng.normal(size=(n, n))[rng.integers(0, n, n)]


def rows_of_one_sign(rng, n):
    return np.ones((n, n)) + np.diag(rng.choice([0.0, 1.0], n))


def sparse(rng, n):
    return rng.normal(size=(n, n)) * (rng.random((n, n)) < 0.1)


STRUCTURED = (projection, permutation, ties, low_rank, graded_rows, repeated_rows, rows_of_one_sign, sparse)


def assert_near(logs, matrix, eps):
    """Every value against LAPACK in float64: to rounding, or below what the dtype resolves; none is NaN."""
    assert not np.isnan(logs).any()
    n, expected = len(matrix), np.linalg.svd(matrix, compute_uv=False)
    floor = 20 * eps * n * expected[0]
    np.testing.assert_allclose(np.exp(logs), expected, rtol=1e-4 if eps > 1e-10 else 1e-9, atol=floor)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", STRUCTURED)
def test_every_finite_matrix_has_an_answer(kind, dtype):
    """25 matrices of each kind, with ties, exact zeros, repeated rows and grading: 200 in all."""
    rng = np.random.default_rng(STRUCTURED.index(kind))
    matrices = np.array([kind(rng, 24) for _ in range(25)]).astype(dtype)
    found = SPECTRA(jnp.asarray(matrices)[:, None])
    for logs, matrix in zip(np.asarray(found, float), matrices.astype(float), strict=True):
        assert_near(logs, matrix, np.finfo(dtype).eps)


SPECTRA = jax.jit(jax.vmap(products.log_singular_values))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [256, 513])
def test_the_jacobian_of_a_layer_norm_has_ones_and_a_zero(n, dtype):
    matrix = (np.eye(n) - 1 / n).astype(dtype)
    logs = np.asarray(products.log_singular_values(jnp.asarray(matrix)[None]), float)
    assert_near(logs, matrix.astype(float), np.finfo(dtype).eps)
    np.testing.assert_allclose(logs[:-1], 0, atol=1e-5)
