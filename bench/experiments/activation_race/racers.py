"""The activations of the experiment ``activation-race``, each with weights, biases and input at criticality.

Five are rectifiers ``x`` for ``x > 0``, ``k x`` below: k = 0 is relu, 1 linear, -1 the absolute value. So the
question whether relu's zero slope helps becomes a sweep of one number.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from signalprop.analysis.gaussian import expectation
from signalprop.analysis.meanfield import critical_line, critical_point
from signalprop.analysis.smoothness import breaks_of
from signalprop.bench.experiments.activation_race import RACERS, SMOOTH
from signalprop.models.activations import ACTIVATIONS, Activation


class Critical(NamedTuple):
    """A critical start, chi_1 = 1, and Gaussian averages of the activation there.

    Attributes:
        sigma_w: Scale of the weights.
        sigma_b: Of the biases.
        q: Mean square of z, the same in every layer of a wide network.
        input_scale: Root mean square of an input with which layer 1 has this q already.
        mean: E phi(z).
        deviation: Standard deviation of phi(z).
    """

    sigma_w: float
    sigma_b: float
    q: float
    input_scale: float
    mean: float
    deviation: float


def racing(family: Int[ArrayLike, ""], slope: Float[ArrayLike, ""]) -> Activation:
    """The activation of that family; both may be traced, so that all racers share one program."""
    branches: list[Callable[[Array], Array]] = [
        partial(rectifier, slope),
        *(ACTIVATIONS[name].function for name in SMOOTH),
    ]
    return Activation("racing", lambda x: jax.lax.switch(family, branches, x), (0.0,), float("nan"))


def rectifier(slope: Float[ArrayLike, ""], x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return x above 0 and ``slope x`` below."""
    return jnp.where(x > 0, x, (slope * x).astype(x.dtype))


def racer(name: str) -> Activation:
    """One racer as an activation of its own."""
    found = RACERS[name]
    if found.family:
        return ACTIVATIONS[name]
    return Activation(name, partial(rectifier, found.slope), (0.0,), 1.0, homogeneous=True)


@cache
def critical(name: str) -> Critical:
    """The critical start at q = 1, or, where none exists (sigmoid), the one without biases."""
    phi = racer(name)
    point = critical_line(phi, 1.0)
    if not bool(point.exists):
        point = critical_point(phi, 0.0)
    q = float(point.q_star)
    mean, square = map(float, _moments(phi, q))
    scales = float(point.sigma_w), float(point.sigma_b)
    return Critical(*scales, q, square**0.5, mean, (square - mean**2) ** 0.5)


@partial(jax.jit, static_argnums=0)
def _moments(phi: Activation, q: Float[ArrayLike, ""]) -> Float[Array, " 2"]:
    """E phi(z) and E phi(z)^2."""
    return expectation(lambda z: jnp.stack([phi(z), phi(z) ** 2], -1), q, breaks_of(phi))
