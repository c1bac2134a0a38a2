"""What a computation costs: operations as XLA counts them, never a clock."""

from collections.abc import Callable
from typing import Any

import jax


def operations(program: Callable[..., Any], *inputs: Any) -> tuple[float, float]:
    """Arithmetic and transcendental operations of one call, before XLA's simplifications.

    The counts do not depend on the machine or its load, and say nothing about memory traffic.

    Args:
        program: A function of arrays; it is traced, not run.
        inputs: Its arguments, as arrays or as their shapes and dtypes.
    """
    found: Any = jax.jit(program).lower(*inputs).cost_analysis()
    return float(found.get("flops", 0.0)), float(found.get("transcendentals", 0.0))
