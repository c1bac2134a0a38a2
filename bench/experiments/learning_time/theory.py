"""What theory predicts for ``learning-time``, on the axes of its grid."""

import numpy as np
import xarray as xr

from signalprop.bench.experiments.learning_time import Settings, linear
from signalprop.bench.experiments.learning_time.measure import critical


def theory(settings: Settings) -> xr.Dataset:
    """Spread of the singular values of wide networks, and the strengths of decoupled modes."""
    matrices = {name: np.array(settings.depth) - (name != "linear") for name in settings.network}
    spreads = [
        [n * (critical(name)[3] + np.array([0.0, 1.0])) for n in matrices[name]] for name in settings.network
    ]
    strengths = np.stack([linear.predicted_strengths(depth + 1) for depth in settings.depth])
    return xr.Dataset(
        {
            "spread_predicted": (("network", "depth", "orthogonal"), spreads),
            "strength_predicted": (("depth", "moment", "mode"), strengths),
        },
        coords={"network": list(settings.network), "depth": list(settings.depth), "orthogonal": [1.0, 0.0]},
    )
