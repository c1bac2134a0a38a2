"""What a number format does to slopes, losses, updates and products of numbers: measured and predicted.

Measured inside one compiled program, as users run it. XLA may keep a 16-bit intermediate result in float32,
and folds constants by its own rules. So inputs stand behind a barrier, and results are judged by their bits
or pass through the carry of a scan, which rounds them; a test compares with operations dispatched one by one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array, lax

from signalprop.analysis import precision
from signalprop.analysis.thresholds import edges, first_dead
from signalprop.bench.measure.names import FORMATS

FACTORS = (0.25, 0.5, 0.9, 1.5)
WEIGHTS = tuple(1 + k / 8 for k in range(16))  # even in every format
RATES = (0.06, 0.15, 0.3, 0.45, 0.8, 1.2, 1.55, 1.7, 1.85, 1.94)  # lr h, none of them near a tie
MINIMUM, START, UPDATES = 1.5, 1.75, 2000
SLOPE_AT = tuple(float(z) for z in np.arange(-24, 40.5, 0.5))


@jax.custom_jvp
def _sigmoid_symmetric(z: Array) -> Array:
    return jax.nn.sigmoid(z)


@_sigmoid_symmetric.defjvp
def _both_sides(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    z = primals[0]
    return jax.nn.sigmoid(z), jax.nn.sigmoid(z) * jax.nn.sigmoid(-z) * tangents[0]


VARIANTS: dict[str, Callable[[Array], Array]] = {
    "sigmoid_symmetric": _sigmoid_symmetric,  # with the derivative S(z) S(-z), which loses no digits
    "maximum": lambda z: jnp.maximum(z, 0),
    "gelu_tanh": jax.nn.gelu,
    # cross entropies of two classes; the true logit leads by z
    "log_softmax_loss": lambda z: -jax.nn.log_softmax(jnp.stack([z, jnp.zeros_like(z)]))[0],
    "softplus_loss": lambda z: jax.nn.softplus(-z),
}


def slopes(functions: Sequence[Callable[[Array], Array]], dtype: str) -> dict[str, Array]:
    """Where functions end, by `analysis.thresholds.edges`, and the relative error of the sigmoid's slope.

    Args:
        functions: Elementwise functions.
        dtype: The format.

    Returns:
        ``slope_edge``, ``value_edge`` and ``number_edge`` (functions, 2), ``slope_error`` at ``SLOPE_AT``.
    """
    found = edges(functions, dtype)
    z = lax.optimization_barrier(jnp.asarray(SLOPE_AT, dtype))
    slope = lax.optimization_barrier(jax.vmap(jax.grad(jax.nn.sigmoid))(z)).astype(jnp.float64)
    exact = jax.nn.sigmoid(z.astype(jnp.float64)) * jax.nn.sigmoid(-z.astype(jnp.float64))
    return {
        "slope_edge": found.slope,
        "value_edge": found.value,
        "number_edge": found.defined,
        "slope_error": jnp.abs(slope - exact) / exact,
    }


def steps(dtype: str) -> dict[str, Array]:
    """The smallest step that moves a weight, and where gradient descent on a quadratic comes to rest.

    Args:
        dtype: The format.

    Returns:
        ``moving_step``: the smallest step that changes each of ``WEIGHTS``, towards zero. ``rest``: distance
        from the minimum, in gaps between numbers, after ``UPDATES`` steps at each of ``RATES``; with a minus
        sign where the weight changes sides with every step.
    """
    weights = lax.optimization_barrier(jnp.asarray(WEIGHTS, dtype))[:, None]
    code = jnp.dtype(f"uint{8 * weights.dtype.itemsize}")

    def idle(step: Array) -> Array:
        unchanged: Array = (weights - step).view(code) == weights.view(code)
        return unchanged

    rates, minimum = jnp.asarray(RATES, dtype), jnp.asarray(MINIMUM, dtype)

    def update(w: Array, _: Any) -> tuple[Array, Array]:
        return w - rates * (w - minimum), w - minimum

    start = lax.optimization_barrier(jnp.full(len(RATES), START, dtype))
    gaps = lax.scan(update, start, length=UPDATES)[1][-2:] / jnp.finfo(dtype).eps
    return {
        "moving_step": first_dead(idle, (len(WEIGHTS),), dtype),
        "rest": jnp.sign(gaps[0] * gaps[1]) * jnp.abs(gaps[1]),
    }


def products(dtype: str) -> dict[str, Array]:
    """Products of equal ``FACTORS``, rounded after each.

    Args:
        dtype: The format.

    Returns:
        ``product_end``: factors after which the product is 0 or infinite, NaN if it is neither.
        ``product_rest``: what it is in the end.
    """
    factors = lax.optimization_barrier(jnp.asarray(FACTORS, dtype))
    enough = int(1.1 * precision.rounded_once(max(r for r in FACTORS if r < 1), dtype, False))

    def multiply(state: tuple[Array, Array], count: Array) -> tuple[tuple[Array, Array], None]:
        product, ended_at = state
        product = product * factors
        ended = jnp.isinf(product) | (product == 0)
        return (product, jnp.where(jnp.isnan(ended_at) & ended, count, ended_at)), None

    start = jnp.ones_like(factors), jnp.full(len(FACTORS), jnp.nan)
    (product, ended_at), _ = lax.scan(multiply, start, jnp.arange(1, enough, dtype=start[1].dtype))
    return {"product_end": ended_at, "product_rest": product}


def predictions(names: Sequence[str], flushes: dict[str, bool]) -> xr.Dataset:
    """What `analysis.precision` predicts for all of these.

    Args:
        names: Names of the functions.
        flushes: Whether the device flushes subnormal numbers, by format.

    Returns:
        ``flushes`` (format) and ``<measured>_predicted``; NaN for functions without an analysis and products
        without an end.
    """
    rule = precision.measured_expm1_slope_from_output()
    edges_of = [precision.zero_gradient_edges(f, flush, rule) for f, flush in flushes.items()]
    rates, factors = (np.stack([_kept(x, f) for f in FORMATS]) for x in (RATES, FACTORS))
    deaths = [precision.death_depth(r, f, flushes[f]) for r, f in zip(factors, FORMATS, strict=True)]
    overflows = [precision.overflow_depth(r, f) for r, f in zip(factors, FORMATS, strict=True)]
    ends = np.minimum([death.depth for death in deaths], overflows)
    known = {
        "slope_edge": ("activation", "side"),
        "moving_step": ("weight",),
        "rest": ("rate",),
        "product_end": ("factor",),
        "product_rest": ("factor",),
    }
    values = (
        [[table.get(name, (np.nan, np.nan)) for name in names] for table in edges_of],
        [precision.largest_idle_step(np.array(WEIGHTS), f) for f in FORMATS],
        np.sign(1 - rates) * precision.sticking_multiple(np.abs(1 - rates)),
        np.where(np.isinf(ends), np.nan, ends),
        [death.residue for death in deaths],
    )
    predicted = {
        f"{name}_predicted": (("format", *dims), np.asarray(value))
        for (name, dims), value in zip(known.items(), values, strict=True)
    }
    return xr.Dataset({"flushes": ("format", list(flushes.values())), **predicted})


def _kept(values: Sequence[float], dtype: str) -> np.ndarray:
    """Numbers as a format holds them."""
    return np.asarray(values, jnp.dtype(dtype)).astype(float)
