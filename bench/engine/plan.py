"""What a sweep will cost on this machine, and the chunk shape that makes it cheap: measured, not guessed."""

import math
import time
from dataclasses import dataclass
from typing import Any

import jax

from signalprop.bench.engine import machine
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Block, chunk_shape
from signalprop.bench.engine.programs import Programs

FIRST_POINTS = 8  # of the first chunk tried on a CPU: a few megabytes of weights at width 128
CHUNK_OVERHEAD = 0.02  # seconds to dispatch and store one chunk
WORTH_PROBING = 20.0  # seconds of sweep below which the first chunk shape is good enough
LONG_CHUNK = 5.0  # seconds of one chunk above which trying other shapes costs more than it can save
CHUNK_SECONDS = 0.25  # a chunk that takes this long makes the overhead small and still resumes finely
MEMORY_SHARE = 0.5  # of the available memory that the chunks in flight may take


@dataclass(frozen=True)
class Plan:
    """The cost of a sweep.

    Attributes:
        chunk: Points of a chunk along the seed and the traced axes.
        programs: Compilations.
        points: Networks.
        chunks: Chunks in all.
        seconds: Time of all chunks, from the measured one, without compiling.
        compile_seconds: Time to compile one program, measured.
        memory: Bytes that one chunk takes on each device.
        disk: Bytes of all results before compression.
    """

    chunk: Block
    programs: int
    points: int
    chunks: int
    seconds: float
    compile_seconds: float
    memory: int
    disk: int


@dataclass(frozen=True)
class _Probe:
    chunk: Block
    compile_seconds: float
    point_seconds: float
    memory: int


def plan(programs: Programs) -> Plan:
    """Measure chunk shapes on the first program and keep the fastest that fits.

    An accelerator takes the largest chunk that fits. A CPU starts with a few points, because a chunk that
    fits its cache beats a large batch about threefold, and tries others where compiling them can pay: not
    where a chunk takes seconds, as trained networks do.

    Raises:
        InputError: If not even one network fits in memory.
    """
    whole = programs.grid.traced_shape
    total, cases = math.prod(whole), math.prod(programs.grid.static_shape)
    devices = len(programs.devices)
    on_cpu = programs.devices[0].platform == "cpu"
    budget = MEMORY_SHARE * machine.available_memory(programs.devices[0]) / (devices if on_cpu else 1)

    def num_chunks(chunk: Block) -> int:
        return cases * math.prod(math.ceil(n / c) for n, c in zip(whole, chunk, strict=True))

    def cost(probe: _Probe) -> float:
        return probe.point_seconds * total * cases / devices + CHUNK_OVERHEAD * num_chunks(probe.chunk)

    first = chunk_shape(whole, min(total, FIRST_POINTS) if on_cpu else total)
    best = _probe(programs, even(whole, first, devices), budget)
    affordable = best.point_seconds * math.prod(best.chunk) < LONG_CHUNK
    if on_cpu and affordable and cost(best) > WORTH_PROBING:
        quarter_second = min(CHUNK_SECONDS / best.point_seconds, 4 * budget / max(1, best.memory))
        larger = (4 * FIRST_POINTS, int(quarter_second)) if quarter_second > 1 else ()
        for points in (1, *larger):
            chunk = chunk_shape(whole, max(1, min(points, total)))
            if chunk != best.chunk and cost(best) > WORTH_PROBING:
                best = min(best, _probe(programs, chunk, budget), key=cost)
    sizes = programs.shapes().values()
    disk = (
        sum(math.prod(lengths) * dtype.itemsize for _, lengths, dtype, _ in sizes) * programs.grid.num_points
    )
    return Plan(
        best.chunk,
        cases,
        programs.grid.num_points,
        num_chunks(best.chunk),
        cost(best),
        best.compile_seconds,
        best.memory,
        disk,
    )


def even(whole: Block, chunk: Block, devices: int) -> Block:
    """The chunk with as many seeds, or fewer, as keep every device busy to the end of a static case.

    Example:
        >>> even((6, 2), (4, 2), devices=2)
        (3, 2)
    """
    others = math.prod(math.ceil(n / c) for n, c in zip(whole[1:], chunk[1:], strict=True))

    def work(seeds: int) -> tuple[int, int]:
        return seeds * math.ceil(math.ceil(whole[0] / seeds) * others / devices), -seeds

    return min(range(1, chunk[0] + 1), key=work), *chunk[1:]


def _probe(programs: Programs, chunk: Block, budget: float) -> _Probe:
    """Compile and time one chunk, or the largest that fits in ``budget`` bytes."""
    index, static = next(programs.grid.cases())
    began = time.perf_counter()
    compiled = programs.compile(index, static, chunk)
    compile_seconds = time.perf_counter() - began
    memory = _memory(compiled)
    if memory > budget:
        points = math.prod(chunk)
        if points == 1:
            raise InputError(_too_large(programs.settings, memory, budget))
        fewer = max(1, min(points // 4, int(points * budget / memory)))
        return _probe(programs, chunk_shape(programs.grid.traced_shape, fewer), budget)
    group = [(0,) * len(chunk)]
    seconds = math.inf
    for _ in range(2):  # a second time only where the first is short enough for warming up to matter
        began = time.perf_counter()
        programs.compute(index, static, chunk, group)
        seconds = min(seconds, time.perf_counter() - began)
        if seconds > 1:
            break
    return _Probe(chunk, compile_seconds, seconds / math.prod(chunk), memory)


def _memory(compiled: jax.stages.Compiled) -> int:
    """Bytes that the program takes, by the compiler's own analysis; 0 where it gives none."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0
    return int(analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes)


def _too_large(settings: Any, memory: int, budget: float) -> str:
    gib = 2.0**30
    text = f"one network needs {memory / gib:.1f} GiB and {budget / gib:.1f} GiB may be used"
    width = getattr(settings, "width", None)
    widths = (width,) if isinstance(width, int) else width
    if not widths:
        return f"{text}; choose a smaller size"
    fits = int(max(widths) * math.sqrt(budget / memory))
    return f"--width: got {max(widths)}, but {text}; write at most about {fits}"
