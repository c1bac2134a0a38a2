"""Largest and smallest singular value of a square Gaussian matrix, exact at every size.

Entries are real, have mean 0 and variance 1/n; multiply by sigma_w for variance sigma_w^2/n. For large n the
largest tends to 2 and the smallest is of order 1/n: `signalprop.analysis.randommatrix` has these limits.
Everything is computed in float64 by NumPy and SciPy.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy import optimize, special

from signalprop.analysis.randommatrix import largest_squared_singular_value

LARGEST_EXACT = 256  # size up to which `largest_law` is there: a few tenths of a second


class SingularLaw(NamedTuple):
    """Distribution of a largest singular value: its cumulative probability at some places, mean, variance."""

    values: Float[np.ndarray, " v"]
    cdf: Float[np.ndarray, " v"]
    mean: float
    variance: float


class Moments(NamedTuple):
    """Mean and variance of a singular value."""

    mean: float
    variance: float


def largest_law(n: int) -> SingularLaw:
    r"""Law of the largest singular value of a real Gaussian matrix, exact for n up to 256.

    .. math:: P(s_1 \le R) = \Bigl[\frac{\det S(R)}{\det S(\infty)}\Bigr]^{1/2}, \qquad
        S_{jk}(R) = \int_0^R \bigl[F_j(s) f_k(s) - f_j(s) F_k(s)\bigr] ds, \qquad F_j(s) = \int_0^s f_j

    for entries of variance 1, with the Hermite functions :math:`f_j = \psi_{2j}`, j < n. The singular values
    have the joint density :math:`\prod_{i<j} |s_i^2 - s_j^2| \prod_i e^{-s_i^2 / 2}`, whose integral over a
    cube is a Pfaffian; odd n adds a row and column of F_j(R). The functions are orthonormal, so nothing
    overflows and the determinants are well conditioned.

    Mean and variance are exact to 1e-8, checked by refining the grid. Beyond n = 256 the lowest of the
    functions is 0 in float64 where the largest values lie.

    Args:
        n: Size, from 2 to 256; entries have variance 1/n.

    Raises:
        ValueError: If n is another.

    References:
        N. de Bruijn (1955), Journal of the Indian Mathematical Society 19, 133, the Pfaffian; M. Chiani
        (arXiv 1209.3394) computes this law from incomplete gamma functions.
    """
    _require_size(n)
    if n > LARGEST_EXACT:
        raise ValueError(f"n must be at most {LARGEST_EXACT}, got {n}; `largest_moments` takes any size")
    edge = 2 * np.sqrt(n)
    ends = np.linspace(max(edge - 8.0, 0.0), edge + 6, 81)
    below, panels = _products(np.array([0.0, ends[0]]), 4 * n + 64, n), _products(ends, 12, n)
    products = below[0] + np.cumsum(panels, 0)
    skew = products - np.swapaxes(products, 1, 2)
    if n % 2:
        border = _functions(ends[1:], n)[1].T
        skew = np.pad(skew, ((0, 0), (0, 1), (0, 1)))
        skew[:, :n, n], skew[:, n, :n] = border, -border
    log_cdf = np.linalg.slogdet(skew)[1] / 2
    values, cdf = ends / np.sqrt(n), np.append(0, np.exp(log_cdf - log_cdf[-1]))
    step = values[1] - values[0]
    mean = values[0] + np.trapezoid(1 - cdf, values)
    # The slope of 2 at the lower end is the first term of Euler and Maclaurin.
    square = values[0] ** 2 + np.trapezoid(2 * values * (1 - cdf), values) + step**2 / 6
    return SingularLaw(values, cdf, float(mean), float(square - mean**2))


def largest_moments(n: int) -> Moments:
    r"""Mean and variance of the largest singular value of a real Gaussian matrix.

    Up to n = 256 those of `largest_law`, exact. Beyond, from the Tracy-Widom form of its square
    (`signalprop.analysis.randommatrix.largest_squared_singular_value`), which leaves the mean low by
    0.25 n^(-4/3), at most 1.6e-4, and the variance high by at most 2.5 %.

    Args:
        n: Size, at least 2; entries have variance 1/n.

    Raises:
        ValueError: If n is below 2.
    """
    _require_size(n)
    if n <= LARGEST_EXACT:
        return Moments(*largest_law(n)[2:])
    square = largest_squared_singular_value(n, n)
    mean, variance = float(square.mean), float(square.variance)
    return Moments(mean**0.5 - variance / (8 * mean**1.5), variance / (4 * mean))


def smallest_above(t: Float[ArrayLike, "..."], n: int) -> Float[np.ndarray, "..."]:
    r"""Probability that n times the smallest singular value is above t, exact at every n.

    .. math:: P = (n - 1) \int_0^\infty e^{-q (n-1)/n} \frac{1 - u}{\sqrt{n (1 - u) + u}} \,
        \mathrm{erfc} \Bigl(t \sqrt{\frac12 + \frac{u}{2 n (1 - u)}}\Bigr) dq, \qquad u = e^{-2 q / n}

    It is the integral of the density of the smallest eigenvalue x of n times the matrix times its transpose,
    :math:`n \Gamma(\frac{n+1}2) (2 \pi x)^{-1/2} e^{-n x / 2} U(\frac{n-1}2, -\frac12, \frac x2)`, with
    Tricomi's U as an integral, and x integrated first. For large n it is :math:`e^{-t^2/2 - t}`, as
    `signalprop.analysis.randommatrix.smallest_singular_value_cdf` has it for entries of any law. Exact to
    1e-9.

    Args:
        t: n times the smallest singular value, at least 0.
        n: Size, at least 2; entries have variance 1/n.

    Raises:
        ValueError: If n is below 2.

    References:
        Edelman (1988), SIAM Journal on Matrix Analysis 9, 543.
    """
    _require_size(n)
    root, weights = _nodes(np.linspace(0, np.sqrt(45 * n / (n - 1)), 97), 8)
    q = root**2
    u, rest = np.exp(-2 * q / n), -np.expm1(-2 * q / n)
    density = (n - 1) * np.exp(-q * (n - 1) / n) * rest / np.sqrt(n * rest + u)
    tail = special.erfc(np.asarray(t, np.float64)[..., None] * np.sqrt((1 + u / (n * rest)) / 2))
    return np.asarray(tail @ (2 * root * weights * density))


def smallest_median(n: int) -> float:
    """Median of the smallest singular value, exact: 0.3065 at n = 2; n times it tends to 0.5448.

    Args:
        n: Size, at least 2; entries have variance 1/n.

    Raises:
        ValueError: If n is below 2.
    """
    _require_size(n)
    return float(optimize.brentq(lambda t: float(smallest_above(t, n)) - 0.5, 0.1, 2.0, xtol=1e-12)) / n


def _require_size(n: int) -> None:
    if n < 2 or n % 1:
        raise ValueError(
            f"n must be a whole number of at least 2, got {n}: one entry is its own singular value"
        )


def _nodes(ends: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights of equal panels between some ends."""
    x, w = special.roots_legendre(order)
    half = (ends[1] - ends[0]) / 2
    return (ends[:-1, None] + half * (x + 1)).ravel(), np.tile(half * w, len(ends) - 1)


