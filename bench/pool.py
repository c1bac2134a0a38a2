"""Several experiments at once: their steps as tasks for the processes of this machine, or of others.

An experiment begins in one worker, which opens its store and says what is missing; its shares are measured
by as many as are worth while, and one of them draws and judges. Compiling takes most of the time of a small
sweep and keeps one core busy, so a small one is a single share. What a worker has stored stays stored,
however it ends. Any number of workers, here or elsewhere, gives the same bits.
"""

import ast
import inspect
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from signalprop.bench.engine import machine
from signalprop.bench.engine.errors import InputError, Interrupted
from signalprop.bench.steps import (
    Begun,
    Failure,
    Finished,
    Progress,
    Task,
    Tell,
    begin,
    do,
    draw,
    measure,
    packed,
)

HUGE_PAGES = "glibc.malloc.hugetlb=1"  # a twelfth of the page faults, as every chunk takes and returns memory
DEATHS = 2  # of its worker, after which an experiment is given up


@dataclass(frozen=True)
class Workers:
    """Processes that work.

    Attributes:
        count: How many there are now.
        submit: Has one of them do a step of a packed task: ``submit(step, task, *more)``.
        stop: Makes them store their chunks in flight and end.
    """

    count: Callable[[], int]
    submit: Callable[..., Future[Any]]
    stop: Callable[[], None]


def run_all(
    tasks: Sequence[Task],
    jobs: int,
    engage: Callable[[int], AbstractContextManager[Workers]],
    finished: Callable[[Finished], None],
    say: Callable[[str], None],
) -> None:
    """Run experiments; one that fails does not stop the others.

    Where a worker dies, the experiments that were at work begin again where their stores stand, with half as
    many workers; one whose worker died ``DEATHS`` times, the last time alone, is given up.

    Args:
        tasks: In the order in which they are begun.
        jobs: Number of workers.
        engage: Gives so many workers, such as ``partial(processes, platform, tell)``.
        finished: Called once for every task.
        say: Called with a line about every worker that died.

    Raises:
        Interrupted: On Ctrl-C, after every chunk in flight is stored; on a second one the workers are killed.
    """
    left, deaths = list(dict.fromkeys(tasks)), Counter[str]()
    while left:
        with engage(jobs) as workers:
            left, at_work = _round(left, workers, finished)
        deaths.update(at_work)
        if at_work:
            jobs = max(1, jobs // 2)
            say(f"a worker died; {', '.join(sorted(at_work))} will go on, {jobs} at once")
        given_up = {name for name in at_work if len(at_work) == 1 and deaths[name] >= DEATHS}
        for name in given_up:
            why = f"its worker died {DEATHS} times, perhaps for want of memory; choose a smaller size"
            finished(Finished(name, 0.0, error=why))
        left = [task for task in left if task.name not in given_up]


def _round(
    tasks: Sequence[Task], workers: Workers, finished: Callable[[Finished], None]
) -> tuple[list[Task], set[str]]:
    """Run tasks until all have ended or a worker dies: what is left then, and the names of those at work."""
    waiting = deque[tuple[Any, ...]]((begin, task) for task in tasks)
    running, at_work, shares = dict[Future[Any], tuple[Any, Task]](), Counter[Task](), Counter[Task]()
    since, begun, ended = dict[Task, float](), dict[Task, Begun](), set[Task]()

    def end(task: Task, **found: Any) -> None:
        if task not in ended:
            ended.add(task)
            finished(Finished(task.name, time.perf_counter() - since[task], **found))

    def follow(step: Any, task: Task, found: Any) -> None:
        if isinstance(found, Failure):
            return end(task, error=found.why, bad_input=found.bad_input)
        if step is draw:
            return end(task, outcome=found, stale=begun[task].stale, edited=begun[task].edited)
        if step is begin:
            begun[task], shares[task] = found, len(found.shares)
            waiting.extendleft((measure, task, share) for share in reversed(found.shares))
        else:
            shares[task] -= 1
        if shares[task] == 0:
            waiting.appendleft((draw, task))
        return None  # its other shares are at work

    def hand_out(step: Any, task: Task, *more: Any) -> None:
        if step is begin:
            more = (workers.count(),)
        since.setdefault(task, time.perf_counter())
        at_work[task] += 1
        running[workers.submit(step, packed(task), *more)] = step, task

    try:
        while waiting or running:
            while waiting and len(running) < workers.count():
                step, task, *more = waiting.popleft()
                if task not in ended:
                    hand_out(step, task, *more)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                found = _result(future)
                step, task = running.pop(future)
                at_work[task] -= 1
                follow(step, task, found)
    except BrokenProcessPool:
        left = [replace(task, fresh=task.fresh and task not in begun) for task in tasks if task not in ended]
        return left, {task.name for task, steps in at_work.items() if steps and task not in ended}
    except (KeyboardInterrupt, Interrupted):
        workers.stop()
        raise Interrupted from None
    return [], set()


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except (BrokenProcessPool, Interrupted):
        raise
    except Exception as error:  # of a cluster: a worker or the scheduler is lost for good
        return Failure(f"{type(error).__name__}: {' '.join(str(error).split())}")


def _require_guard() -> None:
    """Refuse a script that every worker would run again: spawned processes import their caller's script.

    Raises:
        InputError: If it calls outside ``if __name__ == "__main__":``, with the line.
    """
    main, frame = vars(sys.modules["__main__"]), inspect.currentframe()
    while frame and not (frame.f_code.co_name == "<module>" and frame.f_globals is main):
        frame = frame.f_back
    path, as_module = main.get("__file__"), getattr(main.get("__spec__"), "name", "")
    if frame is None or path is None or as_module.endswith("__main__"):  # not imported again
        return
    try:
        statements = ast.parse(Path(path).read_bytes()).body
    except (OSError, SyntaxError, ValueError):  # no file of Python
        return
    line = frame.f_lineno
    if any(s.lineno <= line <= (s.end_lineno or line) for s in statements if not isinstance(s, ast.If)):
        raise InputError(
            f"{path}, line {line}: every process that measures imports this script and would run it again; "
            'put the call under if __name__ == "__main__":'
        )


@contextmanager
def processes(platform: str | None, tell: Tell, count: int) -> Iterator[Workers]:
    """Workers on this machine: a pool of processes, each with one BLAS thread, and one device if it is a CPU.

    Args:
        platform: As of ``machine.start``.
        tell: Called with the progress of every worker.
        count: How many.

    Raises:
        InputError: If it is called by a script that every worker would run again.
    """
    _require_guard()
    context, workers = multiprocessing.get_context("spawn"), set[int]()
    received, sent = context.Pipe(duplex=False)
    stopping = threading.Event()

    def listen() -> None:
        while progress := received.recv():
            if stopping.is_set() and progress.worker not in workers:  # it was still starting
                _signal({progress.worker}, signal.SIGINT)
            workers.add(progress.worker)
            tell(progress)

    def stop() -> None:
        stopping.set()
        _stop(pool, workers)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_enter, initargs=(platform, sent))

    def submit(step: Callable[..., Any], *task: Any) -> Future[Any]:
        return pool.submit(_here, step, *task)

    surroundings = {"GLIBC_TUNABLES": HUGE_PAGES} | os.environ | machine.environment(platform)
    try:
        with _environment(surroundings):  # a worker may import JAX with the caller's script, before it enters
            yield Workers(lambda: count, submit, stop)
    finally:
        pool.shutdown(cancel_futures=True)
        sent.send(None)
        listener.join(timeout=5)
        for worker in workers:
            tell(Progress(worker))


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """The environment of the processes that are started meanwhile, which is not that of a user's script."""
    before = {**os.environ}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name in wanted:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


