"""Predictions of the league against numbers computed otherwise."""

from math import inf, log, log10

import numpy as np
import pytest
from scipy.special import expit

from signalprop.bench.experiments.remedy_league.recipes import recipe
from signalprop.bench.experiments.remedy_league.theory import prediction, separation, step_operations

SHAPE = 30, 10**9, 32  # depth, a width without corrections, batch


def test_a_sigmoid_network_loses_a_quarter_of_chi_per_layer():
    found = prediction(recipe("vanishing", "none"), *SHAPE)
    chi = 0.05572071  # at the fixed point, by quadrature elsewhere
    assert found.decades == pytest.approx(29 * log10(chi) / 2, abs=0.2)  # the first lengths are larger
    assert found.reach == pytest.approx(-6 / log(chi), rel=1e-6)
    assert found.finite_width == pytest.approx(0, abs=1e-6)
    assert not found.trainable(30)


def test_relu_with_xavier_weights_loses_half_and_with_he_weights_nothing():
    lost = prediction(recipe("vanishing", "relu_xavier"), *SHAPE)
    assert lost.decades == pytest.approx(29 * log10(0.5) / 2, abs=1e-6)
    kept = prediction(recipe("vanishing", "relu"), 30, 32, 32)
    assert kept.decades == pytest.approx(-29 * 2.5 / 32 / 2 / log(10), abs=1e-6)  # 5 / 2N nats per layer
    assert kept.decades == pytest.approx(-kept.finite_width, abs=1e-6)
    assert kept.reach > 1e6
    assert kept.trainable(30)


def test_an_optimizer_changes_no_prediction_and_a_zero_branch_loses_nothing():
    assert prediction(recipe("vanishing", "adam"), *SHAPE) == prediction(recipe("vanishing", "none"), *SHAPE)
    for name in ("rezero", "fixup"):
        assert prediction(recipe("exploding", name), *SHAPE)[:2] == (0.0, inf)


def test_layer_norm_with_sigmoid_vanishes_as_lsuv_does():
    norm, lsuv = (prediction(recipe("vanishing", name), *SHAPE) for name in ("layer_norm", "lsuv"))
    z = np.linspace(-10, 10, 20_001)
    factor = np.exp(-(z**2) / 2) @ (expit(z) * expit(-z)) ** 2 / (np.exp(-(z**2) / 2) @ expit(z) ** 2)
    assert norm.decades == pytest.approx(29 * log10(factor) / 2, abs=1e-6)
    assert lsuv.decades == pytest.approx(norm.decades, abs=1e-6)


def test_relu_merges_inputs_as_a_power_of_the_depth():
    c = 0.0  # of the first pre-activations; then the arc-cosine map
    for _ in range(29):
        c = (np.sqrt(1 - c * c) + c * (np.pi - np.arccos(c))) / np.pi
    assert separation(recipe("vanishing", "relu"), 30) == pytest.approx(1 - c, rel=1e-6)
    assert separation(recipe("vanishing", "rezero"), 200) == 1
    assert np.isnan(separation(recipe("vanishing", "batch_norm"), 200))


def test_costs_are_counted_relative_to_nothing_else():
    plain, normed, adam = (
        step_operations(recipe("exploding", n), 16, 8) for n in ("none", "batch_norm", "adam")
    )
    assert plain > 3 * 2 * 8 * 16 * 16  # three matrix products
    assert 1 < normed / plain < 2
    assert 1 < adam / plain < 2
