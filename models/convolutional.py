"""Convolutional networks of any depth on a ring, a torus, or any grid with periodic edges.

Layers are numbered 1..L: ``z^l(p) = sum_t y^{l-1}(p + t) W^l_t + b^l``, ``y^l = phi(z^l)``. Arrays have the
channels last and kernels are (window..., in, out), as in ``flax.nnx.Conv`` with circular padding.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from signalprop.models.lookup import named
from signalprop.models.mlp import equal_runs, scan_run

# Of unit scale: sum over the window of fan_in Var W is 1 per channel. `delta_orthogonal` is a Haar-orthogonal
# matrix at the middle of the window and zero elsewhere (Xiao et al., arXiv 1806.05393, algorithm 1).
CONVOLUTION_SCHEMES: dict[str, Callable[..., Array]] = {
    "gaussian": initializers.variance_scaling(1.0, "fan_in", "normal"),
    "delta_orthogonal": initializers.delta_orthogonal(),
}


class Convolution(nnx.Module):
    """One affine map that commutes with shifts, or a stack of them along a leading axis."""

    def __init__(
        self, kernel: Float[Array, "*stack_window fan_in fan_out"], bias: Float[Array, "*stack fan_out"]
    ):
        """Hold a kernel (window..., in, out) and a bias."""
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(bias)

    def __call__(self, y: Float[Array, "*batch_space fan_in"]) -> Float[Array, "*batch_space fan_out"]:
        """Map the activities below to the pre-activations; the axes before the channels are periodic.

        Shifted copies and one matrix product: where kernels differ from one network to the next, as under
        ``vmap``, this is faster than a grouped convolution.
        """
        kernel = self.kernel[...]
        window = kernel.shape[:-2]
        axes = tuple(range(-1 - len(window), -1))
        shifts = product(*(range((size - 1) // 2, -(size // 2) - 1, -1) for size in window))
        shifted = jnp.concatenate([jnp.roll(y, shift, axes) for shift in shifts], axis=-1)
        return shifted @ kernel.reshape(-1, kernel.shape[-1]) + self.bias[...]


def draw_convolution(
    key: PRNGKeyArray,
    layer: Int[ArrayLike, ""],
    window: tuple[int, ...],
    fan_in: int,
    fan_out: int,
    scheme: str = "gaussian",
    sigma_w: Float[ArrayLike, ""] = 1.0,
    sigma_b: Float[ArrayLike, ""] = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> Convolution:
    """Draw one convolution; its key is folded with the layer's number and shape, never with a scale.

    Entries of a Gaussian kernel have variance sigma_w^2 / (k fan_in), k the number of places in the window.

    Args:
        key: The network's key.
        layer: The layer's number, from 1; may be traced.
        window: Places along each of 1 to 3 axes of space.
        fan_in: Channels below.
        fan_out: Channels above.
        scheme: A key of ``CONVOLUTION_SCHEMES``.
        sigma_w: Scale of the weights, may be traced.
        sigma_b: Standard deviation of the biases, one per channel, may be traced.
        dtype: Type of the parameters.

    Raises:
        ValueError: If the scheme is unknown, or delta-orthogonal kernels are to narrow the network.
    """
    initializer = named("convolution scheme", scheme, CONVOLUTION_SCHEMES)
    if scheme == "delta_orthogonal" and fan_in > fan_out:
        raise ValueError(f"delta_orthogonal needs fan_in <= fan_out, got {fan_in} and {fan_out}")
    for part in (layer, *window, fan_in, fan_out):
        key = jax.random.fold_in(key, part)
    kernel_key, bias_key = jax.random.split(key)
    drawn = jnp.promote_types(dtype, jnp.float32)
    kernel = initializer(kernel_key, (*window, fan_in, fan_out), drawn).astype(dtype)
    bias = jax.random.normal(bias_key, (fan_out,), drawn).astype(dtype)
    return Convolution(kernel * jnp.asarray(sigma_w, dtype), bias * jnp.asarray(sigma_b, dtype))


class ConvNet(nnx.Module):
    """A convolutional network with the activation after every layer, on periodic space of any size.

    Layer l equals ``draw_convolution(key, l, ...)``. A read-out, where one is wanted, is a ``mlp.Layer`` on
    the channels, or on their mean over space.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        window: tuple[int, ...],
        phi: Callable[[Array], Array],
        scheme: str = "delta_orthogonal",
        sigma_w: Float[ArrayLike, ""] = 1.0,
        sigma_b: Float[ArrayLike, ""] = 0.0,
        *,
        key: PRNGKeyArray,
        dtype: DTypeLike = jnp.float32,
    ):
        """Draw the network.

        Args:
            channels: Channels of the input and of every layer, ``(C_0, ..., C_L)``.
            window: Places of a kernel along each axis of space.
            phi: Elementwise activation.
            scheme: How kernels are drawn.
            sigma_w: Scale of the weights, may be traced.
            sigma_b: Standard deviation of the biases, may be traced.
            key: Random key.
            dtype: Type of the parameters.

        Raises:
            ValueError: If there is no layer, or as `draw_convolution`.
        """
        if len(channels) < 2:
            raise ValueError(f"channels must hold the input and at least one layer, got {channels}")
        self.phi = phi
        draw = partial(draw_convolution, key, window=window, scheme=scheme)
        draw = partial(draw, sigma_w=sigma_w, sigma_b=sigma_b, dtype=dtype)
        self.runs: nnx.List[Convolution] = nnx.List(
            jax.vmap(partial(draw, fan_in=fan_in, fan_out=fan_out))(layers)
            for layers, fan_in, fan_out in equal_runs(tuple(channels))
        )

    def __call__(self, x: Float[Array, "*batch_space c_0"]) -> Float[Array, "*batch_space c_L"]:
        """Return the last layer's activities y^L."""
        y = x
        for run in self.runs:
            y, _ = scan_run(lambda y, layer: (self.phi(layer(y)), None), y, run)
        return y
