"""A traced JAX program as one list of equations, in which jit, remat and closed calls are written out.

Variables are whole numbers. A scan stays one equation, with its body as a program of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array

WRITTEN_OUT = {"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"}
WITHOUT_EFFECT = {"name"}  # of `checkpoint_name`


@dataclass(frozen=True, eq=False)
class Literal:
    """A number written into an equation."""

    value: Any
    type: Any


Operand = int | Literal


@dataclass(frozen=True, eq=False)
class Equation:
    """One operation.

    Attributes:
        primitive: The operation of JAX, with its `params`.
        ins: Variables and literals that it takes.
        outs: Variables that it makes.
        context: Under which settings it was traced.
        source: Where the user wrote it, for `source_line`.
        body: The flat program of one step, of a scan.
    """

    primitive: Any
    params: dict[str, Any]
    ins: tuple[Operand, ...]
    outs: tuple[int, ...]
    context: Any
    source: Any
    body: "Program | None" = None

    @property
    def name(self) -> str:
        """Name of its primitive."""
        return str(self.primitive.name)

    @property
    def variables(self) -> tuple[int, ...]:
        """The variables among its operands."""
        return tuple(v for v in self.ins if not isinstance(v, Literal))


@dataclass(frozen=True, eq=False)
class Program:
    """Equations in the order of their evaluation.

    Attributes:
        equations: The operations.
        ins: Variables of the arguments.
        outs: Variables or literals of the results.
        constants: Values of variables that are neither made nor given.
        types: Shape and dtype of every variable.
    """

    equations: tuple[Equation, ...]
    ins: tuple[int, ...]
    outs: tuple[Operand, ...]
    constants: Mapping[int, Any]
    types: Sequence[Any]


def is_float(value: Any) -> bool:
    """Whether an array or its type holds real floating-point numbers, by which JAX differentiates."""
    return hasattr(value, "dtype") and bool(jnp.issubdtype(value.dtype, jnp.floating))


def trace(function: Callable[..., Any], *arguments: Any) -> Program:
    """The flat program of a function at such arguments; its results are the leaves of what it returns.

    Raises:
        Exception: Whatever the function raises when it is traced.
    """
    return flattened(jax.make_jaxpr(function)(*arguments))


def flattened(jaxpr: Any) -> Program:
    """The flat program of a closed jaxpr."""
    equations: list[Equation] = []
    constants: dict[int, Any] = {}
    types: list[Any] = []

    def new(variable: Any) -> int:
        types.append(variable.aval)
        return len(types) - 1

    def written_out(inner: Any, arguments: Sequence[Operand]) -> list[Operand]:
        names: dict[Any, Operand] = {}
        opened = getattr(inner, "jaxpr", inner)
        for variable, value in zip(opened.constvars, getattr(inner, "consts", ()), strict=True):
            names[variable] = made = new(variable)
            constants[made] = value
        names.update(zip(opened.invars, arguments, strict=True))

        def operand(variable: Any) -> Operand:
            if isinstance(variable, core.Literal):
                return Literal(variable.val, variable.aval)
            return names[variable]

        for equation in opened.eqns:
            ins = [operand(v) for v in equation.invars]
            name = equation.primitive.name
            if name in WITHOUT_EFFECT:
                names[equation.outvars[0]] = ins[0]
            elif name in WRITTEN_OUT:
                outs = written_out(equation.params.get("jaxpr") or equation.params["call_jaxpr"], ins)
                names.update(zip(equation.outvars, outs, strict=True))
            elif equation.outvars:  # printing for debugging has none
                made_here = tuple(new(v) for v in equation.outvars)
                names.update(zip(equation.outvars, made_here, strict=True))
                body = flattened(equation.params["jaxpr"]) if name == "scan" else None
                equations.append(
                    Equation(
                        equation.primitive,
                        equation.params,
                        tuple(ins),
                        made_here,
                        equation.ctx,
                        equation.source_info,
                        body,
                    )
                )
        return [operand(v) for v in opened.outvars]

    ins = tuple(new(v) for v in getattr(jaxpr, "jaxpr", jaxpr).invars)
    outs = tuple(written_out(jaxpr, ins))
    return Program(tuple(equations), ins, outs, constants, types)


def bind(equation: Equation, values: Sequence[Any]) -> list[Any]:
    """What an equation makes of these values; under a transformation, with the rules of its author."""
    found = equation.primitive.get_bind_params(equation.params)
    functions, params = found if isinstance(found, tuple) else ((), found)
    with equation.context.manager:
        out = equation.primitive.bind(*functions, *values, **params)
    return list(out) if equation.primitive.multiple_results else [out]


def value_of(operand: Operand, environment: Mapping[int, Any]) -> Any:
    """Value of a variable or literal."""
    if isinstance(operand, Literal):
        return jnp.asarray(operand.value, operand.type.dtype)
    return environment[operand]


def environment(
    program: Program, values: Sequence[Any], taps: Mapping[int, Array] | None = None
) -> dict[int, Any]:
    """Values of all variables; a tap is added to its variable where that is made, to take its cotangent."""
    found = dict(program.constants) | dict(zip(program.ins, values, strict=True))
    for equation in program.equations:
        made = bind(equation, [value_of(v, found) for v in equation.ins])
        for variable, value in zip(equation.outs, made, strict=True):
            found[variable] = value + taps[variable] if taps and variable in taps else value
    return found


def results(program: Program, environment: Mapping[int, Any]) -> list[Any]:
    """The results in an environment."""
    return [value_of(v, environment) for v in program.outs]


def parts_of_scan(equation: Equation, values: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """What a scan takes: constants, carry, and what it runs over."""
    if "num_consts" in equation.params:
        constants, carries = equation.params["num_consts"], equation.params["num_carry"]
    else:  # from JAX 0.12 on
        constants, carries = (len(part) for part in equation.params["ft_in"].unpack()[:2])
    split = constants + carries
    return list(values[:constants]), list(values[constants:split]), list(values[split:])


def source_line(equation: Equation) -> str:
    """Where the user's own code wrote an equation, as ``file.py:12 (function)``; empty if nowhere."""
    from jax.extend import source_info_util

    for line in source_info_util.summarize(equation.source, num_frames=40).splitlines():
        if "site-packages" not in line and "/lib/python" not in line:
            return line.strip().rsplit("/", 1)[-1]
    return ""
