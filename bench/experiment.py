"""The shape that every experiment has.

settings -> sweep -> measured arrays -> store -> figure and verdicts, with theory beside the measurement.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # an experiment's name, question and settings are known without JAX and matplotlib
    import jax
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from signalprop.bench.engine.grid import Grid, Static
    from signalprop.bench.record.verdict import Verdict

SIZES = ("quick", "standard", "full")
PARTS = {
    "grid": "measure",
    "measure": "measure",
    "theory": "theory",
    "verdicts": "verdicts",
    "figures": "figures",
    "table": "figures",
}
"""The functions of an experiment, and the files of its folder in which they stand."""


@dataclass(frozen=True)
class Variable:
    """One measured array: the dimensions behind the grid's own, what it is, and its unit."""

    dims: tuple[str, ...]
    description: str
    unit: str = ""


@dataclass(frozen=True)
class Experiment:
    """A claim about gradients as a network, a sweep, a measurement, a prediction and a verdict.

    Attributes:
        name: As typed on the command line.
        question: One line.
        sizes: Settings of ``quick``, ``standard`` and ``full``: a frozen dataclass of the experiment's own
            with ``seed``, the root of all random numbers, and ``dtype``, that of every traced scalar.
        grid: The points of the sweep.
        measure: ``(key, point, static) -> arrays`` for one network; jitted and vmapped by the sweep. ``key``
            depends on the seed alone, so networks that differ in a scale share their draws.
        variables: What ``measure`` returns.
        theory: Predictions on axes of the grid without the seed, with exactly the grid's coordinates
            (``grid(settings).labels()``); that of a variable ``x`` is named ``x_predicted``.
        verdicts: Judgements on a result.
        figures: Figures of a result, by file name.
        table: The numbers that the figures show, tidy.
        origin: ``module:name`` of one outside the suite, by which every process finds it; ``find`` sets it.
    """

    name: str
    question: str
    sizes: Mapping[str, Any]
    grid: "Callable[[Any], Grid]"
    measure: "Callable[[jax.Array, dict[str, jax.Array], Static], dict[str, jax.Array]]"
    variables: Mapping[str, Variable]
    theory: "Callable[[Any], xr.Dataset]"
    verdicts: "Callable[[xr.Dataset], list[Verdict]]"
    figures: "Callable[[xr.Dataset], dict[str, Figure]]"
    table: "Callable[[xr.Dataset], pd.DataFrame]"
    origin: str = ""

    def __post_init__(self) -> None:
        """Freeze the mappings."""
        object.__setattr__(self, "sizes", MappingProxyType(dict(self.sizes)))
        object.__setattr__(self, "variables", MappingProxyType(dict(self.variables)))


def in_folder(package: str, sizes: Mapping[str, Any], variables: Mapping[str, Variable]) -> Experiment:
    """The experiment of a folder: named after it, with the question that its docstring begins with.

    Its functions stand in the files of the folder and are imported when they are first called.

    Args:
        package: The folder as a package: ``__name__`` in its ``__init__.py``.
        sizes: Settings of ``quick``, ``standard`` and ``full``.
        variables: What ``measure`` returns.
    """
    name = package.rpartition(".")[2].replace("_", "-")
    question = (sys.modules[package].__doc__ or name).splitlines()[0]
    parts: dict[str, Any] = {part: _when_called(f"{package}.{file}", part) for part, file in PARTS.items()}
    return Experiment(name=name, question=question, sizes=sizes, variables=variables, **parts)


def _when_called(module: str, name: str) -> Callable[..., Any]:
    def part(*args: Any, **named: Any) -> Any:
        return getattr(import_module(module), name)(*args, **named)

    part.__module__, part.__qualname__ = module, name
    return part
