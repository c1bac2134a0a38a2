"""Constants computed inside a trace are numbers."""

import jax
import jax.numpy as jnp

from signalprop.bench.engine.untraced import untraced


def test_a_number_inside_a_trace() -> None:
    def f(x: jax.Array) -> jax.Array:
        return x * untraced(lambda: float(jax.jit(jnp.sin)(1.0)))

    assert float(jax.jit(f)(2.0)) == 2 * float(jnp.sin(1.0))
