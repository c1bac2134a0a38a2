"""Singular values of products against mpmath, and the streaming form against the whole."""

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
