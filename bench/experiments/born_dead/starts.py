"""Ways to start a relu network, as numbers that may be traced, so that all share a program and its draws."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from signalprop.models.asymmetric import SPREAD, make_asymmetric
from signalprop.models.mlp import Layer, draw_layer


class Start(NamedTuple):
    """How a layer is drawn.

    Attributes:
        sigma_w: Scale of the weights.
        bias: Standard deviation of the biases over that of the weights.
        asymmetric: 1 if one entry of every unit is made positive, else 0.
    """

    sigma_w: Any
    bias: Any
    asymmetric: Any

    def draw(
        self, key: jax.Array, number: jax.Array, fan_in: jax.Array, shape: tuple[int, int], dtype: str
    ) -> Layer:
        """Draw one layer whose inputs are 0 beyond the first ``fan_in``, a number that may be traced."""
        rows, columns = shape
        sigma_w = self.sigma_w * jnp.sqrt(rows / fan_in)
        sigma_b = self.bias * self.sigma_w / jnp.sqrt(fan_in)
        usual = draw_layer(key, number, rows, columns, sigma_w=sigma_w, sigma_b=sigma_b, dtype=dtype)
        skew = make_asymmetric(jax.random.fold_in(key, number), usual, fan_in)
        both: Layer = jax.tree.map(lambda a, b: jnp.where(self.asymmetric > 0, b, a), usual, skew)
        return both


STARTS = {
    "he": Start(2**0.5, 0.0, 0.0),
    "xavier": Start(1.0, 0.0, 0.0),
    "he_with_biases": Start(2**0.5, 1.0, 0.0),
    "asymmetric": Start(SPREAD, 1.0, 1.0),
}
LABELS = {
    "he": "He, no biases",
    "xavier": "Xavier, no biases",
    "he_with_biases": "He, with biases",
    "asymmetric": "asymmetric",
}


def name_of(number: Any) -> str:
    """The name of a start by its place in ``STARTS``."""
    return list(STARTS)[int(number)]
