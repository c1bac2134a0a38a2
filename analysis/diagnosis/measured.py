"""Numbers of one layer, from its arrays: lengths, likeness of examples, saturated and silent units, weights.

NumPy in float64: an array is looked at once, and nothing is compiled for its shape.
"""

from typing import NamedTuple

import numpy as np

from signalprop.analysis.activity import SATURATED

FEW = 256
"""Examples whose likeness is looked at."""

FRESH = 2000
"""Units drawn afresh; the share of silent ones among them is known to 1 %."""


class Signal(NamedTuple):
    """Pre-activations of a layer.

    Attributes:
        log_rms: Natural log of their root mean square.
        mean: Over units and examples.
        units_std: Standard deviation over units of the mean over examples: what the weights make of all.
        examples_std: Root mean square over units of the standard deviation over examples.
        cosine: Mean cosine between two examples; NaN for one.
        cosine_places: The same between two places (tokens) of one example; NaN without places.
        finite: Share of numbers that are finite.
    """

    log_rms: float
    mean: float
    units_std: float
    examples_std: float
    cosine: float
    cosine_places: float
    finite: float


class Activity(NamedTuple):
    """Slopes of an activation behind a layer.

    Attributes:
        saturated: Share with less than a tenth of the largest slope.
        silent: Share of units whose slope is exactly 0 on every example and place.
        silent_expected: Share that would be by chance, see `fresh_units`.
        square: Mean squared slope.
    """

    saturated: float
    silent: float
    silent_expected: float
    square: float


class Weights(NamedTuple):
    """A weight as initialization theory sees it.

    Attributes:
        fan_in: Number of its rows that one output sums over.
        sigma_w: Standard deviation times sqrt(fan_in).
        mean: Mean times fan_in.
        alike: Whether all outputs have the same weights.
    """

    fan_in: int
    sigma_w: float
    mean: float
    alike: bool

    @property
    def root(self) -> float:
        """Root mean square of its entries times sqrt(fan_in)."""
        return float(np.hypot(self.sigma_w, self.mean / self.fan_in**0.5))


def signal(z: np.ndarray) -> Signal:
    """Numbers of pre-activations of shape (examples, ..., units)."""
    rows = np.asarray(z).astype(np.float64)
    rows = rows.reshape(len(z), -1, z.shape[-1]) if z.ndim > 1 else rows.reshape(-1, 1, 1)
    finite = np.isfinite(rows)
    if not finite.all():
        return Signal(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, float(finite.mean()))
    by_unit = rows.reshape(-1, rows.shape[-1])
    largest = float(np.abs(rows).max(initial=0))
    if largest == 0:
        return Signal(-np.inf, 0.0, 0.0, 0.0, np.nan, np.nan, 1.0)
    log_rms = np.log(largest) + 0.5 * np.log(np.mean((rows / largest) ** 2))
    spread = float(np.sqrt(np.mean(by_unit.var(0))))
    places = float(np.mean([cosine(one) for one in rows[:8]])) if z.ndim == 3 else np.nan
    mean, between = float(rows.mean()), float(by_unit.mean(0).std())
    return Signal(float(log_rms), mean, between, spread, cosine(rows), places, 1.0)


def cosine(rows: np.ndarray) -> float:
    """Mean cosine between two examples, of an array (examples, ...); without cancellation near 1."""
    few = rows[:FEW].reshape(min(len(rows), FEW), -1)
    lengths = np.sqrt(np.einsum("ij,ij->i", few, few))
    few = few[lengths > 0] / lengths[lengths > 0, None]
    n = len(few)
    if n < 2:
        return np.nan
    away = few - few.mean(0)  # sum over pairs of |a - b|^2 / 2 = n sum |a - mean|^2
    return float(1 - np.sum(away**2) / (n - 1))


def activity(slopes: np.ndarray, fresh: np.ndarray, largest: float) -> Activity:
    """Numbers of slopes of shape (examples, ..., units).

    Args:
        slopes: phi'(z).
        fresh: phi' of `fresh_units`, which tells how many are silent by chance.
        largest: Supremum of their size.
    """
    rows = np.asarray(slopes).astype(np.float64).reshape(-1, slopes.shape[-1] if slopes.ndim > 1 else 1)
    silent, by_chance = (float(np.all(part == 0, axis=0).mean()) for part in (rows, fresh))
    saturated = float(np.mean(np.abs(rows) < SATURATED * largest))
    return Activity(saturated, silent, by_chance, float(np.mean(rows**2)))


def fresh_units(z: np.ndarray) -> np.ndarray:
    """Pre-activations (rows, `FRESH`) of new units as initialization would draw them, on the same examples.

    They are Gaussian, of mean zero, with the covariance between examples that the units of the layer have
    around their common mean. Examples that are alike silence units of relu whatever the weights: a threshold
    that does not know of it would condemn every deep network.
    """
    rows = np.asarray(z).astype(np.float64).reshape(-1, z.shape[-1] if z.ndim > 1 else 1)
    rows = rows[:: max(len(rows) // 1024, 1)]
    draws = np.random.default_rng(0).standard_normal((rows.shape[1], FRESH))
    return np.asarray((rows - rows.mean()) @ draws / rows.shape[1] ** 0.5)


def peaked(p: np.ndarray) -> float:
    """Share of the rows of a softmax in which one entry has more than 99 %."""
    return float(np.mean(np.asarray(p).astype(np.float64).max(-1) > 0.99))


def weights(array: np.ndarray, contracted: tuple[int, ...]) -> Weights:
    """Scale and mean of a weight that is summed over these axes."""
    w = np.asarray(array).astype(np.float64)
    fan_in = int(np.prod([w.shape[k] for k in contracted]))
    rows = np.moveaxis(w, contracted, range(len(contracted))).reshape(fan_in, -1)
    alike = rows.shape[1] > 1 and bool(np.all(rows == rows[:, :1]))
    return Weights(fan_in, float(np.sqrt(fan_in) * w.std()), float(fan_in * w.mean()), alike)
