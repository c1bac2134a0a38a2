"""Estimates over networks: known answers, and what lost and infinite networks count as."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from signalprop.bench.measure.estimates import (
    mean_and_error,
    outside_range,
    run_settings,
    share_and_error,
    standard_error,
)

NORMAL = np.random.default_rng(0).normal(size=(3, 40))


def test_the_standard_error_is_that_of_scipy() -> None:
    error = standard_error(xr.DataArray(NORMAL, dims=("place", "seed")))
    np.testing.assert_allclose(error, stats.sem(NORMAL, axis=1), rtol=1e-12)
    np.testing.assert_allclose(
        mean_and_error(NORMAL[0]), (NORMAL[0].mean(), stats.sem(NORMAL[0])), rtol=1e-12
    )


def test_lost_networks_do_not_count() -> None:
    some = NORMAL.copy()
    some[0, ::3] = np.nan
    error = standard_error(xr.DataArray(some, dims=("place", "seed")))
    kept = some[0][~np.isnan(some[0])]
    np.testing.assert_allclose(error[0], stats.sem(kept), rtol=1e-12)


def test_infinite_and_single_networks_have_no_error_and_raise_no_warning() -> None:
    values = xr.DataArray([[-np.inf, -np.inf, 1.0], [1.0, 2.0, 3.0]], dims=("place", "seed"))
    error = standard_error(values)
    assert np.isnan(error[0])
    assert float(error[1]) == pytest.approx(1 / np.sqrt(3))
    assert mean_and_error([2.5]) == (2.5, pytest.approx(np.nan, nan_ok=True))


def test_networks_may_lie_along_any_dimension_and_keep_their_precision() -> None:
    values = xr.DataArray(NORMAL.astype("float32"), dims=("place", "draw"))
    assert standard_error(values, "draw").dtype == np.float32


def test_a_share_has_the_error_of_zeros_and_ones() -> None:
    share, error = share_and_error(3, 12)
    assert (share, error) == (0.25, pytest.approx(np.std([1] * 3 + [0] * 9) / np.sqrt(12)))
    assert share_and_error(5, 5) == (1.0, 0.0)


def test_settings_whose_prediction_is_withheld_are_counted() -> None:
    wide, predicted = (xr.DataArray(v, dims="place") for v in ([1.0, 2.0, np.nan], [1.0, np.nan, np.nan]))
    assert "1 of 2 settings are outside" in outside_range(wide, predicted)
    assert outside_range(predicted, wide) == ""


def test_a_run_says_its_own_settings() -> None:
    assert run_settings(xr.Dataset(attrs={"settings": '{"width": 3}'})) == {"width": 3}
