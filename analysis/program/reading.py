"""Layers, activations and bottlenecks of a flat program, by what its equations do; names do not matter."""

import heapq
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from signalprop.analysis.program.flat import (
    Equation,
    Literal,
    Operand,
    Program,
    bind,
    flattened,
    is_float,
    value_of,
)

BLOCKS_GRADIENT = {"stop_gradient", "floor", "ceil", "round", "sign"}
SHAPE_ALONE = {
    "reshape",
    "transpose",
    "squeeze",
    "expand_dims",
    "copy",
    "copy_p",
    "reduce_precision",
    "convert_element_type",
}
ELEMENTWISE = SHAPE_ALONE | {
    "tanh", "logistic", "exp", "exp2", "log", "log1p", "expm1", "erf", "erfc", "erf_inv", "max", "min", "mul",
    "add", "sub", "div", "neg", "abs", "sign", "integer_pow", "pow", "sqrt", "rsqrt", "cbrt", "square",
    "select_n", "lt", "gt", "le", "ge", "eq", "ne", "and", "or", "not", "sin", "cos", "tan", "atan", "atan2",
    "asinh", "acosh", "atanh", "sinh", "cosh", "asin", "acos", "clamp", "floor", "ceil", "round", "is_finite",
}  # fmt: skip
LINEAR = SHAPE_ALONE | {"mul", "add", "sub", "neg", "div"}
"""Of one variable and scalars, these keep a straight line straight."""


@dataclass(frozen=True)
class Flow:
    """How values depend on each other.

    Attributes:
        makers: Index of the equation that makes a variable.
        users: Indices of those that take it.
        parameters: Names of the parameters that a variable depends on.
        on_data: Variables that depend on the batch.
        reached: Variables from which a gradient path leads to the result.
    """

    makers: Mapping[int, int]
    users: Mapping[int, tuple[int, ...]]
    parameters: Mapping[int, frozenset[str]]
    on_data: Collection[int]
    reached: Collection[int]


@dataclass(frozen=True)
class Layer:
    """A product of a signal with a weight, or a look-up in one.

    Attributes:
        equation: Its index.
        kind: ``"dense"``, ``"convolution"`` or ``"embedding"``.
        parameters: Names of the parameters behind its weight.
        signal: Variable that comes in.
        weight: Variable that it is multiplied with, after masks, norms and casts.
        contracted: Axes of the weight that are summed over.
        output: Variable of the pre-activations, behind the bias.
        bias: Variable of the bias, if there is one.
    """

    equation: int
    kind: str
    parameters: tuple[str, ...]
    signal: int
    weight: int
    contracted: tuple[int, ...]
    output: int
    bias: int | None


@dataclass(frozen=True)
class Region:
    """Equations that act on each element of one variable alone.

    Attributes:
        root: The variable.
        equations: Their indices, in order.
        out: Variable of the last value that is used outside.
    """

    root: int
    equations: tuple[int, ...]
    out: int


def flow(
    program: Program,
    parameters: Sequence[frozenset[str]],
    on_data: Sequence[bool],
    results: Sequence[Operand],
) -> Flow:
    """Follow dependence forward from the arguments, and gradient paths back from the results.

    Args:
        program: The program.
        parameters: For each argument, the names of the parameters in it.
        on_data: For each argument, whether it depends on the batch.
        results: From which gradients start.
    """
    names = dict(zip(program.ins, parameters, strict=True)) | dict.fromkeys(
        program.constants, frozenset[str]()
    )
    data = {v for v, depends in zip(program.ins, on_data, strict=True) if depends}
    makers: dict[int, int] = {}
    users: dict[int, list[int]] = {}
    for k, equation in enumerate(program.equations):
        behind = frozenset[str]().union(*(names[v] for v in equation.variables))
        depends = any(v in data for v in equation.variables)
        for v in dict.fromkeys(equation.variables):
            users.setdefault(v, []).append(k)
        for v in equation.outs:
            makers[v], names[v] = k, behind
            if depends:
                data.add(v)
    reached = {v for v in results if not isinstance(v, Literal)}
    for equation in reversed(program.equations):
        passes = equation.name not in BLOCKS_GRADIENT
        if passes and any(v in reached and is_float(program.types[v]) for v in equation.outs):
            reached |= {v for v in equation.variables if is_float(program.types[v])}
    return Flow(makers, {v: tuple(ks) for v, ks in users.items()}, names, data, reached)


