"""Run one measurement over a grid, chunk by chunk; every finished chunk is on disk before it counts.

kill -9 at any moment, run the same command again, and it continues to a store with the same numbers.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from signalprop.bench.engine import store
from signalprop.bench.engine.errors import Interrupted
from signalprop.bench.engine.grid import Block, Grid, Static
from signalprop.bench.engine.plan import plan
from signalprop.bench.engine.programs import Programs
from signalprop.bench.engine.provenance import provenance
from signalprop.bench.experiment import Experiment

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
    """Measure every point that the store at ``path`` does not hold yet.

    Args:
        experiment: What to measure.
        settings: At which settings.
        path: Store to create or to continue.
        report: Called with the static case and the chunks done and wanted, after every chunk.
        shard: ``(i, n)``: compute only every n-th chunk from the i-th; by default this process's share.
        chunk: Shape of a chunk; measured if the store is new and this is None.

    Returns:
        ``path``.

    Raises:
        Interrupted: On Ctrl-C, after the chunk in flight is stored.
        StoreError: If the store cannot be used or written.
        InputError: If the smallest chunk does not fit in memory.
    """
    began = time.perf_counter()
    programs = Programs(experiment, settings)
    settings_hash = store.identity(experiment.name, settings)
    if not path.exists():
        chunk = chunk or plan(programs).chunk
        attrs = provenance(experiment, settings, programs.devices[0].device_kind)
        store.create(path, programs.grid, chunk, programs.shapes(), experiment.theory(settings), attrs)
    record = store.Run(path, programs.grid, tuple(experiment.variables), settings_hash)
    share = shard or (jax.process_index(), jax.process_count())
    with _stop_on_ctrl_c() as stopped:
        try:
            for case, done, total in _finish(programs, record, share):
                report(case, done, total)
                if stopped():
                    raise Interrupted
        finally:
            record.add_wall_seconds(time.perf_counter() - began)
    return path


def _finish(programs: Programs, record: store.Run, share: tuple[int, int]) -> Iterator[tuple[str, int, int]]:
    """Compute and store the missing chunks; the next cases compile while one runs."""
    todo = list(_missing(programs.grid, record, share))
    total = sum(len(missing) for _, _, missing in todo)
    done, devices = 0, len(programs.devices)
    with ThreadPoolExecutor(max_workers=2) as pool:
        compiling: list[Future[Any]] = []
        for i, (index, static, missing) in enumerate(todo):
            for ahead, case, _ in todo[i + len(compiling) : i + 3]:
                compiling.append(pool.submit(programs.compile, ahead, case, record.chunk))
            compiling.pop(0).result()
            label = " ".join(str(static[axis]) for axis in programs.grid.static)
            for j in range(0, len(missing), devices):
                group = missing[j : j + devices]
                arrays, split = _compute(programs, index, static, record.chunk, group)
                for block, measured in zip(group, arrays, strict=True):
                    record.write(index, block, measured, split=split)
                done += len(group)
                yield label, done, total
            programs.release(index)


def _compute(
    programs: Programs, index: Block, static: Static, chunk: Block, group: list[Block]
) -> tuple[list[store.Arrays], bool]:
    """The group's arrays; where an accelerator runs out of memory each chunk runs as two halves."""
    try:
        return programs.compute(index, static, chunk, group), False
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) or math.prod(chunk) == 1:
            raise
    return [programs.compute_in_halves(static, chunk, block) for block in group], True


def _missing(
    grid: Grid, record: store.Run, share: tuple[int, int]
) -> Iterator[tuple[Block, Static, list[Block]]]:
    """Static cases with the blocks of this share that are missing or damaged."""
    position, (first, step) = 0, share
    for index, static in grid.cases():
        missing = []
        for block in record.blocks:
            mine = position % step == first
            position += 1
            if mine and (state := record.state(index, block)) != "done":
                if state == "damaged":
                    print(f"{record.path.name}: chunk {index + block} is damaged and will be recomputed")
                missing.append(block)
        if missing:
            yield index, static, missing


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
