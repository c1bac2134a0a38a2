"""Routes by which a silent layer might leave its plateau: optimizers of the suite, or a norm before the relu.

An optimizer comes with what it remembers and how it decays; ``escapes.py`` runs the routes from the starts of
``plateaus.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOMENTUM = 0.9
LONG = 1_000_000  # steps after which Adam's bias correction is gone


@dataclass(frozen=True)
class Route:
    """One way that might lead out.

    Attributes:
        label: For figures and tables.
        method: Name in ``bench.training.optimizers`` (SGD is heavy ball with momentum 0), or ``newton``.
        start: Index into ``plateaus.STARTS``.
        momentum: Of the optimizer; Adam's b1.
        count: Steps that Adam has behind it.
        moving: What it remembers: 0 nothing, 1 random moments, 2 the step that silenced the layer.
        l2: Coupled decay.
        decay: Decoupled decay.
        decay_biases: Whether biases decay too.
        noise: Standard deviation of what is added to every weight and bias at every step.
        norm: Index into ``plateaus.LEVELS``.
        shift: Biases of the start behind a norm, in units of sqrt(B - 1).
        saddle_free: Whether Newton's method takes absolute values of the curvature.
    """

    label: str
    method: str = "heavy_ball"
    start: int = 0
    momentum: float = 0.0
    count: int = 0
    moving: int = 0
    l2: float = 0.0
    decay: float = 0.0
    decay_biases: bool = True
    noise: float = 0.0
    norm: int = 0
    shift: float = 0.0
    saddle_free: bool = False

    @property
    def program(self) -> str:
        """Routes of one program differ in numbers alone."""
        return "newton" if self.method == "newton" else "normalized" if self.norm else "plain"


def _ball(label: str, **numbers: Any) -> Route:
    return Route(label, momentum=MOMENTUM, **numbers)


def _adam(label: str, **numbers: Any) -> Route:
    return Route(label, "adam", momentum=MOMENTUM, **numbers)


ROUTES: Mapping[str, Route] = {
    "sgd": Route("SGD"),
    "heavy_ball_rest": _ball("heavy ball, at rest"),
    "adam_rest": _adam("Adam, at rest"),
    "newton": Route("Newton, damped", "newton"),
    "saddle_free": Route("Newton, saddle-free", "newton", saddle_free=True),
    "l2_all": Route("L2 on $w$ and $b$", l2=0.2),
    "adamw_all": _adam("AdamW on $w$ and $b$", decay=0.2),
    "l2_weights": Route("L2 on $w$ alone, $b < 0$", l2=0.2, decay_biases=False),
    "ball_l2_slow": _ball(r"heavy ball + L2, $\eta\lambda < (1-\sqrt{\mu})^2$", l2=0.02),
    "ball_killed": _ball("heavy ball, moving as it was silenced", moving=2),
    "batch_norm_limit": Route(r"batch norm, $\beta = -\gamma\sqrt{B-1}$", start=2, norm=1, shift=-1.0),
    "ball_moving": _ball("heavy ball, random velocity", moving=1),
    "nesterov_moving": Route("Nesterov, random velocity", "nesterov", momentum=MOMENTUM, moving=1),
    "adam_moving_10": _adam("Adam, random moments at step 10", count=10, moving=1),
    "adam_moving": _adam(r"Adam, random moments at step $10^6$", count=LONG, moving=1),
    "noise": Route("weight noise", noise=0.05),
    "batch_norm_low": Route(r"batch norm, $\beta = -2.9\,\gamma$", start=2, norm=1, shift=-2.9 / 255**0.5),
    "l2_rising": Route("L2 on $w$ alone, $b > 0$", start=1, l2=0.3, decay_biases=False),
    "adamw_rising": _adam("AdamW on $w$ alone, $b > 0$", start=1, decay=0.3, decay_biases=False),
    "ball_l2_fast": _ball(r"heavy ball + L2, $\eta\lambda > (1-\sqrt{\mu})^2$", l2=0.5),
    "adam_l2": _adam("Adam + coupled L2 (sign descent)", l2=1e-3),
    "batch_norm": Route(r"batch norm, $\beta = 0$", start=2, norm=1),
    "layer_norm": Route(r"layer norm, $\beta = 0$", start=2, norm=2),
}
