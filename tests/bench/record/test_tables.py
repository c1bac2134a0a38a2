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
from zarr.storage import MemoryStore
from signalprop.bench.record.tables import tidy
named = {name: (name, [1, 2]) for name in ("width", "scheme", "activation", "depth", "gain")}
more = {"label": ("scheme", ["a", "b"]), "twice": ("width", [2, 4])}
written, store = xr.Dataset({"loss": (tuple(named), np.zeros((2,) * 5))}, coords=named | more), MemoryStore()
written.to_zarr(store, consolidated=False)
result = xr.open_zarr(store, consolidated=False, chunks=None)
columns = {"mean": result["loss"].mean("gain"), "all": result["loss"]}
print(list(tidy(columns)))
print(list(xr.Dataset(columns).to_dataframe().reset_index()))
"""


def said(seed: int) -> list[str]:
    """The lines that the program prints under a seed of Python's hashes."""
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    call = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert call.returncode == 0, call.stderr
    return call.stdout.splitlines()


def test_rows_are_every_combination_in_the_order_of_the_dimensions_as_named() -> None:
    table = tidy({"loss": WIDE, "kept": BY_CELL})
    assert list(table) == ["depth", "gain", "cell", "loss", "kept"]
    assert len(table) == 12
    assert list(table["loss"][:4]) == [0, 0, 1, 1]
    assert list(table["kept"][:2]) == [0.5, 0.7]


def test_a_dataset_gives_the_table_of_its_variables() -> None:
    assert tidy(xr.Dataset({"loss": WIDE, "kept": BY_CELL})).equals(tidy({"loss": WIDE, "kept": BY_CELL}))


def test_every_process_writes_the_same_order_which_xarray_alone_does_not() -> None:
    order = ["width", "scheme", "activation", "depth", "gain", "label", "twice", "mean", "all"]
    ours, naive = zip(*(said(seed) for seed in range(6)), strict=True)
    assert set(ours) == {str(order)}
    assert len(set(naive)) > 1
