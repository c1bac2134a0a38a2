"""Judging measurements."""

import json

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from signalprop.bench.record import verdict
from signalprop.bench.record.verdict import (
    compare,
    compare_estimates,
    judge,
    judge_zero,
    observe_mean,
    sampling_factor,
)


def one(**numbers):
    return judge(["A1"], "It is so.", "Book", tolerance_from="definition", **numbers)


def test_the_worst_of_many_checks_is_reported() -> None:
    v = one(measured=[1.0, 2.5, 3.0], predicted=[1.0, 2.0, 3.1], tolerance=[0.1, 0.4, 0.2])
    assert (v.agreement, v.measured, v.predicted) == ("disagrees", 2.5, 2.0)
    assert "3 checks" in v.tolerance_from


@pytest.mark.parametrize(
    ("measured", "predicted", "agreement"),
    [
        (1.0, 1.05, "agrees"),
        (1.0, 1.2, "disagrees"),
        (-np.inf, -np.inf, "agrees"),
        (np.nan, 1.0, "disagrees"),
        (1.0, np.inf, "disagrees"),
    ],
)
def test_agreement_is_a_difference_within_the_tolerance(measured, predicted, agreement) -> None:
    assert one(measured=measured, predicted=predicted, tolerance=0.1).agreement == agreement


def test_nothing_to_compare_is_an_error_and_not_agreement() -> None:
    with pytest.raises(ValueError, match="no measurement"):
        one(measured=[], predicted=[], tolerance=0.1)


def test_the_sampling_factor_grows_with_checks_and_shrinks_with_samples() -> None:
    assert verdict.sampling_factor() == pytest.approx(5)
    assert verdict.sampling_factor(100) > 5
    assert verdict.sampling_factor(1, 10) > verdict.sampling_factor(1, 1000) > 5


def test_false_alarms_of_many_small_samples_are_as_rare_as_promised() -> None:
    # at a tail made common enough to count, Student's law must hold what the factor promises
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(20000, 6))
    t = np.abs(samples.mean(1)) / (samples.std(1, ddof=1) / np.sqrt(6))
    level = 2 * stats.t.sf(3.0, 5)
    assert abs((t > 3.0).mean() - level) < 5 * np.sqrt(level / 20000)


def test_verdicts_survive_the_file(tmp_path) -> None:
    written = [
        one(measured=1.0, predicted=1.0, tolerance=0.1),
        verdict.observe(["A2"], "Seen.", "-", measured=2.0),
        one(measured=np.inf, predicted=-np.inf, tolerance=np.inf),
    ]
    verdict.write(tmp_path / "verdicts.json", written)
    assert verdict.read(tmp_path / "verdicts.json") == written


def test_numbers_that_json_does_not_have_are_strings(tmp_path) -> None:
    verdict.write(tmp_path / "verdicts.json", [one(measured=np.nan, predicted=np.inf, tolerance=0.1)])
    text = (tmp_path / "verdicts.json").read_text()
    (entry,) = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (entry["measured"], entry["predicted"]) == ("nan", "inf")
    (found,) = verdict.read(tmp_path / "verdicts.json")
    assert np.isnan(found.measured)


def test_means_are_compared_where_all_networks_and_the_prediction_are_known() -> None:
    rng = np.random.default_rng(2)
    samples = xr.DataArray(rng.normal(size=(4, 30)), dims=("place", "seed"))
    samples[0, 3], samples[1, 5] = np.nan, -np.inf
    predicted = xr.DataArray([9.0, 9.0, 0.0, np.nan], dims="place")
    (found,) = compare(["C7"], "They are drawn so.", "normal law", samples, predicted)
    assert found.agreement == "agrees"
    assert "2 of 3 places left out, where some networks give no number" in found.tolerance_from
    assert found.measured == pytest.approx(float(samples[2].mean()))
    assert found.uncertainty == pytest.approx(stats.sem(samples[2].values))
    assert found.tolerance == pytest.approx(found.uncertainty * sampling_factor(1, 30))
    assert compare(["C7"], "Nothing is known.", "-", samples[:2], predicted[:2]) == []


