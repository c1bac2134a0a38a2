"""Many long products in the log domain and in number formats, and all singular values of one of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from signalprop.analysis import products
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.matrix_product import Settings
from signalprop.models.mlp import draw_layer

FORMATS = ("float16", "bfloat16", "float32")
LN10 = float(np.log(10))


def grid(settings: Settings) -> Grid:
    """One compilation per width; all scales share their draws."""
    return Grid(
        static={"width": settings.width},
        traced={"sigma_w": settings.sigma_w},
        seeds=settings.seeds,
        constants={k: getattr(settings, k) for k in ("depth", "draws", "spectrum_width", "dtype")},
        coords={
            "draw": range(num_draws(min(settings.width), settings.draws)),
            "depth": settings.depth,
            "format": FORMATS,
            "index": range(1, num_exponents(settings) + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow several products of one width and scale through all depths; all singular values of the first."""
    width, depth, dtype = static["width"], static["depth"], static["dtype"]
    keys = jax.random.split(key, num_draws(width, static["draws"]))
    with_spectrum = width <= static["spectrum_width"]

    def multiply(state: Any, number: jax.Array) -> Any:
        columns, spectrum = state
        factors = jax.vmap(lambda k: draw_layer(k, number, width, width, dtype=dtype).kernel[...].T)(keys)
        columns, log_sizes = jax.vmap(append, (0, 0, None))(columns, point["sigma_w"] * factors, number)
        if with_spectrum:  # at sigma_w = 1, shared by all scales
            spectrum = products.append(spectrum, factors[0])
        return (columns, spectrum), log_sizes

    columns = jax.tree.map(lambda v: jnp.broadcast_to(v, (len(keys), *v.shape)), first_column(width, dtype))
    state = columns, products.start(width, dtype)
    (columns, spectrum), log_sizes = jax.lax.scan(multiply, state, jnp.arange(1, depth[-1] + 1))
    recorded = log_sizes[jnp.array(depth) - 1] / LN10
    exponents = jnp.full(1, jnp.nan, dtype)
    if with_spectrum:
        exponents = products.finish(spectrum) / depth[-1] + jnp.log(point["sigma_w"])
    return {
        "decades": recorded[..., 0].T,
        "entry_decades": recorded[..., 1].T,
        "lost_at": columns.lost_at,
        "exponents": exponents,
    }


def num_exponents(settings: Settings) -> int:
    """Length of the longest measured spectrum; 1 if none is measured."""
    return max([1, *(n for n in settings.width if n <= settings.spectrum_width)])


def num_draws(width: int, draws: int) -> int:
    """Products per seed: as many as hold no more numbers than ``draws`` 4 x 4 ones, at least one."""
    return max(1, draws * 16 // max(width, 4) ** 2)


class Column(NamedTuple):
    """First column of a product: in the log domain, in every format, and where each format lost it."""

    scaled: products.Scaled
    kept: list[jax.Array]
    lost_at: jax.Array


def first_column(width: int, dtype: DTypeLike) -> Column:
    """The column of the empty product."""
    unit = jnp.eye(width, 1, dtype=dtype)
    kept = [unit.astype(f) for f in FORMATS]
    return Column(products.Scaled(unit, jnp.zeros((), dtype)), kept, jnp.full(len(FORMATS), jnp.nan, dtype))


def append(column: Column, factor: jax.Array, number: jax.Array) -> tuple[Column, jax.Array]:
    """Multiply a factor onto a column; also the logarithms of the column's norm and of its first entry."""
    scaled = products.append_scaled(column.scaled, factor)
    kept = [(factor @ v.astype(factor.dtype)).astype(v.dtype) for v in column.kept]
    alive = jnp.stack([jnp.all(jnp.isfinite(v)) & jnp.any(v != 0) for v in kept])
    lost_at = jnp.where(jnp.isnan(column.lost_at) & ~alive, number, column.lost_at)
    sizes = jnp.stack([jnp.linalg.norm(scaled.mantissa), jnp.abs(scaled.mantissa[0, 0])])
    return Column(scaled, kept, lost_at), scaled.log_scale + jnp.log(sizes)
