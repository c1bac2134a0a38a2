"""Speed of Lyapunov spectra: 64 sequences of 1,000 steps through an LSTM of width 128, 32 exponents each.

The carry (c, h) has 256 entries. Timed: the steady state of all 64 spectra, from inputs on the device to
exponents on the device, in float32 with a QR decomposition at every fifth step. The answer is checked first:
against float64, decomposed at every step, on the first sequences.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from signalprop.analysis import lyapunov

SEQUENCES, STEPS, WIDTH, EXPONENTS, INTERVAL = 64, 1000, 128, 32, 5
CHECKED = 2  # sequences that are repeated in float64


def spectra(inputs: jax.Array, interval: int) -> lyapunov.Spectrum:
    """Exponents of one network on every sequence, from the zero carry."""
    dtype = inputs.dtype
    cell = nnx.LSTMCell(WIDTH, WIDTH, dtype=dtype, rngs=nnx.Rngs(0))
    zero = jnp.zeros(WIDTH, dtype)
    return jax.vmap(
        lambda x: lyapunov.spectrum(cell, (zero, zero), x, EXPONENTS, transient=100, interval=interval)
    )(inputs)


@pytest.fixture(scope="module")
def inputs():
    """Independent Gaussian inputs."""
    return jax.random.normal(jax.random.key(1), (SEQUENCES, STEPS, WIDTH), jnp.float32)


def test_lstm_spectrum(benchmark, inputs):
    """Time 64 spectra; compilation and the agreement with float64 are in extra_info."""
    began = time.perf_counter()
    compiled = jax.jit(spectra, static_argnums=1).lower(inputs, INTERVAL).compile()
    compile_seconds = time.perf_counter() - began
    found = jax.block_until_ready(compiled(inputs))
    exact = jax.jit(spectra, static_argnums=1)(inputs[:CHECKED].astype(jnp.float64), 1)
    difference = np.abs(found.exponents[:CHECKED] - exact.exponents).max()
    assert difference < 1e-4
    assert found.rounding.max() < 1e-6
    assert np.isfinite(found.exponents).all()
    assert not found.lost_at.any()
    products = 2 * 4 * WIDTH * WIDTH * EXPONENTS * STEPS * SEQUENCES
    benchmark.extra_info |= {
        "sequences": SEQUENCES,
        "steps": STEPS,
        "width": WIDTH,
        "exponents": EXPONENTS,
        "interval": INTERVAL,
        "flops": products,
        "compile_seconds": compile_seconds,
        "largest_difference_to_float64": float(difference),
        "device": jax.devices()[0].device_kind,
    }
    benchmark.pedantic(lambda: jax.block_until_ready(compiled(inputs)), rounds=3)
