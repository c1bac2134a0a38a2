"""Run one measurement over a grid, chunk by chunk; every finished chunk is on disk before it counts.

kill -9 at any moment, run the same command again, and it continues to a store with the same numbers. Several
processes may measure the same store at once, each its own share of the chunks.
"""

import itertools
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from signalprop.bench.engine import store
from signalprop.bench.engine.errors import Interrupted
from signalprop.bench.engine.grid import Block, Static
from signalprop.bench.engine.plan import choose_chunk
from signalprop.bench.engine.programs import Programs
from signalprop.bench.engine.provenance import provenance
from signalprop.bench.experiment import Experiment

SHARE_SECONDS = 10.0  # of work that a share has at least: another worker compiles the program again

Report = Callable[[str, int, int], None]


def run(
    experiment: Experiment,
    settings: Any,
    path: Path,
    *,
    report: Report = lambda case, done, total: None,
    shard: tuple[int, int] | None = None,
    chunk: Block | None = None,
) -> Path:
    """Measure every point that the store at ``path`` does not hold yet, in this process.

    Args:
        experiment: What to measure.
        settings: At which settings.
        path: Store to create or to continue.
        report: Called with the static case and the chunks done and wanted, after every chunk.
        shard: ``(i, n)``: only every n-th chunk from the i-th; by default this process's share of a pod.
        chunk: Shape of a chunk, for a new store; by default that of the device and the settings.

    Returns:
        ``path``.

    Raises:
        Interrupted: On Ctrl-C, after the chunk in flight is stored.
        StoreError: If the store cannot be used or written.
        InputError: If a chunk does not fit in memory.
    """
    programs = Programs(experiment, settings)
    record = open_store(programs, path, chunk)
    measure(programs, record, positions(record, shard or (jax.process_index(), jax.process_count())), report)
    return path


def open_store(programs: Programs, path: Path, chunk: Block | None = None) -> store.Run:
    """Open the store of a sweep; if there is none, create it, with theory's predictions.

    Raises:
        StoreError, InputError: As ``run``.
    """
    experiment, settings = programs.experiment, programs.settings
    if not path.exists():
        chunk = chunk or choose_chunk(programs)
        attrs = provenance(experiment, settings, programs.devices[0].device_kind)
        store.create(path, programs.grid, chunk, programs.shapes(), experiment.theory(settings), attrs)
    identity = store.identity(experiment, settings)
    return store.Run(path, programs.grid, tuple(experiment.variables), identity)


def positions(record: store.Run, shard: tuple[int, int] = (0, 1)) -> range:
    """Every n-th chunk from the i-th, counted in the order of the static cases and of their blocks."""
    first, step = shard
    return range(first, len(record.cases) * len(record.blocks), step)


def divide(programs: Programs, record: store.Run, share: range, workers: int) -> list[range]:
    """Cut what is missing of a share into at most ``workers`` shares with enough to do for each.

    The first missing chunk is computed and stored on the way: it tells how long the others will take. Who
    computes what changes no number, so this may depend on the time that things take here.
    """
    began = time.perf_counter()
    missing = [*_missing(record, share)]
    if len(missing) < 2 or workers < 2:
        return [_spanning(missing, share.step)] if missing else []
    programs.compile(*record.cases[missing[0] // len(record.blocks)], record.chunk)
    compiled = time.perf_counter()
    measure(programs, record, _spanning(missing[:1], share.step))
    cases = len({position // len(record.blocks) for position in missing})
    left = (time.perf_counter() - compiled) * len(missing) + (compiled - began) * (cases - 1)
    shares = max(1, min(workers, len(missing) - 1, int(left / SHARE_SECONDS)))
    ends = [1 + (len(missing) - 1) * i // shares for i in range(shares + 1)]
    return [_spanning(missing[a:b], share.step) for a, b in itertools.pairwise(ends)]


def measure(
    programs: Programs,
    record: store.Run,
    share: Sequence[int],
    report: Report = lambda case, done, total: None,
) -> None:
    """Compute and store the missing chunks of a share; the next static cases compile while one runs.

    Chunks that another process has stored meanwhile stand.

    Raises:
        Interrupted, StoreError: As ``run``.
    """
    missing = _missing(record, share)
    for position, state in missing.items():
        if state == "damaged":
            case, block = record.place(position)
            print(f"{record.path.name}: chunk {case + block} is damaged and will be recomputed")
    by_case = itertools.groupby(missing, lambda position: position // len(record.blocks))
    todo = [(*record.cases[case], [record.place(p)[1] for p in some]) for case, some in by_case]
    done, devices = 0, len(programs.devices)
    with _stop_on_ctrl_c() as stopped, ThreadPoolExecutor(max_workers=2) as pool:
        compiling: list[Future[Any]] = []
        for i, (case, static, blocks) in enumerate(todo):
            for ahead, static_ahead, _ in todo[i + len(compiling) : i + 3]:
                compiling.append(pool.submit(programs.compile, ahead, static_ahead, record.chunk))
            compiling.pop(0).result()
            label = " ".join(str(static[axis]) for axis in programs.grid.static)
            for j in range(0, len(blocks), devices):
                group = blocks[j : j + devices]
                if ours := [block for block in group if not record.changed(case, block)]:
                    _store(programs, record, case, static, ours)
                done += len(group)
                report(label, done, len(missing))
                if stopped():
                    raise Interrupted
            programs.release(case)


def _store(programs: Programs, record: store.Run, case: Block, static: Static, group: list[Block]) -> None:
    """Compute one chunk per device and store them."""
    arrays, split = _compute(programs, case, static, record.chunk, group)
    for block, measured in zip(group, arrays, strict=True):
        record.write(case, block, measured, split=split)


def _compute(
    programs: Programs, case: Block, static: Static, chunk: Block, group: list[Block]
) -> tuple[list[store.Arrays], bool]:
    """The group's arrays; where an accelerator runs out of memory each chunk runs as two halves."""
    try:
        return programs.compute(case, static, chunk, group), False
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) or math.prod(chunk) == 1:
            raise
    return [programs.compute_in_halves(static, chunk, block) for block in group], True


def _missing(record: store.Run, share: Sequence[int]) -> dict[int, str]:
    """Positions of the chunks that are missing or damaged, and which it is."""
    states = {position: record.state(*record.place(position)) for position in share}
    return {position: state for position, state in states.items() if state != "done"}


def _spanning(some: Sequence[int], step: int) -> range:
    """From the first to the last of some positions of a share."""
    return range(some[0], some[-1] + 1, step)


@contextmanager
def _stop_on_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C was pressed; a second press interrupts at once."""
    pressed = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread: Ctrl-C is somebody else's
        yield lambda: False
        return
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
