"""The whole line of one experiment: settings, sweep, store, then figures, table and verdicts."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from signalprop.bench.engine import store, sweep
from signalprop.bench.engine.provenance import drawing_hash
from signalprop.bench.experiment import SIZES, Experiment
from signalprop.bench.record import verdict
from signalprop.bench.record.verdict import Outcome, Verdict

RESULTS = Path("results")


def size_name(experiment: Experiment, settings: Any) -> str:
    """``quick``, ``standard`` or ``full`` if the settings are exactly those, else ``custom``."""
    return next((s for s in SIZES if experiment.sizes[s] == settings), "custom")


def run_path(out: Path, experiment: Experiment, settings: Any) -> Path:
    """The store of a run: named by experiment and settings, under ``runs``."""
    return out / "runs" / f"{experiment.name}-{store.identity(experiment, settings)}.zarr"


def result_folder(experiment: Experiment, settings: Any, path: Path) -> Path:
    """Where a run's figures and verdicts go: committed sizes beside ``runs``, others in their own folder."""
    size, out = size_name(experiment, settings), path.parent.parent
    if size in ("standard", "full"):
        return out / experiment.name
    return out / "quick" / experiment.name if size == "quick" else out / "custom" / path.stem


def run(
    experiment: Experiment,
    settings: Any,
    out: Path = RESULTS,
    *,
    report: sweep.Report = lambda case, done, total: None,
    shard: tuple[int, int] | None = None,
) -> Outcome | None:
    """Measure what is missing, in this process, then draw and judge.

    Returns:
        The outcome; None if other shards still have chunks to compute.

    Raises:
        Interrupted, StoreError, InputError: As ``sweep.run``.
    """
    sweep.run(experiment, settings, run_path(out, experiment, settings), report=report, shard=shard)
    return finish(experiment, settings, out)


def finish(experiment: Experiment, settings: Any, out: Path) -> Outcome | None:
    """Draw and judge a stored run, unless that was done from it by the same code; None if it is unfinished.

    Raises:
        StoreError: If there is no such run, or it is damaged.
    """
    path = run_path(out, experiment, settings)
    if not store.is_finished(path):
        return None
    folder = result_folder(experiment, settings, path)
    verdicts = _drawn(experiment, path, folder) or draw(experiment, path, folder)
    return Outcome(path, folder, verdicts)


def draw(experiment: Experiment, path: Path, folder: Path) -> list[Verdict]:
    """Write figures, table and verdicts of a stored run; nothing is measured.

    Each file replaces its predecessor in one step, so that others may read or draw the same at any time.
    """
    from signalprop.bench.record import figures  # a process that only measures needs no Matplotlib

    result = store.load(path)
    verdicts = experiment.verdicts(result)
    with TemporaryDirectory(prefix=f"{experiment.name}-", suffix=".partial", dir=path.parent) as name:
        fresh = Path(name)
        with figures.style():
            for title, figure in experiment.figures(result).items():
                figures.save(figure, fresh, title)
        experiment.table(result).to_csv(fresh / f"{experiment.name}.csv", index=False, float_format="%.6g")
        verdict.write(fresh / "verdicts.json", verdicts)
        files = sorted(file.name for file in fresh.iterdir())
        note = {"from": _origin(experiment, path), "folder": str(folder.resolve()), "files": files}
        (fresh / "note").write_text(json.dumps(note))
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            (fresh / file).replace(folder / file)
        (fresh / "note").replace(_note(path))
    return verdicts


def redraw(
    experiment: Experiment, path: Path, folder: Path, kinds: Sequence[str], width: float, dpi: int
) -> list[Path]:
    """Write the figures of a stored run in other formats or of another size, for a paper or a talk.

    Args:
        experiment: What was measured.
        path: The run.
        folder: Where to write.
        kinds: ``png``, ``svg``, ``pdf``.
        width: In inches.
        dpi: Dots per inch of a PNG, and of what other formats keep as pixels.
    """
    from signalprop.bench.record import figures

    result = store.load(path)
    with figures.style(width, dpi):
        drawn = experiment.figures(result)
        return [file for name, one in drawn.items() for file in figures.save(one, folder, name, kinds)]


def _drawn(experiment: Experiment, path: Path, folder: Path) -> list[Verdict]:
    """The verdicts in the folder if all its files come from this run and this code; empty if not."""
    try:
        note = json.loads(_note(path).read_text())
    except (OSError, ValueError):
        return []
    same = note["from"] == _origin(experiment, path) and note["folder"] == str(folder.resolve())
    whole = same and all((folder / file).exists() for file in note["files"])
    return verdict.read(folder / "verdicts.json") if whole else []


def _note(path: Path) -> Path:
    """Beside a run: of what its figures were drawn last, and where."""
    return path.with_suffix(".drawn.json")


def _origin(experiment: Experiment, path: Path) -> dict[str, str]:
    """What figures and verdicts follow from: the run, the code that draws and judges, and the libraries."""
    libraries = {name: version(name) for name in ("matplotlib", "seaborn", "numpy", "scipy")}
    return {"run": store.fingerprint(path), "code": drawing_hash(experiment), **libraries}
