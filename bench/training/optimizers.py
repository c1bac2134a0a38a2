"""Optimizers by name, each with coupled or decoupled weight decay, L1 and clipping by value.

Every number may be traced, so that learning rates, momenta and decays of one method share one program.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from signalprop.bench.training.settings import require_optimizers

# direction(momentum, epsilon) of a step of size 1; the learning rate and the sign come after it
OPTIMIZERS: dict[str, Callable[[ArrayLike, ArrayLike | None], optax.GradientTransformation]] = {
    "sgd": lambda momentum, epsilon: optax.identity(),
    "heavy_ball": lambda momentum, epsilon: optax.trace(momentum),
    "nesterov": lambda momentum, epsilon: optax.trace(momentum, nesterov=True),
    "adagrad": lambda momentum, epsilon: scale_by_root_sum(_or(epsilon, 1e-8)),
    "rmsprop": lambda momentum, epsilon: optax.scale_by_rms(0.9, _or(epsilon, 1e-8), eps_in_sqrt=False),
    "adam": lambda momentum, epsilon: optax.scale_by_adam(momentum, 0.999, _or(epsilon, 1e-8)),
}


def optimizer(
    name: str,
    learning_rate: ArrayLike,
    *,
    momentum: ArrayLike = 0.9,
    epsilon: ArrayLike | None = None,
    l2: ArrayLike = 0.0,
    decay: ArrayLike = 0.0,
    l1: ArrayLike = 0.0,
    decay_biases: ArrayLike = True,
    clip_value: ArrayLike = math.inf,
) -> optax.GradientTransformation:
    """Build an optimizer; in order: clip by value, L2 and L1 added to the gradient, the method, decay, rate.

    ``w <- w - learning_rate (direction(clip(g) + l2 w + l1 sign(w)) + decay w)``: ``l2`` is coupled (the
    penalty ``l2 |w|^2 / 2``), ``decay`` decoupled (AdamW, arXiv 1711.05101). Clipping by norm is
    `signalprop.bench.training.trainer.train`'s.

    Args:
        name: ``sgd``; ``heavy_ball`` and ``nesterov`` with ``momentum``; ``adagrad``; ``rmsprop`` with decay
            0.9; ``adam`` with ``b1 = momentum`` and ``b2 = 0.999``.
        learning_rate: Size of a step.
        momentum: Of the methods that have one.
        epsilon: Added to the root of Adam's, RMSProp's or Adagrad's second moment, not under it; None: 1e-8.
            Optax's own RMSProp adds it under the root, where 1e-8 acts like 1e-4, and its Adagrad begins with
            sums of 0.1: both take gradients below that for none, which here would decide the outcome.
        l2: Coefficient of coupled decay.
        decay: Coefficient of decoupled decay.
        l1: Coefficient of the L1 penalty.
        decay_biases: Whether the three act on biases, gains and shifts too; otherwise on kernels alone. May
        be
            traced.
        clip_value: Every entry of the gradient is clipped to this size first.

    Raises:
        InputError: If the name is unknown.
    """
    require_optimizers((name,))
    return optax.chain(
        optax.stateless(
            lambda g, _: jax.tree.map(lambda a: jnp.clip(a, jnp.negative(clip_value), clip_value), g)
        ),
        _penalty(lambda w: l2 * w + l1 * jnp.sign(w), decay_biases),
        OPTIMIZERS[name](momentum, epsilon),
        _penalty(lambda w: decay * w, decay_biases),
        optax.stateless(
            lambda g, _: jax.tree.map(lambda a: (jnp.negative(learning_rate) * a).astype(a.dtype), g)
        ),
    )


def scale_by_root_sum(epsilon: ArrayLike) -> optax.GradientTransformation:
    """Divide by the root of the sum of all squares so far, plus ``epsilon`` (Adagrad, Duchi et al. 2011)."""

    def update(gradients: Any, sums: Any, parameters: Any = None) -> Any:
        sums = jax.tree.map(lambda s, g: s + g * g, sums, gradients)
        return jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + epsilon), gradients, sums), sums

    return optax.GradientTransformation(lambda p: jax.tree.map(jnp.zeros_like, p), update)


def _penalty(slope: Callable[[Any], Any], biases: ArrayLike) -> optax.GradientTransformation:
    """Add the slope of a penalty on the weights to what comes in."""

    def add(path: Any, value: Any, weight: Any) -> Any:
        counts = True if any("kernel" in str(part) for part in path) else biases
        return jnp.where(counts, value + slope(weight), value).astype(value.dtype)

    return optax.stateless(lambda g, w: jax.tree_util.tree_map_with_path(add, g, w))


def _or(value: ArrayLike | None, default: float) -> Any:
    return default if value is None else value
