"""Run one measurement over a grid: one compilation per static case, vmapped chunks, resumable.

A chunk of points is the unit of computing, storing and resuming. Each device runs the same program on
its own chunk, so numbers depend on the chunk's shape alone and not on order, interruption or device count.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from signalprop.bench import machine, store
from signalprop.bench.experiment import Experiment
from signalprop.bench.grid import Block, Grid, Static, block_slices, chunk_shape

FIRST_CHUNK = 8  # points in the first probe on a CPU: a few megabytes of weights at width 128
MEMORY_SHARE = 0.5  # of the available memory that a chunk on all devices may take
WORTH_PROBING = 5.0  # seconds of sweep below which the first chunk size is good enough

Program = Callable[[jax.Array, dict[str, jax.Array]], dict[str, jax.Array]]
Report = Callable[[str, int, int], None]


class Interrupted(Exception):
    """The sweep stopped after a finished chunk; the same command resumes it."""


@dataclass(frozen=True)
class Plan:
    """What a sweep will cost: measured on its first program.

    Attributes:
        chunk: Points of a chunk along the seed and the traced axes.
        programs: Compilations.
        points: Networks.
        chunks: Chunks in all.
        seconds: Estimated time of all chunks, without compiling.
        compile_seconds: Measured time to compile one program.
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


