"""What `signalprop clean` lists and removes, and what it never touches."""

import os
import time
from pathlib import Path

import pytest

from signalprop.bench import pipeline
from signalprop.bench.cli import leftovers
from signalprop.bench.cli.main import main
from signalprop.bench.engine.errors import StoreError


@pytest.fixture
def out(toy, toy_settings, tmp_path, monkeypatch) -> Path:
    """Results with a finished run and an unfinished one, leftovers of both ages, and compiled programs."""
    out, cache = tmp_path / "results", tmp_path / "cache"
    pipeline.run(toy, toy.sizes["quick"], out)
    pipeline.run(toy, toy_settings(seeds=8), out, shard=(0, 2))
    (out / "toy").mkdir()
    (out / "toy" / "verdicts.json").write_text("[]")  # as committed from a standard run
    for name, age in (("old.partial", 7200), ("new.partial", 0)):
        (out / "runs" / name).mkdir()
        os.utime(out / "runs" / name, (time.time() - age,) * 2)
    (out / "runs" / "toy.error.txt").write_text("Traceback")
    cache.mkdir()
    for name, size in (("jit_f-1-cache", 2048), ("jit_f-1-atime", 8), ("notes.txt", 5)):
        (cache / name).write_bytes(b"x" * size)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(cache))
    return out


def said(capsys, out: Path, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["clean", *words, "--out", str(out)])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def runs(out: Path) -> int:
    return len([*(out / "runs").glob("*.zarr")])


def test_everything_is_listed_with_size_and_age_and_nothing_removed(out, capsys) -> None:
    before = set(out.parent.rglob("*"))
    code, text, _ = said(capsys, out)
    assert code == 0
    by_kind = {one.kind: one for one in leftovers.leftovers(out)}
    assert set(by_kind) == set(leftovers.KINDS)
    assert by_kind["partial"].path.name == "old.partial"
    assert "2 h old" in text
    assert "new.partial" not in text  # a process may still be writing it
    programs = by_kind["cache"]
    assert {path.name for path in programs.files} == {"jit_f-1-cache", "jit_f-1-atime"}
    assert programs.size == 2056
    assert "2.0 KiB" in text
    finished = by_kind["runs"].path
    files = [finished, finished.with_suffix(".drawn.json"), *finished.rglob("*")]
    assert by_kind["runs"].size == sum(path.lstat().st_size for path in files)
    assert set(out.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "left", "gone"),
    [
        (["partial", "cache"], 2, "old.partial"),
        (["unfinished"], 1, None),
        (["errors"], 2, None),
        (["toy"], 0, None),
        (["runs"], 1, None),
    ],
)
def test_what_is_named_goes_and_nothing_else(out, capsys, words, left, gone) -> None:
    code, text, err = said(capsys, out, *words, "--yes")
    assert (code, err) == (0, "")
    assert "removed" in text
    assert runs(out) == left
    assert len([*(out / "runs").glob("*.drawn.json")]) == (words[0] in ("partial", "unfinished", "errors"))
    assert (out / "toy" / "verdicts.json").exists()
    assert (out / "quick" / "toy" / "toy.png").exists()
    assert (out / "runs" / "new.partial").exists()
    assert (out / "runs" / "toy.error.txt").exists() == (words != ["errors"])
    assert (out / "runs" / "old.partial").exists() == (gone is None)
    assert (out.parent / "cache" / "notes.txt").exists()
    assert (out.parent / "cache" / "jit_f-1-cache").exists() == (gone is None)


def test_a_single_store_is_named_by_its_path(out, capsys) -> None:
    one = next((out / "runs").glob("*.zarr"))
    assert said(capsys, out, str(one), "--yes")[0] == 0
    assert not one.exists()
    assert runs(out) == 1


def test_it_asks_and_without_a_terminal_it_refuses(out, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    code, _, err = said(capsys, out, "runs")
    assert (code, err.count("\n")) == (2, 1)
    assert "write --yes" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, left in (("", 2), ("n", 2), ("y", 1)):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        assert said(capsys, out, "runs")[0] == (1 if left == 2 else 0)
        assert runs(out) == left


def test_what_is_not_there_is_refused_in_one_line(out, capsys, tmp_path) -> None:
    for name in ("toyy", str(tmp_path / "elsewhere.zarr"), "standard"):
        code, _, err = said(capsys, out, name, "--yes")
        assert (code, err.count("\n")) == (2, 1)
        assert f"nothing is stored as {name!r}" in err
    assert runs(out) == 2
    assert said(capsys, out, "partial", "--yes")[0] == 0
    assert "nothing to remove" in said(capsys, out, "partial", "--yes")[1]


def test_what_the_system_refuses_is_one_line(tmp_path, monkeypatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    one = leftovers.Leftover("partial", tmp_path, (tmp_path,), 0, 0.0)
    with pytest.raises(StoreError, match=r"cannot remove .* \(Permission denied\)"):
        leftovers.remove(one)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 * 2**30, "3.0 GiB"), (2**42, "4096.0 GiB")],
)
def test_sizes_are_read_in_powers_of_1024(size, text) -> None:
    assert leftovers._bytes(size) == text
