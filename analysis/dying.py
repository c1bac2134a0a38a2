r"""When a relu network is dead before training: at one input, on all inputs, and single units of layer 1.

A layer of N relu units with symmetric weights is off at a given input with probability :math:`2^{-N}`, and
what comes above it no longer depends on that input. Sources: Lu, Shin, Su & Karniadakis (2019),
arXiv:1903.06733; Wendel (1962), Mathematica Scandinavica 11, 109-111.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr
from jaxtyping import Array, ArrayLike, Float, Int

from signalprop.analysis.compiled import compiled

ANGLES = 8001  # of the mean over directions: relative error below 1e-6 up to 1e5 examples


def dead_input(widths: Int[ArrayLike, "*batch L"]) -> Float[np.ndarray, "*batch L"]:
    r"""Probability that a relu network is dead at one given input, at every depth, exactly.

    .. math:: 1 - \prod_{k \le l} (1 - 2^{-n_k})

    A layer without an active unit makes the signal and the whole Jacobian zero, for all that follow. For
    symmetric weights, with or without symmetric biases, of any scale. L layers of one width N:
    :math:`1 - (1 - 2^{-N})^L`.

    Args:
        widths: Units of the hidden layers, each at least 1, along the last axis.

    Returns:
        The probability after each layer, to a few eps of its size.
    """
    alive = np.log1p(-np.exp2(-np.asarray(widths, float)))
    return np.asarray(-np.expm1(np.cumsum(alive, -1)))


def born_dead_bound(width: Int[ArrayLike, "..."], depth: Int[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Upper bound of the probability that a network without biases is constant: one layer fewer.

    .. math:: P \le 1 - (1 - 2^{-N})^{L-1}

    (arXiv:1903.06733, theorem 3.2). Without biases layer 1 is never off at x and -x both, so some input
    passes it. For an input domain symmetric about 0.

    Args:
        width: Units N of a layer.
        depth: Hidden layers L, from 1; a linear read-out is not counted.
    """
    return _some_off(-jnp.asarray(width, float), jnp.asarray(depth) - 1)


def born_dead_floor(width: Int[ArrayLike, "..."], depth: Int[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Lower bound of that probability for one input feature: :math:`1 - (1 - 4^{-N})^{L-1}`.

    The network is then two rays, x > 0 and x < 0. Their activities have no negative entry, so that their
    angle is at most a right one and a unit is off on both with probability 1/4 or more.

    Args:
        width: Units N of a layer.
        depth: Hidden layers L, from 1.
    """
    return _some_off(-2 * jnp.asarray(width, float), jnp.asarray(depth) - 1)


def dead_unit(ratio: Float[ArrayLike, ""], examples: Int[ArrayLike, ""], features: int) -> Float[Array, ""]:
    r"""Probability that a unit of layer 1 without bias is off on all of n uncentred Gaussian examples.

    Examples have independent entries of mean m and standard deviation s, weights a direction that is uniform
    on the sphere, with first coordinate u:

    .. math:: P = E_u \, \Phi(-\sqrt d \, u \, m / s)^n

    At m = 0 that is :math:`2^{-n}`.

    Args:
        ratio: m / s.
        examples: Number n of examples.
        features: Input features d, at least 2.

    Raises:
        ValueError: If there are fewer than 2 features.
    """
    if features < 2:
        raise ValueError(f"features is {features}, give at least 2 for a direction to average over")
    angle = (jnp.arange(ANGLES) + 0.5) * jnp.pi / ANGLES
    weight = jnp.sin(angle) ** (features - 2)
    off = jnp.exp(examples * log_ndtr(-math.sqrt(features) * jnp.cos(angle) * ratio))
    return jnp.sum(weight * off) / jnp.sum(weight)


def dead_unit_estimate(
    ratio: Float[ArrayLike, "..."], examples: Int[ArrayLike, "..."]
) -> Float[Array, "..."]:
    r"""Rule of thumb for `dead_unit`: :math:`\Phi(-\sqrt{2 \ln n} \, s / m)`.

    It takes the largest of n normal numbers to be :math:`\sqrt{2 \ln n}`, which is too large, and so gives
    too few deaths; for n > 1 and m > 0.

    Args:
        ratio: m / s.
        examples: Number n of examples.
    """
    return ndtr(-jnp.sqrt(2 * jnp.log(jnp.asarray(examples, float))) / jnp.asarray(ratio))


def killable(examples: int, features: int) -> float:
    r"""Probability that any weight vector is off on all of n centred examples (Wendel 1962).

    .. math:: 2^{1-n} \sum_{k<d} \binom{n-1}{k}

    For independent examples whose directions are symmetric; 1 if n <= d.

    Args:
        examples: Number n of examples.
        features: Input features d.
    """
    ways = sum(math.comb(examples - 1, k) for k in range(min(features, examples)))
    return float(ways / 2 ** (examples - 1))


@compiled()
def _some_off(log2_off: Array, layers: Array) -> Array:
    """Probability that some of several layers is off, each with a probability 2^log2_off."""
    return -jnp.expm1(layers * jnp.log1p(-jnp.exp2(log2_off)))
