"""Width profiles, equal and random ones, and the walks of many networks through all of them."""

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.finite_width import Settings
from signalprop.bench.experiments.finite_width.gains import NETWORKS, padded, random_profile, walk


def grid(settings: Settings) -> Grid:
    """One compilation per law of the weights; relu and linear networks of all profiles share its draws."""
    return Grid(
        static={"scheme": settings.scheme},
        traced={},
        seeds=settings.seeds,
        constants={k: getattr(settings, k) for k in ("depth", "draws", "spectrum", "dtype")}
        | {"profiles": padded(list(profiles(settings).values()))},
        coords={
            "network": NETWORKS,
            "profile": list(profiles(settings)),
            "draw": range(settings.draws),
            "depth": settings.depth,
            "layer": range(1, settings.spectrum[1] + 1),
            "trace": ("square of the mean", "mean of the square"),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Walk through networks of all profiles, and form the Jacobians of small square ones."""
    width, depth = static["spectrum"]
    kept = {name: static[name] for name in ("scheme", "profiles", "dtype")}
    gains = jax.vmap(lambda k: walk(k, width=width, **kept))(jax.random.split(key, static["draws"]))
    logs = jnp.moveaxis(gains.logs[:, jnp.array(static["depth"]) - 1], (3, 2), (0, 1))
    traces = jnp.mean(gains.traces[:, :depth], 0)
    return {"log_gain": logs[:2], "log_forward": logs[2], "traces": traces}  # (what, profile, draw, depth)


def profiles(settings: Settings) -> dict[str, tuple[int, ...]]:
    """Widths (n_0, ..., n_L) of every profile: equal ones, and random ones of equal numbers of weights."""
    found = {f"width {n}": (n,) * (settings.depth[-1] + 1) for n in settings.width}
    size = settings.inputs, settings.weights, max(settings.width)
    rng = np.random.default_rng(0)
    for depth in settings.profile_depth:
        found[f"{depth} layers, equal"] = random_profile(None, depth, *size)
        for i in range(settings.shapes):
            found[f"{depth} layers, {i + 1}"] = random_profile(rng, depth, *size)
    return found
