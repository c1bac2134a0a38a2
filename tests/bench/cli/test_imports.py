"""What a command imports: for lists, help and mistakes nothing slow; for a measurement nothing that draws."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from signalprop.bench.experiments import CHAPTERS, EXPERIMENTS

ROOT = Path(__file__).parents[3]
SLOW = {
    "jax", "flax", "optax", "scipy", "pandas", "xarray", "zarr", "matplotlib", "seaborn",
    "sklearn",
}  # fmt: skip
NOT_MEASURED_WITH = {"matplotlib", "seaborn", "sklearn", "scipy.stats"}
SMALL = ["--width", "2", "4", "--sigma-w", "0.9", "2", "--seeds", "3"]


def run(*args: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """A command in a folder, and the modules that it and its workers imported."""
    call = subprocess.run(
        [sys.executable, "-m", "signalprop", *args], capture_output=True, text=True, cwd=folder,
        env={**os.environ, "XLA_FLAGS": "", "PYTHONPROFILEIMPORTTIME": "1"},
    )  # fmt: skip
    times = [line for line in call.stderr.splitlines() if line.startswith("import time:")]
    return call, {line.rpartition("|")[2].strip() for line in times}


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("run --help", 0),
        ("run phase-diagram --help", 0),
        ("theory --help", 0),
        ("theory", 2),
        ("theory meanfeild", 2),
        ("run phase-digram", 2),
        ("run phase-diagram --size huge", 2),
        ("run phase-diagram --jobs 0", 2),
        ("run phase-diagram --sigma-x 1", 2),
        ("run phase-diagram --activation tanhh", 2),
        ("run layer-profiles --scheme he_nromal", 2),
        ("run gradient-by-lag --cell lstmm", 2),
        ("run long-lag-tasks --task ading-50", 2),
        ("run frozen-layers --data diggits", 2),
        ("run memory-league --optimizer addam", 2),
        ("report", 1),
    ],
)
def test_help_and_mistakes_import_nothing_slow(args: str, code: int, tmp_path: Path) -> None:
    call, imported = run(*args.split(), folder=tmp_path)
    assert call.returncode == code, call.stderr
    assert "signalprop.bench.cli.main" in imported
    assert not imported & SLOW


def test_the_list_imports_nothing_slow_and_shows_every_experiment_by_chapter(tmp_path: Path) -> None:
    call, imported = run("list", folder=tmp_path)
    assert not imported & SLOW
    named = [line.split()[0] for line in call.stdout.splitlines() if line and line[0].islower()]
    assert [name for name in named if name in EXPERIMENTS] == list(EXPERIMENTS)
    assert all(chapter in call.stdout for chapter in CHAPTERS)


def test_a_report_imports_nothing_slow(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("runs", "*.png"))
    call, imported = run("report", folder=tmp_path)
    assert call.returncode == 0, call.stderr
    assert not imported & SLOW


@pytest.mark.parametrize(
    ("parts", "without"),
    [(("",), SLOW), ((".measure", ".theory"), {"matplotlib", "seaborn", "sklearn"})],
    ids=["settings", "measurements"],
)
def test_parts_of_experiments_import_nothing_that_they_do_not_need(
    parts: tuple[str, ...], without: set[str]
) -> None:
    program = f"""import sys
from importlib import import_module
from signalprop.bench.experiments import EXPERIMENTS
for name in EXPERIMENTS:
    for part in {parts}:
        import_module("signalprop.bench.experiments." + name.replace("-", "_") + part)
        assert not {without} & set(sys.modules), name + part"""
    call = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert call.returncode == 0, call.stderr


def test_a_worker_that_measures_imports_nothing_that_draws(tmp_path: Path) -> None:
    words = ["run", "matrix-product", "sigmoid-saturation", *SMALL, "--jobs", "1", "--shard", "0/2"]
    call, imported = run(*words, folder=tmp_path)
    assert call.stdout.count("others still have chunks to compute") == 2, call.stderr[-500:]
    assert {"jax", "signalprop.analysis.meanfield"} <= imported  # by the worker
    assert not imported & NOT_MEASURED_WITH


def test_what_is_stored_and_drawn_needs_nothing_that_draws(tmp_path: Path) -> None:
    words = ["run", "sigmoid-saturation", *SMALL]
    call, imported = run(*words, folder=tmp_path)
    assert call.returncode == 0, call.stderr[-500:]
    assert {"jax", "matplotlib"} <= imported
    call, imported = run(*words, folder=tmp_path)
    assert call.returncode == 0, call.stderr[-500:]
    assert not imported & NOT_MEASURED_WITH
