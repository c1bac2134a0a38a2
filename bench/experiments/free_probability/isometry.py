"""Critical networks that keep one length q, and the lengths at which depth leaves their spectrum alone."""

from functools import cache
from typing import Any

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
    for chosen_lengths, row in zip(
        found, np.asarray(every(jnp.arange(len(names)), jnp.asarray(log_q))), strict=True
    ):
        last = int(np.argmax(row)) + 1
        usable = row[:last] > 1e-9
        if usable.sum() > 1:
            curve = np.log(row[:last][usable])
            chosen_lengths[:] = np.exp(
                np.interp(wanted, curve, log_q[:last][usable], left=np.nan, right=np.nan)
            )
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


def edge_curves(
    activation: tuple[str, ...], isometric: tuple[str, ...], spread: float, depths: np.ndarray
) -> dict[str, Any]:
    """Edges, log of the largest s^2 over the mean, as variables of a data set with the dimension ``fine``.

    Args:
        activation: Activations at one length for all depths.
        isometric: Activations whose length keeps L (mu_2 / mu_1^2 - 1) at ``spread``.
        spread: That value; the limit of the edge is the variable ``smooth_limit``, of s^2.
        depths: Numbers of layers.
    """
    names, count = (*activation, *isometric), len(activation)
    q = np.array([[length(name)] * len(depths) for name in names])
    if isometric:
        q[count:] = lengths(isometric, spread, tuple(depths))

    def edge(case: tuple[jax.Array, ...]) -> jax.Array:
        family, index, q, depth = case
        phi = chosen(names, index)
        found = freeprob.edge(phi, 1.0, q, depth, family)
        relative = found.log_edge - freeprob.moments(phi, 1.0, q, depth, "orthogonal").log_mean
        return jnp.where(jnp.isfinite(q), relative, jnp.nan)

    family, index, depth = np.meshgrid([1.0, 0.0], range(len(names)), depths, indexing="ij")
    cases = tuple(jnp.asarray(v.ravel()) for v in (family, index, np.stack([q] * 2), depth))
    edges = np.asarray(jax.jit(lambda cases: jax.lax.map(edge, cases))(cases)).reshape(depth.shape)
    curves: dict[str, Any] = {
        "edge_curve": (("weights", "activation", "fine"), edges[:, :count]),
        "activation": ("activation", np.array(activation, object)),
    }
    if isometric:
        curves |= {
            "isometric_curve": (("weights", "isometric", "fine"), edges[:, count:]),
            "isometric": ("isometric", np.array(isometric, object)),
            "smooth_limit": ((), float(freeprob.universal_edge(spread, smooth=True))),
        }
    return curves
