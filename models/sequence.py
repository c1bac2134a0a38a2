"""A recurrent cell and a read-out as one network on batches of sequences, time first."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from signalprop.models.cells import zero_carry
from signalprop.models.mlp import Layer

UNROLL = 1  # steps of the scan in one iteration of the compiled loop


class SequenceModel(nnx.Module):
    """``carry, h_t = cell(carry, x_t)`` from a carry of zeros, ``y_t = readout(h_t)``.

    Use it as a plain pytree: it may be built and called under ``jax.vmap``, ``jax.jit`` and ``jax.grad``.

    Example:
        >>> from signalprop.models.cells import cell
        >>> key = jax.random.key(0)
        >>> model = SequenceModel(cell("lstm")(key, 2, 8), Layer(jnp.zeros((8, 1)), jnp.ones(1)))
        >>> model(jnp.zeros((50, 4, 2)))[:, 0].tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, cell: nnx.RNNCellBase, readout: Layer):
        """Hold a cell ``(carry, x) -> (carry, output)`` and the affine map from its output."""
        self.cell = cell
        self.readout = readout

    def __call__(self, inputs: Float[Array, "T batch m"]) -> Float[Array, "batch out"]:
        """Return the read-out at the last step."""
        return self.readout(self.run(inputs)[1][-1])

    def every_step(self, inputs: Float[Array, "T batch m"]) -> Float[Array, "T batch out"]:
        """Return the read-out at every step."""
        return self.readout(self.run(inputs)[1])

    def run(self, inputs: Float[Array, "T batch m"]) -> tuple[Any, Float[Array, "T batch units"]]:
        """Return the last carry, with the batch as the first axis of its leaves, and the outputs h_1..h_T."""
        zero = zero_carry(self.cell)
        start = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (inputs.shape[1], *leaf.shape)), zero)
        inputs = inputs.astype(jax.tree.leaves(start)[0].dtype)
        end, outputs = jax.lax.scan(self.cell, start, inputs, unroll=UNROLL)
        return end, outputs
