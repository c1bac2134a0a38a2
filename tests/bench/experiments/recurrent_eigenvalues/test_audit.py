"""Ensembles and rules of the eigenvalue audit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from signalprop.bench.experiments.recurrent_eigenvalues.audit import (
    OUTCOMES,
    accuracy,
    audit,
    confusion,
    outcome,
    shares_by_seed,
)
from signalprop.bench.experiments.recurrent_eigenvalues.measure import slope
from signalprop.bench.measure.ensembles import ensemble
from signalprop.bench.measure.names import NILPOTENT


def result(slopes, radii):
    """A result with one tanh network per seed: its growth per step, and its spectral radius at gain 1."""
    seeds = len(slopes)
    axes = {"ensemble": ["gaussian"], "activation": ["tanh"], "gain": [1.0], "input_std": [0.0]}
    by_network = (*axes, "seed")
    ones = np.ones((1, seeds))
    return xr.Dataset(
        {
            "slope": (by_network, np.reshape(slopes, (1, 1, 1, 1, seeds))),
            "lyapunov": (by_network, np.reshape(slopes, (1, 1, 1, 1, seeds))),
            "mean_field": (tuple(axes), np.full((1, 1, 1, 1), -0.1)),
            "radius": (("ensemble", "seed"), np.reshape(radii, (1, seeds))),
            "largest": (("ensemble", "seed"), 2 * ones),
            "numerical": (("ensemble", "seed"), 0.5 * ones),
            "counted": ((), 100.0),
        },
        coords={**axes, "seed": range(seeds)},
    )


RESULT = result([-np.inf, -0.5, -0.5, 0.005, 0.5, 0.5, np.nan], [0.5, 0.5, 2.0, 2.0, 2.0, 0.5, 2.0])


def test_the_square_of_nilpotent_weights_is_zero_and_their_entries_have_the_stated_variance():
    scheme = ensemble(NILPOTENT)
    weights = np.asarray(scheme.draw(jax.random.key(0), 101, 101, dtype="float64")).T
    np.testing.assert_allclose(weights @ weights, 0, atol=1e-13)
    assert np.linalg.norm(weights, 2) > 2
    assert not weights[-1].any()
    assert not weights[:, -1].any()
    spread = 101 * np.mean(weights[:100, :100] ** 2)
    assert spread == pytest.approx(scheme.effective_sigma_w(101, 101) ** 2, rel=0.1)


def test_a_gradient_that_is_exactly_zero_falls_without_bound():
    log_norms = jnp.log(jnp.array([1.0, *[2.0**-k for k in range(20)], 0.0]))
    assert slope(log_norms) == -np.inf
    assert slope(log_norms[1:-1]) == pytest.approx(-np.log(2))


def test_outcomes_need_a_factor_e_over_all_lags_and_lost_networks_have_none():
    kinds = outcome(RESULT).values.ravel()
    assert [OUTCOMES[int(k)] for k in kinds[:6]] == [*["vanishes"] * 3, "stays", *["explodes"] * 2]
    assert np.isnan(kinds[6])


def test_every_rule_is_counted_against_what_happened():
    found = audit(RESULT).set_index("rule")
    counts = [[2, 1], [0, 1], [1, 1]]
    columns = [f"{what}_said_{said}" for what in OUTCOMES for said in ("vanish", "explode")]
    assert found.loc["rho", columns].tolist() == np.ravel(counts).tolist()
    assert found.loc["rho", "accuracy"] == 0.6
    assert found.loc["largest", "accuracy"] == 0.4  # says that all explode
    assert found.loc["numerical", "accuracy"] == 0.6  # says that all vanish
    assert found.loc["chi_1", "accuracy"] == 0.6
    assert found.loc["other", "accuracy"] == 1


def test_the_interval_is_exact_and_nothing_clear_has_no_accuracy():
    found = accuracy(np.array([[2, 1], [0, 1], [1, 1]]))  # 3 of 5
    np.testing.assert_allclose(found, [0.6, stats.beta.ppf(0.025, 3, 3), stats.beta.ppf(0.975, 4, 2)])
    assert np.isnan(accuracy(np.zeros((3, 2), int))).all()


def test_accuracy_by_seed_counts_each_seed_alone():
    per_seed = shares_by_seed(RESULT, "rho")
    np.testing.assert_array_equal(per_seed, [1, 1, 0, np.nan, 1, 0, np.nan])
    assert confusion(outcome(RESULT), RESULT["slope"]).sum() == 6
