"""The record of a run: a Zarr group that survives kill -9 and opens as a labelled xarray dataset.

Every chunk is written before its marker, and the marker is a checksum of what was written, so a chunk
that is missing or damaged is recognised and recomputed. Reading a store runs no code.
"""

import errno
import hashlib
import json
import math
import os
import shutil
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from signalprop.bench.engine.errors import StoreError
from signalprop.bench.engine.grid import Block, Grid, block_slices, blocks
from signalprop.bench.engine.sources import sources
from signalprop.bench.experiment import Experiment

SCHEMA = 1
MARKER, SPLIT = "done", "split"

Arrays = Mapping[str, np.ndarray]
Shape = tuple[tuple[str, ...], tuple[int, ...], np.dtype[Any], dict[str, str]]
"""Dimensions behind the grid's own, their lengths, dtype, and attributes of a measured array."""


def identity(experiment: Experiment, settings: Any) -> str:
    """Hash of an experiment's settings, and of the files of a user's own behind it: the name of its run."""
    own = sources(experiment, settings)
    named = {
        "experiment": experiment.name,
        "schema": SCHEMA,
        **asdict(settings),
        **({"sources": own} if own else {}),
    }
    text = json.dumps(named, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def create(
    path: Path,
    grid: Grid,
    chunk: Block,
    variables: Mapping[str, Shape],
    theory: xr.Dataset,
    attrs: Mapping[str, Any],
) -> None:
    """Create the store in one atomic step; if another process was first, its store stands.

    Args:
        path: Folder to create.
        grid: The sweep's axes.
        chunk: Shape of a chunk on the seed and traced axes.
        variables: For each measured array its own dimensions, their lengths, dtype and attributes.
        theory: Predictions, stored beside the measurements.
        attrs: Provenance.

    Raises:
        StoreError: If the folder cannot be written.
    """
    shape = grid.static_shape + grid.traced_shape
    counts = grid.static_shape + tuple(
        math.ceil(n / c) for n, c in zip(grid.traced_shape, chunk, strict=True)
    )
    block_dims = (*grid.static, "seed_block", *(f"{axis}_block" for axis in grid.traced))
    data: dict[str, Any] = {}
    encoding: dict[str, dict[str, Any]] = {}
    for name, (dims, lengths, dtype, labels) in variables.items():
        data[name] = (grid.dims + dims, np.broadcast_to(fill_value(dtype), shape + lengths), labels)
        own = tuple(max(1, n) for n in lengths)
        encoding[name] = {"chunks": (1,) * len(grid.static) + chunk + own, "fill_value": fill_value(dtype)}
    for name, dtype in ((MARKER, np.dtype("u4")), (SPLIT, np.dtype("u1"))):
        data[name] = (block_dims, np.zeros(counts, dtype))
        encoding[name] = {"chunks": (1,) * len(counts), "fill_value": 0}
    template = xr.Dataset(data, coords=grid.labels(), attrs={**attrs, "chunk": list(chunk)})
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        xr.merge([template, theory], combine_attrs="override", join="exact").to_zarr(
            partial, mode="w-", zarr_format=3, consolidated=False, encoding=encoding, write_empty_chunks=False
        )
        os.rename(partial, path)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not (error.errno in (errno.ENOTEMPTY, errno.EEXIST) and path.is_dir()):
            raise StoreError(
                f"--out: cannot write {path} ({error.strerror}); name a folder you own"
            ) from error


def fill_value(dtype: np.dtype[Any]) -> Any:
    """What stands where nothing was written: NaN for floats, 0 or False otherwise."""
    return dtype.type("nan") if dtype.kind == "f" else dtype.type(0)


class Run:
    """An open store that takes finished chunks, in any order and from any number of processes.

    Raises:
        StoreError: If the folder is no store, or one of another schema, other settings or other variables.
    """

    def __init__(self, path: Path, grid: Grid, variables: tuple[str, ...], settings_hash: str) -> None:
        """Open the store at ``path``."""
        self.path, self.grid, self.variables = path, grid, variables
        self.group = _open(path, "r+")
        if self.group.attrs.get("settings_hash") != settings_hash:
            raise StoreError(f"{path} holds a run of other settings; choose another --out or remove it")
        if absent := [name for name in variables if name not in self.group]:
            names = ", ".join(absent)
            raise StoreError(f"{path} was stored by other code, without {names}; --fresh computes it again")
        self.chunk: Block = tuple(self.group.attrs["chunk"])  # type: ignore[arg-type]
        self.cases, self.blocks = list(grid.cases()), blocks(grid.traced_shape, self.chunk)
        self._seen: dict[Block, int] = {}  # markers, by chunk

    def place(self, position: int) -> tuple[Block, Block]:
        """The static case and the block of a chunk, counted case by case."""
        case, block = divmod(position, len(self.blocks))
        return self.cases[case][0], self.blocks[block]

    def state(self, case: Block, block: Block) -> str:
        """``missing``, ``done``, or ``damaged`` where the data no longer match their checksum.

        Only the files of this chunk are read, so a share costs what it holds, however large the store is.
        """
        marker = self._seen[case + block] = self._marker(case, block)
        if marker == 0:
            return "missing"
        region = self._region(case, block)
        try:
            stored = {name: np.asarray(self.group[name][region]) for name in self.variables}  # type: ignore[index]
        except Exception:  # a torn file fails in whichever codec meets it first
            return "damaged"
        return "done" if checksum(stored) == marker else "damaged"

    def write(self, case: Block, block: Block, arrays: Arrays, *, split: bool = False) -> None:
        """Write one chunk, then its marker.

        Raises:
            StoreError: If the disk is full or the folder cannot be written; finished chunks are kept.
        """
        region = self._region(case, block)
        lengths = tuple(s.stop - s.start for s in region)
        written: dict[str, np.ndarray] = {}
        try:
            for name in self.variables:
                target = self.group[name]
                full = np.full(lengths + target.shape[len(lengths) :], fill_value(target.dtype), target.dtype)  # type: ignore[union-attr]
                value = arrays[name]
                full[(0,) * len(case) + tuple(slice(n) for n in value.shape)] = value
                if np.issubdtype(full.dtype, np.floating):  # one NaN: a chunk of fill values is not kept
                    full[np.isnan(full)] = np.nan
                target[region] = written[name] = full  # type: ignore[index]
            if split:
                self.group[SPLIT][case + block] = 1  # type: ignore[index]
            self.group[MARKER][case + block] = checksum(written)  # type: ignore[index]
        except OSError as error:
            raise StoreError(
                f"cannot write {self.path} ({error.strerror}); finished chunks are kept, mend and run again"
            ) from error

    def changed(self, case: Block, block: Block) -> bool:
        """Whether another process has written the chunk since its state was asked."""
        return self._marker(case, block) != self._seen[case + block]

    def _marker(self, case: Block, block: Block) -> int:
        return int(self.group[MARKER][case + block])  # type: ignore[index,arg-type]

    def _region(self, case: Block, block: Block) -> tuple[slice, ...]:
        return tuple(slice(i, i + 1) for i in case) + block_slices(block, self.grid.traced_shape, self.chunk)


def checksum(arrays: Arrays) -> int:
    """CRC-32 of the arrays' bytes in the order of their names; never 0, which marks a missing chunk."""
    value = 0
    for name in sorted(arrays):
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), value)
    return value or 1


