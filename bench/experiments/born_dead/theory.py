"""Death at one input, exactly; two bounds of death at all inputs; and death of a unit of layer 1."""

import jax
import numpy as np
import xarray as xr

from signalprop.analysis.dying import born_dead_bound, born_dead_floor, dead_input, dead_unit
from signalprop.bench.experiments.born_dead import Settings
from signalprop.bench.experiments.born_dead.measure import FEATURES


def theory(settings: Settings) -> xr.Dataset:
    """Death at one input, the bounds of death at all, and death of a unit of layer 1."""
    width, depth = np.array(settings.width)[:, None], np.arange(1, settings.depth + 1)
    units = jax.jit(
        jax.vmap(jax.vmap(lambda r, n: dead_unit(r, n, FEATURES[-1]), (None, 0)), (0, None))
    )(np.array(settings.ratio, float), np.array(settings.examples, float))  # fmt: skip
    by_depth = {
        "dead_at_input": dead_input(np.repeat(width, settings.depth, 1)),
        "dead_at_all": born_dead_bound(width, depth),
        "dead_at_all_floor": born_dead_floor(width, depth),
    }
    return xr.Dataset(
        {f"{k}_predicted": (("width", "depth"), np.asarray(v)) for k, v in by_depth.items()}
        | {"unit_dead_predicted": (("ratio", "examples"), np.asarray(units))},
        coords={
            "width": list(settings.width), "depth": depth,
            "ratio": list(settings.ratio), "examples": list(settings.examples),
        },
    )  # fmt: skip
