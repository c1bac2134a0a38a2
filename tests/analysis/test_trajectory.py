"""Paths and step Jacobians of recurrent cells against exact cases and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis import trajectory


def cell(carry, x):
    """Two coupled leaves of different shape, as the (c, h) of a gated cell."""
    c, h = carry["c"], carry["h"]
    c = 0.9 * c + x * h[:2]
    return {"c": c, "h": jnp.tanh(h + jnp.append(c, x))}, h


CARRY = {"c": jnp.array([0.3, -0.2]), "h": jnp.array([0.1, 0.5, -0.4])}
INPUTS = jnp.array([0.7, -1.1, 0.4])


def test_states_are_those_of_a_loop():
    found = trajectory.states(cell, CARRY, INPUTS)
    carry, wanted = CARRY, [np.concatenate([CARRY["c"], CARRY["h"]])]
    for x in INPUTS:
        carry, _ = cell(carry, x)
        wanted.append(np.concatenate([carry["c"], carry["h"]]))
    np.testing.assert_allclose(found, wanted, rtol=1e-14)


def test_step_jacobians_agree_with_finite_differences():
    factors = jax.jit(lambda: trajectory.state_jacobians(cell, CARRY, INPUTS))()
    flat = trajectory.flatten(cell, CARRY)
    before = trajectory.states(cell, CARRY, INPUTS)
    for factor, state, x in zip(factors, before[:-1], INPUTS, strict=True):
        shifts = 1e-6 * np.eye(5)
        differences = [(flat.step(state + s, x) - flat.step(state - s, x)) / 2e-6 for s in shifts]
        np.testing.assert_allclose(factor, np.transpose(differences), atol=1e-9)
    one = trajectory.state_jacobian(cell, CARRY, INPUTS[0])
    np.testing.assert_allclose(one, factors[0], rtol=1e-14)


def test_a_state_that_leaves_the_range_is_recorded_with_its_step():
    found = trajectory.states(lambda h, x: (h * x, h), jnp.ones(2), jnp.full(5, 1e200))
    assert trajectory.lost_at(found) == 2
    assert trajectory.lost_at(found[:2]) == 0


@pytest.mark.parametrize(
    ("carry", "message"),
    [
        (jnp.arange(3), "carry: got arrays of type int"),
        ((), "carry: got no arrays"),
        ((jnp.ones(2), jax.random.key(0)), "carry: got arrays of type key"),
    ],
)
def test_a_carry_that_is_not_floating_is_refused(carry, message):
    with pytest.raises(ValueError, match=message):
        trajectory.states(lambda c, x: (c, x), carry, INPUTS)


def test_a_step_that_changes_its_carry_is_refused():
    with pytest.raises(ValueError, match="step: got back a carry"):
        trajectory.states(lambda c, x: (jnp.append(c, x), x), jnp.ones(2), INPUTS)


def test_a_step_without_output_and_a_gradient_unlike_the_carry_are_refused():
    with pytest.raises(ValueError, match=r"return \(carry, output\)"):
        trajectory.states(lambda c, x: c, jnp.ones(2), INPUTS)
    with pytest.raises(ValueError, match=r"loss_gradient: got .* give a pytree like the carry"):
        trajectory.like_carry(CARRY, {"h": CARRY["h"]})
