"""The league as data: what remedies may change, and that critical points are critical."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy.special import erf, expit

from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments.remedy_league import recipes as league

Z = np.linspace(-12, 12, 24_001)  # 0 is one of the points
WEIGHT = np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi) * (Z[1] - Z[0])
SELU = 1.0507009873554805, 1.6732632423543772


def _selu(x):
    return SELU[0] * np.where(x > 0, x, SELU[1] * np.expm1(np.minimum(x, 0)))


FUNCTIONS = {
    "sigmoid": expit,
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": _selu,
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
}


@pytest.mark.parametrize(
    ("network", "remedy"),
    [("exploding", "critical"), *(("vanishing", name) for name in ("critical", "elu", "selu", "gelu"))],
)
def test_critical_points_keep_the_gradient(network, remedy):
    recipe = league.recipe(network, remedy)
    phi, q = FUNCTIONS[recipe.activation], 1.0
    for _ in range(600):
        q = recipe.sigma_w**2 * WEIGHT @ phi(np.sqrt(q) * Z) ** 2 + recipe.sigma_b**2
    x, step = np.sqrt(q) * Z, 1e-5
    slope = (phi(x + step) - phi(x - step)) / (2 * step)
    assert recipe.sigma_w**2 * WEIGHT @ slope**2 == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("network", league.NETWORKS)
def test_each_kind_changes_only_what_it_may(network):
    failing = asdict(league.NETWORKS[network])
    weights = {"sigma_w", "sigma_b", "scheme"}
    allowed = {
        "failing": set(),
        "initialisation": weights,
        "activation": {"activation", *weights},
        "architecture": {"architecture", "branch_power"},
        "optimiser": {"optimizer", "momentum", "clip_norm", "unit"},
        "regulariser": {"l1", "l2"},
        "combination": set(failing),
    }
    for name, entry in league.REMEDIES.items():
        one = asdict(league.recipe(network, name))
        assert {k for k in failing if one[k] != failing[k]} <= allowed[entry.kind], name


def test_remedies_that_come_to_the_same_network_are_trained_once():
    groups = league.groups(tuple(league.NETWORKS), tuple(league.REMEDIES))
    everyone = [one for members in groups.values() for one in members]
    assert len(everyone) == len(set(everyone))
    assert league.recipe("vanishing", "xavier") == league.recipe("vanishing", "none")
    assert league.recipe("vanishing", "tanh") == league.recipe("exploding", "xavier")
    for network in league.NETWORKS:
        for remedy in league.REMEDIES:
            wanted = league.recipe(network, remedy)
            structure, member = league.place(groups, wanted)
            assert list(groups.values())[structure][member] == wanted


def test_an_unknown_remedy_is_refused_in_one_line():
    with pytest.raises(InputError, match="did you mean residual"):
        league.recipe("vanishing", "residul")
