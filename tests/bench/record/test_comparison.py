"""Two runs side by side, against means and errors computed by hand with NumPy."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from signalprop.bench.record.comparison import comparison
from signalprop.bench.record.verdict import judge

SETTINGS = {"width": [4, 8], "seeds": 6, "seed": 0}


def result(values: np.ndarray, width=(4, 8), depth=(1, 2, 3), code="c", **settings) -> xr.Dataset:
    """A result as a store loads it: width is static, an axis of two scalars has no label of its own."""
    arrays = {
        "size": (("width", "seed", "ratio"), values),
        "size_predicted": (("width",), np.array(width, float)),
    }
    coords = {
        "width": list(width), "seed": range(values.shape[1]), "sigma_w": ("ratio", np.array(depth, float)),
        "double": ("ratio", 2.0 * np.array(depth)),
    }  # fmt: skip
    attrs = {
        "settings": json.dumps(SETTINGS | settings), "versions": json.dumps({"jax": "1"}), "sources": "{}",
        "code_hash": code, "device_kind": "cpu", "xla_flags": "",
    }  # fmt: skip
    return xr.Dataset(arrays, coords, attrs)


def verdict(statement: str, measured: float):
    return judge([], statement, "", measured=measured, predicted=1, tolerance=1, tolerance_from="")


@pytest.fixture
def draws() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 6, 3))


def test_the_largest_difference_is_that_of_means_over_combined_errors(draws) -> None:
    other = np.random.default_rng(1).normal(size=(2, 9, 3)) + 1
    apart = np.abs(draws.mean(1) - other.mean(1))
    error = np.sqrt(draws.var(1, ddof=1) / 6 + other.var(1, ddof=1) / 9)
    i, j = np.unravel_index(np.argmax(apart / error), error.shape)
    found = comparison(result(draws), result(other, seeds=9), [], [])
    size, predicted = found.distances
    assert size.standard_errors == pytest.approx((apart / error)[i, j])
    assert size.difference == pytest.approx(apart[i, j])
    assert (size.places, size.left_out) == (6, 0)
    assert size.where == {"width": (4, 8)[i], "ratio": f"sigma_w={j + 1} double={2 * j + 2}"}
    assert (predicted.standard_errors, predicted.places) == (0.0, 2)
    assert found.settings == {"seeds": (6, 9)}
    assert "differ" in found.as_text()


def test_only_common_places_count_and_those_without_an_error_are_left_out(draws) -> None:
    a, b = draws[:, :, :2].copy(), draws[:1] + 1.0
    a[0, 0, 0] = np.nan
    found = comparison(result(a, depth=(1, 2)), result(b, width=(4,)), [], [])
    size = found.distances[0]
    assert (size.places, size.left_out) == (1, 1)
    expected = 1 / np.sqrt(2 * draws[0, :, 1].var(ddof=1) / 6)
    assert size.standard_errors == pytest.approx(expected)
    nowhere = comparison(result(a, depth=(1, 2)), result(b, width=(16,)), [], []).distances[0]
    assert nowhere.places == 0
    assert np.isnan(nowhere.standard_errors)


def test_equal_infinities_agree_and_numbers_without_spread_that_differ_are_infinitely_far(draws) -> None:
    a = draws.copy()
    a[0] = -np.inf
    same = comparison(result(a), result(a), [], [])
    assert same.distances[0].standard_errors == 0
    assert same.distances[0].places == 6
    fixed = comparison(result(np.ones((2, 6, 3))), result(np.full((2, 6, 3), 1.5)), [], [])
    assert (fixed.distances[0].standard_errors, fixed.distances[0].difference) == (np.inf, 0.5)
    assert "size: without errors, 0.5" in fixed.as_text()
    assert json.loads(fixed.as_json())["distances"][0]["standard_errors"] == "inf"


def test_the_same_to_the_last_bit_is_said_only_of_equal_bits(draws) -> None:
    nudged = draws.copy()
    nudged[1, 2, 0] = np.nextafter(nudged[1, 2, 0], 9)
    assert comparison(result(draws), result(draws), [], []).as_text() == (
        "same settings and code: the same to the last bit"
    )
    assert not comparison(result(draws), result(nudged), [], []).identical
    text = comparison(result(draws), result(draws, code="d"), [], []).as_text()
    assert text.splitlines() == [
        "settings: the same",
        "code: code c and d",
        "numbers: the same to the last bit",
    ]


def test_verdicts_are_paired_by_statement_also_where_one_is_judged_twice(draws) -> None:
    a = [verdict("x", 1.0), verdict("x", 1.5), verdict("only a", 1.0)]
    b = [replace(verdict("x", 5.0)), verdict("only b", 2.0)]
    found = comparison(result(draws), result(draws), a, b)
    assert found.verdicts == [
        ("x", a[0], b[0]),
        ("x", a[1], None),
        ("only a", a[2], None),
        ("only b", None, b[1]),
    ]
    assert "A: measured 1, predicted 1, agrees\n  B: measured 5, predicted 1, disagrees" in found.as_text()
    assert json.loads(found.as_json())["verdicts"][1]["b"] is None


def test_what_has_nothing_in_common_is_named_in_one_line(draws) -> None:
    elsewhere = result(draws, width=(16, 32))
    text = comparison(result(draws), elsewhere, [], []).as_text()
    assert text.splitlines()[3:] == ["no number in common, so not compared: size, size_predicted"]
    renamed = result(draws).rename(ratio="scale")
    assert comparison(result(draws), renamed, [], []).distances[0].places == 0
    assert "  size_predicted: the same; 2 places" in comparison(result(draws), renamed, [], []).as_text()
