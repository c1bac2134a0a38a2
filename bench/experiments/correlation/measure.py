"""Inputs of several lengths and cosines followed through one network, and one gradient followed back."""

from functools import cache
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.engine.untraced import untraced
from signalprop.bench.experiments.correlation import Settings
from signalprop.bench.measure import data
from signalprop.models import stream
from signalprop.models.activations import activation
from signalprop.models.mlp import MLP


def grid(settings: Settings) -> Grid:
    """One compilation per activation; all scales share their draws."""
    return Grid(
        static={"activation": settings.activation},
        traced={"scales": scales(settings)},
        seeds=settings.seeds,
        constants={k: getattr(settings, k) for k in ("q_0", "c_0", "data", "width", "depth", "dtype")},
        coords={
            "q_0": settings.q_0,
            "pair": [*(f"{c:g}" for c in settings.c_0), settings.data],
            "layer": range(1, settings.depth + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow all inputs forward through one network, and one gradient back."""
    width, depth, dtype = static["width"], static["depth"], static["dtype"]
    network_key, input_key, cotangent_key = jax.random.split(key, 3)
    # sigma_w multiplies the activities and not the weights: then all scales share one matrix product
    phi = activation(static["activation"]).times(point["sigma_w"])
    network = MLP((width,) * (depth + 1), phi, sigma_b=point["sigma_b"], key=network_key, dtype=dtype)
    base = len(static["q_0"])

    def observe(carry: None, layer: jax.Array, kernel: jax.Array, z: stream.Signal) -> Any:
        y = phi(z.mantissa[base])
        return carry, (z, jnp.mean(y) / jnp.sqrt(jnp.mean(y**2)))

    walk = stream.forward(network, point["sigma_w"] * inputs(input_key, static), observe, None)
    trace, centre = zip(*walk.outs, strict=True)
    first = [jax.tree.map(lambda leaf: leaf[:, base], z) for z in trace]
    cotangent = jax.random.normal(cotangent_key, (width,), dtype)
    norms = stream.backward(network, first, cotangent, lambda carry, _, __, d: (carry, d.log_norm()), None)
    log_delta = stream.join(norms.outs)
    return {
        "log_q": stream.join([z.log_mean_square() for z in trace])[:, :base].T,
        "distance": distances(stream.join([stream.rescale(z).mantissa for z in trace]), base).T,
        "log_delta": log_delta - log_delta[-1],
        "centre": stream.join(list(centre)),
    }


def scales(settings: Settings) -> dict[str, list[float]]:
    """All pairs of sigma_w and sigma_b that are measured."""
    pairs = dict.fromkeys([*product(settings.sigma_w, settings.sigma_b), *settings.maps])
    sigma_w, sigma_b = (list(values) for values in zip(*pairs, strict=True))
    return {"sigma_w": sigma_w, "sigma_b": sigma_b}


def distances(z: jax.Array, base: int) -> jax.Array:
    """1 - c without cancellation: of the row ``base`` and each of its partners, and of the last two rows."""
    u = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
    apart = jnp.concatenate([u[:, [base]] - u[:, base + 1 : -2], u[:, [-2]] - u[:, [-1]]], axis=1)
    return jnp.sum(apart**2, axis=-1) / 2


def inputs(key: jax.Array, static: Static) -> jax.Array:
    """Rows: one direction at every length q_0, the same at length 1, its partners, and the real pair."""
    width, dtype = static["width"], static["dtype"]
    a, b = data.inputs("gaussian", key, 2, width, dtype=dtype)
    across = data.unit_length(b - jnp.mean(a * b) * a)
    rows = [float(np.sqrt(q)) * a for q in (*static["q_0"], 1.0)]
    rows += [c * a + float(np.sqrt(1 - c**2)) * across for c in static["c_0"]]
    return jnp.concatenate([jnp.stack(rows), jnp.asarray(real_pair(static["data"], width), dtype)])


@cache
def real_pair(name: str, width: int) -> np.ndarray:
    """The first two training examples, moved to the network's width by one isometry for all networks."""

    def moved() -> np.ndarray:
        x = data.unit_length(np.asarray(data.examples(name).x[:2], np.float64))
        return np.asarray(jax.jit(data.project, static_argnums=2)(jax.random.key(0), x, width))

    return untraced(moved)
