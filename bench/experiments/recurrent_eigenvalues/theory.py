"""Exponents of mean field with 1/N terms, of the identity without input, and of nilpotent weights."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis import chaos, ginibre, meanfield, recurrent
from signalprop.bench.experiments.recurrent_eigenvalues import Settings
from signalprop.bench.experiments.recurrent_eigenvalues.measure import grid
from signalprop.bench.measure.ensembles import ensemble
from signalprop.bench.measure.names import NILPOTENT
from signalprop.models.activations import activation, chosen


def theory(settings: Settings) -> xr.Dataset:
    """Mean-field exponents of every setting, and the growth predicted where there is a theory."""
    names, n = settings.activation, settings.width
    gains, noises = np.array(settings.gain), np.array(settings.input_std)
    sigma_w = np.array([ensemble(name).effective_sigma_w(n, n) for name in settings.ensemble])
    mean_field, variety, nilpotent = _exponents(names, sigma_w, gains, noises)
    linear = np.array([name == "linear" for name in names])[:, None, None]
    homogeneous = np.array([activation(name).homogeneous for name in names])[:, None, None]
    smooth, quiet = (noises > 0) & ~homogeneous, linear | (homogeneous & (noises == 0))
    predicted, size = np.full(mean_field.shape, np.nan), np.full(mean_field.shape, np.nan)
    for i, name in enumerate(settings.ensemble):
        if name in ("gaussian", "orthogonal"):
            family: chaos.Weights = "gaussian" if name == "gaussian" else "orthogonal"
            correction = np.asarray(chaos.finite_width_correction(variety[i], n, family))
            predicted[i], size[i] = np.where(smooth, mean_field[i] + correction, np.nan), -correction
        if name == "scaled_identity":
            predicted[i] = np.where(quiet, np.log(gains)[:, None], np.nan)
        if name == NILPOTENT:
            predicted[i] = np.where(noises > 0, nilpotent, -np.inf)
    by_network = ("ensemble", "activation", "gain", "input_std")
    return xr.Dataset(
        {
            "counted": ((), float(settings.steps - settings.steps // 5)),
            "mean_field": (by_network, mean_field),
            "slope_predicted": (by_network, predicted),
            "finite_width": (by_network, size),
            "half_radius": ((), ginibre.mean_spectral_radius(n // 2)),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k in by_network},
    )


def _exponents(names: tuple[str, ...], sigma_w: np.ndarray, gains: np.ndarray, noises: np.ndarray) -> Any:
    """Mean-field exponents and variety of slopes of all ensembles, exponents of nilpotent weights."""

    def mean_field(phi: Any, gain: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        q = chaos.mean_field_q(phi, gain, noise)
        return jnp.log(meanfield.chi_1(phi, q, gain)) / 2, chaos.slope_variety(phi, q)

    def of_one(index: jax.Array) -> Any:
        phi, scales = chosen(names, index), np.outer(sigma_w, gains).ravel()
        return over(partial(mean_field, phi), scales), over(partial(recurrent.nilpotent_exponent, phi), gains)

    def over(f: Any, scales: np.ndarray) -> Any:
        return jax.vmap(lambda gain: jax.vmap(partial(f, gain))(noises))(scales)

    wide, nilpotent = jax.jit(lambda: jax.lax.map(of_one, jnp.arange(len(names))))()
    shape = (len(names), sigma_w.size, gains.size, noises.size)
    exponents, variety = (np.moveaxis(np.asarray(values).reshape(shape), 1, 0) for values in wide)
    return exponents, variety, np.asarray(nilpotent)
