"""Speed of gradients by lag: 20 settings x 10 seeds x 1,000 steps, one compiled call per cell, width 128.

Timed: the steady state of all 200 networks of one cell, from keys on the device to the logarithms of their
gradients at 1,001 lags. Gains, biases, input scales and seeds are traced. Compilation is in extra_info.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis import timelag
from signalprop.models.cells import cell, zero_carry

UNITS, INPUTS, LAGS, SEEDS = 128, 16, 1000, 10
GAINS, SCALES = jnp.linspace(0.6, 2.4, 10, dtype=jnp.float32), jnp.array([0.1, 1.0], jnp.float32)


def profile(name, key, gain, scale):
    """Log gradient norms of one network."""
    cell_key, input_key = jax.random.split(key)
    network = cell(name)(
        cell_key, INPUTS, UNITS, gain=gain, input_scale=scale, forget_bias=gain, dtype=jnp.float32
    )
    carry, inputs = zero_carry(network), jax.random.normal(input_key, (LAGS, INPUTS), jnp.float32)
    ones = jax.tree.map(jnp.ones_like, carry)
    return timelag.gradient_by_lag(network, carry, inputs, ones).log_norm


@pytest.mark.parametrize("name", ["tanh", "lstm_1997", "lstm", "gru"])
def test_gradients_by_lag_of_200_networks(benchmark, name):
    """Time one call; the profile of one network is checked against a call of its own."""
    keys = jax.random.split(jax.random.key(0), SEEDS)
    settings = jax.vmap(lambda key, gain, scale: profile(name, key, gain, scale), (None, 0, None))
    settings = jax.vmap(settings, (None, None, 0))
    began = time.perf_counter()
    program = jax.jit(jax.vmap(settings, (0, None, None))).lower(keys, GAINS, SCALES).compile()
    compile_seconds = time.perf_counter() - began
    found = np.asarray(program(keys, GAINS, SCALES))
    assert found.shape == (SEEDS, 2, 10, LAGS + 1)
    alone = jax.jit(lambda key, gain, scale: profile(name, key, gain, scale))(keys[3], GAINS[1], SCALES[1])
    # in float32 the paths of chaotic networks part; this setting is not chaotic
    np.testing.assert_allclose(found[3, 1, 1], alone, rtol=1e-3, atol=1e-2)
    benchmark.extra_info |= {
        "workload": "gradient-by-lag",
        "cell": name,
        "networks": found[..., 0].size,
        "compile_seconds": compile_seconds,
        "device": jax.devices()[0].device_kind,
    }
    benchmark.pedantic(lambda: jax.block_until_ready(program(keys, GAINS, SCALES)), rounds=2)
