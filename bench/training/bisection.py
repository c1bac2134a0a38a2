"""The largest depth at which a network can be trained, by bisection inside one compiled program.

A classifier is drawn at the largest depth in question and used up to a depth that may be traced: hidden
layers above it pass on what they get and are not trained. So all depths share weights and one program.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from signalprop.bench.training.classification import Problem, batches
from signalprop.bench.training.settings import RECORDS, require_top
from signalprop.bench.training.trainer import train
from signalprop.models.classifier import Block, Classifier
from signalprop.models.mlp import scan_run


def shallow(model: Classifier, x: jax.Array, depth: ArrayLike) -> jax.Array:
    """Logits of a classifier that keeps its first ``depth`` hidden layers, at least one."""

    def step(y: jax.Array, numbered: tuple[Block, jax.Array]) -> tuple[jax.Array, None]:
        block, number = numbered
        above = block(y)
        return (above if above.shape != y.shape else jnp.where(number <= depth, above, y)), None

    y, first = x, 1
    for run in model.runs:
        count = run.layer.bias[...].shape[0]
        y, _ = scan_run(step, y, (run, first + jnp.arange(count)))
        first += count
    return model.readout(y)


def loss_at(depth: ArrayLike) -> Callable[[Classifier, Any], tuple[jax.Array, dict[str, jax.Array]]]:
    """Cross-entropy in nats of a classifier used to that depth, and its accuracy, on a batch."""

    def loss(model: Classifier, batch: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits, label = shallow(model, batch[0], depth), batch[1]
        value = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
        return value, {"accuracy": jnp.mean((jnp.argmax(logits, -1) == label).astype(logits.dtype))}

    return loss


def final_accuracy(
    key: jax.Array,
    model: Classifier,
    depth: ArrayLike,
    data: Problem,
    optimizer: optax.GradientTransformation,
    *,
    batch_size: int,
    steps: int,
) -> jax.Array:
    """Train a classifier at a depth; mean accuracy on the batches of the last tenth, 0 if it diverged."""
    draw = batches(data, batch_size, model.readout.bias[...].dtype)
    trained = train(key, model, loss_at(depth), draw, optimizer, steps, RECORDS)
    return jnp.where(trained.diverged_at > 0, 0, trained.record["accuracy"][-1])


def largest(works: Callable[[jax.Array], jax.Array], top: int) -> jax.Array:
    """Largest depth from 1 to ``top`` at which something works, if it works up to some depth only.

    Args:
        works: Depth -> truth value.
        top: One less than a power of two: so many depths that every answer costs equally many trials.

    Returns:
        The depth, 0 if it works at none that was tried.

    Raises:
        InputError: If ``top + 1`` is no power of two.
    """
    require_top(top)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) // 2
        passed = works(middle)
        return jnp.where(passed, middle, low), jnp.where(passed, high, middle)

    ends = jnp.zeros((), jnp.int32), jnp.full((), top + 1, jnp.int32)
    low, _ = jax.lax.fori_loop(0, (top + 1).bit_length() - 1, halve, ends)
    return jnp.asarray(low)
