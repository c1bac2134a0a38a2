"""Residual networks: their definition, their beginnings, and that they are ordinary pytrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.models.chain import chain_profile
from signalprop.models.normalization import norm
from signalprop.models.residual import SCALINGS, Branch, ResidualBlock, ResidualMLP, draw_block, scaling

KEY, WIDTH, DEPTH = jax.random.key(4), 6, 5
X = jax.random.normal(jax.random.key(1), (3, WIDTH), "float64")


def net(start, **options):
    return ResidualMLP(WIDTH, DEPTH, jax.nn.relu, start, key=KEY, dtype="float64", **options)


@pytest.mark.parametrize("name", ["inverse", "fixup"])
def test_the_network_is_the_chain_of_its_blocks(name):
    y = np.asarray(X)
    for number in range(1, DEPTH + 1):
        block = draw_block(KEY, number, WIDTH, jax.nn.relu, DEPTH, name, dtype="float64")
        w_1, w_2 = block.branch.inner.kernel[...], block.branch.outer.kernel[...]
        y = y + float(block.scale[...]) * np.maximum(y @ w_1, 0) @ w_2
    np.testing.assert_allclose(net(name)(X), y, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "moving"),
    [
        ("rezero", {"scale"}),
        ("skipinit", {"scale"}),
        ("fixup", {"outer"}),
        ("root", {"scale", "inner", "outer"}),
    ],
)
def test_networks_that_begin_as_the_identity_can_move_only_the_parameter_that_is_zero(name, moving):
    model = net(name)
    identity = "inner" not in moving
    assert np.array_equal(model(X), X) == identity
    blocks = jax.grad(lambda model: jnp.sum(jnp.sin(model(X))))(model).blocks
    gradients = {
        "scale": blocks.scale,
        "inner": blocks.branch.inner.kernel,
        "outer": blocks.branch.outer.kernel,
    }
    assert {part for part, gradient in gradients.items() if np.any(gradient[...] != 0)} == moving


def test_a_one_layer_branch_ends_with_its_activation():
    block = draw_block(KEY, 2, WIDTH, jnp.tanh, DEPTH, layers=1, sigma_in=1.0, dtype="float64")
    np.testing.assert_allclose(block(X), X + jnp.tanh(X @ block.branch.inner.kernel[...]), rtol=1e-12)


def test_norms_stand_before_the_branch_or_after_the_sum():
    branch, normalize = Branch(draw_block(KEY, 1, WIDTH, jnp.tanh, 1).branch.inner, jnp.tanh), norm("layer")
    pre, post = ResidualBlock(branch, before=normalize), ResidualBlock(branch, after=normalize)
    np.testing.assert_allclose(pre(X), X + branch(normalize(X)), rtol=1e-12)
    np.testing.assert_allclose(post(X), normalize(X + branch(X)), rtol=1e-12)


def test_networks_are_built_and_called_under_vmap_and_jit():
    @jax.jit
    @jax.vmap
    def output(key):
        return ResidualMLP(WIDTH, DEPTH, jax.nn.relu, "root", key=key, dtype="float64")(X)

    keys = jax.random.split(KEY, 2)
    alone = ResidualMLP(WIDTH, DEPTH, jax.nn.relu, "root", key=keys[1], dtype="float64")(X)
    np.testing.assert_allclose(output(keys)[1], alone, rtol=1e-12)


def test_blocks_go_into_a_chain():
    def draw(number):
        return draw_block(KEY, number, WIDTH, jax.nn.relu, DEPTH, "root", dtype="float64")

    found = chain_profile(draw, DEPTH, X, jnp.ones_like)
    np.testing.assert_allclose(found.y, net("root")(X), rtol=1e-12)
    to_input = jax.grad(lambda x: jnp.sum(net("root")(x)))(X)
    np.testing.assert_allclose(found.log_gradient[0], np.log(np.linalg.norm(to_input)), atol=1e-12)


def test_what_cannot_be_drawn_is_refused():
    for start, options in (("rezro", {}), ("fixup", {"layers": 1}), ("root", {"layers": 3})):
        with pytest.raises(ValueError, match="rezero" if start == "rezro" else "layers"):
            net(start, **options)
    assert [kind.branch(16) for kind in SCALINGS.values()] == [1, 1 / 4, 1 / 16, 0, 0, 1]
    assert scaling("fixup").inner(16) == 1 / 4
    with pytest.raises(ValueError, match="depth"):
        ResidualMLP(WIDTH, 0, jnp.tanh, key=KEY)