class Sweep:
    """The programs of one experiment at one setting, on this machine's devices."""

    def __init__(self, experiment: Experiment, settings: Any) -> None:
        """Prepare the grid and the device mesh; nothing is compiled yet."""
        self.experiment, self.settings = experiment, settings
        self.grid: Grid = experiment.grid(settings)
        self.devices = jax.local_devices()
        self.mesh = Mesh(np.array(self.devices), ("sweep",), axis_types=(AxisType.Auto,))
        self.dtype = jnp.dtype(settings.dtype)
        self._programs: dict[tuple[Block, Block], jax.stages.Compiled] = {}

    def point(self, seed: jax.Array, scalars: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
        """Measure one network; the key depends on the seed only, so scales share their draws."""
        key = jax.random.fold_in(jax.random.key(self.settings.seed), seed)
        return self.experiment.measure(key, scalars, static)

    def chunk_program(self, static: Static) -> Program:
        """The measurement over one chunk: seeds outermost, then one vmap for every traced axis."""

        def program(seeds: jax.Array, axes: dict[str, dict[str, jax.Array]]) -> dict[str, jax.Array]:
            def along(names: Sequence[str], seed: jax.Array, chosen: dict[str, jax.Array]) -> Any:
                if not names:
                    return self.point(seed, chosen, static)
                return jax.vmap(lambda scalars: along(names[1:], seed, {**chosen, **scalars}))(axes[names[0]])

            return jax.vmap(lambda seed: along(tuple(self.grid.traced), seed, {}))(seeds)  # type: ignore[no-any-return]

        return program  # type: ignore[return-value]

    def lower(
        self, static: Static, chunk: Block, platforms: Sequence[str] | None = None
    ) -> jax.stages.Lowered | jax.export.Exported:
        """Lower the program that runs one chunk on every local device.

        With ``platforms`` the single-device chunk is exported for those instead, which needs no such device.
        """
        if platforms is not None:
            inputs = self.inputs((0,) * len(chunk), chunk)
            return jax.export.export(jax.jit(self.chunk_program(static)), platforms=platforms)(*inputs)
        program = self.chunk_program(static)

        def per_device(*inputs: Any) -> Any:
            one = jax.tree.map(lambda a: a[0], inputs)
            return jax.tree.map(lambda a: a[None], program(*one))

        spread = jax.shard_map(
            per_device, mesh=self.mesh, in_specs=P("sweep"), out_specs=P("sweep"), check_vma=False
        )
        return jax.jit(spread).lower(*self.on_devices([(0,) * len(chunk)], chunk))

    def inputs(self, block: Block, chunk: Block) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
        """Seeds and scalars of one block; beyond the end of an axis its last value is repeated."""

        def cut(values: np.ndarray, i: int, size: int) -> np.ndarray:
            return values[np.minimum(np.arange(i * size, (i + 1) * size), len(values) - 1)]

        seeds = cut(np.arange(self.grid.seeds, dtype=np.uint32), block[0], chunk[0])
        axes = {
            axis: {name: cut(values.astype(self.dtype), i, size) for name, values in scalars.items()}
            for (axis, scalars), i, size in zip(self.grid.axes.items(), block[1:], chunk[1:], strict=True)
        }
        return seeds, axes

    def on_devices(self, group: Sequence[Block], chunk: Block) -> Any:
        """Inputs of one block per device; a short group repeats its last block."""
        padded = [group[min(i, len(group) - 1)] for i in range(len(self.devices))]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(self.inputs(b, chunk) for b in padded))
        return jax.device_put(stacked, NamedSharding(self.mesh, P("sweep")))

    def compile(self, index: Block, static: Static, chunk: Block) -> jax.stages.Compiled:
        """Compile the program of a static case once."""
        if (index, chunk) not in self._programs:
            self._programs[index, chunk] = self.lower(static, chunk).compile()  # type: ignore[union-attr]
        return self._programs[index, chunk]

    def release(self, index: Block) -> None:
        """Forget the programs of a finished case."""
        self._programs = {k: v for k, v in self._programs.items() if k[0] != index}

    def compute(
        self, index: Block, static: Static, chunk: Block, group: Sequence[Block]
    ) -> list[store.Arrays]:
        """Measured arrays of one block per device, cut to the grid."""
        out = jax.device_get(self.compile(index, static, chunk)(*self.on_devices(group, chunk)))
        results = []
        for i, block in enumerate(group):
            sizes = [s.stop - s.start for s in block_slices(block, self.grid.traced_shape, chunk)]
            results.append({k: v[i][tuple(slice(n) for n in sizes)] for k, v in out.items()})
        return results

    def shapes(self) -> dict[str, tuple[tuple[str, ...], tuple[int, ...], np.dtype[Any], dict[str, str]]]:
        """Dimensions, largest lengths over all static cases, dtype and labels of each measured array.

        Raises:
            ValueError: If ``measure`` returns other arrays than the experiment declares.
        """
        lengths: dict[str, tuple[int, ...]] = {}
        dtypes: dict[str, np.dtype[Any]] = {}
        one = self.inputs((0,) * len(self.grid.traced_shape), (1,) * len(self.grid.traced_shape))
        for _, static in self.grid.cases():
            out = jax.eval_shape(self.chunk_program(static), *one)
            declared = self.experiment.variables
            if set(out) != set(declared):
                raise ValueError(
                    f"{self.experiment.name}: measured {sorted(out)}, declared {sorted(declared)}"
                )
            for name, leaf in out.items():
                own = leaf.shape[len(self.grid.traced_shape) :]
                if len(own) != len(declared[name].dims):
                    raise ValueError(
                        f"{self.experiment.name}: {name} has shape {own}, declared {declared[name].dims}"
                    )
                before = lengths.get(name, own)
                lengths[name] = tuple(max(pair) for pair in zip(before, own, strict=True))
                dtypes[name] = np.dtype(leaf.dtype)
        return {
            name: (v.dims, lengths[name], dtypes[name], {"long_name": v.description, "units": v.unit})
            for name, v in self.experiment.variables.items()
        }

    def plan(self) -> Plan:
        """Choose the chunk shape by measuring the first program, within the available memory.

        Raises:
            ValueError: If not even one network fits in memory.
        """
        index, static = next(self.grid.cases())
        whole = self.grid.traced_shape
        total = math.prod(whole)
        on_cpu = self.devices[0].platform == "cpu"
        cases = math.prod(self.grid.static_shape)
        budget = (
            MEMORY_SHARE * machine.available_memory(self.devices[0]) / (len(self.devices) if on_cpu else 1)
        )

        def probe(points: int) -> tuple[float, Block, float, int]:
            chunk = chunk_shape(whole, points)
            began = time.perf_counter()
            compiled = self.compile(index, static, chunk)
            compile_seconds = time.perf_counter() - began
            memory = _memory(compiled)
            if memory > budget:
                if points == 1:
                    raise ValueError(_too_large(self.settings, memory, budget))
                return probe(max(1, min(points // 4, int(points * budget / memory))))
            group = [(0,) * len(chunk)]
            self.compute(index, static, chunk, group)
            began = time.perf_counter()
            self.compute(index, static, chunk, group)
            seconds = (time.perf_counter() - began) / (math.prod(chunk) * len(self.devices))
            return seconds, chunk, compile_seconds, memory

        best = probe(min(total, FIRST_CHUNK) if on_cpu else total)
        compile_seconds = best[2]
        if best[0] * total * cases > WORTH_PROBING and on_cpu:
            sizes = {chunk_shape(whole, n) for n in (1, 4 * FIRST_CHUNK)} - {best[1]}
            best = min([best, *(probe(math.prod(c)) for c in sizes)], key=lambda b: b[0])
        seconds, chunk, _, memory = best
        chunks = cases * math.prod(math.ceil(n / c) for n, c in zip(whole, chunk, strict=True))
        disk = sum(math.prod(n) * d.itemsize for _, n, d, _ in self.shapes().values()) * self.grid.num_points
        return Plan(
            chunk, cases, self.grid.num_points, chunks, seconds * total * cases, compile_seconds, memory, disk
        )


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
        ValueError: If the smallest chunk does not fit in memory.
    """
    began = time.perf_counter()
    sweep = Sweep(experiment, settings)
    settings_hash = store.identity(experiment.name, settings)
    if not path.exists():
        chunk = chunk or sweep.plan().chunk
        attrs = store.provenance(experiment.name, settings, sweep.devices[0].device_kind)
        store.create(path, sweep.grid, chunk, sweep.shapes(), experiment.theory(settings), attrs)
    record = store.Run(path, sweep.grid, tuple(experiment.variables), settings_hash)
    share = shard or (jax.process_index(), jax.process_count())
    with _stop_on_ctrl_c() as stopped:
        try:
            for case, done, total in _finish(sweep, record, share):
                report(case, done, total)
                if stopped():
                    raise Interrupted
        finally:
            record.add_wall_seconds(time.perf_counter() - began)
    return path


def _finish(sweep: Sweep, record: store.Run, share: tuple[int, int]) -> Iterator[tuple[str, int, int]]:
    """Compute and store the missing chunks; the next cases compile while one runs."""
    todo = list(_missing(sweep.grid, record, share))
    total = sum(len(missing) for _, _, missing in todo)
    done = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        compiling: list[Future[Any]] = []
        for i, (index, static, missing) in enumerate(todo):
            for ahead, case_static, _ in todo[i + len(compiling) : i + 3]:
                compiling.append(pool.submit(sweep.compile, ahead, case_static, record.chunk))
            compiling.pop(0).result()
            label = " ".join(str(static[k]) for k in sweep.grid.static)
            for j in range(0, len(missing), len(sweep.devices)):
                group = missing[j : j + len(sweep.devices)]
                arrays, split = _compute(sweep, index, static, record.chunk, group)
                for block, measured in zip(group, arrays, strict=True):
                    record.write(index, block, measured, split=split)
                done += len(group)
                yield label, done, total
            sweep.release(index)


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


def _compute(
    sweep: Sweep, index: Block, static: Static, chunk: Block, group: Sequence[Block]
) -> tuple[list[store.Arrays], bool]:
    """The group's arrays; where an accelerator runs out of memory each chunk runs as two halves."""
    try:
        return sweep.compute(index, static, chunk, group), False
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) or math.prod(chunk) == 1:
            raise
    axis = next(i for i, n in enumerate(chunk) if n > 1)
    half = (*chunk[:axis], (chunk[axis] + 1) // 2, *chunk[axis + 1 :])
    return [_halves(sweep, index, static, chunk, half, axis, block) for block in group], True


def _halves(
    sweep: Sweep, index: Block, static: Static, chunk: Block, half: Block, axis: int, block: Block
) -> store.Arrays:
    program = jax.jit(sweep.chunk_program(static))
    seeds, axes = sweep.inputs(block, chunk)
    parts = []
    for i in range(2):
        keep = np.minimum(np.arange(i * half[axis], (i + 1) * half[axis]), chunk[axis] - 1)
        name = None if axis == 0 else tuple(axes)[axis - 1]
        some = {k: {n: v[keep] for n, v in s.items()} if k == name else s for k, s in axes.items()}
        parts.append(jax.device_get(program(seeds[keep] if axis == 0 else seeds, some)))
    sizes = [s.stop - s.start for s in block_slices(block, sweep.grid.traced_shape, chunk)]
    joined = {k: np.concatenate([p[k] for p in parts], axis) for k in parts[0]}
    return {k: v[tuple(slice(n) for n in sizes)] for k, v in joined.items()}


def _memory(compiled: jax.stages.Compiled) -> int:
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0
    return int(analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes)


def _too_large(settings: Any, memory: int, budget: float) -> str:
    gib = 2.0**30
    text = f"one network needs {memory / gib:.1f} GiB and {budget / gib:.1f} GiB may be used"
    if isinstance(width := getattr(settings, "width", None), int):
        fits = int(width * math.sqrt(budget / memory))
        return f"--width: got {width}, but {text}; write at most about {fits}"
    return f"{text}; choose a smaller size"


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
