"""Tables of the numbers that figures show."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import xarray as xr


def tidy(columns: Mapping[str, Any]) -> pd.DataFrame:
    """One row per point of all dimensions together, one column per variable and coordinate.

    Args:
        columns: Labelled arrays by the name of their column, or a dataset. Rows are in the order of the
            dimensions as the columns name them, so that the same numbers give the same file.
    """
    found = columns if isinstance(columns, xr.Dataset) else xr.Dataset(columns)
    order = list(dict.fromkeys(dim for name in columns for dim in found[name].dims))
    return found.to_dataframe(dim_order=order).reset_index()
