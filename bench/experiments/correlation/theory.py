"""Maps of length and cosine: every layer's values, the drawn curves, fixed points and depth scales."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis import meanfield
from signalprop.analysis.gaussian import expectation
from signalprop.analysis.smoothness import breaks_of
from signalprop.bench.experiments.correlation import MAPS, Settings
from signalprop.bench.experiments.correlation.measure import grid, real_pair, scales
from signalprop.models.activations import Activation, activation

CURVE = 41  # points of a drawn line
LONGEST = 15.0  # largest length of the drawn map, as in Poole's figure 1
DIMS = {
    "log_q_predicted": ("q_0", "layer"),
    "c_predicted": ("pair", "layer"),
    "log_delta_predicted": ("layer",),
    "centre_predicted": ("layer",),
}


def theory(settings: Settings) -> xr.Dataset:
    """Trajectories of every input, drawn maps, fixed points and depth scales, in 64 bits."""
    with ThreadPoolExecutor(2) as pool:
        fixed = pool.submit(fixed_points, settings)
        maps = pool.submit(drawn_maps, settings)
        found = list(pool.map(partial(trajectories, settings=settings), settings.activation))
    labels = {k: v for k, v in grid(settings).labels().items() if k == v[0] != "seed"}
    pairs = {"pair_c_0": ("pair", cosines(settings))}
    whole = xr.concat(found, "activation").assign_coords({**labels, **pairs})
    return xr.merge([whole, fixed.result(), maps.result()])


def cosines(settings: Settings) -> np.ndarray:
    """Cosine of every pair's inputs."""
    a, b = real_pair(settings.data, settings.width)
    return np.array([*settings.c_0, np.mean(a * b)])


def trajectories(name: str, settings: Settings) -> xr.Dataset:
    """Theory of every layer of one activation at all scales."""
    predict = partial(predicted, activation(name), settings, jnp.asarray(cosines(settings)))
    places = [jnp.asarray(values, jnp.float64) for values in scales(settings).values()]
    columns = jax.device_get(jax.jit(jax.vmap(predict))(*places))
    return xr.Dataset({key: (("scales", *DIMS[key]), value) for key, value in columns.items()})


def predicted(
    phi: Activation, settings: Settings, c_0: jax.Array, sigma_w: jax.Array, sigma_b: jax.Array
) -> dict[str, jax.Array]:
    """Trajectories at one pair of scales."""
    place, depth = (phi, sigma_w, sigma_b), settings.depth
    q_0 = jnp.array([*settings.q_0, 1.0], c_0.dtype)
    q = jax.vmap(lambda v: meanfield.length_trajectory(*place, v, depth))(q_0)

    def centre(length: jax.Array) -> jax.Array:
        moments = expectation(lambda x: jnp.stack([phi(x), phi(x) ** 2], -1), length, breaks_of(phi))
        return moments[0] / jnp.sqrt(moments[1])

    return {
        "log_q_predicted": jnp.log(q[:-1]),
        "c_predicted": jax.vmap(lambda c: meanfield.correlation_trajectory(*place, 1.0, c, depth))(c_0),
        "log_delta_predicted": meanfield.log_gradient_profile(*place, 1.0, depth) / 2,
        "centre_predicted": jax.vmap(centre)(q[-1]),
    }


def fixed_points(settings: Settings) -> xr.Dataset:
    """Fixed points and depth scales of the first activation at all scales, and scales on a line of sigma_w.

    A homogeneous activation has no isolated fixed point, and gets NaN.
    """
    phi = activation(settings.activation[0])
    line = np.linspace(min(settings.sigma_w), max(settings.sigma_w), CURVE)
    sigma_w, sigma_b = scales(settings).values()
    places = np.array([[*sigma_w, *line], [*sigma_b, *np.full(CURVE, settings.sigma_b[0])]])
    solve = jax.jit(lambda points: jax.lax.map(lambda p: meanfield.fixed_point(phi, *p), points))
    fixed = jax.device_get(solve(jnp.asarray(places.T)))._asdict()
    found: dict[str, Any] = {"sigma_w_line": line}
    for name in ("q_star", "c_star", "xi_q", "xi_c", "xi_grad"):
        values = np.full(places.shape[1], np.nan) if phi.homogeneous else fixed[name]
        found[name] = ("scales", values[: len(sigma_w)])
        found[f"{name}_line"] = ("sigma_w_line", values[len(sigma_w) :])
    return xr.Dataset(found)


def drawn_maps(settings: Settings) -> xr.Dataset:
    """Length map of the first activation at ``MAPS``, and its correlation map at the length it leads to."""
    phi = activation(settings.activation[0])
    q_axis, c_axis = jnp.linspace(0, LONGEST**0.5, CURVE) ** 2, jnp.linspace(0, 1, CURVE)

    def maps(sigma_w: jax.Array, sigma_b: jax.Array) -> tuple[jax.Array, jax.Array]:
        q = meanfield.length_trajectory(phi, sigma_w, sigma_b, 1.0, settings.depth)[-1]
        lengths = jax.vmap(lambda v: meanfield.length_map(phi, v, sigma_w, sigma_b))(q_axis)
        c_map = partial(meanfield.correlation_map, phi, q_a=q, q_b=q, sigma_w=sigma_w, sigma_b=sigma_b)
        return lengths, jax.vmap(c_map)(c_axis)

    q_map, c_map = jax.device_get(jax.jit(jax.vmap(maps))(*np.array(MAPS).T))
    return xr.Dataset(
        {"q_map": (("map", "q_axis"), q_map), "c_map": (("map", "c_axis"), c_map)},
        coords={"q_axis": np.asarray(q_axis), "c_axis": np.asarray(c_axis)},
    )
