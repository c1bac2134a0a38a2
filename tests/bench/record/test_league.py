"""Scores of the leagues, of numbers that we choose."""

import numpy as np
import pytest
import xarray as xr

from signalprop.bench.record.league import first_reached, median, score


def test_the_first_record_counts_and_who_diverges_never_reaches():
    reached = xr.DataArray(
        [[False, True, False], [True, True, True], [False, False, False], [True, True, True]],
        dims=("seed", "record"),
    )
    diverged = xr.DataArray([0.0, 0.0, 0.0, 2.0], dims="seed")
    found = first_reached(reached, "record", [5, 10, 15], diverged)
    assert found.values.tolist() == [10, 5, np.inf, np.inf]


def test_a_score_counts_the_networks_and_loses_what_the_gradient_gains():
    of_seeds = {"solved": [1.0, 0.0, 1.0], "steps": [4.0, np.inf, 6.0], "diverged_at": [0.0, 7.0, 0.0]}
    one = xr.Dataset(
        {
            **{name: ("seed", values) for name, values in of_seeds.items()},
            "decades": (("seed", "moment"), [[-3.0, np.nan], [-2.0, -1.0], [-np.inf, 0.0]]),
            "decades_predicted": -3.0, "cost": 1.5,
        }
    )  # fmt: skip
    found = score(one)
    assert (found["solved"], found["seeds"], found["diverged"], found["steps"]) == (2, 3, 1, 6.0)
    assert (found["decades_lost_start"], found["decades_lost_end"]) == (3.0, 0.5)
    assert (found["decades_lost_predicted"], found["cost"]) == (3.0, 1.5)
    assert found["low"] == pytest.approx(0.0943, abs=1e-4)  # tables of Clopper & Pearson: 2 of 3


def test_the_median_of_nothing_is_unknown():
    assert np.isnan(median(np.array([np.nan])))
