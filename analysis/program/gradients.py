"""Values and gradients of a program over any number of decades, piece by piece.

JAX differentiates each piece. Between pieces a cotangent is a mantissa and an exponent, so that nothing is
lost to underflow or overflow; a scan is walked back step by step, rescaled at each. Values forward stay in
the program's own dtypes: they are what trains.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from signalprop.analysis.program.blockfloat import (
    NOTHING,
    BlockFloat,
    added,
    aligned,
    joint_exponent,
    log_norm_of,
    rescaled,
    shifted,
    sized,
)
from signalprop.analysis.program.chunks import Chunk
from signalprop.analysis.program.flat import (
    Equation,
    Literal,
    Program,
    environment,
    is_float,
    parts_of_scan,
    results,
    value_of,
)

Replace = Callable[[int, BlockFloat], BlockFloat]


class Forward(NamedTuple):
    """What a program computes.

    Attributes:
        values: Of every variable that a later piece takes, and of the results.
        carries: Carry before every step, of each scan by the variable of its first result.
        steps: Watched variables of each scan's body, stacked over steps.
    """

    values: dict[int, Any]
    carries: dict[int, Any]
    steps: dict[int, dict[int, Array]]


class Backward(NamedTuple):
    """Gradients of a program's result.

    Attributes:
        cotangents: By every variable between pieces, and by the arguments; none where nothing flows.
        steps: Natural log of the norm of the cotangent at every step of each scan: by its carry as a whole
            (``"carry"``), by each part of it, by its running inputs, and by the watched variables.
    """

    cotangents: dict[int, BlockFloat]
    steps: dict[int, dict[Any, np.ndarray]]


def prepare(program: Program, pieces: Sequence[Chunk], sources: Iterable[int] = ()) -> None:
    """Compile the kinds of pieces ahead, in threads.

    Args:
        program: The whole.
        pieces: Its pieces.
        sources: Results from which gradients will start: the first, if none are given.
    """
    up = list(dict.fromkeys(pieces))
    down = list(dict.fromkeys(_flow(program, pieces, sources or program.outs[:1])))
    with ThreadPoolExecutor() as pool:
        list(pool.map(_up, up))
        list(pool.map(lambda way: _down(*way), down))


def forward(program: Program, pieces: Sequence[Chunk], arguments: Sequence[Any]) -> Forward:
    """Evaluate the program at its arguments, leaf by leaf."""
    values = dict(program.constants) | dict(zip(program.ins, arguments, strict=True))
    carries, steps = {}, {}
    for piece in pieces:
        outs, before, seen = _up(piece)([values[v] for v in piece.ins])
        values.update(zip(piece.outs, outs, strict=True))
        if piece.scan is not None:
            carries[piece.outs[0]], steps[piece.outs[0]] = before, seen
    return Forward(values, carries, steps)


def backward(
    program: Program,
    pieces: Sequence[Chunk],
    found: Forward,
    seeds: Mapping[int, BlockFloat],
    replace: Replace | None = None,
) -> Backward:
    """Gradients of the results.

    Args:
        program: The whole.
        pieces: Its pieces.
        found: Its values.
        seeds: Cotangents of results.
        replace: What goes on from a variable in place of the cotangent that has arrived there.
    """
    waiting: dict[int, BlockFloat] = {}
    cotangents: dict[int, BlockFloat] = {}
    steps: dict[int, dict[Any, np.ndarray]] = {}

    def put(variable: int, value: BlockFloat) -> None:
        waiting[variable] = added(waiting[variable], value) if variable in waiting else value

    for variable, value in seeds.items():
        put(variable, value)
    for piece in reversed(pieces):
        arrived = {v: waiting.pop(v) for v in piece.outs if v in waiting}
        if not arrived:
            continue
        cotangents |= arrived
        if replace is not None:
            arrived = {v: replace(v, value) for v, value in arrived.items()}
        live = tuple(v in arrived for v in piece.outs)
        before = found.carries.get(piece.outs[0])
        pulled, seen = _down(piece, live)(
            [found.values[v] for v in piece.ins], before, list(arrived.values())
        )
        for variable, value in zip(piece.ins, pulled, strict=True):
            if value is not None:
                put(variable, value)
        if seen:
            steps[piece.outs[0]] = {name: log_norm_of(*size) for name, size in seen.items()}
    return Backward(cotangents | waiting, steps)


def gradient(program: Program, pieces: Sequence[Chunk], found: Forward) -> Backward:
    """Gradient of the first result, a scalar."""
    result = program.outs[0]
    if isinstance(result, Literal):
        return Backward({}, {})
    one = BlockFloat(jnp.ones_like(found.values[result]), jnp.zeros((), jnp.int32))
    return backward(program, pieces, found, {result: one})


def native_gradient(program: Program, pieces: Sequence[Chunk], found: Forward) -> dict[int, Array]:
    """Gradient of the first result by the arguments as training gets it: in own dtypes, without exponents."""
    result = program.outs[0]
    waiting: dict[int, Array] = (
        {} if isinstance(result, Literal) else {result: jnp.ones_like(found.values[result])}
    )
    for piece in reversed(pieces):
        arrived = [waiting.pop(v, None) for v in piece.outs]
        if all(x is None for x in arrived):
            continue
        live = tuple(x is not None for x in arrived)
        pulled = _native_down(piece, live)(
            [found.values[v] for v in piece.ins], [x for x in arrived if x is not None]
        )
        for variable, value in zip(piece.ins, pulled, strict=True):
            if value is not None:
                waiting[variable] = waiting[variable] + value if variable in waiting else value
    return {v: waiting[v] for v in program.ins if v in waiting}


def _flow(
    program: Program, pieces: Sequence[Chunk], sources: Iterable[Any]
) -> Iterable[tuple[Chunk, tuple[bool, ...]]]:
    """The pieces that the gradient passes, with which of their results it arrives at."""
    reached = set(sources)
    for piece in reversed(pieces):
        live = tuple(v in reached for v in piece.outs)
        if any(live):
            yield piece, live
            reached |= {v for v in piece.ins if is_float(program.types[v])}


def _compiled(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """The function compiled at these types, quickly: it runs once or a few times."""
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=options).lower(*arguments).compile()


def _like(types: Iterable[Any]) -> list[Any]:
    return [jax.ShapeDtypeStruct(t.shape, t.dtype) for t in types]


def _live(program: Program, live: Sequence[bool]) -> list[int]:
    """The results of a piece at which a cotangent arrives."""
    return [v for v, lives in zip(program.outs, live, strict=True) if lives and not isinstance(v, Literal)]


@lru_cache(maxsize=1024)
def _up(piece: Chunk) -> Callable[..., Any]:
    """The piece compiled: from its arguments to its results; of a scan, also carries and watched steps."""
    program, scan = piece.program, piece.scan

    def up(values: list[Any]) -> tuple[list[Any], Any, Any]:
        if scan is None:
            return results(program, environment(program, values)), (), {}
        outs, before, seen = _scan_up(
            scan, [value_of(v, dict(enumerate(values))) for v in scan.ins], piece.watched
        )
        made = dict(zip(scan.outs, outs, strict=True))
        return [made[v] for v in _live(program, [True] * len(program.outs))], before, seen

    return _compiled(up, _like(program.types[v] for v in program.ins))


@lru_cache(maxsize=1024)
def _down(piece: Chunk, live: tuple[bool, ...]) -> Callable[..., Any]:
    """The way back compiled: from cotangents at its live results to those at its arguments."""
    program, scan = piece.program, piece.scan
    arrived = _live(program, live)

    def down(
        values: list[Any], before: Any, cotangents: list[BlockFloat]
    ) -> tuple[list[BlockFloat | None], Any]:
        if scan is None:
            return _pulled(program, values, arrived, cotangents), {}
        given = [value_of(v, dict(enumerate(values))) for v in scan.ins]
        at = dict(zip(arrived, cotangents, strict=True))
        pulled, seen = _scan_down(scan, given, before, [at.get(v) for v in scan.outs], piece.watched)
        return [_sum_at(v, scan, pulled) for v in program.ins], seen

    types = _like(program.types[v] for v in program.ins)
    exponent = jax.ShapeDtypeStruct((), jnp.int32)
    at: Any = exponent
    scaled = [BlockFloat(like, at) for like in _like(program.types[v] for v in arrived)]
    before = None
    if scan is not None:
        _, before, _ = jax.eval_shape(
            lambda x: _scan_up(scan, [value_of(v, dict(enumerate(x))) for v in scan.ins], ()), types
        )
    return _compiled(down, types, before, scaled)


@lru_cache(maxsize=1024)
def _native_down(piece: Chunk, live: tuple[bool, ...]) -> Callable[..., Any]:
    """As `_down`, without exponents."""
    program = piece.program
    arrived = _live(program, live)

    def down(values: list[Any], cotangents: list[Array]) -> list[Array | None]:
        floats, pull = _pullback(program, values, arrived)
        pulled: list[Array | None] = [None] * len(values)
        for k, x in zip(floats, pull(cotangents)[0], strict=True):
            pulled[k] = x
        return pulled

    return _compiled(
        down, _like(program.types[v] for v in program.ins), _like(program.types[v] for v in arrived)
    )


def _sum_at(variable: int, scan: Equation, pulled: Sequence[BlockFloat | None]) -> BlockFloat | None:
    """The cotangent of a variable that an equation may take more than once."""
    own = [c for v, c in zip(scan.ins, pulled, strict=True) if v == variable and c is not None]
    return rescaled(*_total(own)) if own else None


def _total(values: Sequence[BlockFloat]) -> tuple[Array, Array]:
    mantissas, top = aligned(values)
    return sum(mantissas[1:], mantissas[0]), top


def _pulled(
    program: Program, values: list[Any], arrived: Sequence[int], cotangents: Sequence[BlockFloat]
) -> list[BlockFloat | None]:
    """Cotangents at the arguments of a piece without a scan; none at those that are not floating."""
    floats, pull = _pullback(program, values, arrived)
    if (
        "custom_vjp" in program.equations[0].name
    ):  # its rule need not be linear: it gets what training gives it
        mantissas, top = [shifted(*c) for c in cotangents], jnp.zeros((), jnp.int32)
    else:
        mantissas, top = aligned(cotangents)
    pulled: list[BlockFloat | None] = [None] * len(values)
    for k, x in zip(floats, pull(mantissas)[0], strict=True):
        pulled[k] = rescaled(x, top)
    return pulled


def _pullback(
    program: Program, values: list[Any], arrived: Sequence[int]
) -> tuple[list[int], Callable[..., Any]]:
    """Places of the floating arguments, and what pulls cotangents at some results back to them."""
    floats = [k for k, x in enumerate(values) if is_float(x)]

    def live_results(own: list[Array]) -> list[Any]:
        found = environment(program, _with(values, floats, own))
        return [found[v] for v in arrived]

    return floats, jax.vjp(live_results, [values[k] for k in floats])[1]


def _how(scan: Equation) -> dict[str, Any]:
    return {"length": scan.params["length"], "reverse": scan.params["reverse"]}


def _step(
    scan: Equation, constants: list[Any], carry: Sequence[Any], running: Sequence[Any], taps: Any = None
) -> Any:
    """One step: the next carry, its results, and the values of all variables of the body."""
    body = scan.body
    assert body is not None
    found = environment(body, [*constants, *carry, *running], taps)
    outs = results(body, found)
    return outs[: len(carry)], outs[len(carry) :], found


def _scan_up(scan: Equation, values: Sequence[Any], watched: Sequence[int]) -> tuple[list[Any], Any, Any]:
    """Results of a scan, the carry before each step, and the watched variables at each."""
    constants, start, running = parts_of_scan(scan, values)

    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        after, outs, found = _step(scan, constants, carry, x)
        return after, (outs, carry, {v: found[v] for v in watched})

    carry, (outs, before, seen) = lax.scan(step, start, running, **_how(scan))
    return [*carry, *outs], before, seen


def _scan_down(
    scan: Equation,
    values: Sequence[Any],
    before: Any,
    cotangents: Sequence[BlockFloat | None],
    watched: Sequence[int],
) -> tuple[list[BlockFloat | None], dict[Any, Any]]:
    """Cotangents at what a scan takes, and their sizes at every step.

    The carry's cotangent has one exponent, renewed at each step; what the constants gather has another.
    """
    constants, start, running = parts_of_scan(scan, values)
    of_constants, of_carry, of_running = (
        [k for k, x in enumerate(part) if is_float(x)] for part in (constants, start, running)
    )
    zero = jnp.full((), NOTHING, jnp.int32)
    at_end = [cotangents[k] or BlockFloat(jnp.zeros_like(start[k]), zero) for k in of_carry]
    mantissas, exponent = aligned(at_end) if at_end else ([], zero)
    at_outs = cotangents[len(start) :]
    live = [k for k, c in enumerate(at_outs) if c is not None]
    by_step, step_exponent = aligned([c for c in at_outs if c is not None]) if live else ([], zero)

    def down(state: Any, at: Any) -> tuple[Any, Any]:
        mantissas, exponent, gathered, gathered_exponent = state
        carry, x, own = at
        _, _, found = jax.eval_shape(lambda: _step(scan, constants, carry, x))
        taps = {v: jnp.zeros(found[v].shape, found[v].dtype) for v in watched}

        def floats(w: list[Array], c: list[Array], y: list[Array], taps: Any) -> Any:
            after, outs, _ = _step(
                scan,
                _with(constants, of_constants, w),
                _with(carry, of_carry, c),
                _with(x, of_running, y),
                taps,
            )
            return [after[k] for k in of_carry], [outs[k] for k in live]

        # a loss at the last step alone: the zeros of the others must not set the scale
        here = jnp.where(joint_exponent(own) == NOTHING, NOTHING, step_exponent) if live else zero
        top = jnp.maximum(exponent, here)
        places = (
            [constants[k] for k in of_constants],
            [carry[k] for k in of_carry],
            [x[k] for k in of_running],
        )
        _, pull = jax.vjp(floats, *places, taps)
        arriving = [shifted(m, exponent - top) for m in mantissas], [shifted(m, here - top) for m in own]
        by_constants, by_carry, by_running, by_taps = pull(arriving)
        scale = joint_exponent(by_carry) if of_carry else zero
        nothing = scale == NOTHING
        by_carry = [shifted(m, jnp.where(nothing, 0, -scale)) for m in by_carry]
        after = jnp.where(nothing, NOTHING, top + scale)
        common = jnp.maximum(gathered_exponent, top)
        gathered = [
            shifted(a, gathered_exponent - common) + shifted(b, top - common)
            for a, b in zip(gathered, by_constants, strict=True)
        ]
        sizes: dict[Any, Any] = {
            f"carry {k}": sized(m, after) for k, m in zip(of_carry, by_carry, strict=True)
        }
        sizes |= {f"input {k}": sized(m, top) for k, m in zip(of_running, by_running, strict=True)}
        sizes |= {f"body {v}": sized(m, top) for v, m in by_taps.items()}
        return (by_carry, after, gathered, common), (by_running, top, sizes)

    state = mantissas, exponent, [jnp.zeros_like(constants[k]) for k in of_constants], zero
    (mantissas, exponent, gathered, common), (by_running, tops, sizes) = lax.scan(
        down,
        state,
        (before, running, by_step),
        length=scan.params["length"],
        reverse=not scan.params["reverse"],
    )
    pulled: list[BlockFloat | None] = [None] * len(values)
    for k, m in zip(of_constants, gathered, strict=True):
        pulled[k] = rescaled(m, common)
    for k, m in zip(of_carry, mantissas, strict=True):
        pulled[len(constants) + k] = rescaled(m, exponent)
    if of_running:
        top = jnp.max(tops)
        for k, m in zip(of_running, by_running, strict=True):
            pulled[len(constants) + len(start) + k] = rescaled(jax.vmap(shifted)(m, tops - top), top)
    return pulled, sizes


def _with(values: Sequence[Any], places: Sequence[int], new: Sequence[Any]) -> list[Any]:
    """The values with those at some places replaced."""
    changed = dict(zip(places, new, strict=True))
    return [changed.get(k, value) for k, value in enumerate(values)]
