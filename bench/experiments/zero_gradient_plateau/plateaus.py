"""A hidden layer whose every unit is silent on every example.

One hidden layer of relu units reads separable examples with positive features; all w x + b are below 0, so
the gradient of w and b is exactly 0.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from signalprop.models.mlp import Layer
from signalprop.models.normalization import batch_norm, identity, layer_norm

LEVELS = (identity, batch_norm, layer_norm)
RATE = 0.1
STARTS = ("biases of -6", "positive biases, negative weights", "behind a norm")
DATA_KEY = 10158  # the examples are the same for every instance
POSITIVE = 0.512  # share of examples of the positive class


class Silent(nnx.Module):
    """One hidden layer with a norm before the bias, and one logit."""

    def __init__(self, hidden: Layer, readout: Layer, norm: jax.Array | int | None = None):
        """Hold both layers; ``norm`` is an index into ``LEVELS``, which may be traced."""
        self.hidden = hidden
        self.readout = readout
        self.norm = None if norm is None else nnx.Variable(jnp.asarray(norm))

    def pre_activation(self, x: jax.Array) -> jax.Array:
        """Return w x + b, normalized before b is added."""
        if self.norm is None:
            return self.hidden(x)
        normalized: jax.Array = jax.lax.switch(self.norm[...], LEVELS, x @ self.hidden.kernel[...])
        return normalized + self.hidden.bias[...]

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the logit of every example."""
        return self.readout(jax.nn.relu(self.pre_activation(x)))[..., 0]


class Instance(NamedTuple):
    """One random start. Weights and biases of the hidden layer lie in one array, biases in the last row.

    Attributes:
        x: Examples, (examples, features).
        label: 0 or 1.
        starts: Silent layers in the order of ``STARTS``, each (features + 1, units).
        readout: From the hidden units to one logit.
        velocity: What an optimizer may remember as its momentum, like a start.
        second: What Adam may remember as its second moment.
        killed_by: The last displacement of a layer that it silenced.
    """

    x: jax.Array
    label: jax.Array
    starts: tuple[jax.Array, ...]
    readout: Layer
    velocity: jax.Array
    second: jax.Array
    killed_by: jax.Array


def layer(rows: jax.Array) -> Layer:
    """Make a layer of an array whose last row is the biases."""
    return Layer(rows[:-1], rows[-1])


def rows(layer: Layer) -> jax.Array:
    """Weights and biases in one array, (features + 1, units)."""
    return jnp.concatenate([layer.kernel[...], layer.bias[...][None]])


def draw_examples(examples: int, features: int, dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
    """Draw examples with features within 1 +- 0.6, their classes apart along a diagonal; always the same."""
    keys = jax.random.split(jax.random.key(DATA_KEY))
    label = (jnp.arange(examples) < round(POSITIVE * examples)).astype(dtype)
    side = jnp.sign(jax.random.normal(keys[0], (features,), dtype)) * (2 * label - 1)[:, None]
    return 1 + 0.3 * side + jax.random.uniform(keys[1], (examples, features), dtype, -0.3, 0.3), label


def draw_instance(key: jax.Array, examples: int, features: int, units: int, dtype: DTypeLike) -> Instance:
    """Draw one instance of weights and moments, on `draw_examples`."""
    shape, keys = (4, features + 1, units), jax.random.split(key)
    normal, uniform = jax.random.normal(keys[0], shape, dtype), jax.random.uniform(keys[1], shape, dtype)
    x, label = draw_examples(examples, features, dtype)
    weights, before = normal[:2, :-1] / features**0.5

    def biased(bias: Any) -> jax.Array:
        return jnp.concatenate([weights, jnp.broadcast_to(jnp.asarray(bias, dtype), (1, units))])

    alive = jnp.concatenate([before, -jnp.median(x @ before, 0)[None]])  # on half of the examples
    rising = jnp.concatenate([-0.5 - uniform[0, :-1], 0.2 + 0.5 * uniform[0, -1:]])
    return Instance(
        x=x, label=label, starts=(biased(-6), rising, biased(0)),
        readout=Layer(normal[2, 0, :, None] / units**0.5, jnp.zeros((1,), dtype)),
        velocity=0.1 * 40 ** uniform[1, 0, 0] * normal[3],
        second=(0.5 + uniform[2]) ** 2,
        killed_by=biased(-6) - alive,
    )  # fmt: skip
