"""The gradient of one recurrent network at every lag and unit, and the facts that bound it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree
from jax.scipy.special import logsumexp

from signalprop.analysis import lyapunov, timelag
from signalprop.analysis.recurrent import largest_singular_value, spectral_radius
from signalprop.analysis.trajectory import flatten, states
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.gradient_by_lag import SHORT, Settings
from signalprop.models.activations import ACTIVATIONS, activation, derivative
from signalprop.models.cells import cell, zero_carry

SUMMED = ("tanh",)  # cells whose weight gradient is summed lag by lag
HEAT_UNITS = 32  # of which the gradients are recorded one by one, at most
LN10 = float(np.log(10))
PHI = {
    "tanh": "tanh", "tanh_orthogonal": "tanh", "tanh_identity": "tanh", "smart_tanh": "tanh",
    "sigmoid": "sigmoid", "relu": "relu", "relu_orthogonal": "relu", "irnn": "relu", "linear": "linear",
}  # fmt: skip
"""Activations of the cells without gates."""


def grid(settings: Settings) -> Grid:
    """One compilation per cell; gains and biases share their draws."""
    constants = ("gated_gain", "input_scale", "units", "lags", "dtype")
    return Grid(
        static={"cell": settings.cell},
        traced={"setting": {"gain": settings.gain, "forget_bias": settings.forget_bias}},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "lag": range(settings.lags + 1),
            "shown_lag": shown_lags(settings.lags),
            "unit": range(min(settings.units, HEAT_UNITS)),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow the gradient of one network back through all steps."""
    name, units, lags, dtype = static["cell"], static["units"], static["lags"], jnp.dtype(static["dtype"])
    cell_key, noise_key = jax.random.split(key)
    network = cell(name)(
        cell_key, units, units,
        gain=point["gain"] if name in PHI else static["gated_gain"],
        input_scale=static["input_scale"], forget_bias=point["forget_bias"], dtype=dtype,
    )  # fmt: skip
    carry = zero_carry(network)
    leaves, tree = jax.tree.flatten(carry)
    noise = jax.random.normal(noise_key, (lags + len(leaves), units), dtype)
    inputs, loss_gradient = noise[:lags], jax.tree.unflatten(tree, list(noise[lags:]))
    homogeneous = name in PHI and activation(PHI[name]).homogeneous
    found = timelag.gradients(network, carry, inputs, loss_gradient, homogeneous=homogeneous)
    size = found.log_size()
    nothing = jnp.full((), jnp.nan, dtype)
    facts = dict.fromkeys(("radius", "largest_singular", "largest_slope"), nothing)
    summed = sum_error(network, carry, inputs[-SHORT:], loss_gradient) if name in SUMMED else nothing
    return {
        "log_norm": logsumexp(2 * size, axis=1) / 2,
        "live": jnp.mean(size[:, :units] > -jnp.inf, axis=1),
        "heat": size[jnp.array(shown_lags(lags)), : min(units, HEAT_UNITS)] / LN10,
        "lost_at": found.lost_at,
        "exponent": nothing if homogeneous else lyapunov.spectrum(network, carry, inputs, 1).exponents[0],
        "log_kept": log_kept(network, carry, inputs) if len(leaves) == 2 else nothing,
        "sum_error": summed,
        **(weight_facts(network, inputs) if name in PHI else facts),
    }


def shown_lags(lags: int) -> list[int]:
    """About a hundred equally spaced lags, those of the heat map."""
    return list(range(0, lags + 1, max(1, lags // 100)))


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
