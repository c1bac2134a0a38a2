"""The arrays of every layer, wherever it stands: in the open, or as a step of a scan over layers or time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from signalprop.analysis.diagnosis import measured
from signalprop.analysis.diagnosis.network import Network
from signalprop.analysis.diagnosis.recurrence import Scan
from signalprop.analysis.gaussian import Elementwise
from signalprop.analysis.program import reading
from signalprop.analysis.program.blockfloat import BlockFloat, log_norm
from signalprop.analysis.program.flat import Equation, Literal, Program, parts_of_scan, source_line
from signalprop.analysis.program.gradients import Backward, Forward


@dataclass(frozen=True)
class Site:
    """One layer at work.

    Attributes:
        order: Index of its equation, and of the step for a layer of a scan.
        name: Place of its parameters.
        kind: ``"dense"``, ``"convolution"`` or ``"embedding"``.
        source: Line of the user's own code.
        steps: 1, or the steps of time that are taken together.
        input: What comes in; none of an embedding or inside of scans.
        z: Pre-activations, (examples, ..., units).
        weight: What the signal is multiplied with.
        contracted: Axes that are summed over.
        bias: What is added, if anything.
        log_gradient: Log of the norm of the gradient by z.
        alike_gradient: Whether the gradients of all its units' weights are the same, or 0.
        activation: Name and function of what follows; none if nothing elementwise does.
    """

    order: tuple[int, int]
    name: str
    kind: str
    source: str
    steps: int
    input: np.ndarray | None
    z: np.ndarray
    weight: np.ndarray
    contracted: tuple[int, ...]
    bias: np.ndarray | None
    log_gradient: float
    alike_gradient: bool
    activation: tuple[str, Elementwise] | None


def sites(
    network: Network,
    found: Forward,
    back: Backward,
    values: Mapping[int, Any],
    known: Mapping[str, Elementwise],
) -> list[Site]:
    """All layers of a network, in order.

    Args:
        network: The network.
        found: Its values.
        back: Its gradients.
        values: Of constants and arguments, for scalars in activations.
        known: Activations by name.
    """
    program, of, known = network.program, network.flow, dict(known)
    own = []
    for layer in network.layers:
        equation = program.equations[layer.equation]
        delta = back.cotangents.get(layer.output)
        own.append(
            Site(
                (layer.equation, 0),
                place(layer.parameters),
                layer.kind,
                source_line(equation),
                1,
                np.asarray(found.values[layer.signal]) if layer.signal in found.values else None,
                _units_last(np.asarray(found.values[layer.output]), equation, layer),
                np.asarray(found.values[layer.weight]),
                layer.contracted,
                None if layer.bias is None else np.asarray(found.values[layer.bias]),
                -np.inf if delta is None else log_norm(delta),
                _alike(back.cotangents.get(layer.weight), layer.contracted),
                _activation(program, of, layer, values, known) if _leads_on(network, layer) else None,
            )
        )
    for lead, scan in network.scans.items():
        own += _of_scan(network, lead, scan, found, back, known)
    return sorted(own, key=lambda site: site.order)


def place(parameters: tuple[str, ...] | frozenset[str]) -> str:
    """``layers/3`` of ``layers/3/kernel``; of several parameters what their places share."""
    parts = [name.split("/") for name in sorted(parameters)]
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    if len(parts) == 1 and len(shared) > 1:
        shared.pop()
    return "/".join(shared) or "+".join(sorted(parameters))


def _of_scan(
    network: Network, lead: int, scan: Scan, found: Forward, back: Backward, known: dict[str, Elementwise]
) -> Iterator[Site]:
    """Layers of a scan's body: each step by itself if it runs over layers, else all together."""
    equation = network.program.equations[scan.equation]
    body = equation.body
    assert body is not None
    steps, sizes = found.steps[lead], back.steps.get(lead, {})
    length = int(equation.params["length"])
    for layer in scan.layers:
        product = body.equations[layer.equation]
        z = np.asarray(steps[layer.output])
        logs = sizes.get(f"body {layer.output}", np.full(length, -np.inf))
        activation = _activation(body, scan.flow, layer, dict(body.constants), known)
        name, source = place(layer.parameters), source_line(product)
        weight, stacked = _operand(layer.weight, equation, body, steps, found)
        bias, biases = (
            (None, False) if layer.bias is None else _operand(layer.bias, equation, body, steps, found)
        )

        def at(step: int, values: Any, by_step: bool) -> Any:
            return values[step] if by_step else values

        if scan.over_layers:
            for t in range(length):
                own = None if bias is None else at(t, bias, biases)
                yield Site(
                    (scan.equation, t), f"{name}[{t}]", layer.kind, source, 1, None,
                    _units_last(z[t], product, layer),
                    at(t, weight, stacked), layer.contracted, own, float(logs[t]), False, activation,
                )  # fmt: skip
        else:
            z = np.moveaxis(np.stack([_units_last(x, product, layer) for x in z]), 0, -2)
            own = None if bias is None else at(-1, bias, biases)
            total = float(0.5 * np.logaddexp.reduce(2 * logs))
            yield Site(
                (scan.equation, layer.equation), name, layer.kind, source, length, None, z,
                at(-1, weight, stacked), layer.contracted, own, total, False, activation,
            )  # fmt: skip


