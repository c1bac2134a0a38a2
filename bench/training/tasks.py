"""Sequence tasks that need memory: fresh sequences, loss, chance level and what counts as solved.

* ``adding``: two of T numbers from [0, 1] are marked, one in each half; their sum (Le, Jaitly & Hinton 2015,
  arXiv:1504.00941; Arjovsky, Shah & Bengio 2016, arXiv:1511.06464).
* ``adding_1997``: the original, with numbers from [-1, 1], lengths from T to 1.1 T and the marks of
  Hochreiter & Schmidhuber (1997), Neural Computation 9(8), experiment 4.
* ``temporal_order``: two symbols among distractors, in which order (the same, experiment 6; positions and
  alphabet of Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063).
* ``copying``: ten symbols, T blanks, then the ten symbols again (Arjovsky et al.).
* ``digits_rows``, ``digits_pixels``: the bundled 8 x 8 digits, a row or a pixel at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil, log
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from signalprop.bench.engine.errors import InputError
from signalprop.bench.measure import data
from signalprop.bench.training.settings import task_and_length

CORRECT_SUM = 0.04  # largest error of a sum that counts as correct (Hochreiter & Schmidhuber 1997)
SYMBOLS, COPIED = 8, 10  # alphabet and number of symbols to copy; then come the blank and the delimiter
BLANK, DELIMITER = SYMBOLS, SYMBOLS + 1


class Batch(NamedTuple):
    """Sequences and what to answer.

    Attributes:
        inputs: Time first, (T, batch, features).
        targets: A number or a class per sequence, (batch,), or a class per step, (T, batch).
    """

    inputs: jax.Array
    targets: jax.Array


Draw = Callable[..., Batch]


@dataclass(frozen=True)
class Task:
    """One task; `length` is the T of its source, `num_steps` the length of the sequences.

    Attributes:
        features: Inputs per step.
        outputs: Read-outs.
        draw: ``(key, length, batch_size) -> Batch`` of training sequences.
        test: The same for sequences to be judged on: fresh ones, or those held out of a data set.
        loss: ``(model, batch) -> (loss, {"correct": share of right answers})``.
        chance: ``length -> loss`` of the best answer that ignores the inputs.
        solved: ``(loss, share of right answers) -> bool`` on test sequences; works on arrays.
        criterion: The same in words.
        num_steps: ``length -> steps`` of a sequence.
    """

    features: int
    outputs: int
    draw: Draw
    test: Draw
    loss: Callable[[Any, Batch], tuple[jax.Array, dict[str, jax.Array]]]
    chance: Callable[[int], float]
    solved: Callable[[Any, Any], Any]
    criterion: str
    num_steps: Callable[[int], int]


def squared_error(model: Any, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean square error of the last output, and the share of sums right to ``CORRECT_SUM``."""
    error = model(batch.inputs)[:, 0] - batch.targets
    return jnp.mean(error**2), {"correct": jnp.mean(jnp.abs(error) < CORRECT_SUM, dtype=error.dtype)}


