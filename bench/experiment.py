"""The shape that every experiment has, and the one line that runs it.

settings -> sweep -> measured arrays -> store -> figure and verdicts, with theory beside the measurement.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any

import jax
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from signalprop.bench.errors import InputError
from signalprop.bench.experiments import EXPERIMENTS
from signalprop.bench.grid import Grid, Static, nearest
from signalprop.bench.verdict import Verdict

SIZES = ("quick", "standard", "full")


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
        sizes: Settings of ``quick``, ``standard`` and ``full``.
        grid: The points of the sweep.
        measure: ``(key, point, static) -> arrays`` for one network; jitted and vmapped by the sweep. ``key``
            depends on the seed alone, so networks that differ in a scale share their draws.
        variables: What ``measure`` returns.
        theory: Predictions, named ``<variable>_predicted``, on axes of the grid without the seed.
        verdicts: Judgements on a result.
        figures: Figures of a result, by file name.
        table: The numbers that the figures show, tidy.
        compiler_options: Of XLA on a CPU, for large programs whose time is in few kernels.
    """

    name: str
    question: str
    sizes: Mapping[str, Any]
    grid: Callable[[Any], Grid]
    measure: Callable[[jax.Array, dict[str, jax.Array], Static], dict[str, jax.Array]]
    variables: Mapping[str, Variable]
    theory: Callable[[Any], xr.Dataset]
    verdicts: Callable[[xr.Dataset], list[Verdict]]
    figures: Callable[[xr.Dataset], dict[str, Figure]]
    table: Callable[[xr.Dataset], pd.DataFrame]
    compiler_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Freeze the mappings."""
        object.__setattr__(self, "sizes", MappingProxyType(dict(self.sizes)))
        object.__setattr__(self, "variables", MappingProxyType(dict(self.variables)))


def find(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        InputError: If there is none; the message offers the nearest name.
    """
    if name not in EXPERIMENTS:
        raise InputError(f"no experiment {name!r}; {nearest(name, EXPERIMENTS)}")
    module = import_module(f"signalprop.bench.experiments.{name.replace('-', '_')}")
    experiment: Experiment = module.EXPERIMENT
    return experiment
