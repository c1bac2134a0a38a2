"""The chunk of a sweep, which follows from the device and the settings alone, and what the sweep will cost.

Whoever computes, with however many workers and whatever else runs, cuts a sweep into the same chunks. This
is what makes their numbers the same to the last bit.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

from signalprop.bench.engine import machine
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Block, chunk_shape
from signalprop.bench.engine.programs import Programs

CPU_POINTS = 8  # of a chunk on a CPU: one that fits its cache beats a large batch about threefold
CPU_BYTES = 2**30  # that a chunk of several networks may take there
SMALL_BYTES = 2**24  # up to which a chunk may grow there, where a static case would have many chunks
MANY_CHUNKS = 64  # of one static case
MEMORY_SHARE = 0.5  # that a chunk may take of an accelerator's memory, and of what is free


@dataclass(frozen=True)
class Plan:
    """The cost of a sweep.

    Attributes:
        chunk: Points of a chunk along the seed and the traced axes.
        programs: Compilations.
        points: Networks.
        chunks: Chunks in all.
        seconds: Time of all chunks one after the other, from a measured one, without compiling.
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


def plan(programs: Programs) -> Plan:
    """What a sweep costs on this machine: its first program is compiled, and its first chunk computed twice.

    Raises:
        InputError: If a chunk does not fit in the memory that is free.
    """
    grid, cases = programs.grid, math.prod(programs.grid.static_shape)
    began = time.perf_counter()
    chunk = choose_chunk(programs)
    compile_seconds = time.perf_counter() - began
    case, static = next(grid.cases())
    seconds = []
    for _ in range(2):  # the first time warms up
        began = time.perf_counter()
        programs.compute(case, static, chunk, [(0,) * len(chunk)])
        seconds.append(time.perf_counter() - began)
    chunks = cases * num_chunks(grid.traced_shape, chunk)
    sizes = programs.shapes().values()
    disk = sum(math.prod(lengths) * dtype.itemsize for _, lengths, dtype, _ in sizes) * grid.num_points
    memory = _memory(programs, chunk)
    return Plan(chunk, cases, grid.num_points, chunks, min(seconds) * chunks, compile_seconds, memory, disk)


def choose_chunk(programs: Programs) -> Block:
    """The shape of a chunk; compiles the first static case, for the memory that the compiler says it takes.

    An accelerator takes the largest chunk that fits. A CPU takes a few points, fewer where they are large,
    and more where they are so small and so many that storing chunks would take longer than computing them.

    Raises:
        InputError: If a chunk does not fit in the memory that is free.
    """
    whole, device = programs.grid.traced_shape, programs.devices[0]
    on_cpu, total = device.platform == "cpu", math.prod(whole)
    limit = CPU_BYTES if on_cpu else int(MEMORY_SHARE * machine.total_memory(device))
    chunk = even(whole, chunk_shape(whole, min(total, CPU_POINTS) if on_cpu else total))
    while (memory := _memory(programs, chunk)) > limit and math.prod(chunk) > 1:
        points = math.prod(chunk)
        chunk = even(whole, chunk_shape(whole, max(1, min(points - 1, points * limit // memory))))
    free = MEMORY_SHARE * machine.available_memory(device)
    if memory > free:
        raise InputError(_too_large(programs.settings, math.prod(chunk), memory, free))
    if on_cpu and num_chunks(whole, chunk) > MANY_CHUNKS:
        fit = math.prod(chunk) * SMALL_BYTES // max(1, memory)
        larger = chunk_shape(whole, min(fit, -(-total // MANY_CHUNKS)))
        chunk = even(whole, larger) if math.prod(larger) > math.prod(chunk) else chunk
    return chunk


def num_chunks(whole: Block, chunk: Block) -> int:
    """Chunks of one static case."""
    return math.prod(-(-n // c) for n, c in zip(whole, chunk, strict=True))


def even(whole: Block, chunk: Block) -> Block:
    """The smallest chunk that needs no more chunks along any axis: none is nearly empty.

    Example:
        >>> even((10, 2), (8, 2))
        (5, 2)
    """
    return tuple(-(-n // -(-n // c)) for n, c in zip(whole, chunk, strict=True))


def _memory(programs: Programs, chunk: Block) -> int:
    """Bytes that the first program takes, by the compiler's own analysis; 0 where it gives none."""
    case, static = next(programs.grid.cases())
    analysis = programs.compile(case, static, chunk).memory_analysis()
    if analysis is None:
        return 0
    return int(analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes)


def _too_large(settings: Any, points: int, memory: int, budget: float) -> str:
    gib = 2.0**30
    text = f"a chunk of {points} networks needs {memory / gib:.1f} GiB and {budget / gib:.1f} GiB may be used"
    width = getattr(settings, "width", None)
    widths = (width,) if isinstance(width, int) else width
    if not widths:
        return f"{text}; choose a smaller size"
    fits = int(max(widths) * math.sqrt(budget / memory))
    return f"--width: got {max(widths)}, but {text}; write at most about {fits}"
