"""A user's own code: the files behind an experiment of her own and the ``module:name`` values of settings.

A run is named by its experiment and settings, so what is named by its module must bring that module's text
along: who edits a function and runs again wants the new function's numbers.
"""

import ast
import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from signalprop.bench.experiment import Experiment

OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
INSTALLED = tuple(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib"))


def sources(experiment: Experiment, settings: Any) -> dict[str, str]:
    """Hashes of the files of a user's own that decide numbers, by name.

    They are the module of every ``module:name`` value, those in which an experiment outside the suite has its
    settings, grid, measurement and theory, and what these import from the same folder, directly or not. An
    installed module counts by the version of its distribution. Nothing is imported to find out.

    Args:
        experiment: Of the suite, which brings no files, or from outside.
        settings: A dataclass; values may be strings or tuples of them.

    Returns:
        Empty if nothing is a user's own; without modules that are not found, whose import will say so.
    """
    found: dict[str, str] = {}
    if experiment.origin:
        for part in (type(settings), experiment.grid, experiment.measure, experiment.theory):
            module = getattr(part, "func", part).__module__  # of a partial: that of its function
            if not module.startswith("signalprop."):
                _add(module, found)
    for text in _strings(asdict(settings)):
        if OWN.fullmatch(text):
            _add(text.partition(":")[0], found)
    return dict(sorted(found.items()))


def imported(text: bytes, package: tuple[str, ...] = ()) -> list[str]:
    """Names that a source file imports: modules, and members of modules as ``module.member``.

    Args:
        text: The source; nothing is imported by one that does not parse.
        package: Where the file lies, for relative imports.
    """
    try:
        nodes = [*ast.walk(ast.parse(text))]
    except SyntaxError:  # importing it will say so
        return []
    names: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names += [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
    return names


def _add(module: str, found: dict[str, str]) -> None:
    """Add a module and what it imports from its folder."""
    top = module.partition(".")[0]
    spec = PathFinder.find_spec(top, sys.path)
    if spec is None or spec.origin is None:
        return
    root = Path(spec.origin).parent.parent if spec.submodule_search_locations else Path(spec.origin).parent
    if any(root.is_relative_to(place) for place in INSTALLED):
        owners = packages_distributions().get(top, [])
        found[top] = " ".join(version(owner) for owner in owners) or sys.version.split()[0]
        return
    waiting, seen = _files(root, module), set[Path]()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            text = path.read_bytes()
            found[path.relative_to(root).as_posix()] = hashlib.sha256(text).hexdigest()[:12]
            names = imported(text, path.parent.relative_to(root).parts)
            waiting += [beside for name in names for beside in _files(root, name)]


def _files(root: Path, module: str) -> list[Path]:
    """The files under ``root`` that importing a module runs: of its packages, and its own."""
    parts = module.split(".")
    places = [root.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)]
    return [f for place in places for f in (place / "__init__.py", place.with_suffix(".py")) if f.is_file()]


def _strings(value: Any) -> Iterator[str]:
    """Every string in nested settings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _strings(part)
