"""The workers of a Dask scheduler give the bits of this machine's processes; their faults are one line."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from signalprop.bench import cluster, pool, steps
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import find

distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")
pytestmark = pytest.mark.filterwarnings("ignore")  # of dask, about ports and processes that were killed

SETTINGS = replace(find("matrix-product").sizes["quick"], seeds=8)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Any]:
    """Two worker processes of one thread, in an environment like that of the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", "")
        patch.setenv("NPROC", "9")
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as workers:
            yield workers


def run(tasks: list[steps.Task], engage: Any) -> dict[str, steps.Finished]:
    ended: list[steps.Finished] = []
    pool.run_all(tasks, 2, engage, ended.append, print)
    return {found.name: found for found in ended}


def on(scheduler: Any, out: Path, tell: steps.Tell = lambda progress: None) -> Any:
    (out / "runs").mkdir(parents=True, exist_ok=True)
    return lambda jobs: cluster.cluster(scheduler.scheduler_address, out, "cpu", tell, jobs)


def load(found: steps.Finished) -> Any:
    assert not found.error
    assert found.outcome is not None
    return store.load(found.outcome.run)


def assert_same(a: Any, b: Any) -> None:
    for name in a.data_vars:
        np.testing.assert_array_equal(a[name], b[name], err_msg=str(name))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Any:
    """The result of one process of this machine, in the same environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", "")
        patch.setenv("NPROC", "9")
        out = tmp_path_factory.mktemp("here")
        engage = lambda jobs: pool.processes("cpu", lambda progress: None, 1)  # noqa: E731
        return load(run([steps.Task("matrix-product", SETTINGS, out)], engage)["matrix-product"])


def test_a_cluster_gives_the_bits_of_this_machine(scheduler, whole, tmp_path) -> None:
    seen: list[steps.Progress] = []
    tasks = [steps.Task(name, SETTINGS, tmp_path) for name in ("matrix-product",)]
    found = run(tasks, on(scheduler, tmp_path, seen.append))
    assert_same(load(found["matrix-product"]), whole)
    assert any(progress.total for progress in seen), "no progress was told"


def test_the_share_of_a_killed_worker_is_done_again(scheduler, whole, tmp_path) -> None:
    killed = []

    def kill(progress: steps.Progress) -> None:
        if progress.done and not killed:
            with distributed.Client(scheduler.scheduler_address, set_as_default=False) as client:
                busy = next(address for address, keys in client.processing().items() if keys)
                killed.append(client.run(os.getpid, workers=[busy])[busy])
                os.kill(killed[0], signal.SIGKILL)

    found = run([steps.Task("matrix-product", SETTINGS, tmp_path)], on(scheduler, tmp_path, kill))
    assert killed
    assert_same(load(found["matrix-product"]), whole)
    deadline = time.monotonic() + 60
    while len(scheduler.scheduler_info["workers"]) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)


def test_one_that_fails_is_one_line_and_does_not_stop_the_others(scheduler, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    tasks = [
        steps.Task("sigmoid-saturation", "quick", tmp_path / "file"),
        steps.Task("matrix-product", SETTINGS, tmp_path),
    ]
    found = run(tasks, on(scheduler, tmp_path))
    assert "cannot write" in found["sigmoid-saturation"].error
    assert found["matrix-product"].outcome is not None


def test_a_scheduler_that_does_not_answer_is_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "SECONDS_TO_ANSWER", 1)
    for address in ("tcp://127.0.0.1:1", "nonsense://here", "127.0.0.1:99999999"):
        refused = pytest.raises(InputError, match=r"--scheduler: .* does not answer within 1 s; write")
        with refused, cluster.connect(address):
            pass


def test_workers_of_other_versions_are_refused_with_both_versions(scheduler, tmp_path, monkeypatch) -> None:
    ours = cluster.software() | {"jax": "0.0.1"}
    monkeypatch.setattr(cluster, "software", lambda: ours)
    with pytest.raises(InputError, match=r"worker tcp.* has jax \d+\.\d+.* and this process 0\.0\.1"):
        run([steps.Task("matrix-product", SETTINGS, tmp_path)], on(scheduler, tmp_path))


def test_workers_of_several_threads_none_at_all_or_elsewhere_are_refused(scheduler, tmp_path) -> None:
    class Asked:
        def __init__(self, threads: dict[str, int], sees: bool = True) -> None:
            self.threads, self.sees = threads, sees

        def nthreads(self) -> dict[str, int]:
            return self.threads

        def run(self, function: Any, path: str) -> Any:
            return {"tcp://1": (cluster.software(), self.sees)}

    (tmp_path / "runs").mkdir()
    cluster.check(Asked({"tcp://1": 1}), tmp_path)
    with pytest.raises(InputError, match="workers of 4 threads; start more workers with --nthreads 1"):
        cluster.check(Asked({"tcp://1": 4}), tmp_path)
    with pytest.raises(InputError, match="has no workers; start some"):
        cluster.check(Asked({}), tmp_path)
    with pytest.raises(
        InputError, match=r"--out: worker tcp://1 does not see .*name a folder that all share"
    ):
        cluster.check(Asked({"tcp://1": 1}, sees=False), tmp_path)
