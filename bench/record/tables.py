"""Tables of the numbers that figures show."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import xarray as xr


def tidy(columns: Mapping[str, Any] | xr.Dataset) -> pd.DataFrame:
    """One row per point of all dimensions together, one column per variable and coordinate.

    The order of rows and columns is that of the dimensions and columns as they are named, with other
    coordinates between them by name: xarray's own order of coordinates differs from process to process.

    Args:
        columns: Labelled arrays by the name of their column, or a dataset.
    """
    found = columns if isinstance(columns, xr.Dataset) else xr.Dataset(columns)
    names = list(columns.data_vars if isinstance(columns, xr.Dataset) else columns)
    dims = list(dict.fromkeys(dim for name in names for dim in found[name].dims))
    table = found.to_dataframe(dim_order=dims).reset_index()
    return table[[*dims, *sorted(set(table) - {*dims, *names}), *names]]
