"""Products of independent Gaussian matrices: exponents, the exact law of one vector, critical variances.

Matrices are n x n with independent N(0, sigma^2) entries. The laws are exact at every n and every number of
factors, because one factor maps a fixed unit vector to a Gaussian one: |A u|^2 = sigma^2 chi^2_n in law.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, polygamma
from jaxtyping import Array, ArrayLike, Float, Int
from scipy import special


class ProductLaw(NamedTuple):
    """Mean and variance of log |M e_1|, and of the logarithm of the size of one entry of M."""

    mean: Float[Array, "..."]
    variance: Float[Array, "..."]
    entry_mean: Float[Array, "..."]
    entry_variance: Float[Array, "..."]


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
        ValueError: If there is no factor.
    """
    if np.min(num_factors) < 1:
        raise ValueError(f"num_factors must be at least 1, got {num_factors}")
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


def _log_chi(n: int, sigma: Array) -> tuple[Array, Array]:
    """Mean and variance of the logarithm of sigma times a chi variable of n degrees."""
    half = jnp.asarray(n / 2, sigma.dtype)
    return jnp.log(sigma) + (jnp.log(2.0) + digamma(half)) / 2, polygamma(1, half) / 4
