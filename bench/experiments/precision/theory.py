"""What theory predicts for ``precision``, on the axes of its grid."""

import xarray as xr

from signalprop.analysis import precision
from signalprop.bench.experiments.precision import Settings, underflow
from signalprop.bench.experiments.precision.measure import grid
from signalprop.bench.measure import rounding
from signalprop.bench.measure.rounding import FORMATS


def theory(settings: Settings) -> xr.Dataset:
    """What the bits of the formats, and the mean field of the networks, predict on this device."""
    flushes = {f: precision.measured_flush_to_zero(f) for f in FORMATS}
    numbers = rounding.predictions(settings.activation, flushes)
    networks = underflow.predictions(settings.width, settings.depth, flushes)
    coords = {k: v for k, v in grid(settings).labels().items() if k != "seed"}
    return xr.merge([numbers, networks]).assign_coords(coords)
