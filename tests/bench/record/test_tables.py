"""Tables are the same whatever the order in which Python's sets come."""

import os
import subprocess
import sys

import numpy as np
import xarray as xr

from signalprop.bench.record.tables import tidy

WIDE = xr.DataArray(
    np.arange(6.0).reshape(2, 3), coords={"depth": [1, 2], "gain": [1, 2, 3]}, dims=("depth", "gain")
)
BY_CELL = xr.DataArray([0.5, 0.7], coords={"cell": ["gru", "lstm"]}, dims="cell")

PROGRAM = """
import numpy as np, xarray as xr
from signalprop.bench.record.tables import tidy
one = xr.DataArray(np.zeros((2, 3, 2)), dims=("width", "scheme", "activation"))
print(list(tidy({"a": one, "b": one.isel(width=0), "c": xr.DataArray([1, 2], dims="kind")})))
"""


def test_rows_are_every_combination_in_the_order_of_the_dimensions_as_named() -> None:
    table = tidy({"loss": WIDE, "kept": BY_CELL})
    assert list(table) == ["depth", "gain", "cell", "loss", "kept"]
    assert len(table) == 12
    assert list(table["loss"][:4]) == [0, 0, 1, 1]
    assert list(table["kept"][:2]) == [0.5, 0.7]


def test_a_dataset_gives_the_table_of_its_variables() -> None:
    assert tidy(xr.Dataset({"loss": WIDE, "kept": BY_CELL})).equals(tidy({"loss": WIDE, "kept": BY_CELL}))


def test_every_process_writes_the_same_order() -> None:
    said = set()
    for seed in ("0", "1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        call = [sys.executable, "-c", PROGRAM]
        said.add(subprocess.run(call, env=environment, check=True, capture_output=True, text=True).stdout)
    assert said == {"['width', 'scheme', 'activation', 'kind', 'a', 'b', 'c']\n"}