def _functions(s: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n even Hermite functions at some places, and their integrals from 0."""
    psi = np.empty((2 * n, len(s)))
    psi[0] = np.pi**-0.25 * np.exp(-(s**2) / 2)
    psi[1] = np.sqrt(2) * s * psi[0]
    integrals = np.empty((n, len(s)))
    integrals[0] = np.pi**0.25 / np.sqrt(2) * special.erf(s / np.sqrt(2))
    for k in range(1, 2 * n - 1):
        psi[k + 1] = (np.sqrt(2) * s * psi[k] - np.sqrt(k) * psi[k - 1]) / np.sqrt(k + 1)
    for j in range(1, n):
        integrals[j] = (np.sqrt(2 * j - 1) * integrals[j - 1] - np.sqrt(2) * psi[2 * j - 1]) / np.sqrt(2 * j)
    return psi[::2], integrals


def _products(ends: np.ndarray, order: int, n: int) -> np.ndarray:
    """Integrals of F_j f_k over panels between some ends, (panels, n, n)."""
    s, weights = _nodes(ends, order)
    f, integrals = (x.reshape(n, len(ends) - 1, order) for x in _functions(s, n))
    weighted = (integrals * weights.reshape(1, -1, order)).swapaxes(0, 1)
    return np.asarray(weighted @ f.transpose(1, 2, 0))