def _operand(
    variable: int, scan: Equation, body: Program, steps: Mapping[int, Array], found: Forward
) -> tuple[np.ndarray, bool]:
    """Value of a variable of a scan's body, and whether it has one for each step."""
    if variable in steps:
        return np.asarray(steps[variable]), True
    if variable in body.constants:
        return np.asarray(body.constants[variable]), False
    k = body.ins.index(variable)
    outer = scan.ins[k]
    value = outer.value if isinstance(outer, Literal) else found.values[outer]
    _, _, running = parts_of_scan(scan, list(range(len(scan.ins))))
    return np.asarray(value), k in running


def _units_last(z: np.ndarray, equation: Equation, layer: reading.Layer) -> np.ndarray:
    if layer.kind == "convolution":
        return np.moveaxis(z, equation.params["dimension_numbers"].out_spec[1], -1)
    return z


def _alike(gradient: BlockFloat | None, contracted: tuple[int, ...]) -> bool:
    return (
        gradient is None
        or not contracted
        or measured.weights(np.asarray(gradient.mantissa), contracted).alike
    )


def _leads_on(network: Network, layer: reading.Layer) -> bool:
    """Whether another layer takes what this one makes: behind the last the loss begins."""
    of, waiting, seen = network.flow, [layer.output], {layer.output}
    others = {x.signal for x in network.layers} | {
        v for scan in network.scans.values() for v in _taken(network, scan)
    }
    while waiting:
        variable = waiting.pop()
        if variable in others:
            return True
        for k in of.users.get(variable, ()):
            new = set(network.program.equations[k].outs) - seen
            seen |= new
            waiting += new
    return False


def _taken(network: Network, scan: Scan) -> tuple[int, ...]:
    return network.program.equations[scan.equation].variables if scan.layers else ()


def _activation(
    program: Program,
    of: reading.Flow,
    layer: reading.Layer,
    values: Mapping[int, Any],
    known: dict[str, Elementwise],
) -> tuple[str, Elementwise] | None:
    """Name and function of what follows on a layer: the known one where it is one, else known from now on."""
    region = reading.region(program, of, layer.output)
    if region is None:
        return None
    own = reading.as_function(program, of, region, values)
    if not slopes(own, np.linspace(-4, 4, 81)).any():  # a branch behind a factor of 0
        return None
    name = reading.same_function(own, known)
    if not name:
        name = f"custom {sum(other.startswith('custom') for other in known) + 1}"
        known[name] = own
    return name, known[name]


def slopes(phi: Elementwise, z: np.ndarray) -> np.ndarray:
    """phi'(z)."""
    return np.asarray(_compiled_slopes(phi)(jnp.asarray(z)))


@lru_cache(maxsize=256)
def _compiled_slopes(phi: Elementwise) -> Callable[[Array], Array]:
    return jax.jit(lambda x: jax.jvp(phi, (x,), (jnp.ones_like(x),))[1])
