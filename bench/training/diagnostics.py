"""What is watched inside the compiled training step: gradients, updates and activity, layer by layer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis.activity import inactive, saturated
from signalprop.bench.training.trainer import log_global_norm
from signalprop.models.activations import derivative
from signalprop.models.classifier import Classifier

SLOPE_GRID = np.linspace(-8, 8, 1601)  # where the largest slope of an activation is looked for


def by_layer(model: Classifier, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
    """Observe one step of `signalprop.bench.training.trainer.train` on a classifier of L hidden layers.

    Returns:
        Natural logs of Frobenius norms, (L + 1,) with the read-out last, -inf of an exact zero:
        ``log_gradient``, ``log_update`` and ``log_weight`` of the kernels; (L,): ``log_bias_gradient``, and
        of the batch's activities the shares ``saturated`` (slope below a tenth of the largest) and
        ``inactive`` (slope exactly 0).
    """
    _, z = model.trace(batch[0])
    phi = model.runs[0].phi
    slopes = derivative(phi, z)
    largest = jnp.max(jnp.abs(derivative(phi, jnp.asarray(SLOPE_GRID, z.dtype))))
    return {
        "log_gradient": kernel_norms(gradients),
        "log_bias_gradient": bias_norms(gradients),
        "log_update": kernel_norms(updates),
        "log_weight": kernel_norms(model),
        "saturated": saturated(slopes, largest).astype(z.dtype),
        "inactive": inactive(slopes).astype(z.dtype),
    }


def kernel_norms(tree: Any) -> jax.Array:
    """Natural log of the Frobenius norm of every kernel of a classifier or of its gradients, (L + 1,)."""
    hidden = [jax.vmap(log_global_norm)(run.layer.kernel[...]) for run in _runs(tree)]
    return jnp.concatenate([*hidden, log_global_norm(tree.readout.kernel[...])[None]])


def bias_norms(tree: Any) -> jax.Array:
    """Natural log of the norm of every hidden layer's bias, (L,)."""
    return jnp.concatenate([jax.vmap(log_global_norm)(run.layer.bias[...]) for run in _runs(tree)])


def _runs(tree: Any) -> list[Any]:
    """The stacks of a classifier, or of a state of the same structure, whose keys are numbers."""
    runs = tree.runs
    return [runs[i] for i in range(len(runs))]
