r"""Mean field of attention: what random self-attention does to the lengths and cosines of its tokens.

State: mean square q of the entries of a token, and gap 1 - c, with c the cosine of any two tokens; small gaps
are kept to relative accuracy. Matrices have variance 1/fan_in (Xavier, square), biases are zero, scores are
divided by the root of the head's width. Heads are many and wide, the number n of tokens is not large. With
few heads, or a width near n, the gaps of pairs differ after the first block, and a block that is cubic in
them collapses less: by about (1 + 1/heads) in gap in the second, where skips do not hold the tokens apart.

Scores s_ij are Gaussian with covariance E s_ij s_kl = (x_i . x_k)(x_j . x_l) / d^2. What all keys share drops
out of the softmax, so a row of scores has n independent entries of variance v = q^2 gap, correlated between
rows by c, and with a_ij the softmax of row i

.. math:: q' = q (1 - gap (1 - S)), \qquad gap' q' = q \, gap \, D, \qquad
    S = E \sum_j a_{ij}^2, \quad D = E \sum_j (a_{ij} - a_{kj})^2 / 2

At small gaps D = v gap (1 - 1/n) / n: without skips the residual norm sqrt(gap) of one layer is of order the
cube of the one before, the doubly exponential collapse of Dong et al. (arXiv 2103.03404). Derived here; the
role of skips and of layer norm is that of Noci et al. (arXiv 2206.03126).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from signalprop.analysis.compiled import compiled

Scalar = Real[ArrayLike, ""]
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_LOG_T = np.arange(-24.0, 7.0, 0.35)  # the trapezoidal rule's error is of order exp(-pi^2 / step)
_SMALL = 1e-5  # variance (1 - correlation) below which the difference is its first order


class Tokens(NamedTuple):
    """Mean square q of the entries of a token, and gap 1 - c between two tokens."""

    q: Float[Array, "..."]
    gap: Float[Array, "..."]


class Overlaps(NamedTuple):
    """Overlap of a row of softmax with itself, sum a_i^2, and half the squared distance of two rows."""

    same: Float[Array, ""]
    difference: Float[Array, ""]


@compiled("tokens")
def softmax_overlaps(variance: Scalar, correlation: Scalar, tokens: int) -> Overlaps:
    r"""Mean overlaps of softmax rows over n Gaussian scores of a variance, and correlation between rows.

    With :math:`1 / Z^2 = \int_0^\infty t e^{-tZ} dt` for each partition function,

    .. math:: E \sum_j a_j b_j = n \int\int dt \, du \, E[e^{s + r - t e^s - u e^r}]
        (E e^{-t e^s - u e^r})^{n - 1}

    by the trapezoidal rule in log t and log u, and Gauss-Hermite in the scores. Relative error below 1e-3 in
    float64 for variances up to 2. Below 1e-5 of variance (1 - correlation) the difference is its first order.

    Args:
        variance: Of a score over keys, from 0 to about 2.
        correlation: Of the scores of two rows, from 0 to 1.
        tokens: Number n of keys, at least 2.
    """
    variance, correlation = jnp.asarray(variance, float), jnp.asarray(correlation, float)
    n, scale = tokens, jnp.sqrt(variance)
    log_t, step = _LOG_T - np.log(n), _LOG_T[1] - _LOG_T[0]
    s = scale * _NODES[:, None]
    r = correlation * s + jnp.sqrt(1 - correlation**2) * scale * _NODES[None, :]
    weights = _WEIGHTS[:, None] * _WEIGHTS[None, :]
    decay_s = jnp.exp(-jnp.exp(log_t[:, None, None] + s))
    decay_r = jnp.exp(-jnp.exp(log_t[:, None, None] + r))
    empty = jnp.einsum("tsr,usr,sr->tu", decay_s * jnp.ones_like(r), decay_r, weights)
    one = jnp.einsum("tsr,usr,sr->tu", decay_s * jnp.ones_like(r), decay_r, weights * jnp.exp(s + r))
    t = jnp.exp(log_t)
    cross = n * step**2 * jnp.sum(t[:, None] * t * one * empty ** (n - 1))
    row = decay_s[..., 0]
    same = row @ (_WEIGHTS * jnp.exp(2 * s[:, 0])) * (row @ _WEIGHTS) ** (n - 1)
    same = n * step * jnp.sum(t**2 * same)
    first_order = variance * (1 - correlation)
    difference = jnp.where(first_order < _SMALL, first_order * (1 - 1 / n) / n, same - cross)
    return Overlaps(same, difference)


@compiled("tokens")
def attention(state: Tokens, tokens: int) -> Tokens:
    """Return the state of the output of random self-attention; see the top of the module.

    Args:
        state: State of its input.
        tokens: Number n of tokens, at least 2.
    """
    same, difference = softmax_overlaps(state.q**2 * state.gap, 1 - state.gap, tokens)
    kept = 1 - state.gap * (1 - same)
    return Tokens(state.q * kept, state.gap * difference / kept)


@compiled()
def feed_forward(state: Tokens) -> Tokens:
    r"""Return the state of the output of a relu network of two layers: q/2, and the arc-cosine map of c.

    .. math:: 1 - c' = 1 - \cos \theta - (\sin \theta - \theta \cos \theta) / \pi, \qquad c = \cos \theta
    """
    angle = 2 * jnp.arcsin(jnp.sqrt(state.gap / 2))
    return Tokens(state.q / 2, state.gap - (jnp.sin(angle) - angle * jnp.cos(angle)) / np.pi)


def join(part: Callable[[Tokens], Tokens], state: Tokens, norm: str, skip: Scalar = 1.0) -> Tokens:
    """Return the state after a part is joined to its input by a skip connection and a layer norm.

    Args:
        part: Maps the state of its input to that of its output, independent of the input in sign.
        state: State of the input.
        norm: ``pre``: skip x + f(LN(x)); ``post``: LN(skip x + f(x)); ``none``: skip x + f(x).
        skip: Factor of the skip connection.
    """
    seen = Tokens(jnp.ones_like(state.q), state.gap) if norm == "pre" else state
    branch, kept = part(seen), jnp.asarray(skip) ** 2 * state.q
    q = kept + branch.q
    gap = (kept * state.gap + branch.q * branch.gap) / q
    return Tokens(jnp.ones_like(q) if norm == "post" else q, gap)


def token_profile(
    parts: Sequence[str], norm: str, tokens: int, depth: int, skip: float = 1.0, gap: float = 1.0
) -> Tokens:
    """Return the states of all blocks of a network, from input tokens of mean square 1.

    Args:
        parts: Of every block, in order: ``attention``, ``feed_forward``.
        norm: See `join`.
        tokens: Number of tokens, at least 2.
        depth: Number L of blocks.
        skip: Factor of every skip connection; 0 for none.
        gap: Of the input, 1 for orthogonal tokens.

    Returns:
        States after 0..L blocks.
    """
    maps = {"attention": lambda state: attention(state, tokens), "feed_forward": feed_forward}
    states = [Tokens(jnp.asarray(1.0), jnp.asarray(gap, float))]
    for _ in range(depth):
        state = states[-1]
        for part in parts:
            state = join(maps[part], state, norm, skip)
        states.append(state)
    return Tokens(*(jnp.stack(values) for values in zip(*states, strict=True)))
