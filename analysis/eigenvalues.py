"""Eigenvalues of a general square matrix on every platform: LAPACK on a CPU, a QR iteration in JAX elsewhere.

JAX's own routine for matrices that are not symmetric does not compile for every accelerator. The shifted QR
iteration does, and stays on the device; it is meant for many matrices under ``vmap``. On a CPU it takes some
30 times as long as LAPACK at 64 x 64.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

STEPS = 30  # per eigenvalue; two to three are usual
EXCEPTIONAL = 10  # every so many steps an unusual shift breaks a cycle


def eigenvalues(matrix: Float[Array, "n n"]) -> Complex[Array, " n"]:
    """Eigenvalues by the routine of the platform that the program is compiled for.

    Backward stable: exact for a matrix that differs by some eps times its norm. So those of a real matrix
    come in conjugate pairs, and real ones have an imaginary part of 0, up to rounding only.

    Args:
        matrix: Square and real, 2 x 2 or larger.

    Returns:
        Eigenvalues in no particular order, multiple ones repeated, in the complex type of the matrix; NaN if
        the matrix is not finite.
    """
    matrix = jnp.array(matrix, matrix.dtype)  # of no weak type, which the routines would treat differently
    found: Array = jax.lax.platform_dependent(matrix, cpu=jnp.linalg.eigvals, default=qr_eigenvalues)
    return found


def routine(platform: str) -> str:
    """Name of the routine that `eigenvalues` takes on a platform (``cpu``, ``gpu``, ``tpu``), in words."""
    return "LAPACK" if platform == "cpu" else "QR iteration, on the device"


def qr_eigenvalues(matrix: Float[Array, "n n"]) -> Complex[Array, " n"]:
    """Eigenvalues by the QR algorithm: Hessenberg form, Wilkinson shifts, Givens rotations, deflation.

    Args:
        matrix: As for `eigenvalues`.

    Returns:
        As `eigenvalues`; NaN also if 30 steps per eigenvalue do not suffice, which was never seen.

    References:
        Golub & Van Loan, Matrix Computations, sections 7.4 and 7.5.
    """
    n, eps = len(matrix), jnp.finfo(matrix.dtype).eps

    def deflate(h: Array) -> Array:
        size = jnp.abs(jnp.diagonal(h))
        small = jnp.abs(jnp.diagonal(h, -1)) <= eps * (size[1:] + size[:-1])
        return h - jnp.diag(jnp.where(small, jnp.diagonal(h, -1), 0), -1)

    def unfinished(state: tuple[Array, Array]) -> Array:
        h, steps = state
        return (steps < STEPS * n) & jnp.any(jnp.diagonal(h, -1) != 0)

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        h, steps = state
        return deflate(_qr_step(h, steps)), steps + 1

    start = deflate(_hessenberg(matrix.astype(jnp.result_type(matrix, jnp.complex64)))), jnp.zeros((), int)
    h, _ = jax.lax.while_loop(unfinished, step, start)
    return jnp.where(jnp.any(jnp.diagonal(h, -1) != 0), jnp.nan, jnp.diagonal(h))


def _hessenberg(a: Array) -> Array:
    """Unitarily similar matrix without entries below the first subdiagonal."""
    index = jnp.arange(len(a))

    def reflect(k: Array, a: Array) -> Array:
        column = jnp.where(index > k, a[:, k], 0)
        pivot = column[k + 1]
        phase = jnp.where(pivot == 0, 1, pivot / jnp.where(pivot == 0, 1, jnp.abs(pivot)))
        v = column + jnp.where(index == k + 1, phase * jnp.linalg.norm(column), 0)
        length = jnp.linalg.norm(v)
        v = v / jnp.where(length == 0, 1, length)
        a = a - 2 * jnp.outer(v, v.conj() @ a)
        return a - 2 * jnp.outer(a @ v, v.conj())

    reduced: Array = jnp.triu(jax.lax.fori_loop(0, len(a) - 2, reflect, a), -1)
    return reduced


def _qr_step(h: Array, steps: Array) -> Array:
    """One shifted QR step on the last block that is not yet triangular."""
    index = jnp.arange(len(h))
    linked = jnp.append(jnp.diagonal(h, -1) != 0, False)  # row k to row k + 1
    last = jnp.max(jnp.where(linked, index + 1, 0))
    first = jnp.max(jnp.where(~linked & (index < last), index + 1, 0))
    a, b, c, d = h[last - 1, last - 1], h[last - 1, last], h[last, last - 1], h[last, last]
    half, root = (a - d) / 2, jnp.sqrt(((a - d) / 2) ** 2 + b * c)
    roots = jnp.stack([half + root, half - root])
    shift = d + roots[jnp.argmin(jnp.abs(roots))]  # Wilkinson: the eigenvalue of the corner next to d
    shift = jnp.where(steps % EXCEPTIONAL == EXCEPTIONAL - 1, d + jnp.abs(c), shift)
    block = jnp.where((index >= first) & (index <= last), shift, 0)
    active = (index >= first) & (index < last)

    def rotate_rows(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        h, rotations = state
        rows = jax.lax.dynamic_slice_in_dim(h, k, 2)
        x, y = rows[0, k], rows[1, k]
        length = jnp.sqrt(jnp.abs(x) ** 2 + jnp.abs(y) ** 2)
        turn = active[k] & (length > 0)
        length = jnp.where(turn, length, 1)
        c, s = jnp.where(turn, x / length, 1), jnp.where(turn, y / length, 0)
        rotation = jnp.array([[c.conj(), s.conj()], [-s, c]])
        h = jax.lax.dynamic_update_slice_in_dim(h, rotation @ rows, k, 0)
        return h, rotations.at[k].set(rotation)

    def rotate_columns(k: Array, h: Array) -> Array:
        columns = jax.lax.dynamic_slice_in_dim(h, k, 2, 1) @ rotations[k].conj().T
        return jax.lax.dynamic_update_slice_in_dim(h, columns, k, 1)

    start = h - jnp.diag(block), jnp.zeros((len(h) - 1, 2, 2), h.dtype)
    h, rotations = jax.lax.fori_loop(0, len(h) - 1, rotate_rows, start)
    return jnp.triu(jax.lax.fori_loop(0, len(h) - 1, rotate_columns, h) + jnp.diag(block), -1)
