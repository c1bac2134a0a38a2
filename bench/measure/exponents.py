"""Lyapunov exponents of many networks at once: predictions, what follows from spectra, and verdicts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from signalprop.analysis import lyapunov

BATCH = 16  # points of one program


def places(count: int) -> np.ndarray:
    """Places x = (i - 1/2) / N of the exponents of N units."""
    return (np.arange(count) + 0.5) / count


def in_batches(program: Callable[..., jax.Array], *arrays: np.ndarray) -> np.ndarray:
    """Results of a program for one fixed number of points, so that it is compiled once for any number."""
    size, found = len(arrays[0]), []
    for i in range(0, size, BATCH):
        chosen = np.minimum(np.arange(i, i + BATCH), size - 1)
        found.append(np.asarray(program(*(jnp.asarray(values[chosen]) for values in arrays))))
    return np.concatenate(found)[:size]


def dimension(exponents: ArrayLike) -> np.ndarray:
    """Kaplan-Yorke dimension per unit of every row; exponents that are NaN count as the smallest."""
    rows = np.nan_to_num(np.asarray(exponents, np.float64), nan=-np.inf, neginf=-np.inf)
    count = rows.shape[-1]
    found = in_batches(_dimension, rows.reshape(-1, count)).reshape(rows.shape[:-1])
    return np.asarray(found / count)


_dimension = jax.jit(jax.vmap(lyapunov.kaplan_yorke))


def entropy(exponents: ArrayLike) -> np.ndarray:
    """Sum of the positive exponents of every row, per unit: the bound of the entropy rate, in nats."""
    return np.asarray(np.mean(np.fmax(np.asarray(exponents), 0), -1))
