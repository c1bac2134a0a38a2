"""Spread of the singular values of wide networks, and the differential equation of decoupled modes."""

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp

from signalprop.bench.experiments.learning_time import Settings, linear
from signalprop.bench.experiments.learning_time.measure import critical


def theory(settings: Settings) -> xr.Dataset:
    """Spread of the singular values of wide networks, and the strengths of decoupled modes."""
    matrices = {name: np.array(settings.depth) - (name != "linear") for name in settings.network}
    spreads = [
        [n * (critical(name)[3] + np.array([0.0, 1.0])) for n in matrices[name]] for name in settings.network
    ]
    strengths = np.stack([predicted_strengths(depth + 1) for depth in settings.depth])
    return xr.Dataset(
        {
            "spread_predicted": (("network", "depth", "orthogonal"), spreads),
            "strength_predicted": (("depth", "moment", "mode"), strengths),
        },
        coords={"network": list(settings.network), "depth": list(settings.depth), "orthogonal": [1.0, 0.0]},
    )


def predicted_strengths(count: int) -> np.ndarray:
    """Solution of the differential equation at `linear.moments`, (moments, modes)."""
    s = np.array(linear.STRENGTHS)
    found = solve_ivp(
        lambda _, u: u ** (2 - 2 / count) * (s - u), (0, linear.END), np.full(s.size, linear.START),
        t_eval=linear.moments(), rtol=1e-9, atol=1e-11,
    )  # fmt: skip
    return np.asarray(found.y.T)
