"""The four limits on depth that need no measurement."""

import xarray as xr

from signalprop.bench.experiments.depth_budget import Settings
from signalprop.bench.experiments.depth_budget.limits import depth_limits
from signalprop.bench.experiments.depth_budget.networks import NETWORKS


def theory(settings: Settings) -> xr.Dataset:
    """The four limits that need no measurement, by network."""
    found = [depth_limits(NETWORKS[name], settings.batch_size) for name in settings.network]
    columns = {
        f"limit_{limit.replace(' ', '_')}": ("network", [row[limit] for row in found]) for limit in found[0]
    }
    return xr.Dataset(columns, coords={"network": list(settings.network)})
