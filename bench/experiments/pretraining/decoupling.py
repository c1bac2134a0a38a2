"""How near a stack of layers is to an isometry, and how well neighbours fit each other's directions."""

import jax
import jax.numpy as jnp

from signalprop.models.activations import derivative
from signalprop.models.classifier import Classifier


def hidden_kernels(model: Classifier) -> jax.Array:
    """Kernels of the square hidden layers, 2 to L, (L - 1, in, out)."""
    depth = sum(len(run.layer.bias[...]) for run in model.runs)
    kernels: jax.Array = model.runs[-1].layer.kernel[...][1 - depth :]
    return kernels


def log_spread(model: Classifier, x: jax.Array) -> jax.Array:
    """Standard deviation of the natural logs of the singular values of dy^L/dy^1, mean over examples.

    0 of an isometry. The product is formed in float64, which resolves ratios up to 1e15.

    Args:
        model: Classifier of at least two hidden layers.
        x: Inputs, (examples, features).
    """
    _, z = model.trace(x)
    slopes = derivative(model.runs[0].phi, z)[1:].astype(jnp.float64)
    kernels = hidden_kernels(model).astype(jnp.float64)

    def grow(product: jax.Array, layer: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        kernel, slope = layer
        product = product @ kernel * slope[:, None, :]  # transposed: (examples, in, out)
        return product / jnp.max(jnp.abs(product), (1, 2), keepdims=True), None

    start = jnp.broadcast_to(jnp.eye(kernels.shape[1]), (len(x), *kernels.shape[1:]))
    product, _ = jax.lax.scan(grow, start, (kernels, slopes))
    logs = jnp.log(jnp.linalg.svd(product, compute_uv=False))
    return jnp.mean(jnp.std(logs, axis=1)).astype(x.dtype)


def alignment(model: Classifier) -> jax.Array:
    """Share of the largest possible norm that products of neighbouring layers have, mean over pairs.

    ``|W_{l+1} W_l|_F^2 / sum_i s_i(W_{l+1})^2 s_i(W_l)^2``, with both singular values in descending order: at
    most 1, by von Neumann's trace inequality, reached where each layer's output directions are the next one's
    input directions in the order of their strength (Saxe et al. 2013, arXiv:1312.6120: decoupled modes), and
    by orthogonal layers. Independent Gaussian square layers: 1 / 2 at infinite width, where the mean square
    of the Marchenko-Pastur law is 2. NaN below three hidden layers.
    """
    kernels = hidden_kernels(model)
    squares = jnp.linalg.svd(kernels, compute_uv=False) ** 2
    norms = jnp.sum((kernels[:-1] @ kernels[1:]) ** 2, (1, 2))
    return jnp.mean(norms / jnp.sum(squares[:-1] * squares[1:], 1))
