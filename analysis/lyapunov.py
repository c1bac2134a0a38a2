r"""Lyapunov exponents of any recurrent cell on its whole carry, and the dimension and entropy they bound.

A small change of the carry grows over t steps as exp(lambda t); there are as many exponents
lambda_1 >= lambda_2 >= ... as the carry has entries. They are the growth rates of gradients through time: of
the Jacobian dh_T/dh_{T-k} and, from the other end, of dL/dh_{T-k}. Measured by the method of Benettin: k
directions are pushed forward by the derivative of the step and made orthonormal again by QR every few steps,

.. math:: Q_j R_j = J_{t_j} \cdots J_{t_{j-1}+1} Q_{j-1}, \qquad
    \lambda_i = \overline{\log |(R_j)_{ii}|} / \text{steps between decompositions}

The sum of logarithms is not the logarithm of a singular value of the whole product: the two differ by O(1) at
every length, which the division by the length makes vanish.

A direction costs one forward derivative of the step, so k exponents cost k of them: the Jacobian itself,
which costs n, is never formed. Under ``vmap`` over sequences that share their weights all directions of all
sequences meet in one matrix product.

Everything is differentiable, through the decompositions too, so an exponent can be a regulariser. What theory
predicts for wide random networks, the ``mean_field_`` functions, is in `signalprop.analysis.chaos`.

References:
    G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn (1980), Meccanica 15, 9.
    R. Engelken, F. Wolf, L. Abbott (arXiv 2006.02427), Lyapunov spectra of recurrent networks.
    R. Engelken (arXiv 2312.17306), gradient flossing.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from signalprop.analysis.chaos import mean_field_exponent as mean_field_exponent
from signalprop.analysis.chaos import mean_field_q as mean_field_q
from signalprop.analysis.chaos import mean_field_spectrum as mean_field_spectrum
from signalprop.analysis.trajectory import Flat, Step, flatten, num_steps

LEAST_BLOCKS = 8  # blocks that a standard error is taken from, at least
CHECK = 8  # decompositions between two looks at the standard error


class Spectrum(NamedTuple):
    """Exponents in nats per step with their errors.

    Attributes:
        exponents: In the order of the decomposition: descending, up to their errors.
        standard_error: Of the average over time, for this network and these inputs, from blocks that double
            in length until the error no longer grows (`block_error`); NaN for fewer than 8 decompositions.
        rounding: Estimate of the error from rounding: mean over the decompositions of eps |a_i| / |R_ii|, a
            ratio that tells how much of direction i the others hide; at most 1 each, per step. Where it is
            not small, decompose more often or use float64; see `precision_warning`.
        steps: Number of steps averaged over.
        lost_at: The first step whose state is not finite, 0 if there is none; the average ends before it.
    """

    exponents: Float[Array, " k"]
    standard_error: Float[Array, " k"]
    rounding: Float[Array, " k"]
    steps: Int[Array, ""]
    lost_at: Int[Array, ""]


class _Position(NamedTuple):
    """State, directions as rows of largest entry 1 with their log scales, first step of a lost state."""

    state: Array
    directions: Array
    log_scales: Array
    lost_at: Array


class _Progress(NamedTuple):
    """Decompositions done and what they found: log |R_ii|, |a_i| / |R_ii|, whether the state is finite."""

    done: Array
    position: _Position
    logs: Array
    losses: Array
    kept: Array


class _Plan(NamedTuple):
    """How inputs are cut: steps before the first interval, intervals not counted, intervals, their length."""

    before: int
    skipped: int
    intervals: int
    interval: int


def spectrum(
    step: Step,
    carry: Any,
    inputs: Any,
    num_exponents: int,
    *,
    transient: int | None = None,
    interval: int = 1,
) -> Spectrum:
    """The leading exponents along one sequence of inputs.

    The directions start at random and turn to the leading ones during the transient, in which the state too
    comes to its attractor; nothing of it is counted.

    Args:
        step: ``(carry, x) -> (carry, output)``.
        carry: The first carry: a pytree of floating arrays, without a batch axis.
        inputs: Inputs x_1..x_T along the first axis of every leaf; their values do not matter to a network
            without input, their number does.
        num_exponents: Number k of exponents, at most the number n of entries of the carry.
        transient: First steps that are not counted; a tenth of all if None. Rounded up so that what follows
            is a whole number of intervals.
        interval: Steps between two decompositions. The directions lose exp(interval (lambda_1 - lambda_k)) in
            precision in between: see `longest_interval`, and ``rounding`` in the result.

    Returns:
        Exponents and errors, in the dtype of the carry. Exponents are NaN if the state was lost before
        anything was counted, and -inf where a direction is mapped to exactly 0: of tanh as many as there are
        units whose slope 1 - tanh^2 rounds to 0, which is what back-propagation in this dtype computes.

    Raises:
        ValueError: If the carry is not a pytree of floating arrays, if there are more exponents than entries,
            or if no interval is left to count.
    """
    flat, plan = flatten(step, carry), _plan(inputs, transient, interval)
    position, cut = _enter(flat, _start(flat, num_exponents), inputs, plan)
    position, found = jax.lax.scan(lambda position, xs: _interval(flat, position, xs), position, cut)
    return _summary(found, plan, position.lost_at)


def converged_spectrum(
    step: Step,
    carry: Any,
    inputs: Any,
    num_exponents: int,
    *,
    tolerance: float,
    transient: int | None = None,
    interval: int = 1,
) -> Spectrum:
    """As `spectrum`, but ends as soon as all standard errors are at most ``tolerance`` nats per step.

    It also ends with the inputs, or where the state is lost: compare ``standard_error`` with what was asked.
    The error is looked at every 8 decompositions, from 32 on; that of exponents of -inf, which is NaN, does
    not count. Not differentiable in reverse.

    Args:
        step: ``(carry, x) -> (carry, output)``.
        carry: The first carry.
        inputs: As many inputs as may be used at most.
        num_exponents: Number of exponents.
        tolerance: Largest standard error, in nats per step, above 0.
        transient: First steps that are not counted; a tenth of all inputs if None.
        interval: Steps between two decompositions.

    Returns:
        As `spectrum`; ``steps`` says how many were needed.

    Raises:
        ValueError: As `spectrum`.
    """
    flat, plan = flatten(step, carry), _plan(inputs, transient, interval)
    position, cut = _enter(flat, _start(flat, num_exponents), inputs, plan)
    empty = jnp.zeros((plan.intervals, num_exponents), flat.state.dtype)

    def unfinished(state: _Progress) -> Array:
        done, count = state.done, state.done - plan.skipped
        error: Array = jax.lax.cond(
            (count >= 4 * CHECK) & (count % CHECK == 0),
            lambda: jnp.nanmax(block_error(state.logs[plan.skipped :] / interval, count)),
            lambda: jnp.asarray(jnp.inf, state.logs.dtype),
        )
        return (done < plan.intervals) & (state.position.lost_at == 0) & ~(error <= tolerance)

    def advance(state: _Progress) -> _Progress:
        xs = jax.tree.map(lambda leaf: leaf[state.done], cut)
        position, found = _interval(flat, state.position, xs)
        old = state.logs, state.losses, state.kept
        return _Progress(
            state.done + 1, position, *(a.at[state.done].set(b) for a, b in zip(old, found, strict=True))
        )

    begin = _Progress(jnp.zeros((), int), position, empty, empty, jnp.zeros(plan.intervals, bool))
    end = jax.lax.while_loop(unfinished, advance, begin)
    return _summary((end.logs, end.losses, end.kept), plan, end.position.lost_at)


def block_error(values: Float[Array, "n k"], count: Int[Array, ""] | int | None = None) -> Float[Array, " k"]:
    """Standard error of the mean of a correlated series: the largest over blocks of 1, 2, 4, ... values.

    Blocks longer than the correlation time are independent; up to there the error from their scatter grows
    with their length. The largest of all lengths that leave 8 blocks is noisy, and rather too large.

    Args:
        values: Series along the first axis.
        count: Number of values at the beginning that are used; all if None.

    Returns:
        Standard error of their mean; NaN for fewer than 8 values.

    References:
        H. Flyvbjerg, H. Petersen (1989), Journal of Chemical Physics 91, 461.
    """
    count = jnp.asarray(len(values) if count is None else count)
    error = jnp.full(values.shape[1:], jnp.nan, values.dtype)
    while len(values) >= LEAST_BLOCKS:
        used = (jnp.arange(len(values)) < count)[:, None]
        mean = jnp.sum(jnp.where(used, values, 0), 0) / count
        squares = jnp.sum(jnp.where(used, values - mean, 0) ** 2, 0)
        found = jnp.sqrt(squares / count / jnp.maximum(count - 1, 1))
        error = jnp.where(count >= LEAST_BLOCKS, jnp.fmax(error, found), error)
        even = len(values) // 2 * 2
        values, count = (values[:even:2] + values[1:even:2]) / 2, count // 2
    return error


def longest_interval(exponents: Float[Array, " k"]) -> int:
    """Steps between decompositions that leave half of the digits of the dtype to the smallest exponent.

    ``log(1 / sqrt(eps)) / (lambda_1 - lambda_k)``: after m steps the last direction is hidden behind the
    first by a factor exp(m (lambda_1 - lambda_k)). At least 1. Exponents as a short run with interval 1 finds
    them; fluctuations of their rates are not counted, so look at ``rounding``.
    """
    values = np.asarray(exponents)
    spread = float(values.max() - values.min())
    budget = -np.log(np.finfo(values.dtype).eps) / 2
    return int(max(1, budget // spread)) if spread > 0 and np.isfinite(spread) else 1


def precision_warning(found: Spectrum, tolerance: float = 1e-3) -> str:
    """One line that names the exponents which rounding may have moved by more than ``tolerance``.

    Empty if there are none. Rounding hides the small exponents where they lie far apart: the 7 digits of
    float32 hold ratios up to exp(16) between two decompositions. The tolerance is in nats per step.
    """
    rounding = np.asarray(found.rounding)
    lost = np.flatnonzero(np.any(rounding.reshape(-1, rounding.shape[-1]) > tolerance, axis=0))
    if lost.size == 0:
        return ""
    dtype = rounding.dtype
    cure = "use a shorter interval" if dtype == np.float64 else "use a shorter interval or float64"
    return f"exponents {lost[0] + 1} to {lost[-1] + 1} are not resolved in {dtype} to {tolerance:g}: {cure}"


def kaplan_yorke(exponents: Float[Array, " k"]) -> Float[Array, ""]:
    r"""Kaplan-Yorke dimension of the attractor.

    .. math:: D = m + (\lambda_1 + \dots + \lambda_m) / |\lambda_{m+1}|

    where m is the largest number of leading exponents whose sum is not negative.

    Args:
        exponents: In any order; all of them, or enough leading ones that their sum is negative.

    Returns:
        The dimension; 0 if all exponents are negative. If no sum is negative it is their number, which is a
        lower bound unless they are all.

    References:
        J. Kaplan, J. Yorke (1979), Lecture Notes in Mathematics 730, 204.
    """
    ordered = jnp.sort(exponents)[::-1]
    sums = jnp.cumsum(ordered)
    m = jnp.sum(sums >= 0)
    sum_m = jnp.where(m > 0, sums[jnp.maximum(m - 1, 0)], 0)
    following = jnp.abs(ordered[jnp.minimum(m, len(ordered) - 1)])
    return jnp.where(m < len(ordered), m + sum_m / jnp.where(following == 0, 1, following), m)


def entropy_bound(exponents: Float[Array, " k"]) -> Float[Array, ""]:
    """Sum of the positive exponents: upper bound of the entropy rate, in nats per step (Ruelle's inequality).

    Args:
        exponents: In any order; at least all positive ones.
    """
    return jnp.sum(jnp.maximum(exponents, 0))


def _plan(inputs: Any, transient: int | None, interval: int) -> _Plan:
    length = num_steps(inputs)
    transient = length // 10 if transient is None else transient
    if interval < 1 or transient < 0:
        raise ValueError(f"interval, transient: got {interval}, {transient}; write at least 1 and 0")
    before, intervals = length % interval, length // interval
    skipped = -((before - transient) // interval) if transient > before else 0
    if skipped >= intervals:
        given = f"{length} steps, of which {transient} are transient"
        raise ValueError(f"inputs: got {given}; give at least {transient + interval} steps")
    return _Plan(before, skipped, intervals, interval)


def _start(flat: Flat, num_exponents: int) -> _Position:
    """Random orthonormal directions at the first carry, the same in every dtype."""
    n, dtype = flat.state.size, flat.state.dtype
    if not 1 <= num_exponents <= n:
        raise ValueError(f"num_exponents: got {num_exponents} for a carry of {n} entries; write 1 to {n}")
    frame = jax.random.normal(jax.random.key(0), (n, num_exponents), jnp.float32).astype(dtype)
    frame = jnp.linalg.qr(frame)[0]
    return _Position(flat.state, frame.T, jnp.zeros(num_exponents, dtype), jnp.zeros((), int))


def _enter(flat: Flat, position: _Position, inputs: Any, plan: _Plan) -> tuple[_Position, Any]:
    """The position before the first interval, and the inputs from there on, numbered from 1 and cut."""
    length = plan.before + plan.intervals * plan.interval
    numbered = jnp.arange(1, length + 1), jax.tree.map(jnp.asarray, inputs)
    if plan.before:
        first = jax.tree.map(lambda leaf: leaf[: plan.before], numbered)
        position, _ = jax.lax.scan(lambda p, x: (_follow(flat, p, x), None), position, first)
    shape = plan.intervals, plan.interval
    return position, jax.tree.map(lambda leaf: leaf[plan.before :].reshape(*shape, *leaf.shape[1:]), numbered)


def _follow(flat: Flat, position: _Position, numbered: tuple[Array, Any]) -> _Position:
    """One step of the state and of all directions, which never leave the range of the dtype."""
    t, x = numbered

    def push(direction: Array) -> tuple[Array, Array]:
        return jax.jvp(lambda state: flat.step(state, x), (position.state,), (direction,))

    state, directions = jax.vmap(push, out_axes=(None, 0))(position.directions)
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(directions), axis=1))
    size = jnp.where(size == 0, 1, size)
    lost = (position.lost_at == 0) & ~jnp.all(jnp.isfinite(state))
    lost_at = jnp.where(lost, t, position.lost_at)
    return _Position(state, directions / size[:, None], position.log_scales + jnp.log(size), lost_at)


def _interval(flat: Flat, position: _Position, xs: Any) -> tuple[_Position, tuple[Array, Array, Array]]:
    """The steps of one interval, and log |R_ii|, |a_i| / |R_ii|, and whether the state is finite."""
    position, _ = jax.lax.scan(lambda p, x: (_follow(flat, p, x), None), position, xs)
    q, r = jnp.linalg.qr(position.directions.T)
    logs = jnp.log(jnp.abs(jnp.diagonal(r))) + position.log_scales
    columns = jax.lax.stop_gradient(r)
    loss = jnp.linalg.norm(columns, axis=0) / jnp.abs(jnp.diagonal(columns))
    after = _Position(position.state, q.T, jnp.zeros_like(position.log_scales), position.lost_at)
    return after, (logs, loss, position.lost_at == 0)


def _summary(found: tuple[Array, Array, Array], plan: _Plan, lost_at: Array) -> Spectrum:
    """Averages over the decompositions after the transient and before the state was lost."""
    logs, losses, kept = (leaf[plan.skipped :] for leaf in found)
    used, count, eps = kept[:, None], jnp.sum(kept), float(jnp.finfo(logs.dtype).eps)
    steps = plan.interval * count
    exponents = jnp.sum(jnp.where(used, logs, 0), 0) / steps
    rounding = jnp.sum(jnp.where(used, jnp.fmin(eps * losses, 1), 0), 0) / steps
    error = block_error(jax.lax.stop_gradient(logs) / plan.interval, count)
    return Spectrum(exponents, error, rounding, steps, lost_at)
