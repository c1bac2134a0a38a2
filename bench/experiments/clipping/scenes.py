"""Networks on which clipping and penalties are tried.

* ``cliff``: one unit, ``h_t = w sigmoid(h_{t-1}) + b``, whose error surface has a wall (Pascanu, Mikolov &
  Bengio 2013, arXiv:1211.5063, figure 6).
* ``deep``: a tanh classifier of many layers on a Gaussian mixture; ``gain`` is sigma_w.
* ``recurrent``: a tanh network on the adding problem; ``gain`` scales the recurrent weights.
* ``td_clipped``, ``td_huber``: one value learnt from targets far away, with the square of the clipped error
  or with Huber's loss, as deep Q-learning should (Mnih et al. 2015, Nature 518).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from signalprop.bench.training import recurrent
from signalprop.bench.training.classification import batches, cross_entropy, problem
from signalprop.bench.training.remedies import Remedy
from signalprop.bench.training.tasks import TASKS
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier

FIRST, TARGET = 0.5, 0.7  # h_0 and the wanted output of the cliff
WALL = (4.2, -2.0, -2 / 3)  # a point (w, b) of the wall of 50 steps, and its slope
AHEAD = (4.8, 6.3), (0.1, 0.4)  # w and height in b above the wall from which paths start
FAR = 5.0  # middle of the targets of td, from 0; they are uniform in +-1
DATA, LENGTH = "gm10", 50  # of the deep and of the recurrent network


class Cliff(nnx.Module):
    """A recurrent network of one unit without input."""

    def __init__(self, w: jax.Array, b: jax.Array, steps: int):
        """Hold weight and bias."""
        self.w, self.b, self.steps = nnx.Param(w), nnx.Param(b), steps


class Value(nnx.Module):
    """One number."""

    def __init__(self, value: jax.Array):
        """Hold it."""
        self.value = nnx.Param(value)


def cliff_error(w: jax.Array, b: jax.Array, steps: int) -> jax.Array:
    """Squared error ``(sigmoid(h_T) - 0.7)^2`` of ``h_t = w sigmoid(h_{t-1}) + b`` from h_0 = 1/2."""
    h = jnp.full_like(w, FIRST)
    end, _ = jax.lax.scan(lambda h, _: (w * jax.nn.sigmoid(h) + b, None), h, length=steps)
    error: jax.Array = (jax.nn.sigmoid(end) - TARGET) ** 2
    return error


def squared_clipped(error: jax.Array) -> jax.Array:
    """``clip(error, -1, 1)^2``: its slope is 0 outside of +-1."""
    square: jax.Array = jnp.clip(error, -1, 1) ** 2
    return square


def huber(error: jax.Array) -> jax.Array:
    """Huber's loss, whose slope is the error clipped to +-1."""
    loss: jax.Array = optax.huber_loss(error)
    return loss


@dataclass(frozen=True)
class Shape:
    """Sizes of the networks: hidden layers, units, examples per update, steps of the cliff."""

    depth: int
    units: int
    batch_size: int
    cliff_steps: int
    dtype: str


@dataclass(frozen=True)
class Scene:
    """One kind of network.

    Attributes:
        label: For figures.
        draw: ``(key, gain, shape) -> model``.
        batch: ``shape -> (key -> batch)``.
        loss: ``(model, batch) -> (loss, {})``.
        place: ``model -> two numbers`` whose path is kept; NaN for networks.
        kernel: ``model -> weights (n, n)`` whose size and radius are followed.
    """

    label: str
    draw: Callable[[jax.Array, jax.Array, Shape], Any]
    batch: Callable[[Shape], Callable[[jax.Array], Any]]
    loss: Callable[[Any, Any], tuple[jax.Array, dict[str, jax.Array]]]
    place: Callable[[Any], jax.Array]
    kernel: Callable[[Any], jax.Array]


def _draw_cliff(key: jax.Array, gain: jax.Array, shape: Shape) -> Cliff:
    chance = jax.random.uniform(key, (2,), shape.dtype)
    w, above = (low + (high - low) * u for (low, high), u in zip(AHEAD, chance, strict=True))
    return Cliff(w, WALL[1] + WALL[2] * (w - WALL[0]) + above, shape.cliff_steps)


def _draw_deep(key: jax.Array, gain: jax.Array, shape: Shape) -> Any:
    data, width, depth = problem(DATA), shape.units, shape.depth
    return draw_classifier(
        key, data.x.shape[1], width, depth, data.classes, activation("tanh"), sigma_w=gain, dtype=shape.dtype
    )


def _draw_recurrent(key: jax.Array, gain: jax.Array, shape: Shape) -> Any:
    tanh = Remedy("tanh", "tanh", gain=gain)  # type: ignore[arg-type]
    return recurrent.draw(tanh, key, TASKS["adding"], shape.units, shape.dtype)


def _unseen(shape: Shape) -> Callable[[jax.Array], Any]:
    return lambda key: jnp.zeros(())


def _targets(shape: Shape) -> Callable[[jax.Array], Any]:
    size = (shape.batch_size,)
    return lambda key: jax.random.uniform(key, size, shape.dtype, FAR - 1, FAR + 1)


def _sequences(shape: Shape) -> Callable[[jax.Array], Any]:
    return lambda key: TASKS["adding"].draw(key, LENGTH, shape.batch_size, shape.dtype)


def _nowhere(model: Any) -> jax.Array:
    return jnp.full(2, jnp.nan)


def _td(error: Callable[[jax.Array], jax.Array], label: str) -> Scene:
    return Scene(
        label,
        lambda key, gain, shape: Value(jnp.zeros((), shape.dtype)),
        _targets,
        lambda model, batch: (jnp.mean(error(model.value[...] - batch)), {}),
        lambda model: jnp.stack([model.value[...], jnp.zeros_like(model.value[...])]),
        lambda model: model.value[...].reshape(1, 1),
    )


SCENES = {
    "deep": Scene(
        "deep tanh network", _draw_deep, lambda s: batches(problem(DATA), s.batch_size, s.dtype),
        cross_entropy, _nowhere, lambda model: model.runs[-1].layer.kernel[...][-1],
    ),
    "recurrent": Scene(
        "recurrent tanh network", _draw_recurrent, _sequences, TASKS["adding"].loss, _nowhere,
        lambda model: model.cell.dense_h.kernel[...],
    ),
    "cliff": Scene(
        "one recurrent unit", _draw_cliff, _unseen,
        lambda model, batch: (cliff_error(model.w[...], model.b[...], model.steps), {}),
        lambda model: jnp.stack([model.w[...], model.b[...]]), lambda model: model.w[...].reshape(1, 1),
    ),
    "td_clipped": _td(squared_clipped, "square of the clipped error"),
    "td_huber": _td(huber, "Huber's loss"),
}  # fmt: skip
