r"""Growth of signals and back-propagated gradients per layer or block: plain, residual, normalized, dropout.

Everything is for squared norms, summed over the units of a layer, at infinite width unless a width is an
argument, with independent weights of variance sigma_w^2 / fan-in and a gradient from above that does not
depend on them. A factor is what a squared gradient gains on the way down through one layer. A `Profile`
follows a whole network, in logarithms.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from signalprop.analysis.compiled import compiled
from signalprop.analysis.gaussian import Elementwise, derivative, expectation, pair_expectation
from signalprop.analysis.meanfield import Scalar, chi_1, correlation_map, derivative_moment, length_map
from signalprop.analysis.roots import first_crossing
from signalprop.analysis.smoothness import breaks_of, pair_breaks_of
from signalprop.analysis.spherical import pair_average

HEAVY_BATCH = 6  # examples below which the factor of batch norm has an infinite variance over networks
_DECAY = np.polynomial.laguerre.laggauss(48)
_DRAWS, _LARGEST_BATCH, _GROUPS = (
    2**21,
    512,
    256,
)  # numbers drawn for `batch_norm_typical_factor`, and their use


class LayerGrowth(NamedTuple):
    """Growth of log |delta|^2 through one layer: log chi_1, and N times what a width of N takes off it."""

    log_chi_1: Float[Array, "..."]
    shift: Float[Array, "..."]


class Profile(NamedTuple):
    """Signal and gradient at the ends of L blocks, l = 0..L.

    Attributes:
        log_mean_square: Log of the mean square of y^l over units.
        log_gradient: Log of |dE/dy^l|^2 relative to |dE/dy^L|^2; the last entry is 0.
            (`signalprop.models.chain` has the log of the norm, half of it.)
    """

    log_mean_square: Float[Array, " L+1"]
    log_gradient: Float[Array, " L+1"]


class Gains(NamedTuple):
    """What a branch x -> W_2 phi(W_1 x) does: mean square of its output, and its factor of |gradient|^2."""

    mean_square: Float[Array, "..."]
    gradient_factor: Float[Array, "..."]


class BatchGains(NamedTuple):
    """What BatchNorm -> phi does over a batch of B, before the division by the variance of its input.

    Attributes:
        square: E phi(h)^2.
        spread: Variance of phi(h) over the batch times B / (B - 1): kappa = E phi_a^2 - E phi_a phi_b.
        within: Factor of the |gradient|^2 of a gradient that sums to 0 over the batch and is isotropic else:
            tr(P D G D) / (B - 1), with D = diag phi', G the projection on sums of 0, and P that on sums of 0
            and orthogonal to h.
        common: The |gradient|^2 per B - 1 examples that comes from one that is equal for all examples.
    """

    square: Float[Array, ""]
    spread: Float[Array, ""]
    within: Float[Array, ""]
    common: Float[Array, ""]


class Dropout(NamedTuple):
    """One layer with inverted dropout, and the correlation two masks of one input settle at."""

    q: Float[Array, "..."]
    chi_1: Float[Array, "..."]
    c_star: Float[Array, "..."]


@compiled("phi")
def layer_growth(phi: Elementwise, q: Scalar, sigma_w: Scalar) -> LayerGrowth:
    r"""Growth of log |delta|^2 from a layer of length q to the one below, towards the input.

    With independent Gaussian weights, :math:`\mu_k = E \phi'^{2k}` and N units,

    .. math:: E \log (|\delta^l|^2 / |\delta^{l+1}|^2)
        = \log \chi_1 - (3 \mu_2 / \mu_1^2 - 1) / (2 N) + O(N^{-2})

    The mean of a logarithm lies below the logarithm of the mean by half the relative variance of a mean of N
    terms g^2 phi'^2, g normal. It is 5 / 2N for relu, as in arXiv 1801.03744, and 1 / N for a linear network.

    Args:
        phi: Activation.
        q: Mean squared pre-activation of the layer.
        sigma_w: Weight scale.

    Returns:
        log chi_1 in nats, -inf where phi' vanishes, and the shift (3 mu_2 / mu_1^2 - 1) / 2, NaN there.
    """
    mu_1, mu_2 = (derivative_moment(phi, q, order) for order in (1, 2))
    return LayerGrowth(jnp.log(jnp.asarray(sigma_w) ** 2 * mu_1), (3 * mu_2 / mu_1**2 - 1) / 2)


@compiled("phi")
def branch_gains(phi: Elementwise, q: Scalar, sigma_in: Scalar = 1.0, sigma_out: Scalar = 1.0) -> Gains:
    r"""Gains of the two-layer branch W_2 phi(W_1 x) for an input of mean square q.

    .. math:: \sigma_{out}^2 E \phi(\sigma_{in} \sqrt q z)^2, \qquad
        \sigma_{out}^2 \sigma_{in}^2 E \phi'(\sigma_{in} \sqrt q z)^2

    Both are q sigma_in^2 sigma_out^2 / 2 (the second without q) for relu: 1 for He and LeCun weights, 1/2 for
    two Xavier (LeCun) layers.
    """
    sigma_in, sigma_out = jnp.asarray(sigma_in), jnp.asarray(sigma_out)
    inside = sigma_in**2 * q
    return Gains(length_map(phi, inside, sigma_out, 0.0), sigma_out**2 * chi_1(phi, inside, sigma_in))


def log_residual(branch_factor: Scalar, scale: Scalar, depth: Scalar) -> Float[Array, ""]:
    r"""Log of the growth of |x|^2 and of |gradient|^2 over ``depth`` blocks x + scale F(x), natural.

    .. math:: L \log(1 + \alpha^2 \rho)

    For branches F with zero mean over their last weights, such as W_2 phi(W_1 x), whose own gain rho is the
    same at every length (homogeneous phi; He and LeCun weights: rho = 1). Then 2^L at scale 1, towards e at
    L^(-1/2) and 1 at 1/L (arXiv 2010.12859, 1902.04742), and exactly 1 at the start of ReZero (2003.04887),
    SkipInit (2002.10444) and Fixup (1901.09321), whose scale or last layer is 0. For two-layer relu branches
    the mean over networks is exact at every width.

    Args:
        branch_factor: rho, from `branch_gains` at q = 1.
        scale: alpha, may depend on the depth.
        depth: Number L of blocks.
    """
    return jnp.asarray(depth) * jnp.log1p(jnp.asarray(scale) ** 2 * branch_factor)


def log_residual_tanh(sigma_w: Scalar, depth: Scalar) -> Float[Array, ""]:
    r"""Leading growth of log |gradient|^2 over ``depth`` blocks x + tanh(W x).

    .. math:: 8 \sigma_w \sqrt L / (3 \sqrt{2 \pi})

    The signal grows linearly, |x|^2 / N ~ l, and E tanh'^2 ~ (4/3) / sqrt(2 pi sigma_w^2 l), whose sum this
    is: slower than exponential, faster than every power (arXiv 1712.08969). Corrections are logarithmic in L;
    `signalprop.analysis.residual.one_layer` has none.
    """
    slope = float(8 / (3 * np.sqrt(2 * np.pi)))
    return slope * jnp.asarray(sigma_w) * jnp.sqrt(jnp.asarray(depth))


@compiled("phi", "centred")
def layer_norm_factor(phi: Elementwise, width: Scalar = np.inf, centred: bool = True) -> Float[Array, ""]:
    r"""Mean factor of |gradient|^2 through Linear -> LayerNorm or RMSNorm -> phi, from one layer to the next.

    .. math:: \frac{\mu}{\nu} \frac{N}{N - 2 - c} \Big(1 + \frac aN\Big), \qquad \mu = E \phi'^2, \quad
        \nu = E \phi^2 \text{ at } h \sim N(0, 1)

    The norm divides by the second moment of the signal below, which contains the squared mean of phi, while
    the gradient does not see that mean: at N = inf 1 for relu, 1.178 for tanh, but 0.318 for softplus, whose
    gradients vanish. sigma_w drops out. It is the factor of an unnormalized layer of length 1 with the scale
    that keeps that length. Not for the first layer, whose input is not phi(h).

    At N units, derived here, with c = 1 for a layer norm and 0 for RMSNorm,

    .. math:: a = -\frac{E \phi'^2 (c + h^2)}{\mu} - \frac{r}{\mu \nu} + \frac14 \Big(\frac{E \phi^2
        H_4}{\nu} - \frac{E \phi'^2 H_4}{\mu}\Big) + \frac{C(\phi^2, \phi^2)}{\nu^2} - \frac{C(\phi'^2,
        \phi^2)}{\mu \nu}, \quad r = E \phi^2 \phi'^2 - c (E \phi \phi')^2 - (E h \phi \phi')^2

    with H_4 = h^4 - 6 h^2 + 3 and C(f, g) the covariance of f and g less c Cov(f, h) Cov(g, h) and half of
    Cov(f, h^2) Cov(g, h^2). In this order: the norm's Jacobian takes 1 + c of N dimensions; the gradient from
    above is orthogonal to phi(h), as the norm above sees no scale; h is on a sphere; and the layer that
    divides is the one that multiplies. E 1 / variance is the fraction in front. A layer of relu adds 1.36 / N
    to the logarithm, of tanh 1.10 / N, a linear one 1 / N. What is left out is of order 1 / N^2: below 1 % at
    N = 32. Single networks lie below this mean of squares by half of their relative variance, also O(1/N).
    relu with RMSNorm has an infinite mean, of one network in 2^N whose layer is all but dead.

    Args:
        phi: Activation.
        width: Units N of every layer.
        centred: Whether the norm takes the mean away, as a layer norm does.

    Returns:
        The factor; inf for N <= 2 + c, where the mean of 1 / variance is.
    """
    c = int(centred)

    def averages(h: Array) -> Array:
        y, d = phi(h), derivative(phi, h)
        f, g, fourth = y**2, d**2, h**4 - 6 * h**2 + 3
        return jnp.stack(
            [f, f * h, f * h**2, f * fourth, f * f, g, g * h, g * h**2, g * fourth, f * g, y * d, h * y * d],
            -1,
        )

    f, f1, f2, f4, ff, g, g1, g2, g4, fg, m, m1 = expectation(averages, 1.0, breaks_of(phi))
    width = jnp.asarray(width, f.dtype)
    squares = ff - f**2 - c * f1**2 - (f2 - f) ** 2 / 2
    both = fg - f * g - c * f1 * g1 - (f2 - f) * (g2 - g) / 2
    lost = c + g2 / g + (fg - c * m**2 - m1**2) / (f * g)
    a = -lost + (f4 / f - g4 / g) / 4 + squares / f**2 - both / (f * g)
    finite = g / f / (1 - (2 + c) / width) * (1 + jnp.where(g > 0, a, 0) / width)
    return jnp.where(width > 2 + c, finite, jnp.inf)


def norm_factor(std: Scalar, width: Scalar, eps: Scalar = 0.0, centred: bool = True) -> Float[Array, ""]:
    r"""Factor of |gradient|^2 through one layer norm or RMSNorm of n units, from output to input.

    .. math:: \frac{1 - (c + 2 r - r^2) / n}{std^2 + eps}, \qquad r = \frac{std^2}{std^2 + eps}

    with c = 1 for a layer norm, which takes away the mean of the gradient, and 0 for RMSNorm: the squared
    Frobenius norm of the norm's Jacobian over n, so exact for gradients that are isotropic. A layer norm of 2
    units passes nothing without eps: its outputs are always -1 and 1. With a learned scale, times its mean
    square.

    Args:
        std: Standard deviation of the input over its units; its root mean square for RMSNorm.
        width: Units n.
        eps: What is added to the variance.
        centred: Whether the norm takes the mean away, as a layer norm does.
    """
    std, width, eps = (jnp.asarray(value, jnp.result_type(0.0, std)) for value in (std, width, eps))
    total = std**2 + eps
    r = std**2 / total
    return (1 - (int(centred) + 2 * r - r**2) / width) / total


@compiled("phi", "batch_size")
def batch_norm_factor(phi: Elementwise, batch_size: float = np.inf) -> Float[Array, ""]:
    r"""Factor of |gradient|^2 per layer Linear -> BatchNorm -> phi.

    .. math:: \frac{B \, E \, tr(P D G D)}{\kappa (B - 3) (B - 1)} \;\to\; \frac{E \phi'^2}{Var \phi}
        \text{ at } N(0, 1) \text{ for } B \to \infty

    with the projections of `BatchGains`. The limit is at least 1 by the Gaussian Poincare inequality, and 1
    only for affine phi: gradients explode for every nonlinearity, by pi / (pi - 1) = 1.467 per layer for
    relu. A linear network has (B - 2) / (B - 3). sigma_w and sigma_b drop out (arXiv 1902.08129). Valid for
    widths N >> B, some 8 layers above the input.

    It is a mean. 1 / variance of a unit exceeds x with a probability that falls as x^(-(B - 1) / 2): its mean
    is finite from B = 4 on, its variance from B = 6 on (`HEAVY_BATCH`). With fewer examples rare units rule
    the mean, and networks of any width that one computes with show less: see `batch_norm_typical_factor`.

    Args:
        phi: Activation.
        batch_size: B, at least 4, or inf.

    Raises:
        ValueError: If the batch is smaller than 4, where the mean of 1 / variance is infinite.
    """
    gains = batch_gains(phi, batch_size)
    return _inverse_variance(batch_size) * gains.within / gains.spread


def batch_norm_typical_factor(phi: Elementwise, batch_size: int, width: int) -> float:
    r"""Factor that typical networks of N units have per layer Linear -> BatchNorm -> phi.

    .. math:: \lambda \exp E \log \frac1N \sum_{i=1}^N X_i, \qquad
        X = \frac{B - 3}{\chi^2_{B-1}} \frac{Y}{E Y}, \qquad Y = |P D g|^2, \qquad
        E \log S = \int_0^\infty \frac{e^{-s} - (E e^{-s X / N})^N}{s} ds

    with lambda of `batch_norm_factor`, and P and D of one unit as in `BatchGains`, for a Gaussian gradient g
    that sums to 0 over the batch; a unit's variance and direction are independent. The average over the
    variance is a quadrature, which its heavy tail needs, that over Y is over fixed draws: 0.1 % at most.
    relu, N = 192: 2.79 at B = 4 (lambda = 3.08), 1.780 at B = 8 (1.788). Derived here, for gradients that are
    isotropic over the batch; at B = 4 few units carry them, and networks of 64 to 256 units lie 2 % lower,
    from B = 5 on within 0.5 %.

    Args:
        phi: Activation.
        batch_size: B, at least 4; beyond 512 the ratio to lambda, which is near 1, is that of 512.
        width: Units N of a layer, well above B.

    Returns:
        exp of the mean log growth of |gradient|^2 per layer; 0 where phi' vanishes almost everywhere.

    Raises:
        ValueError: If the batch is smaller than 4.
    """
    factor = float(batch_norm_factor(phi, batch_size))
    b = min(batch_size, _LARGEST_BATCH)
    rng, shape = np.random.default_rng(0), (_DRAWS // b, b)
    h, g = (x - x.mean(1, keepdims=True) for x in (rng.standard_normal(shape), rng.standard_normal(shape)))
    h /= np.sqrt((h**2).mean(1, keepdims=True))
    d = g * np.asarray(derivative(phi, jnp.asarray(h)))
    y = np.sort(((d - d.mean(1, keepdims=True) - h * (d * h).mean(1, keepdims=True)) ** 2).sum(1))
    if not y.mean() > 0:
        return 0.0
    grouped = y[: len(y) // _GROUPS * _GROUPS].reshape(_GROUPS, -1).mean(1)
    return factor * float(np.exp(_mean_log(grouped / grouped.mean(), b - 1, width)))


@compiled("phi", "depth", "batch_size")
def pre_batch_norm(
    phi: Elementwise, depth: int, sigma_w: Scalar, batch_size: float = np.inf, q_0: Scalar = 1.0
) -> Profile:
    r"""Profile of blocks x + W phi(BatchNorm(x)), as in arXiv 1603.05027, for independent inputs.

    The branch has mean zero over W, so its contributions add up: the variance over the batch is
    :math:`q_0 + l \sigma_w^2 \kappa`, and the gradient gains :math:`1 + \lambda / (l + q_0 / (\sigma_w^2
    \kappa))` in block l + 1, with the factor lambda of `batch_norm_factor`. It grows as the power
    :math:`L^\lambda` of the depth. The share 1/B of the gradient that is equal for all examples passes the
    skip unchanged and feeds the rest.

    Args:
        phi: Activation.
        depth: Number L of blocks.
        sigma_w: Weight scale.
        batch_size: B, at least 4, or inf.
        q_0: Mean square of the input.

    Returns:
        The profile, for a gradient dE/dy^L of independent entries.

    Raises:
        ValueError: If the batch is smaller than 4.
    """
    gains, variance = batch_gains(phi, batch_size), jnp.asarray(sigma_w) ** 2
    signal, spread = (q_0 + variance * gain * jnp.arange(depth + 1) for gain in gains[:2])

    def pull(size: Array, factor: Array) -> tuple[Array, Array]:
        size = size + factor * (gains.within * size + gains.common)
        return size, size

    factors = variance * _inverse_variance(batch_size) / spread[:-1]
    top = jnp.ones_like(spread[0])
    _, sizes = lax.scan(pull, top, factors, reverse=True)
    return Profile(jnp.log(signal), jnp.log(jnp.append(sizes, top) * (1 - 1 / batch_size) + 1 / batch_size))


@compiled("phi", "batch_size")
def post_batch_norm_factor(
    phi: Elementwise, sigma_in: Scalar = 1.0, sigma_out: Scalar = 1.0, batch_size: float = np.inf
) -> Float[Array, ""]:
    r"""Factor of |gradient|^2 per block BatchNorm(x + W_2 phi(W_1 x)).

    .. math:: \frac{1 + \chi}{1 + f}, \quad \chi = \sigma_{in}^2 \sigma_{out}^2 E \phi'^2, \quad
        f = \sigma_{out}^2 (E \phi^2 - E \phi_a \phi_b)

    at B = inf, for pre-activations of variance sigma_in^2 and correlation -1 / (B - 1): 2 / (2 - 1/pi) =
    1.189 for relu with He and LeCun weights, as the norm takes the mean of the branch out of its scale. At
    finite B the mean of 1 / variance is that of a noncentral chi-squared variable, as |x|^2 = B exactly, and
    of what comes down the skip connection the norm below takes less away: it is orthogonal to x + F already.
    Valid some blocks away from both ends.

    Args:
        phi: Activation.
        sigma_in: Scale of W_1.
        sigma_out: Scale of W_2.
        batch_size: B, at least 4, or inf.

    Raises:
        ValueError: If the batch is smaller than 4.
    """
    _check(batch_size)
    b, r, q = batch_size, -1 / (batch_size - 1), jnp.asarray(sigma_in) ** 2
    scale, breaks = jnp.asarray(sigma_out) ** 2, pair_breaks_of(phi)
    f = scale * pair_expectation(lambda x, y: (phi(x) - phi(y)) ** 2 / 2, q, q, r, *breaks)
    chi = scale * q * expectation(lambda x: derivative(phi, x) ** 2, q, breaks_of(phi))
    if np.isinf(b):
        return (1 + chi) / (1 + f)
    pair = (
        scale * q * pair_expectation(lambda x, y: derivative(phi, x) * derivative(phi, y), q, q, r, *breaks)
    )
    gain = chi - (chi - pair) / b
    half = b / f / 2
    rate = half + (b - 3) / 2
    y, weights = (jnp.asarray(values, f.dtype) for values in _DECAY)
    y = y / rate
    weights = weights * jnp.exp(half * (y - 1 + jnp.exp(-y)))
    removed = jnp.dot(weights, 1 - jnp.exp(-y)) / jnp.sum(weights) / 2
    return jnp.sum(weights) * half / rate * (1 - removed + gain * (b - 2) / (b - 1))


@compiled("phi", "batch_size")
def batch_gains(phi: Elementwise, batch_size: float = np.inf) -> BatchGains:
    """Averages of phi and phi' over a normalized batch of ``batch_size``, at least 4; see `BatchGains`."""
    _check(batch_size)
    b = batch_size
    if np.isinf(b):
        mean, square, slope = expectation(
            lambda x: jnp.stack([phi(x), phi(x) ** 2, derivative(phi, x) ** 2], -1), 1.0, breaks_of(phi)
        )
        return BatchGains(square, square - mean**2, slope, jnp.zeros_like(slope))

    def integrand(x: Array, y: Array) -> Array:
        f, g, d, e = phi(x), phi(y), derivative(phi, x), derivative(phi, y)
        terms = f**2, (f - g) ** 2 / 2, d**2, d * e, (x * d) ** 2, x * y * d * e
        return jnp.stack(jnp.broadcast_arrays(*terms))

    kinks, edges = pair_breaks_of(phi)
    square, spread, slope, slopes, radial, radials = pair_average(integrand, int(b), kinks + edges)
    within = (1 - 1 / b) * slope + (slopes - radial + radials) / b
    return BatchGains(square, spread, within, slope - radial / (b - 1) - within)


@compiled("depth")
def pre_layer_norm(
    depth: int, mean_square: Scalar = 0.5, gradient_factor: Scalar = 0.5, q_0: Scalar = 1.0
) -> Profile:
    r"""Profile of blocks x + F(LayerNorm(x)) with a branch F of mean zero.

    .. math:: p^l = q_0 + l v, \qquad |g^l|^2 / |g^{l+1}|^2 = 1 + \chi / p^l

    The defaults are the feed-forward block W_2 relu(W_1 .) with Xavier weights: (L + 2) / (l + 2) (arXiv
    2002.04745; here for the feed-forward blocks alone). After a last LayerNorm, which divides |g^L|^2 by p^L,
    the gradient at the input does not depend on the depth if v = chi. RMSNorm gives the same.

    Args:
        depth: Number L of blocks.
        mean_square: v, mean square of F; from `branch_gains` at q = 1.
        gradient_factor: chi, factor of |gradient|^2 through F; from `branch_gains` at q = 1.
        q_0: Mean square of the input.
    """
    p = jnp.asarray(q_0) + mean_square * jnp.arange(depth + 1)
    return Profile(jnp.log(p), _from_the_top(jnp.log1p(gradient_factor / p[:-1])))


def post_layer_norm_factor(variance: Scalar = 0.5, gradient_factor: Scalar = 0.5) -> Float[Array, ""]:
    r"""Factor of |gradient|^2 per block LayerNorm(x + F(x)): (1 + chi) / (1 + v).

    v is the variance of F over units, chi its factor of |gradient|^2. The defaults, W_2 relu(W_1 .) with
    Xavier weights, give exactly 1: the often quoted (2/3)^(1/2) per block leaves the branch's own Jacobian
    out. A one-layer branch relu(W x) with He weights has v = 1 - 1/pi, as the norm takes out its mean, and
    chi = 1: 1.189 per block.
    """
    return (1 + jnp.asarray(gradient_factor)) / (1 + jnp.asarray(variance))


@compiled("phi")
def dropout(phi: Elementwise, q: Scalar, keep: Scalar, sigma_w: Scalar, sigma_b: Scalar = 0.0) -> Dropout:
    r"""A layer W (mask phi(z) / keep) + b above one of length q: its length, chi_1, and c* at length q.

    .. math:: q' = \frac{\sigma_w^2}{k} E \phi^2 + \sigma_b^2, \quad \chi_1 = \frac{\sigma_w^2}{k} E \phi'^2,
        \quad c' = [\sigma_w^2 E \phi(u_a) \phi(u_b) + \sigma_b^2] / q'

    Two masks are independent, so that the overlap has no 1/k: c = 1 is no fixed point (arXiv 1611.01232,
    section 5). relu keeps length and gradient at sigma_w^2 = 2k.

    Args:
        phi: Activation.
        q: Length of the layer below; a fixed point for c_star to be one.
        keep: Probability k to keep a unit, above 0.
        sigma_w: Weight scale.
        sigma_b: Standard deviation of the biases.

    Returns:
        q' and chi_1 of one layer; the lowest fixed point c_star of the map of c, 1 without dropout if there
        is none below.
    """
    scale, keep = jnp.asarray(sigma_w) / jnp.sqrt(jnp.asarray(keep)), jnp.asarray(keep)
    above = length_map(phi, q, scale, sigma_b)
    bias = jnp.asarray(sigma_b) ** 2 / above

    def excess(c: Array) -> Array:
        return c - bias - keep * (correlation_map(phi, c, q, q, scale, sigma_b) - bias)

    points = jnp.linspace(0, 1, 65, dtype=above.dtype)
    c_star, _ = first_crossing(excess, points, 64 * float(np.finfo(above.dtype).eps))
    return Dropout(above, chi_1(phi, q, scale), c_star)


def _from_the_top(log_factors: Array) -> Array:
    """Sums of the factors from every block to the last, and 0 above it."""
    return jnp.append(jnp.cumsum(log_factors[::-1])[::-1], 0)


def _inverse_variance(batch_size: float) -> float:
    """Mean of kappa over the biased variance of a batch."""
    return 1.0 if np.isinf(batch_size) else batch_size / (batch_size - 3)


def _check(batch_size: float) -> None:
    if not batch_size >= 4:
        raise ValueError(f"batch_size is {batch_size}, give at least 4")


def _mean_log(y: np.ndarray, free: int, width: int) -> float:
    """Mean log of the mean over units of (free - 2) y / chi^2, y equally often each of some values."""
    middle = np.log(free) / 2
    u = np.linspace(middle - 35 / free - 1, np.log(free + 8 * np.sqrt(2 * free) + 80) / 2, 240)
    log_weights = free * u - np.exp(2 * u) / 2  # of log chi
    weights = np.exp(log_weights - log_weights.max())
    log_s = np.linspace(-30, 30, 400)
    rates = np.exp(log_s[:, None] - 2 * u) * (free - 2) / width
    laplace = np.array([np.exp(-np.outer(rate, y)).mean(1) for rate in rates]) @ (weights / weights.sum())
    return float(np.sum(np.exp(-np.exp(log_s)) - laplace**width) * (log_s[1] - log_s[0]))
