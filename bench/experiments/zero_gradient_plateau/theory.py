"""How far memory coasts, what the output bias learns, and steps to leave each saddle, by arithmetic alone."""

import numpy as np
import xarray as xr

from signalprop.analysis import plateau
from signalprop.bench.experiments.zero_gradient_plateau import Settings, saddles
from signalprop.bench.experiments.zero_gradient_plateau.escapes import SECOND
from signalprop.bench.experiments.zero_gradient_plateau.measure import grid
from signalprop.bench.experiments.zero_gradient_plateau.plateaus import POSITIVE
from signalprop.bench.experiments.zero_gradient_plateau.routes import MOMENTUM, ROUTES

NUDGE = 1e-9  # of a start: far above rounding, far below what a well-behaved walk would notice


def theory(settings: Settings) -> xr.Dataset:
    """What coasting, the base rate, the saddles and the sigmoid come to."""
    labels, count = grid(settings).labels(), round(POSITIVE * settings.examples)
    adam = {name: np.asarray(plateau.coasting_adam(100_000, route.count, MOMENTUM, SECOND))[-1]
            for name, route in ROUTES.items() if route.count}  # fmt: skip
    ball, nesterov = MOMENTUM / (1 - MOMENTUM), MOMENTUM**2 / (1 - MOMENTUM)
    coasting = {
        name: adam.get(name, nesterov if ROUTES[name].method == "nesterov" else ball)
        if ROUTES[name].moving
        else np.nan
        for name in settings.route
    }
    return xr.Dataset(
        {
            "coasting_predicted": ("route", list(coasting.values())),
            "base_rate_logit": ((), np.log(count / (settings.examples - count))),
            "ridge_steps_predicted": ("descent", foresee_ridge()),
            "chain_steps_predicted": (
                ("chain", "chain_start", "descent"),
                [[foresee_chain(d, w) for w in saddles.STARTS] for d in saddles.DEPTHS],
            ),
            "sigmoid_steps_predicted": (
                "sigmoid_start",
                np.asarray(plateau.sigmoid_escape_time(np.array(saddles.SIGMOID_STARTS))) / saddles.RATE,
            ),
        },
        coords={k: labels[k] for k in ("route", "descent", "chain", "chain_start", "sigmoid_start")},
    )  # fmt: skip


def foresee_ridge() -> np.ndarray:
    """Steps until |y| > 1 from ``OFFSET``: y grows by a constant factor; damped Newton shrinks it."""
    growth = np.array([1 + 2 * saddles.RATE, 1 - 2 / (2 - saddles.DAMPING), 1 + 2 / (2 + saddles.DAMPING)])
    return np.array([np.floor(-np.log(saddles.OFFSET) / np.log(g)) + 1 if g > 1 else np.inf for g in growth])


def foresee_chain(depth: int, start: float) -> np.ndarray:
    """Steps of the same methods on the one number w that all factors share; NaN where rounding decides.

    With p = w^L the slope is ``(p - 1) p / w`` and the curvature along (1, ..., 1)
    ``(p^2 + (L - 1)(2 p^2 - p)) / w^2``. Near w^2 = damping / (L - 1) damped Newton divides by almost 0 and
    its walk is chaotic: for L = 4 it jumps between +-sqrt(2/5 damping), an unstable orbit on which the start
    0.02 lies exactly. Steps count only if a start that differs by ``NUDGE`` of itself ends at the same w.
    """
    methods = range(len(saddles.METHODS))
    steps, ends = np.array([_walk(method, depth, start) for method in methods]).T
    _, nudged = np.array([_walk(method, depth, start * (1 + NUDGE)) for method in methods]).T
    return np.where(np.isclose(ends, nudged, rtol=1e-3, atol=NUDGE), steps, np.nan)


def _walk(method: int, depth: int, w: float) -> tuple[float, float]:
    """Steps of a method until the product passes 1/2, infinite beyond ``LIMIT``, and where it ends."""
    steps = 0
    while 0 < w**depth <= 0.5 and steps < saddles.LIMIT:
        p = w**depth
        slope, curvature = (p - 1) * p / w, (p**2 + (depth - 1) * (2 * p**2 - p)) / w**2
        stiffness = abs(curvature) if method == 2 else curvature
        w -= saddles.RATE * slope if method == 0 else slope / (stiffness + saddles.DAMPING)
        steps += 1
    return (steps if w**depth > 0.5 and steps < saddles.LIMIT else np.inf), w
