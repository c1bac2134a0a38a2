"""Randomized asymmetric initialization: one positive entry per unit, and the rest as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.models.asymmetric import make_asymmetric
from signalprop.models.mlp import Layer

ROWS, UNITS, FAN_IN = 6, 4000, 4


@pytest.fixture(scope="module")
def entries():
    """Weights and bias of every unit, of a layer whose entries were all -1."""
    before = Layer(-jnp.ones((ROWS, UNITS)), -jnp.ones(UNITS))
    after = jax.jit(make_asymmetric)(jax.random.key(0), before, FAN_IN)
    return np.concatenate([after.kernel[...], after.bias[...][None]])


def test_every_unit_has_one_positive_entry_at_a_place_that_counts(entries):
    assert ((entries > 0).sum(0) == 1).all()
    assert (entries[FAN_IN:ROWS] == -1).all()
    places = (entries > 0).mean(1)[[*range(FAN_IN), ROWS]]
    assert places == pytest.approx(1 / (FAN_IN + 1), abs=5 * 0.4 / np.sqrt(UNITS))


def test_the_positive_entries_follow_beta_2_1(entries):
    positive = np.sort(entries.max(0))
    distance = np.abs(positive**2 - (np.arange(UNITS) + 0.5) / UNITS).max()  # of Kolmogorov and Smirnov
    assert distance * np.sqrt(UNITS) < 2.5
