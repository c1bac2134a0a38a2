"""A network traced once and read: its layers, activations, scans, and the places that every path passes.

Nothing in the model is edited, and no framework is needed: a program of JAX is enough.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Array

from signalprop.analysis.diagnosis.recurrence import Scan, scan_of
from signalprop.analysis.program import reading
from signalprop.analysis.program.chunks import Chunk, chunks
from signalprop.analysis.program.flat import Equation, Program, trace


@dataclass(frozen=True)
class Network:
    """A traced loss.

    Attributes:
        program: Loss of (parameters, rest, batch), flat.
        names: Of its arguments.
        trained: Which of them are parameters.
        flow: Dependence in it.
        layers: Its layers outside scans.
        stations: Bottlenecks at which a layer ends or two signals are joined, in order.
        softmaxes: Results of its softmax functions, in order.
        scans: Its scans, by the variable of the first result that is used.
        pieces: What is compiled.
    """

    program: Program
    names: tuple[str, ...]
    trained: tuple[bool, ...]
    flow: reading.Flow
    layers: tuple[reading.Layer, ...]
    stations: tuple[int, ...]
    softmaxes: tuple[int, ...]
    scans: Mapping[int, Scan]
    pieces: tuple[Chunk, ...]


def read(
    loss: Callable[[list[Any], list[Any], list[Any]], Array],
    parameters: Mapping[str, Any],
    rest: Mapping[str, Any],
    batch: Mapping[str, Any],
) -> Network:
    """Trace a loss of (parameters, rest, batch) and read it.

    Args:
        loss: A scalar of three lists of arrays.
        parameters: What is trained, by name.
        rest: What else the model holds, by name.
        batch: What depends on data, by name.
    """
    program = trace(loss, list(parameters.values()), list(rest.values()), list(batch.values()))
    names = (*parameters, *rest, *batch)
    trained = tuple(k < len(parameters) for k in range(len(names)))
    of_batch = tuple(k >= len(parameters) + len(rest) for k in range(len(names)))
    behind = [frozenset([x]) if own else frozenset[str]() for x, own in zip(names, trained, strict=True)]
    of = reading.flow(program, behind, of_batch, program.outs[:1])
    layers = reading.layers(program, of)
    stations = _stations(program, of, layers)
    scans = [
        scan_of(k, e, of)
        for k, e in enumerate(program.equations)
        if e.body is not None and any(v in of.reached for v in e.outs)
    ]
    softmaxes = tuple(reading.softmaxes(program, of))
    kept = (
        {*softmaxes}
        | {v for x in layers for v in (x.output, x.weight, x.bias) if v is not None}
        | set(stations)
    )
    pieces = chunks(program, kept & set(of.makers), {scan.equation: scan.watched for scan in scans})
    leads = {v: piece.outs[0] for piece in pieces if piece.scan is not None for v in piece.outs}
    by_lead = {leads[v]: scan for scan in scans for v in program.equations[scan.equation].outs if v in leads}
    return Network(program, names, trained, of, tuple(layers), stations, softmaxes, by_lead, tuple(pieces))


def _stations(program: Program, of: reading.Flow, layers: Sequence[reading.Layer]) -> tuple[int, ...]:
    outputs = {x.output for x in layers}
    narrow = reading.bottlenecks(program, of)
    return tuple(v for v in narrow if v in outputs or joins(program.equations[of.makers[v]], of))


def joins(equation: Equation, of: reading.Flow) -> bool:
    """Whether an equation adds two signals, or puts them side by side."""
    signals = {v for v in equation.variables if v in of.on_data and v in of.reached}
    return equation.name in {"add", "add_any", "concatenate"} and len(signals) > 1


def divides_by_spread(equation: Equation, of: reading.Flow) -> bool:
    """Whether an equation takes a root of the signal, as norms do."""
    return equation.name in {"rsqrt", "sqrt"} and equation.outs[0] in of.on_data
