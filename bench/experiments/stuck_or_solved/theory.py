"""Which networks are stuck is known from how they were made; nothing else is predicted."""

import numpy as np
import xarray as xr

from signalprop.bench.experiments.stuck_or_solved import Settings
from signalprop.bench.experiments.stuck_or_solved.conditions import CONDITIONS
from signalprop.bench.experiments.stuck_or_solved.measure import grid


def theory(settings: Settings) -> xr.Dataset:
    """Which networks are stuck, by the way that they were made."""
    stuck = [float(c.stuck) for c in CONDITIONS.values()] + [np.nan] * settings.random
    return xr.Dataset({"stuck": ("network", stuck)}, coords={"network": grid(settings).labels()["network"]})
