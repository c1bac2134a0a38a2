"""The phase diagram: rates against autodiff, known answers of its parts, and a small run to its verdicts."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.experiments import phase_diagram as experiment
from signalprop.bench.experiments.phase_diagram.figures import roomiest
from signalprop.bench.experiments.phase_diagram.measure import (
    CLOSE,
    close_pair,
    log_one_minus_c,
    separation,
    unit,
)
from signalprop.bench.experiments.phase_diagram.verdicts import crossing, zeros
from signalprop.models.activations import ACTIVATIONS
from signalprop.models.mlp import MLP

SMALL = replace(
    experiment.SIZES["quick"],
    activation=("sigmoid",),
    ratio=(0.3, 0.9, 1.1, 2.0),
    sigma_b=(0.0, 0.5),
    width=128,
    depth=12,
    seeds=12,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(experiment.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def test_growth_is_that_of_autodiff_through_the_network_with_scaled_weights():
    settings = replace(SMALL, data=("gaussian",), width=32, depth=10, skip=(2, 1), dtype="float64")
    static = {"activation": "sigmoid", **experiment.EXPERIMENT.grid(settings).constants}
    key, sigma_b = jax.random.key(3), 0.4
    measure = jax.jit(partial(experiment.EXPERIMENT.measure, static=static))
    measured = measure(key, {"ratio": jnp.array(1.5), "sigma_b": jnp.array(sigma_b)})
    network_key, input_key, cotangent_key = jax.random.split(key, 3)
    sigma_w = 1.5 * static["unit"]["sigmoid"]
    x = close_pair("gaussian", input_key, 32, "float64")[0]
    cotangent = jax.random.normal(cotangent_key, (1, 32), "float64")[0]

    @jax.jit
    def delta(key):
        phi = ACTIVATIONS["sigmoid"]
        network = MLP((32,) * 11, phi, sigma_w=sigma_w, sigma_b=sigma_b, key=key, dtype="float64")
        return jnp.linalg.norm(network.pre_activation_gradients(x, cotangent)[0], axis=1)

    steps = -2 * jnp.diff(jnp.log(delta(network_key)))[2:-1]
    assert steps.shape == (6,)
    np.testing.assert_allclose(measured["growth"][0], jnp.mean(steps), rtol=1e-10)


@pytest.mark.parametrize("kind", ["gaussian", "digits"])
def test_a_close_pair_differs_by_the_stated_amount_of_another_input(kind):
    pair = jax.jit(lambda key: close_pair(kind, key, 256, "float64"))(jax.random.key(0))
    one_minus_c = float(jnp.exp(log_one_minus_c(pair)))
    assert 0 < one_minus_c <= 1.3 * CLOSE
    assert one_minus_c == pytest.approx(1 - float(np.mean(np.prod(pair, axis=0))), rel=1e-6)


def test_separation_stops_where_the_distance_can_no_longer_be_measured():
    log_distance = jnp.log(
        jnp.array([[1e-8, 1e-8], [1e-7, 1e-10], [1e-6, 1e-12], [1e-5, 1e-14], [1e-2, 1e-16]])
    )
    rate = separation(log_distance, jnp.zeros_like(log_distance))
    assert float(rate[0]) == pytest.approx(np.log(10))
    assert np.isnan(float(rate[1]))


def test_the_crossing_of_a_straight_line_is_found_and_none_is_invented():
    x = np.array([0.0, 1.0, 2.0])
    assert crossing(x, np.array([-2.0, -0.5, 1.0]))[:2] == pytest.approx((4 / 3, 1.5))
    assert crossing(x, np.array([1.0, 2.0, 3.0])) is None


def test_a_ratio_of_one_is_the_critical_sigma_w():
    assert unit("sigmoid", SMALL) == pytest.approx(10.14926371, rel=1e-8)


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert answered == {"A8", "A13", "A21", "C1", "C2", "C19", "C20"}


def test_figures_and_table_are_written(outcome):
    names = {path.name for path in outcome.folder.iterdir()}
    assert {"plane.png", "growth.svg", "phase-diagram.csv", "verdicts.json"} <= names
    rows = (outcome.folder / "phase-diagram.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * 2


OWN = """
import jax.numpy as jnp
from jax.scipy.special import erf
def phi(x):
    return x * erf(x) / (1 + jnp.abs(x))
phi.kinks = (0.0,)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A small run of a user's activation without a slope at zero, at absolute scales."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "acts_of_phase_diagram.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        settings = replace(
            SMALL, activation=("acts_of_phase_diagram:phi",), sigma_w=(1.0, 2.0, 2.25, 2.5, 2.75, 3.0),
            sigma_b=(0.0, 0.1),
        )  # fmt: skip
        return settings, pipeline.run(experiment.EXPERIMENT, settings, folder)


