"""What a user types, and what a user reads after a mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from signalprop.bench.cli.arguments import Reproduce, parse
from signalprop.bench.cli.main import main
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError

SMALL = ["--width", "2", "4", "--sigma-w", "0.9", "2", "--depth", "10", "--draws", "5", "--seeds", "3"]


def said(capsys, *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["rnu"], ["no command 'rnu'", "did you mean run?"]),
        (["run"], ["got no experiment"]),
        (["run", "matrix-prodct"], ["no experiment 'matrix-prodct'", "matrix-product"]),
        (["run", "matrix-product", "--sigmaw", "1"], ["no option --sigmaw", "--sigma-w"]),
        (["run", "matrix-product", "--sigma-w", "abc"], ["--sigma-w", "abc"]),
        (["run", "matrix-product", "--sigma-w", "-1"], ["--sigma-w", "-1.0", "not negative"]),
        (["run", "matrix-product", "--sigma-w", "nan"], ["--sigma-w", "nan", "finite"]),
        (["run", "matrix-product", "--depth", "0"], ["--depth", "0", "at least 1"]),
        (["run", "matrix-product", "--width"], ["--width", "no values"]),
        (["run", "matrix-product", "--seeds", "0"], ["--seeds", "0", "at least 1"]),
        (["run", "matrix-product", "--dtype", "float31"], ["--dtype", "float31", "float64"]),
        (["run", "layer-profiles", "--activation", "tahn"], ["tahn", "tanh"]),
        (["run", "layer-profiles", "--scheme", "he_nromal"], ["he_nromal", "he_normal"]),
        (["run", "matrix-product", "--size", "huge"], ["--size", "huge"]),
        (["run", "matrix-product", "--device", "gpu"], ["--device", "gpu", "cpu"]),
        (["run", "matrix-product", "--shard", "3/2"], ["--shard", "3/2"]),
        (["theory", "mean-field", "--activation", "tahn"], ["--activation", "tahn", "tanh"]),
        (["theory", "mean-field", "--sigma-w", "-1"], ["--sigma-w", "-1"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, args, words) -> None:
    code, _, err = said(capsys, *args)
    assert code == 2
    assert err.count("\n") == 1, err
    assert all(word in err for word in words), err


def test_help_and_version_need_no_experiment(capsys) -> None:
    assert "reproduce" in said(capsys, "--help")[1]
    assert "--dry-run" in said(capsys, "run", "--help")[1]
    assert said(capsys, "--version")[1].strip()


def test_info_says_which_routine_finds_eigenvalues_here(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    code, out, _ = said(capsys, "info")
    assert code == 0
    assert "eigenvalues    LAPACK" in out


def test_theory_prints_the_fixed_point_for_machines(capsys) -> None:
    code, out, _ = said(capsys, "theory", "mean-field", "--activation", "erf", "--sigma-w", "2", "--json")
    assert code == 0
    values = json.loads(out)
    assert values["chi_1"] == pytest.approx(4 * (4 / 3.141592653589793) / (1 + 4 * values["q_star"]) ** 0.5)


def test_a_run_of_own_axes_leaves_figures_verdicts_and_a_table(capsys, tmp_path) -> None:
    code, out, err = said(capsys, "run", "matrix-product", *SMALL, "--out", str(tmp_path))
    assert code == 0, err
    assert "verdicts agree" in out
    (folder,) = (tmp_path / "custom").iterdir()
    assert {p.suffix for p in folder.iterdir()} == {".png", ".svg", ".csv", ".json"}


def test_a_dry_run_writes_nothing(capsys, tmp_path) -> None:
    code, out, _ = said(capsys, "run", "matrix-product", *SMALL, "--dry-run", "--out", str(tmp_path / "x"))
    assert code == 0
    assert "12 points, 2 programs" in out
    assert not (tmp_path / "x").exists()


def test_an_out_that_is_a_file_is_one_line_and_exit_code_1(capsys, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = said(capsys, "run", "matrix-product", *SMALL, "--out", str(tmp_path / "file"))
    assert (code, err.count("\n")) == (1, 1)
    assert "cannot write" in err


def test_a_report_of_nothing_says_how_to_start(capsys, tmp_path) -> None:
    code, _, err = said(capsys, "report", "--folder", str(tmp_path))
    assert code == 1
    assert "signalprop reproduce" in err


def test_a_message_of_the_parser_becomes_one_line() -> None:
    with pytest.raises(InputError, match=r"huge.*--size"):
        parse(Reproduce, ["--size", "huge"], prog="signalprop reproduce")


def command(*args: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "signalprop", *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a command; its exit code and what it said on stderr."""
    _, err = process.communicate(timeout=240)
    return process.returncode, err


def chunks_done(out: Path) -> int:
    paths = list((out / "runs").glob("*.zarr/done/c/**/*"))
    return sum(p.is_file() and ".partial" not in p.name for p in paths)


KILLED = ["run", "matrix-product", "--width", "2", "4", "8", "16", "--depth", "60"]
KILLED += ["--draws", "40", "--seeds", "40", "--sigma-w", "0.9", "2", "--out"]


def cut_short(how: signal.Signals, out: Path, past: int) -> tuple[int, str]:
    """A run that gets a signal once more than ``past`` chunks are stored."""
    process = command(*KILLED, str(out))
    deadline = time.monotonic() + 120
    while chunks_done(out) <= past and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(how)
    return finish(process)


def test_a_run_interrupted_and_then_killed_continues_to_the_same_numbers(tmp_path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "cut"
    code, err = finish(command(*KILLED, str(whole)))
    assert code == 0, err
    code, err = cut_short(signal.SIGINT, out, past=0)
    if code != 0:
        assert code == 130, err
        assert "resume with: signalprop run matrix-product" in err
    code, _ = cut_short(signal.SIGKILL, out, past=chunks_done(out))
    (path,) = (out / "runs").glob("*.zarr")
    assert store.is_finished(path) or code != 0
    code, err = finish(command(*KILLED, str(out)))
    assert code == 0, err
    once = store.load(whole / "runs" / path.name)
    again = store.load(path)
    for name in once.data_vars:
        if list(once.attrs["chunk"]) == list(again.attrs["chunk"]):
            assert once[name].equals(again[name]), name
        else:
            assert abs(once[name] - again[name]).max() < 1e-3, name
