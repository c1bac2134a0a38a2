"""Cost against depth: a scan compiles in the same time at every depth and runs in time linear in it.

Timed: compilation of a gradient profile (forward and backward pass of a tanh network of width 128, batch 8,
weights drawn inside the scan) with empty program caches, and its steady state.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.models.activations import activation
from signalprop.models.stream import LazyMLP, Profile, profile

WIDTH, BATCH = 128, 8
DEPTHS = [10, 100, 1000]


def gradient_profile(depth: int, key: jax.Array, sigma_w: jax.Array) -> Profile:
    """Log norms of signal and gradient at every layer of one network."""
    x_key, readout_key, key = jax.random.split(key, 3)
    x, readout = (jax.random.normal(k, (BATCH, WIDTH), jnp.float32) for k in (x_key, readout_key))
    network = LazyMLP((WIDTH,) * (depth + 1), activation("tanh"), "gaussian", sigma_w, key=key)
    return profile(network, x, readout)


def lowered(depth: int) -> jax.stages.Lowered:
    return jax.jit(partial(gradient_profile, depth)).lower(jax.random.key(0), jnp.float32(1.5))


@pytest.fixture
def no_cache():
    """Switch the persistent program cache off: compilation is what is timed."""
    enabled = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", enabled)


@pytest.mark.parametrize("depth", DEPTHS)
def test_compilation(benchmark, depth, no_cache):
    """Time lowering and compilation of one depth; in-memory caches are cleared outside the clock."""
    benchmark.extra_info |= {"depth": depth, "width": WIDTH}
    compiled = benchmark.pedantic(lambda: lowered(depth).compile(), setup=jax.clear_caches, rounds=5)
    check(depth, compiled)


@pytest.mark.parametrize("depth", DEPTHS)
def test_steady_state(benchmark, depth):
    """Time one network, forward and back, all layers recorded."""
    compiled = lowered(depth).compile()
    check(depth, compiled)
    benchmark.extra_info |= {
        "depth": depth,
        "width": WIDTH,
        "batch": BATCH,
        "flops": 6 * depth * BATCH * WIDTH**2,
    }
    key, sigma_w = jax.random.key(0), jnp.float32(1.5)
    benchmark(lambda: jax.block_until_ready(compiled(key, sigma_w)))


def check(depth: int, compiled: jax.stages.Compiled) -> None:
    """The last layer's gradient is the read-out's, and nothing is lost."""
    measured = compiled(jax.random.key(0), jnp.float32(1.5))
    assert measured.log_delta.shape == (depth, BATCH)
    assert np.isfinite(measured.log_delta).all()
