"""The whole line of one experiment: settings, sweep, store, then figures, table and verdicts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from signalprop.bench.engine import store, sweep
from signalprop.bench.experiment import SIZES, Experiment
from signalprop.bench.record import figures, verdict
from signalprop.bench.record.verdict import Verdict

RESULTS = Path("results")


@dataclass(frozen=True)
class Outcome:
    """What a run left: its store, the folder of its figures, and its verdicts."""

    run: Path
    folder: Path
    verdicts: list[Verdict]

    @property
    def disagreements(self) -> list[Verdict]:
        """Verdicts where theory and measurement differ by more than the tolerance."""
        return [v for v in self.verdicts if v.agreement == "disagrees"]


def size_name(experiment: Experiment, settings: Any) -> str:
    """``quick``, ``standard`` or ``full`` if the settings are exactly those, else ``custom``."""
    return next((s for s in SIZES if experiment.sizes[s] == settings), "custom")


def run_path(out: Path, experiment: Experiment, settings: Any) -> Path:
    """The store of a run: named by experiment and settings, under ``runs``."""
    return out / "runs" / f"{experiment.name}-{store.identity(experiment.name, settings)}.zarr"


def result_folder(out: Path, experiment: Experiment, settings: Any) -> Path:
    """Where figures and verdicts go: committed sizes directly under ``out``, others in their own folder."""
    size = size_name(experiment, settings)
    if size in ("standard", "full"):
        return out / experiment.name
    if size == "quick":
        return out / "quick" / experiment.name
    return out / "custom" / f"{experiment.name}-{store.identity(experiment.name, settings)}"


def run(
    experiment: Experiment,
    settings: Any,
    out: Path = RESULTS,
    *,
    report: sweep.Report = lambda case, done, total: None,
    shard: tuple[int, int] | None = None,
) -> Outcome | None:
    """Measure what is missing, then draw and judge.

    Returns:
        The outcome; None if other shards still have chunks to compute.

    Raises:
        Interrupted, StoreError, InputError: As ``sweep.run``.
    """
    path = sweep.run(experiment, settings, run_path(out, experiment, settings), report=report, shard=shard)
    if not store.is_finished(path):
        return None
    folder = result_folder(out, experiment, settings)
    return Outcome(path, folder, draw(experiment, store.load(path), folder))


def draw(experiment: Experiment, result: xr.Dataset, folder: Path) -> list[Verdict]:
    """Write figures, table and verdicts of a stored result; nothing is recomputed."""
    with figures.style():
        for name, figure in experiment.figures(result).items():
            figures.save(figure, folder, name)
    experiment.table(result).to_csv(folder / f"{experiment.name}.csv", index=False, float_format="%.6g")
    verdicts = experiment.verdicts(result)
    verdict.write(folder / "verdicts.json", verdicts)
    return verdicts
