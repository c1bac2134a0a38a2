"""Names that are known without JAX are those of the tables behind them, in the same order."""

import pytest

from signalprop.bench.experiments import clipping, power_iteration, residual
from signalprop.bench.experiments.clipping.scenes import SCENES
from signalprop.bench.experiments.power_iteration.matrices import KINDS
from signalprop.bench.experiments.residual.architectures import ARCHITECTURES
from signalprop.bench.measure import data, rounding, spectra
from signalprop.bench.measure import names as measured
from signalprop.bench.training import classification, flossing, optimizers, settings, tasks
from signalprop.models import activations, cells, initializers, names, pretraining

TABLES = {
    "activations": (names.ACTIVATIONS, activations.ACTIVATIONS),
    "schemes": (names.SCHEMES, initializers.SCHEMES),
    "cells": (names.CELLS, cells.CELLS),
    "units": (names.UNITS, pretraining.UNITS),
    "data sets": (measured.DATA_SETS, data.READERS),
    "forms": (measured.FORMS, spectra.FORMS),
    "variants": (measured.VARIANTS, rounding.VARIANTS),
    "optimizers": (settings.OPTIMIZERS, optimizers.OPTIMIZERS),
    "problems": (settings.PROBLEMS, classification.PROBLEMS),
    "tasks": (settings.TASKS, tasks.TASKS),
    "schedules": (settings.SCHEDULES, flossing.SCHEDULES),
    "flossed": (settings.FLOSSED, flossing.STARTS),
    "scenes": (clipping.NETWORKS, SCENES),
    "matrices": (power_iteration.MATRICES, KINDS),
    "architectures": (residual.ARCHITECTURES, ARCHITECTURES),
}


@pytest.mark.parametrize("what", TABLES)
def test_names_are_those_of_the_table(what: str) -> None:
    known, table = TABLES[what]
    assert known == tuple(table)
