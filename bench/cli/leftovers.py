"""What runs leave on the disk: stores, what was written halfway, compiled programs; and how it is removed."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from signalprop.bench.engine import machine, store
from signalprop.bench.engine.errors import InputError, StoreError, nearest
from signalprop.bench.steps import ERROR

KINDS = {
    "runs": "finished runs",
    "unfinished": "runs that lack chunks or cannot be read",
    "partial": "written halfway by a process that ended",
    "errors": "tracebacks of runs that failed, and have not succeeded since",
    "cache": "compiled programs, which are made again when needed",
}
IN_USE = 600.0  # seconds for which a folder that is being written may belong to a process at work


class Leftover(NamedTuple):
    """Something that can be removed.

    Attributes:
        kind: A key of ``KINDS``.
        path: A store, a folder, or the folder of the compiled programs.
        files: What is removed: itself, a store with its note, or the compiled programs in their folder.
        size: Bytes.
        age: Seconds since it was changed last.
    """

    kind: str
    path: Path
    files: tuple[Path, ...]
    size: int
    age: float

    def __str__(self) -> str:
        """A line of the list."""
        return f"{_bytes(self.size):>9}  {_time(self.age):>8} old  {self.path}"


def leftovers(out: Path) -> list[Leftover]:
    """What can be removed under a folder of results, no figure among it, and the compiled programs."""
    runs = sorted((out / "runs").glob("*.zarr"))
    found = [_leftover(_state(path), path, _with_note(path)) for path in runs]
    halfway = [_leftover("partial", path, (path,)) for path in sorted((out / "runs").glob("*.partial"))]
    found += [one for one in halfway if one.age > IN_USE]
    failed = sorted((out / "runs").glob(f"*{ERROR}"))
    found += [_leftover("errors", path, (path,)) for path in failed]
    cache = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", machine.CACHE))
    programs = tuple(path for ending in ("cache", "atime") for path in sorted(cache.glob(f"*-{ending}")))
    return [*found, _leftover("cache", cache, programs)]


def chosen(found: Sequence[Leftover], names: Sequence[str]) -> list[Leftover]:
    """Those that some names mean: a kind, an experiment whose runs are meant, or a single store.

    Raises:
        InputError: For the first name that means nothing.
    """
    picked: list[Leftover] = []
    for name in names:
        of_name = [one for one in found if name == one.kind or _is_run(one, name)]
        if not of_name and name not in KINDS:
            known = sorted({one.path.stem.rpartition("-")[0] for one in found if one.path.suffix == ".zarr"})
            raise InputError(f"clean: nothing is stored as {name!r}; {nearest(name, [*KINDS, *known])}")
        picked += [one for one in of_name if one not in picked]
    return picked


def remove(one: Leftover) -> None:
    """Delete it.

    Raises:
        StoreError: If the system refuses.
    """
    try:
        for path in one.files:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot remove {error.filename or one.path} ({error.strerror or error})") from error


def total(some: Sequence[Leftover]) -> str:
    """The size of several together."""
    return _bytes(sum(one.size for one in some))


def _is_run(one: Leftover, name: str) -> bool:
    same = one.path.stem.rpartition("-")[0] == name or one.path.resolve() == Path(name).resolve()
    return one.path.suffix == ".zarr" and same


def _with_note(path: Path) -> tuple[Path, ...]:
    return path, path.with_suffix(".drawn.json")


def _state(path: Path) -> str:
    """Of a store; a damaged one counts as unfinished."""
    try:
        return "runs" if store.is_finished(path) else "unfinished"
    except (StoreError, KeyError, ValueError):
        return "unfinished"


def _leftover(kind: str, path: Path, files: tuple[Path, ...]) -> Leftover:
    known = [status for file in files for status in _statuses(file)]
    newest = max((status.st_mtime for status in known), default=time.time())
    return Leftover(kind, path, files, sum(status.st_size for status in known), time.time() - newest)


def _statuses(path: Path) -> Iterator[os.stat_result]:
    """Of a file, or of a folder and all in it; what vanishes meanwhile is left out."""
    for inner in (path, *(path.rglob("*") if path.is_dir() else ())):
        try:
            yield inner.lstat()
        except FileNotFoundError:
            continue


def _bytes(size: int) -> str:
    power = min((max(size, 1).bit_length() - 1) // 10, 3)
    return f"{size / 2 ** (10 * power):.{min(power, 1)}f} {('B', 'KiB', 'MiB', 'GiB')[power]}"


def _time(seconds: float) -> str:
    for length, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
