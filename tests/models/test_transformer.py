"""Transformer blocks: against flax, the order of norm and skip, drawing inside compiled code."""

import jax
import numpy as np
import pytest
from flax import nnx

from signalprop.models.transformer import (
    Transformer,
    draw_attention,
    draw_block,
    layer_norm,
)

KEY = jax.random.key(2)
X = jax.random.normal(jax.random.key(1), (5, 8), "float64")


def test_attention_is_that_of_flax():
    ours = draw_attention(KEY, 1, 8, heads=2, dtype="float64")
    flax = nnx.MultiHeadAttention(2, 8, decode=False, param_dtype="float64", rngs=nnx.Rngs(0))
    for name in ("query", "key", "value"):
        getattr(flax, name).kernel[...] = getattr(ours, name).kernel.reshape(8, 2, 4)
    flax.out.kernel[...] = ours.out.kernel.reshape(2, 4, 8)
    np.testing.assert_allclose(ours(X), flax(X), atol=1e-6)  # its softmax is in float32


def test_layer_norm_is_that_of_flax_without_parameters():
    flax = nnx.LayerNorm(8, use_bias=False, use_scale=False, param_dtype="float64", rngs=nnx.Rngs(0))
    np.testing.assert_allclose(layer_norm(3 + 2 * X), flax(3 + 2 * X), atol=1e-12)


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_a_block_is_the_equation_of_its_arrangement(norm):
    block = draw_block(KEY, 1, 8, 2, 16, norm, dtype="float64")
    attention, feed_forward = block.attention, block.feed_forward
    if norm == "pre":
        between = X + attention(layer_norm(X))
        expected = between + feed_forward(layer_norm(between))
    elif norm == "post":
        between = layer_norm(X + attention(X))
        expected = layer_norm(between + feed_forward(between))
    else:
        between = X + attention(X)
        expected = between + feed_forward(between)
    np.testing.assert_allclose(block(X), expected, atol=1e-12)


def test_attention_with_one_token_is_a_linear_map():
    attention, x = draw_attention(KEY, 1, 8, dtype="float64"), X[:1]
    np.testing.assert_allclose(attention(x), x @ attention.value.kernel @ attention.out.kernel, atol=1e-12)


def test_matrices_have_xaviers_variance_and_biases_are_zero():
    block = draw_block(KEY, 1, 8, 2, 16, dtype="float64")
    squares = (16 + 8) / 2 * block.feed_forward.out.kernel[...] ** 2
    assert float(squares.mean()) == pytest.approx(1, abs=5 * float(squares.std()) / squares.size**0.5)
    layers = [getattr(block.attention, name) for name in ("query", "key", "value", "out")]
    assert not any(layer.bias.any() for layer in layers)
    assert len({float(layer.kernel[0, 0]) for layer in layers}) == 4


def test_a_pre_ln_transformer_is_its_blocks_and_a_last_layer_norm():
    net = Transformer(2, 8, 2, 16, "pre", key=KEY, dtype="float64")
    first, second = (draw_block(KEY, number, 8, 2, 16, dtype="float64") for number in (1, 2))
    np.testing.assert_allclose(net(X), layer_norm(second(first(X))), atol=1e-12)


def test_networks_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="heads must divide the width 8, got 3"):
        draw_attention(KEY, 1, 8, 3)
    with pytest.raises(ValueError, match="unknown norm 'before'"):
        draw_block(KEY, 1, 8, 2, 16, norm="before", dtype="float64")
    with pytest.raises(ValueError, match="depth must be at least 1"):
        Transformer(0, 8, key=KEY)
