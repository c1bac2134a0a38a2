"""A pool of workers ends in the same stores whatever is killed, and says what failed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pool, steps
from signalprop.bench.engine import provenance, store
from signalprop.bench.engine.errors import StoreError
from signalprop.bench.experiments import find

TOYS = """
from dataclasses import dataclass
import jax, jax.numpy as jnp, matplotlib.pyplot as plt, xarray as xr
from signalprop.bench.engine.grid import Grid
from signalprop.bench.experiment import SIZES, Experiment, Variable

@dataclass(frozen=True)
class Settings:
    width: tuple[int, ...] = tuple(range(2, 22))
    seeds: int = 5
    seed: int = 0
    dtype: str = "float32"

def measure(key, point, static):
    w = jax.random.normal(key, (static["width"],) * 2, point["scale"].dtype)
    return {"largest": point["scale"] * jnp.linalg.norm(w, 2)}

def toy(name, widths=20):
    grid = lambda settings: Grid({"width": settings.width}, {"scale": (1.0, 2.0)}, settings.seeds)
    declared = {"largest": Variable((), "largest singular value")}
    table = lambda r: r["largest"].to_dataframe().reset_index()
    figures = lambda r: {"own": plt.subplots()[0]}
    settings = Settings(tuple(range(2, 2 + widths)))
    return Experiment(name, "?", dict.fromkeys(SIZES, settings), grid, measure, declared,
                      lambda settings: xr.Dataset(), lambda r: [], figures, table)

FIRST, SECOND, LONG = toy("first-toy"), toy("second-toy"), toy("long-toy", 300)
"""
NAMES = ("toys:FIRST", "toys:SECOND")
SMALL = ["--seeds", "6"]
HERE = partial(pool.processes, "cpu", lambda progress: None)
KILLER = """
import multiprocessing, os
from jax.numpy import tanh as phi
if multiprocessing.parent_process() is not None:
    os._exit(9)
"""


def _die(*initial: object) -> None:
    """In place of the start of a worker."""
    os._exit(9)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory) -> Iterator[Path]:
    """Where commands run: beside two experiments of twenty small programs and one small figure."""
    here = tmp_path_factory.mktemp("toys")
    (here / "toys.py").write_text(TOYS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        yield here


def command(*words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONUNBUFFERED": "1"}
    call = [sys.executable, "-m", "signalprop", *words]
    return subprocess.Popen(
        call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=cwd
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=280)
    return process.returncode, out, err


def stored(out: Path) -> dict[str, xr.Dataset]:
    return {path.name: store.load(path) for path in sorted((out / "runs").glob("*.zarr"))}


def assert_same(a: dict[str, xr.Dataset], b: dict[str, xr.Dataset]) -> None:
    assert set(a) == set(b)
    for name in a:
        for variable in a[name].data_vars:
            np.testing.assert_array_equal(a[name][variable], b[name][variable], err_msg=f"{name} {variable}")


def chunks_done(out: Path) -> int:
    return sum(path.is_file() for path in (out / "runs").glob("*.zarr/done/c/**/*"))


def workers_of(parent: int) -> list[int]:
    """Processes that the pool of a parent spawned, without the tracker of multiprocessing."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words, call = path.read_text().rsplit(")", 1)[1].split(), (path.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(words[1]) == parent and "spawn_main" in call:
            found.append(int(path.parent.name))
    return found


