r"""Mean field of gated cells: how large their state is, and how fast a small change of it grows per step.

Width is infinite, inputs are independent from step to step, and **the weights are drawn anew at every step**
(untied). A recurrent network keeps its weights, and for the LSTM that is no small matter: with sigma_w = 2,
forget bias 2 and unit inputs the theory here, and a simulation with untied weights, give a growth of
log |d(c, h)|^2 of -0.18 per step, a tied network +0.03. It is chaotic where the theory calls it ordered. For
the minimalRNN the growth of tied networks is within 0.02 of the theory where the gate keeps (update bias 1
and above), 0.1 off at bias -1, and the size of the state is 20% off. The mean squared entry of the Jacobian
of a step, also given here, hardly depends on it. Compare real recurrent networks with these numbers only with
that in mind.

The minimalRNN closes in one variance and needs quadrature only. In an LSTM or a GRU the state of a unit is
not Gaussian: it is followed in a population of independent units, each with the mean square of its own
perturbation, while the variances that all share are averages over the population.

References:
    Chen, Pennington, Schoenholz (2018), arXiv 1806.05394 (minimalRNN).
    Gilboa et al. (2019), arXiv 1901.08987 (LSTM and GRU); derived again here.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from signalprop.analysis import gaussian
from signalprop.analysis.gated import Gates, ResetGates
from signalprop.analysis.roots import first_crossing

_BLOCKS = 10  # stretches of time whose averages tell the error of the whole average


class MinimalPoint(NamedTuple):
    """The stationary state of a minimalRNN.

    Attributes:
        q: Mean square of the state h.
        variance: Variance of the gate's pre-activation.
        chi: Factor per step of the mean squared perturbation; also (1/N) tr J J^T of a step.
        xi: Steps in which the mean squared perturbation falls by e, -1 / log chi; negative where it grows.
        converged: Whether the fixed point was found.
    """

    q: Float[Array, ""]
    variance: Float[Array, ""]
    chi: Float[Array, ""]
    xi: Float[Array, ""]
    converged: Bool[Array, ""]


class Population(NamedTuple):
    """Averages over a population of units and over the second half of the steps.

    Attributes:
        exponent: Growth of log |d carry| per step in nats, half of that of the square.
        exponent_error: Its standard error, from blocks of steps.
        q_h: Mean square of what the recurrent weights see, h.
        q_c: Mean square of the cell state; equal to `q_h` for a GRU.
        jacobian_square: Mean squared singular value of a step's Jacobian, |J|_F^2 / (size of the carry).
        term_squares: |A|_F^2 / N of the four terms of dc_t/dc_{t-1}, in the order of
            `signalprop.analysis.gated.FourTerms`; their sum is that of the whole. NaN for a GRU.
        hidden_square: |dh_t/dh_{t-1}|_F^2 / N, the block that sees h only; half its log is the exponent of
            the products of such blocks. NaN for a GRU.
    """

    exponent: Float[Array, ""]
    exponent_error: Float[Array, ""]
    q_h: Float[Array, ""]
    q_c: Float[Array, ""]
    jacobian_square: Float[Array, ""]
    term_squares: Float[Array, " 4"]
    hidden_square: Float[Array, ""]


def minimal_rnn(
    sigma_w: Float[ArrayLike, ""],
    sigma_v: Float[ArrayLike, ""] = 1.0,
    update_bias: Float[ArrayLike, ""] = 0.0,
    power: Float[ArrayLike, ""] = 1.0,
) -> MinimalPoint:
    r"""Fixed point of ``h' = u h + (1 - u) x`` with ``u = sigmoid(W h + V x + b)``, untied weights.

    With the pre-activation of variance :math:`\sigma_w^2 Q + \sigma_v^2 R` and mean b, u' the slope of u,

    .. math:: Q = R \, E (1-u)^2 / (1 - E u^2), \quad \chi = E u^2 + \sigma_w^2 E u'^2 (Q + R)

    Accurate to 1e-10 relative in float64.

    Args:
        sigma_w: Scale of W, sqrt(N Var W_ij).
        sigma_v: Scale of V.
        update_bias: Mean of the gate's pre-activation, b.
        power: R, mean square of an (embedded) input, above zero.
    """
    dtype = jnp.result_type(0.0, sigma_w, sigma_v, update_bias, power)
    sigma_w, sigma_v, b, power = (jnp.asarray(a, dtype) for a in (sigma_w, sigma_v, update_bias, power))

    def variance(q: Array) -> Array:
        return sigma_w**2 * q + sigma_v**2 * power

    def excess(q: Array) -> Array:
        renewed = gaussian.expectation(lambda z: sigmoid(-z - b) ** 2, variance(q))
        lost = gaussian.expectation(lambda z: sigmoid(-z - b) * (1 + sigmoid(z + b)), variance(q))
        return q - power * renewed / lost

    # E u^2 <= E u, so that Q lies between 0 and R.
    q, converged = first_crossing(excess, jnp.linspace(0.0, 1.0, 17, dtype=dtype) * power, 0.0)
    kept = gaussian.expectation(lambda z: sigmoid(z + b) ** 2, variance(q))
    slope = gaussian.expectation(lambda z: (sigmoid(z + b) * sigmoid(-z - b)) ** 2, variance(q))
    chi = kept + sigma_w**2 * slope * (q + power)
    return MinimalPoint(q, variance(q), chi, -1 / jnp.log(chi), converged)


def lstm(
    key: PRNGKeyArray,
    sigma_w: Float[ArrayLike, ""],
    input_scale: Float[ArrayLike, ""],
    biases: Gates,
    *,
    num_units: int = 4000,
    num_steps: int = 1000,
) -> Population:
    r"""Population dynamics of the LSTM with untied weights; see the warning at the top of this module.

    Gates are independent, with pre-activations of variance :math:`\sigma_w^2 E h^2 + s^2`. A perturbation of
    mean square v in c and D in h becomes, with e = o (1 - tanh(c')^2) and primes for slopes,

    .. math::
        v' = f^2 v + D B, \quad B = \sigma_w^2 [(c f')^2 + (g i')^2 + (i g')^2], \quad
        D' = E [e^2 v' + D \sigma_w^2 (\tanh(c') o')^2]

    The standard error of the exponent is about 1e-3. The state needs about 1 + e^{b_f} steps to become
    stationary: take at least ten times as many.

    Args:
        key: Random key of the population.
        sigma_w: Scale of the recurrent kernels, sqrt(N Var U_ij).
        input_scale: s, the standard deviation that the inputs add to every pre-activation.
        biases: Mean pre-activation of each gate.
        num_units: Units in the population.
        num_steps: Steps; the second half is averaged.
    """
    weight = jnp.square(jnp.asarray(sigma_w, jnp.result_type(0.0, sigma_w, input_scale, *biases)))

    def step(units: _Units, key: PRNGKeyArray) -> _Step:
        deviation = jnp.sqrt(weight * units.q_h + jnp.square(input_scale))
        noise = deviation * jax.random.normal(key, (4, num_units), weight.dtype)
        z = Gates(*(b + row for b, row in zip(biases, noise, strict=True)))
        i, f, g, o = sigmoid(z.i), sigmoid(z.f), jnp.tanh(z.g), sigmoid(z.o)
        c = f * units.c + i * g
        squashed = jnp.tanh(c)
        exposed = (o * (1 - squashed**2)) ** 2
        slopes = jnp.stack([units.c * f * (1 - f), g * i * (1 - i), i * (1 - g**2)]) ** 2
        paths = weight * jnp.sum(slopes, 0)
        by_output = weight * (squashed * o * (1 - o)) ** 2
        dc_square = f**2 * units.dc_square + units.dh_square * paths
        dh_square = jnp.mean(exposed * dc_square + units.dh_square * by_output)
        entries = f**2 + paths + exposed * (f**2 + paths) + by_output
        terms = jnp.append(jnp.mean(f**2), weight * jnp.mean(slopes, 1) * units.exposed)
        after = _Units(c, dc_square, jnp.mean((o * squashed) ** 2), dh_square, jnp.mean(exposed))
        hidden = jnp.mean(exposed * paths + by_output)
        return _Step(after, jnp.mean(dc_square) + dh_square, jnp.mean(entries) / 2, terms, hidden)

    return _follow(step, key, num_units, num_steps, weight.dtype)


def gru(
    key: PRNGKeyArray,
    sigma_w: Float[ArrayLike, ""],
    input_scale: Float[ArrayLike, ""],
    biases: ResetGates,
    *,
    num_units: int = 4000,
    num_steps: int = 1000,
) -> Population:
    r"""Population dynamics of the GRU that resets after its product (Flax), with untied weights.

    With n = tanh(a + r v), v = U_n h and a from the input, both Gaussian, and primes for slopes, the mean
    square V of a unit's perturbation becomes

    .. math::
        V' = z^2 V + \bar V \sigma_w^2 \{[(h - n) z']^2 + [(1 - z)(1 - n^2)]^2 [r^2 + (v r')^2]\}

    Args:
        key: Random key of the population.
        sigma_w: Scale of the recurrent kernels, sqrt(N Var U_ij).
        input_scale: s, the standard deviation that the inputs add to every pre-activation.
        biases: Mean pre-activation of each gate; that of the update gate z keeps the state.
        num_units: Units in the population.
        num_steps: Steps; the second half is averaged.
    """
    weight = jnp.square(jnp.asarray(sigma_w, jnp.result_type(0.0, sigma_w, input_scale, *biases)))

    def step(units: _Units, key: PRNGKeyArray) -> _Step:
        noise = jax.random.normal(key, (4, num_units), weight.dtype)
        from_state = jnp.sqrt(weight * units.q_h)
        deviation = jnp.sqrt(weight * units.q_h + jnp.square(input_scale))
        r, z = sigmoid(biases.r + deviation * noise[0]), sigmoid(biases.z + deviation * noise[1])
        recurrent = from_state * noise[2]
        n = jnp.tanh(biases.n + input_scale * noise[3] + r * recurrent)
        inside = ((1 - z) * (1 - n**2)) ** 2 * (r**2 + (recurrent * r * (1 - r)) ** 2)
        paths = weight * (((units.c - n) * z * (1 - z)) ** 2 + inside)
        h = (1 - z) * n + z * units.c
        square = z**2 * units.dc_square + units.dh_square * paths
        after = _Units(h, square, jnp.mean(h**2), jnp.mean(square), units.exposed)
        absent = jnp.full(4, jnp.nan, weight.dtype)
        return _Step(after, after.dh_square, jnp.mean(z**2 + paths), absent, absent[0])

    return _follow(step, key, num_units, num_steps, weight.dtype)


class _Units(NamedTuple):
    """State and mean squared perturbation of every unit, and the averages that all units share.

    The last is that of (o tanh'(c))^2, by which a cell state is exposed to the gates of the next step.
    """

    c: Array
    dc_square: Array
    q_h: Array
    dh_square: Array
    exposed: Array


class _Step(NamedTuple):
    """The population after a step, the mean square of its perturbation, and those of the Jacobian."""

    units: _Units
    size: Array
    jacobian: Array
    terms: Array
    hidden: Array


def _follow(
    step: Callable[[_Units, PRNGKeyArray], _Step],
    key: PRNGKeyArray,
    num_units: int,
    num_steps: int,
    dtype: DTypeLike,
) -> Population:
    """Run a population from rest, its perturbation brought back to unit size after every step."""

    def move(units: _Units, key: PRNGKeyArray) -> tuple[_Units, tuple[Array, ...]]:
        after, size, *jacobian = step(units, key)
        found = jnp.log(size) / 2, after.q_h, jnp.mean(after.c**2), *jacobian
        unit = after._replace(dc_square=after.dc_square / size, dh_square=after.dh_square / size)
        return unit, found

    none, one = jnp.zeros(num_units, dtype), jnp.ones(num_units, dtype)
    start = _Units(none, one, none[0], one[0], none[0])
    _, found = jax.lax.scan(move, start, jax.random.split(key, num_steps))
    growth, *averaged = (values[num_steps - num_steps // 2 :] for values in found)
    blocks = growth[: len(growth) // _BLOCKS * _BLOCKS].reshape(_BLOCKS, -1).mean(1)
    error = jnp.std(blocks, ddof=1) / _BLOCKS**0.5
    return Population(growth.mean(), error, *(values.mean(0) for values in averaged))
