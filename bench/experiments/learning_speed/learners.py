"""Nielsen's network, remedies for it, and the examples that they learn."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.measure.data import READERS, pixels
from signalprop.models.activations import activation
from signalprop.models.classifier import Classifier, draw_classifier

CLASSES = 10


class Learner(NamedTuple):
    """A way to build hidden layers.

    Attributes:
        label: For people.
        activation: Name in ``activations.ACTIVATIONS``.
        sigma_w: Scale of the weights.
        sigma_b: Standard deviation of the biases.
        norm: Name in ``normalization.NORMS``.
        skip: Whether every hidden layer but the first adds to the one below.
    """

    label: str
    activation: str = "sigmoid"
    sigma_w: float = 1.0
    sigma_b: float = 1.0
    norm: str = "none"
    skip: bool = False

    @property
    def plain(self) -> bool:
        """Whether mean field theory of plain layers covers it."""
        return self.norm == "none" and not self.skip

    def draw(self, key: jax.Array, features: int, width: int, depth: int, dtype: str) -> Classifier:
        """Draw the network; the biases of the read-out are drawn as those of the hidden layers."""
        model = draw_classifier(
            key, features, width, depth, CLASSES, activation(self.activation), sigma_w=self.sigma_w,
            sigma_b=self.sigma_b, norm=self.norm, skip=self.skip, dtype=dtype,
        )  # fmt: skip
        bias = jax.random.normal(jax.random.fold_in(key, depth), (CLASSES,), dtype)
        model.readout.bias[...] = jnp.asarray(self.sigma_b, dtype) * bias
        return model


LEARNERS = {
    "sigmoid": Learner("sigmoid, Nielsen's"),
    "relu": Learner("relu, He", "relu", 2**0.5, 0.0),
    "tanh": Learner("tanh, Xavier", "tanh", 1.0, 0.0),
    "batch_norm": Learner("sigmoid, batch norm", norm="batch"),
    "residual": Learner("sigmoid, residual", skip=True),
}


def find_learner(name: str) -> tuple[Learner, int]:
    """The learner and its hidden layers, of a name like ``sigmoid-4``.

    Raises:
        InputError: If either is missing or unknown.
    """
    kind, _, depth = name.rpartition("-")
    if kind not in LEARNERS:
        raise InputError(
            f"network: no {name!r}; {nearest(kind or name, LEARNERS)}, with its layers: sigmoid-4"
        )
    if not depth.isdigit() or int(depth) < 1:
        raise InputError(f"network: got {name!r}; write the number of hidden layers behind it: {kind}-4")
    return LEARNERS[kind], int(depth)


@cache
def first_examples(data: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first training examples as pixels in [0, 1], and their classes as ones and zeros.

    Raises:
        InputError: If the data set is unknown, missing or has fewer examples.
    """
    if data not in READERS:
        raise InputError(f"data: no {data!r}; {nearest(data, READERS)}")
    x, label = pixels(data)
    if len(x) < count:
        raise InputError(f"examples: got {count}; write at most {len(x)}, the examples of {data}")
    return x[:count], np.eye(CLASSES, dtype=np.float32)[label[:count]]
