"""Newton's method as an optimizer: quadratics, saddles, and networks trained by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench.training.curvature import hessian, newton
from signalprop.bench.training.trainer import train
from signalprop.models.mlp import Layer

SLOPES = jnp.array([4.0, 0.5])


def step(loss, point, **numbers):
    method = newton(**numbers)

    @jax.jit
    def moved(point):
        update, _ = method.update(jax.grad(loss)(point), method.init(point), point, value_fn=loss)
        return jax.tree.map(jnp.add, point, update)

    return moved(point)


def test_one_step_solves_a_quadratic_whatever_its_condition():
    found = step(lambda w: jnp.sum(SLOPES * (w - 3) ** 2), jnp.array([100.0, -7.0]), damping=0.0)
    np.testing.assert_allclose(found, [3, 3], rtol=1e-12)


def test_beside_a_ridge_absolute_curvature_descends_and_plain_newton_climbs_back():
    def ridge(point):
        return point["x"] ** 2 - point["y"] ** 2

    near = {"x": jnp.array(1.0), "y": jnp.array(1e-3)}
    for free, factor in ((True, 1 + 2 / 2.5), (False, 1 - 2 / 1.5)):
        found = step(ridge, near, damping=0.5, saddle_free=free)
        assert float(found["y"]) == pytest.approx(1e-3 * factor, rel=1e-12)
    np.testing.assert_allclose(hessian(ridge, near), [[2, 0], [0, -2]])


def test_a_network_is_trained_by_it_as_by_any_optimizer():
    x = jax.random.normal(jax.random.key(0), (20, 3), jnp.float64)
    target = x @ jnp.array([[1.0], [-2.0], [0.5]]) + 0.3
    model = Layer(jnp.zeros((3, 1)), jnp.zeros(1))

    @jax.jit
    def trained(model):
        return train(
            jax.random.key(1), model, lambda m, b: jnp.mean((m(b[0]) - b[1]) ** 2), lambda _: (x, target),
            newton(damping=0.0), 1, 1,
        ).model  # fmt: skip

    found = trained(model)
    np.testing.assert_allclose(found.kernel[...][:, 0], [1, -2, 0.5], rtol=1e-10)
    np.testing.assert_allclose(found.bias[...], [0.3], rtol=1e-10)
