"""The command line: ``signalprop`` and ``python -m signalprop``.

Arguments are parsed before JAX is imported; bad input is one line on stderr and exit code 2.
"""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from signalprop.bench.cli.arguments import COMMANDS, Run, parse, parse_known
from signalprop.bench.engine.errors import InputError, Interrupted, StoreError, nearest
from signalprop.models.lookup import Unusable


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 store or strict failure, 2 bad input, 130 interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    sys.path.append(str(Path.cwd()))  # where module:name of the user's own is looked for
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell's background jobs inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = dispatch(args)
    except (InputError, Unusable) as error:
        code = _complain(error, 2)
    except StoreError as error:
        code = _complain(error, 1)
    except (Interrupted, KeyboardInterrupt):
        code = _complain(
            f"interrupted; finished chunks are stored, resume with: signalprop {shlex.join(args)}", 130
        )
    except BrokenPipeError:  # the reader of a pipe such as `| head` went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def dispatch(args: list[str]) -> int:
    """Parse the command and run it; returns the exit code."""
    if not args or args[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if args[0] == "--version":
        from signalprop import __version__

        print(__version__)
        return 0
    name, rest = args[0], args[1:]
    if name not in COMMANDS:
        raise InputError(f"no command {name!r}; {nearest(name, COMMANDS)}")
    from signalprop.bench.cli import commands

    if name == "run":
        wanted = [word for word in rest if word not in ("-h", "--help")]
        if wanted != rest and (named := parse_known(Run, wanted, prog="signalprop run")[0].names):
            return commands.run_help(named[0])
        options, axes = parse_known(Run, rest, prog="signalprop run")
        return commands.run(options, axes)
    if name == "theory":
        return commands.theory(rest)
    command: Callable[[Any], int] = getattr(commands, name)
    return command(parse(COMMANDS[name], rest, prog=f"signalprop {name}"))


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {(kind.__doc__ or '').splitlines()[0]}" for name, kind in COMMANDS.items()]
    return "\n".join(
        ["signalprop: why gradients vanish or explode, measured beside theory", "", *lines, "",
         "signalprop COMMAND --help says more; start with: signalprop reproduce"]
    )  # fmt: skip


def _complain(message: object, code: int) -> int:
    print(f"signalprop: {' '.join(str(message).split())}", file=sys.stderr)
    return code
