"""The hash of a run covers exactly the code that decides its numbers."""

import shutil
from pathlib import Path

import pytest

from signalprop.bench.engine.provenance import ROOT, code_hash, deciding_files, drawing_hash
from signalprop.bench.experiments import EXPERIMENTS, find


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """A copy of the suite's folders, to be edited."""
    root = tmp_path_factory.mktemp("suite")
    for folder in ("analysis", "models", "bench"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def hash_of(name: str, root: Path) -> str:
    experiment = find(name)
    return code_hash(experiment, experiment.sizes["quick"], root)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("bench/experiments/trainability/measure.py", True),
        ("bench/experiments/trainability/theory.py", True),
        ("bench/experiments/trainability/directions.py", True),
        ("bench/experiments/trainability/__init__.py", True),
        ("bench/training/trainer.py", True),
        ("bench/measure/data.py", True),
        ("bench/engine/programs.py", True),
        ("models/activations.py", True),
        ("analysis/gaussian.py", True),
        ("bench/experiments/trainability/figures.py", False),
        ("bench/experiments/trainability/verdicts.py", False),
        ("bench/experiments/phase_diagram/measure.py", False),
        ("bench/experiments/__init__.py", False),
        ("bench/record/verdict.py", False),
        ("bench/engine/store.py", False),
        ("analysis/ginibre.py", False),
        ("models/transformer.py", False),
    ],
)
def test_a_run_is_stored_by_other_code_if_and_only_if_its_numbers_may_differ(copied, file, changes) -> None:
    path = copied / file
    before, text = hash_of("trainability", copied), path.read_text()
    path.write_text(f"{text}\nEDITED = 1\n")
    assert (hash_of("trainability", copied) != before) == changes
    path.write_text(text)
    assert hash_of("trainability", copied) == before


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_neither_drawing_nor_judging_decides_a_number(name) -> None:
    experiment = find(name)
    parts = {experiment.grid.__module__, experiment.measure.__module__, experiment.theory.__module__}
    files = {str(path.relative_to(ROOT)) for path in deciding_files(parts)}
    folder = f"bench/experiments/{name.replace('-', '_')}"
    assert {f"{folder}/{file}.py" for file in ("__init__", "measure", "theory")} <= files
    assert not [f for f in files if f.endswith(("figures.py", "verdicts.py")) or f.startswith("bench/record")]
    assert not [f for f in files if f.startswith("bench/experiments/") and not f.startswith(f"{folder}/")]


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("bench/experiments/trainability/figures.py", True),
        ("bench/experiments/trainability/verdicts.py", True),
        ("bench/record/figures.py", True),
        ("bench/record/verdict.py", True),
        ("bench/experiments/phase_diagram/figures.py", False),
        ("bench/record/report.py", False),
        ("bench/engine/sweep.py", False),
    ],
)
def test_a_figure_is_drawn_again_if_and_only_if_it_may_differ(copied, file, changes) -> None:
    path, experiment = copied / file, find("trainability")
    before, text = drawing_hash(experiment, copied), path.read_text()
    path.write_text(f"{text}\nEDITED = 1\n")
    assert (drawing_hash(experiment, copied) != before) == changes
    path.write_text(text)
