r"""Gradients through time, by lag: how much of a gradient is left k steps before the loss.

Backpropagation through time multiplies dL/dh_T by one transposed step Jacobian per step,

.. math:: \frac{dL}{dh_{T-k}} = J_{T-k+1}^\top \cdots J_T^\top \frac{dL}{dh_T}, \qquad
    J_t = \frac{dh_t}{dh_{t-1}}

(R. Pascanu, T. Mikolov, Y. Bengio, arXiv 1211.5063, with D_t W for J_t; their W^T in equation 5 is a slip).
The product leaves the range of any number format within some hundred steps, so it is carried as a mantissa
near 1 and an integer power of 2: nothing over- or underflows, rescaling is exact, and a logarithm of -inf
means that a gradient is 0 exactly. Entries that are smaller than the largest by the whole range of the dtype
count as 0.

h is the whole carry, for an LSTM both c and h. Time is the first axis of the inputs.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, Real

from signalprop.analysis.statistics import fit_line, log_norm, mean_and_error
from signalprop.analysis.trajectory import Flat, Step, flatten, like_carry, lost_at, num_steps, states

Norm = Literal["operator", "frobenius"]
STRETCHES = 10  # parts of a profile whose slopes are fitted by themselves
LN2 = float(np.log(2))


class Profile(NamedTuple):
    """Natural logarithms of norms by lag k = 0, 1, ..., lags.

    Attributes:
        log_norm: Of the whole carry's gradient or Jacobian; -inf where it is exactly 0, NaN everywhere if the
            state was lost.
        log_part_norms: The same for every array of the carry: a pytree like the carry. None of a Jacobian.
        zero_at: First lag at which the norm is exactly 0; 0 if there is none.
        lost_at: First step whose state is not finite; 0 if there is none. With a homogeneous step, where it
            would not be finite without rescaling, and nothing is lost.
    """

    log_norm: Float[Array, " lags+1"]
    log_part_norms: Any
    zero_at: Int[Array, ""]
    lost_at: Int[Array, ""]


class Gradients(NamedTuple):
    """Gradients by lag k, the arrays of the carry joined: ``mantissa[k] * 2 ** exponent[k]``.

    Attributes:
        mantissa: Largest entry between 1/2 and 1, unless all are 0; NaN if the state was lost.
        exponent: Powers of 2.
        lost_at: As of `Profile`.
    """

    mantissa: Float[Array, "lags+1 n"]
    exponent: Int[Array, " lags+1"]
    lost_at: Int[Array, ""]

    def log_size(self) -> Float[Array, "lags+1 n"]:
        """Natural logarithm of the absolute value of every entry; -inf where it is exactly 0."""
        return jnp.log(jnp.abs(self.mantissa)) + _log(self.exponent, self.mantissa)[:, None]


class EFolding(NamedTuple):
    """Growth of a profile with the lag, with standard errors.

    Attributes:
        rate: Slope of the logarithm, in nats per step; below 0 where gradients vanish.
        rate_error: Its standard error.
        steps: ``-1 / rate``, the lag over which the gradient shrinks by e; below 0 where it grows by e.
        steps_error: To first order; meaningless where the rate is within a few errors of 0.
    """

    rate: float
    rate_error: float
    steps: float
    steps_error: float


class _Path(NamedTuple):
    """States before the steps that count, the inputs of these steps, and where the state was lost."""

    before: Array
    inputs: Any
    lost_at: Array
    usable: Array


def gradient_by_lag(
    step: Step,
    carry: Any,
    inputs: Any,
    loss_gradient: Any,
    lags: int | None = None,
    *,
    homogeneous: bool = False,
) -> Profile:
    """Norms |dL/dh_{T-k}| of the gradient with respect to the whole carry and to each of its arrays.

    Args:
        step: ``(carry, x) -> (carry, output)``.
        carry: First carry h_0 of one sequence: a pytree of floating arrays.
        inputs: Inputs x_1..x_T along the first axis of every leaf.
        loss_gradient: dL/dh_T of a loss at the end: a pytree like the carry.
        lags: Largest lag k; all T steps if None.
        homogeneous: Whether ``step(a h, a x) = a step(h, x)`` for all a > 0, as of relu or linear units
            without biases: then the state is rescaled too and may grow or shrink without end.

    Raises:
        ValueError: If there are fewer steps than lags, the carry is no pytree of floating arrays, or the loss
            gradient is none like the carry.
    """
    flat = flatten(step, carry)
    path = _path(step, carry, inputs, lags, homogeneous)

    def norms(gradient: Array, exponent: Array) -> tuple[Array, Any]:
        shift = _log(exponent, gradient)
        parts = jax.tree.map(lambda leaf: log_norm(leaf) + shift, flat.unravel(gradient))
        return logsumexp(2 * jnp.stack(jax.tree.leaves(parts))) / 2, parts

    whole, parts = _walk_back(flat, path, like_carry(carry, loss_gradient), norms)
    zero_at = jnp.argmax(whole == -jnp.inf)
    whole, parts = jax.tree.map(lambda x: jnp.where(path.usable, x, jnp.nan), (whole, parts))
    return Profile(whole, parts, zero_at, path.lost_at)


def gradients(
    step: Step,
    carry: Any,
    inputs: Any,
    loss_gradient: Any,
    lags: int | None = None,
    *,
    homogeneous: bool = False,
) -> Gradients:
    """The gradients dL/dh_{T-k} themselves, of every unit of the carry.

    Args:
        step: As for `gradient_by_lag`, and so are the others.
        carry: First carry.
        inputs: Inputs.
        loss_gradient: dL/dh_T.
        lags: Largest lag.
        homogeneous: Whether the step is homogeneous.

    Raises:
        ValueError: As `gradient_by_lag`.
    """
    flat = flatten(step, carry)
    path = _path(step, carry, inputs, lags, homogeneous)
    mantissa, exponent = _walk_back(
        flat, path, like_carry(carry, loss_gradient), lambda mantissa, exponent: (mantissa, exponent)
    )
    return Gradients(jnp.where(path.usable, mantissa, jnp.nan), exponent, path.lost_at)


def jacobian_by_lag(
    step: Step,
    carry: Any,
    inputs: Any,
    lags: int | None = None,
    *,
    norm: Norm = "operator",
    homogeneous: bool = False,
) -> Profile:
    """Norms |dh_T/dh_{T-k}| of the Jacobian of the last k steps, multiplied from the left.

    The largest gradient that a loss of unit gradient can have at this lag (operator norm), or sqrt(n) times
    its root mean square over random losses (Frobenius norm). Costs n gradients.

    Args:
        step: ``(carry, x) -> (carry, output)``.
        carry: First carry.
        inputs: Inputs x_1..x_T along the first axis of every leaf.
        lags: Largest lag k; all T steps if None.
        norm: ``operator``, the largest singular value, or ``frobenius``.
        homogeneous: As for `gradient_by_lag`.

    Raises:
        ValueError: If the norm is neither, and as `gradient_by_lag`.
    """
    if norm not in ("operator", "frobenius"):
        raise ValueError(f"norm must be 'operator' or 'frobenius', got {norm!r}")
    flat = flatten(step, carry)
    path = _path(step, carry, inputs, lags, homogeneous)

    def size(product: Array, exponent: Array) -> Array:
        largest = jnp.log(jnp.linalg.norm(product, 2)) if norm == "operator" else log_norm(product)
        return largest + _log(exponent, product)

    logs = _walk_back(flat, path, jnp.eye(flat.state.size, dtype=flat.state.dtype), size)
    zero_at = jnp.argmax(logs == -jnp.inf)
    return Profile(jnp.where(path.usable, logs, jnp.nan), None, zero_at, path.lost_at)


def e_folding(log_norms: Real[Array, " lags+1"] | np.ndarray, skip: int = 0) -> EFolding:
    """Fit the rate at which a profile grows or decays, and its e-folding time.

    The profile is cut into ten stretches of equal length and a line is fitted to each; the rate is the mean
    of the slopes. A profile is a random walk with drift: the residuals of one long fit are correlated and
    would make the error far too small, while stretches longer than the memory of the steps are independent.

    Args:
        log_norms: Natural logarithms by lag, as `Profile.log_norm`; what is not finite is left out.
        skip: First lags that are left out.

    Raises:
        ValueError: If fewer than two stretches have two finite values.
    """
    values = np.asarray(log_norms, float)[skip:]
    lag = np.arange(values.size)
    stretches = [part for part in np.array_split(lag, STRETCHES) if np.isfinite(values[part]).sum() > 1]
    if len(stretches) < 2:
        raise ValueError(f"log_norms has {np.isfinite(values).sum()} finite values, give at least 20 to fit")
    slopes = np.array([fit_line(part, values[part]).slope for part in stretches])
    rate, error = (float(x) for x in mean_and_error(slopes))
    with np.errstate(divide="ignore", invalid="ignore"):
        steps, steps_error = float(np.divide(-1.0, rate)), float(np.divide(error, rate**2))
    return EFolding(rate, error, steps, steps_error)


def _path(step: Step, carry: Any, inputs: Any, lags: int | None, homogeneous: bool) -> _Path:
    """The last ``lags`` steps of the sequence."""
    length = num_steps(inputs)
    lags = length if lags is None else lags
    if not 0 <= lags <= length:
        raise ValueError(f"lags: got {lags} for a sequence of {length} steps; write 0 to {length}")
    if homogeneous:
        before, inputs, exponents = _rescaled(flatten(step, carry), inputs)
        size = jnp.log2(jnp.max(jnp.abs(before), axis=1)) + exponents
        lost, usable = jnp.argmax(size >= jnp.finfo(before.dtype).maxexp), jnp.array(True)
    else:
        visited = states(step, carry, inputs)
        before, lost = visited[:-1], lost_at(visited)
        usable = lost == 0
    first = length - lags
    return _Path(before[first:], jax.tree.map(lambda leaf: leaf[first:], inputs), lost, usable)


def _rescaled(flat: Flat, inputs: Any) -> tuple[Array, Any, Array]:
    """States before each step and inputs over the same powers of 2, which keeps Jacobians; the powers."""

    def move(state: tuple[Array, Array], x: Any) -> tuple[tuple[Array, Array], Any]:
        mantissa, exponent = state
        x = jax.tree.map(lambda leaf: jnp.ldexp(leaf, -exponent), x)
        after, shift = _unit(flat.step(mantissa, x))
        return (after, exponent + shift), (mantissa, x, exponent)

    start, exponent = _unit(flat.state)
    visited: tuple[Array, Any, Array] = jax.lax.scan(move, (start, exponent), inputs)[1]
    return visited


def _walk_back(flat: Flat, path: _Path, cotangent: Array, observe: Callable[[Array, Array], Any]) -> Any:
    """What ``observe`` says of the cotangent, a row or a matrix of rows, at lags 0, 1, ..."""

    def pull(state: tuple[Array, Array], at: tuple[Array, Any]) -> tuple[tuple[Array, Array], Any]:
        mantissa, exponent = state
        before, x = at
        _, pull_back = jax.vjp(lambda h: flat.step(h, x), before)
        rows = jax.vmap(pull_back)(jnp.atleast_2d(mantissa))[0]
        mantissa, shift = _unit(rows.reshape(mantissa.shape))
        return (mantissa, exponent + shift), observe(mantissa, exponent + shift)

    start = _unit(cotangent)
    _, found = jax.lax.scan(pull, start, (path.before, path.inputs), reverse=True)
    return jax.tree.map(lambda last, rest: jnp.concatenate([last[None], rest[::-1]]), observe(*start), found)


def _log(exponent: Array, like: Array) -> Array:
    """Natural logarithm of a power of 2, in the dtype of an array."""
    return exponent * jnp.asarray(LN2, like.dtype)


def _unit(x: Array) -> tuple[Array, Array]:
    """Divide by the power of 2 that brings the largest entry to [1/2, 1); by 1 if it is 0, inf or NaN."""
    largest = jnp.max(jnp.abs(x))
    exponent = jnp.where((largest > 0) & jnp.isfinite(largest), jnp.frexp(largest)[1], 0)
    return jnp.ldexp(x, -exponent), exponent
