"""Networks in seven conditions, stuck or not, and the problem that they learn.

All are classifiers of equal shape on one problem of two Gaussian classes, trained by heavy ball; what differs
is how they start, how long they train and whether labels are flipped. Beside them stand networks of random
activation and scale of weights, for signals that foretell how training ends.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

PHIS = ("relu", "tanh", "sigmoid")
COPIES = 4  # of every example, so that flipped labels contradict each other
SCALES = (0.3, 6.0)  # of the weights of the networks of random scale
FEATURES, CLASSES, DISTANCE = 8, 2, 1.5  # of a class mean from the origin, in units of the noise


@dataclass(frozen=True)
class Condition:
    """How a network of the collection comes about.

    Attributes:
        label: For figures.
        stuck: Whether it is one of those that do not learn although they could.
        phi: Index into ``PHIS``.
        sigma_w: Scale of the hidden weights.
        bias: Of the first layer's units.
        flips: Share of labels that are wrong.
        share: Of the steps of training that it takes.
    """

    label: str
    stuck: bool
    phi: int
    sigma_w: float
    bias: float = 0.0
    flips: float = 0.0
    share: float = 1.0


CONDITIONS = {
    "dead": Condition("dead relu layer", True, 0, 2**0.5, bias=-20.0),
    "saturated": Condition("saturated tanh", True, 1, 100.0),
    "saddle": Condition("near the saddle at 0", True, 1, 0.03),
    "vanishing": Condition("vanishing sigmoids", True, 2, 1.0),
    "solved": Condition("solved, tiny loss", False, 0, 2**0.5),
    "floor": Condition("converged, noisy labels", False, 1, 1.2, flips=0.25),
    "early": Condition("healthy, early", False, 0, 2**0.5, share=0.05),
}


def draw_problem(key: jax.Array, examples: int, dtype: DTypeLike) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw examples of two Gaussian classes, labels, and uniform numbers that decide which labels flip.

    Every example comes ``COPIES`` times, so that no network can fit flipped labels.
    """
    keys = jax.random.split(key, 3)
    label = jnp.arange(examples) % CLASSES
    mean = DISTANCE / FEATURES**0.5 * jax.random.rademacher(keys[0], (FEATURES,), dtype)
    x = jax.random.normal(keys[1], (examples, FEATURES), dtype) + mean * (2 * label - 1)[:, None]
    uniform = jax.random.uniform(keys[2], (COPIES * examples,), dtype)
    return jnp.tile(x, (COPIES, 1)), jnp.tile(label, COPIES), uniform


def rows(key: jax.Array, random: int, dtype: DTypeLike) -> dict[str, jax.Array]:
    """Give the numbers of all ``CONDITIONS``, then of networks of every activation and random scale."""
    fields = ("phi", "sigma_w", "bias", "flips", "share")
    fixed = {f: jnp.asarray([getattr(c, f) for c in CONDITIONS.values()], dtype) for f in fields}
    low, high = jnp.log(jnp.asarray(SCALES, dtype))
    free = {f: jnp.full(random, getattr(Condition, f, 0.0), dtype) for f in fields}
    free["phi"] = (jnp.arange(random) % len(PHIS)).astype(dtype)
    free["sigma_w"] = jnp.exp(jax.random.uniform(key, (random,), dtype, low, high))
    return {f: jnp.concatenate([fixed[f], free[f]]) for f in fields}
