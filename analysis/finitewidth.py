"""What finite width does to the Jacobian: exact laws of random relu and linear networks, and their limits.

J = D_L W_L ... D_1 W_1 is the input-output Jacobian at the He variance 2/fan_in (relu) or 1/fan_in (linear),
no bias; u is any fixed unit vector, also the direction of the input, so the norms of the forward signal have
the same law. Sign flips of a row of W leave its law unchanged and flip the gate of its unit, so the gates are
independent fair coins (Hanin & Nica, arXiv 1812.05994). Weights are Gaussian unless said otherwise.

``widths`` are (n_0, ..., n_L), the input's width first; ``width`` is that of the input and of every layer.
Everything is computed in float64 by NumPy. The spread of a generic activation, whose slopes depend on the
signal, has no closed form here: `log_gain_as_if_independent` and `spectral_moments` take its slopes as
independent of the weights, which gives the size of the 1/n term but not its exact value.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.special import gammaln, loggamma, polygamma, psi

from signalprop.analysis.freeprob import Weights


class LogGain(NamedTuple):
    """Mean and variance of log |Ju|^2 (natural, of the square)."""

    mean: float
    variance: float


class LogGains(NamedTuple):
    """Mean and variance of log |Ju|^2 at every depth, the mean relative to log E |Ju|^2."""

    mean: Float[np.ndarray, "*batch depth"]
    variance: Float[np.ndarray, "*batch depth"]


class SpectralMoments(NamedTuple):
    """Second moments of S = J J^T at every depth, m = E tr S / n being its mean."""

    log_square: Float[np.ndarray, "*batch depth"]
    """log E (tr S / n)^2 / m^2"""
    kurtosis: Float[np.ndarray, "*batch depth"]
    """(E tr S^2 / n) / E (tr S / n)^2"""


class Rank(NamedTuple):
    """Mean and variance of the rank of J."""

    mean: float
    variance: float


def log_gain(widths: tuple[int, ...]) -> LogGain:
    r"""Exact law of log |Ju|^2 for a relu network at He variance.

    .. math:: |Ju|^2 \sim \prod_l (2 / n_{l-1}) \chi^2_{N_l}, \qquad N_l \sim \mathrm{Binomial}(n_l, 1/2)

    Conditioned on at least one active unit in every layer: a dead layer, of probability 2^-n, makes it zero.

    Args:
        widths: (n_0, ..., n_L).

    Raises:
        ValueError: If there is no layer or a width is below 1.

    References:
        Hanin (arXiv 1801.03744), Hanin & Nica (arXiv 1812.05994).
    """
    return _sum(widths, np.log(2), _gated_log_chi_square)


def log_gain_linear(widths: tuple[int, ...]) -> LogGain:
    r"""Exact law of log |Ju|^2 for a linear network at variance 1/fan_in.

    .. math:: |Ju|^2 \sim \prod_l \chi^2_{n_l} / n_{l-1}

    Args:
        widths: (n_0, ..., n_L).

    Raises:
        ValueError: If there is no layer or a width is below 1.
    """
    return _sum(widths, 0.0, lambda n: (np.log(2) + psi(n / 2), polygamma(1, n / 2)))


def log_gain_orthogonal(width: int, depth: int) -> LogGain:
    r"""Exact law of log |Ju|^2 for a relu network with orthogonal weights at sigma_w^2 = 2.

    .. math:: |Ju|^2 \sim \prod_{l=1}^L 2 B_l, \qquad
        B_l \sim \mathrm{Beta}(N_l / 2, (n - N_l) / 2), \qquad N_l \sim \mathrm{Binomial}(n, 1/2)

    An orthogonal layer turns u to a random direction, of which the open gates pass a share B of Beta law;
    :math:`\chi^2_N = B \chi^2_n` with independent factors, so the moments are those of `log_gain` less those
    of `log_gain_linear`. Conditioned on at least one active unit in every layer.

    Args:
        width: Units n of the input and of every layer.
        depth: Number L of layers.

    Raises:
        ValueError: If there is no layer or the width is below 1.
    """
    gated = log_gain((width,) * (depth + 1))
    turned = log_gain_linear((width,) * (depth + 1))
    return LogGain(gated.mean - turned.mean, gated.variance - turned.variance)


def log_gain_as_if_independent(
    slope_ratios: Float[ArrayLike, "*batch depth"], width: int, weights: Weights = "gaussian"
) -> LogGains:
    r"""First order in 1/n of the law of log |Ju|^2, as if slopes were independent of the weights.

    .. math:: \mathrm{Var} = \sum_l v_l, \qquad \mathrm{mean} = -\tfrac12 \sum_l v_l, \qquad
        v_l = \frac{3 r_l - 1}{n} \text{ (Gaussian)}, \quad \frac{3 (r_l - 1)}{n + 2} \text{ (orthogonal)}

    with :math:`r_l = \mu_2 / \mu_1^2`, :math:`\mu_k = E \phi'(\sqrt{q^l} z)^{2k}`. For relu (r = 2) it is
    `log_gain_asymptotic`. Where slopes depend on the weights, only the size of the mean is right.

    Args:
        slope_ratios: r of every layer, at least 1.
        width: Units n of the input and of every layer.
        weights: ``gaussian`` or ``orthogonal``.
    """
    r = np.asarray(slope_ratios, np.float64)
    variance = np.cumsum((3 * r - 1) / width if weights == "gaussian" else 3 * (r - 1) / (width + 2), -1)
    return LogGains(-variance / 2, variance)


def log_gain_asymptotic(widths: tuple[int, ...]) -> LogGain:
    r"""Wide limit of `log_gain`, a normal law.

    .. math:: \log |Ju|^2 \sim N(\log(n_L / n_0) - \beta/2, \beta), \qquad \beta = 5 \sum_l 1/n_l

    The variance is 20 % low at width 20, 8 % at 50, 4 % at 100.

    Args:
        widths: (n_0, ..., n_L).

    Raises:
        ValueError: If there is no layer or a width is below 1.

    References:
        Hanin & Nica (arXiv 1812.05994), theorem 1.
    """
    beta = 5 * sum(1 / n for _, n in _layers(widths))
    return LogGain(float(np.log(widths[-1] / widths[0]) - beta / 2), beta)


def log_gain_density(x: Float[ArrayLike, " x"], widths: tuple[int, ...]) -> Float[np.ndarray, " x"]:
    r"""Exact density of log |Ju|^2 for a relu network at He variance; `log_gain` gives its mean and variance.

    .. math:: \rho(x) = \frac1\pi \int_0^\infty \mathrm{Re} \, e^{-itx} \prod_l
        \Bigl(\frac{4}{n_{l-1}}\Bigr)^{it} E \frac{\Gamma(N_l / 2 + it)}{\Gamma(N_l / 2)} \, dt

    Conditioned on at least one active unit in every layer. Exact to about 1e-8 of the peak within 25
    standard deviations of the mean.

    Args:
        x: Natural logarithms of |Ju|^2.
        widths: (n_0, ..., n_L).

    Raises:
        ValueError: If there is no layer or a width is below 1.
    """
    layers = _layers(widths)
    t = np.arange(2000) * 0.1 / np.sqrt(log_gain(widths).variance)
    log_laws = {n: _log_gated_law(n, t) for _, n in layers}
    log_law = sum(log_laws[n] + 1j * t * np.log(2 / below) for below, n in layers)
    law = np.where(np.isfinite(log_law), np.exp(log_law), 0) * t[1] / np.pi
    law[0] /= 2
    return np.asarray((np.exp(-1j * np.outer(x, t)) @ law).real)


def gain_moment(widths: tuple[int, ...], order: int) -> float:
    r"""Return E|Ju|^2k / (E|Ju|^2)^k of a relu network at He variance, exactly.

    .. math:: \prod_l \Bigl(\frac{2}{n_l}\Bigr)^k E \prod_{i=0}^{k-1} (N_l + 2i), \qquad
        N_l \sim \mathrm{Binomial}(n_l, 1/2)

    Order 2 is `fourth_moment`; order 4 gives the sampling error of an average of |Ju|^4.

    Args:
        widths: (n_0, ..., n_L).
        order: k, at least 1.

    Raises:
        ValueError: If there is no layer or a width is below 1.
    """
    found = 1.0
    for _, n in _layers(widths):
        k, weights = _open_gates(n)
        alive = -np.expm1(-n * np.log(2))
        rising = np.prod([k + 2 * i for i in range(order)], axis=0)
        found *= alive * float(weights @ rising) * (2 / n) ** order
    return found


def fourth_moment(widths: tuple[int, ...], kurtosis: float = 3.0, concentration: float = 1.0) -> float:
    r"""Return E|Ju|^4 / (E|Ju|^2)^2 of a relu network, exactly: :math:`\prod_l (1 + 5/n_l)` if Gaussian.

    .. math:: P_l = (1 - 1/n_l) P_{l-1} + T_l, \qquad
        T_l = \frac{2}{n_l} \bigl(3 P_{l-1} + (\kappa - 3) T_{l-1}\bigr), \qquad
        P_0 = 1, \quad T_0 = \sum_i u_i^4

    P is the fourth moment of the norm and T that of the entries, in units of (E|y|^2)^2. For weights of any
    symmetric law with kurtosis :math:`\kappa` only: the gates stay fair coins. At order 1/n the first layer
    alone sees the kurtosis, by a factor :math:`1 + (5 + 2 (\kappa - 3) \sum_i u_i^4) / n_1`, because after it
    T is of order 1/n. E|Ju|^2 itself is n_L/n_0. With a random linear read-out the derivative Z of one output
    has :math:`E Z^4 / (E Z^2)^2 = 3 P_L` (Gaussian read-out).

    Args:
        widths: (n_0, ..., n_L).
        kurtosis: E W^4 / (E W^2)^2: 3 Gaussian, 1.8 uniform, 2.3655 normal cut at two deviations, 1 signs.
        concentration: Sum of u_i^4 over the unit vector u: 1 for one input, 1/n_0 if spread evenly.

    Raises:
        ValueError: If there is no layer or a width is below 1.
    """
    return _fourth(widths, 0.5, kurtosis, concentration)


def linear_fourth_moment(widths: tuple[int, ...], kurtosis: float = 3.0, concentration: float = 1.0) -> float:
    r"""Return E|Ju|^4 / (E|Ju|^2)^2 of a linear network, exactly: :math:`\prod_l (1 + 2/n_l)` if Gaussian.

    As `fourth_moment` with :math:`T_l = (3 P_{l-1} + (\kappa - 3) T_{l-1}) / n_l`. One layer has
    :math:`E|Wu|^4 = 1 + (2 + (\kappa - 3) \sum_i u_i^4) / n` at n = n_0.

    Args:
        widths: (n_0, ..., n_L).
        kurtosis: E W^4 / (E W^2)^2.
        concentration: Sum of u_i^4 over the unit vector u.

    Raises:
        ValueError: If there is no layer or a width is below 1.
    """
    return _fourth(widths, 1.0, kurtosis, concentration)


def spectral_moments(
    slope_ratios: Float[ArrayLike, "*batch depth"], width: int, weights: Weights = "gaussian"
) -> SpectralMoments:
    r"""Second moments of the squared singular values at finite width, at every depth.

    With :math:`a = E (\mathrm{tr} S / n)^2`, :math:`b = E \mathrm{tr} S^2 / n` in units of m^2,
    :math:`r = \mu_2 / \mu_1^2` and :math:`M = W S W^T`, a layer maps

    .. math:: b \to E \mathrm{tr} M^2 / n + (r - 1) t, \qquad a \to E (\mathrm{tr} M / n)^2 + (r - 1) t / n,
        \qquad t = E \sum_i M_{ii}^2 / n

    from a = b = 1. Gaussian weights: :math:`E \mathrm{tr} M^2 / n = a + (1 + 1/n) b`,
    :math:`E (\mathrm{tr} M / n)^2 = a + 2b / n^2`, :math:`t = a + 2b / n`. Orthogonal weights leave both
    traces alone, and :math:`t = (n a + 2 b) / (n + 2)`. The mean is m, the product over layers of sigma_w^2
    mu_1; the wide limit of b / a - 1 is the relative variance of `signalprop.analysis.freeprob.moments`.

    Exact where slopes are independent of each other and of the weights: linear (r = 1) and relu (r = 2).

    Args:
        slope_ratios: r of every layer, at least 1.
        width: Units n of the input and of every layer.
        weights: ``gaussian`` or ``orthogonal``.

    Raises:
        ValueError: If a ratio is below 1.
    """
    ratios = np.asarray(slope_ratios, np.float64)
    if (ratios < 1).any():
        raise ValueError(f"slope_ratios must be mu_2 / mu_1^2, at least 1, got {ratios.min()}")
    log_a, b = np.zeros(ratios.shape[:-1]), np.ones(ratios.shape[:-1])  # b in units of a
    found = []
    for r in np.moveaxis(ratios, -1, 0):
        if weights == "gaussian":
            square, fourth, diagonal = 1 + 2 * b / width**2, 1 + (1 + 1 / width) * b, 1 + 2 * b / width
        else:
            square, fourth, diagonal = np.ones_like(b), b, (width + 2 * b) / (width + 2)
        growth = square + (r - 1) * diagonal / width
        b = (fourth + (r - 1) * diagonal) / growth
        log_a = log_a + np.log(growth)
        found.append((log_a, b))
    return SpectralMoments(*np.moveaxis(np.array(found), 0, -1))


def relu_rank(width: int, depth: int) -> Rank:
    r"""Exact law of the rank of a relu Jacobian: the smallest number of active units in any layer.

    .. math:: \mathrm{rank} \sim \min_{l \le L} N_l, \qquad N_l \sim \mathrm{Binomial}(n, 1/2)

    For Gaussian and orthogonal weights of any scale, dead layers included.

    Args:
        width: Units n of the input and of every layer.
        depth: Number L of layers.
    """
    from scipy import stats

    k = np.arange(1, width + 1)
    at_least = stats.binom.sf(k - 1, width, 0.5) ** depth
    mean = at_least.sum()
    return Rank(float(mean), float(((2 * k - 1) * at_least).sum() - mean**2))


def _layers(widths: tuple[int, ...]) -> list[tuple[int, int]]:
    if len(widths) < 2 or min(widths) < 1 or any(n % 1 for n in widths):
        raise ValueError(
            f"widths must be (n_0, ..., n_L), whole numbers of at least 1, L at least 1, got {widths}"
        )
    return list(pairwise(widths))


def _sum(widths: tuple[int, ...], log_variance: float, law: Callable[[int], tuple[float, float]]) -> LogGain:
    """Sum of independent layers: log (variance / n_{l-1}) + log chi^2, whose moments ``law(n_l)`` gives."""
    layers = _layers(widths)
    laws = {n: law(n) for _, n in layers}
    mean = sum(log_variance - np.log(below) + laws[n][0] for below, n in layers)
    return LogGain(float(mean), float(sum(laws[n][1] for _, n in layers)))


def _fourth(widths: tuple[int, ...], gate: float, kurtosis: float, concentration: float) -> float:
    """Fourth moment of the norm when a gate passes with probability ``gate``, by that of the entries."""
    norm, entries = 1.0, concentration
    for _, n in _layers(widths):
        entries = (3 * norm + (kurtosis - 3) * entries) / (gate * n)
        norm = (1 - 1 / n) * norm + entries
    return norm


def _open_gates(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers k = 1 .. n of open gates among n fair ones, and their probabilities given that one is open."""
    k = np.arange(1, n + 1)
    log_weights = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    weights = np.exp(log_weights - log_weights.max())
    return k, weights / weights.sum()


def _log_gated_law(n: int, t: np.ndarray) -> np.ndarray:
    """Logarithm of the characteristic function of log chi^2_N, N binomial(n, 1/2) given N > 0."""
    k, weights = _open_gates(n)
    ratio = np.exp(loggamma(k[:, None] / 2 + 1j * t) - gammaln(k / 2)[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(weights @ ratio) + 1j * t * np.log(2))


def _gated_log_chi_square(n: int) -> tuple[float, float]:
    """Mean and variance of log chi^2_N, N binomial(n, 1/2) given N > 0."""
    k, weights = _open_gates(n)
    means = np.log(2) + psi(k / 2)
    mean = weights @ means
    return mean, weights @ polygamma(1, k / 2) + weights @ (means - mean) ** 2