def test_a_users_activation_without_a_critical_point_has_its_phases_found_at_absolute_scales(own):
    settings, found = own
    assert not found.disagreements, found.disagreements
    share = next(v for v in found.verdicts if v.statement.startswith("Share of the settings"))
    assert (share.measured, share.agreement) == (1.0, "agrees")
    assert "1 more lost the signal of every network" in share.statement  # at sigma_b = 0 and small weights
    assert any("With the largest sigma_w, 3 gradients explode" in v.statement for v in found.verdicts)
    assert unit("acts_of_phase_diagram:phi", settings) == 1


def test_the_zero_that_is_judged_is_the_raw_crossing_and_not_the_critical_line(own):
    """At sigma_b = 0.1 gradients keep their size at 2.49; the short branch of the line is at 3.09."""
    at = zeros(store.load(own[1].run)).set_index("sigma_b").loc[0.1]
    assert at["measured_zero"] == pytest.approx(2.489, abs=5 * at["error"] + 0.02)
    assert at["predicted_zero"] == pytest.approx(2.489, abs=0.02)
    table = pd.read_csv(own[1].folder / "phase-diagram.csv")
    assert set(table.loc[table["sigma_b"] == 0.1, "measured_zero"].round(4)) == {
        round(float(at["measured_zero"]), 4)
    }


def test_settings_where_the_expansion_in_width_fails_are_counted_and_not_judged(outcome):
    result = store.load(outcome.run)
    shift = result["finite_width_shift"].copy()
    shift[dict.fromkeys(shift.dims, 0)] = 0.3
    wrong = result["growth_predicted"].where(shift != 0.3, -1e9)
    verdicts = experiment.EXPERIMENT.verdicts(result.assign(finite_width_shift=shift, growth_predicted=wrong))
    assert not [v for v in verdicts if v.agreement == "disagrees"]
    assert "(1 of 8 settings are outside the range of the theory in 1/N)" in verdicts[0].statement


def test_settings_that_leave_no_layers_are_refused():
    with pytest.raises(ValueError, match="depth: got 9; write at least 11"):
        replace(SMALL, depth=9)
    with pytest.raises(ValueError, match=r"sigma_w: got \(2.0, 1.0\); write increasing scales above 0"):
        replace(SMALL, sigma_w=(2.0, 1.0))
    with pytest.raises(ValueError, match="did you mean tanh"):
        replace(SMALL, activation=("tanhh",))


def test_a_single_scale_is_drawn_with_room_around_it(tmp_path):
    one = replace(SMALL, activation=("tanh",), sigma_w=(1.5,), sigma_b=(0.0,), width=24, depth=11, seeds=3)
    found = pipeline.run(experiment.EXPERIMENT, one, tmp_path)
    assert (found.folder / "plane.png").exists()
    assert (found.folder / "growth.png").exists()
    result = store.load(found.run)
    np.testing.assert_allclose(result["ratio_map"][[0, -1]], (1.0, 2.25))
    assert float(result["sigma_b_map"].max()) == pytest.approx(0.5)
    assert np.isfinite(result["log_chi_1_map"]).all()
    table = pd.read_csv(found.folder / "phase-diagram.csv")
    assert list(table.columns[:3]) == ["activation", "sigma_w", "sigma_b"]
    assert "ratio" not in [*table.columns, *result["growth"].to_dataframe().index.names]


def test_a_label_stands_where_it_fits_away_from_points_and_nowhere_else():
    rows, columns = 19, 31
    left, no_points = np.tile(np.arange(columns) < 20, (rows, 1)), np.zeros((2, 0))
    x, y = roomiest(left, no_points)
    assert x == pytest.approx(9.5 / 30, abs=0.05)
    assert 0.1 < y < 0.9
    x, y = roomiest(left, np.array([[x, x, 0.0], [0.0, 0.4, 1.0]]))
    assert x < 20 / 30 - 0.1
    assert y > 0.6
    assert roomiest(np.tile(np.arange(columns) < 4, (rows, 1)), no_points) is None
    assert roomiest(np.zeros((rows, columns), bool), no_points) is None


def test_the_words_of_the_plane_are_true_where_they_stand_and_a_dotted_line_is_named(outcome):
    result = store.load(outcome.run)
    far = result.assign(log_chi_1_line=result["log_chi_1_line"] + 1.0)
    for drawn, dotted in ((result, False), (far, True)):
        plane = experiment.EXPERIMENT.figures(drawn)["plane"]
        said = {text.get_text().partition(":")[0]: text.get_position() for text in plane.axes[0].texts}
        log_chi_1 = drawn["log_chi_1_map"].isel(activation=0).transpose("ratio_map", "sigma_b_map").values
        for phase, (x, y) in said.items():
            at = log_chi_1[round(x * (log_chi_1.shape[0] - 1)), round(y * (log_chi_1.shape[1] - 1))]
            assert np.sign(at) == {"ordered": -1, "chaotic": 1}[phase]
        assert set(said) == {"ordered", "chaotic"}
        named = [text.get_text() for text in plane.legends[0].get_texts()]
        assert any("not reached" in name for name in named) == dotted
        plt.close("all")
