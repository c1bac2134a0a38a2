"""log chi_1 over the window of layers: at measured points, on a finer plane and on the critical line."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis import meanfield
from signalprop.analysis.growth import layer_growth
from signalprop.bench.experiments.phase_diagram import Settings
from signalprop.bench.experiments.phase_diagram.measure import (
    ROOM,
    axis,
    critical_table,
    grid,
    lines,
    scales,
    top,
    unit,
    window,
)
from signalprop.models.activations import Activation, activation

MAP = (32, 18)  # points of the drawn plane


def theory(settings: Settings) -> xr.Dataset:
    """Growth over the window at every point and on a finer plane, and the critical line."""
    room = ROOM if len(scales(settings)) == 1 else 1.0
    ratio = np.geomspace(min(scales(settings)) / room, max(scales(settings)) * room, MAP[0])
    sigma_b = np.linspace(0, top(settings), MAP[1])
    kept = ("activation", axis(settings), "sigma_b")
    labels = {k: v for k, v in grid(settings).labels().items() if k in kept}
    coords = {**labels, "ratio_map": ratio, "sigma_b_map": sigma_b, "sigma_b_line": list(lines(settings))}
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(partial(theory_of, settings=settings, coords=coords), settings.activation))
    return xr.concat(found, "activation").assign_coords(activation=labels["activation"])


def theory_of(name: str, settings: Settings, coords: Mapping[str, Any]) -> xr.Dataset:
    """Theory of one activation: one compilation for the points, the plane and the critical line."""
    critical = critical_table(name, lines(settings))
    places = [
        np.meshgrid(unit(name, settings) * np.array(scales(settings)), settings.sigma_b, indexing="ij"),
        np.meshgrid(unit(name, settings) * coords["ratio_map"], coords["sigma_b_map"], indexing="ij"),
        [np.nan_to_num(critical, nan=1.0), np.array(coords["sigma_b_line"])],
    ]
    sigma_w, sigma_b = (jnp.concatenate([np.ravel(p[i]) for p in places]) for i in (0, 1))
    predict = partial(predicted, activation(name), depth=settings.depth, skip=settings.skip)
    columns = jax.device_get(jax.jit(jax.vmap(predict))(sigma_w, sigma_b))
    cuts = np.cumsum([np.size(p[0]) for p in places])[:-1]
    (chi, on_map, on_line), shift, drift, log_q = (np.split(column, cuts) for column in columns)
    plane = (axis(settings), "sigma_b")
    shape = (len(scales(settings)), len(settings.sigma_b))
    return xr.Dataset(
        {
            "unit": unit(name, settings),
            "growth_predicted": (plane, (chi - shift[0] / settings.width).reshape(shape)),
            "finite_width_shift": (plane, (shift[0] / settings.width).reshape(shape)),
            "log_chi_1": (plane, chi.reshape(shape)),
            "drift": (plane, drift[0].reshape(shape)),
            "log_q_predicted": (plane, log_q[0].reshape(shape)),
            "log_chi_1_map": (("ratio_map", "sigma_b_map"), on_map.reshape(MAP)),
            "critical_sigma_w": ("sigma_b_line", critical),
            "log_chi_1_line": ("sigma_b_line", np.where(np.isnan(critical), np.nan, on_line)),
        },
        coords={k: v for k, v in coords.items() if k != "activation"},
    )


def predicted(
    phi: Activation, sigma_w: jax.Array, sigma_b: jax.Array, depth: int, skip: tuple[int, int]
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Mean of log chi_1 over the window, N times its finite-width shift, its range, and the last log q."""
    inside = window(depth, skip)
    q = meanfield.length_trajectory(phi, sigma_w, sigma_b, 1.0, depth)[inside]
    log_chi, shift = jax.vmap(lambda length: layer_growth(phi, length, sigma_w))(q)
    return jnp.mean(log_chi), jnp.mean(shift), jnp.max(log_chi) - jnp.min(log_chi), jnp.log(q[-1])
