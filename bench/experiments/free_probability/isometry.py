"""Critical networks that keep one length q, and the lengths at which depth leaves their spectrum alone."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis import freeprob, meanfield
from signalprop.bench.engine.errors import InputError
from signalprop.models.activations import chosen

LENGTHS = {"linear": 1.0, "relu": 1.0, "hard_tanh": 0.5, "gelu": 8.0, "sigmoid": 46.0}


def length(name: str) -> float:
    """A length at which the activation has a critical point that is neither linear nor saturated."""
    return LENGTHS.get(name, 0.4)


@cache
def lengths(names: tuple[str, ...], spread: float, depths: tuple[float, ...]) -> np.ndarray:
    """Lengths at which L (mu_2 / mu_1^2 - 1) is ``spread``: (activation, depth); NaN where there is none.

    The shortest ones, interpolated between 400 lengths: relative error of the spread below 1e-3.
    """
    log_q = np.linspace(-24.0, 4.0, 400)

    def ratio(index: jax.Array, log_q: jax.Array) -> jax.Array:
        return freeprob.moments(chosen(names, index), 1.0, jnp.exp(log_q), 1, "orthogonal").relative_variance

    every = jax.jit(jax.vmap(jax.vmap(ratio, (None, 0)), (0, None)))
    found = np.full((len(names), len(depths)), np.nan)
    wanted = np.log(spread / np.array(depths))
    for i, row in enumerate(np.asarray(every(jnp.arange(len(names)), jnp.asarray(log_q)))):
        last = int(np.argmax(row)) + 1
        usable = row[:last] > 1e-9
        if usable.sum() > 1:
            known = np.log(row[:last][usable]), log_q[:last][usable]
            found[i] = np.exp(np.interp(wanted, *known, left=np.nan, right=np.nan))
    return found


@cache
def critical_networks(names: tuple[str, ...], lengths: tuple[float, ...]) -> np.ndarray:
    """Rows of sigma_w, sigma_b and mean square of the input for a fixed length, and of mu_2 / mu_1^2 - 1.

    Raises:
        InputError: If an activation has no critical point at its length.
    """

    def scales(index: jax.Array, q: jax.Array) -> tuple[jax.Array, ...]:
        phi = chosen(names, index)
        law = freeprob.moments(phi, 1.0, q, 1, "orthogonal")
        signal = meanfield.length_map(phi, q, 1.0, 0.0)
        sigma_w = jnp.exp(-law.log_mean / 2)
        return sigma_w, q - sigma_w**2 * signal, signal, law.relative_variance

    found = jax.jit(jax.vmap(scales))(jnp.arange(len(names)), jnp.asarray(lengths))
    sigma_w, variance, signal, ratio = np.array(found)
    for name, q, possible in zip(names, lengths, np.isfinite(sigma_w) & (variance > -1e-9), strict=True):
        if not possible:
            raise InputError(f"activation: {name} has no critical point at length {q:.4g}; leave it out")
    return np.array([sigma_w, np.sqrt(np.maximum(variance, 0)), signal, ratio])
