r"""Mean field of a network whose layers differ: a scale, a mean and a width of its own for each.

What `meanfield` takes every layer for, weights of mean zero and one sigma_w, few schemes keep: SIREN and
embeddings scale their first layer, Glorot's scale follows the widths, and weights from U(0, 1) have a mean.
Here layer l has weights of mean w / N_{l-1} and variance sigma_w^2 / N_{l-1}, with N_{l-1} its fan-in, and
biases of mean b and variance sigma_b^2. Its pre-activations h are Gaussian, with a mean m and a variance v:

.. math:: m = w E \phi(h') + b, \qquad v = \sigma_w^2 E \phi(h')^2 + \sigma_b^2

for h' of the layer below. Extends Poole et al. (arXiv 1606.05340) and Schoenholz et al. (arXiv 1611.01232);
the terms of a weight mean and of first order in 1/N are derived here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from signalprop.analysis.compiled import compiled
from signalprop.analysis.gaussian import Elementwise, change, nodes, resolvable
from signalprop.analysis.smoothness import breaks_of

PerLayer = Real[ArrayLike, "*layers"]

LARGEST_VARIANCE = 0.5
"""Variances, see `Layerwise`, up to which the first order in 1/N is said to hold."""


class Layerwise(NamedTuple):
    """Signal and gradient of every layer, from the first to the last.

    Attributes:
        mean: Mean m of the pre-activations of a layer over its units.
        q: Their mean square m^2 + v; inf beyond the square root of the dtype's largest number.
        signal_variance: Variance between networks of m, over v, plus that of v, over v^2, to first order in
            1/N. The mean of q over networks is off by less than this, in terms of v.
        chi_1: sigma_w^2 E phi'^2 with the sigma_w of the layer above, the factor of squared gradients where
            weights have no mean; in the last layer as if another one like it followed.
        log_gradient: Natural logarithm of E |delta^l|^2 / |delta^L|^2, sums over units; 0 in the last layer.
        log_gradient_variance: Of log |delta^l|^2 / |delta^L|^2 between networks, the sum over layers above
            of (3 mu_2 / mu_1^2 - 1) / N with mu_k = E phi'^(2k); a typical network has half of it less.
            Complete to first order for relu and linear networks without a weight mean, else a lower bound.
        in_range: Whether both variances, that of the signal in all layers, are at most `LARGEST_VARIANCE`.
        error: Estimated relative error of the averages, as of `meanfield.quadrature_error`.
    """

    mean: Float[Array, " depth"]
    q: Float[Array, " depth"]
    signal_variance: Float[Array, " depth"]
    chi_1: Float[Array, " depth"]
    log_gradient: Float[Array, " depth"]
    log_gradient_variance: Float[Array, " depth"]
    in_range: Bool[Array, " depth"]
    error: Float[Array, " depth"]


class _Moments(NamedTuple):
    """Averages over one layer, with the unit lengths f = phi / sqrt(E phi^2) and t = (h - m) / sqrt(v)."""

    value: Array  # phi
    square: Array  # phi^2
    stretch: Array  # sqrt(v / E phi^2)
    values: Array  # covariance of (f, f^2)
    slopes: Array  # phi'^2 (1, t) (1, t)
    signal: Array  # phi'^2 (1, f) (1, f)
    gains: Array  # phi' (1, t) (1, f)
    fourth: Array  # phi'^4
    error: Array


@compiled("phi")
def layerwise(
    phi: Elementwise,
    sigma_w: Float[ArrayLike, " depth"],
    fan_in: Float[ArrayLike, " depth"],
    sigma_b: PerLayer = 0.0,
    weight_mean: PerLayer = 0.0,
    bias_mean: PerLayer = 0.0,
    q_0: Real[ArrayLike, ""] = 1.0,
    mean_0: Real[ArrayLike, ""] = 0.0,
) -> Layerwise:
    r"""Signal and gradient of each layer of one network.

    The gradient delta is that by the pre-activations. Beside S = sum delta_i^2 go the gradients by the mean
    and by the length of a layer, u = (sum delta_i, sum delta_i t_i) with t = (h - m) / sqrt(v), whose squares
    a mean of the weights makes larger than S. From the layer above, with its weights, their fan-in N, their
    share r = sigma_w^2 E phi^2 / v of its variance, and with f = phi / sqrt(E phi^2),

    .. math:: k = w u_1 + \sigma_w \sqrt r f u_2, \qquad
        S' = \sigma_w^2 S [E\phi'^2 - r E(\phi' f)^2 / N] + E (\phi' k)^2 / N

    and u' is E phi' k (1, t) plus noise of covariance sigma_w^2 S times that of phi' (1, t) given the signal:
    along it the weights are known. At the top, delta is independent, of mean zero.

    Args:
        phi: Activation.
        sigma_w: Weight scale of each layer: the standard deviation of its weights times sqrt(fan_in).
        fan_in: Units below each layer, N_0 to N_{L-1}; inf for the limit of wide ones.
        sigma_b: Standard deviation of the biases, of each layer or of all.
        weight_mean: w, mean of the weights times fan_in: fan_in / 2 for U(0, 1).
        bias_mean: b, mean of the biases.
        q_0: Mean square of the input.
        mean_0: Mean of the input over its units.
    """
    dtype = jnp.result_type(0.0, sigma_w, q_0)
    scale, fan_in = jnp.asarray(sigma_w, dtype), jnp.asarray(fan_in, dtype)
    spread, weight_mean, bias_mean = (
        jnp.broadcast_to(jnp.asarray(value, dtype), scale.shape)
        for value in (sigma_b, weight_mean, bias_mean)
    )
    start, widths = (jnp.asarray(mean_0, dtype), jnp.asarray(q_0, dtype)), jnp.append(fan_in[1:], jnp.inf)
    signal = _signal(phi, (weight_mean, scale, bias_mean, spread, widths), start)
    mean, q, share, signal_variance, moments = signal
    log_gradient, log_variance = _gradient((weight_mean, scale, fan_in, share), moments)
    chi_1 = jnp.append(scale[1:], scale[-1:]) ** 2 * moments.slopes[:, 0, 0]
    in_range = jnp.maximum(jnp.max(signal_variance), log_variance) <= LARGEST_VARIANCE
    return Layerwise(mean, q, signal_variance, chi_1, log_gradient, log_variance, in_range, moments.error)


def _signal(
    phi: Elementwise, layers: tuple[Array, ...], start: tuple[Array, Array]
) -> tuple[Array, Array, Array, Array, _Moments]:
    """The way up: of every layer m, q, the share of v that is not the biases', its variance, its averages.

    Args:
        phi: Activation.
        layers: w, sigma_w, b, sigma_b and number of units of every layer.
        start: Mean and mean square of the input.
    """
    dtype = start[0].dtype
    largest = float(jnp.finfo(dtype).max) ** 0.5

    def up(
        below: tuple[Array, Array, Array], layer: tuple[Array, ...]
    ) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array, Array, _Moments]]:
        value, square, varied = (
            below  # the last: covariance of value and square, over sqrt(square) and square
        )
        w, s, b, own, n = layer
        mean, variance = w * value + b, s**2 * square + own**2
        share = jnp.where(own == 0, jnp.sign(s), 1 / (1 + own**2 / (s**2 * square)))
        squeeze = jnp.stack([w * jnp.sqrt(jnp.where(s == 0, square / own**2, share / s**2)), share])
        varied = jnp.outer(squeeze, squeeze) * varied  # of m and v, over sqrt(v) and v
        moments = _averages(phi, mean, variance)
        by_place = moments.stretch * moments.gains.T * jnp.array([[1, 0.5], [2, 1]])
        above = by_place @ varied @ by_place.T + moments.values / n
        within = jnp.clip(moments.value, -(largest**0.5), largest**0.5), jnp.minimum(moments.square, largest)
        q = jnp.where(variance > largest, jnp.inf, mean**2 + variance)
        return (*within, above), (mean, q, share, jnp.trace(varied), moments)

    _, found = lax.scan(up, (*start, jnp.zeros((2, 2), dtype)), layers)
    return found


def _gradient(layers: tuple[Array, ...], moments: _Moments) -> tuple[Array, Array]:
    """The way down: of every layer the log of the squared gradient over that of the last, and its variance.

    Args:
        layers: w, sigma_w, fan-in and `_signal`'s share of every layer.
        moments: Averages over every layer.
    """

    def down(
        above: tuple[Array, Array, Array], layer: tuple[Array, Array, Array, Array, _Moments]
    ) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
        log_squares, coherent, log_variance = above  # of S; second moments of u over S; of log S
        w, s, n, share, of = layer
        by_u = jnp.stack([w, s * jnp.sqrt(share)])
        factor = s**2 * (of.slopes[0, 0] - share * of.signal[1, 1] / n)
        factor += jnp.sum(jnp.outer(by_u, by_u) * coherent * of.signal) / n
        gain, along = of.gains * by_u, of.gains[:, 1]
        noise = s**2 * (of.slopes - share * jnp.outer(along, along))
        coherent = (gain @ coherent @ gain.T + noise) / factor
        log_squares += jnp.log(factor)
        log_variance += (3 * of.fourth / of.slopes[0, 0] ** 2 - 1) / n
        return (log_squares, coherent, log_variance), (log_squares, log_variance)

    zero, inner = jnp.zeros((), layers[0].dtype), jax.tree.map(lambda x: x[:-1], moments)
    above = *(values[1:] for values in layers), inner
    _, found = lax.scan(down, (zero, jnp.eye(2, dtype=zero.dtype), zero), above, reverse=True)
    log_gradient, log_variance = (jnp.append(values, 0) for values in found)
    return log_gradient, log_variance


def _averages(phi: Elementwise, mean: Array, variance: Array) -> _Moments:
    """The averages over a layer; all but the first two in the limit where the variance is not resolvable."""
    breaks, v = breaks_of(phi), resolvable(variance)

    def signal(halved: bool) -> tuple[Array, Array]:
        x, weights = nodes(variance, breaks, halved, mean)
        powers = jnp.stack([phi(x), phi(x) ** 2])
        return powers @ weights, jnp.abs(powers) @ weights

    def slopes(halved: bool) -> tuple[Array, Array, Array, Array]:
        x, weights = nodes(v, breaks, halved, mean)
        value, slope = jax.jvp(phi, (x,), (jnp.ones_like(x),))
        return x, weights, value, slope

    (coarse, _), (fine, size) = signal(False), signal(True)
    x, weights, value, slope = slopes(False)
    one, length = jnp.ones_like(x), jnp.sqrt(weights @ value**2)
    f = value / jnp.where(length == 0, 1, length)
    with_t, with_f, powers = (
        jnp.stack([one, (x - mean) / jnp.sqrt(v)]),
        jnp.stack([one, f]),
        jnp.stack([f, f**2]),
    )
    by_t, by_f = ((weights * slope**2 * pair) @ pair.T for pair in (with_t, with_f))
    gains = (weights * slope * with_t) @ with_f.T
    values = (weights * powers) @ powers.T - jnp.outer(powers @ weights, powers @ weights)
    _, finer_weights, _, finer = slopes(True)
    square = finer_weights @ finer**2
    error = jnp.maximum(jnp.max(change(coarse, fine, size)), change(by_t[0, 0], square, square))
    stretch = jnp.sqrt(v) / jnp.where(length == 0, 1, length)
    return _Moments(coarse[0], coarse[1], stretch, values, by_t, by_f, gains, weights @ slope**4, error)
