"""Death before training: against other formulas, exact cases and sampled networks."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis import dying


@pytest.mark.parametrize(("width", "depth"), [(2, 1), (3, 7), (10, 40)])
def test_death_at_one_input_is_one_less_the_product_over_layers(width, depth):
    found = dying.dead_input((width,) * depth)
    exact = [float(1 - (1 - Fraction(1, 2**width)) ** layers) for layers in range(1, depth + 1)]
    np.testing.assert_allclose(found, exact, rtol=1e-13)
    mixed = float(1 - Fraction(7, 8) * Fraction(2**60 - 1, 2**60))
    np.testing.assert_allclose(dying.dead_input([60, 3]), [2.0**-60, mixed], rtol=1e-14)


def test_the_bounds_are_ordered_and_meet_at_one_layer():
    width, depth = jnp.array([[2], [5]]), jnp.arange(1, 50)
    floor, bound = dying.born_dead_floor(width, depth), dying.born_dead_bound(width, depth)
    assert float(abs(floor[:, 0]).max()) == float(abs(bound[:, 0]).max()) == 0
    assert bool((floor <= bound).all() & (bound < dying.dead_input(np.repeat(width, 49, 1))).all())


def test_two_rays_die_between_the_bounds():
    rng, width, depth, nets = np.random.default_rng(0), 2, 5, 20_000
    y = np.maximum(rng.normal(size=(nets, 1, width)) * np.array([[1.0], [-1.0]]), 0)  # inputs 1 and -1
    for _ in range(depth - 1):
        y = np.maximum(y @ rng.normal(size=(nets, width, width)), 0)
    share = np.mean((y == 0).all((1, 2)))
    error = 0.5 / np.sqrt(nets)
    assert float(dying.born_dead_floor(width, depth)) - 5 * error < share
    assert share < float(dying.born_dead_bound(width, depth)) + 5 * error


dead_unit = jax.jit(dying.dead_unit, static_argnames="features")


@pytest.mark.parametrize("examples", [1, 3, 12])
def test_a_unit_of_centred_data_dies_with_two_to_the_minus_n(examples):
    assert float(dead_unit(0.0, examples, features=10)) == pytest.approx(2.0**-examples, rel=1e-6)


def test_a_unit_of_uncentred_data_dies_as_sampled():
    rng, features, n, units = np.random.default_rng(1), 5, 8, 40_000
    weights = rng.normal(size=(units, 1, features))
    off = ((1.5 + rng.normal(size=(units, n, features))) * weights).sum(-1).max(-1) < 0
    expected = float(dead_unit(1.5, n, features=features))
    assert off.mean() == pytest.approx(expected, abs=5 * np.sqrt(expected / units))


def test_the_rule_of_thumb_gives_too_few_deaths():
    assert float(dying.dead_unit_estimate(2.0, 20_000)) == pytest.approx(0.013, abs=5e-4)
    assert float(dead_unit(2.0, 20_000, features=10)) == pytest.approx(0.020, abs=3e-3)


def test_one_feature_has_no_direction_to_average():
    with pytest.raises(ValueError, match="at least 2"):
        dying.dead_unit(1.0, 4, 1)


def test_examples_in_a_plane_can_all_be_switched_off_if_they_leave_a_half_free():
    rng, n, draws = np.random.default_rng(2), 5, 40_000
    angles = np.sort(rng.uniform(0, 2 * np.pi, (draws, n)))
    gaps = np.diff(angles, append=angles[:, :1] + 2 * np.pi)
    expected = dying.killable(n, 2)
    assert np.mean(gaps.max(1) > np.pi) == pytest.approx(expected, abs=5 * np.sqrt(expected / draws))
    assert dying.killable(4, 4) == 1.0
