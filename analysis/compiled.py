"""Functions compiled whole: one program where each operation would be compiled by itself."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax

F = TypeVar("F", bound=Callable[..., Any])


def compiled(*static: str) -> Callable[[F], F]:
    """Do as ``jax.jit`` with these static arguments does, and keep the function's types."""

    def whole(f: F) -> F:
        return cast(F, jax.jit(f, static_argnames=static))

    return whole
