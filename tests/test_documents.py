"""What documents and docstrings name exists, and the README has every experiment in order."""

import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from signalprop.bench.experiments import CHAPTERS, QUESTIONS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CITATION.cff")]
TEXTS = [*DOCUMENTS, *sorted((ROOT / "bench").rglob("*.jinja"))]
TEXTS += [path for top in ("analysis", "models", "bench") for path in sorted((ROOT / top).rglob("*.py"))]
PATH = re.compile(r"\b(?:bench|models|analysis|tests|results)/[\w./-]*\w")
MEMBER = re.compile(r"`(?:signalprop\.)?((?:bench|models|analysis)\.\w+(?:\.\w+)*)")


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module of signalprop or a member of one."""
    parts = f"signalprop.{dotted}".split(".")
    for cut in range(len(parts), 1, -1):
        name = ".".join(parts[:cut])
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            continue
        if found:
            value: object = import_module(name)
            for member in parts[cut:]:
                if not hasattr(value, member):
                    return False
                value = getattr(value, member)
            return True
    return False


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_in_a_document_exists(document: Path) -> None:
    text = document.read_text()
    named = {m[0] for m in PATH.finditer(text) if text[m.end() :][:2] not in ("/<", "<")}
    made = ("results/runs", "results/quick", "results/custom", "results/report.html")
    assert not {path for path in named if not (ROOT / path).exists() and not path.startswith(made)}


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_and_member_that_a_text_names_exists(text: Path) -> None:
    named = set(MEMBER.findall(text.read_text()))
    assert not {name for name in named if not exists(name)}


def test_the_readme_asks_every_question_in_the_order_of_the_list() -> None:
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| \[`([\w-]+)`\]\(([^)]*)\) \| (.*?) \|", text, re.MULTILINE)
    assert [(name, question) for name, _, question in rows] == list(QUESTIONS.items())
    assert all(folder == f"bench/experiments/{name.replace('-', '_')}" for name, folder, _ in rows)
    bold = re.findall(r"^\*\*(.*?)\*\*$", text, re.MULTILINE)
    assert [title for title in bold if title in CHAPTERS] == list(CHAPTERS)


def test_the_experiment_in_the_readme_runs_in_a_folder_of_its_own(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (own,) = [block for block in blocks if "EXPERIMENT = " in block]
    (tmp_path / "growth.py").write_text(own)
    words = ["run", "growth:EXPERIMENT", "--width", "32", "64", "--jobs", "2"]
    call = subprocess.run(
        [sys.executable, "-m", "signalprop", *words], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "XLA_FLAGS": ""},
    )  # fmt: skip
    assert call.returncode == 0, call.stderr
    assert "growth:EXPERIMENT: 1 of 1 verdicts agree with theory" in call.stdout
    (folder,) = (tmp_path / "results" / "custom").glob("tanh-growth-*")
    assert {path.name for path in folder.iterdir()} == {
        "growth.png", "growth.svg", "tanh-growth.csv", "verdicts.json"
    }  # fmt: skip


def test_the_docstring_of_analysis_has_one_line_for_each_module() -> None:
    named = re.findall(r"^    (\w+): ", import_module("signalprop.analysis").__doc__ or "", re.MULTILINE)
    files = [path.stem for path in (ROOT / "analysis").glob("[!_]*.py")]
    folders = [path.parent.name for path in (ROOT / "analysis").glob("*/__init__.py")]
    assert sorted(named) == sorted(files + folders)
