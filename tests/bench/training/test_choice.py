"""The learning rate that counts, against a choice by sorting in plain Python."""

import numpy as np
import pytest
import xarray as xr

from signalprop.bench.training.choice import at_best_rate, best_rate

RATES = (0.1, 0.01, 0.001)


def by_rate(*values: float) -> xr.DataArray:
    return xr.DataArray(list(values), coords={"learning_rate": list(RATES)}, dims="learning_rate")


@pytest.mark.parametrize(
    ("keys", "chosen"),
    [
        ([by_rate(3, 5, 4)], 0.01),
        ([by_rate(5, 5, 4)], 0.01),  # equal: the smaller rate
        ([by_rate(5, 5, 4), by_rate(1, 0, 9)], 0.1),  # equal: the next key
        ([by_rate(np.nan, -np.inf, -np.inf)], 0.001),  # nothing is worse than NaN
        ([by_rate(2, 2, 2), by_rate(np.nan, 0.5, np.nan)], 0.01),
    ],
)
def test_the_first_key_decides_then_the_next_then_the_smaller_rate(keys, chosen) -> None:
    assert RATES[int(best_rate(*keys))] == chosen


def test_every_network_chooses_for_itself_as_sorting_in_python_does() -> None:
    draws = np.random.default_rng(1).integers(0, 3, size=(2, 20, 3)).astype(float)
    first, second = (
        xr.DataArray(d, coords={"learning_rate": list(RATES)}, dims=("network", "learning_rate"))
        for d in draws
    )
    result = xr.Dataset({"first": first})
    at = at_best_rate(result, first, second)
    for network in range(20):
        wanted = max(range(3), key=lambda i: (draws[0, network, i], draws[1, network, i], -RATES[i]))
        assert float(at["learning_rate"][network]) == RATES[wanted]
        assert float(at["first"][network]) == draws[0, network, wanted]
