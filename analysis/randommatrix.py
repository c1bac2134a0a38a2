"""Products of independent random matrices: exponents, laws of one vector, and densities of singular values.

Matrices are n x n with independent N(0, sigma^2) entries. The laws of one vector are exact at every n and
every number of factors, because one factor maps a fixed unit vector to a Gaussian one:
|A u|^2 = sigma^2 chi^2_n in law. The densities are limits of large n, where only the variance counts.
"""

from math import comb
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, polygamma
from jaxtyping import Array, ArrayLike, Float, Int
from scipy import special

from signalprop.analysis.compiled import compiled

TRACY_WIDOM_MEAN, TRACY_WIDOM_VARIANCE = -1.2065335745820, 1.6077810345810  # beta = 1


class ProductLaw(NamedTuple):
    """Mean and variance of log |M e_1|, of the norm, and of the logarithm of the size of one entry of M."""

    log_norm_mean: Float[Array, "..."]
    log_norm_variance: Float[Array, "..."]
    log_entry_mean: Float[Array, "..."]
    log_entry_variance: Float[Array, "..."]


class Edges(NamedTuple):
    """Ends of the support of a density."""

    lower: Float[Array, "..."]
    upper: Float[Array, "..."]


class LargestLaw(NamedTuple):
    """Mean and variance of the largest squared singular value."""

    mean: Float[Array, "..."]
    variance: Float[Array, "..."]


@compiled("n")
def newman_exponents(n: int, sigma: Float[ArrayLike, ""] = 1.0) -> Float[Array, " n"]:
    r"""Lyapunov exponents of products of independent n x n Gaussian matrices, descending.

    .. math:: \lambda_i = \log \sigma + (\log 2 + \psi((n - i + 1) / 2)) / 2

    Exact. Natural logarithms per factor; relative accuracy a few eps.

    Args:
        n: Dimension.
        sigma: Standard deviation of the entries, above zero.

    References:
        C. Newman (1986), The distribution of Lyapunov exponents: exact results for random matrices.
    """
    sigma = jnp.asarray(sigma, jnp.result_type(float, sigma))
    return jnp.log(sigma) + (jnp.log(2.0) + digamma(jnp.arange(n, 0, -1, sigma.dtype) / 2)) / 2


def finite_depth_correction(n: int) -> Float[np.ndarray, " n"]:
    r"""Mean of :math:`\log s_i - K \lambda_i` of a product of K Gaussian factors, for large K.

    .. math:: c_i = m_{i-1} - m_i, \qquad
        m_k = \frac12 \sum_{j=1}^k \Bigl[\psi\Bigl(\frac j2\Bigr) - \psi\Bigl(\frac{n - k + j}2\Bigr)\Bigr]

    The log volume that the product gives to k fixed vectors has the mean
    :math:`K (\lambda_1 + \dots + \lambda_k)` exactly. That volume is the product of the k largest singular
    values times a k x k minor of a Haar orthogonal matrix, of mean logarithm :math:`m_k`: its square is a
    product of independent Beta(j/2, (n - k)/2) variables, j = 1..k. Derived here from the Bartlett
    decomposition; the corrections sum to 0.

    What is left out falls exponentially with K times the gaps between neighbouring exponents, the smallest
    of which is about 1/(2n): take K above 10 n. Independent of the scale of the factors.

    Args:
        n: Dimension, at least 1.

    Returns:
        Corrections in nats, to be added to K times the exponents; always 64 bits.

    References:
        C. Newman (1986), The distribution of Lyapunov exponents: exact results for random matrices.
        R. Muirhead (1982), Aspects of Multivariate Statistical Theory, section 3.2 (Bartlett; determinants
        of Beta matrices).
    """
    log_minor = [0.0]
    for k in range(1, n + 1):
        j = np.arange(1, k + 1)
        log_minor.append(float(np.sum(special.digamma(j / 2) - special.digamma((n - k + j) / 2))) / 2)
    return -np.diff(log_minor)


