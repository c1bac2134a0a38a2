"""Cost of an activation beside the matrix product of its layer: one hidden layer, forward and back.

Timed: the gradient of the sum of ``phi(x W)`` with respect to W and x, batch 256, width 256, for each racer
of ``activation-race``. How many updates a network needs is another question, which that experiment answers.
"""

import jax
import jax.numpy as jnp
import pytest

from signalprop.bench.experiments.activation_race import RACERS
from signalprop.bench.experiments.activation_race.racers import racer

BATCH, WIDTH = 256, 256


@pytest.mark.parametrize("name", list(RACERS))
def test_layer_with_activation(benchmark, name):
    """Time one layer; linear is the matrix products alone."""
    phi = racer(name)
    gradient = jax.jit(jax.grad(lambda x, w: jnp.sum(phi(x @ w)), (0, 1)))
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (BATCH, WIDTH), jnp.float32)
    w = jax.random.normal(keys[1], (WIDTH, WIDTH), jnp.float32) / WIDTH**0.5
    benchmark.extra_info |= {"activation": name, "batch": BATCH, "width": WIDTH}
    found = benchmark(lambda: jax.block_until_ready(gradient(x, w)))
    assert all(bool(jnp.isfinite(part).all()) for part in found)
