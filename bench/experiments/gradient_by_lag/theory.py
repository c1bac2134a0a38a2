"""Rates by mean field, exact rates of linear and identity weights, and the arcsine law of the IRNN."""

from collections.abc import Sequence
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.special import gammaln

from signalprop.analysis import chaos, lyapunov
from signalprop.analysis.recurrent import relu_exponent
from signalprop.bench.experiments.gradient_by_lag import Settings
from signalprop.bench.experiments.gradient_by_lag.measure import PHI, grid
from signalprop.models.activations import ACTIVATIONS

FIELD: dict[str, chaos.Weights] = {
    "tanh": "gaussian", "tanh_orthogonal": "orthogonal", "sigmoid": "gaussian", "relu": "gaussian",
    "relu_orthogonal": "orthogonal",
}  # fmt: skip
"""Weights of the cells that mean field covers; the sparse ones of smart tanh it does not."""


def theory(settings: Settings) -> xr.Dataset:
    """Rates by mean field and their limits, exact ones of linear, identity, truncated cells; arcsine law."""
    predicted, limit = (
        np.array([predicted_rates(name, settings.gain, settings.input_scale, n) for name in settings.cell])
        for n in (settings.units, np.inf)
    )
    labels = grid(settings).labels()
    return xr.Dataset(
        {
            "rate_predicted": (("cell", "setting"), predicted),
            "rate_limit": (("cell", "setting"), limit),
            "live_predicted": (("lag",), untouched_share(settings.lags)),
            "units": ((), settings.units),
        },
        coords={name: labels[name] for name in ("cell", "lag")},
    )


def predicted_rates(name: str, gain: Sequence[float], noise: float, units: float) -> np.ndarray:
    """Growth of a gradient per step of lag at every gain, in nats; NaN where no theory covers the cell.

    Mean field: of tanh and sigmoid with its 1/N term, of relu without, whose masks hardly change, so that
    slopes are not drawn anew at every step; log g of linear networks and of an identity with relu, whose
    units all die below 1; 0 of the carousel. Infinite ``units`` give the limit.
    """
    if name == "lstm_1997":
        return np.zeros(len(gain))
    if name in ("linear", "irnn"):
        return np.array([np.log(g) if name == "linear" or g >= 1 else np.nan for g in gain])
    if name not in FIELD:
        return np.full(len(gain), np.nan)
    if PHI[name] == "relu":
        return np.asarray(relu_exponent(jnp.asarray(gain)))
    rate, variety = _mean_field(PHI[name], tuple(gain), noise)
    return np.asarray(rate + chaos.finite_width_correction(variety, units, FIELD[name]))


@cache
def _mean_field(phi: str, gain: tuple[float, ...], noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Exponents of infinitely wide networks, and the relative variance of squared slopes."""

    def of_one(g: jax.Array) -> tuple[jax.Array, jax.Array]:
        f = ACTIVATIONS[phi]
        variety = chaos.slope_variety(f, chaos.mean_field_q(f, g, noise))
        return lyapunov.mean_field_exponent(f, g, noise), variety

    rate, variety = jax.jit(jax.vmap(of_one))(jnp.asarray(gain))
    return np.asarray(rate), np.asarray(variety)


def untouched_share(steps: int) -> np.ndarray:
    """Probability that a walk reflected at 0, and started there, last touches 0 at T - k or before, k = 0..T.

    ``sum_{n <= T-k} u_n u_{T-n}`` with ``u_n = C(2n, n) / 4^n``, the discrete arcsine law: exact for
    independent steps of any continuous symmetric distribution. The last visit of the reflected walk to 0 is
    where the free walk is smallest.

    References:
        E. Sparre Andersen (1953), Mathematica Scandinavica 1, 263.
    """
    n = np.arange(steps + 1)
    u = np.exp(gammaln(2 * n + 1) - 2 * gammaln(n + 1) - 2 * n * np.log(2))
    return np.cumsum(u * u[::-1])[::-1]
