"""Feed-forward classifiers to be trained: plain, normalized or residual hidden layers, a linear read-out.

Hidden layer l is ``y^l = y^{l-1} + scale phi(z^l)`` with ``z^l = gain norm(W^l y^{l-1} + b^l) + shift``; a
plain layer has no skip, scale 1 and no norm. Layers of equal shape are one stack and one ``lax.scan``.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from signalprop.models.initializers import Scheme
from signalprop.models.mlp import Layer, draw_layer, equal_runs, scan_run
from signalprop.models.normalization import NORMS, Norm
from signalprop.models.normalization import norm as find_norm

Phi = Callable[[Array], Array]


class Block(nnx.Module):
    """One hidden layer, or a stack of them along a leading axis."""

    def __init__(
        self,
        layer: Layer,
        phi: Phi,
        *,
        norm: Norm,
        skip: bool,
        scale: Float[ArrayLike, "*stack"],
        train_scale: bool,
    ):
        """Hold an affine layer, its norm with gain 1 and shift 0, and the scale of what it adds."""
        bias = layer.bias[...]
        kind = nnx.Param if train_scale else nnx.Variable
        self.layer = layer
        self.phi = phi
        self.norm = norm
        self.skip = skip
        self.scale = kind(jnp.broadcast_to(jnp.asarray(scale, bias.dtype), bias.shape[:-1]))
        self.gain = None if norm is NORMS["none"] else nnx.Param(jnp.ones_like(bias))
        self.shift = None if norm is NORMS["none"] else nnx.Param(jnp.zeros_like(bias))

    def pre_activation(self, y: Float[Array, "batch fan_in"]) -> Float[Array, "batch units"]:
        """Return z, the argument of the activation."""
        z = self.norm(self.layer(y))
        if self.gain is None or self.shift is None:
            return z
        return self.gain[...] * z + self.shift[...]

    def above(self, y: Float[Array, "batch fan_in"], z: Float[Array, "batch units"]) -> Array:
        """Return the activities above, from those below and from z."""
        out = self.scale[...] * self.phi(z)
        return y + out if self.skip else out

    def __call__(self, y: Float[Array, "batch fan_in"]) -> Float[Array, "batch units"]:
        """Map the activities below to those above."""
        return self.above(y, self.pre_activation(y))


class Classifier(nnx.Module):
    """Hidden layers of equal width and a linear read-out, as a plain pytree.

    Attributes:
        runs: Stacks of layers of equal shape, from the input; see `draw_classifier`.
        readout: From the last hidden layer to the classes.
    """

    def __init__(self, runs: list[Block], readout: Layer):
        """Hold the stacks and the read-out."""
        self.runs: nnx.List[Block] = nnx.List(runs)
        self.readout = readout

    def __call__(self, x: Float[Array, "batch features"]) -> Float[Array, "batch classes"]:
        """Return the logits."""
        y = x
        for run in self.runs:
            y, _ = scan_run(lambda y, block: (block(y), None), y, run)
        return self.readout(y)

    def trace(
        self, x: Float[Array, "batch features"]
    ) -> tuple[Float[Array, "batch classes"], Float[Array, "depth batch width"]]:
        """Return the logits and z of every hidden layer."""
        logits, layers = self._layers(x)
        return logits, layers[0]

    def activities(
        self, x: Float[Array, "batch features"]
    ) -> tuple[Float[Array, "batch classes"], Float[Array, "depth batch width"]]:
        """Return the logits and y of every hidden layer."""
        logits, layers = self._layers(x)
        return logits, layers[1]

    def _layers(self, x: Array) -> tuple[Array, tuple[Array, Array]]:
        """Logits, and z and y of every hidden layer."""

        def step(y: Array, block: Block) -> tuple[Array, tuple[Array, Array]]:
            z = block.pre_activation(y)
            y = block.above(y, z)
            return y, (z, y)

        y, outs = x, []
        for run in self.runs:
            y, out = scan_run(step, y, run)
            outs.append(out)
        z, activities = (jnp.concatenate(parts) for parts in zip(*outs, strict=True))
        return self.readout(y), (z, activities)


def draw_classifier(
    key: PRNGKeyArray,
    features: int,
    width: int,
    depth: int,
    classes: int,
    phi: Phi,
    *,
    scheme: Scheme | str = "gaussian",
    sigma_w: Float[ArrayLike, ""] = 1.0,
    sigma_b: Float[ArrayLike, ""] = 0.0,
    norm: str = "none",
    skip: bool = False,
    branch_scale: Float[ArrayLike, ""] = 1.0,
    train_scale: bool = False,
    dtype: DTypeLike = jnp.float32,
) -> Classifier:
    """Draw a classifier; draws depend on the layer's number and shape, never on a scale.

    Hidden layer l equals ``mlp.draw_layer(key, l, ...)``. The read-out is Gaussian with weights of variance
    1 / width and no bias.

    Args:
        key: Random key.
        features: Of an input.
        width: Units of every hidden layer.
        depth: Number of hidden layers.
        classes: Number of logits.
        phi: Activation.
        scheme: How the kernels of hidden layers are drawn.
        sigma_w: Scale of their weights, may be traced.
        sigma_b: Standard deviation of their biases, may be traced.
        norm: Name in ``normalization.NORMS``; it acts before the activation, with a trained gain and shift.
        skip: Whether every hidden layer but the first adds to the one below.
        branch_scale: Factor of what these layers add, may be traced; 0 with ``train_scale`` is ReZero
            (arXiv 2003.04887).
        train_scale: Whether these factors are trained, one per layer.
        dtype: Type of the parameters.

    Raises:
        ValueError: If there is no hidden layer, or the norm or scheme is unknown.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}, give at least one hidden layer")
    chosen_norm = find_norm(norm)

    def block(number: Int[Array, ""], fan_in: int, inner: bool) -> Block:
        layer = draw_layer(key, number, fan_in, width, scheme, sigma_w, sigma_b, dtype)
        scale = branch_scale if inner else 1.0
        return Block(layer, phi, norm=chosen_norm, skip=inner, scale=scale, train_scale=inner and train_scale)

    shapes = (features, *(width,) * depth)
    if skip:
        shapes_and_numbers = [(jnp.array([1]), features, False)]
        shapes_and_numbers += [(jnp.arange(2, depth + 1), width, True)] if depth > 1 else []
    else:
        shapes_and_numbers = [(numbers, fan_in, False) for numbers, fan_in, _ in equal_runs(shapes)]
    runs = [
        jax.vmap(partial(block, fan_in=fan_in, inner=inner))(numbers)
        for numbers, fan_in, inner in shapes_and_numbers
    ]
    readout = draw_layer(key, 0, width, classes, dtype=dtype)
    return Classifier(runs, readout)
