"""Fully connected networks of any depth.

Layers are numbered 1..L as in theory: ``z^l = W^l y^{l-1} + b^l``, ``y^l = phi(z^l)``, ``y^0 = x``. A run of
layers of equal shape is one stacked ``Layer`` and one ``lax.scan``: depth 1000 compiles as fast as depth 10.
"""

from collections.abc import Callable
from functools import partial
from itertools import groupby, pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from signalprop.models.activations import derivative
from signalprop.models.initializers import Scheme
from signalprop.models.initializers import scheme as find_scheme


class Layer(nnx.Module):
    """One affine map ``z = y W + b``, or a stack of them along a leading axis."""

    def __init__(self, kernel: Float[Array, "*stack fan_in fan_out"], bias: Float[Array, "*stack fan_out"]):
        """Hold a kernel (in, out) and a bias."""
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(bias)

    def __call__(self, y: Float[Array, "*batch fan_in"]) -> Float[Array, "*batch fan_out"]:
        """Map the activities below to the pre-activations."""
        return y @ self.kernel[...] + self.bias[...]


def draw_layer(
    key: PRNGKeyArray,
    layer: Int[ArrayLike, ""],
    fan_in: int,
    fan_out: int,
    scheme: Scheme | str = "gaussian",
    sigma_w: Float[ArrayLike, ""] = 1.0,
    sigma_b: Float[ArrayLike, ""] = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> Layer:
    """Draw one layer; its key is folded with the layer's number and shape, never with a scale.

    Args:
        key: The network's key.
        layer: The layer's number, from 1; may be traced.
        fan_in: Units below.
        fan_out: Units above.
        scheme: How the kernel is drawn.
        sigma_w: Scale of the weights, may be traced; used by the schemes that leave it free.
        sigma_b: Standard deviation of the biases, may be traced.
        dtype: Type of the parameters.
    """
    scheme = find_scheme(scheme) if isinstance(scheme, str) else scheme
    for part in (layer, fan_in, fan_out):
        key = jax.random.fold_in(key, part)
    kernel_key, bias_key = jax.random.split(key)
    kernel = scheme.draw(kernel_key, fan_in, fan_out, sigma_w, dtype)
    if isinstance(sigma_b, float) and sigma_b == 0:  # a draw is what takes longest to compile
        return Layer(kernel, jnp.zeros(fan_out, dtype))
    bias = jax.random.normal(bias_key, (fan_out,), jnp.promote_types(dtype, jnp.float32)).astype(dtype)
    return Layer(kernel, bias * jnp.asarray(sigma_b, dtype))


def equal_runs(widths: tuple[int, ...]) -> list[tuple[Int[Array, " run"], int, int]]:
    """Split a net into runs of layers of equal shape: their numbers, fan-in and fan-out.

    Example:
        >>> [(fan_in, fan_out, len(layers)) for layers, fan_in, fan_out in equal_runs((8, 4, 4, 4, 2))]
        [(8, 4, 1), (4, 4, 2), (4, 2, 1)]
    """
    numbered = enumerate(pairwise(widths), start=1)
    grouped = groupby(numbered, key=lambda item: item[1])
    return [(jnp.array([layer for layer, _ in run], jnp.int32), *shape) for shape, run in grouped]


def scan_run(
    step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, run: Any, *, reverse: bool = False
) -> tuple[Any, Any]:
    """Do as ``lax.scan`` does over a run of layers of equal shape.

    A layer that changes the width is a run of its own and would change the carry's shape, so a run of one
    layer is called without a scan.

    Args:
        step: ``(carry, layer) -> (carry, out)``.
        carry: What goes in.
        run: Pytree with layers along the first axis of every leaf.
        reverse: Whether to begin with the last layer.
    """
    if len(jax.tree.leaves(run)[0]) > 1:
        return jax.lax.scan(step, carry, run, reverse=reverse)
    carry, out = step(carry, jax.tree.map(lambda leaf: leaf[0], run))
    return carry, jax.tree.map(lambda leaf: leaf[None], out)


class MLP(nnx.Module):
    """A fully connected network with the activation after every layer: dy^L/dy^0 has L pairs ``D_l W_l``.

    Layer l equals ``draw_layer(key, l, ...)``. A read-out, where one is wanted, is a ``Layer`` of its own.
    Use it as a plain pytree: it may be built and called under ``jax.vmap``, ``jax.jit`` and ``jax.grad``.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        phi: Callable[[Array], Array],
        scheme: Scheme | str = "gaussian",
        sigma_w: Float[ArrayLike, ""] = 1.0,
        sigma_b: Float[ArrayLike, ""] = 0.0,
        *,
        key: PRNGKeyArray,
        dtype: DTypeLike = jnp.float32,
    ):
        """Draw the network.

        Args:
            widths: Units of the input and of every layer, ``(N_0, ..., N_L)``.
            phi: Elementwise activation.
            scheme: How kernels are drawn.
            sigma_w: Scale of the weights, may be traced.
            sigma_b: Standard deviation of the biases, may be traced.
            key: Random key.
            dtype: Type of the parameters.

        Raises:
            ValueError: If there is no layer or the scheme is unknown.
        """
        if len(widths) < 2:
            raise ValueError(f"widths must hold the input and at least one layer, got {widths}")
        self.widths = tuple(widths)
        self.phi = phi
        draw = partial(draw_layer, key, scheme=scheme, sigma_w=sigma_w, sigma_b=sigma_b, dtype=dtype)
        self.runs: nnx.List[Layer] = nnx.List(
            jax.vmap(partial(draw, fan_in=fan_in, fan_out=fan_out))(layers)
            for layers, fan_in, fan_out in equal_runs(self.widths)
        )

    def __call__(self, x: Float[Array, "*batch n_0"]) -> Float[Array, "*batch n_L"]:
        """Return the last layer's activities y^L."""
        y = x
        for run in self.runs:
            y, _ = scan_run(lambda y, layer: (self.phi(layer(y)), None), y, run)
        return y

    def trace(self, x: Float[Array, "*batch n_0"]) -> list[Float[Array, "run *batch units"]]:
        """Return the pre-activations z^l, one array per run of equal shape, layers along its first axis.

        A square net, N_0 = ... = N_L, gives a list of one array (L, batch, N).
        """
        return self._perturbed(x, self._zeros(x))[1]

    def factors(self, x: Float[Array, " n_0"]) -> list[Float[Array, "run fan_out fan_in"]]:
        """Return the Jacobian factors ``D_l W_l`` of one example, one array per run of equal shape."""
        return [
            derivative(self.phi, z)[:, :, None] * jnp.swapaxes(run.kernel[...], 1, 2)
            for run, z in zip(self.runs, self.trace(x), strict=True)
        ]

    def pre_activation_gradients(
        self, x: Float[Array, "*batch n_0"], cotangent: Float[Array, "*batch n_L"]
    ) -> list[Float[Array, "run *batch units"]]:
        """Return delta^l = dE/dz^l of every layer, in the arrangement of `trace`, in one backward pass.

        Entries below the dtype's range come back as 0; `signalprop.models.stream.profile` has no such limit.

        Args:
            x: Inputs.
            cotangent: dE/dy^L.
        """
        _, pull_back = jax.vjp(lambda shift: self._perturbed(x, shift)[0], self._zeros(x))
        gradients: list[Array] = pull_back(cotangent)[0]
        return gradients

    def _zeros(self, x: Array) -> list[Array]:
        """A shift of zero for every pre-activation."""
        shapes = [(*run.bias[...].shape[:1], *x.shape[:-1], run.bias[...].shape[1]) for run in self.runs]
        return [jnp.zeros(shape, x.dtype) for shape in shapes]

    def _perturbed(self, x: Array, shifts: list[Array]) -> tuple[Array, list[Array]]:
        """Activities y^L and all z^l when a shift is added to every z^l."""

        def step(y: Array, layer_and_shift: tuple[Layer, Array]) -> tuple[Array, Array]:
            layer, shift = layer_and_shift
            z = layer(y) + shift
            return self.phi(z), z

        y, trace = x, []
        for run, shift in zip(self.runs, shifts, strict=True):
            y, z = scan_run(step, y, (run, shift))
            trace.append(z)
        return y, trace
