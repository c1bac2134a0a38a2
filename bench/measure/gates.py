"""What the gates of a cell do at a step: activities and recurrent kernels, as `analysis.gated` takes them."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import sigmoid

from signalprop.analysis.gated import Gates
from signalprop.models.gated import LSTM1997, MinimalRNN, ResetBeforeGRU

LSTM = nnx.LSTMCell | LSTM1997


def kernels(cell: LSTM) -> Gates:
    """Recurrent kernels (in, out) of an LSTM, as its gradient sees them: zeros where it is truncated."""
    if isinstance(cell, LSTM1997):
        i, g, o = ((1 - cell.truncated) * part.kernel[...] for part in (cell.i, cell.g, cell.o))
        return Gates(i, jnp.zeros_like(i), g, o)
    return Gates(*(part.kernel[...] for part in (cell.hi, cell.hf, cell.hg, cell.ho)))


def activities(cell: LSTM, h: jax.Array, x: jax.Array) -> Gates:
    """Gates of an LSTM at a step; without a forget gate f = 1."""
    if isinstance(cell, LSTM1997):
        i, g, o = cell.i(h, x), cell.g(h, x), cell.o(h, x)
        return Gates(sigmoid(i), jnp.ones_like(i), jnp.tanh(g), sigmoid(o))
    parts = (cell.ii, cell.hi), (cell.if_, cell.hf), (cell.ig, cell.hg), (cell.io, cell.ho)
    i, f, g, o = (from_input(x) + from_state(h) for from_input, from_state in parts)
    return Gates(sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o))


def kept(cell: Any, h: jax.Array, x: jax.Array) -> jax.Array:
    """The factor by which each unit keeps its state: f of an LSTM, z of a GRU, u of a minimalRNN, else 0."""
    if isinstance(cell, LSTM):
        return activities(cell, h, x).f
    if isinstance(cell, nnx.GRUCell):
        kernels = cell.dense_h.kernel[...]
        place = slice(len(kernels), 2 * len(kernels))
        return sigmoid(cell.dense_i(x)[place] + h @ kernels[:, place])
    if isinstance(cell, ResetBeforeGRU):
        return sigmoid(cell.z(h, x))
    if isinstance(cell, MinimalRNN):
        return sigmoid(cell.u(h, jnp.tanh(x @ cell.embedding[...])))
    return jnp.zeros_like(h)
