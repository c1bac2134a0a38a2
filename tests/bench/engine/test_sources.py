"""A user's own code is part of a run's identity: the module named, and what it imports beside itself."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from signalprop.bench.engine import store
from signalprop.bench.engine.sources import sources
from signalprop.bench.experiment import Experiment


@dataclass(frozen=True)
class Settings:
    """Settings with names as experiments have them."""

    activation: tuple[str, ...] = ("tanh",)
    scheme: str = "he_normal"


TOY = Experiment("toy", "", {}, *[len] * 2, {}, *[len] * 4)  # of the suite: only its name counts


@pytest.fixture
def write(tmp_path, monkeypatch) -> Callable[[str, str], None]:
    """Writes a file into a folder from which modules are imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(name: str, text: str) -> None:
        path: Path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return written


def identity(*activation: str, **more: Any) -> str:
    return store.identity(TOY, Settings(activation, **more))


def test_names_of_the_suite_bring_no_files() -> None:
    assert sources(TOY, Settings(("tanh", "relu"))) == {}


def test_an_edit_of_the_module_or_of_what_it_imports_beside_itself_is_another_run(write) -> None:
    write("acts_here.py", "from helper_here import phi\n")
    write("helper_here.py", "import math\nfrom deep_here import x\nphi = abs\n")
    write("deep_here.py", "x = 1\n")
    write("other_here.py", "y = 1\n")
    assert list(sources(TOY, Settings(("acts_here:phi",)))) == [
        "acts_here.py",
        "deep_here.py",
        "helper_here.py",
    ]
    first = identity("acts_here:phi")
    write("other_here.py", "y = 2\n")
    assert identity("acts_here:phi") == first
    for name in ("acts_here.py", "helper_here.py", "deep_here.py"):
        before = identity("acts_here:phi")
        write(
            name,
            f"# edited\nfrom {'helper_here import phi' if name == 'acts_here.py' else 'deep_here import x'}",
        )
        assert identity("acts_here:phi") != before, name


def test_the_modules_of_a_package_are_followed_by_relative_and_absolute_imports(write) -> None:
    write("package_here/__init__.py", "")
    write("package_here/acts.py", "from . import base\nfrom .deep.more import x\nimport package_here.other\n")
    write("package_here/base.py", "")
    write("package_here/other.py", "")
    write("package_here/unused.py", "")
    write("package_here/deep/__init__.py", "")
    write("package_here/deep/more.py", "from ..base import y\nx = 1\n")
    files = [*sources(TOY, Settings(scheme="package_here.acts:phi"))]
    inside = ("__init__", "acts", "base", "deep/__init__", "deep/more", "other")
    assert files == [f"package_here/{name}.py" for name in inside]


def test_an_installed_module_counts_by_its_version_and_a_missing_one_not_at_all() -> None:
    assert sources(TOY, Settings(("jax.nn:gelu",))) == {"jax": __import__("jax").__version__}
    assert sources(TOY, Settings(("statistics:mean",))) == {"statistics": sys.version.split()[0]}
    assert sources(TOY, Settings(("nowhere_at_all:f",))) == {}


def test_a_file_that_does_not_parse_still_counts(write) -> None:
    write("broken_here.py", "def (")
    first = identity("broken_here:phi")
    write("broken_here.py", "def ((")
    assert identity("broken_here:phi") != first


def test_an_experiment_outside_the_suite_brings_the_files_that_decide_its_numbers(write, monkeypatch) -> None:
    write("own_measure.py", "import own_help\ndef part(*args): ...\n")
    write("own_help.py", "")
    write("own_figures.py", "def part(*args): ...\n")
    decides, draws = __import__("own_measure").part, __import__("own_figures").part
    parts = (partial(decides, 1), decides, {}, decides, draws, draws, draws)
    own = Experiment("own", "", {}, *parts, origin="own_figures:EXPERIMENT")
    monkeypatch.setattr(Settings, "__module__", "own_settings")
    write("own_settings.py", "")
    assert [*sources(own, Settings())] == ["own_help.py", "own_measure.py", "own_settings.py"]
    before = store.identity(own, Settings())
    write("own_figures.py", "# edited\n")
    assert store.identity(own, Settings()) == before
    write("own_help.py", "# edited\n")
    assert store.identity(own, Settings()) != before
