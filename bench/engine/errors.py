"""What can go wrong outside the mathematics; the command line turns each into one line and an exit code."""

import difflib
from collections.abc import Collection


class InputError(ValueError):
    """A setting that cannot be used: which one, what was given, and what to write instead (exit code 2)."""


class StoreError(Exception):
    """A store that cannot be used or written: what happened and what to do (exit code 1)."""


class Interrupted(Exception):
    """The sweep stopped after a finished chunk; the same command resumes it (exit code 130)."""


def nearest(name: str, known: Collection[str]) -> str:
    """The hint at the end of an error about a name: the nearest known one, or all of them.

    Example:
        >>> nearest("sigmiod", ["sigmoid", "tanh"])
        'did you mean sigmoid?'
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else "choose from " + ", ".join(known)
