"""The workers of a Dask scheduler, which SLURM, PBS, LSF, SGE or Kubernetes may have started.

They compute what the processes of one machine would, share by share, each writing its own chunks into the
store; so all of them reach the folder of results under the same path. Dask gives the step of a worker that
is lost to another one.
"""

import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalprop.bench.engine import machine, provenance
from signalprop.bench.engine.errors import InputError, Interrupted
from signalprop.bench.pool import Workers
from signalprop.bench.steps import Failure, Progress, Task, Tell, do

if TYPE_CHECKING:
    from distributed import Client

SECONDS_TO_ANSWER = 10
SECONDS_BETWEEN_NEWS = 1.0  # of one worker: a thousand of them with short chunks would flood the scheduler


@contextmanager
def cluster(address: str, out: Path, platform: str | None, tell: Tell, count: int = 0) -> Iterator[Workers]:
    """The workers that a scheduler has, now and later.

    Args:
        address: Of the scheduler, such as ``tcp://10.0.0.1:8786``.
        out: Folder of the results, which client and workers share.
        platform: As of ``machine.start``.
        tell: Called with the progress of every worker.
        count: Not used: all of them work.

    Raises:
        InputError: If the scheduler does not answer or has no workers, or if these have other versions than
            this process, do not see the folder, or would do two steps at once in one process.
    """
    del count
    with connect(address) as client:
        check(client, out)
        from distributed import Event

        topic, executor, here = f"signalprop-{client.id}", client.get_executor(pure=False), str(Path.cwd())
        stopping = Event(f"{topic}-stop", client=client)
        client.subscribe_topic(topic, lambda event: tell(Progress(**event[1])))

        def submit(step: Callable[..., Any], task: Task, *more: Any) -> Future[Any]:
            shared = replace(task, out=task.out.resolve())
            future: Future[Any] = executor.submit(
                _there, topic, here, software(), platform, step, shared, *more
            )
            return future

        def stop() -> None:
            stopping.set()
            executor.shutdown(wait=True)

        yield Workers(lambda: max(1, len(client.nthreads())), submit, stop)


@contextmanager
def connect(address: str) -> Iterator["Client"]:
    """A connection to a scheduler.

    Raises:
        InputError: If it does not answer, or dask.distributed is not installed.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--scheduler: needs dask.distributed; pip install 'signalprop[cluster]'") from None
    try:
        client = Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler: {address} does not answer within {SECONDS_TO_ANSWER} s; write the address that "
            "`dask scheduler` prints, such as tcp://10.0.0.1:8786"
        ) from error
    with client:
        yield client


def check(client: "Client", out: Path) -> None:
    """Refuse workers that would not give the numbers of this process, or not to this folder.

    Raises:
        InputError: As ``cluster``.
    """
    threads = client.nthreads()
    if not threads:
        raise InputError("--scheduler: it has no workers; start some with `dask worker ADDRESS --nthreads 1`")
    if (most := max(threads.values())) > 1:
        raise InputError(f"--scheduler: got workers of {most} threads; start more workers with --nthreads 1")
    with tempfile.NamedTemporaryFile(dir=out / "runs") as probe:
        try:
            theirs = client.run(_seen, probe.name)
        except Exception as error:
            raise InputError(f"--scheduler: its workers cannot import signalprop ({error})") from error
    for worker, (versions, sees) in theirs.items():
        if difference := _difference(versions):
            raise InputError(f"--scheduler: worker {worker} has {difference}; install the same on both")
        if not sees:
            raise InputError(
                f"--out: worker {worker} does not see {out.resolve()}; name a folder that all share"
            )


@cache
def software() -> dict[str, str]:
    """Versions of everything that decides numbers, and a hash of signalprop's own code."""
    tops = [provenance.ROOT / top for top in ("analysis", "models", "bench")]
    code = zlib.crc32(b"".join(path.read_bytes() for top in tops for path in sorted(top.rglob("*.py"))))
    return {"python": ".".join(map(str, sys.version_info[:2])), **machine.versions(), "code": f"{code:08x}"}


def _difference(theirs: Mapping[str, str]) -> str:
    """What differs from this process, with both versions; empty if nothing does."""
    ours = software()
    return ", ".join(
        f"{name} {theirs.get(name, 'missing')} and this process {ours[name]}"
        for name in ours
        if theirs.get(name) != ours[name]
    )


def _seen(path: str) -> tuple[dict[str, str], bool]:
    """What a worker has installed, and whether it sees a file."""
    return software(), os.path.exists(path)


def _there(
    topic: str,
    folder: str,
    expected: Mapping[str, str],
    platform: str | None,
    step: Callable[..., Any],
    task: Task,
    *more: Any,
) -> Any:
    """Do one step on a worker of the cluster, unless it came later and with other versions."""
    from distributed import Event, get_worker

    worker = get_worker()
    if difference := _difference(expected):
        return Failure(f"worker {worker.address} is, unlike the client, not of {difference}")
    if folder not in sys.path:
        sys.path.append(folder)  # where module:name of the user's own is looked for
    stopping, told = Event(f"{topic}-stop"), 0.0

    def tell(progress: Progress) -> None:
        nonlocal told
        if progress.total:  # a chunk is stored
            if time.monotonic() < told + SECONDS_BETWEEN_NEWS:
                return
            told = time.monotonic()
            if stopping.is_set():
                raise Interrupted
        worker.log_event(topic, asdict(replace(progress, worker=zlib.crc32(worker.address.encode()))))

    return do(platform, tell, step, task, *more)
