"""Kinds of matrices that share a spectral radius and little else, and what their powers do.

All are real and of even size. With the same spectral radius a norm may decay from the first step on, or first
grow by many decades; the powers of the nilpotent kind, of radius 0, are exactly zero from the n-th on.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import NDArray
from scipy import special

from signalprop.analysis.jacobian import log_norms
from signalprop.analysis.recurrent import (
    henrici_departure,
    kreiss_constant,
    log_power_norms,
    numerical_radius,
    spectral_radius,
)
from signalprop.models.initializers import SCHEMES

COUPLING = 5.0  # of the 2 x 2 Jordan block: at radius 0.9 it peaks at 19.4 in step 9
GAPS = np.array([1.0, 0.7, 0.3])  # eigenvalues of the normal matrix over the radius; the others are smaller
SECOND = float(GAPS[1])
FORMATS = ("float32", "float64")  # in which a vector is followed that misses the leading eigenvector

Draw = Callable[[PRNGKeyArray, int, float, DTypeLike], Array]
LogNorms = Callable[[int, float, NDArray[np.int64]], NDArray[np.float64]]


class Kind(NamedTuple):
    """How a matrix of given size and radius is drawn, and log |A^k| at given k where it is known."""

    draw: Draw
    log_norms: LogNorms | None = None


def normal_eigenvalues(n: int, radius: float) -> np.ndarray:
    """Eigenvalues of the normal matrix, all real: the radius, 0.7 of it, 0.3 of it, and a tenth of it."""
    return radius * np.append(GAPS, np.full(max(n - 3, 0), 0.1))[:n]


def jordan_log_norms(
    size: int, eigenvalue: float, coupling: float, steps: NDArray[np.int64]
) -> NDArray[np.float64]:
    r"""Log of the largest singular value of powers of a Jordan block.

    .. math:: (A^k)_{i, i+j} = \binom{k}{j} \lambda^{k-j} c^j

    which grows as k^(m-1) lambda^k for a block of size m.

    Args:
        size: Size m of the block.
        eigenvalue: The entry on the diagonal, above 0.
        coupling: The entry beside it.
        steps: Powers k.
    """
    j = np.arange(size)
    bands = special.binom(steps[:, None], j) * (coupling / eigenvalue) ** j
    offset = j - j[:, None]
    powers = np.where(offset >= 0, bands[:, np.maximum(offset, 0)], 0.0)
    return np.asarray(np.log(np.linalg.norm(powers, 2, axis=(1, 2))) + steps * np.log(eigenvalue))


def _rotation(key: PRNGKeyArray, n: int, radius: float, dtype: DTypeLike) -> Array:
    cos, sin = radius * np.cos(1.0), radius * np.sin(1.0)
    return jnp.asarray(np.kron(np.eye(n // 2), [[cos, -sin], [sin, cos]]), dtype)


def _normal(key: PRNGKeyArray, n: int, radius: float, dtype: DTypeLike) -> Array:
    basis = SCHEMES["orthogonal"].draw(key, n, n, dtype=dtype)
    return (basis * jnp.asarray(normal_eigenvalues(n, radius), dtype)) @ basis.T


def _gaussian(key: PRNGKeyArray, n: int, radius: float, dtype: DTypeLike) -> Array:
    drawn = SCHEMES["gaussian"].draw(key, n, n, dtype=dtype)
    return drawn * (radius / spectral_radius(drawn))


def _triangular(key: PRNGKeyArray, n: int, radius: float, dtype: DTypeLike) -> Array:
    drawn = jnp.triu(jax.random.normal(key, (n, n), dtype))
    return drawn * (radius / jnp.max(jnp.abs(jnp.diag(drawn))))


def _nilpotent(key: PRNGKeyArray, n: int, radius: float, dtype: DTypeLike) -> Array:
    return jnp.triu(jax.random.normal(key, (n, n), dtype), 1)


def _jordan_pair(key: PRNGKeyArray, n: int, radius: float, dtype: DTypeLike) -> Array:
    return jnp.asarray(np.kron(np.eye(n // 2), [[radius, COUPLING], [0.0, radius]]), dtype)


def _jordan_block(key: PRNGKeyArray, n: int, radius: float, dtype: DTypeLike) -> Array:
    return jnp.asarray(radius * np.eye(n) + np.eye(n, k=1), dtype)


def _decay(n: int, radius: float, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(steps * np.log(radius))


KINDS = {
    "rotation": Kind(_rotation, _decay),
    "normal": Kind(_normal, _decay),
    "gaussian": Kind(_gaussian),
    "triangular": Kind(_triangular),
    "jordan_pair": Kind(_jordan_pair, lambda n, radius, k: jordan_log_norms(2, radius, COUPLING, k)),
    "jordan_block": Kind(_jordan_block, lambda n, radius, k: jordan_log_norms(n, radius, 1.0, k)),
    "nilpotent": Kind(_nilpotent),
}


def follow(
    key: PRNGKeyArray, kinds: tuple[str, ...], n: int, radius: float, count: int, dtype: DTypeLike
) -> dict[str, Float[Array, "..."]]:
    """Powers of one matrix of every kind, and the numbers that bound them.

    Args:
        key: Random key.
        kinds: Names in ``KINDS``.
        n: Size, even.
        radius: Spectral radius.
        count: Largest power.
        dtype: Type of the matrices.

    Returns:
        ``log_norm`` (kinds, count): log |A^k|; ``log_vector`` likewise: log |A^k x| / |x| for an x of ones;
        ``log_blind`` (formats, count): that of the normal kind and the sum of all its eigenvectors but the
        leading one; ``numerical_radius``, ``kreiss`` and ``henrici`` (kinds).
    """
    drawn = jnp.stack([KINDS[kind].draw(key, n, radius, dtype) for kind in kinds])
    normal, x = KINDS["normal"].draw(key, n, radius, dtype), jnp.ones(n, dtype)
    values, vectors = jnp.linalg.eigh(normal)
    blind = vectors @ (jnp.abs(values) < jnp.max(jnp.abs(values))).astype(dtype)
    return {
        "log_norm": jax.vmap(lambda a: log_power_norms(a, count))(drawn)[:, 1:],
        "log_vector": jax.vmap(lambda a: _vector_logs(a, x, count))(drawn),
        "log_blind": jnp.stack([_vector_logs(normal.astype(f), blind, count).astype(dtype) for f in FORMATS]),
        "numerical_radius": jax.vmap(numerical_radius)(drawn),
        "kreiss": jax.vmap(kreiss_constant)(drawn),
        "henrici": jax.vmap(henrici_departure)(drawn),
    }


def _vector_logs(matrix: Array, x: Array, count: int) -> Array:
    """Logarithms of |A^k x| / |x| for k = 1 .. count, in the type of the matrix."""
    unit = (x / jnp.linalg.norm(x)).astype(matrix.dtype)
    return log_norms(jnp.broadcast_to(matrix, (count, *matrix.shape)), unit)
