"""What gradients by lag are compared with: facts about one run of a cell, and exact laws.

Cells without gates are Flax's ``SimpleCell``; the carry of an LSTM is (c, h).
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from flax import nnx
from jax.flatten_util import ravel_pytree
from scipy.special import gammaln

from signalprop.analysis import chaos, lyapunov, timelag
from signalprop.analysis.recurrent import largest_singular_value, relu_exponent, spectral_radius
from signalprop.analysis.trajectory import flatten, states
from signalprop.models.activations import ACTIVATIONS, derivative

PHI = {
    "tanh": "tanh", "tanh_orthogonal": "tanh", "tanh_identity": "tanh", "smart_tanh": "tanh",
    "sigmoid": "sigmoid", "relu": "relu", "relu_orthogonal": "relu", "irnn": "relu", "linear": "linear",
}  # fmt: skip
"""Activations of the cells without gates."""
FIELD: dict[str, chaos.Weights] = {
    "tanh": "gaussian", "tanh_orthogonal": "orthogonal", "sigmoid": "gaussian", "relu": "gaussian",
    "relu_orthogonal": "orthogonal",
}  # fmt: skip
"""Weights of the cells that mean field covers; the sparse ones of smart tanh it does not."""
SHORT = 20  # steps of the sequence whose weight gradient is summed lag by lag


def weight_facts(network: Any, inputs: jax.Array) -> dict[str, jax.Array]:
    """Largest singular value of W, its radius if the cell is linear, the largest slope that the run meets."""
    kernel, phi = network.dense_h.kernel[...], network.activation_fn
    before = states(network, jnp.zeros(len(kernel), kernel.dtype), inputs)[:-1]
    z = network.dense_h(before) + network.dense_i(inputs)
    return {
        "radius": spectral_radius(kernel) if phi == ACTIVATIONS["linear"] else jnp.full((), jnp.nan),
        "largest_singular": largest_singular_value(kernel),
        "largest_slope": jnp.nanmax(jnp.abs(derivative(phi, z))),
    }


def log_kept(network: nnx.RNNCellBase, carry: Any, inputs: jax.Array) -> jax.Array:
    """Mean over units and steps of log dc_t/dc_{t-1} at fixed h of an LSTM: of its forget gates."""

    def step(carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        c, h = carry
        along = (jnp.ones_like(c), jnp.zeros_like(h))
        (after, _), (kept, _) = jax.jvp(lambda carry: network(carry, x)[0], (carry,), (along,))
        return (after, network(carry, x)[1]), jnp.mean(jnp.log(kept))

    return jnp.mean(jax.lax.scan(step, carry, inputs)[1])


def sum_error(network: nnx.RNNCellBase, carry: Any, inputs: jax.Array, loss_gradient: Any) -> jax.Array:
    """Relative difference of the weights' gradient, summed lag by lag, from autodiff through the whole run.

    The sum is that of backpropagation through time: of dL/dh_{T-k}, found in the log domain, times the
    derivative of h_{T-k} by the weights at fixed h_{T-k-1}.
    """
    visited = states(network, carry, inputs)
    found = timelag.gradients(network, carry, inputs, loss_gradient)
    pulled = jnp.ldexp(found.mantissa, found.exponent[:, None])[:-1][::-1]

    def at_one_step(before: jax.Array, x: jax.Array, gradient: jax.Array) -> jax.Array:
        unravel = flatten(network, carry).unravel
        _, pull_back = jax.vjp(lambda net: ravel_pytree(net(unravel(before), x)[0])[0], network)
        return ravel_pytree(pull_back(gradient))[0]

    def loss(net: nnx.RNNCellBase) -> jax.Array:
        last = states(net, carry, inputs)[-1]
        return jnp.vdot(last, ravel_pytree(loss_gradient)[0])

    summed = jnp.sum(jax.vmap(at_one_step)(visited[:-1], inputs, pulled), axis=0)
    exact = ravel_pytree(jax.grad(loss)(network))[0]
    error: jax.Array = jnp.linalg.norm(summed - exact) / jnp.linalg.norm(exact)
    return error


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


def e_folding_steps(log_norm: xr.DataArray) -> xr.DataArray:
    """Fitted e-folding time of the mean profile over networks, and its standard error, along ``fit``.

    Negative where gradients grow; NaN where more than three quarters of the profile are exact zeros.
    """

    def fit(profile: np.ndarray) -> np.ndarray:
        if np.isfinite(profile).sum() < profile.size / 4:
            return np.full(2, np.nan)
        return np.array(timelag.e_folding(profile)[2:])

    mean = log_norm.mean("seed")
    fitted: xr.DataArray = xr.apply_ufunc(
        fit, mean, input_core_dims=[["lag"]], output_core_dims=[["fit"]], vectorize=True
    )
    return fitted


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
