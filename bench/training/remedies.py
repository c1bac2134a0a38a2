"""Recurrent networks to be trained: a cell, how it is drawn, and the regulariser, by name."""

from dataclasses import dataclass
from math import sqrt

from signalprop.bench.engine.errors import InputError
from signalprop.models.lookup import imported, named
from signalprop.models.names import CELLS

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
        if ":" in name:
            imported("cell", name)
        else:
            named("network", name, dict.fromkeys((*REMEDIES, *CELLS)))
    except ValueError as error:
        raise InputError(f"network: {error}") from error
    return Remedy(name.rpartition(":")[2].replace("_", " "), name)
