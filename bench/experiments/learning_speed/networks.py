"""The networks of learners, and the examples that they learn."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments.learning_speed.learners import Learner
from signalprop.bench.measure.data import pixels
from signalprop.models.activations import activation
from signalprop.models.classifier import Classifier, draw_classifier

CLASSES = 10


def draw(learner: Learner, key: jax.Array, features: int, width: int, depth: int, dtype: str) -> Classifier:
    """Draw a learner's network; the biases of the read-out are drawn as those of the hidden layers."""
    model = draw_classifier(
        key, features, width, depth, CLASSES, activation(learner.activation), sigma_w=learner.sigma_w,
        sigma_b=learner.sigma_b, norm=learner.norm, skip=learner.skip, dtype=dtype,
    )  # fmt: skip
    bias = jax.random.normal(jax.random.fold_in(key, depth), (CLASSES,), dtype)
    model.readout.bias[...] = jnp.asarray(learner.sigma_b, dtype) * bias
    return model


@cache
def first_examples(data: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first training examples as pixels in [0, 1], and their classes as ones and zeros.

    Raises:
        InputError: If the data set is missing or has fewer examples.
    """
    x, label = pixels(data)
    if len(x) < count:
        raise InputError(f"examples: got {count}; write at most {len(x)}, the examples of {data}")
    return x[:count], np.eye(CLASSES, dtype=np.float32)[label[:count]]
