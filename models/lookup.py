"""Find something by its name: in a literal table, or in a user's module as ``module:name``."""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")
OWN = ("activation", "scheme", "cell", "experiment")  # of which a user may give her own, as module:name


class Unusable(ValueError):
    """A name that is not known, or a user's own callable that cannot be used: which, why, what to write."""


def named(kind: str, name: str, table: Mapping[str, T]) -> T:
    """Look a name up in a table.

    Args:
        kind: What the table holds, for the message.
        name: The name asked for.
        table: The known names.

    Raises:
        Unusable: If the name is unknown; the message gives the nearest one.
    """
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name.lower(), table, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"write one of {', '.join(table)}"
    raise Unusable(f"unknown {kind} {name!r}: {hint}{own_form(kind)}")


def own_form(kind: str) -> str:
    """How one of a user's own is written, for the end of a message; empty where there can be none."""
    return " (one of your own: module:name)" if kind.lstrip("-") in OWN else ""


def imported(kind: str, spec: str, ready: type | None = None) -> Any:
    """Import what ``module:name`` names, a callable or an instance of the class that is wanted.

    Args:
        kind: What is expected, for the message.
        spec: An importable module and an attribute of it, joined by a colon.
        ready: Class whose instances are accepted although they are not callable.

    Raises:
        Unusable: If the module cannot be imported or lacks the attribute, or if the attribute is neither.
    """
    module_name, _, attribute = spec.partition(":")
    if "/" in module_name or module_name.endswith(".py"):
        name = module_name.removesuffix(".py").rpartition("/")[2]
        where = f", in the folder of {module_name}" if "/" in module_name else ""
        raise Unusable(f"{kind} {spec!r} is a file: write {name}:{attribute or 'name'}{where}")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's code raises
        said = error if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        absent = isinstance(error, ModuleNotFoundError) and module_name.startswith(error.name or " ")
        hint = "; write the name of a file in this folder or of an installed module" if absent else ""
        raise Unusable(f"{kind} {spec!r}: cannot import {module_name!r} ({said}){hint}") from error
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, dir(module), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "write module:name"
        raise Unusable(f"{kind} {spec!r}: {module_name} has no {attribute!r}; {hint}")
    found = getattr(module, attribute)
    if not (callable(found) or (ready and isinstance(found, ready))):
        raise Unusable(f"{kind} {spec!r} is not callable: write module:name of a callable")
    return found
