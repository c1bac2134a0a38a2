"""The limits on depth: known networks, and where a measured curve crosses an edge."""

import numpy as np
import pytest

from signalprop.bench.experiments.depth_budget.limits import crossing, depth_limits, floating_point_limit
from signalprop.bench.experiments.depth_budget.networks import NETWORKS

DEPTH = np.array([1.0, 2.0, 4.0])


def test_a_he_network_is_limited_by_its_width_alone():
    found = depth_limits(NETWORKS["relu_he_32"], 32)
    assert found["width"] == pytest.approx(32 / 5)
    assert [k for k, v in found.items() if np.isinf(v)] == ["information", "gradient", "batch norm"]


def test_batch_norm_has_its_own_scale():
    found = depth_limits(NETWORKS["relu_bn_32"], 10_000)
    assert found["batch norm"] == pytest.approx(16 / np.log(np.pi / (np.pi - 1)), rel=2e-3)
    assert np.isinf(found["information"])


def test_ordered_networks_lose_signal_and_gradient_at_one_depth():
    found = depth_limits(NETWORKS["tanh_ordered_64"], 32)
    assert found["information"] == pytest.approx(found["gradient"])
    assert found["information"] == pytest.approx(6 * 3.63, rel=2e-3)


def test_a_crossing_is_interpolated_between_probes():
    assert crossing(DEPTH, np.array([0.0, -1.0, -3.0]), -2.0, rising=False) == pytest.approx(3)
    assert crossing(DEPTH, np.array([0.0, 1.0, 3.0]), 5.0, rising=True) == np.inf
    assert crossing(DEPTH, np.array([0.0, -1.0, -np.inf]), -2.0, rising=False) == 4
    assert crossing(DEPTH, np.array([2.0, 3.0, 4.0]), 1.0, rising=True) == 1


def test_steps_are_lost_below_half_a_gap_or_below_epsilon():
    sgd, adam = NETWORKS["sigmoid_sgd_32"], NETWORKS["sigmoid_adam_32"]
    falls = np.log(1e-4) * DEPTH
    edge = np.log(2.0**-24 / sgd.learning_rate)
    assert floating_point_limit(sgd, DEPTH, falls, 0.0, "float32") == pytest.approx(edge / np.log(1e-4))
    assert floating_point_limit(adam, DEPTH, falls, 0.0, "float32") == pytest.approx(2)