def test_a_wrong_prediction_disagrees_unless_the_slack_allows_it() -> None:
    samples = xr.DataArray(np.random.default_rng(3).normal(size=(5, 50)), dims=("place", "draw"))
    (apart,) = compare(["C7"], "Off by 2.", "-", samples, 2.0, over="draw")
    (allowed,) = compare(["C7"], "Off by 2.", "-", samples, 2.0, over="draw", slack=2.0)
    assert (apart.agreement, allowed.agreement) == ("disagrees", "agrees")
    assert allowed.tolerance > 2


def test_estimates_are_compared_where_number_error_and_prediction_are_known() -> None:
    measured = xr.DataArray([1.0, 2.0, np.nan, 4.0], dims="place")
    error = xr.DataArray([0.1, np.nan, 0.1, 0.1], dims="place")
    predicted = xr.DataArray([1.5, 9.0, 9.0, np.nan], dims="place")
    (exact,) = compare_estimates(["C7"], "-", "-", measured, error, predicted)
    assert (exact.agreement, exact.measured, exact.predicted) == ("agrees", 1.0, 1.5)
    assert exact.tolerance == pytest.approx(0.5)
    (estimated,) = compare_estimates(["C7"], "-", "-", measured, error, 1.5, num_samples=16, slack=0.1)
    assert estimated.measured == 4.0
    assert estimated.tolerance == pytest.approx(0.1 + 0.1 * sampling_factor(2, 16))
    assert estimated.agreement == "disagrees"
    assert compare_estimates(["C7"], "-", "-", measured[2:], error[2:], predicted[2:]) == []


def test_a_mean_without_theory_is_given_with_its_error_over_networks() -> None:
    found = observe_mean(["C7"], "They grow.", "measured", xr.DataArray([1.0, 2.0, 6.0], dims="seed"))
    assert (found.measured, found.predicted, found.agreement) == (3.0, None, "no theory")
    assert found.uncertainty == pytest.approx(stats.sem([1.0, 2.0, 6.0]))


def test_only_an_exact_zero_is_judged_to_be_one() -> None:
    still = judge_zero(["C7"], "No gradient passes.", "chain rule", np.zeros(3))
    moved = judge_zero(["C7"], "No gradient passes.", "chain rule", [0.0, 1e-300])
    assert (still.agreement, still.predicted, still.tolerance) == ("agrees", 0.0, 0.0)
    assert (moved.agreement, moved.measured) == ("disagrees", 1e-300)


def test_places_that_only_the_prediction_has_are_not_counted_as_lost() -> None:
    samples = xr.DataArray(np.zeros((2, 9)), coords={"depth": [1, 2]}, dims=("depth", "seed"))
    predicted = xr.DataArray([0.0, 0.0, 0.0], coords={"depth": [1, 2, 3]}, dims="depth")
    (found,) = compare(["C7"], "All are 0.", "-", samples, predicted)
    assert found.tolerance_from == "five standard errors over networks; worst of 2 checks"


def test_why_nothing_is_judged_is_counted_by_place() -> None:
    samples = np.ones((4, 3))
    samples[0, 1] = np.inf
    samples[1] = np.nan
    result = xr.Dataset(
        {
            "rate": (("scale", "seed"), samples),
            "rate_predicted": ("scale", [1.0, 1.0, np.nan, 1.0]),
            "size": (("scale", "seed"), np.full((4, 3), np.nan)),
            "size_predicted": ("scale", np.ones(4)),
        }
    )
    assert verdict.why_unjudged(result) == (
        "of 4 places of rate, 2 gave no finite number in some network, 1 have no prediction, "
        "1 are outside the range in which theory is judged"
    )
    assert verdict.why_unjudged(result[["rate"]]) == "there is no prediction to compare with"
