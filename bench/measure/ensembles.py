"""Ensembles of recurrent weights, and the rules that are held against them.

A network is h_t = phi(g W h_{t-1} + s x_t) with inputs x_t ~ N(0, I) at every unit. The matrices W of an
ensemble are drawn at gain g = 1 and shared by all gains, inputs and activations.
"""

from typing import Any

import jax
import jax.numpy as jnp

from signalprop.bench.measure.names import NILPOTENT
from signalprop.models.initializers import Scheme
from signalprop.models.initializers import scheme as find_scheme

RULES = {
    "rho": "rho(W) > 1 explodes",
    "largest": "gamma s_max(W) > 1 explodes",
    "numerical": "gamma w(W) > 1 explodes",
    "chi_1": "chi_1 > 1 explodes",
    "other": "growth over 100 steps of other inputs explodes",
}
"""The rules, in words; gamma is the largest slope, w the numerical radius."""


def _nilpotent(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """[[A, -A], [A, -A]], entries of variance 1/(n/2), as a kernel (in, out); an odd unit is left alone."""
    n, half = shape[0], shape[0] // 2
    block = jax.random.normal(key, (half, half), dtype) / half**0.5
    columns = jnp.concatenate([block.T, block.T], 1)
    return jnp.pad(jnp.concatenate([columns, -columns]), (0, n % 2))


def ensemble(name: str) -> Scheme:
    """A scheme of the suite, a user's own, or matrices whose square is exactly 0."""
    if name != NILPOTENT:
        return find_scheme(name)
    return Scheme(NILPOTENT, _nilpotent, lambda fan_in, fan_out: 2**0.5, free=True)
