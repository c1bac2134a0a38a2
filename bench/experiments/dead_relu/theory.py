"""The two numbers that theory gives, both 0; the shares of deaths have no theory."""

import xarray as xr

from signalprop.bench.experiments.dead_relu import Settings


def theory(settings: Settings) -> xr.Dataset:
    """The gradient of a dead unit and the revivals of layer 1 under plain descent: none."""
    return xr.Dataset({"dead_gradient_predicted": 0.0, "revivals_predicted": 0.0})
