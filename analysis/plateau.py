"""Where the gradient is exactly zero: how far memory, decay and normalisation still move the parameters.

A relu unit with w x + b < 0 on every example has neither gradient nor Hessian. What moves it is the optimiser
alone, and then its way is a closed form. Steps are counted from the first step whose gradient is 0.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from signalprop.analysis.compiled import compiled


def coasting_heavy_ball(
    steps: Int[ArrayLike, "*steps"], momentum: Float[ArrayLike, ""]
) -> Float[Array, "*steps"]:
    """Displacement of heavy ball after some steps without gradient, in units of ``-rate v``.

    ``v <- mu v, w <- w - rate v`` gives ``mu (1 - mu^t) / (1 - mu)``, in the end ``mu / (1 - mu)`` times the
    last step before the gradient vanished (Polyak 1964).

    Args:
        steps: t, from 0.
        momentum: mu in [0, 1).
    """
    mu = jnp.asarray(momentum)
    return mu * (1 - mu ** jnp.asarray(steps)) / (1 - mu)


def coasting_nesterov(
    steps: Int[ArrayLike, "*steps"], momentum: Float[ArrayLike, ""]
) -> Float[Array, "*steps"]:
    """Displacement of Nesterov's momentum, in the form of optax and PyTorch, in units of ``-rate v``.

    The step looks ahead, ``w <- w - rate (g + mu v)``: ``mu^2 (1 - mu^t) / (1 - mu)``.

    Args:
        steps: t, from 0.
        momentum: mu in [0, 1).
    """
    return jnp.asarray(momentum) * coasting_heavy_ball(steps, momentum)


@compiled("num_steps")
def coasting_adam(
    num_steps: int, count: Float[ArrayLike, ""], b1: Float[ArrayLike, ""], b2: Float[ArrayLike, ""]
) -> Float[Array, " num_steps"]:
    """Displacement of Adam (arXiv 1412.6980) after 1, 2, ... steps, in units of ``-rate m / sqrt(s)``.

    With epsilon 0, ``sum_j b1^j / (1 - b1^{t0+j}) / sqrt(b2^j / (1 - b2^{t0+j}))`` with m and s the moments
    before bias correction. For t0 >> 1 / (1 - b2) it tends to `coasting_adam_limit`.

    Args:
        num_steps: How many steps.
        count: t0, the steps that Adam has made before, at least 1.
        b1: Decay of the first moment.
        b2: Decay of the second.
    """
    j = jnp.arange(1, num_steps + 1)
    b1, b2 = jnp.asarray(b1), jnp.asarray(b2)
    ratio = (b1 / jnp.sqrt(b2)) ** j
    return jnp.cumsum(ratio * jnp.sqrt(1 - b2 ** (count + j)) / (1 - b1 ** (count + j)))


def coasting_adam_limit(b1: Float[ArrayLike, ""], b2: Float[ArrayLike, ""]) -> Float[Array, ""]:
    """Whole displacement of an Adam that has run for long: ``r / (1 - r)``, ``r = b1 / sqrt(b2) < 1``.

    9.045 for (0.9, 0.999), not b1 / (1 - b1) = 9: the second moment shrinks meanwhile. Infinite if r >= 1.
    """
    r = jnp.asarray(b1) / jnp.sqrt(jnp.asarray(b2))
    return jnp.where(r < 1, r / (1 - r), jnp.inf)


def decay_factor(steps: Int[ArrayLike, "*steps"], shrink: Float[ArrayLike, ""]) -> Float[Array, "*steps"]:
    """What weight decay leaves of a weight: ``(1 - shrink)^t``, with shrink = rate times coefficient.

    It has one sign for shrink < 1: decaying w and b alike scales w x + b and never turns it positive.
    """
    return (1 - jnp.asarray(shrink)) ** jnp.asarray(steps)


def decay_escape_step(
    drive: Float[ArrayLike, "*units"], bias: Float[ArrayLike, "*units"], shrink: Float[ArrayLike, ""]
) -> Float[Array, "*units"]:
    """First step at which ``(1 - shrink)^t drive + bias > 0`` when the weights decay and the bias does not.

    Args:
        drive: w x, with drive + bias < 0.
        bias: b.
        shrink: Rate times coefficient, in (0, 1).

    Returns:
        Smallest whole t above ``log(bias / |drive|) / log(1 - shrink)``; infinity for bias <= 0.
    """
    bias, drive = jnp.asarray(bias), jnp.asarray(drive)
    positive = jnp.where(bias > 0, bias, 1)
    steps = jnp.floor(jnp.log(positive / jnp.abs(drive)) / jnp.log1p(-jnp.asarray(shrink))) + 1
    return jnp.where(bias > 0, steps, jnp.inf)


def oscillation_threshold(momentum: Float[ArrayLike, ""]) -> Float[Array, ""]:
    """Shrink per step from which heavy ball with coupled L2 oscillates: ``(1 - sqrt(mu))^2``, 0.00263 at 0.9.

    Above it all weights change sign together, and with them w x + b.
    """
    return (1 - jnp.sqrt(jnp.asarray(momentum))) ** 2


def heavy_ball_decay_factor(
    steps: Int[ArrayLike, "*steps"], momentum: Float[ArrayLike, ""], shrink: Float[ArrayLike, ""]
) -> Float[Array, "*steps"]:
    """What heavy ball with coupled L2, started at rest, leaves of a weight after t steps without gradient.

    ``w_{t+1} = (1 + mu - shrink) w_t - mu w_{t-1}`` with ``w_{-1} = w_0`` gives
    ``mu^{t/2} [cos(a t) + ((1 - shrink) / sqrt(mu) - cos a) sin(a t) / sin a]``,
    ``cos a = (1 + mu - shrink) / (2 sqrt(mu))``, with a imaginary below `oscillation_threshold`.

    Args:
        steps: t, from 0.
        momentum: mu in (0, 1).
        shrink: Rate times coefficient; NaN exactly at the threshold.
    """
    mu, eta, t = jnp.asarray(momentum), jnp.asarray(shrink), jnp.asarray(steps)
    root, real = jnp.sqrt(mu), jnp.result_type(mu, eta)
    cosine = (1 + mu - eta) / (2 * root)
    angle = jnp.arccos(cosine.astype(jnp.result_type(real, jnp.complex64)))
    swing = ((1 - eta) / root - cosine) * jnp.sin(angle * t) / jnp.sin(angle)
    factor: Array = (mu ** (t / 2) * jnp.real(jnp.cos(angle * t) + swing)).astype(real)
    return factor


def adam_decay_path(
    weight: Float[ArrayLike, "*shape"],
    num_steps: int,
    *,
    learning_rate: Float[ArrayLike, ""],
    l2: Float[ArrayLike, ""],
    b1: Float[ArrayLike, ""] = 0.9,
    b2: Float[ArrayLike, ""] = 0.999,
    epsilon: Float[ArrayLike, ""] = 1e-8,
) -> Float[Array, "*path"]:
    """Weights under Adam whose whole gradient is a coupled penalty, ``g = l2 w``, after 1, 2, ... steps.

    The moments divide l2 out: every weight walks toward 0 at nearly the rate itself, whatever its size, and
    overshoots (why decay is decoupled in AdamW, arXiv 1711.05101). No closed form; each weight by itself.

    Args:
        weight: Where the weights start, with no memory.
        num_steps: How many steps.
        learning_rate: Rate.
        l2: Coefficient of the penalty.
        b1: Decay of the first moment.
        b2: Decay of the second.
        epsilon: Added to the root of the second moment.
    """
    start = jnp.asarray(weight)
    b1, b2 = jnp.asarray(b1, start.dtype), jnp.asarray(b2, start.dtype)

    def step(carry: tuple[Array, Array, Array], t: Array) -> tuple[tuple[Array, Array, Array], Array]:
        w, first, second = carry
        slope = l2 * w
        first, second = b1 * first + (1 - b1) * slope, b2 * second + (1 - b2) * slope**2
        w = w - learning_rate * (first / (1 - b1**t)) / (jnp.sqrt(second / (1 - b2**t)) + epsilon)
        return (w, first, second), w

    zero = jnp.zeros_like(start)
    _, path = jax.lax.scan(step, (start, zero, zero), jnp.arange(1, num_steps + 1, dtype=start.dtype))
    return path


def samuelson_limit(batch: Int[ArrayLike, "*batches"]) -> Float[Array, "*batches"]:
    """Largest standardised value that one of B examples can have, ``sqrt(B - 1)`` (Samuelson 1968).

    With batch normalisation (biased variance) before relu a unit is surely dead if shift / |gain| is at most
    minus this, and never dead while its shift is not negative: some example lies above the mean.
    """
    return jnp.sqrt(jnp.asarray(batch) - 1.0)


def sigmoid_escape_time(start: Float[ArrayLike, "*starts"]) -> Float[Array, "*starts"]:
    """Time for one sigmoid unit with target 1 to climb from a negative bias to 0 by gradient flow.

    The loss ``(1 - S(b))^2 / 2`` gives ``db/dt = S (1 - S)^2``, so the time is ``F(0) - F(start)`` with
    ``F(b) = -e^{-b} + 3 b + 3 e^b + e^{2b} / 2``: about ``e^{|start|}``, slow but never for ever. Plain
    gradient descent of small rate takes time / rate steps.
    """
    b = jnp.asarray(start)
    return 2.5 - (-jnp.exp(-b) + 3 * b + 3 * jnp.exp(b) + jnp.exp(2 * b) / 2)
