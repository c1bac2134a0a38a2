"""Eigenvalues and singular values of kernels, of their products, and of Gaussian matrices by size."""

import jax
import jax.numpy as jnp

from signalprop.analysis.eigenvalues import eigenvalues
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.initialization_eigenvalues import Settings
from signalprop.bench.measure.kernels import corners, count_real, draw_kernels

INSIDE = (0.25, 0.5, 0.75)  # radii, over sigma_w, of the discs in which eigenvalues are counted


def grid(settings: Settings) -> Grid:
    """One program: all schemes of one seed at once."""
    return Grid(
        static={"width": (settings.width,)},
        traced={},
        seeds=settings.seeds,
        constants={k: getattr(settings, k) for k in ("scheme", "size", "draws", "size_draws", "dtype")},
        coords={
            "scheme": settings.scheme,
            "draw": range(settings.draws),
            "size_draw": range(settings.size_draws),
            "index": range(1, settings.width + 1),
            "size": settings.size,
            "inside": INSIDE,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """All spectra of one seed; the Gaussian matrices of all sizes are corners of the largest."""
    width, draws, dtype = static["width"], static["draws"], static["dtype"]
    keys = jax.random.split(key, draws)
    kernels = jnp.stack([draw_kernels(name, keys, width, dtype) for name in static["scheme"]])
    product = kernels[:, 0]
    for i in range(1, draws):
        product = kernels[:, i] @ product
    keys = jax.random.split(jax.random.fold_in(key, 1), static["size_draws"])
    gaussian = draw_kernels("gaussian", keys, width, dtype)
    cornered = jnp.stack([corners(gaussian, size) for size in static["size"]])
    square = (-1, width, width)
    everything = jnp.concatenate([m.reshape(square) for m in (kernels, product, cornered)])
    found = jax.vmap(eigenvalues)(everything)
    count = len(static["scheme"]) * draws
    own, of_product, of_corners = jnp.split(found, (count, count + len(static["scheme"])))
    singular = jnp.linalg.svd(everything[: count + len(static["scheme"])], compute_uv=False)
    by_draw, by_size = (-1, draws, width), (-1, len(keys))
    padding = jnp.array([width - size for size in static["size"]], dtype)
    return {
        "real": own.real.reshape(by_draw),
        "imaginary": own.imag.reshape(by_draw),
        "singular": singular[:count].reshape(by_draw),
        "num_real": count_real(own).reshape(by_draw[:2]).astype(dtype),
        "product_radius": jnp.max(jnp.abs(of_product), -1),
        "product_largest": singular[count:, 0],
        "size_radius": jnp.max(jnp.abs(of_corners), -1).reshape(by_size),
        "size_real": count_real(of_corners).reshape(by_size) - padding[:, None],
    }
