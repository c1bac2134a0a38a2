"""What can go wrong outside the mathematics; the command line turns each into one line and an exit code."""


class InputError(ValueError):
    """A setting that cannot be used: which one, what was given, and what to write instead (exit code 2)."""


class StoreError(Exception):
    """A store that cannot be used or written: what happened and what to do (exit code 1)."""


class Interrupted(Exception):
    """The sweep stopped after a finished chunk; the same command resumes it (exit code 130)."""
