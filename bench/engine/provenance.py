"""Which code decided the numbers of a run: its measurement and theory, and every module that these import."""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from signalprop.bench.engine import machine, store
from signalprop.bench.engine.sources import imported, sources
from signalprop.bench.experiment import Experiment

ROOT = Path(__file__).parents[2]  # where analysis, models and bench lie, in a checkout and when installed
DRAWS = ("signalprop.bench.engine.grid", "signalprop.bench.engine.programs")  # keys, scalars, dtypes
STYLE = "signalprop.bench.record.figures"
NO_NUMBERS = {  # how an experiment is declared, the list of them, and what is said of bad input
    "signalprop.bench.experiment",
    "signalprop.bench.experiments",
    "signalprop.bench.engine.errors",
}


def provenance(experiment: Experiment, settings: Any, device_kind: str) -> dict[str, Any]:
    """Everything that decides the numbers of a run; no host name and no user name."""
    commit, dirty = machine.commit()
    return {
        "experiment": experiment.name,
        "origin": experiment.origin,
        "settings": json.dumps(asdict(settings)),
        "sources": json.dumps(sources(experiment, settings)),
        "settings_hash": store.identity(experiment, settings),
        "schema": store.SCHEMA,
        "code_hash": code_hash(experiment, settings),
        "commit": commit,
        "dirty": int(dirty),
        "versions": json.dumps(machine.versions()),
        "device_kind": device_kind,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),  # how lightly programs were compiled
    }


def code_hash(experiment: Experiment, settings: Any, root: Path = ROOT) -> str:
    """Hash of the code that decides the numbers of an experiment.

    It covers the files of its grid, measurement, theory and settings, whatever these import from the suite,
    and the engine's draws. Figures, verdicts and other experiments are not among them.
    """
    parts = (experiment.grid, experiment.measure, experiment.theory, type(settings))
    return _hash(deciding_files({part.__module__ for part in parts}, root))


def drawing_hash(experiment: Experiment, root: Path = ROOT) -> str:
    """Hash of the code that draws and judges a stored result: figures, table, verdicts, house style."""
    parts = (experiment.figures, experiment.table, experiment.verdicts)
    return _hash(deciding_files({STYLE, *(part.__module__ for part in parts)}, root))


def _hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def deciding_files(modules: Iterable[str], root: Path = ROOT) -> list[Path]:
    """Sorted files of some modules, of all that they import from the suite, and of the engine's draws."""
    found = {path for name in DRAWS if (path := _file(name, root))}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _file(name, root)
        if path and path not in found and name not in NO_NUMBERS:
            found.add(path)
            for inside in _imported(path, path.stat().st_mtime_ns):
                waiting.append(inside if _file(inside, root) else inside.rpartition(".")[0])
    return sorted(found)


def _file(module: str, root: Path) -> Path | None:
    """Source of a module: of the suite under ``root``, of a user's own wherever it was loaded from."""
    head, *rest = module.split(".")
    if head != "signalprop":
        own = getattr(sys.modules.get(module), "__file__", None)
        return Path(own) if own else None
    place = root.joinpath(*rest)
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)


@cache
def _imported(path: Path, changed: int) -> tuple[str, ...]:
    """Modules of the suite that a file imports, and members of them, as ``module.member``."""
    del changed  # a file that was edited is read again
    names = imported(path.read_bytes())
    return tuple(name for name in names if name.startswith("signalprop.") and name.count(".") > 1)
