"""What a bias alone gives: the lifetime of a constant gate; and the loss at chance."""

import numpy as np
import xarray as xr

from signalprop.analysis.gated import forget_lifetime
from signalprop.bench.experiments.learned_gates import Settings
from signalprop.bench.experiments.learned_gates.measure import TASK


def theory(settings: Settings) -> xr.Dataset:
    """The lifetime that a constant gate of each bias gives, and the loss at chance."""
    return xr.Dataset(
        {
            "lifetime_predicted": (("forget_bias",), forget_lifetime(np.array(settings.forget_bias))),
            "chance_predicted": TASK.chance(settings.length),
        },
        coords={"forget_bias": list(settings.forget_bias)},
    )
