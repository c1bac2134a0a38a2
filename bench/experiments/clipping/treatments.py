"""Treatments of a gradient, clipping and penalties, and how they are written."""

from dataclasses import dataclass
from math import inf

from signalprop.bench.engine.errors import InputError, nearest


@dataclass(frozen=True)
class Treatment:
    """Largest norm and largest entry of a gradient, and the coefficients of two penalties."""

    clip_norm: float = inf
    clip_value: float = inf
    l2: float = 0.0
    l1: float = 0.0


TREATMENTS = {"none": "", "norm": "clip_norm", "value": "clip_value", "l2": "l2", "l1": "l1"}
LABELS = {"none": "none", "norm": "norm clipping at", "value": "value clipping at", "l2": "L2", "l1": "L1"}


def treatment(name: str) -> Treatment:
    """A treatment from a name like ``norm-0.1``, ``value-0.01``, ``l2-0.1``, ``l1-0.001`` or ``none``.

    Raises:
        InputError: If there is no such treatment, or its number is missing or not above 0.
    """
    known, _, number = name.partition("-")
    if known not in TREATMENTS:
        raise InputError(f"treatment: no {known!r}; {nearest(known, TREATMENTS)}")
    try:
        size = float(number or (1 if known == "none" else 0))
    except ValueError:
        size = 0.0
    if not 0 < size < inf or (known == "none" and number):
        raise InputError(f"treatment: got {name!r}; write {known if known == 'none' else f'{known}-0.1'}")
    return Treatment() if known == "none" else Treatment(**{TREATMENTS[known]: size})


def label(name: str) -> str:
    """A treatment for people."""
    known, _, number = name.partition("-")
    return f"{LABELS[known]} {number}".strip()
