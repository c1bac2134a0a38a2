"""Classification problems for training: fixed examples, batches, loss and accuracy.

The examples of a problem are the same in every run: seeds draw networks and batches, never the data.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import DTypeLike

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.untraced import untraced
from signalprop.bench.measure.data import examples, gaussian_mixture
from signalprop.bench.training.settings import require_problem

CLASSES = 10
COUNT, TEST_COUNT, FEATURES = 4000, 1000, 64  # of the Gaussian mixtures
PROTOTYPES = 4  # per class of the pixel-like mixture
DATA_KEY = 20161104


class Problem(NamedTuple):
    """Labelled training and test examples.

    Attributes:
        name: Key in ``PROBLEMS``.
        x: Training inputs, (examples, features).
        label: Their classes, (examples,).
        x_test: Test inputs.
        label_test: Their classes.
        classes: Number of classes.
    """

    name: str
    x: np.ndarray
    label: np.ndarray
    x_test: np.ndarray
    label_test: np.ndarray
    classes: int = CLASSES

    @property
    def features(self) -> int:
        """Length of an input."""
        return int(self.x.shape[1])


def gm10() -> Problem:
    """Ten classes ``x = 0.6 mu_label + 0.8 eps`` in 64 dimensions: centred, of unit variance."""
    x, label = gaussian_mixture(jax.random.key(DATA_KEY), COUNT + TEST_COUNT, FEATURES, classes=CLASSES)
    return split("gm10", x, label)


def gm10_plus() -> Problem:
    """Its uncentred twin: ten classes of four sparse prototypes with noise, clipped to [0, 1] like pixels.

    Mean 0.18 and standard deviation 0.26 of an entry. Where centring is the question, ``gm10_plus_centred``
    subtracts every feature's training mean.
    """

    @jax.jit
    def draw(key: jax.Array) -> tuple[jax.Array, ...]:
        keys = jax.random.split(key, 4)
        prototype = jax.random.normal(keys[0], (CLASSES, PROTOTYPES, FEATURES), jnp.float32)
        label = jax.random.randint(keys[1], (COUNT + TEST_COUNT,), 0, CLASSES, jnp.int32)
        which = jax.random.randint(keys[2], label.shape, 0, PROTOTYPES, jnp.int32)
        return prototype, label, which, jax.random.normal(keys[3], (*label.shape, FEATURES), jnp.float32)

    prototype, label, which, noise = map(np.asarray, draw(jax.random.key(DATA_KEY)))
    lit = np.clip(0.45 * prototype, 0, 1)[label, which]
    x = np.clip(lit + np.where(lit > 0, 0.1 * noise, 0), 0, 1)
    return split("gm10_plus", x, label)


def gm10_plus_centred() -> Problem:
    """`gm10_plus` with every feature's training mean subtracted."""
    raw = problem("gm10_plus")
    mean = raw.x.mean(0)
    return raw._replace(name="gm10_plus_centred", x=raw.x - mean, x_test=raw.x_test - mean)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "gm10": gm10,
    "gm10_plus": gm10_plus,
    "gm10_plus_centred": gm10_plus_centred,
}


@cache
def problem(name: str) -> Problem:
    """Find a problem: a mixture of ``PROBLEMS`` or a data set of `signalprop.bench.measure.data`.

    Raises:
        InputError: If the name is unknown, a file is missing or damaged, or a label is outside the classes.
    """
    if name in PROBLEMS:
        return untraced(PROBLEMS[name])
    require_problem(name)
    train, test = examples(name), examples(name, "test")
    return require_labels(Problem(name, train.x, train.label, test.x, test.label))


def split(name: str, x: np.ndarray, label: np.ndarray) -> Problem:
    """Keep the last examples for the test."""
    return Problem(name, x[:COUNT], label[:COUNT], x[COUNT:], label[COUNT:])


def require_labels(problem: Problem) -> Problem:
    """Return the problem, or raise InputError if it is empty or a label is outside its classes."""
    for part, label in (("training", problem.label), ("test", problem.label_test)):
        if len(label) == 0:
            raise InputError(f"data {problem.name}: no {part} examples; write at least one")
        wrong = label[(label < 0) | (label >= problem.classes)]
        if wrong.size:
            raise InputError(
                f"data {problem.name}: {part} label {wrong[0]}; write labels 0 to {problem.classes - 1}"
            )
    return problem


def batches(
    problem: Problem, batch_size: int, dtype: DTypeLike = jnp.float32
) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """Return ``draw(key) -> (x, label)``: training examples chosen with replacement.

    Raises:
        InputError: If the batch is empty.
    """
    if batch_size < 1:
        raise InputError(f"batch_size: got {batch_size}; write at least 1")
    x, label = problem.x.astype(dtype), problem.label.astype(np.int32)

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        index = jax.random.randint(key, (batch_size,), 0, len(x))
        return jnp.asarray(x)[index], jnp.asarray(label)[index]

    return draw


def cross_entropy(model: Any, batch: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean cross-entropy of softmax in nats, and the ``accuracy`` beside it."""
    logits, label = model(batch[0]), batch[1]
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
    return loss, {"accuracy": jnp.mean((jnp.argmax(logits, -1) == label).astype(logits.dtype))}


def accuracy(model: Any, x: jax.Array, label: jax.Array) -> jax.Array:
    """Share of examples whose largest logit is their class."""
    logits = model(x)
    return jnp.mean((jnp.argmax(logits, -1) == label).astype(logits.dtype))


def base_rate_loss(problem: Problem) -> float:
    """Cross-entropy in nats of the best answer that ignores the input: the entropy of the labels."""
    share = np.bincount(problem.label, minlength=problem.classes) / len(problem.label)
    return -sum(float(p) * math.log(p) for p in share if p > 0)