@contextmanager
def here(platform: str | None, tell: Tell, count: int) -> Iterator[Workers]:
    """This process itself, with all its devices: one of a pod of accelerators."""
    del count

    def submit(step: Callable[..., Any], task: Task, *more: Any) -> Future[Any]:
        future = Future[Any]()
        future.set_result(do(platform, tell, step, task, *more))
        return future

    yield Workers(lambda: 1, submit, lambda: None)


def _stop(pool: ProcessPoolExecutor, workers: set[int]) -> None:
    """Let every worker store its chunk in flight and end; kill them all on a second Ctrl-C."""
    pool.shutdown(wait=False, cancel_futures=True)
    _signal(workers, signal.SIGINT)
    try:
        pool.shutdown(wait=True)
    except KeyboardInterrupt:
        _signal(workers, signal.SIGKILL)


def _signal(workers: set[int], which: signal.Signals) -> None:
    for worker in workers:
        try:
            os.kill(worker, which)
        except ProcessLookupError:
            continue


_stopping = False  # of a worker process: whether it was told to end
_platform: str | None = None  # and where it computes
_sent: Any = None  # and the pipe through which it tells its progress


def _enter(platform: str | None, sent: Any) -> None:
    """Start a worker: it ends with its parent, and a terminal's Ctrl-C reaches the parent alone."""
    global _platform, _sent
    _platform, _sent = platform, sent
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, _end_between_tasks)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _send(Progress(os.getpid()))


def _end_between_tasks(number: int, frame: object) -> None:
    """Take no task any more: who waits for one holds the queue's lock, and must not die with it."""
    global _stopping
    _stopping = True


def _end_now(number: int, frame: object) -> None:
    _end_between_tasks(number, frame)
    raise Interrupted


def _send(progress: Progress) -> None:
    """Write to the pipe in one piece, as a system does up to 4 KiB.

    It takes no lock, as a queue does: a worker that was killed while it held one would stop all others.
    """
    _sent.send(replace(progress, case=progress.case[:1000]))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _here(step: Callable[..., Any], task: Task, *more: Any) -> Any:
    """Do a step, unless it is to end; a sweep that is told to stores its chunk first."""
    if _stopping:
        raise Interrupted
    signal.signal(signal.SIGINT, _end_now)
    try:
        return do(_platform, _send, step, task, *more)
    finally:
        signal.signal(signal.SIGINT, _end_between_tasks)
