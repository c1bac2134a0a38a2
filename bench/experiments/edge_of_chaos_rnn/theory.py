"""Mean field with its 1/N term, whole spectra as free products, and both on finer axes for figures."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from signalprop.analysis import chaos
from signalprop.analysis.meanfield import chi_1
from signalprop.bench.experiments.edge_of_chaos_rnn import FAMILIES, Settings
from signalprop.bench.experiments.edge_of_chaos_rnn.measure import grid, num_exponents
from signalprop.bench.measure.exponents import dimension, entropy, in_batches, places
from signalprop.models.activations import activation

FINE = (32, 8)  # gains and inputs of the lines in the figures
Activation = Callable[[jax.Array], jax.Array]


def theory(settings: Settings) -> xr.Dataset:
    """Mean field with and without finite width, whole spectra, and both on finer axes for the figures."""
    phi, count = activation(settings.activation), num_exponents(settings)
    lines = {
        "gain_line": np.geomspace(min(settings.gain), max(settings.gain), FINE[0]),
        "noise_line": np.union1d(
            np.linspace(0, max(settings.noise) ** 0.5 or 1, FINE[1]) ** 2, settings.noise
        ),
    }
    at, fine = mean_field(phi, settings.gain, settings.noise), mean_field(phi, *lines.values())
    n, family = np.array(settings.width)[:, None, None], [FAMILIES.index(w) for w in settings.scheme]
    finite = [at.exponent + chaos.finite_width_correction(at.variety, n, FAMILIES[i]) for i in family]
    along = [list(lines["noise_line"]).index(s) for s in settings.noise]
    whole = predicted(phi, count, np.array(settings.gain)[:, None], at.q)[family]
    line = predicted(phi, count, lines["gain_line"][:, None], fine.q[:, along])[family]
    by_place, by_line = ("gain", "noise"), ("gain_line", "noise_line")
    return xr.Dataset(
        {
            "exponent_predicted": (("scheme", "width", *by_place), finite),
            "exponent_wide": (by_place, at.exponent),
            "q_predicted": (by_place, at.q),
            "variety": (by_place, at.variety),
            "exponents_predicted": (("scheme", *by_place, "index"), whole),
            "exponent_line": (by_line, fine.exponent),
            "dimension_line": (("scheme", "gain_line", "noise"), dimension(line)),
            "entropy_line": (("scheme", "gain_line", "noise"), entropy(line)),
        },
        coords={**{k: v for k, v in grid(settings).labels().items() if k != "seed"}, **lines},
    )


class MeanField(NamedTuple):
    """Mean square q, largest exponent, and the relative variance of the squared slopes."""

    q: np.ndarray
    exponent: np.ndarray
    variety: np.ndarray


def mean_field(phi: Activation, gain: ArrayLike, noise: ArrayLike) -> MeanField:
    """Predictions for wide networks at every pair of gains and inputs, in that order of axes."""
    g, s = np.meshgrid(np.asarray(gain, float), np.asarray(noise, float), indexing="ij")
    found = in_batches(lambda *pairs: _mean_field(phi, *pairs), g.ravel(), s.ravel())
    return MeanField(*(column.reshape(g.shape) for column in found.T))


@partial(jax.jit, static_argnums=0)
def _mean_field(phi: Activation, gain: jax.Array, noise: jax.Array) -> jax.Array:
    def at(point: tuple[jax.Array, jax.Array]) -> jax.Array:
        g, s = point
        q = chaos.mean_field_q(phi, g, s)
        return jnp.stack([q, jnp.log(chi_1(phi, q, g)) / 2, chaos.slope_variety(phi, q)])

    found: jax.Array = jax.lax.map(at, (gain, noise))
    return found


def predicted(phi: Activation, count: int, gain: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Exponents of both families at the places of ``count`` units: (family, *shape of gain and q, place)."""
    g, length = np.broadcast_arrays(gain, q)
    x = places(count)
    found = in_batches(lambda *pairs: _predicted(phi, jnp.asarray(x), *pairs), g.ravel(), length.ravel())
    gaussian = found.reshape(*g.shape, count)
    return np.stack([gaussian, gaussian - np.log1p(-x) / 2])


@partial(jax.jit, static_argnums=0)
def _predicted(phi: Activation, x: jax.Array, gain: jax.Array, q: jax.Array) -> jax.Array:
    def at(point: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jax.vmap(lambda x: chaos.mean_field_spectrum(phi, x, *point))(x)

    found: jax.Array = jax.lax.map(at, (gain, q))
    return found
