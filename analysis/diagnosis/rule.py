"""From the numbers of a network to one cause, in the order of the data flow: what is later is a consequence.

Every gate compares a number with a threshold and knows the number's uncertainty: within it, it is borderline
and breaks nothing. Thresholds are theory, results of this suite, or said to be a choice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from signalprop.analysis.diagnosis.layers import Layer, Measured
from signalprop.analysis.diagnosis.segments import Segment
from signalprop.analysis.diagnosis.trials import most_helpful

CAUSES = (
    "input", "not finite", "disconnected", "symmetric", "underflow", "overflow", "weights too small",
    "weights too large", "activation", "saturated", "dead", "branches", "norm", "collapsed", "one layer",
    "gates", "recurrent too small", "recurrent too large", "step", "fine",
)  # fmt: skip
"""The words of a verdict; there are no others."""

DECADE = float(np.log(10))


class Threshold(NamedTuple):
    """A number that decides, and why it is what it is."""

    value: float
    reason: str


THRESHOLDS = {
    "input scale": Threshold(10.0, "choice: initializations are made for inputs of root mean square 1"),
    "decades": Threshold(2.0, "remedy-league: networks within 2 decades of a uniform gradient train"),
    "share of one layer": Threshold(0.5, "choice: more than all the others together"),
    "deviations of one layer": Threshold(4.0, "1 in 16,000 for one layer, 6 % for a thousand"),
    "reachable sigma_w": Threshold(
        3.0, "phase-diagram: tanh 1, relu 1.41, and sigmoid 10.1, whose units saturate there"
    ),
    "saturated": Threshold(0.5, "choice: most units have less than a tenth of the largest slope"),
    "silent": Threshold(0.4, "choice, beyond what the likeness of the examples explains by four deviations"),
    "empty": Threshold(
        0.9, "choice: relu leaves half of a signal, and dropout a tenth at least in usual networks"
    ),
    "peaked": Threshold(0.5, "choice: most rows of the first softmax choose one entry"),
    "cosine": Threshold(
        10.0, "1 - cosine in units of the dtype's eps: differences between examples are rounding"
    ),
    "lost entries": Threshold(0.01, "choice: more than one entry in a hundred is 0 in the own dtype"),
}


@dataclass(frozen=True)
class Finding:
    """One gate that fired, or nearly.

    Attributes:
        cause: One of `CAUSES`.
        where: Layer, parameter or line.
        quantity: What the number is.
        number: Measured.
        threshold: It breaks beyond this.
        uncertainty: Of the number.
        threshold_name: Key of `THRESHOLDS`, if it is one of them.
    """

    cause: str
    where: str
    quantity: str
    number: float
    threshold: float = np.nan
    uncertainty: float = 0.0
    threshold_name: str = ""

    @property
    def borderline(self) -> bool:
        """Whether the number is within its uncertainty of the threshold."""
        return abs(self.number - self.threshold) < self.uncertainty


def findings(network: Measured, eps: float) -> list[Finding]:
    """All that is wrong with a network, the cause first.

    Args:
        network: Its numbers.
        eps: Spacing of its dtype at 1.
    """
    gates = (_not_finite, _input, _cut, _stuck, _depth, _time, _local, _numerics)
    found = [x for gate in gates for x in gate(network)]
    return found + list(_collapsed(network, eps))


def _not_finite(network: Measured) -> Iterator[Finding]:
    for parameter in network.parameters:
        if not np.isfinite(parameter.log_norm) and parameter.log_norm != -np.inf:
            yield Finding("not finite", parameter.name, "weights that are not finite", 1)
            return
    if network.first_lost:
        cause = "input" if any(signal.finite < 1 for _, signal in network.inputs) else "overflow"
        yield Finding(cause, network.first_lost, "first value that is not finite", 1)


def _input(network: Measured) -> Iterator[Finding]:
    largest = THRESHOLDS["input scale"].value
    for name, signal in network.inputs:
        rms = float(np.exp(signal.log_rms))
        if rms > largest or (rms < 1 / largest and rms > 0):
            yield Finding(
                "input",
                name,
                "root mean square of the input",
                rms,
                largest if rms > 1 else 1 / largest,
                0,
                "input scale",
            )
        elif signal.examples_std == 0:
            yield Finding("input", name, "difference between examples", 0.0, 0.0)


def _cut(network: Measured) -> Iterator[Finding]:
    cut = [p for p in network.parameters if not p.reached and p.used]
    if cut:
        yield Finding("disconnected", cut[0].name, "parameters without a gradient path", len(cut), 0)


def _stuck(network: Measured) -> Iterator[Finding]:
    """Gradients that are exactly 0 though a path leads there."""
    zero = [p for p in network.parameters if p.reached and p.log_gradient == -np.inf and p.size > 1]
    alike = [x for x in network.layers if x.weights is not None and x.weights.alike and x.alike_gradient]
    if alike:
        yield Finding(
            "symmetric", alike[0].name, "layers whose units all have the same weights", len(alike), 0
        )
        return
    closed = [p for p in zero if p.log_norm == -np.inf and p.factor]
    if closed and any(p.log_norm > -np.inf for p in zero):
        yield Finding(
            "disconnected", closed[0].name, "factors of exactly 0 without a gradient", len(closed), 0
        )
        return
    taken = {name for name, _ in network.inputs}
    empty = [x for x in network.layers if x.input_zero > THRESHOLDS["empty"].value and x.name not in taken]
    if empty:
        share = empty[0].input_zero
        yield Finding(
            "dead", empty[0].name, "share of zeros that come in", share, THRESHOLDS["empty"].value, 0, "empty"
        )
        return
    silent = [x for x in network.layers if x.activity is not None and x.activity.silent == 1]
    if silent and zero:
        yield Finding(
            "dead", silent[0].name, "share of silent units", 1.0, THRESHOLDS["silent"].value, 0, "silent"
        )
        return


def _depth(network: Measured) -> Iterator[Finding]:
    """Too large a change of the gradient from end to end, and whose it is."""
    segments = [s for s in network.segments if np.isfinite(s.gain)]
    if not segments:
        return
    whole = float(sum(s.gain for s in segments)) / DECADE
    spread = _deviation(network, segments) / DECADE
    limit = THRESHOLDS["decades"].value
    if abs(whole) <= limit - spread:
        return
    cause, where = _whose(network, segments, whole)
    if _are_peaked(network):
        cause, where = "saturated", "softmax"
    yield Finding(
        cause,
        where,
        "decades of gradient from end to end",
        whole,
        float(np.copysign(limit, whole)),
        spread,
        "decades",
    )


def _are_peaked(network: Measured) -> bool:
    """Whether the first softmax chooses one entry in most rows; that later ones do may be a consequence."""
    return bool(network.peaked) and network.peaked[0] > THRESHOLDS["peaked"].value


def _deviation(network: Measured, segments: Sequence[Segment]) -> float:
    """Of the sum over the segments with a formula, between networks."""
    own = [network.layers[s.sites[0] - 1].prediction for s in segments if s.plain and s.sites]
    return float(np.sqrt(sum(p.deviation**2 for p in own if p is not None and np.isfinite(p.deviation))))


def parts(layer: Layer, after: Layer) -> dict[str, float]:
    """A gain in additive parts: what the scale of the weights does, what the slopes do, and the rest."""
    square = 1.0 if layer.activity is None else layer.activity.square  # nothing between them
    if after.weights is None or not np.isfinite(layer.critical_sigma_w):
        return {"weights": 0.0, "slopes": 0.0, "rest": layer.gain}
    with np.errstate(divide="ignore"):
        by_weights = float(np.log(after.weights.root / layer.critical_sigma_w))
        by_slopes = float(0.5 * np.log(square / layer.critical_square))
    return {"weights": by_weights, "slopes": by_slopes, "rest": layer.gain - by_weights - by_slopes}


def _whose(network: Measured, segments: Sequence[Segment], whole: float) -> tuple[str, str]:
    """The cause of a change from end to end, and where it is largest."""
    sign = np.sign(whole)
    worst = max(segments, key=lambda s: sign * s.gain)
    others = np.array([s.gain for s in segments if s is not worst])
    if len(others) > 2:
        typical, spread = (
            float(np.median(others)),
            float(1.48 * np.median(np.abs(others - np.median(others)))),
        )
        far = sign * (worst.gain - typical) > THRESHOLDS["deviations of one layer"].value * max(spread, 0.1)
        if far and sign * worst.gain > THRESHOLDS["share of one layer"].value * abs(whole) * DECADE:
            return "one layer", worst.end
    by = {"weights": 0.0, "slopes": 0.0, "branches": 0.0, "norm": 0.0, "rest": 0.0}
    unreachable = plain = 0
    for s in segments:
        if not s.plain:
            by["branches" if s.joins else "norm" if s.norms else "rest"] += s.gain
            continue
        layer, after = network.layers[s.sites[0] - 1], network.layers[s.sites[0]]
        for name, value in parts(layer, after).items():
            by[name] += value
        plain += 1
        limit = THRESHOLDS["reachable sigma_w"].value
        unreachable += bool(layer.activation) and not layer.critical_sigma_w <= limit
    largest = max(by, key=lambda name: sign * by[name])
    if plain and unreachable > plain / 2 and largest in {"weights", "slopes", "rest"}:
        return "activation", segments[0].start
    if largest in {"branches", "norm"}:
        return largest, worst.end
    if largest == "weights" or sign > 0:
        return ("weights too large" if sign > 0 else "weights too small"), worst.end
    return "saturated", worst.start


def _time(network: Measured) -> Iterator[Finding]:
    """A gradient that vanishes or explodes over the steps of a scan, and the change that helps most."""
    limit = THRESHOLDS["decades"].value
    for past, tried in zip(network.recurrences, network.trials, strict=True):
        whole = past.rate * past.steps / DECADE
        spread = float(np.nan_to_num(past.error)) * past.steps / DECADE
        if np.isnan(whole) or abs(whole) <= limit - spread:
            continue
        best = most_helpful(tried)
        helps = best is not None and abs(best.rate) < abs(past.rate)
        cause = "recurrent too large" if whole > 0 else "recurrent too small"
        cause = best.cause if best is not None and helps else cause
        end = float(np.copysign(limit, whole))
        yield Finding(cause, past.name, "decades of gradient through time", whole, end, spread, "decades")


def _local(network: Measured) -> Iterator[Finding]:
    """Layers most of whose units are silent or saturated."""
    for layer in network.layers:
        if layer.activity is None:
            continue
        chance, silent = layer.activity.silent_expected, layer.activity.silent
        spread = float(np.sqrt(max(chance * (1 - chance), 1 / layer.units) / layer.units))
        limit = THRESHOLDS["silent"].value
        if silent > limit and silent - chance > 4 * spread:
            yield Finding("dead", layer.name, "share of silent units", silent, limit, spread, "silent")
            return
    if _are_peaked(network):
        share, limit = network.peaked[0], THRESHOLDS["peaked"].value
        yield Finding("saturated", "softmax", "share of rows with one entry", share, limit, 0, "peaked")
        return
    limit = THRESHOLDS["saturated"].value
    for layer in network.layers:
        if layer.activity is not None and layer.bounded and layer.activity.saturated > limit:
            wide = layer.weights is not None and layer.weights.root > 1.5 * layer.critical_sigma_w
            yield Finding(
                "weights too large" if wide else "saturated",
                layer.name,
                "share of saturated units",
                layer.activity.saturated,
                limit,
                0,
                "saturated",
            )
            return


def _numerics(network: Measured) -> Iterator[Finding]:
    """Gradients that are finite and lost in the network's own dtype."""
    over = [p for p in network.parameters if np.isnan(p.log_native) and np.isfinite(p.log_gradient)]
    if over:
        yield Finding(
            "overflow", over[0].name, "gradients that are not finite in the own dtype", len(over), 0
        )
    limit = THRESHOLDS["lost entries"].value
    under = [p for p in network.parameters if p.lost > limit and p.size > 1]
    if under:
        worst = max(under, key=lambda p: p.lost)
        yield Finding(
            "underflow",
            worst.name,
            "share of entries lost in the own dtype",
            worst.lost,
            limit,
            0,
            "lost entries",
        )


def _collapsed(network: Measured, eps: float) -> Iterator[Finding]:
    """Examples, or tokens of one, that cannot be told apart behind the last layer but one."""
    limit = THRESHOLDS["cosine"].value * eps
    seen = [x for x in network.layers if np.isfinite(x.signal.cosine)]
    if len(seen) < 3:
        return
    for whose, likeness in (("examples", seen[-2].signal.cosine), ("tokens", seen[-2].signal.cosine_places)):
        if 1 - likeness < limit:
            yield Finding(
                "collapsed", seen[-2].name, f"1 - cosine between {whose}", 1 - likeness, limit, 0, "cosine"
            )
            return
