"""Norms against Flax's own layers, dropout masks, and the block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from signalprop.models.mlp import MLP, draw_layer
from signalprop.models.normalization import NORMS, NormalizedLayer, draw_dropout, norm

KEY = jax.random.key(2)
Z = 3 + 2 * jax.random.normal(KEY, (16, 6), "float64")


@pytest.mark.parametrize(
    ("name", "flax"),
    [
        ("batch", lambda: nnx.BatchNorm(6, use_running_average=False, rngs=nnx.Rngs(0))),
        ("layer", lambda: nnx.LayerNorm(6, epsilon=1e-5, rngs=nnx.Rngs(0))),
        ("rms", lambda: nnx.RMSNorm(6, epsilon=1e-5, rngs=nnx.Rngs(0))),
    ],
)
def test_a_norm_is_flax_own_layer_at_the_start_of_training(name, flax):
    z = Z.astype("float32")
    np.testing.assert_allclose(norm(name)(z), flax()(z), atol=1e-5)


@pytest.mark.parametrize("name", ["batch", "layer", "rms"])
def test_the_scale_of_the_pre_activations_drops_out(name):
    exact = NORMS[name]
    np.testing.assert_array_equal(exact(4 * Z, 0.0), exact(Z, 0.0))


def test_a_block_is_the_activation_after_the_norm_after_the_layer_and_an_mlp_may_have_both():
    layer = draw_layer(KEY, 1, 6, 6, dtype="float64")
    block = NormalizedLayer(layer, norm("layer"), jnp.tanh)
    net = MLP((6, 6), lambda z: jnp.tanh(norm("layer")(z)), key=KEY, dtype="float64")
    np.testing.assert_allclose(block(Z), net(Z), rtol=1e-12)


def test_dropout_keeps_the_mean_and_masks_are_nested():
    ones, keep = jnp.ones((200, 500)), 0.8
    dropped = np.asarray(draw_dropout(KEY, 3, ones.shape, keep)(ones))
    error = ((1 - keep) / keep / ones.size) ** 0.5
    assert abs(dropped.mean() - 1) < 5 * error
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / keep], rtol=1e-6)
    fewer = np.asarray(draw_dropout(KEY, 3, ones.shape, 0.5)(ones))
    assert not (dropped == 0)[fewer > 0].any()
    other = np.asarray(draw_dropout(KEY, 4, ones.shape, keep)(ones))
    assert (other != dropped).any()


def test_an_unknown_norm_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="layer"):
        norm("layr")
