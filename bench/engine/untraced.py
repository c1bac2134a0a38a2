"""Constants that a function needs while JAX traces it, computed as they would be outside."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def untraced(compute: Callable[[], T]) -> T:
    """What ``compute`` returns, computed at once also where a caller is being traced.

    A trace belongs to its thread, so another thread has none. ``jax.ensure_compile_time_eval`` would compile
    every operation by itself, also inside ``jax.jit``.
    """
    with ThreadPoolExecutor(1) as other:
        return other.submit(compute).result()