def layers(program: Program, of: Flow) -> list[Layer]:
    """The equations that join the signal with parameters, in order."""
    found = []
    for k, equation in enumerate(program.equations):
        joined = _joined(program, equation, of)
        if joined is not None and equation.outs[0] in of.reached:
            kind, signal, weight, contracted = joined
            output, bias = (
                _preactivation(program, of, equation.outs[0])
                if kind != "embedding"
                else (equation.outs[0], None)
            )
            parameters = tuple(sorted(of.parameters[weight]))
            found.append(Layer(k, kind, parameters, signal, weight, contracted, output, bias))
    return found


def _joined(program: Program, equation: Equation, of: Flow) -> tuple[str, int, int, tuple[int, ...]] | None:
    """Kind of layer, signal, weight and contracted axes, of an equation that is one."""
    if len(equation.variables) < 2 or equation.name not in {"dot_general", "conv_general_dilated", "gather"}:
        return None
    a, b = equation.variables[:2]
    is_weight = [v not in of.on_data and bool(of.parameters[v]) for v in (a, b)]
    if equation.name == "gather":
        return ("embedding", b, a, ()) if is_weight[0] and b in of.on_data else None
    if sum(is_weight) != 1 or (b if is_weight[0] else a) not in of.on_data:
        return None
    place = is_weight.index(True)
    weight, signal = (a, b) if place == 0 else (b, a)
    numbers = equation.params["dimension_numbers"]
    if equation.name == "dot_general":
        return "dense", signal, weight, tuple(numbers[0][place])
    rank = len(program.types[weight].shape)
    return "convolution", signal, weight, tuple(k for k in range(rank) if k != numbers.rhs_spec[0])


def _preactivation(program: Program, of: Flow, variable: int) -> tuple[int, int | None]:
    """Follow a product's result through changes of shape and the addition of its bias."""
    bias = None
    while len(used := of.users.get(variable, ())) == 1:
        equation = program.equations[used[0]]
        others = [v for v in equation.ins if v != variable]
        if equation.name in SHAPE_ALONE and not others:
            pass
        elif (
            equation.name in {"add", "add_any"}
            and bias is None
            and len(others) == 1
            and _is_bias(others[0], of)
        ):
            (bias,) = equation.variables if equation.variables[0] != variable else equation.variables[1:]
            return equation.outs[0], bias
        else:
            break
        if equation.name == "convert_element_type" and not is_float(program.types[equation.outs[0]]):
            break
        variable = equation.outs[0]
    return variable, bias


def _is_bias(operand: Operand, of: Flow) -> bool:
    return not isinstance(operand, Literal) and operand not in of.on_data and bool(of.parameters[operand])


def region(program: Program, of: Flow, root: int) -> Region | None:
    """The elementwise function that follows on a variable; None if there is none, or only a straight line."""
    inside, taken, waiting = {root}, [], list(of.users.get(root, ()))
    heapq.heapify(waiting)
    seen = set(waiting)
    while waiting:
        k = heapq.heappop(waiting)
        equation = program.equations[k]
        if not _is_elementwise(equation):
            continue
        if all(v in inside or _is_scalar(program, of, v) for v in equation.variables):
            taken.append(k)
            inside |= set(equation.outs)
            for user in (u for v in equation.outs for u in of.users.get(v, ())):
                if user not in seen:
                    seen.add(user)
                    heapq.heappush(waiting, user)
    members = set(taken)
    exits = [
        v
        for k in taken
        for v in program.equations[k].outs
        if v in program.outs or any(u not in members for u in of.users.get(v, ()))
    ]
    exits = [
        v for v in exits if is_float(program.types[v]) and not _only_summed(program, of, root, v, members)
    ]
    while exits and all(
        program.equations[k].name in LINEAR for k in _behind(program, of, exits[-1], members)
    ):
        exits.pop()
    return Region(root, tuple(_behind(program, of, exits[-1], members)), exits[-1]) if exits else None


