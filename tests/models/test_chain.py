"""A chain of blocks: gradients against autodiff, outside the range of the dtype, and of lost signals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import Partial

from signalprop.models.chain import chain_profile as eager_profile
from signalprop.models.mlp import Layer, draw_layer

KEY = jax.random.key(3)


def chain_profile(draw, depth, x, loss_gradient):
    """The profile of a compiled program."""
    return jax.jit(lambda x: eager_profile(draw, depth, x, loss_gradient))(x)


class Skip(nnx.Module):
    """y + tanh(W y + b), over a batch whose mean is removed, so that its examples are coupled."""

    def __init__(self, layer: Layer):
        """Hold the layer."""
        self.layer = layer

    def __call__(self, y):
        z = self.layer(y)
        return y + jnp.tanh(z - z.mean(axis=0))


def skip(number, width=5):
    return Skip(draw_layer(KEY, number, width, width, sigma_b=0.3, dtype="float64"))


def linear(number, width, sigma_w, dtype):
    return draw_layer(KEY, number, width, width, sigma_w=sigma_w, dtype=dtype)


def normal_like(y):
    return jax.random.normal(jax.random.key(9), y.shape, y.dtype)


def test_gradients_of_signal_and_parameters_equal_autodiff():
    depth, x = 4, jax.random.normal(jax.random.key(1), (3, 5), "float64")
    found = chain_profile(skip, depth, x, normal_like)
    blocks = jax.vmap(skip)(jnp.arange(1, depth + 1))

    def loss(blocks, x):
        y = x
        for i in range(depth):
            y = jax.tree.map(lambda leaf, i=i: leaf[i], blocks)(y)
        return jnp.sum(y * normal_like(y)), y

    (to_blocks, to_x), y = jax.grad(loss, (0, 1), has_aux=True)(blocks, x)
    np.testing.assert_allclose(found.y, y, rtol=1e-12)
    np.testing.assert_allclose(found.log_gradient[0], jnp.log(jnp.linalg.norm(to_x)), atol=1e-12)
    np.testing.assert_allclose(found.log_gradient[-1], jnp.log(jnp.linalg.norm(normal_like(y))), atol=1e-12)
    expected = jnp.log(jnp.linalg.norm(to_blocks.layer.kernel[...], axis=(1, 2)))
    np.testing.assert_allclose(found.log_parameter_gradients.layer.kernel[...], expected, atol=1e-12)
    np.testing.assert_allclose(found.log_mean_square[-1], jnp.log(jnp.mean(y * y)), atol=1e-12)
    assert found.lost_at == 0


def test_gradients_leave_the_range_of_the_dtype_when_the_signal_stays():
    def saturating(number):
        layer = linear(number, 16, 1e-3, "float32")
        return Partial(lambda layer, y: jnp.tanh(layer(y)) + 1, layer)

    found = chain_profile(saturating, 40, jnp.ones(16, "float32"), normal_like)
    assert found.lost_at == 0
    assert found.log_gradient[0] < np.log(1e-60)
    assert np.isfinite(found.log_gradient).all()


@pytest.mark.parametrize(("sigma_w", "sign"), [(1e-4, -1), (1e4, 1)])
def test_a_signal_that_leaves_the_range_is_marked_with_its_block(sigma_w, sign):
    draw = partial(linear, width=16, sigma_w=sigma_w, dtype="float32")
    found = chain_profile(draw, 20, jnp.ones(16, "float32"), normal_like)
    wide = chain_profile(partial(draw, dtype="float64"), 20, jnp.ones(16, "float64"), normal_like)
    limit = np.log(float(jnp.finfo("float32").tiny if sign < 0 else jnp.finfo("float32").max))
    expected = np.argmax(sign * wide.log_mean_square / 2 > sign * limit)
    assert abs(int(found.lost_at) - expected) <= 1
    assert np.isnan(found.log_mean_square[int(found.lost_at) :]).all()
    assert np.isfinite(found.log_mean_square[: int(found.lost_at)]).all()
    assert np.isnan(found.log_gradient).all()


def test_a_gradient_that_is_exactly_zero_is_minus_infinity():
    def dead_third(number):
        return Partial(lambda slope, y: slope * y + 1, jnp.where(number == 3, 0.0, 2.0))

    found = chain_profile(dead_third, 5, jnp.ones(4), normal_like)
    assert np.isneginf(found.log_gradient[:3]).all()
    np.testing.assert_allclose(found.log_gradient[3:], found.log_gradient[-1] + np.log([4, 2, 1]), atol=1e-12)


def test_a_list_of_blocks_is_the_chain_that_draws_them_one_by_one():
    depth, x = 4, jax.random.normal(jax.random.key(1), (3, 5), "float64")
    blocks = [skip(number) for number in range(1, depth + 2)]  # one too many does no harm
    by_list, drawn = chain_profile(blocks, depth, x, normal_like), chain_profile(skip, depth, x, normal_like)
    for one, other in zip(jax.tree.leaves(by_list), jax.tree.leaves(drawn), strict=True):
        np.testing.assert_allclose(np.exp(one), np.exp(other), rtol=1e-12, atol=1e-14)  # a gradient is 0


def test_layers_of_flax_in_a_list_give_the_gradient_of_autodiff():
    layers = [nnx.Linear(5, 5, param_dtype="float64", rngs=nnx.Rngs(i)) for i in range(3)]
    x = jax.random.normal(jax.random.key(1), (5,), "float64")
    found = chain_profile(tuple(layers), 3, x, jnp.ones_like)
    gradient = jax.grad(lambda x: jnp.sum(layers[2](layers[1](layers[0](x)))))(x)
    np.testing.assert_allclose(found.log_gradient[0], np.log(np.linalg.norm(gradient)), rtol=1e-12)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda n: [skip(1), skip(2)][n - 1], "give the list of blocks itself"),
        (lambda n: skip(1) if n == 1 else skip(2), "give the list of blocks itself"),
        ([skip(1)], "got 1 blocks for depth 2"),
        ([skip(1), skip(2, 6)], "block 2 differs from block 1 in structure or shape"),
        ([skip(1), Partial(jnp.tanh)], "block 2 differs from block 1"),
        ([jnp.tanh, jnp.sin], "plain functions; make each an nnx.Module"),
    ],
)
def test_blocks_that_cannot_be_a_chain_are_refused_in_one_line(draw, words):
    with pytest.raises(ValueError, match=words) as error:
        eager_profile(draw, 2, jnp.ones(5), jnp.ones_like)
    assert "\n" not in str(error.value)
