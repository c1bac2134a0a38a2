"""The Hessian's largest eigenvalue against eigenvalues of formed Hessians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis.sharpness import curvature


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-4)])
def test_a_quadratic_with_more_products_than_parameters_is_exact(dtype, tolerance):
    root = np.random.default_rng(0).normal(size=(6, 6))
    hessian = jnp.asarray(root + root.T, dtype)
    loss = lambda p: p["x"] @ hessian @ p["x"] / 2 + 3 * p["x"][0]  # noqa: E731
    found = jax.jit(lambda p: curvature(jax.random.key(0), loss, p, 12))({"x": jnp.ones(6, dtype)})
    values = np.linalg.eigvalsh(root + root.T)
    assert found.largest == pytest.approx(values[-1], rel=tolerance)
    assert found.smallest == pytest.approx(values[0], rel=tolerance)
    assert found.error <= tolerance * 10


def test_a_network_s_largest_curvature_is_within_the_error_of_its_formed_hessian():
    keys = jax.random.split(jax.random.key(1), 4)
    x, y = jax.random.normal(keys[0], (20, 3)), jax.random.normal(keys[1], (20,))
    start = {"w": jax.random.normal(keys[2], (3, 5)), "v": jax.random.normal(keys[3], (5,))}

    def loss(p):
        return jnp.mean((jnp.tanh(x @ p["w"]) @ p["v"] - y) ** 2)

    @jax.jit
    def both(p):
        flat, unflatten = jax.flatten_util.ravel_pytree(p)
        hessian = jax.hessian(lambda q: loss(unflatten(q)))(flat)
        return jnp.linalg.eigvalsh(hessian), curvature(jax.random.key(2), loss, p, 12)

    values, found = both(start)
    assert abs(values[-1] - found.largest) <= found.error + 1e-12
    assert found.error < 0.01 * found.largest


def test_a_flat_loss_has_no_curvature():
    found = jax.jit(lambda p: curvature(jax.random.key(0), lambda q: 2 * q.sum(), p, 4))(jnp.ones(5))
    assert (found.largest, found.smallest, found.error) == (0, 0, 0)


def test_no_product_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        curvature(jax.random.key(0), jnp.sum, jnp.ones(2), 0)
