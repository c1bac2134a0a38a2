"""Mean-field profiles and factors per layer, and the slopes of all known activations."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis import meanfield
from signalprop.analysis.gaussian import expectation
from signalprop.analysis.smoothness import breaks_of
from signalprop.bench.engine.grid import label_array
from signalprop.bench.experiments.activation_slopes import FIRST, LAST, Settings
from signalprop.bench.experiments.activation_slopes.measure import grid
from signalprop.models.activations import ACTIVATIONS, Activation, activation

CURVE_POINTS = 241
Z = np.arange(-2000, 2001) / 100  # where all activations are evaluated


def theory(settings: Settings) -> xr.Dataset:
    """Mean-field profile and factor at the measured scales, the factor over a continuum, and all slopes."""
    phis = [activation(name) for name in settings.activation]
    predicted = [_predicted_profile(phi, settings) for phi in phis]
    profile, correction = (np.array(part) for part in zip(*predicted, strict=True))
    curve_sigma_w, curve_factor = np.moveaxis(np.array([factor_curve(phi) for phi in phis]), 1, 0)
    value, slope = map(np.asarray, jax.jit(_all_activations)(Z))
    by_point, by_z = ("activation", "sigma_w"), ("known", "z")
    return xr.Dataset(
        {
            "log_delta_predicted": ((*by_point, "layer"), profile),
            "slope_predicted": (by_point, mean_slope(profile) - correction),
            "width_correction": (by_point, correction),
            "curve_sigma_w": (("activation", "place"), curve_sigma_w),
            "curve_factor": (("activation", "place"), curve_factor),
            "phi": (by_z, value.astype("float32")),
            "phi_slope": (by_z, slope),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k != "seed"}
        | {"known": label_array(list(ACTIVATIONS)), "z": Z},
    )


def _all_activations(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Values and slopes of all known activations."""
    pairs = [(phi(z), phi.derivative(z)) for phi in ACTIVATIONS.values()]
    return jnp.stack([value for value, _ in pairs]), jnp.stack([slope for _, slope in pairs])


def _predicted_profile(phi: Activation, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Log |delta^l| / |delta^L| at every scale, and what the finite width takes from its slope."""

    @jax.jit
    @jax.vmap
    def point(s: jax.Array) -> tuple[jax.Array, jax.Array]:
        q = meanfield.length_trajectory(phi, s, 0.0, 1.0, settings.depth)
        mu_1, mu_2 = (jax.vmap(partial(meanfield.derivative_moment, phi, order=k))(q) for k in (1, 2))
        return jnp.log(s**2 * mu_1) / 2, (3 * mu_2 / mu_1**2 - 1) / (4 * settings.width)

    log_factor, correction = map(np.asarray, point(jnp.array(settings.sigma_w)))
    above = np.cumsum(log_factor[:, -2::-1], axis=1)[:, ::-1]
    return np.pad(above, ((0, 0), (0, 1))), correction[:, settings.depth // 2]


def factor_curve(phi: Activation) -> tuple[np.ndarray, np.ndarray]:
    """Scales sigma_w without biases and the factor sqrt(chi_1) there, parametrised by the fixed point q.

    sigma_w^2 = q / E phi^2 needs no root. A homogeneous activation has every q at one scale, so its factor
    sigma_w sqrt(E phi'^2) is given over scales; one with phi(0) = 0 has q = 0 at all scales below the first.
    """
    if phi.homogeneous:
        sigma_w = np.geomspace(0.05, 25, CURVE_POINTS)
        return sigma_w, sigma_w * float(jax.jit(lambda q: meanfield.chi_1(phi, q, 1.0))(1.0)) ** 0.5

    def point(q: jax.Array) -> tuple[jax.Array, jax.Array]:
        sigma_w = jnp.sqrt(q / expectation(lambda x: phi(x) ** 2, q, breaks_of(phi)))
        return sigma_w, jnp.sqrt(meanfield.chi_1(phi, q, sigma_w))

    sigma_w, factor = map(np.array, jax.jit(jax.vmap(point))(jnp.geomspace(1e-3, 1e3, CURVE_POINTS)))
    if float(phi(jnp.zeros(()))) == 0:
        below = np.geomspace(0.05, sigma_w[0], 20)
        sigma_w[:20], factor[:20] = below, below * abs(float(phi.derivative(jnp.zeros(()))))
    return sigma_w, factor


def mean_slope(log_delta: Any) -> Any:
    """Change of log |delta| per layer towards the input, between the layers left out; along the last axis.

    It is -inf where the gradient is exactly 0 from some layer above on, as with weights of 0.
    """
    top = log_delta.shape[-1] - LAST
    low, high = log_delta[..., FIRST - 1], log_delta[..., top - 1]
    return (low - np.where(np.isneginf(high), 0, high)) / (top - FIRST)
