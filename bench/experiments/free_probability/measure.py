"""Networks of fixed length and isometric ones, and all singular values of each at every depth."""

from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.free_probability import Settings, isometry
from signalprop.bench.measure.spectra import prefix_spectra
from signalprop.models.activations import chosen

WEIGHTS = ("gaussian", "orthogonal")


def grid(settings: Settings) -> Grid:
    """One compilation per weight family; all networks share their draws and their program."""
    names, lengths = zip(*networks(settings).values(), strict=True)
    sigma_w, sigma_b, signal, _ = isometry.critical_networks(names, lengths)
    axis: dict[str, Any] = {"position": np.arange(len(names), dtype=float), "q": np.array(lengths)}
    axis |= {"sigma_w": sigma_w, "sigma_b": sigma_b, "signal": signal}
    constants = {k: asdict(settings)[k] for k in ("width", "depth", "dtype")}
    return Grid(
        static={"weights": WEIGHTS},
        traced={"network": axis},
        seeds=settings.seeds,
        constants=constants | {"names": names},
        coords={
            "network": list(networks(settings)),
            "depth": settings.depth,
            "index": range(1, settings.width + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Singular values of one network at every depth."""
    width, dtype = static["width"], static["dtype"]
    weight_key, input_key = jax.random.split(key)
    x = jax.random.normal(input_key, (width,), dtype)
    x = x * jnp.sqrt(width * point["signal"] / jnp.sum(x * x)).astype(dtype)
    phi = chosen(static["names"], point["position"].astype(int))
    sigma_w, sigma_b = (point[name].astype(dtype) for name in ("sigma_w", "sigma_b"))
    depth, family = static["depth"], static["weights"]
    found = prefix_spectra(weight_key, phi, family, sigma_w, sigma_b, width, depth, x, "fast")
    return {"log_singular_values": found}


def networks(settings: Settings) -> dict[str, tuple[str, float]]:
    """Activation and length of each network, by its label."""
    found = {name: (name, isometry.length(name)) for name in settings.activation}
    if settings.isometric:
        lengths = isometry.lengths(settings.isometric, settings.spread, settings.depth)
        for name, row in zip(settings.isometric, lengths, strict=True):
            usable = [(d, q) for d, q in zip(settings.depth, row, strict=False) if d > 1 and np.isfinite(q)]
            found |= {f"{name}, isometric to {depth}": (name, float(q)) for depth, q in usable}
    return found
