"""What a compiled function refuses at its boundary, in one line each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis import chaos, growth, meanfield
from signalprop.analysis.compiled import compiled


@compiled("phi", "depth")
def power(phi, x, depth=2):
    return phi(x) ** depth


def test_static_arguments_are_taken_by_place_and_by_name():
    assert power(jnp.sin, 0.5) == power(jnp.sin, x=0.5, depth=np.int64(2)) == np.sin(0.5) ** 2
    assert jax.jit(power, static_argnums=(0, 2))(jnp.sin, 0.5, 3) == pytest.approx(np.sin(0.5) ** 3)


@pytest.mark.parametrize(("call", "why"), [
    (lambda: jax.vmap(lambda n: meanfield.length_trajectory(jnp.tanh, 1.0, 0.0, 1.0, n))(jnp.arange(2)),
     "^depth: got a traced value"),
    (lambda: jax.vmap(lambda w: chaos.finite_width_correction(0.5, 64, w))(jnp.ones(2)),
     "^weights: got a traced value"),
    (lambda: jax.jit(lambda b: growth.batch_norm_factor(jnp.tanh, batch_size=b))(8),
     "^batch_size: got a traced value"),
    (lambda: meanfield.derivative_moment(jnp.tanh, 1.0, jnp.asarray(2)),
     "^order: got a jax.*, which has no hash"),
    (lambda: meanfield.chi_1([jnp.tanh], 1.0, 1.0), "^phi: got a builtins.list, which has no hash"),
])  # fmt: skip
def test_a_static_argument_that_is_traced_or_has_no_hash_is_refused_by_name(call, why):
    with pytest.raises(ValueError, match=why) as refused:
        call()
    assert "\n" not in str(refused.value)
