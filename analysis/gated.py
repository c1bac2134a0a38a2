r"""Gated cells: exact step Jacobians, the four terms of dc_t/dc_{t-1}, and the time scales of a forget gate.

LSTM with carry (c, h), as Flax orders it:

    c_t = f * c_{t-1} + i * g,    h_t = o * tanh(c_t),    i, f, o = sigmoid(.), g = tanh(.) of (x_t, h_{t-1})

Its Jacobian needs no more than the recurrent kernels and the activities of the gates. With
``K = diag(c f') U_f + diag(g i') U_i + diag(i g') U_g`` (primes: slopes, as f' = f (1 - f)) and
``e = o (1 - tanh(c_t)^2)``

    dc_t/dc_{t-1} = diag f                 dc_t/dh_{t-1} = K
    dh_t/dc_{t-1} = diag(e f)              dh_t/dh_{t-1} = diag(tanh(c_t) o') U_o + diag(e) K

The LSTM of 1997 (Hochreiter, Schmidhuber, Neural Computation 9, 1735) has no forget gate: f = 1. Its gradient
is truncated at the gates, which is the same as kernels of zeros; only then is dc_t/dc_{t-1} the identity.

Kernels are in Flax's arrangement (in, out): the U above are their transposes. Everything here is for one
step of one sequence, in the dtype of its inputs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from signalprop.analysis import gaussian, products

_LEGENDRE = np.polynomial.legendre.leggauss(64)


class Gates(NamedTuple):
    """One array for each gate of an LSTM: input, forget, candidate, output; activities or kernels."""

    i: Array
    f: Array
    g: Array
    o: Array


class ResetGates(NamedTuple):
    """One array for each gate of a GRU: reset r, update z, candidate n; activities or kernels."""

    r: Array
    z: Array
    n: Array


class FourTerms(NamedTuple):
    r"""The terms of dc_t/dc_{t-1} with o_{t-1} held fixed; their sum is `total`.

    Attributes:
        carousel: diag f_t, as its diagonal (n,).
        forget: ``diag(c_{t-1} f_t') U_f diag(o_{t-1} tanh'(c_{t-1}))``, a full matrix (n, n).
        input: ``diag(g_t i_t') U_i diag(o_{t-1} tanh'(c_{t-1}))``.
        candidate: ``diag(i_t g_t') U_g diag(o_{t-1} tanh'(c_{t-1}))``.
    """

    carousel: Float[Array, " n"]
    forget: Float[Array, "n n"]
    input: Float[Array, "n n"]
    candidate: Float[Array, "n n"]

    @property
    def total(self) -> Float[Array, "n n"]:
        """Sum of the four terms, (n, n)."""
        return jnp.diag(self.carousel) + self.forget + self.input + self.candidate


class Decay(NamedTuple):
    """Rates per step, in nats, at which random gates in (0, 1) forget.

    Attributes:
        typical: E log f: what almost every product of gates does.
        mean: log E f: the mean of the products.
        root_mean_square: (1/2) log E f^2: their root mean square, which a mean-field chi describes.
    """

    typical: Float[Array, ""]
    mean: Float[Array, ""]
    root_mean_square: Float[Array, ""]


def lstm_jacobian(kernels: Gates, gates: Gates, c: Float[Array, " n"]) -> Float[Array, "2n 2n"]:
    """Jacobian d(c_t, h_t)/d(c_{t-1}, h_{t-1}) of one LSTM step, without peepholes.

    Args:
        kernels: Recurrent kernels (n, n), in Flax's arrangement (in, out); zeros for a truncated gradient.
        gates: Activities at step t, (n,) each; f = 1 for a cell without a forget gate.
        c: Cell state c_{t-1} before the step.
    """
    i, f, g, o = gates
    squashed = jnp.tanh(f * c + i * g)
    by_forget, by_input, by_candidate = _paths(kernels, gates, c)
    to_cell = by_forget + by_input + by_candidate
    exposed = o * (1 - squashed**2)
    to_hidden = (squashed * o * (1 - o))[:, None] * kernels.o.T + exposed[:, None] * to_cell
    return jnp.block([[jnp.diag(f), to_cell], [jnp.diag(exposed * f), to_hidden]])


def four_terms(
    kernels: Gates, gates: Gates, c: Float[Array, " n"], previous_o: Float[Array, " n"]
) -> FourTerms:
    """The popular expression for dc_t/dc_{t-1}, term by term, as matrices.

    Exact for one step in which h_{t-1} = o_{t-1} tanh(c_{t-1}) and o_{t-1} is held fixed. Its product over
    several steps is not dc_T/dc_1, see `cell_derivatives`; elementwise products of the weights with vectors,
    as it is often printed, are wrong beyond one unit.

    Args:
        kernels: Recurrent kernels (n, n), in Flax's arrangement (in, out).
        gates: Activities at step t.
        c: Cell state c_{t-1}.
        previous_o: Output gate o_{t-1}.
    """
    exposed = previous_o * (1 - jnp.tanh(c) ** 2)
    forget, input, candidate = (path * exposed for path in _paths(kernels, gates, c))
    return FourTerms(gates.f, forget, input, candidate)


def cell_derivatives(
    jacobians: Float[Array, "T 2n 2n"], c: Float[Array, " n"], o: Float[Array, " n"]
) -> products.Scaled:
    """True derivatives dc_{t}/dc_0 for t = 1..T, in the log domain.

    The change of c_0 acts on the later carries through c_0 and through h_0 = o_0 tanh(c_0), with o_0 held
    fixed: ``[I 0] J_t ... J_1 [I; diag(o_0 tanh'(c_0))]``. All paths count, also c -> h -> o -> h, which the
    product of `four_terms` lacks.

    Args:
        jacobians: Step Jacobians of the carry (c, h), such as `lstm_jacobian`; ``jacobians[0]`` acts first.
        c: Cell state c_0 before these steps.
        o: Output gate o_0 that made h_0.

    Returns:
        ``exp(log_scale) mantissa`` with leading axis T; mantissas are (n, n).
    """
    first = jnp.concatenate([jnp.eye(len(c), dtype=c.dtype), jnp.diag(o * (1 - jnp.tanh(c) ** 2))])
    mantissa, log_scale = prefix_products(jacobians, first)
    return products.Scaled(mantissa[:, : len(c)], log_scale)


def prefix_products(factors: Float[Array, "T n n"], first: Float[Array, "n k"]) -> products.Scaled:
    """The products A_t ... A_1 B for t = 1..T, in the log domain.

    Args:
        factors: Matrices A; ``factors[0]`` acts first.
        first: Matrix B on which they act.

    Returns:
        ``exp(log_scale) mantissa`` with leading axis T.
    """

    def multiply(product: products.Scaled, factor: Array) -> tuple[products.Scaled, products.Scaled]:
        longer = products.append_scaled(product, factor)
        return longer, longer

    _, found = jax.lax.scan(multiply, products.Scaled(first, jnp.zeros((), first.dtype)), factors)
    return found


def gru_jacobian(
    kernels: ResetGates, gates: ResetGates, h: Float[Array, " n"], recurrent: Float[Array, " n"]
) -> Float[Array, "n n"]:
    """Jacobian dh_t/dh_{t-1} of a GRU that resets after the recurrent kernel (Flax, PyTorch, cuDNN).

    ``n = tanh(W x + r * v)`` with v = U_n h + b, and ``h_t = (1 - z) * n + z * h``, so that

        J = diag z + diag((h - n) z') U_z + diag((1 - z)(1 - n^2)) [diag(r) U_n + diag(v r') U_r]

    Args:
        kernels: Recurrent kernels (n, n), in Flax's arrangement (in, out).
        gates: Activities at step t.
        h: State h_{t-1} before the step.
        recurrent: v, what the reset gate multiplies.
    """
    r, z, _ = gates
    inside = r[:, None] * kernels.n.T + (recurrent * r * (1 - r))[:, None] * kernels.r.T
    return jnp.diag(z) + _update(kernels, gates, h, inside)


def gru_before_jacobian(kernels: ResetGates, gates: ResetGates, h: Float[Array, " n"]) -> Float[Array, "n n"]:
    """Jacobian dh_t/dh_{t-1} of a GRU that resets before the recurrent kernel (Cho et al. 1406.1078).

    ``n = tanh(W x + U_n (r * h))``: the bracket of `gru_jacobian` becomes ``U_n [diag r + diag(h r') U_r]``.

    Args:
        kernels: Recurrent kernels (n, n), in Flax's arrangement (in, out).
        gates: Activities at step t.
        h: State h_{t-1} before the step.
    """
    r, z, _ = gates
    inside = kernels.n.T @ (jnp.diag(r) + (h * r * (1 - r))[:, None] * kernels.r.T)
    return jnp.diag(z) + _update(kernels, gates, h, inside)


def forget_lifetime(bias: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Mean number of steps that a constant forget gate f = sigmoid(bias) keeps: 1 / (1 - f) = 1 + e^bias."""
    return 1 + jnp.exp(jnp.asarray(bias))


def forget_e_folding(bias: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Steps in which a product of constant gates f = sigmoid(bias) falls by e: -1 / log f.

    Shorter than `forget_lifetime` by an amount that grows from 0 to 1/2 with the bias.
    """
    return 1 / jax.nn.softplus(-jnp.asarray(bias))


def random_gate_decay(mean: Float[ArrayLike, ""], deviation: Float[ArrayLike, ""]) -> Decay:
    """Decay rates of products of gates f = sigmoid(z), drawn anew each step with z ~ N(mean, deviation^2).

    By Jensen's inequality typical <= mean <= root_mean_square, all below 0, and equal at deviation 0.
    Relative error below 1e-10 in float64, also where f is within rounding of 0 or of 1; 0 where 1 - f leaves
    the dtype's range.

    Args:
        mean: Mean of the pre-activation, such as the forget bias.
        deviation: Its standard deviation over time, not below zero.
    """
    q = jnp.square(deviation)

    def lost(z: Array) -> Array:  # 1 - f, which keeps its accuracy where f is close to 1
        return jax.nn.sigmoid(-z - mean)

    def log_kept(power: int) -> Array:  # log E f^power, where f may be below the dtype's range
        middle = jax.nn.log_sigmoid(mean)
        ratio = gaussian.expectation(lambda z: jnp.exp(power * (jax.nn.log_sigmoid(z + mean) - middle)), q)
        return power * middle + jnp.log(ratio)

    mean_lost = gaussian.expectation(lost, q)
    square_lost = gaussian.expectation(lambda z: lost(z) * (2 - lost(z)), q)
    typical = gaussian.expectation(lambda z: jax.nn.log_sigmoid(z + mean), q)
    keeps = jnp.asarray(mean) >= 0
    return Decay(
        typical,
        jnp.where(keeps, jnp.log1p(-mean_lost), log_kept(1)),
        jnp.where(keeps, jnp.log1p(-square_lost), log_kept(2)) / 2,
    )


def chrono_memory(lag: Float[ArrayLike, ""], longest: Float[ArrayLike, ""]) -> Float[Array, ""]:
    r"""Mean over units of what chrono-initialized forget gates keep after a number of steps, f^lag.

    Biases are b = log u with u uniform on [1, longest - 1] (Tallec, Ollivier 1804.11188), so that
    f = u / (1 + u), lifetimes 1 + u are uniform on [2, longest], and units of all time scales share the work.

    Args:
        lag: Steps, not below zero.
        longest: The longest expected dependency T_max, above 2.

    Returns:
        The mean of (u / (1 + u))^lag, by quadrature in log u; relative error below 1e-9 in float64.
    """
    dtype = jnp.result_type(0.0, lag, longest)
    top = jnp.log(jnp.asarray(longest, dtype) - 1)
    nodes, weights = (jnp.asarray(part, dtype) for part in _LEGENDRE)
    log_u = top * (nodes + 1) / 2
    density = jnp.exp(log_u) / jnp.expm1(top)
    return jnp.dot(weights * top / 2 * density, jnp.exp(lag * jax.nn.log_sigmoid(log_u)))


def _paths(kernels: Gates, gates: Gates, c: Array) -> tuple[Array, Array, Array]:
    """Parts of dc_t/dh_{t-1} that pass the forget gate, the input gate and the candidate."""
    i, f, g, _ = gates
    slopes = (c * f * (1 - f), g * i * (1 - i), i * (1 - g**2))
    forget, input, candidate = (
        s[:, None] * u.T for s, u in zip(slopes, (kernels.f, kernels.i, kernels.g), strict=True)
    )
    return forget, input, candidate


def _update(kernels: ResetGates, gates: ResetGates, h: Array, inside: Array) -> Array:
    """Parts of a GRU's Jacobian that pass the update gate and the candidate."""
    _, z, n = gates
    return ((h - n) * z * (1 - z))[:, None] * kernels.z.T + ((1 - z) * (1 - n**2))[:, None] * inside
