"""What a worker does for an experiment, one step at a time: begin it, measure a share of it, draw it.

Every step starts where the store stands and can be done by any process that reaches it, any number of times.
"""

import os
import pickle
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalprop.bench.engine import machine
from signalprop.bench.engine.errors import InputError, Interrupted, StoreError
from signalprop.models.lookup import Unusable

if TYPE_CHECKING:
    from signalprop.bench.engine.programs import Programs
    from signalprop.bench.record.verdict import Outcome

ERROR = ".error.txt"  # how the file of a traceback ends, beside the runs


@dataclass(frozen=True)
class Task:
    """An experiment to run, by the name that ``find`` takes: its settings, or the name of a size.

    ``shard = (i, n)`` is only every n-th chunk from the i-th; by default the share of this process in a pod.
    ``fresh`` removes its store first.
    """

    name: str
    settings: Any
    out: Path
    shard: tuple[int, int] | None = None
    fresh: bool = False


@dataclass(frozen=True)
class Finished:
    """What became of a task.

    Attributes:
        name: The experiment.
        seconds: From its start to its verdicts.
        outcome: None if other shards still have chunks to compute, or after an error.
        stale: Whether the stored run was begun by other code than this.
        edited: The user's own files whose change since an earlier run made this a new one.
        error: What went wrong, in one line; empty if nothing did.
        bad_input: Whether that was a setting that cannot be used.
    """

    name: str
    seconds: float
    outcome: "Outcome | None" = None
    stale: bool = False
    edited: tuple[str, ...] = ()
    error: str = ""
    bad_input: bool = False


@dataclass(frozen=True)
class Progress:
    """Where a worker is: the experiment's static case, and the chunks of its share done and wanted."""

    worker: int
    name: str = ""
    case: str = ""
    done: int = 0
    total: int = 0


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Begun:
    """The shares that are missing, whether other code than this began the run, and what made it a new one."""

    shares: list[range]
    stale: bool
    edited: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """What went wrong, in one line, and whether it was a setting that cannot be used."""

    why: str
    bad_input: bool = False


def begin(task: Task, workers: int) -> Begun:
    """Open or create the store of an experiment, and cut what is missing into shares for so many workers.

    Raises:
        StoreError: If the store cannot be used, or is unfinished and was begun by other code.
    """
    import jax

    from signalprop.bench import pipeline
    from signalprop.bench.engine import provenance, store, sweep

    programs = _programs(task.name, task.settings)
    path = pipeline.run_path(task.out, programs.experiment, programs.settings)
    if task.fresh:
        shutil.rmtree(path, ignore_errors=True)
    code = provenance.code_hash(programs.experiment, programs.settings)
    stale = path.exists() and store.code_changed(path, code)
    if stale and not store.is_finished(path):
        raise StoreError(f"{path} was begun by other code than this; --fresh begins it again")
    edited = store.edited(path, programs.experiment, programs.settings)
    record = sweep.open_store(programs, path)
    mine = sweep.positions(record, task.shard or (jax.process_index(), jax.process_count()))
    return Begun(sweep.divide(programs, record, mine, workers), stale, edited)


def measure(task: Task, share: range) -> None:
    """Compute and store a share of the chunks.

    Raises:
        Interrupted: On Ctrl-C, after the chunk in flight is stored.
    """
    from signalprop.bench import pipeline
    from signalprop.bench.engine import sweep

    def report(case: str, done: int, total: int) -> None:
        _tell(Progress(os.getpid(), task.name, case, done, total))

    programs = _programs(task.name, task.settings)
    record = sweep.open_store(programs, pipeline.run_path(task.out, programs.experiment, programs.settings))
    sweep.measure(programs, record, share, report)


def draw(task: Task) -> "Outcome | None":
    """Draw and judge, unless chunks are missing."""
    from signalprop.bench import pipeline

    programs = _programs(task.name, task.settings)
    found = pipeline.finish(programs.experiment, programs.settings, task.out)
    if found is not None:
        _traceback_of(task).unlink(missing_ok=True)
    return found


def _traceback_of(task: Task) -> Path:
    """Where the traceback of an experiment stands that failed, until it succeeds."""
    return task.out / "runs" / f"{task.name.replace(':', '.')}{ERROR}"


@lru_cache(maxsize=1)  # what began here is usually measured here, with the program that was compiled
def _programs(name: str, settings: Any) -> "Programs":
    from signalprop.bench.engine.programs import Programs
    from signalprop.bench.experiments import find

    experiment = find(name)
    return Programs(experiment, experiment.sizes[settings] if isinstance(settings, str) else settings)


_tell: Tell = lambda progress: None  # noqa: E731  of a worker: how it tells its progress


def packed(task: Task) -> Task:
    """A task as it travels to a worker: settings as bytes, since those of a user's own may import JAX."""
    return replace(task, settings=pickle.dumps(task.settings))


def do(platform: str | None, tell: Tell, step: Callable[..., Any], task: Task, *more: Any) -> Any:
    """Do one step of a packed task in a worker; what goes wrong is returned, in one line."""
    global _tell
    _tell = tell
    tell(Progress(os.getpid(), task.name))
    try:
        machine.start(platform)
        return step(replace(task, settings=pickle.loads(task.settings)), *more)
    except (InputError, Unusable, StoreError) as error:
        return Failure(str(error), not isinstance(error, StoreError))
    except Interrupted:
        raise
    except Exception as error:
        path = _traceback_of(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc())
        return Failure(f"{type(error).__name__}: {error}; the traceback is in {path}")
    finally:
        tell(Progress(os.getpid()))
