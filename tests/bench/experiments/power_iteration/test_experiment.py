"""Power iteration: exact powers, recurrences against direct products, and a run from sweep to verdicts."""

from dataclasses import replace
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from signalprop.analysis.ginibre import real_spectral_radius
from signalprop.bench import pipeline
from signalprop.bench.experiments import power_iteration
from signalprop.bench.experiments.power_iteration.matrices import KINDS, jordan_log_norms
from signalprop.bench.experiments.power_iteration.measure import advance, begin, driven_nilpotent
from signalprop.bench.experiments.power_iteration.theory import mean_log

SMALL = replace(
    power_iteration.SIZES["quick"],
    matrix=("rotation", "jordan_pair", "jordan_block", "triangular"),
    width=(32,),
    steps=(1, 2, 4, 20, 40),
    seeds=6,
)
N = 8


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(power_iteration.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def recurrence():
    """Four steps with new factors each, and the factors."""
    factors = np.random.default_rng(2).standard_normal((4, N, N)) / np.sqrt(N)

    @jax.jit
    def run(factors):
        numbered = jnp.asarray(factors), jnp.arange(1, 5, dtype=jnp.int32)
        return jax.lax.scan(lambda s, x: (advance(s, *x), None), begin(N, "float64"), numbered)[0]

    return run(factors), factors


def test_powers_of_a_jordan_block_are_binomials():
    block = 0.9 * np.eye(5) + 2.0 * np.eye(5, k=1)
    direct = [np.log(np.linalg.norm(np.linalg.matrix_power(block, k), 2)) for k in (1, 7, 60)]
    np.testing.assert_allclose(jordan_log_norms(5, 0.9, 2.0, np.array([1, 7, 60])), direct, atol=1e-10)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.log_norms])
def test_a_kind_with_known_powers_has_them(name):
    matrix = np.asarray(jax.jit(lambda: KINDS[name].draw(jax.random.key(0), 4, 0.9, "float64"))())
    direct = [np.log(np.linalg.norm(np.linalg.matrix_power(matrix, k), 2)) for k in (1, 9, 30)]
    np.testing.assert_allclose(KINDS[name].log_norms(4, 0.9, np.array([1, 9, 30])), direct, atol=1e-10)


def test_a_recurrence_multiplies_by_its_factors_and_masks(recurrence):
    state, factors = recurrence
    h = np.maximum(special.ndtri((np.arange(N) + 0.5) / N), 0)
    before, h, u = h, h / np.linalg.norm(h), np.ones(N) / np.sqrt(N)
    for factor in factors:
        before, z = h, np.sqrt(2) * factor @ h
        h, u = np.maximum(z, 0), (z > 0) * (np.sqrt(2) * factor @ u)
    product = reduce(lambda product, factor: factor @ product, factors)
    np.testing.assert_allclose(np.exp(state.power.log_scale) * state.power.mantissa, product, atol=1e-12)
    logs = [state.h.log_norm(), state.u.log_norm()]
    np.testing.assert_allclose(logs, np.log([np.linalg.norm(h), np.linalg.norm(u)]), atol=1e-12)
    cosine = h @ before / np.linalg.norm(h) / np.linalg.norm(before)
    assert float(state.cosine) == pytest.approx(cosine, abs=1e-12)


def test_the_mean_log_radius_follows_from_its_law():
    law = real_spectral_radius(8)
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((4000, 8, 8)) / np.sqrt(8)
    logs = np.log(np.abs(np.linalg.eigvals(draws)).max(1))
    assert mean_log(law.radii, law.cdf) == pytest.approx(logs.mean(), abs=5 * logs.std() / 4000**0.5)


def test_a_driven_nilpotent_network_explodes_as_predicted():
    measured, exact = driven_nilpotent(3.0, 20)
    np.testing.assert_allclose(measured, exact, atol=1e-9)
    assert exact[-1] / 20 > 1.1


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert {"D1", "D2", "D3"} <= answered


def test_figures_and_table_are_written(outcome):
    for name in ("transients", "rates", "tied-untied", "relu", "exceptions"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    assert (outcome.folder / "power-iteration.csv").stat().st_size > 1_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("matrix", ("jordan",)),
        ("size", 7),
        ("radius", 1.0),
        ("steps", (4, 2)),
        ("steps", (25,)),
        ("steps", (1, 10)),
        ("seeds", 1),
    ],
)
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
