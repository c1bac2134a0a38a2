"""Convolutions: against flax, isometry of delta-orthogonal kernels, drawing inside compiled code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from signalprop.models.chain import chain_profile
from signalprop.models.convolutional import ConvNet, Convolution, draw_convolution

KEY = jax.random.key(5)


def normal(shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape, "float64")


@pytest.mark.parametrize("window", [(3,), (4,), (3, 2)])
def test_a_convolution_is_that_of_flax_with_circular_padding(window):
    ours = draw_convolution(KEY, 1, window, 3, 5, sigma_b=0.7, dtype="float64")
    flax = nnx.Conv(3, 5, window, padding="CIRCULAR", rngs=nnx.Rngs(0), param_dtype="float64")
    flax.kernel[...], flax.bias[...] = ours.kernel[...], ours.bias[...]
    x = normal((2, *(6, 7)[: len(window)], 3))
    np.testing.assert_allclose(ours(x), flax(x), atol=1e-12)


def test_a_delta_orthogonal_convolution_turns_the_channels_of_every_place_alike():
    layer = draw_convolution(KEY, 1, (3, 3), 4, 6, "delta_orthogonal", sigma_w=1.5, dtype="float64")
    x = normal((5, 5, 4))
    np.testing.assert_allclose(
        jnp.linalg.norm(layer(x), axis=-1), 1.5 * jnp.linalg.norm(x, axis=-1), rtol=1e-12
    )
    np.testing.assert_allclose(layer(x), x @ layer.kernel[1, 1], atol=1e-12)


def test_a_gaussian_kernel_has_variance_over_its_whole_fan_in_and_one_bias_per_channel():
    layer = draw_convolution(KEY, 2, (3,), 64, 64, "gaussian", sigma_w=1.3, sigma_b=0.5, dtype="float64")
    squares = 3 * 64 * layer.kernel[...] ** 2
    assert float(squares.mean()) == pytest.approx(1.3**2, abs=5 * float(squares.std()) / squares.size**0.5)
    assert layer.bias.shape == (64,)


def test_a_net_equals_its_layers_drawn_inside_a_scan_of_many_networks_and_scales():
    depth, scheme, x = 3, "delta_orthogonal", normal((4, 5)).astype("float32")

    def profile(key, sigma_w):
        def draw(number):
            layer = draw_convolution(key, number, (3,), 5, 5, scheme, sigma_w, 0.1)
            return jax.tree_util.Partial(lambda layer, y: jnp.tanh(layer(y)), layer)

        return chain_profile(draw, depth, x, jnp.ones_like).y

    keys, scales = jax.random.split(KEY, 2), jnp.array([0.9, 1.1], "float32")
    found = jax.jit(jax.vmap(jax.vmap(profile, (None, 0)), (0, None)))(keys, scales)
    net = ConvNet((5,) * (depth + 1), (3,), jnp.tanh, scheme, scales[1], 0.1, key=keys[0])
    np.testing.assert_allclose(found[0, 1], net(x), atol=2e-6)


def test_a_net_may_change_its_channels():
    assert ConvNet((3, 8, 8), (3,), jnp.tanh, "gaussian", key=KEY)(jnp.ones((2, 6, 3))).shape == (2, 6, 8)


def test_networks_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="fan_in <= fan_out, got 4 and 3"):
        draw_convolution(KEY, 1, (3,), 4, 3, "delta_orthogonal")
    with pytest.raises(ValueError, match="did you mean 'gaussian'"):
        draw_convolution(KEY, 1, (3,), 4, 4, "gausian")
    with pytest.raises(ValueError, match="at least one layer"):
        ConvNet((3,), (3,), jnp.tanh, key=KEY)
    assert Convolution(jnp.ones((1, 2, 2)), jnp.zeros(2))(jnp.ones((1, 2))).tolist() == [[2, 2]]