def _only_summed(program: Program, of: Flow, root: int, variable: int, members: Collection[int]) -> bool:
    """Whether a value is only summed up while its root goes on by another way: the square in a norm."""
    outside = [k for k in of.users.get(variable, ()) if k not in members]
    goes_on = any(k not in members for k in of.users.get(root, ()))
    return goes_on and all(program.equations[k].name.startswith("reduce") for k in outside)


def _behind(program: Program, of: Flow, variable: int, members: Collection[int]) -> list[int]:
    """The equations among the members that a variable needs, in order."""
    needed: set[int] = set()
    waiting = [variable]
    while waiting:
        k = of.makers.get(waiting.pop())
        if k is not None and k in members and k not in needed:
            needed.add(k)
            waiting.extend(program.equations[k].variables)
    return sorted(needed)


def _is_elementwise(equation: Equation) -> bool:
    if equation.name == "custom_jvp_call":
        inner = flattened(equation.params["call_jaxpr"])
        return all(_is_elementwise(e) or e.name == "broadcast_in_dim" for e in inner.equations)
    return equation.name in ELEMENTWISE


def _is_scalar(program: Program, of: Flow, variable: int) -> bool:
    """Whether it is one number that the batch does not change, however often repeated."""
    if variable in of.on_data:
        return False
    if math.prod(program.types[variable].shape) <= 1:
        return True
    maker = of.makers.get(variable)
    if maker is None or program.equations[maker].name not in ELEMENTWISE | {"broadcast_in_dim"}:
        return False  # random bits are many numbers, though they come of one key
    return all(isinstance(v, Literal) or _is_scalar(program, of, v) for v in program.equations[maker].ins)


def as_function(
    program: Program, of: Flow, found: Region, values: Mapping[int, Any]
) -> Callable[[Array], Array]:
    """The function of a region, of arrays of any shape and floating dtype.

    Args:
        program: The program.
        of: Its flow.
        found: The region.
        values: Of the program's constants and arguments, for scalars among them.
    """
    members = set(found.equations)
    needed = sorted(members | _makers_of_scalars(program, of, found))
    given = {v: values[v] for k in needed for v in program.equations[k].variables if v in values}

    def function(x: Array) -> Array:
        environment: dict[int, Any] = {v: jnp.reshape(jnp.asarray(y), ()) for v, y in given.items()}
        environment[found.root] = x
        for k in needed:
            equation = program.equations[k]
            operands = [_scalar(v, environment, x.dtype) for v in equation.ins]
            environment.update(zip(equation.outs, _on_elements(equation, operands, x.dtype), strict=True))
        return jnp.asarray(environment[found.out])

    return function


def _makers_of_scalars(program: Program, of: Flow, found: Region) -> set[int]:
    inside = {found.root} | {v for k in found.equations for v in program.equations[k].outs}
    waiting = [v for k in found.equations for v in program.equations[k].variables if v not in inside]
    needed: set[int] = set()
    while waiting:
        k = of.makers.get(waiting.pop())
        if k is not None and k not in needed:
            needed.add(k)
            waiting.extend(program.equations[k].variables)
    return needed


def _scalar(operand: Operand, environment: Mapping[int, Any], dtype: Any) -> Array:
    value = jnp.asarray(value_of(operand, environment))
    return value.astype(dtype) if is_float(value) else value


