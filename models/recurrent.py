"""Recurrent cells without gates: ``h_t = phi(W h_{t-1} + V x_t + b)``.

A cell is the body of a scan, ``cell(carry, x) -> (carry, output)``, for one sequence or a batch, and works
with ``nnx.RNN``. Use it as a plain pytree under ``jax.vmap``, ``jax.jit``, ``jax.grad`` and ``lax.scan``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import zeros
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from signalprop.models.activations import activation
from signalprop.models.initializers import SCHEMES, Scheme
from signalprop.models.initializers import scheme as find_scheme


class Gate(nnx.Module):
    """The pre-activations ``W h + V x + b`` of one gate, or of all units of a cell without gates."""

    def __init__(
        self,
        kernel: Float[Array, "units units"],
        input_kernel: Float[Array, "inputs units"],
        bias: Float[Array, " units"],
    ):
        """Hold the recurrent kernel and the input kernel, both (in, out), and the bias."""
        self.kernel = nnx.Param(kernel)
        self.input_kernel = nnx.Param(input_kernel)
        self.bias = nnx.Param(bias)

    def __call__(
        self, h: Float[Array, "*batch units"], x: Float[Array, "*batch inputs"]
    ) -> Float[Array, "*batch units"]:
        """Join state and input."""
        return h @ self.kernel[...] + x @ self.input_kernel[...] + self.bias[...]


def draw_gate(
    key: PRNGKeyArray,
    inputs: int,
    units: int,
    scheme: Scheme | str = "gaussian",
    gain: Float[ArrayLike, ""] = 1.0,
    input_scale: Float[ArrayLike, ""] = 1.0,
    bias: Float[ArrayLike, "*units"] = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> Gate:
    """Draw the weights of one gate; draws depend on the key and the shapes, never on a scale.

    Args:
        key: Random key.
        inputs: Number of inputs.
        units: Number of units.
        scheme: How the recurrent kernel is drawn.
        gain: Its scale, used by the schemes that leave it free; may be traced.
        input_scale: ``sqrt(inputs Var V_ij)``, so that x ~ N(0, I) adds noise of this standard deviation to
            every pre-activation; may be traced.
        bias: One for all units or one each; may be traced.
        dtype: Type of the parameters.
    """
    scheme = find_scheme(scheme) if isinstance(scheme, str) else scheme
    kernel_key, input_key = jax.random.split(key)
    kernel = scheme.draw(kernel_key, units, units, gain, dtype)
    input_kernel = SCHEMES["gaussian"].draw(input_key, inputs, units, input_scale, dtype)
    return Gate(kernel, input_kernel, jnp.broadcast_to(jnp.asarray(bias, dtype), (units,)))


def draw_vanilla(
    key: PRNGKeyArray,
    inputs: int,
    units: int,
    phi: Callable[[Array], Array] | str = "tanh",
    scheme: Scheme | str = "gaussian",
    gain: Float[ArrayLike, ""] = 1.0,
    input_scale: Float[ArrayLike, ""] = 1.0,
    bias_scale: Float[ArrayLike, ""] = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> nnx.SimpleCell:
    """Draw Flax's simple cell, ``h_t = phi(W h_{t-1} + V x_t + b)``; its carry is h (units,).

    The IRNN of Le et al. (2015), arXiv 1504.00941, is relu with ``scaled_identity``, gain 1 and input weights
    of standard deviation 0.001; the smart tanh of Pascanu et al. (2013), arXiv 1211.5063, is tanh with
    ``smart_tanh``, gain 0.95 and 0.01. A standard deviation s of the input weights is
    ``input_scale = s sqrt(inputs)``.

    Args:
        key: Random key.
        inputs: Number of inputs.
        units: Number of units.
        phi: Elementwise activation, or its name.
        scheme: How W is drawn.
        gain: Scale of W, used by the schemes that leave it free; may be traced.
        input_scale: ``sqrt(inputs Var V_ij)``; may be traced.
        bias_scale: Standard deviation of the biases; may be traced.
        dtype: Type of the parameters.

    Raises:
        ValueError: If the scheme or the activation is unknown.
    """
    phi = activation(phi) if isinstance(phi, str) else phi
    gate_key, bias_key = jax.random.split(key)
    bias: Any = 0.0
    if not (isinstance(bias_scale, int | float) and bias_scale == 0):
        bias = bias_scale * jax.random.normal(bias_key, (units,), jnp.promote_types(dtype, jnp.float32))
    gate = draw_gate(gate_key, inputs, units, scheme, gain, input_scale, bias, dtype)
    cell = nnx.SimpleCell(
        inputs,
        units,
        dtype=dtype,
        param_dtype=dtype,
        activation_fn=phi,
        kernel_init=zeros,
        recurrent_kernel_init=zeros,
        rngs=nnx.Rngs(0),
    )
    cell.dense_h.kernel = gate.kernel
    cell.dense_i.kernel, cell.dense_i.bias = gate.input_kernel, gate.bias
    return cell
