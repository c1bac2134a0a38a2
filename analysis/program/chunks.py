"""A flat program cut into pieces; pieces of one kind share one compiled program.

Compile time then does not grow with depth: thirty layers and three hundred have the same few kinds.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import jax
import numpy as np

from signalprop.analysis.program.flat import Equation, Literal, Operand, Program, bind, is_float

HEAVY = {"dot_general", "conv_general_dilated", "scan"}
ALONE = {"scan", "custom_vjp_call", "custom_vjp_call_jaxpr"}
LONGEST = 40
"""Equations in a piece."""


@dataclass(frozen=True)
class Chunk:
    """A run of equations as a program of its own. Equal are those that compile to the same.

    Attributes:
        kind: What makes two of them equal.
        program: The equations, with variables of its own.
        ins: The whole program's variables for its arguments.
        outs: The same for its results, which later equations or the caller use.
        watched: Variables of a scan's body at which its steps are looked at.
    """

    kind: tuple[Any, ...]
    program: Program = field(compare=False)
    ins: tuple[int, ...] = field(compare=False)
    outs: tuple[int, ...] = field(compare=False)
    watched: tuple[int, ...] = ()

    @property
    def scan(self) -> Equation | None:
        """The scan that it consists of, if it does."""
        only = self.program.equations[0]
        return only if only.body is not None else None


def chunks(
    program: Program, kept: Collection[int] = (), watched: dict[int, tuple[int, ...]] | None = None
) -> list[Chunk]:
    """The program in pieces, in order.

    It is cut before every product and convolution, around scans, where the backward pass must be rescaled
    between a wide dtype and a narrow one, and behind the equations that make a variable to be kept.

    Args:
        program: The whole.
        kept: Variables that shall be results of their piece.
        watched: For the index of a scan among the equations, variables of its body to look at.
    """
    watched, kept = watched or {}, set(kept) | {v for v in program.outs if not isinstance(v, Literal)}
    last_use = {v: k for k, equation in enumerate(program.equations) for v in equation.variables}
    pieces = []
    for first, end in _borders(program, kept):
        equations = program.equations[first:end]
        made = {v for equation in equations for v in equation.outs}
        ins = tuple(dict.fromkeys(v for e in equations for v in e.variables if v not in made))
        outs = tuple(v for e in equations for v in e.outs if v in kept or last_use.get(v, -1) >= end)
        part = _renamed(program, equations, ins, outs)
        inside = watched.get(first, ())
        pieces.append(Chunk((_kind(part), inside), part, ins, outs, inside))
    return pieces


def _borders(program: Program, kept: Collection[int]) -> Iterator[tuple[int, int]]:
    starts = {0, len(program.equations)}
    for k, equation in enumerate(program.equations):
        if equation.name in HEAVY | ALONE:
            starts.add(k)
        if equation.name in ALONE or _widens(program, equation) or any(v in kept for v in equation.outs):
            starts.add(k + 1)
    ordered = sorted(starts)
    for a, b in pairwise(ordered):
        yield from ((s, min(s + LONGEST, b)) for s in range(a, b, LONGEST))


def _widens(program: Program, equation: Equation) -> bool:
    """Whether it casts to a wider floating dtype: on the way back the narrow one comes after it."""
    if equation.name != "convert_element_type" or not equation.variables:
        return False
    before, after = program.types[equation.variables[0]], program.types[equation.outs[0]]
    return is_float(before) and is_float(after) and before.dtype.itemsize < after.dtype.itemsize


def _renamed(
    program: Program, equations: tuple[Equation, ...], ins: tuple[int, ...], outs: tuple[int, ...]
) -> Program:
    """These equations with variables counted from 0, arguments first."""
    order = [*ins, *(v for equation in equations for v in equation.outs)]
    names = {v: k for k, v in enumerate(order)}

    def renamed(v: Operand) -> Operand:
        return v if isinstance(v, Literal) else names[v]

    own = tuple(
        Equation(
            e.primitive,
            e.params,
            tuple(renamed(v) for v in e.ins),
            tuple(names[v] for v in e.outs),
            e.context,
            e.source,
            e.body,
        )
        for e in equations
    )
    types = [program.types[v] for v in order]
    return Program(own, tuple(range(len(ins))), tuple(names[v] for v in outs), {}, types)


def _kind(program: Program) -> tuple[Any, ...]:
    types = tuple(str(program.types[v]) for v in program.ins)
    return tuple(_signature(program, e) for e in program.equations), program.outs, types


def _signature(program: Program, equation: Equation) -> tuple[Any, ...]:
    """What an equation's compiled form depends on."""
    ins = tuple(
        (str(v.type), np.asarray(v.value).tobytes()) if isinstance(v, Literal) else v for v in equation.ins
    )
    if "custom_vjp" in equation.name:  # its rule is a function that nothing but itself describes
        return equation.name, ins, equation.outs, equation.params["call_jaxpr"]
    params: tuple[Any, ...]
    if equation.name == "custom_jvp_call":
        params = _rule(program, equation)
    else:
        params = tuple((name, _fixed(value)) for name, value in sorted(equation.params.items()))
    return equation.name, ins, equation.outs, params


def _fixed(value: Any) -> Any:
    """A parameter, as something that can be compared."""
    if hasattr(value, "jaxpr"):
        return str(
            value
        ), value.jaxpr if value.consts else None  # captured arrays are like nothing but themselves
    if hasattr(value, "eqns"):
        return str(value)
    if isinstance(value, np.ndarray | jax.Array):
        return value.shape, str(value.dtype), np.asarray(value).tobytes()
    if isinstance(value, tuple | list):
        return tuple(map(_fixed, value))
    if isinstance(value, dict):
        return tuple((name, _fixed(part)) for name, part in sorted(value.items()))
    try:
        hash(value)
    except TypeError:
        return str(value)
    return value


def _rule(program: Program, equation: Equation) -> tuple[Any, ...]:
    """A function with its own derivative: JAX's own is known by text and place, others by the rule's text."""
    inner = equation.params["call_jaxpr"]
    opened = getattr(inner, "jaxpr", inner)
    place = str(getattr(opened.debug_info, "func_src_info", opened.debug_info))
    if "/jax/" in place and not getattr(inner, "consts", ()):
        return str(inner), place
    types = [v.type if isinstance(v, Literal) else program.types[v] for v in equation.ins]
    shapes = [jax.ShapeDtypeStruct(t.shape, t.dtype) for t in types]
    tangents = [jax.ShapeDtypeStruct(t.shape, t.dtype if is_float(t) else jax.dtypes.float0) for t in types]
    rule = jax.make_jaxpr(lambda x, dx: jax.jvp(lambda *x: bind(equation, x), tuple(x), tuple(dx)))(
        shapes, tangents
    )
    return str(rule), _fixed(rule)
