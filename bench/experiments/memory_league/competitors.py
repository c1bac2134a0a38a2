"""The competitors of the memory league: what each remedy changes about a tanh network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.training.remedies import REMEDIES, Remedy

ALONE = ("heavy_ball", "nesterov", "adagrad", "rmsprop")  # optimizers that are a remedy by themselves
OPTIMIZER_LABELS = {
    "heavy_ball": "momentum 0.9",
    "nesterov": "Nesterov 0.9",
    "adagrad": "Adagrad",
    "rmsprop": "RMSProp",
    "adam": "Adam",
}
UNITS = {"sgd": 1.0, "heavy_ball": 0.1, "nesterov": 0.1, "adagrad": 0.1, "rmsprop": 0.01, "adam": 0.01}


@dataclass(frozen=True)
class Competitor:
    """A network and how it is trained.

    Attributes:
        label: For figures.
        kind: One of ``bench.record.league.KINDS``.
        term: What of the gradient it changes.
        network: Cell, its start, and Omega.
        clip_norm: Largest norm of the gradient.
        clip_value: Largest entry of the gradient.
        l2: Coefficient of coupled decay.
        l1: Coefficient of the L1 penalty.
        flossed: Whether the leading Lyapunov exponents are pushed to 0 first, on the same budget.
    """

    label: str
    kind: str
    term: str
    network: Remedy
    clip_norm: float = inf
    clip_value: float = inf
    l2: float = 0.0
    l1: float = 0.0
    flossed: bool = False


@dataclass(frozen=True)
class _Part:
    """One remedy by itself: the fields of the competitor without remedies that it replaces."""

    label: str
    kind: str
    term: str
    change: Mapping[str, Any] = field(default_factory=dict)


FACTOR = "step factor D_t W"
PATH = "additive path of the state"
SIZE = "size of a step; factors as without it"
LOSS = "loss; factors as without it"
_NORMALIZED = Remedy("layer norm", "signalprop.bench.experiments.memory_league.methods:layer_norm_cell")
_NETWORKS = {
    "orthogonal": ("orthogonal", "initialisation", FACTOR),
    "relu": ("relu, He", "activation", FACTOR),
    "irnn": ("IRNN", "activation", FACTOR),
    "omega": ("Omega, 4", "regulariser", FACTOR),
    "lstm_forget_0": ("LSTM, forget bias 0", "architecture", PATH),
    "lstm_forget_1": ("LSTM, forget bias 1", "architecture", PATH),
    "gru": ("GRU", "architecture", PATH),
}
PARTS = {
    "none": _Part("none", "failing", FACTOR),
    "clip_norm": _Part("norm clipping at 1", "optimiser", SIZE, {"clip_norm": 1.0}),
    "clip_value": _Part("value clipping at 0.1", "optimiser", SIZE, {"clip_value": 0.1}),
    "l2": _Part("L2, 0.001", "regulariser", LOSS, {"l2": 1e-3}),
    "l1": _Part("L1, 0.0001", "regulariser", LOSS, {"l1": 1e-4}),
    "layer_norm": _Part("layer norm", "architecture", FACTOR, {"network": _NORMALIZED}),
    "flossing": _Part("flossing", "initialisation", FACTOR, {"flossed": True}),
    **{name: _Part(*words, {"network": REMEDIES[name]}) for name, words in _NETWORKS.items()},
}


def competitor(name: str) -> Competitor:
    """Find a competitor by the name of its remedy, or of several: ``gru+clip_norm``.

    Raises:
        InputError: If there is no such remedy, or two of them change the same thing.
    """
    parts = [_part(one) for one in name.split("+")]
    kind = parts[0].kind if len(parts) == 1 else "combination"
    label = " + ".join(part.label for part in parts)
    found = Competitor(label, kind, parts[0].term, REMEDIES["tanh"])
    changed: set[str] = set()
    for part in parts:
        if changed & set(part.change):
            raise InputError(f"remedy: got {name!r}, which sets {min(changed & set(part.change))} twice")
        changed |= set(part.change)
        found = replace(found, **part.change)
    return found


def _part(name: str) -> _Part:
    if name not in PARTS:
        raise InputError(f"remedy: no {name!r}; {nearest(name, PARTS)}")
    return PARTS[name]


def runs(remedy: str, optimizers: Sequence[str]) -> list[str]:
    """Optimizers that a remedy is run with: all without a remedy, else those that no remedy is by itself."""
    return [name for name in optimizers if remedy == "none" or name not in ALONE]
