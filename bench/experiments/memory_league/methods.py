"""What competitors need beside the suite's own: a layer-normalized cell, and optimizers in one program."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from signalprop.bench.experiments.memory_league.competitors import Competitor
from signalprop.bench.training.optimizers import optimizer
from signalprop.models.normalization import layer_norm
from signalprop.models.recurrent import draw_vanilla


def normalized_tanh(z: jax.Array) -> jax.Array:
    """``tanh(layer_norm(z))``: the state's units are normalized at every step (Ba et al. 2016)."""
    return jnp.tanh(layer_norm(z))


def layer_norm_cell(
    key: jax.Array, inputs: int, units: int, *, forget_bias: ArrayLike = 0.0, **scales: Any
) -> Any:
    """Draw a tanh cell whose pre-activations are layer-normalized, without gain and shift."""
    return draw_vanilla(key, inputs, units, normalized_tanh, **scales)


def any_optimizer(
    names: Sequence[str], index: jax.Array, learning_rate: ArrayLike, entry: Competitor
) -> optax.GradientTransformation:
    """The optimizer whose place in ``names`` is traced, so that all share one program."""
    build: Callable[[str], optax.GradientTransformation] = partial(
        optimizer, learning_rate=learning_rate, clip_value=entry.clip_value, l2=entry.l2, l1=entry.l1
    )
    all_of_them = [build(name) for name in names]

    def init(parameters: Any) -> Any:
        return [one.init(parameters) for one in all_of_them]

    def update(gradients: Any, memory: Any, parameters: Any = None) -> Any:
        pairs = [one.update(gradients, m, parameters) for one, m in zip(all_of_them, memory, strict=True)]
        updates, memories = zip(*pairs, strict=True)
        chosen = jax.tree.map(lambda *leaves: jnp.stack(leaves)[index], *updates)
        return chosen, [
            jax.tree.map(partial(jnp.where, index == place), new, old)
            for place, (new, old) in enumerate(zip(memories, memory, strict=True))
        ]

    return optax.GradientTransformation(init, update)
