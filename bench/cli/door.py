"""The same from Python: `signalprop.run`, `load`, `figures` and `experiments`."""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.experiment import Experiment
from signalprop.bench.experiments import QUESTIONS, find

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


def experiments() -> Mapping[str, str]:
    """Every experiment of the suite and its question, in the order of the story."""
    return dict(QUESTIONS)


def run(
    name: str | Experiment,
    *,
    size: str = "quick",
    out: str | Path = "results",
    device: str = "best",
    jobs: int | None = None,
    fresh: bool = False,
    **settings: Any,
) -> "xr.Dataset":
    """Run an experiment as ``signalprop run`` does, and load its result.

    It computes in processes of its own, shows their progress, resumes what was interrupted, and leaves store,
    figures and verdicts under ``out``. A script that calls it needs ``if __name__ == "__main__":``.

    Args:
        name: An experiment of the suite, or your own: itself, or as ``module:name``. It must lie in a module
            that can be imported, because other processes import it; so must functions among the settings.
        size: ``quick``, ``standard`` or ``full``.
        out: Folder of stores, figures and verdicts.
        device: ``best``, ``cpu``, ``gpu`` or ``tpu``.
        jobs: Processes at once; by default as many as the command line takes.
        fresh: Whether to remove the stored run of these settings first.
        settings: Changes to the settings of that size, such as ``activation=("relu", my_function),
            sigma_w=(1, 2)``. One value may stand for a tuple of one.

    Returns:
        Measured and predicted arrays with labelled axes; settings, commit and versions in ``attrs``.

    Raises:
        InputError: If there is no such experiment or setting, or it cannot be used.
        StoreError: If the run failed, or the folder cannot be written.

    Example:
        >>> result = run("phase-diagram", activation=mine.function, sigma_w=(1, 2, 3))  # doctest: +SKIP
        >>> result["growth"].mean("seed").to_dataframe()  # doctest: +SKIP
    """
    from signalprop.bench.cli import arguments, commands
    from signalprop.bench.steps import Task

    experiment = find(_place(name) if isinstance(name, Experiment) else name)
    named, changed = experiment.origin or experiment.name, _settings(experiment, size, settings)
    given = {"jobs": jobs} if jobs is not None else {}
    options = arguments.Run((named,), device=device, out=Path(out), fresh=fresh, **given)  # type: ignore[arg-type]
    ended = commands.run_all([Task(named, changed, options.out, fresh=fresh)], options)
    commands.exit_code(ended, strict=False)
    assert ended[0].outcome is not None  # one share is all of it
    return load(ended[0].outcome.run)


def load(path: str | Path) -> "xr.Dataset":
    """Open a finished run, ``results/runs/NAME-....zarr``; see `signalprop.bench.engine.store.load`."""
    from signalprop.bench.engine import store

    return store.load(path)


def figures(result: "xr.Dataset", *, width: float = 7.2) -> "dict[str, Figure]":
    """Draw a loaded result in the house style: its figures by name, to change or to save.

    Args:
        result: As `run` or `load` give it.
        width: In inches.
    """
    from signalprop.bench.record import figures as house

    experiment = find(result.attrs.get("origin") or result.attrs["experiment"])
    with house.style(width):
        drawn = experiment.figures(result)
        for one in drawn.values():
            house.fit_titles(one)
        return drawn


def _place(experiment: Experiment) -> str:
    """The name by which other processes find an experiment: of the suite, or ``module:name``.

    Raises:
        InputError: If they cannot import it.
    """
    if experiment.name in QUESTIONS and find(experiment.name) is experiment:
        return experiment.name
    places = [
        f"{module}:{name}"
        for module, holder in list(sys.modules.items())
        for name, value in list(getattr(holder, "__dict__", {}).items())
        if value is experiment and module != "__main__"
    ]
    if not places:
        raise InputError(
            f"experiment {experiment.name!r} lies where other processes cannot import it; put it into a file "
            "mine.py and write mine.NAME"
        )
    return places[0]


def _settings(experiment: Experiment, size: str, changes: Mapping[str, Any]) -> Any:
    """The settings of a size with some changed, each in the form that the settings have."""
    from signalprop.bench.cli import arguments

    name, sizes = experiment.name, experiment.sizes
    if size not in sizes:
        raise InputError(f"size: no {size!r}; {nearest(size, sizes)}")
    known = {field.name: getattr(sizes[size], field.name) for field in dataclasses.fields(sizes[size])}
    for setting in changes:
        if setting not in known:
            raise InputError(f"{name}: no setting {setting!r}; {nearest(setting, known)}")
    chosen = dataclasses.replace(sizes[size], **{k: _like(known[k], k, v) for k, v in changes.items()})
    return arguments.settled(sizes[size], chosen)


def _like(default: Any, setting: str, value: Any) -> Any:
    """A value in the form of the default: a tuple for a tuple, names for functions, plain numbers."""
    if isinstance(default, tuple):
        several = isinstance(value, (tuple, list, range)) or getattr(value, "ndim", 0) > 0
        return tuple(_plain(setting, one) for one in (value if several else (value,)))
    return _plain(setting, value)


def _plain(setting: str, value: Any) -> Any:
    if isinstance(value, Callable):  # type: ignore[arg-type]
        return _named(setting, value)
    if isinstance(value, (tuple, list)):
        return tuple(_plain(setting, one) for one in value)
    return value.item() if hasattr(value, "item") else value


def _named(setting: str, function: Callable[..., Any]) -> str:
    """``module:name`` of a function.

    Raises:
        InputError: If other processes cannot import it under that name.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module in (None, "__main__") or not name.isidentifier():
        raise InputError(
            f"{setting}: got {function}, which other processes cannot import; put a function with a name "
            "into a file mine.py and write mine.function"
        )
    return f"{module}:{name}"
