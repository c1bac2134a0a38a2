"""The table of cells: one signature, plain pytrees, and agreement with nnx.RNN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from signalprop.models.cells import CELLS, cell, zero_carry
from signalprop.models.lookup import Unusable

INPUTS = jax.random.normal(jax.random.key(1), (4, 2, 3), jnp.float32)  # time, batch, inputs
OWN = ["lstm_1997", "minimal_rnn"]  # a carry of two vectors and of one


@pytest.mark.parametrize("name", CELLS)
def test_cells_are_pytrees_under_vmap_over_traced_scales_scan_and_grad(name):
    def loss(drawn):
        carry, outputs = jax.lax.scan(drawn, zero_carry(drawn), INPUTS[:, 0])
        return jnp.sum(outputs**2), carry

    def run(key, scale):
        drawn = cell(name)(key, 3, 5, gain=scale, input_scale=scale, forget_bias=scale, dtype=jnp.float32)
        return jax.value_and_grad(loss, has_aux=True)(drawn)

    keys, scales = jax.random.split(jax.random.key(0), 2), jnp.array([1.0, 2.0, 3.0])
    (values, carry), gradients = jax.eval_shape(jax.vmap(jax.vmap(run, (None, 0)), (0, None)), keys, scales)
    assert values.shape == (2, 3)
    assert {f"{leaf.dtype}{leaf.shape}" for leaf in jax.tree.leaves(carry)} == {"float32(2, 3, 5)"}
    assert all(leaf.shape[:2] == (2, 3) for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("name", ["smart_tanh", "lstm", "lstm_1997", "gru"])
def test_two_draws_of_a_cell_share_one_structure_so_that_a_program_compiles_once(name):
    def drawn(seed):
        return jax.eval_shape(lambda: cell(name)(jax.random.key(seed), 3, 5, gain=0.1 * seed))

    assert jax.tree.structure(drawn(0)) == jax.tree.structure(drawn(1))


@pytest.mark.parametrize("name", OWN)
def test_our_own_cells_run_in_a_flax_rnn_as_in_a_scan(name):
    @jax.jit
    def both():
        drawn = cell(name)(jax.random.key(0), 3, 5)
        carry = drawn.initialize_carry((2, 3), nnx.Rngs(0))
        by_flax = nnx.RNN(drawn, time_major=True, return_carry=True)(INPUTS)
        one = jax.lax.scan(drawn, zero_carry(drawn), INPUTS[:, 1])
        return by_flax, jax.lax.scan(drawn, carry, INPUTS), one

    (flax_carry, flax_outputs), (carry, outputs), (_, alone) = both()
    np.testing.assert_array_equal(flax_outputs, outputs)
    np.testing.assert_allclose(outputs[:, 1], alone, atol=1e-6)
    for ours, theirs in zip(jax.tree.leaves(carry), jax.tree.leaves(flax_carry), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_carry_can_be_drawn_instead_of_zero():
    @jax.jit
    def draw():
        drawn = cell("lstm_1997")(jax.random.key(0), 3, 5)
        return drawn.initialize_carry((2, 3), nnx.Rngs(0), jax.nn.initializers.normal())

    c, h = draw()
    assert c.shape == h.shape == (2, 5)
    assert np.all(c != h)


def test_an_unknown_cell_is_answered_with_the_nearest_and_ones_own_is_imported():
    with pytest.raises(ValueError, match=r"unknown cell 'lstm1997': did you mean 'lstm_1997'\?"):
        cell("lstm1997")
    assert cell("signalprop.models.gated:draw_lstm") is CELLS["lstm"]


@pytest.mark.parametrize(
    ("name", "what"),
    [("Direct", "is a class"), ("Plain", "is a class"), ("skip", "cannot be called")],
)
def test_a_class_of_flax_is_no_function_that_draws_a_cell(name, what, tmp_path, monkeypatch):
    (tmp_path / f"cells_of_{name}.py").write_text(
        "from flax import nnx\nDirect = nnx.LSTMCell\nclass Plain(nnx.LSTMCell): pass\ndef skip(key): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    form = r"write a function draw\(key, inputs, units, \*, gain, input_scale, forget_bias, dtype\) for"
    with pytest.raises(Unusable, match=f"cell 'cells_of_{name}:{name}': {what}.*{form}"):
        cell(f"cells_of_{name}:{name}")
