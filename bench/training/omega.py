r"""Pascanu's regulariser: keep the gradient of a recurrent network as long as it is, step by step.

Of R. Pascanu, T. Mikolov & Y. Bengio (2013), arXiv 1211.5063, equation 9, in our order of indices:

.. math:: \Omega = \left\langle \left( \frac{|d_t \, \partial h_t / \partial h_{t-1}|}{|d_t|} - 1 \right)^2
    \right\rangle, \qquad d_t = \frac{dL}{dh_t}, \qquad
    \frac{\partial h_t}{\partial h_{t-1}} = \operatorname{diag}(\phi'(z_t)) \, W

As in the authors' program the average runs over the sequences and steps whose |d_t|^2 is at least 1e-20, and
only the immediate derivative with respect to W is used: d_t and the slopes are held fixed. (Their program
compares squares of norms; we take the norms, as the paper writes.)
"""

from typing import Any

import jax
import jax.numpy as jnp

from signalprop.bench.training.trainer import Loss
from signalprop.models.activations import derivative
from signalprop.models.sequence import SequenceModel

SMALLEST_SQUARE = 1e-20  # of d_t: below, a step does not count


class Outputs:
    """The read-outs of a model whose states are known, for a loss that asks for them."""

    def __init__(self, model: SequenceModel, states: jax.Array):
        """Hold the states h_1..h_T, (T, batch, units)."""
        self.readout, self.states = model.readout, states

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Return the read-out at the last step."""
        return self.readout(self.states[-1])

    def every_step(self, inputs: jax.Array) -> jax.Array:
        """Return the read-out at every step."""
        return self.readout(self.states)


def with_omega(loss: Loss, weight: float) -> Loss:
    """The loss of a network whose cell is ``nnx.SimpleCell``, plus ``weight`` times Omega.

    The new loss gives back the old one as ``task_loss`` and the regulariser as ``omega``.

    Args:
        loss: ``(model, batch) -> (scalar, {name: scalar})`` that calls the model once.
        weight: 4 in the paper, 2 in the authors' program.
    """

    def total(model: SequenceModel, batch: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        _, states = model.run(batch.inputs)
        value, aside = loss(Outputs(model, states), batch)
        fixed = jax.lax.stop_gradient(model)
        direct = jax.grad(lambda h: loss(Outputs(fixed, h), batch)[0])(jax.lax.stop_gradient(states))
        slopes = step_slopes(fixed, batch.inputs, jax.lax.stop_gradient(states))
        gradients = gradients_by_step(direct, slopes, recurrent_kernel(fixed))
        penalty = omega(recurrent_kernel(model), slopes, gradients)
        return value + weight * penalty, {**aside, "task_loss": value, "omega": penalty}

    return total


def recurrent_kernel(model: SequenceModel) -> jax.Array:
    """Kernel (in, out) from state to state, W transposed."""
    cell: Any = model.cell
    kernel: jax.Array = cell.dense_h.kernel[...]
    return kernel


def step_slopes(model: SequenceModel, inputs: jax.Array, states: jax.Array) -> jax.Array:
    """Slopes phi'(z_t) of every step, (T, batch, units)."""
    cell: Any = model.cell
    before = jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]])
    return derivative(cell.activation_fn, cell.dense_i(inputs) + cell.dense_h(before))


def gradients_by_step(direct: jax.Array, slopes: jax.Array, kernel: jax.Array) -> jax.Array:
    """Gradients d_t = dL/dh_t by backpropagation through time, (T, batch, units).

    Args:
        direct: What each step's own read-out adds to d_t.
        slopes: phi'(z_t).
        kernel: Recurrent kernel (in, out), W transposed.
    """

    def back(later: jax.Array, step: Any) -> tuple[jax.Array, jax.Array]:
        own, slope = step
        gradient = own + later
        return (slope * gradient) @ kernel.T, gradient

    return jax.lax.scan(back, jnp.zeros_like(direct[0]), (direct, slopes), reverse=True)[1]


def omega(kernel: jax.Array, slopes: jax.Array, gradients: jax.Array) -> jax.Array:
    """Mean over steps of ``(|d_t dh_t/dh_{t-1}| / |d_t| - 1)^2``; 0 if no step counts.

    Args:
        kernel: Recurrent kernel (in, out); the only argument to differentiate by.
        slopes: phi'(z_t), (T, batch, units).
        gradients: d_t, (T, batch, units).
    """
    square = jnp.sum(gradients**2, axis=-1)
    counts = square >= SMALLEST_SQUARE
    passed = jnp.sum(((slopes * gradients) @ kernel.T) ** 2, axis=-1)
    some = counts & (passed > 0)  # the norm has no slope at 0
    ratio = jnp.where(some, jnp.sqrt(jnp.where(some, passed, 1) / jnp.where(counts, square, 1)), 0)
    return jnp.sum(jnp.where(counts, (ratio - 1) ** 2, 0)) / jnp.maximum(jnp.sum(counts), 1)
