"""Gated cells against Flax's own, against each other in their limits, and against hand-written steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.models import gated

KEY = jax.random.key(0)
T, M, N = 6, 3, 5
INPUTS = jax.random.normal(jax.random.key(1), (T, M), jnp.float64)
MEMORY = tuple(0.5 * jax.random.normal(jax.random.key(2), (2, N), jnp.float64))
draw = {
    name: partial(getattr(gated, f"draw_{name}"), KEY, M, N, dtype=jnp.float64)
    for name in ("lstm1997", "lstm", "peephole_lstm", "gru", "gru_before", "minimal_rnn")
}


@jax.jit
def run(cell, carry):
    return jax.lax.scan(cell, carry, INPUTS)[1]


def jacobian(cell, carry):
    """Of the new carry with respect to the old one."""
    return jax.jit(jax.jacrev(lambda carry: cell(carry, INPUTS[0])[0]))(carry)


def test_the_lstm_without_forget_gate_is_flax_lstm_with_an_open_one():
    ours = draw["lstm1997"](gain=2.0, input_bias=-1.0, truncated=False)
    flax = draw["lstm"](gain=2.0, input_bias=-1.0, forget_bias=1000.0)
    np.testing.assert_allclose(run(ours, MEMORY), run(flax, MEMORY), rtol=1e-13)
    for ours_part, flax_part in zip(
        jax.tree.leaves(jacobian(ours, MEMORY)), jax.tree.leaves(jacobian(flax, MEMORY)), strict=True
    ):
        np.testing.assert_allclose(ours_part, flax_part, atol=1e-14)


def test_truncation_makes_the_carousel_exactly_the_identity_and_changes_no_value():
    truncated, full = draw["lstm1997"](), draw["lstm1997"](truncated=False)
    np.testing.assert_array_equal(run(truncated, MEMORY), run(full, MEMORY))
    (cc, ch), (hc, hh) = jacobian(truncated, MEMORY)
    np.testing.assert_array_equal(cc, np.eye(N))
    np.testing.assert_array_equal(ch, np.zeros((N, N)))
    np.testing.assert_array_equal(hh, np.zeros((N, N)))
    assert np.all(np.diag(hc) > 0)


def test_peepholes_of_zero_leave_flax_lstm():
    ours, flax = draw["peephole_lstm"](forget_bias=1.0), draw["lstm"](forget_bias=1.0)
    without = gated.PeepholeLSTM(ours.i, ours.g, ours.o, ours.f, jnp.zeros((3, N)))
    np.testing.assert_allclose(run(without, MEMORY), run(flax, MEMORY), rtol=1e-13)


def test_the_output_gate_sees_the_new_cell_through_its_peephole_and_the_others_the_old():
    cell = draw["peephole_lstm"]()
    (c, h), x = (np.asarray(part) for part in MEMORY), np.asarray(INPUTS[0])

    def gate(part):
        kernels = np.asarray(part.kernel[...]), np.asarray(part.input_kernel[...])
        return h @ kernels[0] + x @ kernels[1]

    to_i, to_o, to_f = np.asarray(cell.peepholes[...])
    new = c / (1 + np.exp(-gate(cell.f) - to_f * c))
    new += np.tanh(gate(cell.g)) / (1 + np.exp(-gate(cell.i) - to_i * c))
    out = np.tanh(new) / (1 + np.exp(-gate(cell.o) - to_o * new))
    (found_c, found_h), _ = cell(MEMORY, INPUTS[0])
    np.testing.assert_allclose(found_c, new, rtol=1e-13)
    np.testing.assert_allclose(found_h, out, rtol=1e-13)


def test_both_grus_agree_where_the_reset_gate_is_open_or_the_kernel_diagonal():
    before, after = draw["gru_before"](scheme="scaled_identity"), draw["gru"](scheme="scaled_identity")
    np.testing.assert_allclose(run(before, MEMORY[0]), run(after, MEMORY[0]), rtol=1e-13)
    before, after = draw["gru_before"](gain=2.0), draw["gru"](gain=2.0)
    assert np.max(np.abs(run(before, MEMORY[0]) - run(after, MEMORY[0]))) > 0.01
    before.r.bias[...] += 1000
    after.dense_i.bias[...] += jnp.repeat(jnp.array([1000.0, 0.0, 0.0]), N)
    np.testing.assert_allclose(run(before, MEMORY[0]), run(after, MEMORY[0]), rtol=1e-13)


def test_a_minimal_rnn_moves_towards_the_embedded_input_by_what_its_gate_lets_go():
    cell, h = draw["minimal_rnn"](update_bias=1.0), MEMORY[0]
    new, _ = cell(h, INPUTS[0])
    embedded = np.tanh(np.asarray(INPUTS[0]) @ np.asarray(cell.embedding[...]))
    let_go = np.asarray(new - h) / (embedded - np.asarray(h))
    kernels = np.asarray(cell.u.kernel[...]), np.asarray(cell.u.input_kernel[...])
    pre_activation = np.asarray(h) @ kernels[0] + embedded @ kernels[1] + 1
    np.testing.assert_allclose(let_go, 1 / (1 + np.exp(pre_activation)), rtol=1e-12)


def test_every_gate_of_the_fused_gru_is_orthogonal_by_itself():
    kernel = np.asarray(draw["gru"](scheme="orthogonal", gain=1.3).dense_h.kernel[...])
    for gate in np.split(kernel, 3, axis=1):
        np.testing.assert_allclose(np.linalg.svd(gate, compute_uv=False), 1.3, rtol=1e-13)


def test_forget_biases_reach_the_gate_that_keeps_the_state():
    bias = jnp.arange(N, dtype=jnp.float64)
    np.testing.assert_array_equal(draw["lstm"](forget_bias=bias).hf.bias[...], bias)
    np.testing.assert_array_equal(draw["lstm"](input_bias=-bias).hi.bias[...], -bias)
    np.testing.assert_array_equal(
        draw["gru"](update_bias=2.0).dense_i.bias[...], np.repeat([0.0, 2.0, 0.0], N)
    )


def test_chrono_biases_give_mean_lifetimes_uniform_between_2_and_the_longest_lag():
    lifetimes = 1 + np.exp(gated.chrono_biases(KEY, 4000, 50))
    assert 2 <= lifetimes.min() < 2.1
    assert 49.9 < lifetimes.max() <= 50
    assert abs(lifetimes.mean() - 26) < 5 * 48 / np.sqrt(12 * 4000)
    with pytest.raises(ValueError, match="longest must be 2 steps or more, got 1"):
        gated.chrono_biases(KEY, 4, 1)
