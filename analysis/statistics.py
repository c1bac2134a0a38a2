"""Averages over networks with their errors, slope fits, and norms that neither under- nor overflow."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, ArrayLike, Bool, Float, Real


class Line(NamedTuple):
    """Straight-line fit y = intercept + slope x with standard errors."""

    slope: float
    slope_error: float
    intercept: float
    intercept_error: float


def mean_and_error(
    values: Real[ArrayLike, "..."], axis: int = 0
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Mean and its standard error, sqrt(sample variance / n), over one axis of n independent values.

    Args:
        values: Samples; along the axis they are independent (networks, not layers).
        axis: The axis to average.

    Returns:
        Mean and standard error; the error is NaN for fewer than two values.
    """
    values = jnp.asarray(values)
    count = values.shape[axis]
    mean = jnp.mean(values, axis)
    if count < 2:
        return mean, jnp.full_like(mean, jnp.nan)
    return mean, jnp.std(values, axis, ddof=1) / count**0.5


def bootstrap_interval(
    values: Real[ArrayLike, " n"],
    statistic: Callable[..., np.ndarray] = np.mean,
    *,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Confidence interval of a statistic of independent values, by the BCa bootstrap (Efron 1987).

    Args:
        values: At least two independent samples.
        statistic: Function of an array and a keyword `axis`, such as `numpy.median`.
        level: Coverage, between 0 and 1.
        num_resamples: Number of resamples; 2000 leaves about 0.01 of noise in the coverage.
        seed: Seed of the resampling.

    Returns:
        Lower and upper end; both equal to the statistic where all values are the same.

    Raises:
        ValueError: If there are fewer than two values.
    """
    values = np.asarray(values)
    if values.size < 2:
        raise ValueError(f"values has {values.size} entries, give at least 2 to bootstrap")
    if np.ptp(values) == 0:
        constant = float(statistic(values, axis=-1))
        return constant, constant
    from scipy import stats

    interval = stats.bootstrap(
        (values,),
        statistic,
        confidence_level=level,
        n_resamples=num_resamples,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def share_interval(count: int, total: int, tries: int = 1) -> tuple[float, float]:
    """Exact 95 % confidence interval of a share (Clopper & Pearson 1934).

    Intervals of several tries, each at error 0.05 / tries, hold all at once; so does that of the best one,
    though it is chosen on the cases that it counts.

    Args:
        count: Successes.
        total: Independent cases, at least 1.
        tries: Number of intervals that are to hold together.
    """
    from scipy import stats

    found = stats.binomtest(count, total).proportion_ci(1 - 0.05 / tries, "exact")
    return float(found.low), float(found.high)


def fit_line(
    x: Real[ArrayLike, " n"], y: Real[ArrayLike, " n"], y_error: Real[ArrayLike, " n"] | None = None
) -> Line:
    """Least-squares line through points, with the errors of slope and intercept.

    With `y_error` the points are weighted by 1 / y_error^2 and the errors follow from these alone; without it
    the scatter of the residuals, with n - 2 degrees of freedom, gives the errors. Points with a y that is not
    finite are left out.

    Args:
        x: Abscissae, at least two different ones.
        y: Ordinates, with independent errors.
        y_error: Standard errors of y, above zero.

    Returns:
        The line; its errors are NaN for two points without `y_error`.

    Raises:
        ValueError: If fewer than two different x remain.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    weights = np.ones_like(y) if y_error is None else 1 / np.asarray(y_error, float) ** 2
    kept = np.isfinite(y)
    x, y, weights = x[kept], y[kept], weights[kept]
    if np.unique(x).size < 2:
        raise ValueError(f"x has {np.unique(x).size} different finite points, give at least 2 to fit a line")
    total = weights.sum()
    center = (weights @ x) / total
    spread = weights @ (x - center) ** 2
    slope = (weights @ ((x - center) * y)) / spread
    intercept = (weights @ y) / total - slope * center
    scatter = 1.0
    if y_error is None:
        residual = y - intercept - slope * x
        scatter = residual @ residual / (x.size - 2) if x.size > 2 else np.nan
    errors = np.sqrt(scatter * np.array([1 / spread, 1 / total + center**2 / spread]))
    return Line(float(slope), float(errors[0]), float(intercept), float(errors[1]))


def log_norm(x: Real[ArrayLike, "..."], axis: int | None = None) -> Float[Array, "..."]:
    """Natural log of the Euclidean norm, summed in the log domain so that no square under- or overflows.

    Args:
        x: Array.
        axis: Axis of the vectors, or None for the whole array.

    Returns:
        log|x|; -inf for an exact zero vector, inf if an entry is infinite.
    """
    return logsumexp(2 * jnp.log(jnp.abs(jnp.asarray(x))), axis) / 2


def log_mean_exp(x: Real[ArrayLike, "..."], axis: int = 0) -> Float[Array, "..."]:
    """Natural log of the mean of exp(x) over an axis: the mean of positive numbers given by their logs.

    Args:
        x: Logs; -inf stands for an exact zero.
        axis: The axis to average.

    Returns:
        log(mean(exp(x))); -inf where all entries are -inf.
    """
    x = jnp.asarray(x)
    return logsumexp(x, axis) - math.log(x.shape[axis])


def auc(scores: Real[ArrayLike, " n"], positive: Bool[ArrayLike, " n"]) -> float:
    """Area under the receiver operating characteristic: how well a score tells two groups apart.

    The chance that a positive case scores higher than a negative one, ties counting half (Mann & Whitney
    1947).

    Args:
        scores: One number per case; infinities are ranked.
        positive: Which cases should score high.

    Returns:
        1 for perfect order, 1/2 for none, 0 for the reverse; NaN if a group is empty.
    """
    scores, positive = np.asarray(scores, float), np.asarray(positive, bool)
    high, low = scores[positive], scores[~positive]
    if min(high.size, low.size) == 0:
        return math.nan
    from scipy import stats

    ranks = stats.rankdata(np.concatenate([high, low]))
    return float((ranks[: high.size].sum() - high.size * (high.size + 1) / 2) / (high.size * low.size))