@contextmanager
def at_work(out: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A run of both experiments that has stored a chunk, and its workers."""
    before = chunks_done(out)
    process = command("run", *NAMES, *SMALL, "--out", str(out), "--jobs", "2")
    deadline = time.monotonic() + 200
    while chunks_done(out) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    yield process, workers_of(process.pid)
    if process.poll() is None:
        process.kill()


def assert_gone(workers: list[int]) -> None:
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, xr.Dataset]:
    """The stores of an undisturbed run with one worker."""
    out = tmp_path_factory.mktemp("whole")
    code, said, err = finish(command("run", *NAMES, *SMALL, "--out", str(out), "--jobs", "1"))
    assert code == 0, err
    assert all(f"{name}: " in said for name in NAMES)
    return stored(out)


def test_two_workers_give_the_bits_of_one(whole, tmp_path) -> None:
    code, _, err = finish(command("run", *NAMES, *SMALL, "--out", str(tmp_path), "--jobs", "2"))
    assert code == 0, err
    assert_same(stored(tmp_path), whole)


def test_a_run_interrupted_and_then_killed_leaves_no_process_and_continues_to_the_same_numbers(
    whole, tmp_path
) -> None:
    with at_work(tmp_path) as (process, workers):
        assert workers
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
    assert (code, err.count("\n")) == (130, 1), err
    assert "resume with: signalprop run toys:FIRST" in err
    assert_gone(workers)
    with at_work(tmp_path) as (process, workers):
        assert workers
        process.kill()
        finish(process)
    assert_gone(workers)
    assert finish(command("run", *NAMES, *SMALL, "--out", str(tmp_path)))[0] == 0
    assert_same(stored(tmp_path), whole)


def test_an_interrupt_while_a_worker_waits_for_work_leaves_none_behind(tmp_path) -> None:
    process = command("run", "toys:FIRST", "toys:LONG", "--out", str(tmp_path), "--jobs", "2")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("toys:FIRST: ")
    workers = workers_of(process.pid)
    assert len(workers) == 2
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert (code, err.count("\n")) == (130, 1), err
    assert_gone(workers)


def test_an_experiment_whose_worker_is_killed_is_taken_up_again(whole, tmp_path) -> None:
    with at_work(tmp_path) as (process, workers):
        os.kill(workers[0], signal.SIGKILL)
        code, said, err = finish(process)
    assert code == 0, err
    assert "a worker died" in said
    assert_same(stored(tmp_path), whole)


def test_two_at_once_on_one_folder_end_in_the_same_stores(whole, tmp_path) -> None:
    words = ("run", *NAMES, *SMALL, "--out", str(tmp_path), "--jobs", "1")
    both = [command(*words) for _ in range(2)]
    assert [finish(process)[0] for process in both] == [0, 0]
    assert_same(stored(tmp_path), whole)
    assert not [*(tmp_path / "runs").glob("*.partial")]


def test_one_that_fails_does_not_stop_the_others(tmp_path) -> None:
    small = find("sigmoid-saturation").sizes["quick"]
    (tmp_path / "file").write_text("")
    tasks = [
        steps.Task("matrix-product", "quick", tmp_path / "file"),
        steps.Task("sigmoid-saturation", small, tmp_path),
    ]
    ended: list[steps.Finished] = []
    pool.run_all(tasks, 2, HERE, ended.append, print)
    by_name = {found.name: found for found in ended}
    assert "cannot write" in by_name["matrix-product"].error
    assert by_name["sigmoid-saturation"].outcome is not None


def test_a_worker_that_always_dies_is_given_up_in_one_line(tmp_path) -> None:
    (tmp_path / "killer.py").write_text(KILLER)
    words = ["layer-profiles", "normalization", "--activation", "killer:phi", "--out", "out", "--jobs", "1"]
    code, _, err = finish(command("run", *words, cwd=tmp_path))
    assert code == 1
    assert err.count("its worker died 2 times") == 2, err


def test_an_unfinished_run_of_other_code_is_not_continued_and_a_finished_one_is_shown(
    tmp_path, monkeypatch
) -> None:
    small = replace(find("matrix-product").sizes["quick"], width=(2,), depth=(4,), draws=4, seeds=2)
    task = steps.Task("matrix-product", small, tmp_path)
    begun = steps.begin(task, 1)
    assert not begun.stale
    for share in begun.shares:
        steps.measure(task, share)
    assert steps.draw(task) is not None
    monkeypatch.setattr(provenance, "code_hash", lambda *of: "other")
    assert steps.begin(task, 1) == steps.Begun([], stale=True)
    monkeypatch.setattr(store, "is_finished", lambda path: False)
    with pytest.raises(StoreError, match=r"begun by other code than this; --fresh begins it again"):
        steps.begin(task, 1)
    assert steps.begin(replace(task, fresh=True), 1) == begun


def test_workers_that_die_before_they_begin_are_given_up_and_not_started_for_ever(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(pool, "_enter", _die)
    ended: list[steps.Finished] = []
    names = {"matrix-product", "sigmoid-saturation"}
    tasks = [steps.Task(name, "quick", tmp_path) for name in names]
    pool.run_all(tasks, 2, HERE, ended.append, print)
    assert {found.name for found in ended} == names
    assert all("its worker died 2 times" in found.error for found in ended)


@pytest.mark.parametrize(
    ("jobs", "hint"),
    [("0", "at least 1"), ("-1", "at least 1"), ("1000000", "write at most"), ("two", "--jobs INT")],
)
def test_a_wrong_number_of_jobs_says_which_are_possible(jobs, hint) -> None:
    code, _, err = finish(command("reproduce", "--jobs", jobs))
    assert (code, err.count("\n")) == (2, 1), err
    assert "--jobs" in err
    assert jobs in err
    assert hint in err


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    began = time.monotonic()
    code, _, err = finish(command("reproduce", "--out", str(tmp_path / "file")))
    assert (code, err.count("\n")) == (1, 1), err
    assert "--out: cannot write" in err
    assert time.monotonic() - began < 30


def test_fresh_computes_again(tmp_path) -> None:
    words = ["reproduce", "--only", "sigmoid-saturation", "--out", str(tmp_path)]
    assert finish(command(*words))[0] == 0

    def chunks() -> dict[Path, int]:
        files = (path for path in (tmp_path / "runs").glob("*.zarr/done/c/**/*") if path.is_file())
        return {path: path.stat().st_mtime_ns for path in files}

    first = chunks()
    assert finish(command(*words))[0] == 0
    assert chunks() == first
    assert finish(command(*words, "--fresh"))[0] == 0
    assert all(time_ns > first[path] for path, time_ns in chunks().items())


def test_the_traceback_of_a_failure_stays_until_the_experiment_succeeds(tmp_path) -> None:
    def fail(task: steps.Task) -> None:
        raise RuntimeError("of a user's code")

    small = replace(find("matrix-product").sizes["quick"], width=(2,), depth=(4,), draws=4, seeds=2)
    task, written = steps.Task("matrix-product", small, tmp_path), tmp_path / "runs"
    found = steps.do("cpu", lambda progress: None, fail, steps.packed(task))
    assert "the traceback is in" in found.why
    assert "of a user's code" in (written / "matrix-product.error.txt").read_text()
    for share in steps.begin(task, 1).shares:
        steps.measure(task, share)
    assert steps.draw(task) is not None
    assert not [*written.glob("*.error.txt")]
