"""The compiled programs of a sweep: one per static case, running one chunk on every local device.

Each device runs the same single-device program on its own chunk (``shard_map`` without communication),
so numbers do not depend on which device computes which chunk. In the last digits they may depend on the
chunk's shape, and on whether XLA compiled for one device or for several.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Block, Grid, Static, block_slices
from signalprop.bench.engine.store import Arrays, Shape
from signalprop.bench.experiment import Experiment

DTYPES = ("float32", "float64")

Program = Callable[[jax.Array, dict[str, dict[str, jax.Array]]], dict[str, jax.Array]]


class Programs:
    """The programs of one experiment at one setting, on this machine's devices."""

    def __init__(self, experiment: Experiment, settings: Any) -> None:
        """Prepare the grid and the device mesh; nothing is compiled yet.

        Raises:
            InputError: If the settings ask for another dtype than float32 and float64.
        """
        self.experiment, self.settings = experiment, settings
        self.grid: Grid = experiment.grid(settings)
        self.devices = jax.local_devices()
        self.mesh = Mesh(np.array(self.devices), ("sweep",), axis_types=(AxisType.Auto,))
        if settings.dtype not in DTYPES:
            raise InputError(f"--dtype: got {settings.dtype}; write {' or '.join(DTYPES)}")
        self.dtype = jnp.dtype(settings.dtype)
        self._programs: dict[tuple[Block, Block], jax.stages.Compiled] = {}
        self._measured: dict[str, jax.ShapeDtypeStruct] = {}  # of one point

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

            names = tuple(self.grid.traced)
            measured: dict[str, jax.Array] = jax.vmap(lambda seed: along(names, seed, {}))(seeds)
            return measured

        return program

    def trace(self, static: Static, chunk: Block) -> jax.stages.Traced:
        """Trace the program that runs one chunk on every local device."""
        program = self.chunk_program(static)

        def per_device(*inputs: Any) -> Any:
            one = jax.tree.map(lambda a: a[0], inputs)
            return jax.tree.map(lambda a: a[None], program(*one))

        spread = jax.shard_map(
            per_device, mesh=self.mesh, in_specs=P("sweep"), out_specs=P("sweep"), check_vma=False
        )
        return jax.jit(spread).trace(*self.on_devices([(0,) * len(chunk)], chunk))

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
            traced = self.trace(static, chunk)
            self._measured = self._measured or self._one_point(traced.out_info, 1 + len(chunk))
            self._programs[index, chunk] = traced.lower().compile()
        return self._programs[index, chunk]

    def release(self, index: Block) -> None:
        """Forget the programs of a finished case."""
        self._programs = {k: v for k, v in self._programs.items() if k[0] != index}

    def compute(self, index: Block, static: Static, chunk: Block, group: Sequence[Block]) -> list[Arrays]:
        """Measured arrays of one block per device, cut to the grid."""
        out = jax.device_get(self.compile(index, static, chunk)(*self.on_devices(group, chunk)))
        return [self._cut({k: v[i] for k, v in out.items()}, b, chunk) for i, b in enumerate(group)]

    def compute_in_halves(self, static: Static, chunk: Block, block: Block) -> Arrays:
        """One block as two runs of half its longest axis, for an accelerator whose memory did not suffice."""
        axis = int(np.argmax(chunk))
        seeds, axes = self.inputs(block, chunk)
        program = jax.jit(self.chunk_program(static))
        name = None if axis == 0 else tuple(axes)[axis - 1]
        parts = []
        for keep in np.array_split(np.arange(chunk[axis]), 2):
            some = {k: {n: v[keep] for n, v in s.items()} if k == name else s for k, s in axes.items()}
            parts.append(jax.device_get(program(seeds[keep] if axis == 0 else seeds, some)))
        return self._cut({k: np.concatenate([p[k] for p in parts], axis) for k in parts[0]}, block, chunk)

    def shapes(self) -> dict[str, Shape]:
        """Dimensions, lengths, dtype and labels of each measured array.

        The lengths are those of the grid's coordinates; a case with fewer entries leaves the rest empty. A
        program that was compiled before tells names and dtypes; only without one is the first case traced.

        Raises:
            ValueError: If ``measure`` returns other arrays, or with other dimensions, than declared.
        """
        name, declared, coords = self.experiment.name, self.experiment.variables, self.grid.coords
        out = self._measured
        if not out:
            chunk = (1,) * len(self.grid.traced_shape)
            one = self.inputs((0,) * len(chunk), chunk)
            traced = jax.eval_shape(self.chunk_program(next(self.grid.cases())[1]), *one)
            out = self._one_point(traced, len(chunk))
        if set(out) != set(declared):
            raise ValueError(f"{name}: measured {sorted(out)}, declared {sorted(declared)}")
        if lacking := {d for v in declared.values() for d in v.dims} - set(coords):
            raise ValueError(f"{name}: the grid's coords lack {sorted(lacking)}")
        for k, v in declared.items():
            longest = tuple(len(coords[d]) for d in v.dims)
            if len(out[k].shape) != len(longest) or any(np.greater(out[k].shape, longest)):
                raise ValueError(
                    f"{name}: {k} has shape {out[k].shape}, declared {v.dims} of lengths {longest}"
                )
        return {
            k: (
                v.dims,
                tuple(len(coords[d]) for d in v.dims),
                np.dtype(out[k].dtype),
                {"long_name": v.description, "units": v.unit},
            )
            for k, v in declared.items()
        }

    @staticmethod
    def _one_point(traced: dict[str, Any], leading: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of what is measured at one point, without the axes of device and chunk."""
        return {k: jax.ShapeDtypeStruct(v.shape[leading:], v.dtype) for k, v in traced.items()}

    def _cut(self, arrays: Arrays, block: Block, chunk: Block) -> Arrays:
        """Without the points that only filled the last chunk of an axis."""
        keep = tuple(slice(s.stop - s.start) for s in block_slices(block, self.grid.traced_shape, chunk))
        return {k: v[keep] for k, v in arrays.items()}
