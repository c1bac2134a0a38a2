"""Free probability from sweep to verdict, and what would break in silence."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import free_probability as fp
from signalprop.bench.experiments.free_probability import isometry
from signalprop.bench.record import figures
from signalprop.bench.record.verdict import Outcome
from signalprop.models.activations import activation
from signalprop.models.mlp import MLP

SMALL = replace(
    fp.SIZES["quick"], activation=("relu", "linear"), width=64, depth=(1, 2, 4), points=100, seeds=12
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One small run."""
    found = pipeline.run(fp.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def result(outcome: Outcome) -> xr.Dataset:
    """Its stored numbers."""
    return store.load(outcome.run)


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome: Outcome) -> None:
    assert not outcome.disagreements, outcome.disagreements
    assert {claim for verdict in outcome.verdicts for claim in verdict.claims} == {"B3", "C5", "C14"}
    assert len(outcome.verdicts) == 8


def test_figures_and_table_are_written(outcome: Outcome) -> None:
    for name in ("densities", "isometry", "agreement"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    assert (outcome.folder / "free-probability.csv").stat().st_size > 1000


def test_spectra_are_those_of_the_network(result: xr.Dataset) -> None:
    at = result.sel(network="tanh, isometric to 4", weights="orthogonal", depth=4, seed=5)
    weight_key, input_key = jax.random.split(jax.random.fold_in(jax.random.key(0), np.uint32(5)))
    scales = float(at["sigma_w"]), float(at["sigma_b"])
    net = MLP((64,) * 5, activation("tanh"), "orthogonal", *scales, key=weight_key, dtype=jnp.float64)
    x = jax.random.normal(input_key, (64,), jnp.float64)
    x = x * jnp.sqrt(64 * float(at["signal"]) / jnp.sum(x * x))
    singular = np.linalg.svd(jax.jacobian(net)(x), compute_uv=False)
    np.testing.assert_allclose(at["log_singular_values"], np.log(singular), atol=1e-9)


def test_lengths_are_kept_by_the_scales_and_have_the_spread_that_was_asked_for() -> None:
    q = isometry.lengths(("tanh", "erf"), 0.25, (4, 64))
    for name, row in zip(("tanh", "erf"), q, strict=True):
        phi, z = activation(name), np.random.default_rng(0).normal(size=400_000)
        for depth, length in zip((4, 64), row, strict=True):
            slopes = np.asarray(phi.derivative(jnp.sqrt(length) * z)) ** 2
            spread = depth * (np.mean(slopes**2) / np.mean(slopes) ** 2 - 1)
            assert spread == pytest.approx(0.25, rel=0.03)  # sampling: 5 standard errors are 0.02
            sigma_w, sigma_b, signal, _ = isometry.critical_networks((name,), (float(length),))[:, 0]
            assert sigma_w**2 * signal + sigma_b**2 == pytest.approx(length, rel=1e-9)
            assert sigma_w**2 * np.mean(slopes) == pytest.approx(1, rel=0.01)


def test_what_has_no_isometry_or_no_critical_point_says_so() -> None:
    assert np.isnan(isometry.lengths(("relu",), 0.25, (4,))).all()
    with pytest.raises(InputError, match="softplus has no critical point"):
        isometry.critical_networks(("softplus",), (1.0,))


@pytest.mark.parametrize("part", [{"weights": [0]}, {"depth": [0], "network": [0]}, {"network": [1]}])
def test_a_part_of_the_result_can_be_judged(result: xr.Dataset, part: dict[str, list[int]]) -> None:
    assert all(v.agreement == "agrees" for v in fp.EXPERIMENT.verdicts(result.isel(part)))


def test_a_part_without_isometric_networks_can_be_drawn(result: xr.Dataset) -> None:
    part = result.isel(network=[0, 1], depth=[0, 2]).drop_dims("isometric")
    with figures.style():
        assert set(fp.EXPERIMENT.figures(part)) == {"densities", "isometry", "agreement"}
    assert len(fp.EXPERIMENT.table(part)) == 8


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("depth", (4, 1)),
        ("spread", 0.0),
        ("spread", -1.0),
        ("activation", ("rleu",)),
        ("isometric", ("tnh",)),
    ],
)
def test_settings_that_cannot_be_run_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        replace(SMALL, **{field: value})