def _on_elements(equation: Equation, operands: list[Array], dtype: Any) -> list[Array]:
    """What an elementwise equation makes, at the shapes and the floating dtype of these operands."""
    if equation.name == "custom_jvp_call":
        return _through(flattened(equation.params["call_jaxpr"]), operands, dtype)
    if equation.name == "convert_element_type":
        new = equation.params["new_dtype"]
        return [operands[0].astype(dtype if jnp.issubdtype(new, jnp.floating) else new)]
    if equation.name in SHAPE_ALONE | {"broadcast_in_dim"}:
        return operands[:1]
    shape = jnp.broadcast_shapes(*(jnp.shape(x) for x in operands))
    return bind(equation, [jnp.broadcast_to(x, shape) for x in operands])


def _through(inner: Program, operands: list[Array], dtype: Any) -> list[Array]:
    environment: dict[int, Any] = dict(inner.constants) | dict(zip(inner.ins, operands, strict=True))
    for equation in inner.equations:
        values = [_scalar(v, environment, dtype) for v in equation.ins]
        environment.update(zip(equation.outs, _on_elements(equation, values, dtype), strict=True))
    return [jnp.asarray(value_of(v, environment)) for v in inner.outs]


def is_factor(program: Program, of: Flow, variable: int) -> bool:
    """Whether the first thing done with a variable is a multiplication, and not an addition."""
    waiting = [variable]
    while waiting:
        for k in of.users.get(waiting.pop(), ()):
            equation = program.equations[k]
            if equation.name in {"mul", "dot_general", "conv_general_dilated", "scan"}:
                return True
            if equation.name in SHAPE_ALONE | {"broadcast_in_dim"}:
                waiting += equation.outs
    return False


def softmaxes(program: Program, of: Flow) -> list[int]:
    """Results of softmax functions that the gradient passes: an exponential over its own sum."""
    found = []
    for equation in program.equations:
        users = [program.equations[k] for v in equation.outs for k in of.users.get(v, ())]
        if equation.name == "exp" and any(e.name == "reduce_sum" for e in users):
            found += [e.outs[0] for e in users if e.name == "div" and e.ins[0] == equation.outs[0]]
    return [v for v in found if v in of.reached]


def bottlenecks(program: Program, of: Flow) -> list[int]:
    """Variables through which every path from the first parameters to the result leads, in order.

    They are those at which, between two equations, exactly one variable with a gradient path is alive: the
    pre-activations of a plain network, the outputs of residual blocks, the stream behind every branch. The
    batch itself does not count: targets of a loss are alive from the start.
    """
    moving = {v for v in of.on_data if v in of.reached and of.parameters[v]}
    signal = {v for v in moving if is_float(program.types[v])}
    last = {v: k for k, equation in enumerate(program.equations) for v in equation.variables}
    last |= {v: len(program.equations) for v in program.outs if not isinstance(v, Literal)}
    alive: set[int] = {v for v in program.ins if v in signal and v in last}
    found = []
    for k, equation in enumerate(program.equations):
        alive |= {v for v in equation.outs if v in signal and last.get(v, -1) > k}
        alive = {v for v in alive if last[v] > k}
        if len(alive) == 1 and equation.outs[0] in alive:
            found.append(equation.outs[0])
    return found


def same_function(function: Callable[[Array], Array], known: Mapping[str, Callable[[Array], Array]]) -> str:
    """Name of the known function that it equals, slope and all, on 801 points from -8 to 8; empty if none."""
    own = _values_and_slopes(function)
    for name, other in known.items():
        there = _values_and_slopes(other)
        if np.all(np.abs(own - there) <= 1e-5 * (1 + np.abs(there))):
            return name
    return ""


@lru_cache(maxsize=1024)
def _values_and_slopes(function: Callable[[Array], Array]) -> np.ndarray:
    x = jnp.linspace(-8, 8, 801) + 1.234e-4
    return np.stack(
        jax.jvp(function, (x,), (jnp.ones_like(x),))
    )  # few operations, and the same in every layer