def edited(path: Path, experiment: Experiment, settings: Any) -> tuple[str, ...]:
    """A user's own files that were edited after an earlier run at these settings, so that a new one begins.

    Args:
        path: The new run.
        experiment: What it measures.
        settings: Its settings.
    """
    new, wanted = sources(experiment, settings), json.dumps(asdict(settings))
    if path.exists() or not new:
        return ()
    files: set[str] = set()
    for other in path.parent.glob(f"{path.name.rpartition('-')[0]}-*.zarr"):
        old = _open(other, "r").attrs
        if old.get("settings") == wanted:
            before = json.loads(str(old.get("sources", "{}")))
            files |= {name for name in new if new[name] != before.get(name)}
    return tuple(sorted(files))


def described(path: Path) -> tuple[str, dict[str, Any]]:
    """Which experiment a run is of, as ``find`` takes it, and its settings by name.

    Raises:
        StoreError: If there is no store, or it has another schema.
    """
    attrs = _open(path, "r").attrs
    name = str(attrs.get("origin") or attrs["experiment"])
    return name, {k: _tupled(v) for k, v in json.loads(str(attrs["settings"])).items()}


def _tupled(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def is_finished(path: Path) -> bool:
    """Whether every chunk of the run is marked."""
    return bool(np.asarray(_open(path, "r")[MARKER][...]).all())  # type: ignore[index]


def code_changed(path: Path, code_hash: str) -> bool:
    """Whether the run was started by other code than that of this hash."""
    return bool(_open(path, "r").attrs.get("code_hash") != code_hash)


def fingerprint(path: Path) -> str:
    """Hash of what a finished run holds: its settings and the checksum of every chunk."""
    group = _open(path, "r")
    markers = np.ascontiguousarray(group[MARKER][...])  # type: ignore[index]
    return hashlib.sha256(str(group.attrs["settings_hash"]).encode() + markers.tobytes()).hexdigest()[:12]


def load(path: str | Path) -> xr.Dataset:
    """Open a finished run as a labelled dataset: measured and predicted arrays, provenance in ``attrs``.

    Raises:
        StoreError: If there is no store, it has another schema, is unfinished, or a chunk is damaged.
    """
    path = Path(path)
    _open(path, "r")
    try:
        result: xr.Dataset = xr.open_zarr(path, consolidated=False, chunks=None).load()
    except Exception as error:  # a torn file fails in whichever codec meets it first
        raise StoreError(f"{path} is damaged ({error}); run the same command again to repair it") from error
    done = result[MARKER].values
    if not done.all():
        raise StoreError(
            f"{path} is unfinished: {np.count_nonzero(done)} of {done.size} chunks; run it again"
        )
    _verify(path, result)
    return result.drop_vars([MARKER, SPLIT])


def _verify(path: Path, result: xr.Dataset) -> None:
    num_static = [str(d).endswith("_block") for d in result[MARKER].dims].index(True)
    dims = tuple(str(d).removesuffix("_block") for d in result[MARKER].dims)
    shape = tuple(result.sizes[d] for d in dims)
    chunk = (1,) * num_static + tuple(result.attrs["chunk"])
    names = [str(n) for n, v in result.data_vars.items() if v.dims[: len(dims)] == dims]
    for block, marker in np.ndenumerate(result[MARKER].values):
        region = block_slices(block, shape, chunk)
        if checksum({n: result[n].values[region] for n in names}) != marker:
            raise StoreError(f"{path} has a damaged chunk {block}; run the same command again to repair it")


def _open(path: Path, mode: str) -> zarr.Group:
    if not path.exists():
        raise StoreError(f"{path} does not exist; run the experiment first")
    try:
        group = zarr.open_group(path, mode=mode)  # type: ignore[arg-type]
    except (OSError, KeyError, ValueError) as error:
        raise StoreError(f"{path} is not a result of signalprop; run the experiment first") from error
    if group.attrs.get("schema") != SCHEMA:
        raise StoreError(
            f"{path} has schema {group.attrs.get('schema')}, this version reads {SCHEMA}; "
            "choose another --out or remove it"
        )
    return group
