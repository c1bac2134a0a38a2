"""Recurrent networks of a remedy, drawn for a task, and their loss."""

from math import sqrt

import jax
import jax.numpy as jnp

from signalprop.bench.training.omega import with_omega
from signalprop.bench.training.remedies import Remedy
from signalprop.bench.training.tasks import Task
from signalprop.bench.training.trainer import Loss
from signalprop.models.cells import cell
from signalprop.models.initializers import SCHEMES
from signalprop.models.mlp import Layer
from signalprop.models.sequence import SequenceModel


def draw(remedy: Remedy, key: jax.Array, task: Task, units: int, dtype: str) -> SequenceModel:
    """Draw cell and read-out; the read-out's weights have variance 1 / units."""
    cell_key, readout_key = jax.random.split(key)
    scale = 1.0 if remedy.input_std is None else remedy.input_std * sqrt(task.features)
    drawn = cell(remedy.cell)(
        cell_key, task.features, units, gain=remedy.gain, input_scale=scale, forget_bias=remedy.forget_bias,
        dtype=dtype,
    )  # fmt: skip
    kernel = SCHEMES["gaussian"].draw(readout_key, units, task.outputs, dtype=dtype)
    return SequenceModel(drawn, Layer(kernel, jnp.zeros(task.outputs, dtype)))


def loss(remedy: Remedy, task: Task) -> Loss:
    """The task's loss, with the regulariser where there is one; always beside it the ``task_loss``."""
    if remedy.omega:
        return with_omega(task.loss, remedy.omega)

    def plain(model: SequenceModel, batch: object) -> tuple[jax.Array, dict[str, jax.Array]]:
        value, aside = task.loss(model, batch)  # type: ignore[arg-type]
        return value, {**aside, "task_loss": value}

    return plain
