"""The loss at chance, the only number that theory gives."""

import xarray as xr

from signalprop.bench.experiments.long_lag_tasks import Settings
from signalprop.bench.training.tasks import find_task


def theory(settings: Settings) -> xr.Dataset:
    """The loss of the best answer that remembers nothing."""
    chance = [task.chance(length) for task, length in map(find_task, settings.task)]
    return xr.Dataset({"test_loss_predicted": (("task",), chance)}, coords={"task": list(settings.task)})
