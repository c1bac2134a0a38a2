"""Shares of saturated and dead units, against counts by hand."""

import numpy as np

from signalprop.analysis.activity import dead, inactive, saturated

# two layers, three examples, two units
SLOPES = np.array([[[0.0, 1.0], [0.0, 0.05], [0.0, -0.5]], [[0.2, 0.0], [0.0, 0.09], [0.4, 0.0]]])


def test_a_unit_is_saturated_below_a_tenth_of_the_largest_slope_whatever_its_sign():
    np.testing.assert_allclose(saturated(SLOPES, 1.0), [4 / 6, 4 / 6], rtol=1e-6)
    np.testing.assert_allclose(saturated(SLOPES, 0.25), [3 / 6, 3 / 6], rtol=1e-6)


def test_inactive_counts_exact_zeros_alone():
    np.testing.assert_allclose(inactive(SLOPES), [3 / 6, 3 / 6], rtol=1e-6)


def test_a_unit_is_dead_only_if_no_example_wakes_it():
    np.testing.assert_array_equal(dead(SLOPES), [[True, False], [False, False]])
