"""The folders import only downwards, keep to their subject, and are installed whole."""

import ast
from importlib.resources import files
from pathlib import Path

import pytest

from signalprop.bench.experiments import EXPERIMENTS

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "analysis": {"analysis"},
    "models": {"models"},
    "bench": {"bench", "models", "analysis", "__version__"},
    "src": {"bench"},
}
NO_FILES_NO_PLOTS = {
    "os",
    "pathlib",
    "time",
    "subprocess",
    "xarray",
    "zarr",
    "pandas",
    "matplotlib",
    "seaborn",
    "rich",
}
MUST_NOT_USE = {"analysis": NO_FILES_NO_PLOTS | {"flax", "optax"}, "models": NO_FILES_NO_PLOTS}
PLUMBING = {"cli", "engine.store", "engine.sweep", "record.report"}

FILES = [path for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py"))]
INSTALLED = [
    path
    for subpackage in ("analysis", "models", "bench")
    for path in sorted((ROOT / subpackage).rglob("*"))
    if path.is_file() and path.parent.name != "__pycache__"
]
EXPERIMENT_FILES = [path for path in FILES if path.parent.name == "experiments" and path.stem != "__init__"]


def folder(path: Path) -> str:
    """The root folder that a file lies in."""
    return path.relative_to(ROOT).parts[0]


def name(path: Path) -> str:
    """A file's path in the repository, as the test's id."""
    return str(path.relative_to(ROOT))


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, with the names taken from a module behind it."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def below(package: str, path: Path) -> set[str]:
    """What a file imports from a package: the names one level below it."""
    prefix = f"{package}."
    return {
        module.removeprefix(prefix).split(".")[0] for module in imported(path) if module.startswith(prefix)
    }


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_point_downwards(path: Path) -> None:
    assert below("signalprop", path) <= MAY_IMPORT[folder(path)]


@pytest.mark.parametrize("path", [path for path in FILES if folder(path) in MUST_NOT_USE], ids=name)
def test_mathematics_and_networks_touch_no_files_and_draw_nothing(path: Path) -> None:
    used = {module.split(".")[0] for module in imported(path)}
    assert not used & MUST_NOT_USE[folder(path)]


@pytest.mark.parametrize("path", EXPERIMENT_FILES, ids=name)
def test_an_experiment_knows_neither_the_plumbing_nor_another_experiment(path: Path) -> None:
    assert not below("signalprop.bench", path) & PLUMBING
    assert not below("signalprop.bench.experiments", path) & {
        other.replace("-", "_") for other in EXPERIMENTS
    }


@pytest.mark.parametrize("path", INSTALLED, ids=name)
def test_file_is_installed(path: Path) -> None:
    folder = next(parent for parent in path.parents if (parent / "__init__.py").exists())
    package = ".".join(("signalprop", *folder.relative_to(ROOT).parts))
    assert files(package).joinpath(*path.relative_to(folder).parts).is_file()
