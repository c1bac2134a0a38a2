"""The house: which wing may import which, what an experiment's folder holds, and that all is installed."""

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.resources import files
from pathlib import Path

import pytest

from signalprop.bench.experiment import PARTS
from signalprop.bench.experiments import QUESTIONS, find

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "bench" / "experiments"
MATHEMATICS_AND_NETWORKS = {"analysis", "models"}
MAY_IMPORT = {  # beside itself
    "analysis": set(),
    "models": set(),
    "engine": {"models", "experiment.py"},
    "measure": {"engine", *MATHEMATICS_AND_NETWORKS},
    "training": {"engine", "measure", *MATHEMATICS_AND_NETWORKS},
    "theory": {"engine", "measure", *MATHEMATICS_AND_NETWORKS},
    "record": {"engine", "measure", "analysis", "the list"},
    "experiment.py": set(),
    "the list": {"engine", "experiment.py", "models"},
    "an experiment": {"experiment.py", "the list", "engine", "measure", "training", "record"}
    | MATHEMATICS_AND_NETWORKS,
    "diagnosis": {"record", *MATHEMATICS_AND_NETWORKS},
    "pipeline.py": {"experiment.py", "engine", "record"},
    "steps.py": {"pipeline.py", "the list", "engine", "record", "models"},
    "pool.py": {"steps.py", "engine"},
    "cluster.py": {"pool.py", "steps.py", "engine"},
    "cli": {
        "experiment.py",
        "the list",
        "pipeline.py",
        "steps.py",
        "pool.py",
        "cluster.py",
        "engine",
        "record",
        "diagnosis",
    }
    | {"theory", "analysis", "models"},
    "src": {"cli", "diagnosis"},
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
ORDER = ("__init__", "measure", "theory", "verdicts", "figures")  # a file may import those before it
PLUMBING = {"sweep", "store", "plan", "programs", "provenance"}

FILES = [p for top in ("analysis", "models", "bench", "src") for p in sorted((ROOT / top).rglob("*.py"))]
FOLDERS = [EXPERIMENTS / name.replace("-", "_") for name in QUESTIONS]
INSTALLED = [
    path
    for subpackage in ("analysis", "models", "bench")
    for path in sorted((ROOT / subpackage).rglob("*"))
    if path.is_file() and path.parent.name != "__pycache__"
]


def name(path: Path) -> str:
    """A file's path in the repository, as the test's id."""
    return str(path.relative_to(ROOT))


def wing(path: Path) -> str:
    """The part of the house that a file belongs to."""
    top, *rest = path.relative_to(ROOT).parts
    if top != "bench":
        return top
    if rest[0] != "experiments":
        return rest[0]
    return "the list" if len(rest) == 2 else "an experiment"


def source(module: str) -> Path | None:
    """File of a module of signalprop."""
    place = ROOT.joinpath(*module.split(".")[1:])
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)


def outside(path: Path) -> set[str]:
    """Top names of the modules that a file imports from elsewhere."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {m.split(".")[0] for m in plain | {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}}


def imported(path: Path, *, when_run: bool = True) -> set[Path]:
    """Files of the house that a file imports; with ``when_run`` not those it needs for its types alone."""
    tree = ast.parse(path.read_text())
    types = {
        id(inner)
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not (when_run and id(node) in types):
            module = str(node.module)
            if module.startswith("signalprop."):
                members = [source(f"{module}.{alias.name}") or source(module) for alias in node.names]
                found |= {member for member in members if member}
    return found - {path}


@pytest.mark.parametrize("path", [p for p in FILES if p != ROOT / "bench" / "__init__.py"], ids=name)
def test_a_wing_imports_only_the_wings_below_it(path: Path) -> None:
    own = wing(path)
    assert {wing(other) for other in imported(path)} - {own} <= MAY_IMPORT[own]


@pytest.mark.parametrize("path", [p for p in FILES if wing(p) == "an experiment"], ids=name)
def test_an_experiment_knows_neither_another_one_nor_how_it_is_run(path: Path) -> None:
    others = [p for p in imported(path) if wing(p) == "an experiment" and p.parent != path.parent]
    plumbing = [p for p in imported(path) if wing(p) == "engine" and p.stem in PLUMBING]
    assert not others
    assert not plumbing


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_in_an_experiment_data_flow_one_way(folder: Path) -> None:
    for i, file in enumerate(ORDER):
        later = {folder / f"{other}.py" for other in ORDER[i + 1 :]}
        assert not imported(folder / f"{file}.py") & later


def test_no_circle_of_imports() -> None:
    TopologicalSorter({path: imported(path) for path in FILES}).prepare()


def test_few_modules_know_types_that_they_do_not_import_when_run() -> None:
    typed = {path for path in FILES if imported(path, when_run=False) != imported(path)}
    assert {wing(path) for path in typed} == {"experiment.py", "steps.py"}


@pytest.mark.parametrize("path", [path for path in FILES if wing(path) in MUST_NOT_USE], ids=name)
def test_mathematics_and_networks_touch_no_files_and_draw_nothing(path: Path) -> None:
    assert not outside(path) & MUST_NOT_USE[wing(path)]


def test_every_folder_of_an_experiment_is_in_the_list() -> None:
    assert {path.parent for path in EXPERIMENTS.glob("*/__init__.py")} == set(FOLDERS)


@pytest.mark.parametrize("experiment", QUESTIONS)
def test_an_experiment_is_five_files_that_begin_with_its_question(experiment: str) -> None:
    folder = EXPERIMENTS / experiment.replace("-", "_")
    assert set(ORDER) <= {path.stem for path in folder.glob("*.py")}
    assert find(experiment).name == experiment
    assert find(experiment).question == QUESTIONS[experiment]
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    assert text.splitlines()[0] == QUESTIONS[experiment]
    for part, file in PARTS.items():
        defined = ast.parse((folder / f"{file}.py").read_text()).body
        assert part in {node.name for node in defined if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("path", INSTALLED, ids=name)
def test_file_is_installed(path: Path) -> None:
    folder = next(parent for parent in path.parents if (parent / "__init__.py").exists())
    package = ".".join(("signalprop", *folder.relative_to(ROOT).parts))
    assert files(package).joinpath(*path.relative_to(folder).parts).is_file()


def test_importing_the_house_computes_nothing() -> None:
    """Else the device would be chosen, and numbers drawn, before the process has set how."""
    modules = [f"signalprop.{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}" for path in FILES]
    ours = [m.removesuffix(".__init__") for m in modules if not m.startswith("signalprop.src")]
    code = f"""
import importlib, jax
for name in {ours}:
    importlib.import_module(name)
jax.config.update("jax_num_cpu_devices", 3)  # refused where a device is chosen
assert len(jax.devices()) == 3
"""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