def product_vector_law(
    n: int, num_factors: Int[ArrayLike, "..."], sigma: Float[ArrayLike, ""] = 1.0
) -> ProductLaw:
    r"""Exact moments of log |M e_1| and log |M_ij| for a product M of Gaussian matrices.

    .. math:: |M e_1| \sim \prod_{k=1}^K \sigma \chi_n, \qquad
        |M_{ij}| \sim \sigma |N(0, 1)| \prod_{k=1}^{K-1} \sigma \chi_n

    Both logarithms are nearly normal for many factors. The mean square entry is far above the typical one:
    rare draws dominate it.

    Args:
        n: Dimension.
        num_factors: Numbers K of factors, at least 1, of any shape; not traced.
        sigma: Standard deviation of the entries, above zero.

    Returns:
        Means and variances of natural logarithms, in the shape of ``num_factors``.

    Raises:
        ValueError: If there is no factor, or a part of one.
    """
    if np.min(num_factors) < 1 or np.any(np.mod(num_factors, 1)):
        raise ValueError(f"num_factors must be whole numbers of at least 1, got {num_factors}")
    num_factors = jnp.asarray(num_factors)
    sigma = jnp.asarray(sigma, jnp.result_type(float, sigma))
    mean, variance = _log_chi(n, sigma)
    entry_mean, entry_variance = _log_chi(1, sigma)
    before = num_factors - 1
    return ProductLaw(
        num_factors * mean,
        num_factors * variance,
        before * mean + entry_mean,
        before * variance + entry_variance,
    )


def quenched_critical_variance(n: int) -> Float[Array, ""]:
    r"""Entry variance at which a typical product neither grows nor decays: :math:`e^{-\psi(n/2)} / 2`.

    There the largest exponent is 0. Between the annealed and the quenched variance the mean square of |M u|
    grows although almost every product vanishes.
    """
    return jnp.exp(-digamma(jnp.asarray(n / 2))) / 2


def annealed_critical_variance(n: int) -> Float[Array, ""]:
    """Entry variance at which the mean of |M u|^2 neither grows nor decays: 1/n."""
    return jnp.asarray(1 / n)


def fuss_catalan_moment(order: int, depth: int) -> float:
    r"""Moment of the squared singular values of a product of large square matrices.

    .. math:: m_k = \frac{1}{L k + 1} \binom{(L + 1) k}{k}, \qquad m_1 = 1, \quad m_2 = L + 1

    Limit n to infinity of :math:`E \, \mathrm{tr} (M M^T)^k / n` for L factors with independent entries of
    variance 1/n, of any law.

    Args:
        order: k, at least 0.
        depth: Number L of factors, at least 1.

    References:
        Penson & Zyczkowski (arXiv 1103.3453).
    """
    return comb((depth + 1) * order, order) / (depth * order + 1)


