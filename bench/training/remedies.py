"""Recurrent networks to be trained: a cell, how it is drawn, and the regulariser, by name."""

from dataclasses import dataclass
from math import sqrt

import jax
import jax.numpy as jnp

from signalprop.bench.engine.errors import InputError
from signalprop.bench.training.omega import with_omega
from signalprop.bench.training.tasks import Task
from signalprop.bench.training.trainer import Loss
from signalprop.models.cells import CELLS, cell
from signalprop.models.initializers import SCHEMES
from signalprop.models.lookup import named
from signalprop.models.mlp import Layer
from signalprop.models.sequence import SequenceModel

IRNN_INPUT_STD = 0.001  # of the input weights (Le, Jaitly & Hinton 2015, arXiv:1504.00941)


@dataclass(frozen=True)
class Remedy:
    """One way to draw and train a recurrent network.

    Attributes:
        label: For figures.
        cell: Name in ``models.cells``, or a user's ``module:name``.
        gain: Scale of the recurrent weights.
        input_std: Standard deviation of the input weights; None: 1 / sqrt(inputs).
        forget_bias: Bias of the gate that keeps the state.
        omega: Weight of Pascanu's regulariser; 0: none.
    """

    label: str
    cell: str
    gain: float = 1.0
    input_std: float | None = None
    forget_bias: float = 0.0
    omega: float = 0.0

    def draw(self, key: jax.Array, task: Task, units: int, dtype: str) -> SequenceModel:
        """Draw cell and read-out; the read-out's weights have variance 1 / units."""
        cell_key, readout_key = jax.random.split(key)
        scale = 1.0 if self.input_std is None else self.input_std * sqrt(task.features)
        drawn = cell(self.cell)(
            cell_key, task.features, units, gain=self.gain, input_scale=scale, forget_bias=self.forget_bias,
            dtype=dtype,
        )  # fmt: skip
        kernel = SCHEMES["gaussian"].draw(readout_key, units, task.outputs, dtype=dtype)
        return SequenceModel(drawn, Layer(kernel, jnp.zeros(task.outputs, dtype)))

    def loss(self, task: Task) -> Loss:
        """The task's loss, with the regulariser where there is one; always beside it the ``task_loss``."""
        if self.omega:
            return with_omega(task.loss, self.omega)

        def plain(model: SequenceModel, batch: object) -> tuple[jax.Array, dict[str, jax.Array]]:
            value, aside = task.loss(model, batch)  # type: ignore[arg-type]
            return value, {**aside, "task_loss": value}

        return plain


REMEDIES = {
    "tanh": Remedy("tanh", "tanh"),
    "omega": Remedy("tanh + \N{GREEK CAPITAL LETTER OMEGA}", "tanh", omega=4.0),
    "orthogonal": Remedy("tanh, orthogonal", "tanh_orthogonal"),
    "relu": Remedy("relu, He", "relu", gain=sqrt(2)),
    "irnn": Remedy("IRNN", "irnn", input_std=IRNN_INPUT_STD),
    "lstm_1997": Remedy("LSTM of 1997", "lstm_1997"),
    "lstm_forget_0": Remedy("LSTM, forget bias 0", "lstm"),
    "lstm_forget_1": Remedy("LSTM, forget bias 1", "lstm", forget_bias=1.0),
    "gru": Remedy("GRU", "gru"),
    "minimal_rnn": Remedy("minimalRNN", "minimal_rnn"),
}


def remedy(name: str) -> Remedy:
    """Find a remedy by its name; any other cell, also a user's ``module:name``, is drawn at gain 1.

    Raises:
        InputError: If the name is unknown; the message offers the nearest one.
    """
    if name in REMEDIES:
        return REMEDIES[name]
    try:
        if ":" not in name:
            named("network", name, {**REMEDIES, **CELLS})
        cell(name)
    except ValueError as error:
        raise InputError(f"network: {error}") from error
    return Remedy(name.rpartition(":")[2].replace("_", " "), name)