def last_class(model: Any, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Cross-entropy in nats of the last output, and the accuracy."""
    return _cross_entropy(model(batch.inputs), batch.targets)


def every_class(model: Any, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Cross-entropy in nats per step of all outputs, and the accuracy on the symbols to be recalled."""
    logits = model.every_step(batch.inputs)
    loss, _ = _cross_entropy(logits, batch.targets)
    _, recalled = _cross_entropy(logits[-COPIED:], batch.targets[-COPIED:])
    return loss, recalled


def draw_adding(key: jax.Array, length: int, batch_size: int, dtype: Any = jnp.float32) -> Batch:
    """Values from U[0, 1] and one mark in each half; the target is the sum of the marked values."""
    _require_length(length, 2)
    chance = jax.random.uniform(key, (length + 2, batch_size), dtype)
    values, half = chance[:length], length // 2
    first, second = _whole(chance[-2], 0, half), _whole(chance[-1], half, length)
    steps = jnp.arange(length)[:, None]
    marks = ((steps == first) | (steps == second)).astype(dtype)
    return Batch(jnp.stack([values, marks], axis=-1), jnp.sum(values * marks, axis=0))


def draw_adding_1997(key: jax.Array, length: int, batch_size: int, dtype: Any = jnp.float32) -> Batch:
    """Values from U[-1, 1], T to 1.1 T of them; the target is 1/2 + (X_1 + X_2)/4.

    X_1 is one of the first ten, X_2 another of the first T/2 - 1; a marked first value counts as 0. The ends
    carry the mark -1. Shorter sequences begin with steps of zeros, so that all end at the last step.
    """
    _require_length(length, 24)
    num_steps = longest_1997(length)
    chance = jax.random.uniform(key, (num_steps + 3, batch_size), dtype)
    begin = num_steps - _whole(chance[-3], length, num_steps + 1)
    first, second = _whole(chance[-2], 0, 10), _whole(chance[-1], 0, length // 2 - 2)
    second += second >= first
    place = jnp.arange(num_steps)[:, None] - begin
    values = jnp.where(place < 0, 0, 2 * chance[:num_steps] - 1)
    chosen = ((place == first) | (place == second)) & (place > 0)
    ends = (place == 0) | (jnp.arange(num_steps)[:, None] == num_steps - 1)
    marks = chosen.astype(dtype) - ends.astype(dtype)
    return Batch(jnp.stack([values, marks], axis=-1), 0.5 + jnp.sum(jnp.where(chosen, values, 0), axis=0) / 4)


def longest_1997(length: int) -> int:
    """Steps of the longest sequence of the original adding problem."""
    return length + length // 10


def variance_1997(length: int) -> float:
    """Variance of the target of the original adding problem, 1/24 but for the first value, which counts 0."""
    marked_first = 0.1 + 0.9 / (length // 2 - 2)
    return (2 - marked_first) / 48


def draw_temporal_order(key: jax.Array, length: int, batch_size: int, dtype: Any = jnp.float32) -> Batch:
    """One of A, B in [T/10, 2T/10), one in [5T/10, 6T/10), elsewhere four distractors; four classes."""
    _require_length(length, 10)
    chance = jax.random.uniform(key, (length + 3, batch_size), dtype)
    symbols, label = _whole(chance[:length], 2, 6), _whole(chance[-1], 0, 4)
    steps = jnp.arange(length)[:, None]
    for row, tenth, symbol in ((-3, 1, label // 2), (-2, 5, label % 2)):
        place = _whole(chance[row], ceil(tenth * length / 10), ceil((tenth + 1) * length / 10))
        symbols = jnp.where(steps == place, symbol, symbols)
    return Batch(jax.nn.one_hot(symbols, 6, dtype=dtype), label)


def draw_copying(key: jax.Array, length: int, batch_size: int, dtype: Any = jnp.float32) -> Batch:
    """Ten of eight symbols, T - 1 blanks, a delimiter, ten blanks; the answer is blank up to the last ten."""
    _require_length(length, 1)
    symbols = _whole(jax.random.uniform(key, (COPIED, batch_size), dtype), 0, SYMBOLS)
    blank = partial(jnp.full, fill_value=BLANK, dtype=symbols.dtype)
    delimiter = jnp.full((1, batch_size), DELIMITER, symbols.dtype)
    shown = [symbols, blank((length - 1, batch_size)), delimiter, blank((COPIED, batch_size))]
    targets = jnp.concatenate([blank((length + COPIED, batch_size)), symbols])
    return Batch(jax.nn.one_hot(jnp.concatenate(shown), SYMBOLS + 2, dtype=dtype), targets)


def draw_digits(
    key: jax.Array, length: int, batch_size: int, dtype: Any = jnp.float32, *, features: int, split: str
) -> Batch:
    """Digits, ``features`` pixels at a time: with replacement to train on, the first ones to test on."""
    x, label = data.examples("digits", split)
    training = split == "train"
    chosen = (
        jax.random.randint(key, (batch_size,), 0, len(x)) if training else jnp.arange(len(x))[:batch_size]
    )
    rows = jnp.asarray(x, dtype)[chosen].reshape(len(chosen), -1, features)
    return Batch(jnp.swapaxes(rows, 0, 1), jnp.asarray(label)[chosen])


def _cross_entropy(logits: jax.Array, label: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))
    return loss, {"correct": jnp.mean(jnp.argmax(logits, -1) == label, dtype=loss.dtype)}


def _whole(chance: jax.Array, low: int, high: int) -> jax.Array:
    """Whole numbers from low to high - 1 of numbers from U[0, 1).

    Every sequence comes from one call of the random number generator: calls are most of what is compiled.
    """
    return low + jnp.minimum(jnp.floor(chance * (high - low)).astype(jnp.int32), high - low - 1)


def _require_length(length: int, least: int) -> None:
    if length < least:
        raise InputError(f"length: got {length}; write at least {least}")


def _digits(features: int) -> Task:
    train, test = (partial(draw_digits, features=features, split=split) for split in ("train", "test"))
    return Task(
        features, 10, train, test, last_class, lambda length: log(10),
        lambda loss, correct: correct >= 0.9, "at least 90 % of the held-out digits right",
        lambda length: 64 // features,
    )  # fmt: skip


TASKS = {
    "adding": Task(
        2, 1, draw_adding, draw_adding, squared_error, lambda length: 1 / 6,
        lambda loss, correct: loss < 0.05, "mean square error below 0.05", lambda length: length,
    ),
    "adding_1997": Task(
        2, 1, draw_adding_1997, draw_adding_1997, squared_error, variance_1997,
        lambda loss, correct: correct >= 0.99, "at least 99 % of the sums right to 0.04", longest_1997,
    ),
    "temporal_order": Task(
        6, 4, draw_temporal_order, draw_temporal_order, last_class, lambda length: log(4),
        lambda loss, correct: correct > 0.99, "less than 1 % errors", lambda length: length,
    ),
    "copying": Task(
        SYMBOLS + 2, SYMBOLS + 2, draw_copying, draw_copying, every_class,
        lambda length: COPIED * log(SYMBOLS) / (length + 2 * COPIED),
        lambda loss, correct: correct > 0.99, "more than 99 % of the symbols recalled",
        lambda length: length + 2 * COPIED,
    ),
    "digits_rows": _digits(8),
    "digits_pixels": _digits(1),
}  # fmt: skip


def find_task(name: str) -> tuple[Task, int]:
    """A task and its length from a name like ``adding-50``; the length of digits is 0.

    Raises:
        InputError: If there is no such task, or its length is missing or no number.
    """
    known, length = task_and_length(name)
    return TASKS[known], length
