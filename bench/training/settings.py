"""What settings of training experiments may say, known and checked without JAX.

The tables behind the names stand in ``optimizers``, ``classification``, ``tasks`` and ``flossing``; a test
holds every table to its names.
"""

import math
from collections.abc import Collection

from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.engine.grid import require_values
from signalprop.bench.measure.names import INPUTS

OPTIMIZERS = ("sgd", "heavy_ball", "nesterov", "adagrad", "rmsprop", "adam")
PROBLEMS = ("gm10", "gm10_plus", "gm10_plus_centred")
TASKS = ("adding", "adding_1997", "temporal_order", "copying", "digits_rows", "digits_pixels")
SCHEDULES = ("none", "before", "during")  # of flossing
FLOSSED = ("gaussian", "clipped", "critical", "orthogonal")  # how a network begins that is flossed
RECORDS = 10  # bisection counts the accuracy over the last of so many equal parts of the steps


def require_optimizers(names: Collection[str]) -> None:
    """Raise InputError for the first unknown name; the message gives the nearest one."""
    require_values("optimizer", names)
    for name in names:
        if name not in OPTIMIZERS:
            raise InputError(f"optimizer: no {name!r}; {nearest(name, OPTIMIZERS)}")


def require_learning_rates(rates: Collection[float], axis: str = "learning_rate") -> None:
    """Raise InputError, naming the axis, unless there are rates and all are finite and above 0."""
    require_values(axis, rates)
    for rate in rates:
        if not (math.isfinite(rate) and rate > 0):
            raise InputError(f"{axis}: got {rate}; write finite rates above 0")


def require_problem(name: str) -> None:
    """Raise InputError unless this is a classification problem: a mixture of ``PROBLEMS`` or a data set."""
    known = (*PROBLEMS, *INPUTS[1:])
    if name not in known:
        raise InputError(f"data: no {name!r}; {nearest(name, known)}")


def require_top(top: int) -> None:
    """Raise InputError unless ``top + 1`` is a power of two above 1."""
    if top < 1 or top & (top + 1):
        raise InputError(f"top: got {top}; write one less than a power of two, as 31 or 63")


def task_and_length(name: str) -> tuple[str, int]:
    """The two parts of a name like ``adding-50``; the length of digits is 0.

    Raises:
        InputError: If there is no such task, or its length is missing or no number.
    """
    known, _, length = name.partition("-")
    if known not in TASKS:
        raise InputError(f"task: no {known!r}; {nearest(known, TASKS)}")
    if known.startswith("digits") != (not length) or not (length.isdigit() or not length):
        wanted = known if known.startswith("digits") else f"{known}-50"
        raise InputError(f"task: got {name!r}; write {wanted}")
    return known, int(length or 0)
