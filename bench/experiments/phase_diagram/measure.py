"""Growth of the gradient back through one network, and separation of two close inputs forward."""

from collections.abc import Sequence
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis import meanfield
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.phase_diagram import Settings
from signalprop.bench.measure import data
from signalprop.models import stream
from signalprop.models.activations import activation
from signalprop.models.mlp import MLP

CLOSE = 1e-8  # 1 - c of the two inputs of a pair
MEASURABLE = (1e-11, 1e-4)  # above rounding in float32, and small enough for the slope at c = 1
CURVE = 25  # points of a drawn line
ROOM = 1.5  # by which the drawn plane goes beyond a single scale


def grid(settings: Settings) -> Grid:
    """One compilation per activation; all scales share their draws."""
    return Grid(
        static={"activation": settings.activation},
        traced={axis(settings): scales(settings), "sigma_b": settings.sigma_b},
        seeds=settings.seeds,
        constants={k: getattr(settings, k) for k in ("data", "width", "depth", "skip", "dtype")}
        | {"unit": {name: unit(name, settings) for name in settings.activation}},
        coords={"input": settings.data},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Growth of the gradient and separation of two inputs in one network."""
    width, depth, dtype = static["width"], static["depth"], static["dtype"]
    network_key, input_key, cotangent_key = jax.random.split(key, 3)
    scale = point["ratio"] if "ratio" in point else point["sigma_w"]
    sigma_w = scale * jnp.asarray(static["unit"][static["activation"]], dtype)
    # sigma_w multiplies the activities and not the weights: then all scales share one matrix product
    phi = activation(static["activation"]).times(sigma_w)
    network = MLP((width,) * (depth + 1), phi, sigma_b=point["sigma_b"], key=network_key, dtype=dtype)
    x = jnp.stack([close_pair(kind, input_key, width, dtype) for kind in static["data"]])
    walk = stream.forward(network, sigma_w * x, lambda carry, layer, kernel, z: (carry, z), None)
    first = [jax.tree.map(lambda leaf: leaf[:, :, 0], z) for z in walk.outs]
    cotangent = jax.random.normal(cotangent_key, (len(static["data"]), width), dtype)
    back = stream.backward(network, first, cotangent, lambda carry, _, __, d: (carry, d.log_norm()), None)
    inside = window(depth, static["skip"])
    log_q = stream.join([z.log_mean_square() for z in first])
    log_distance = stream.join([log_one_minus_c(stream.rescale(z).mantissa) for z in walk.outs])
    found = {
        "growth": -2 * jnp.mean(jnp.diff(stream.join(back.outs), axis=0)[inside], axis=0),
        "separation": separation(log_distance[inside.start :], log_q[inside.start :]),
        "log_q": log_q[inside.stop],
    }
    lost = walk.lost_at[:, 0] > 0
    return {name: jnp.where(lost, jnp.nan, values) for name, values in found.items()}


def axis(settings: Settings) -> str:
    """What the weight scales were given as, which is the name of their axis."""
    return "sigma_w" if settings.sigma_w else "ratio"


def scales(settings: Settings) -> tuple[float, ...]:
    """Weight scales, in units of `unit`."""
    return settings.sigma_w or settings.ratio


def unit(name: str, settings: Settings) -> float:
    """The sigma_w that a ratio of 1 means: critical at sigma_b = 0, or 1 where nothing is or if so asked."""
    if settings.sigma_w:
        return 1.0
    critical = float(critical_table(name, lines(settings))[0])
    return critical if np.isfinite(critical) else 1.0


@cache
def critical_table(name: str, sigma_b: tuple[float, ...]) -> np.ndarray:
    """Critical sigma_w at the given bias scales, NaN where there is none.

    A homogeneous activation has no fixed point above sigma_b = 0, but chi_1 = 1 at the same sigma_w.
    """
    phi = activation(name)
    points = jax.jit(partial(meanfield.critical_table, phi))(jnp.array(sigma_b, jnp.float64))
    sigma_w = np.asarray(points.sigma_w)
    return np.full_like(sigma_w, sigma_w[0]) if phi.homogeneous else sigma_w


def top(settings: Settings) -> float:
    """Largest bias scale of the drawn plane: that of the settings, with room above a single one."""
    return (max(settings.sigma_b) if len(settings.sigma_b) > 1 else ROOM * settings.sigma_b[0]) or 0.5


def lines(settings: Settings) -> tuple[float, ...]:
    """Bias scales at which the critical line is computed; 0 and the measured ones are among them."""
    even = np.linspace(0, top(settings), CURVE)
    return tuple(float(s) for s in np.union1d(even, settings.sigma_b))


def close_pair(kind: str, key: jax.Array, width: int, dtype: str) -> jax.Array:
    """An input, and the same with a little of another mixed in, so that 1 - c is about ``CLOSE``: (2, N)."""
    x, other = data.inputs(kind, key, 2, width, dtype=dtype)
    return jnp.stack([x, data.unit_length(x + float(np.sqrt(2 * CLOSE)) * other)])


def log_one_minus_c(pair: jax.Array) -> jax.Array:
    """log(1 - c) of the two vectors along the last but one axis, without cancellation."""
    u = pair / jnp.linalg.norm(pair, axis=-1, keepdims=True)
    return jnp.log(jnp.sum((u[..., 0, :] - u[..., 1, :]) ** 2, axis=-1) / 2)


def separation(log_distance: jax.Array, log_q: jax.Array) -> jax.Array:
    """Mean growth of log(q (1 - c)) over the leading layers that can be measured; NaN if fewer than three."""
    low, high = np.log(MEASURABLE)
    lost = ~((log_distance > low) & (log_distance < high))
    count = jnp.where(jnp.any(lost, axis=0), jnp.argmax(lost, axis=0), len(lost))
    values = log_distance + log_q
    last = jnp.take_along_axis(values, jnp.maximum(count - 1, 0)[None], axis=0)[0]
    return jnp.where(count < 3, jnp.nan, (last - values[0]) / jnp.maximum(count - 1, 1))


def window(depth: int, skip: Sequence[int]) -> slice:
    """Indices, from 0, of the layers l whose step between l and l + 1 is measured."""
    return slice(skip[0], depth - 1 - skip[1])
