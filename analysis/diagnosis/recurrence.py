"""Scans of a network: over layers, where each step is one, and over time, where gradients have a rate."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from signalprop.analysis.program import reading
from signalprop.analysis.program.flat import Equation, Literal, is_float, parts_of_scan
from signalprop.analysis.statistics import fit_line


class Scan(NamedTuple):
    """A scan that was read.

    Attributes:
        equation: Its index.
        over_layers: Whether it runs over parameters: each step is a layer. Otherwise it runs over time.
        flow: Dependence in its body.
        layers: Of its body.
        watched: Variables of its body whose values are wanted at every step.
    """

    equation: int
    over_layers: bool
    flow: reading.Flow
    layers: tuple[reading.Layer, ...]
    watched: tuple[int, ...]


class Recurrence(NamedTuple):
    """The gradient through time of one scan.

    Attributes:
        name: Place of the parameters in it.
        steps: Number of steps.
        log_gradient: Log of the norm of the gradient by the whole state before each step.
        rate: Its change per step back, in nats, fitted to the middle eight tenths; -inf where it is 0 there.
        error: Standard error of the rate; NaN for few steps.
        lost: First step, counted from the end, at which it is exactly 0; NaN if none.
    """

    name: str
    steps: int
    log_gradient: np.ndarray
    rate: float
    error: float
    lost: float


def scan_of(index: int, equation: Equation, of: reading.Flow) -> Scan:
    """Read one scan."""
    body = equation.body
    assert body is not None
    names = [frozenset[str]() if isinstance(v, Literal) else of.parameters[v] for v in equation.ins]
    data = [not isinstance(v, Literal) and v in of.on_data for v in equation.ins]
    _, carries, running = parts_of_scan(equation, list(range(len(equation.ins))))
    on_data = [depends or (any(data) and k in carries) for k, depends in enumerate(data)]
    inner = reading.flow(body, names, on_data, body.outs)
    layers = tuple(reading.layers(body, inner))
    over_layers = any(bool(names[k]) and not data[k] and is_float(body.types[body.ins[k]]) for k in running)
    outputs = [x.output for x in layers]
    made = [v for x in layers for v in (x.weight, x.bias) if v is not None and v in inner.makers]
    return Scan(index, over_layers, inner, layers, tuple(dict.fromkeys(outputs + made)))


def log_state_gradient(steps: Mapping[Any, np.ndarray]) -> np.ndarray:
    """Log of the norm of the gradient by the whole carry before each step, from `gradients.Backward`."""
    carries = np.stack([value for key, value in steps.items() if str(key).startswith("carry ")])
    return 0.5 * np.asarray(np.logaddexp.reduce(2 * carries, axis=0))


def recurrence(name: str, log_gradient: np.ndarray) -> Recurrence:
    """The rate of a gradient through time."""
    n = len(log_gradient)
    zero = np.flatnonzero(log_gradient == -np.inf)
    middle = np.arange(n // 10, n - n // 10)
    finite = middle[np.isfinite(log_gradient[middle])]
    rate, error = np.nan, np.nan
    if len(finite) > 2:
        line = fit_line(-finite.astype(float), log_gradient[finite])
        rate, error = line.slope, line.slope_error
    elif zero.size:
        rate = -np.inf
    return Recurrence(name, n, log_gradient, rate, error, float(n - zero[-1]) if zero.size else np.nan)
