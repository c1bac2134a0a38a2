"""Several experiments at once: a pool of processes, one per core, each with one device and one BLAS thread.

Compiling takes most of the time of a small sweep and keeps one core busy, so every worker takes whole
experiments. What a worker has stored stays stored, however it ends. Any number of workers gives the same
bits; a single experiment, run in one process on all devices, may differ in the last digits.
"""

import multiprocessing
import os
import shutil
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalprop.bench.engine import machine
from signalprop.bench.engine.errors import InputError, Interrupted, StoreError

if TYPE_CHECKING:
    from signalprop.bench.pipeline import Outcome

WORKER_MEMORY = 2**30  # bytes that one worker takes before it computes anything, generously
DEATHS = 2  # of its worker, after which an experiment is given up


@dataclass(frozen=True)
class Task:
    """An experiment to run: its settings, or the name of a size; ``fresh`` removes its store first."""

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
        error: What went wrong, in one line; empty if nothing did.
    """

    name: str
    seconds: float
    outcome: "Outcome | None" = None
    stale: bool = False
    error: str = ""


@dataclass(frozen=True)
class Progress:
    """Where a worker is: the experiment's static case, and its chunks done and wanted."""

    worker: int
    name: str = ""
    case: str = ""
    done: int = 0
    total: int = 0


def run(task: Task, report: Callable[[str, int, int], None]) -> Finished:
    """Run one experiment in this process.

    Raises:
        Interrupted, StoreError, InputError: As ``pipeline.run``; StoreError also for an unfinished run that
            was begun by other code.
    """
    from signalprop.bench import pipeline
    from signalprop.bench.engine import provenance, store
    from signalprop.bench.experiments import find

    began, experiment = time.perf_counter(), find(task.name)
    settings = experiment.sizes[task.settings] if isinstance(task.settings, str) else task.settings
    path = pipeline.run_path(task.out, experiment, settings)
    if task.fresh:
        shutil.rmtree(path, ignore_errors=True)
    stale = path.exists() and store.code_changed(path, provenance.code_hash(experiment, settings))
    if stale and not store.is_finished(path):
        raise StoreError(f"{path} was begun by other code than this; --fresh begins it again")
    outcome = pipeline.run(experiment, settings, task.out, report=report, shard=task.shard)
    return Finished(task.name, time.perf_counter() - began, outcome, stale)


def run_all(
    tasks: Sequence[Task],
    jobs: int,
    platform: str | None,
    tell: Callable[[Progress], None],
    finished: Callable[[Finished], None],
    say: Callable[[str], None],
) -> None:
    """Run experiments in ``jobs`` worker processes; one that fails does not stop the others.

    Where a worker dies, the experiments that were running begin again where their stores stand, with half as
    many workers; one whose worker died ``DEATHS`` times is given up.

    Args:
        tasks: In the order in which they are begun.
        jobs: Number of workers.
        platform: As of ``machine.start``.
        tell: Called with the progress of every worker.
        finished: Called once for every task.
        say: Called with a line about every worker that died.

    Raises:
        Interrupted: On Ctrl-C, after every chunk in flight is stored; on a second one the workers are killed.
    """
    waiting, deaths = list(tasks), Counter[str]()
    while waiting:
        ended = _round(waiting, jobs, platform, tell, finished)
        deaths.update(ended.at_work)
        jobs = max(1, jobs // 2) if ended.at_work else jobs
        if ended.at_work:
            say(f"a worker died; {', '.join(sorted(ended.at_work))} will go on, {jobs} at once")
        given_up = [task for task in waiting if deaths[task.name] >= DEATHS]
        for task in given_up:
            why = f"its worker died {DEATHS} times, perhaps for want of memory; run it with --jobs 1"
            finished(Finished(task.name, 0.0, error=why))
        left = [task for task in waiting if task.name not in ended.names and task not in given_up]
        waiting = [replace(task, fresh=False) for task in left]


@dataclass(frozen=True)
class _Ended:
    """Names of finished tasks, and of those at work when a worker died: all, if none had begun."""

    names: set[str]
    at_work: set[str]


def _round(
    tasks: Sequence[Task],
    jobs: int,
    platform: str | None,
    tell: Callable[[Progress], None],
    finished: Callable[[Finished], None],
) -> _Ended:
    """Run tasks until all are finished or a worker dies."""
    context = multiprocessing.get_context("spawn")
    events, workers = context.SimpleQueue(), dict[int, str]()

    def listen() -> None:
        while progress := events.get():
            workers[progress.worker] = progress.name
            tell(progress)

    listener, names, broken = threading.Thread(target=listen, daemon=True), set[str](), False
    listener.start()
    size = min(jobs, len(tasks))
    pool = ProcessPoolExecutor(size, mp_context=context, initializer=_begin, initargs=(platform, events))
    try:
        futures: dict[Future[Finished], Task] = {pool.submit(_work, task): task for task in tasks}
        for future in as_completed(futures):
            try:
                found = future.result()
            except BrokenProcessPool:
                broken = True
                continue
            names.add(found.name)
            finished(found)
    except (KeyboardInterrupt, Interrupted):
        _stop(pool, workers)
        raise Interrupted from None
    finally:
        pool.shutdown(cancel_futures=True)
        events.put(None)
        listener.join(timeout=5)
        for worker in workers:
            tell(Progress(worker))
    at_work = set(workers.values()) - names - {""} or {task.name for task in tasks} - names
    return _Ended(names, at_work if broken else set())


def _stop(pool: ProcessPoolExecutor, workers: dict[int, str]) -> None:
    """Let every worker store its chunk in flight and end; kill them all on a second Ctrl-C."""
    pool.shutdown(wait=False, cancel_futures=True)
    _signal(workers, signal.SIGINT)
    try:
        pool.shutdown(wait=True)
    except KeyboardInterrupt:
        _signal(workers, signal.SIGKILL)


def _signal(workers: dict[int, str], which: signal.Signals) -> None:
    for worker in workers:
        try:
            os.kill(worker, which)
        except ProcessLookupError:
            continue


_events: Any = None  # of a worker process: where it tells its progress
_platform: str | None = None  # of a worker process: where it computes


def _begin(platform: str | None, events: Any) -> None:
    """Start a worker: it ends with its parent, and a terminal's Ctrl-C reaches the parent alone."""
    global _events, _platform
    _events, _platform = events, platform
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))  # a sweep stores its chunk first
    threading.Thread(target=_end_with_parent, daemon=True).start()
    events.put(Progress(os.getpid()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Task) -> Finished:
    """Run one experiment in a worker."""
    began = time.perf_counter()

    def report(case: str, done: int, total: int) -> None:
        _events.put(Progress(os.getpid(), task.name, case, done, total))

    report("", 0, 0)
    try:
        machine.start(_platform, devices=1)
        return run(task, report)
    except (InputError, StoreError) as error:
        return Finished(task.name, time.perf_counter() - began, error=str(error))
    except Exception as error:
        path = task.out / "runs" / f"{task.name}.error.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc())
        why = f"{type(error).__name__}: {error}; the traceback is in {path}"
        return Finished(task.name, time.perf_counter() - began, error=why)
    finally:
        _events.put(Progress(os.getpid()))
