"""Recurrent cells with gates: LSTM of 1997, 2000 and 2002, GRU with both places of the reset, minimalRNN.

Flax's cells where they are the same thing. Every gate is drawn by itself: an orthogonal kernel drawn as one
fused matrix, as Flax does for the GRU, leaves each gate with singular values far below 1.

Cells are called as ``cell(carry, x) -> (carry, output)``, for one sequence or a batch, and work with
``nnx.RNN``. The carry of an LSTM is (c, h), that of the others h.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import sigmoid
from jax.nn.initializers import zeros
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from signalprop.models.initializers import SCHEMES, Scheme
from signalprop.models.recurrent import Gate, draw_gate

State = Float[Array, "*batch units"]
Memory = tuple[State, State]
Inputs = Float[Array, "*batch inputs"]


class _Cell(nnx.RNNCellBase):
    """What the cells of this file share: a carry of one or two vectors, zero at first."""

    memory = False

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None
    ) -> State | Memory:
        """The first carry, zero unless an initializer and random streams are given.

        Args:
            input_shape: Batch axes, if any, and the number of inputs.
            rngs: ``nnx.Rngs`` or its stream ``carry``, used with an initializer.
            carry_init: ``(key, shape, dtype) -> array``.
        """
        leaf = jax.tree.leaves(self)[0]  # of any parameter the last axis is the units
        stream = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs

        def vector() -> Array:
            shape = (*input_shape[:-1], leaf.shape[-1])
            if carry_init is None:
                return jnp.zeros(shape, leaf.dtype)
            drawn: Array = carry_init(stream(), shape, leaf.dtype)
            return drawn

        return (vector(), vector()) if self.memory else vector()

    @property
    def num_feature_axes(self) -> int:
        """One, the axis of the inputs."""
        return 1


class LSTM1997(_Cell):
    """The LSTM of Hochreiter & Schmidhuber (1997): two gates and a sum that nothing forgets.

    ``c' = c + i g``, ``h' = o tanh(c')`` with sigmoid gates i and o and g = tanh, each of ``U h + V x + b``.
    With the truncated gradient of the paper, errors that leave a cell by its gates and its input are cut
    off, and dc'/dc is exactly the identity. The paper's two squashing functions are here both tanh.
    """

    memory = True

    def __init__(self, i: Gate, g: Gate, o: Gate, *, truncated: bool = True):
        """Hold input gate, cell input and output gate.

        Args:
            i: Input gate.
            g: Cell input.
            o: Output gate.
            truncated: Whether gates and cell input see h without its gradient.
        """
        self.i, self.g, self.o, self.truncated = i, g, o, truncated

    def __call__(self, carry: Memory, x: Inputs) -> tuple[Memory, State]:
        """Take one step."""
        c, h = carry
        h = jax.lax.stop_gradient(h) if self.truncated else h
        c = c + sigmoid(self.i(h, x)) * jnp.tanh(self.g(h, x))
        h = sigmoid(self.o(h, x)) * jnp.tanh(c)
        return (c, h), h


class PeepholeLSTM(_Cell):
    """The LSTM with peepholes of Gers, Schraudolph & Schmidhuber (2002), JMLR 3.

    As the LSTM with a forget gate, but the input and forget gates also see ``p c`` and the output gate
    ``p c'``, with one weight per unit.
    """

    memory = True

    def __init__(self, i: Gate, g: Gate, o: Gate, f: Gate, peepholes: Float[Array, "3 units"]):
        """Hold the gates and the peephole weights of i, o and f, in this order."""
        self.i, self.g, self.o, self.f = i, g, o, f
        self.peepholes = nnx.Param(peepholes)

    def __call__(self, carry: Memory, x: Inputs) -> tuple[Memory, State]:
        """Take one step."""
        c, h = carry
        to_i, to_o, to_f = self.peepholes[...]
        kept = sigmoid(self.f(h, x) + to_f * c) * c
        c = kept + sigmoid(self.i(h, x) + to_i * c) * jnp.tanh(self.g(h, x))
        h = sigmoid(self.o(h, x) + to_o * c) * jnp.tanh(c)
        return (c, h), h


class ResetBeforeGRU(_Cell):
    """The GRU of Cho et al. (2014), arXiv 1406.1078: the state is reset before the matrix product.

    ``h' = (1 - z) n + z h`` with ``n = tanh(U (r h) + V x + b)``; Flax's cell has ``r (U h)`` instead.
    """

    def __init__(self, n: Gate, r: Gate, z: Gate):
        """Hold the candidate, the reset gate and the update gate."""
        self.n, self.r, self.z = n, r, z

    def __call__(self, carry: State, x: Inputs) -> tuple[State, State]:
        """Take one step."""
        z = sigmoid(self.z(carry, x))
        n = jnp.tanh(self.n(sigmoid(self.r(carry, x)) * carry, x))
        h = (1 - z) * n + z * carry
        return h, h


class MinimalRNN(_Cell):
    """The minimalRNN of Chen et al. (2018), arXiv 1806.05394: one gate, which mixes state and embedded input.

    ``h' = u h + (1 - u) e`` with ``e = tanh(x E)`` and ``u = sigmoid(W h + V e + b)``.
    """

    def __init__(self, u: Gate, embedding: Float[Array, "inputs units"]):
        """Hold the gate, whose inputs are the embedded ones, and the embedding E."""
        self.u, self.embedding = u, nnx.Param(embedding)

    def __call__(self, carry: State, x: Inputs) -> tuple[State, State]:
        """Take one step."""
        e = jnp.tanh(x @ self.embedding[...])
        u = sigmoid(self.u(carry, e))
        h = u * carry + (1 - u) * e
        return h, h


def draw_lstm1997(
    key: PRNGKeyArray,
    inputs: int,
    units: int,
    scheme: Scheme | str = "gaussian",
    gain: Float[ArrayLike, ""] = 1.0,
    input_scale: Float[ArrayLike, ""] = 1.0,
    input_bias: Float[ArrayLike, "*units"] = 0.0,
    *,
    truncated: bool = True,
    dtype: DTypeLike = jnp.float32,
) -> LSTM1997:
    """Draw an LSTM without forget gate; gates i, g, o as `draw_lstm` draws them from the same key.

    Args:
        key: Random key.
        inputs: Number of inputs.
        units: Number of units.
        scheme: How the recurrent kernels are drawn.
        gain: Scale of the recurrent kernels; may be traced.
        input_scale: ``sqrt(inputs Var V_ij)`` of every gate; may be traced.
        input_bias: Bias of the input gates, negative in the paper; may be traced.
        truncated: Whether gates and cell input see h without its gradient.
        dtype: Type of the parameters.
    """
    biases = {"i": input_bias, "g": 0.0, "o": 0.0}
    gates = _draw_gates(key, inputs, units, biases, scheme, gain, input_scale, dtype)
    return LSTM1997(**gates, truncated=truncated)


def draw_lstm(
    key: PRNGKeyArray,
    inputs: int,
    units: int,
    scheme: Scheme | str = "gaussian",
    gain: Float[ArrayLike, ""] = 1.0,
    input_scale: Float[ArrayLike, ""] = 1.0,
    forget_bias: Float[ArrayLike, "*units"] = 0.0,
    input_bias: Float[ArrayLike, "*units"] = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> nnx.LSTMCell:
    """Draw Flax's LSTM with forget gate (Gers et al., 2000): ``c' = f c + i g``, ``h' = o tanh(c')``.

    Args:
        key: Random key.
        inputs: Number of inputs.
        units: Number of units.
        scheme: How the recurrent kernels are drawn.
        gain: Scale of the recurrent kernels; may be traced.
        input_scale: ``sqrt(inputs Var V_ij)`` of every gate; may be traced.
        forget_bias: Bias of the forget gates, one for all or one each, as `chrono_biases`; may be traced.
        input_bias: Bias of the input gates, minus those of the forget gates with chrono; may be traced.
        dtype: Type of the parameters.
    """
    biases = {"i": input_bias, "g": 0.0, "o": 0.0, "f": forget_bias}
    gates = _draw_gates(key, inputs, units, biases, scheme, gain, input_scale, dtype)
    cell = nnx.LSTMCell(
        inputs,
        units,
        kernel_init=zeros,
        recurrent_kernel_init=zeros,
        dtype=dtype,
        param_dtype=dtype,
        rngs=nnx.Rngs(0),
    )
    for name, gate in gates.items():
        from_input, from_state = (
            getattr(cell, "if_" if name == "f" else f"i{name}"),
            getattr(cell, f"h{name}"),
        )
        from_input.kernel = gate.input_kernel
        from_state.kernel, from_state.bias = gate.kernel, gate.bias
    return cell


def draw_peephole_lstm(
    key: PRNGKeyArray,
    inputs: int,
    units: int,
    scheme: Scheme | str = "gaussian",
    gain: Float[ArrayLike, ""] = 1.0,
    input_scale: Float[ArrayLike, ""] = 1.0,
    forget_bias: Float[ArrayLike, "*units"] = 0.0,
    input_bias: Float[ArrayLike, "*units"] = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> PeepholeLSTM:
    """Draw an LSTM with peepholes; its gates as `draw_lstm` draws them from the same key.

    Args:
        key: Random key.
        inputs: Number of inputs.
        units: Number of units.
        scheme: How the recurrent kernels are drawn.
        gain: Scale of the recurrent kernels; the peepholes are normal with standard deviation
            ``gain / sqrt(units)``; may be traced.
        input_scale: ``sqrt(inputs Var V_ij)`` of every gate; may be traced.
        forget_bias: As for `draw_lstm`.
        input_bias: As for `draw_lstm`.
        dtype: Type of the parameters.
    """
    biases = {"i": input_bias, "g": 0.0, "o": 0.0, "f": forget_bias}
    gates = _draw_gates(key, inputs, units, biases, scheme, gain, input_scale, dtype)
    peephole_key = jax.random.fold_in(key, len(biases))
    kernel = SCHEMES["gaussian"].draw(peephole_key, units, 3, gain, dtype)
    return PeepholeLSTM(**gates, peepholes=kernel.T)


def draw_gru(
    key: PRNGKeyArray,
    inputs: int,
    units: int,
    scheme: Scheme | str = "gaussian",
    gain: Float[ArrayLike, ""] = 1.0,
    input_scale: Float[ArrayLike, ""] = 1.0,
    update_bias: Float[ArrayLike, "*units"] = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> nnx.GRUCell:
    """Draw Flax's GRU, ``h' = (1 - z) n + z h`` with the reset in ``n = tanh(r (U h) + V x + b)``.

    Args:
        key: Random key.
        inputs: Number of inputs.
        units: Number of units.
        scheme: How the recurrent kernels are drawn, each gate's by itself.
        gain: Scale of the recurrent kernels; may be traced.
        input_scale: ``sqrt(inputs Var V_ij)`` of every gate; may be traced.
        update_bias: Bias of the update gates z, which keep the state: it acts as an LSTM's forget bias.
        dtype: Type of the parameters.
    """
    biases = {"n": 0.0, "r": 0.0, "z": update_bias}
    gates = _draw_gates(key, inputs, units, biases, scheme, gain, input_scale, dtype)
    cell = nnx.GRUCell(
        inputs,
        units,
        kernel_init=zeros,
        recurrent_kernel_init=zeros,
        dtype=dtype,
        param_dtype=dtype,
        rngs=nnx.Rngs(0),
    )
    fused = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, -1), gates["r"], gates["z"], gates["n"])
    cell.dense_h.kernel = fused.kernel
    cell.dense_i.kernel, cell.dense_i.bias = fused.input_kernel, fused.bias
    return cell


def draw_gru_before(
    key: PRNGKeyArray,
    inputs: int,
    units: int,
    scheme: Scheme | str = "gaussian",
    gain: Float[ArrayLike, ""] = 1.0,
    input_scale: Float[ArrayLike, ""] = 1.0,
    update_bias: Float[ArrayLike, "*units"] = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> ResetBeforeGRU:
    """Draw a GRU that resets before the product, with the weights that `draw_gru` draws from the same key.

    Args:
        key: Random key.
        inputs: Number of inputs.
        units: Number of units.
        scheme: How the recurrent kernels are drawn.
        gain: Scale of the recurrent kernels; may be traced.
        input_scale: ``sqrt(inputs Var V_ij)`` of every gate; may be traced.
        update_bias: Bias of the update gates z, which keep the state.
        dtype: Type of the parameters.
    """
    biases = {"n": 0.0, "r": 0.0, "z": update_bias}
    return ResetBeforeGRU(**_draw_gates(key, inputs, units, biases, scheme, gain, input_scale, dtype))


def draw_minimal_rnn(
    key: PRNGKeyArray,
    inputs: int,
    units: int,
    scheme: Scheme | str = "gaussian",
    gain: Float[ArrayLike, ""] = 1.0,
    input_scale: Float[ArrayLike, ""] = 1.0,
    update_bias: Float[ArrayLike, "*units"] = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> MinimalRNN:
    """Draw a minimalRNN.

    Args:
        key: Random key.
        inputs: Number of inputs.
        units: Number of units.
        scheme: How W is drawn.
        gain: Scale of W; may be traced. V is Gaussian with ``Var V_ij = 1 / units``.
        input_scale: ``sqrt(inputs Var E_ij)`` of the embedding; may be traced.
        update_bias: Bias of the gate u, which keeps the state.
        dtype: Type of the parameters.
    """
    gate = draw_gate(key, units, units, scheme, gain, 1.0, update_bias, dtype)
    embedding = SCHEMES["gaussian"].draw(jax.random.fold_in(key, 1), inputs, units, input_scale, dtype)
    return MinimalRNN(gate, embedding)


def chrono_biases(key: PRNGKeyArray, units: int, longest: int) -> Float[Array, " units"]:
    """Forget biases ``log u``, u uniform in [1, longest - 1], so that memories last 2 to ``longest`` steps.

    A forget gate of bias b and no other input keeps its cell for ``1 + e^b`` steps on average. The input
    gates get minus these biases.

    Args:
        key: Random key.
        units: Number of units.
        longest: Longest time lag T_max, in steps.

    Raises:
        ValueError: If ``longest`` is less than 2.

    References:
        Tallec & Ollivier (2018), arXiv 1804.11188.
    """
    if longest < 2:
        raise ValueError(f"longest must be 2 steps or more, got {longest}")
    return jnp.log(jax.random.uniform(key, (units,), minval=1.0, maxval=longest - 1.0))


def _draw_gates(
    key: PRNGKeyArray,
    inputs: int,
    units: int,
    biases: dict[str, Any],
    scheme: Scheme | str,
    gain: Float[ArrayLike, ""],
    input_scale: Float[ArrayLike, ""],
    dtype: DTypeLike,
) -> dict[str, Gate]:
    """One gate for each name in ``biases``, the key folded with its place; drawn together, compiled once."""
    keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(jnp.arange(len(biases)))
    stacked = jnp.stack([jnp.broadcast_to(jnp.asarray(bias, dtype), (units,)) for bias in biases.values()])
    drawn = jax.vmap(lambda one, bias: draw_gate(one, inputs, units, scheme, gain, input_scale, bias, dtype))(
        keys, stacked
    )
    return {
        name: jax.tree.map(lambda leaf, place=place: leaf[place], drawn) for place, name in enumerate(biases)
    }
