"""What a scan over time would do with one thing changed: found by running it, not by a formula.

The mean of log f does not explain the gradient of an LSTM: with a forget bias of -2 it says -2.19 nats per
step, and the gradient, which goes round through the hidden state, loses 1.17. Opening the gate tells.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from signalprop.analysis.diagnosis.network import Network
from signalprop.analysis.diagnosis.recurrence import Scan, log_state_gradient, recurrence
from signalprop.analysis.program.flat import Equation, Literal, Program, parts_of_scan
from signalprop.analysis.program.gradients import forward, gradient
from signalprop.analysis.program.reading import SHAPE_ALONE, Flow, Layer

OPEN = 4.0
"""Mean pre-activation at which a gate is tried open: 1 - sigmoid(4) = .018."""


class Trial(NamedTuple):
    """One change of the parameters, tried.

    Attributes:
        cause: What the change would cure, one of `rule.CAUSES`.
        where: Place of the parameter.
        change: What was done to it.
        rate: Of the gradient through time afterwards, in nats per step back.
    """

    cause: str
    where: str
    change: str
    rate: float


def trials(network: Network, arguments: Sequence[Any], lead: int, found: Mapping[int, Any]) -> list[Trial]:
    """Open every gate of a scan, and scale its recurrent weights down and up.

    Args:
        network: The network.
        arguments: What it is called with.
        lead: Which of its scans.
        found: Values of the scan's body at every step, see `gradients.Forward`.
    """
    scan = network.scans[lead]
    equation = network.program.equations[scan.equation]
    done = []
    for cause, variable, change, value in _changes(network.program, equation, scan, arguments, found):
        k = network.program.ins.index(variable)
        own = [value if i == k else x for i, x in enumerate(arguments)]
        values = forward(network.program, network.pieces, own)
        steps = gradient(network.program, network.pieces, values).steps.get(lead)
        rate = recurrence("", log_state_gradient(steps)).rate if steps else -np.inf
        done.append(Trial(cause, network.names[k], change, rate))
    return done


def _changes(
    program: Program, equation: Equation, scan: Scan, arguments: Sequence[Any], found: Mapping[int, Any]
) -> Iterator[tuple[str, int, str, Any]]:
    """Cause, argument, words and new value of each change."""
    body = equation.body
    assert body is not None
    values = dict(zip(program.ins, arguments, strict=True))
    carried = _depends_on_carry(equation, body)
    for layer in scan.layers:
        bias = None if layer.bias is None else _argument(layer.bias, equation, scan, values)
        if bias is not None:
            for start, stop in _gates(body, scan.flow, layer):
                old = np.asarray(values[bias]).astype(np.float64)
                new = old.copy()
                mean = float(np.mean(np.asarray(found[layer.output])[..., start:stop]))
                new[..., start:stop] += OPEN - mean
                yield "gates", bias, f"opened by {OPEN - mean:+.1f}", jnp.asarray(new, values[bias].dtype)
        weight = _argument(layer.weight, equation, scan, values)
        if weight is not None and layer.signal in carried:
            for factor in (0.25, 0.5, 2.0, 4.0):
                cause = "recurrent too large" if factor < 1 else "recurrent too small"
                new = np.asarray(values[weight]).astype(np.float64) * factor
                yield cause, weight, f"times {factor:g}", jnp.asarray(new, values[weight].dtype)


def _argument(variable: int, equation: Equation, scan: Scan, values: Mapping[int, Any]) -> int | None:
    """The program's argument that a variable of the body is, whatever its shape; None if it is none."""
    body = equation.body
    assert body is not None
    while variable in scan.flow.makers:
        maker = body.equations[scan.flow.makers[variable]]
        if maker.name not in SHAPE_ALONE | {"broadcast_in_dim"} or len(maker.variables) != 1:
            return None
        (variable,) = maker.variables
    if variable not in body.ins:
        return None
    outer = equation.ins[body.ins.index(variable)]
    return outer if not isinstance(outer, Literal) and outer in values else None


def _depends_on_carry(scan: Equation, body: Program) -> set[int]:
    _, carry, _ = parts_of_scan(scan, list(body.ins))
    found = set(carry)
    for equation in body.equations:
        if any(v in found for v in equation.variables):
            found |= set(equation.outs)
    return found


def _gates(body: Program, of: Flow, layer: Layer) -> list[tuple[int, int]]:
    """Ranges of a layer's units that end in a sigmoid, alone or after sums with other layers."""
    units = body.types[layer.output].shape[-1]
    ranges, waiting = [], [(layer.output, 0, units, 0)]
    while waiting:
        variable, start, stop, sums = waiting.pop()
        for k in of.users.get(variable, ()):
            equation = body.equations[k]
            if equation.name == "logistic" or _is_sigmoid(equation):
                ranges.append((start, stop))
            elif equation.name in SHAPE_ALONE or (equation.name in {"add", "add_any"} and sums < 3):
                waiting.append((equation.outs[0], start, stop, sums + (equation.name in {"add", "add_any"})))
            elif equation.name == "slice":
                first, last = equation.params["start_indices"][-1], equation.params["limit_indices"][-1]
                waiting.append((equation.outs[0], start + first, start + last, sums))
            elif equation.name == "split":
                ends = np.cumsum([start, *equation.params["sizes"]])
                waiting += [
                    (v, int(a), int(b), sums) for v, a, b in zip(equation.outs, ends, ends[1:], strict=False)
                ]
    return ranges


def _is_sigmoid(equation: Equation) -> bool:
    if equation.name != "custom_jvp_call":
        return False
    inner = equation.params["call_jaxpr"]
    return [e.primitive.name for e in getattr(inner, "jaxpr", inner).eqns] == ["logistic"]


def most_helpful(tried: Sequence[Trial]) -> Trial | None:
    """The change after which the gradient through time is nearest to constant."""
    finite = [x for x in tried if np.isfinite(x.rate)]
    return min(finite, key=lambda x: abs(x.rate)) if finite else None