@compiled()
def fuss_catalan_edge(depth: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Largest squared singular value of a product: :math:`(L + 1)^{L + 1} / L^L`, 4 for one factor.

    Limit n to infinity at entries of variance 1/n; at n = 400 the largest value is 2 to 4 % lower.

    Args:
        depth: Numbers L of factors, at least 1.
    """
    depth = jnp.asarray(depth, jnp.result_type(float, depth))
    return (depth + 1) * (1 + 1 / depth) ** depth


@compiled()
def largest_square_of_product(n: int, depth: int) -> LargestLaw:
    r"""Mean and variance of the largest squared singular value of a product of L Gaussian n x n matrices.

    .. math:: s_1^2 \approx x_+ + (A n)^{-2/3} \, \mathrm{TW}_1, \qquad
        A = \frac{L^{L-1}}{(L + 1)^L} \sqrt{\frac{2}{L (L + 1) x_+}}

    for entries of variance 1/n, with the edge x_+ of the Fuss-Catalan density and its slope there,
    :math:`\rho \approx A \sqrt{x_+ - x} / \pi`, derived here from the parametrised density. What is left out
    is of relative order L/n; for one factor see `largest_squared_singular_value`.

    Args:
        n: Size.
        depth: Number L of factors, at least 1.

    References:
        Liu, Wang & Zhang (arXiv 1412.6777): soft edges of complex products have the Tracy-Widom law.
    """
    edge = fuss_catalan_edge(depth)
    slope = (1 + 1 / depth) ** -depth / depth * jnp.sqrt(2 / (depth * (depth + 1) * edge))
    scale = (slope * n) ** (-2 / 3)
    return LargestLaw(edge + TRACY_WIDOM_MEAN * scale, TRACY_WIDOM_VARIANCE * scale**2)


def householder_trace(n: int) -> float:
    r"""Mean trace of the Q that QR with Householder reflections gives for a Gaussian matrix.

    .. math:: T_1 = 1, \qquad T_k = -c_k + \Bigl(1 - \frac{1 - c_k}{k - 1}\Bigr) T_{k-1}, \qquad
        c_k = \frac{\Gamma(k/2)}{\sqrt\pi \, \Gamma((k+1)/2)}

    A Haar orthogonal matrix has mean 0. Library routines reflect every column to the side away from its first
    entry, so the diagonal of R has the signs of a rule, not of a coin, and det Q = (-1)^(n-1) always.
    Multiplying the columns of Q by the signs of the diagonal of R gives a Haar matrix. Derived here: c_k is
    the mean of |x_1| / |x|, and a reflection keeps the mean of what follows but for its own direction.

    Args:
        n: Size, at least 1.

    References:
        Mezzadri (math-ph/0609050): how to generate random matrices from the classical compact groups.
    """
    trace = 1.0
    for k in range(2, n + 1):
        c = np.exp(special.gammaln(k / 2) - special.gammaln((k + 1) / 2)) / np.sqrt(np.pi)
        trace = -c + (1 - (1 - c) / (k - 1)) * trace
    return float(trace)


@compiled()
def fuss_catalan_density(x: Float[ArrayLike, "..."], depth: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Density of the squared singular values of a product of L large square matrices.

    .. math:: x = \frac{\sin^{L+1} (L + 1) f}{\sin f \, \sin^L L f}, \qquad
        \rho(x) = \frac{\sin^2 f \, \sin^{L-1} L f}{\pi \sin^L (L + 1) f}, \qquad 0 < f < \frac{\pi}{L + 1}

    x falls from the edge to 0 as f grows; f is found by bisection, with both ends of its range resolved. At
    small x the density is x^{-L/(L+1)} times a constant, and at the edge a square root.

    Args:
        x: Squared singular values, of any shape.
        depth: Numbers L of factors, at least 1, of a shape that broadcasts with ``x``.

    Returns:
        Density with respect to x, in the dtype of ``x``; infinite at 0, and 0 outside [0, edge]. The relative
        error is a few hundred eps, times edge / (edge - x) next to the edge.

    References:
        Biane (1998), Penson & Zyczkowski (arXiv 1103.3453): the density; entries have variance 1/n.
    """
    x = jnp.asarray(x, jnp.result_type(float, x))
    depth = jnp.asarray(depth, x.dtype)
    inside = (x > 0) & (x < fuss_catalan_edge(depth))
    log_x = jnp.log(jnp.where(inside, x, 1.0))

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        above = _fuss_catalan(middle, depth)[0] > log_x
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    high = jnp.maximum(-log_x, 0) / (depth + 1) + jnp.log(depth + 1) + 2
    ends = jnp.full_like(high, jnp.log(jnp.finfo(x.dtype).eps)), high
    low, high = jax.lax.fori_loop(0, jnp.finfo(x.dtype).nmant + 10, halve, ends)
    density = jnp.exp(_fuss_catalan((low + high) / 2, depth)[1])
    return jnp.where(inside, density, jnp.where(x == 0, jnp.inf, 0.0))


def marchenko_pastur_edges(ratio: Float[ArrayLike, "..."]) -> Edges:
    r"""Smallest and largest squared singular value that is not zero: :math:`(1 \mp \sqrt{c})^2`.

    Limit of a large M x N matrix with independent entries of variance 1/N, of any law, c = M / N. In terms of
    a network: c = fan_out / fan_in, at sigma_w = 1.

    Args:
        ratio: c, above zero.

    References:
        Marchenko & Pastur (1967), Mathematics of the USSR-Sbornik 1, 457.
    """
    ratio = jnp.asarray(ratio, jnp.result_type(float, ratio))
    return Edges((1 - jnp.sqrt(ratio)) ** 2, (1 + jnp.sqrt(ratio)) ** 2)


@compiled()
def marchenko_pastur_density(
    x: Float[ArrayLike, "..."], ratio: Float[ArrayLike, "..."]
) -> Float[Array, "..."]:
    r"""Density of the M eigenvalues of W W^T for a large M x N matrix of entries with variance 1/N.

    .. math:: \rho(x) = \frac{\sqrt{(x - x_-)(x_+ - x)}}{2 \pi c x}, \qquad c = M / N

    Its mass is min(1, 1/c): for c above 1 the rest, 1 - 1/c, is an atom at zero, because the rank is at most
    N. The mean is 1 and the second moment 1 + c.

    Args:
        x: Squared singular values, of any shape.
        ratio: c, above zero, of a shape that broadcasts with ``x``.

    Returns:
        Density with respect to x, without the atom; 0 outside the edges, and at x = 0.

    References:
        Marchenko & Pastur (1967), Mathematics of the USSR-Sbornik 1, 457.
    """
    x = jnp.asarray(x, jnp.result_type(float, x))
    lower, upper = marchenko_pastur_edges(jnp.asarray(ratio, x.dtype))
    inside = (x > lower) & (x < upper)
    safe = jnp.where(inside, x, upper)
    root = jnp.sqrt(jnp.maximum(safe - lower, 0) * jnp.maximum(upper - safe, 0))
    return jnp.where(inside, root / (2 * jnp.pi * ratio * safe), 0.0)


@compiled()
def largest_squared_singular_value(
    rows: Float[ArrayLike, "..."], columns: Float[ArrayLike, "..."]
) -> LargestLaw:
    r"""Mean and variance of the largest squared singular value of a finite Gaussian matrix.

    .. math:: N s_1^2 \approx \mu + \sigma \, \mathrm{TW}_1, \qquad \mu = (\sqrt{N - 1} + \sqrt{M})^2, \qquad
        \sigma = (\sqrt{N - 1} + \sqrt{M}) \Bigl(\frac{1}{\sqrt{N - 1}} + \frac{1}{\sqrt M}\Bigr)^{1/3}

    for entries of variance 1/N. The Tracy-Widom law of order 1 has mean -1.2065 and variance 1.6078, so the
    largest value is below the edge by a term of order N^(-2/3). What is left out is of order 1/N^(4/3).

    Args:
        rows: M, at least 1.
        columns: N, at least 2.

    References:
        Johnstone (2001), Annals of Statistics 29, 295; Bornemann (arXiv 0904.1581) for the constants.
    """
    root_n, root_m = jnp.sqrt(jnp.asarray(columns - 1.0)), jnp.sqrt(jnp.asarray(rows * 1.0))
    width = (root_n + root_m) * (1 / root_n + 1 / root_m) ** (1 / 3)
    mean = ((root_n + root_m) ** 2 + TRACY_WIDOM_MEAN * width) / columns
    return LargestLaw(mean, TRACY_WIDOM_VARIANCE * (width / columns) ** 2)


def smallest_singular_value_cdf(t: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    r"""Law of the smallest singular value of a large square matrix: :math:`1 - e^{-t^2/2 - t}`.

    The probability that N s_N <= t for entries of variance 1/N, of any law: the smallest singular value is of
    order 1/N, not of order 1. The mean of t is 0.6557, its median 0.5441.

    Args:
        t: N times the smallest singular value, at least 0.

    References:
        Edelman (1988), SIAM Journal on Matrix Analysis 9, 543; Tao & Vu (arXiv 0903.0614) for any law.
    """
    t = jnp.asarray(t)
    return -jnp.expm1(-(t**2) / 2 - t)


def _fuss_catalan(place: Array, depth: Array) -> tuple[Array, Array]:
    """Logarithms of x and of the density at f = pi / (depth + 1) / (1 + exp(-place))."""
    largest = jnp.pi / (depth + 1)
    f, rest = largest * jax.nn.sigmoid(place), largest * jax.nn.sigmoid(-place)
    log_first = jnp.log(jnp.sin(f))
    log_depth = jnp.log(jnp.sin(jnp.where(place < 0, depth * f, largest + depth * rest)))
    log_next = jnp.log(jnp.sin((depth + 1) * jnp.minimum(f, rest)))
    log_x = (depth + 1) * log_next - log_first - depth * log_depth
    return log_x, 2 * log_first + (depth - 1) * log_depth - depth * log_next - jnp.log(jnp.pi)


def _log_chi(n: int, sigma: Array) -> tuple[Array, Array]:
    """Mean and variance of the logarithm of sigma times a chi variable of n degrees."""
    half = jnp.asarray(n / 2, sigma.dtype)
    return jnp.log(sigma) + (jnp.log(2.0) + digamma(half)) / 2, polygamma(1, half) / 4
