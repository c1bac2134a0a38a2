"""Functions compiled whole: one program where each operation would be compiled by itself."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import jax

F = TypeVar("F", bound=Callable[..., Any])


def compiled(*static: str) -> Callable[[F], F]:
    """Do as ``jax.jit`` with these static arguments does, and keep the function's types.

    A static argument that is traced, or cannot be hashed, is refused by its name in a ValueError.
    """

    def whole(f: F) -> F:
        program = jax.jit(f, static_argnames=static)
        places = {name: list(inspect.signature(f).parameters).index(name) for name in static}

        @wraps(f)
        def checked(*args: Any, **kwargs: Any) -> Any:
            for name, place in places.items():
                _require_static(name, args[place] if place < len(args) else kwargs.get(name))
            return program(*args, **kwargs)

        return cast(F, checked)

    return whole


def _require_static(name: str, value: Any) -> None:
    """Raise ValueError unless a value is known when a program is made, and can be looked up."""
    if isinstance(value, jax.core.Tracer):
        raise ValueError(
            f"{name}: got a traced value; write one that is known beforehand, in a loop in place of vmap"
        )
    try:
        hash(value)
    except TypeError:
        given = f"{type(value).__module__}.{type(value).__name__}"
        why = f"{name}: got a {given}, which has no hash; write a function, name or number"
        raise ValueError(why) from None
