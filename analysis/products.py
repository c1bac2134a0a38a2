"""Singular values of long matrix products, over any number of decades.

The product ``A_L ... A_1`` is never formed. The exact form keeps it stratified,

    A_l ... A_1 = U diag(exp(d)) T,

with orthonormal columns in ``U``, rows of unit length in ``T`` and all scales in the logarithms ``d``
(``start``, ``append``), and ends with one-sided Jacobi rotations of the rows ``exp(d_i) T_i``, each carried
as a unit vector and the logarithm of its length (``finish``). Neither step can over- or underflow, and every
singular value is found to full relative accuracy: in float64 to 1e-9 absolute in its logarithm over hundreds
of decades, in float32 to about 1e-4.

The fast form carries one matrix of unit scale and the logarithm of its scale (``start_scaled``,
``append_scaled`` or ``prepend_scaled``, ``finish_scaled``). It resolves only the values above eps times the
largest.

All functions are written for one product, run inside ``jax.lax.scan`` and under ``jax.vmap``; ``finish`` and
``finish_scaled`` may be called at any depth, so one pass gives the spectra of all prefixes.

References:
    Z. Drmac, K. Veselic (2008), New fast and accurate Jacobi SVD algorithm.
    Z. Bai, C. Lee, R. Li, S. Xu (2011), Stable solutions of linear systems involving long chain of matrix
    multiplications (the stratified product).
    N. Higham, A. Cox (1998), Stability of Householder QR factorization for weighted least squares problems.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

MAX_SWEEPS = 40
PRECONDITIONING_PASSES = 2

Factors = Float[Array, "depth n n"] | Sequence[Float[Array, "_ _"]]
State = TypeVar("State")
Pairs = tuple[Array, Array, Array, Array, Array]  # x, y, log_x, log_y, largest change
Sweep = tuple[Array, Array, Array, Array, Array]  # rows, logs, logs before, largest change, sweeps


class Stratified(NamedTuple):
    """A product ``basis diag(exp(log_scales)) rows`` of which the first ``rank`` terms are not zero."""

    basis: Float[Array, "out k"]
    log_scales: Float[Array, " k"]
    rows: Float[Array, "k in"]
    rank: Int[Array, ""]


class Scaled(NamedTuple):
    """A product ``exp(log_scale) mantissa``, ``mantissa`` being of the scale of one factor."""

    mantissa: Float[Array, "out in"]
    log_scale: Float[Array, ""]


@jax.jit
def log_singular_values(
    factors: Factors,
) -> Float[Array, " k"]:
    """Natural logarithms of all singular values of ``factors[-1] @ ... @ factors[0]``.

    Accurate to 1e-9 absolute in float64 (about 1e-4 in float32) whatever the span, as long as the values are
    well determined by the entries of the factors. Cancelling products such as ``A^50 A^-50`` are not.

    Args:
        factors: Square factors as one array, or a sequence of rectangular ones (fan_out, fan_in);
            ``factors[0]`` acts first. A unit that is exactly dead is a row of zeros. Within one factor,
            entries too small to be divided by the largest without underflow count as zeros.

    Returns:
        The logarithms in descending order, as many as the smallest dimension met; -inf beyond the structural
        rank (the smallest number of non-zero rows or columns of a factor), never through underflow; of rows
        that depend on each other, rounding or -inf. All NaN if a factor is not finite or the rotations
        did not converge.

    Raises:
        ValueError: If there is no factor, or neighbouring shapes do not fit.
    """
    _check_chain(factors)
    return finish(_chain(append, start(factors[0].shape[1], factors[0].dtype), factors))


def start(n: int, dtype: DTypeLike) -> Stratified:
    """The empty product on ``n`` units, to which factors are appended."""
    identity = jnp.eye(n, dtype=dtype)
    return Stratified(identity, jnp.zeros(n, dtype), identity, jnp.asarray(n))


def append(
    state: Stratified, factor: Float[Array, "new out"], slopes: Float[Array, " new"] | None = None
) -> Stratified:
    """The product ``diag(slopes) @ factor @ product``.

    One QR decomposition of ``diag(slopes) @ factor @ basis``, columns sorted by their length in the product
    and rows by their size in the factor, which keeps small rows accurate. Costs about 5 n^3 operations.

    Args:
        state: The product so far.
        factor: The matrix that acts next, (fan_out, fan_in).
        slopes: Scales of its rows; all 1 if None. Where they are given apart, networks under ``vmap`` may
            share the factor.

    Returns:
        The longer product; it has ``min(fan_out, k)`` terms.
    """
    size = jnp.max(jnp.abs(factor))
    factor = factor / _nonzero(size)
    slopes = jnp.ones(len(factor), factor.dtype) if slopes is None else slopes
    steepest = jnp.max(jnp.abs(slopes))
    slopes = slopes / _nonzero(steepest)
    heights = jnp.max(jnp.abs(factor), axis=1) * jnp.abs(slopes)
    order = jnp.argsort(-heights)
    live_columns = jnp.sum(jnp.any(factor != 0, axis=0))
    rank = jnp.minimum(state.rank, jnp.minimum(jnp.sum(heights != 0), live_columns))

    columns = ((factor @ state.basis) * slopes[:, None])[order].T
    largest = size * steepest
    basis, coupling, log_scales, order_in = _stratify(columns, state.log_scales + jnp.log(largest))
    alive = jnp.arange(log_scales.size) < rank
    rows, log_lengths = _unit_rows(coupling @ state.rows[order_in])
    log_scales = jnp.where(alive, log_scales + log_lengths, -jnp.inf)
    basis = jnp.zeros_like(basis).at[order].set(basis)
    return Stratified(basis, log_scales, jnp.where(alive[:, None], rows, 0), rank)


def finish(state: Stratified) -> Float[Array, " k"]:
    """Natural logarithms of the singular values of a product, descending; see `log_singular_values`."""
    rows, log_lengths = state.rows, state.log_scales
    for _ in range(PRECONDITIONING_PASSES):
        _, coupling, log_lengths, _ = _stratify(rows, log_lengths)
        rows, correction = _unit_rows(coupling)
        log_lengths = log_lengths + correction
    log_lengths, converged = jax.lax.platform_dependent(rows, log_lengths, cpu=_one_by_one, default=_jacobi)
    return jnp.where(converged, log_lengths, jnp.nan)


def start_scaled(n: int, dtype: DTypeLike) -> Scaled:
    """The empty product on ``n`` units, to which factors are appended."""
    return Scaled(jnp.eye(n, dtype=dtype), jnp.zeros((), dtype))


def append_scaled(state: Scaled, factor: Float[Array, "new out"]) -> Scaled:
    """The product ``factor @ product``, (fan_out, fan_in) being the shape of ``factor``.

    The product so far is brought to unit scale by way of the factor, which saves a pass over memory where
    the factor is computed in the same program.
    """
    largest = _nonzero(jnp.max(jnp.abs(state.mantissa)))
    return Scaled((factor / largest) @ state.mantissa, state.log_scale + jnp.log(largest))


def prepend_scaled(state: Scaled, kernel: Float[Array, "in new"], slopes: Float[Array, " new"]) -> Scaled:
    """The product ``product @ kernel @ diag(slopes)``: the transposed Jacobian, from Flax kernels (in, out).

    It has the singular values of the Jacobian and costs less than `append_scaled`: the matrices lie in
    memory in the order in which they are read, and networks under ``vmap`` may share the kernel.
    """
    largest = _nonzero(jnp.max(jnp.abs(state.mantissa)))
    return Scaled((state.mantissa @ kernel) * (slopes / largest), state.log_scale + jnp.log(largest))


def finish_scaled(state: Scaled) -> Float[Array, " k"]:
    """Natural logarithms of the singular values of a scaled product, descending, where they are resolved.

    The relative error of a value is about eps times its ratio to the largest. Values below eps times the
    largest, exact zeros among them, are NaN: unresolved. `log_singular_values` resolves them. All are -inf
    if the mantissa is 0.
    """
    values = jnp.linalg.svd(state.mantissa, compute_uv=False)
    resolved = values >= np.finfo(values.dtype).eps * values[0]
    return jnp.where(resolved, state.log_scale + jnp.log(values), jnp.nan)


@jax.jit
def log_singular_values_scaled(
    factors: Factors,
) -> Float[Array, " k"]:
    """The fast form of `log_singular_values`: one SVD of `scaled_product`; NaN where it resolves nothing."""
    _check_chain(factors)
    return finish_scaled(_chain(append_scaled, start_scaled(factors[0].shape[1], factors[0].dtype), factors))


@jax.jit
def scaled_product(factors: Factors) -> Scaled:
    """``factors[-1] @ ... @ factors[0]`` as (mantissa, log scale), which neither over- nor underflows.

    Entries below eps times the largest carry no information: they are what rounding left of them.

    Args:
        factors: Square factors as one array, or a sequence of rectangular ones (fan_out, fan_in);
            ``factors[0]`` acts first.

    Returns:
        The product in the dtype of the factors; the largest entry of its mantissa is 1, or all are 0.

    Raises:
        ValueError: If there is no factor, or neighbouring shapes do not fit.
    """
    _check_chain(factors)
    product = _chain(append_scaled, start_scaled(factors[0].shape[1], factors[0].dtype), factors)
    largest = _nonzero(jnp.max(jnp.abs(product.mantissa)))
    return Scaled(product.mantissa / largest, product.log_scale + jnp.log(largest))


def _chain(append_one: Callable[[State, Array], State], state: State, factors: Factors) -> State:
    if isinstance(factors, Sequence):
        return reduce(append_one, factors, state)
    return jax.lax.scan(lambda s, factor: (append_one(s, factor), None), state, factors)[0]


def _check_chain(factors: Factors) -> None:
    shapes = [factor.shape for factor in factors]
    if not shapes:
        raise ValueError("factors is empty: give at least one matrix")
    for before, after in pairwise(shapes):
        if after[1] != before[0]:
            raise ValueError(f"factors do not chain: {before} is followed by {after}; factors[0] acts first")


def _stratify(columns: Array, log_scales: Array) -> tuple[Array, Array, Array, Array]:
    """QR of the matrix with ``exp(log_scales_j) columns_j`` as columns, sorted by length.

    Returns Q, the triangle with its rows divided by ``exp(logs)``, ``logs``, and the order of the columns.
    """
    unit, log_lengths = _unit_rows(columns)
    log_lengths = log_lengths + log_scales
    order = jnp.argsort(-log_lengths)
    log_lengths = log_lengths[order]
    q, r = jnp.linalg.qr(unit[order].T)
    logs = log_lengths[: r.shape[0]]
    fall = jnp.where(logs[:, None] == -jnp.inf, 0, jnp.exp(jnp.minimum(log_lengths - logs[:, None], 0)))
    return q, jnp.triu(r * fall), logs, order


def _jacobi(rows: Array, logs: Array) -> tuple[Array, Array]:
    """Rotate the rows ``exp(logs_i) rows_i`` until they are orthogonal; their logarithmic lengths, converged.

    One-sided Jacobi on (unit vector, logarithm of length) pairs. A sweep meets every pair once, in rounds of
    n/2 disjoint pairs (round robin), and ends the iteration if it changed no logarithm by more than the
    tolerance. Convergence is quadratic, so what remains is far below it, unless it is rounding: cosines of
    rows of equal length are never smaller than the error of their sums.

    A row that loses all its digits in one sweep lies in the span of the longer ones: it counts as zero. What
    is left of it is rounding, and would lose all its digits again in every sweep.
    """
    n = len(rows)
    half = (n + 1) // 2
    eps = float(np.finfo(rows.dtype).eps)
    tolerance, all_digits = max(1e-3 * eps**0.5, 4 * eps * rows.shape[1] ** 0.5), float(np.log(n * eps))
    if n % 2:
        rows = jnp.pad(rows, ((0, 1), (0, 0)))
        logs = jnp.pad(logs, (0, 1), constant_values=-jnp.inf)

    def unfinished(state: Sweep) -> Array:
        *_, change, sweeps = state
        return jnp.logical_and(change > tolerance, sweeps < MAX_SWEEPS)

    def sweep(state: Sweep) -> Sweep:
        rows, logs, before, _, sweeps = state
        rows, corrections = _unit_rows(rows)
        logs = logs + corrections
        lost = logs < before + all_digits
        rows, logs = jnp.where(lost[:, None], 0, rows), jnp.where(lost, -jnp.inf, logs)
        pairs = rows[:half], rows[half:], logs[:half], logs[half:], jnp.zeros((), rows.dtype)
        x, y, log_x, log_y, change = jax.lax.fori_loop(0, 2 * half - 1, _round, pairs)
        return jnp.concatenate([x, y]), jnp.concatenate([log_x, log_y]), logs, change, sweeps + 1

    state = rows, logs, jnp.full_like(logs, -jnp.inf), jnp.asarray(jnp.inf, rows.dtype), jnp.asarray(0)
    rows, logs, _, change, _ = jax.lax.while_loop(unfinished, sweep, state)
    _, corrections = _unit_rows(rows)
    return jax.lax.top_k(logs + corrections, n)[0], change <= tolerance


# On a CPU one matrix at a time stays in cache: a batch of six of width 128 is twice as fast.
_one_by_one = jax.custom_batching.sequential_vmap(_jacobi)


def _round(_: int, state: Pairs) -> Pairs:
    """Make the pairs (x_i, y_i) orthogonal and move every vector to its next partner.

    With cosine c and length ratio rho <= 1, ``tau = tan(angle) / rho = 2c / (k + sqrt(k^2 + 4 c^2 rho^2))``,
    ``k = 1 - rho^2``, stays finite as rho goes to 0: the longer vector takes up ``tau rho^2`` of the shorter,
    which loses ``tau`` of the longer.
    """
    x, y, log_x, log_y, change = state
    c = jnp.sum(x * y, axis=1)
    square = jnp.exp(-2 * jnp.where(log_x == log_y, 0, jnp.abs(log_x - log_y)))
    k = 1 - square
    divisor = k + jnp.sqrt(k * k + 4 * c * c * square)
    tau = jnp.where(c == 0, 0, 2 * c / jnp.where(divisor == 0, 1, divisor))
    change = jnp.maximum(change, jnp.max(jnp.abs(tau * c)))
    x_is_longer = log_x >= log_y
    from_y = jnp.where(x_is_longer, tau * square, -tau)
    from_x = jnp.where(x_is_longer, -tau, tau * square)
    cosine = 1 / jnp.sqrt(1 + tau * tau * square)
    x, log_x = _combine(x, y, cosine, from_y, c, log_x)
    y, log_y = _combine(y, state[0], cosine, from_x, c, log_y)
    return *_next_partners(x, y), *_next_partners(log_x, log_y), change


def _combine(x: Array, y: Array, cosine: Array, share: Array, c: Array, log_x: Array) -> tuple[Array, Array]:
    """``cosine (x + share y)`` at about unit length, and the logarithm of its length.

    Where x and y are parallel to rounding, less is left than it says, until the next sweep measures it.
    """
    rounding = 4 * float(np.finfo(x.dtype).eps) * x.shape[1] ** 0.5
    length = cosine * jnp.sqrt(jnp.maximum(1 + share * (2 * c + share), rounding))
    scale = cosine / length
    return scale[:, None] * x + (scale * share)[:, None] * y, log_x + jnp.log(length)


def _next_partners(x: Array, y: Array) -> tuple[Array, Array]:
    """Round robin: x_0 stays, all others move on by one place around the table."""
    if len(x) == 1:
        return x, y
    return jnp.concatenate([x[:1], y[:1], x[1:-1]]), jnp.concatenate([y[1:], x[-1:]])


def _unit_rows(rows: Array) -> tuple[Array, Array]:
    """Rows divided by their lengths, and the logarithms of the lengths; a row of zeros stays, at -inf."""
    largest = jnp.max(jnp.abs(rows), axis=1)
    scaled = rows / _nonzero(largest)[:, None]
    length = jnp.sqrt(jnp.sum(scaled * scaled, axis=1))
    return scaled / _nonzero(length)[:, None], jnp.log(largest) + jnp.log(length)


def _nonzero(x: Array) -> Array:
    return jnp.where(x == 0, 1, x)
