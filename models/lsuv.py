"""Layer-sequential unit variance: scale each layer on a batch of data (arXiv 1511.06422)."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from signalprop.models.classifier import Block, Classifier
from signalprop.models.mlp import Layer, scan_run


def unit_variance(model: Classifier, x: Float[Array, "batch features"]) -> Classifier:
    """Divide the kernels, first layer first, so that ``y W`` has variance 1 over a batch and its units.

    The paper starts from orthogonal kernels. One division is exact, where it iterates, as a layer's output is
    linear in its kernel. The variance is about the mean over all entries: what all examples have in common
    counts, so it does not keep the examples apart. Biases stay as they are.

    Args:
        model: Plain layers, without norm.
        x: Inputs that are not all 0.
    """

    def step(y: Array, block: Block) -> tuple[Array, Array]:
        kernel, bias = block.layer.kernel[...], block.layer.bias[...]
        kernel = kernel / jnp.std(y @ kernel)
        return block.above(y, y @ kernel + bias), kernel

    y, runs = x, []
    for run in model.runs:
        y, kernel = scan_run(step, y, run)
        runs.append(_with_kernel(run, kernel))
    return Classifier(runs, model.readout)


def _with_kernel(block: Block, kernel: Array) -> Any:
    """The same stack of layers with another kernel."""
    layer = Layer(kernel, block.layer.bias[...])
    return Block(
        layer, block.phi, norm=block.norm, skip=block.skip, scale=block.scale[...], train_scale=False
    )
