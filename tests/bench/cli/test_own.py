"""An experiment in a user's own file: run, resumed, edited, drawn, or refused in one line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from signalprop.bench.cli.main import main
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import find

HEAD = """
from dataclasses import dataclass
from signalprop.bench.experiment import SIZES, Experiment

@dataclass(frozen=True)
class Settings:
    scale: tuple[float, ...] = (1.0, 2.0)
    seeds: int = 3
    seed: int = 0
    dtype: str = "float64"
"""
OWN = f"""{HEAD}
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import xarray as xr
from signalprop.bench.engine.grid import Grid
from signalprop.bench.experiment import Variable
from signalprop.bench.record.verdict import judge

ONE = jnp.float64(1)  # computed when imported: a worker must have chosen device and types before

def grid(settings):
    return Grid({{}}, {{"scale": settings.scale}}, settings.seeds)

def measure(key, point, static):
    return {{"draw": point["scale"] * (1 * jax.random.normal(key, (), point["scale"].dtype))}}

def theory(settings):
    assert ONE.dtype == "float64", "the types of JAX were chosen too late"
    return xr.Dataset()

def verdicts(r):
    ratio = r["draw"].isel(scale=1) / r["draw"].isel(scale=0)
    return [judge([], "Twice.", "algebra", measured=ratio, predicted=2, tolerance=0, tolerance_from="exact")]

def figures(r):
    return {{"own": plt.subplots()[0]}}

def table(r):
    return r["draw"].to_dataframe().reset_index()

SIZES = dict.fromkeys(SIZES, Settings())
MINE = Experiment("own-toy", "Is it so?", SIZES, grid, measure, {{"draw": Variable((), "draw")}}, theory,
                  verdicts, figures, table)
"""
SCRIPT = """
import os, mine, signalprop
if __name__ == "__main__":
    result = signalprop.run(mine.MINE, seeds=4, out="door", jobs=1)
    print(result.sizes["seed"], *signalprop.figures(result), "own-toy" in signalprop.experiments())
    print("JAX_ENABLE_X64" in os.environ, "NPROC" in os.environ)
"""
PARTS = "*[len] * 2, {}, *[len] * 4)"
BAD = {
    "whose": f'{HEAD}\nX = Experiment("residual", "?", dict.fromkeys(SIZES, Settings()), {PARTS}',
    "named": f'{HEAD}\nX = Experiment("My toy", "?", dict.fromkeys(SIZES, Settings()), {PARTS}',
    "sized": f'{HEAD}\nX = Experiment("toy", "?", {{"quick": Settings()}}, {PARTS}',
    "fluid": f'{HEAD}\nX = Experiment("toy", "?", dict.fromkeys(SIZES, Settings([1.0])), {PARTS}',
    "unsettled": f'{HEAD}\nX = Experiment("toy", "?", dict.fromkeys(SIZES, 3), {PARTS}',
    "torn": "def (",
    "failing": "1 / 0",
    "other": "X = 1",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """A folder to work in, with an experiment of a user's own."""
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)


def call(*words: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, with workers of its own."""
    environment = {**os.environ, "XLA_FLAGS": ""}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)


def said(capsys, *words: str, code: int = 0) -> str:
    """What a command says that needs no workers."""
    with pytest.raises(SystemExit) as stop:
        main([*words])
    out = capsys.readouterr()
    assert stop.value.code == code, out.err
    return out.err if code else out.out


def test_an_experiment_of_a_users_own_runs_resumes_is_edited_and_drawn(folder: Path, capsys) -> None:
    def run() -> str:
        done = call("-m", "signalprop", "run", "mine:MINE", "--seeds", "20", "--jobs", "2")
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "mine:MINE: 1 of 1 verdicts agree" in run()
    (first,) = Path("results/runs").glob("own-toy-*.zarr")
    before = store.load(first)
    next(path for path in (first / "done" / "c").rglob("*") if path.is_file()).unlink()  # as if interrupted
    assert "1 of 1 verdicts agree" in run()
    np.testing.assert_array_equal(store.load(first)["draw"], before["draw"])
    own = folder / "mine.py"
    own.write_text(own.read_text().replace("(1 * jax", "(3 * jax"))
    assert "mine.py changed since an earlier run; this is a new one" in run()
    second = next(path for path in Path("results/runs").glob("own-toy-*.zarr") if path != first)
    np.testing.assert_allclose(store.load(second)["draw"], 3 * before["draw"])
    for name in (["mine:MINE"], ["own-toy"], []):
        assert said(capsys, "figures", *name).count("own-toy: 1 of 1 verdicts agree") == 2
    assert said(capsys, "figures", str(first), "--format", "pdf").count("1 files in") == 1
    compared = said(capsys, "compare", str(first), str(second))
    assert "settings: the same\ncode: code" in compared
    assert "mine.py" in compared
    assert "A: measured 2, predicted 2, agrees\n  B: measured 2, predicted 2, agrees" in compared
    assert "draw: " in compared
    assert "own-toy" not in said(capsys, "list")
    own.unlink()
    del sys.modules["mine"]
    assert "cannot import 'mine'" in said(capsys, "figures", str(first), code=1)


def test_its_settings_are_options_and_a_dry_run_computes_nothing(folder: Path, capsys) -> None:
    assert "--scale" in said(capsys, "run", "mine:MINE", "--help")
    assert "40 points, 1 program of" in said(capsys, "run", "mine:MINE", "--seeds", "20", "--dry-run")
    assert not (folder / "results").exists()


def test_a_script_runs_an_experiment_of_its_own(folder: Path, monkeypatch) -> None:
    (folder / "script.py").write_text(SCRIPT)
    for name in ("JAX_ENABLE_X64", "NPROC"):
        monkeypatch.delenv(name, raising=False)
    done = call("script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["4 own False", "False False"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nowhere_at_all:X", "(No module named 'nowhere_at_all'); write the name of a file in this folder"),
        ("other_own:Y", "other_own has no 'Y'"),
        ("other_own:X", "is of type int; write an Experiment of signalprop.bench.experiment"),
        ("torn_own:X", "SyntaxError"),
        ("failing_own:X", "ZeroDivisionError: division by zero"),
        ("whose_own:X", "'residual' is that of an experiment of the suite; give it another one"),
        ("named_own:X", "got the name 'My toy'; write small letters and digits joined by hyphens"),
        ("sized_own:X", "sizes lack standard, full"),
        ("fluid_own:X", "settings of size quick can change; write a frozen dataclass"),
        ("unsettled_own:X", "size quick is not a dataclass with seed and dtype"),
    ],
)
def test_what_is_no_experiment_is_refused_in_one_line(spec, words, tmp_path, monkeypatch) -> None:
    for name, text in BAD.items():
        (tmp_path / f"{name}_own.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError) as error:
        find(spec)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"experiment {spec!r}")


def test_a_script_that_every_worker_would_run_again_is_told_what_to_write(folder: Path) -> None:
    (folder / "script.py").write_text("import mine, signalprop\nsignalprop.run(mine.MINE)\n")
    done = call("script.py")
    assert done.returncode == 1
    assert "script.py, line 2: every process that measures imports this script" in done.stderr
    assert 'put the call under if __name__ == "__main__":' in done.stderr.splitlines()[-1]
    assert "bootstrapping" not in done.stderr
