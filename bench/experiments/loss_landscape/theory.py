"""The loss of the best constant answer, of which half is the target."""

import xarray as xr

from signalprop.bench.experiments.loss_landscape import Settings
from signalprop.bench.training.classification import base_rate_loss, problem


def theory(settings: Settings) -> xr.Dataset:
    """The loss of the best constant answer."""
    return xr.Dataset({"loss_predicted": base_rate_loss(problem(settings.data))})
