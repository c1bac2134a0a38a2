"""Square kernels of every initialization scheme, also the popular wrong recipe for orthogonal ones."""

from typing import Any

import jax
import jax.numpy as jnp

from signalprop.bench.measure.names import UNSIGNED
from signalprop.models.initializers import Scheme
from signalprop.models.initializers import scheme as find_scheme

KURTOSIS = {
    "normal_001": 3.0, "gaussian": 3.0, "he_normal": 2.3655, "he_leaky": 2.3655, "glorot_normal": 2.3655,
    "lecun_normal": 2.3655, "uniform_standard": 1.8, "glorot_uniform": 1.8, "he_uniform": 1.8,
}  # fmt: skip
"""E W^4 / (E W^2)^2 of the schemes with independent entries."""


def _unsigned(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """Q of a Gaussian matrix as the library returns it: orthogonal, but not Haar."""
    return jnp.linalg.qr(jax.random.normal(key, shape, dtype))[0]


def scheme(name: str) -> Scheme:
    """A scheme of the suite, a user's own, or the wrong recipe."""
    if name != UNSIGNED:
        return find_scheme(name)
    return Scheme(UNSIGNED, _unsigned, lambda fan_in, fan_out: 1.0)


def draw_kernels(name: str, keys: jax.Array, width: int, dtype: str) -> jax.Array:
    """One matrix W, (out, in), for every key; sigma_w = 1 where the scheme leaves it free."""
    drawn: jax.Array = jax.vmap(lambda key: scheme(name).draw(key, width, width, dtype=dtype).T)(keys)
    return drawn


def corners(matrices: jax.Array, size: int) -> jax.Array:
    """The first rows and columns at variance 1/size, filled up with zeros: further eigenvalues 0."""
    width = matrices.shape[-1]
    kept = jnp.arange(width) < size
    kept_matrices: jax.Array = matrices * (kept & kept[:, None]) * (width / size) ** 0.5
    return kept_matrices


def count_real(values: jax.Array) -> jax.Array:
    """Eigenvalues whose imaginary part is rounding; pairs this close to the axis are rarer than 1e-4."""
    radius = jnp.max(jnp.abs(values), -1, keepdims=True)
    return jnp.sum(jnp.abs(values.imag) < 1e3 * jnp.finfo(values.dtype).eps * radius, -1)
