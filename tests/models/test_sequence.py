"""A cell and a read-out on batches: a loop over one sequence, and training leaves of a plain pytree."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from signalprop.models.cells import cell, zero_carry
from signalprop.models.mlp import draw_layer
from signalprop.models.sequence import SequenceModel


def draw(name, key):
    return SequenceModel(cell(name)(key, 2, 5), draw_layer(key, 1, 5, 3))


def test_outputs_are_those_of_a_loop_over_each_sequence():
    model = draw("tanh", jax.random.key(1))
    x = jax.random.normal(jax.random.key(2), (4, 3, 2), jnp.float32)
    every, last = jax.jit(lambda m, x: (m.every_step(x), m(x)))(model, x)
    step = jax.jit(lambda carry, x: model.cell(carry, x))
    for i in range(3):
        carry = zero_carry(model.cell)
        for t in range(4):
            carry, h = step(carry, x[t, i])
            expected = np.asarray(h) @ np.asarray(model.readout.kernel[...])
            np.testing.assert_allclose(every[t, i], expected, atol=1e-5)
    np.testing.assert_allclose(last, every[-1], atol=1e-6)


def test_a_model_is_drawn_and_differentiated_under_vmap():
    @jax.jit
    @jax.vmap
    def gradient(key):
        graph, parameters = nnx.split(draw("lstm", key), nnx.Param)
        return jax.grad(lambda p: jnp.sum(nnx.merge(graph, p)(jnp.ones((3, 2, 2))) ** 2))(parameters)

    leaves = jax.tree.leaves(gradient(jax.random.split(jax.random.key(0), 2)))
    assert all(leaf.shape[0] == 2 and np.isfinite(leaf).all() for leaf in leaves)


def test_inputs_of_another_type_are_read_in_the_type_of_the_weights():
    model = draw("lstm_1997", jax.random.key(1))
    symbols = jnp.array([[[0, 1]], [[1, 0]]])
    found = jax.jit(lambda x: model(x))(symbols)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, model(symbols.astype(jnp.float32)))
