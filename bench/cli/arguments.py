"""What can be typed: the options of every command as a dataclass, and how words become one of them."""

import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from signalprop.bench.engine import machine
from signalprop.bench.engine.errors import InputError, nearest

T = TypeVar("T")
Names = tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME ...]")]]
NUMBERS = ConstructorRegistry()
# what tyro and Python say of a word that is no number
UNREAD = (
    r"(?:Could not find valid parse for arguments|could not convert string to float|"
    r"invalid literal for int\(\) with base 10): \[?(.*?)\]?$"
)


@dataclass(frozen=True)
class Run:
    """Run experiments: measure what is missing, then draw and judge.

    Every field of an experiment's settings is an option too: its axes, seed and dtype, such as
    --activation tanh relu --sigma-w 0.5 1 --seeds 20. --dry-run shows them.
    """

    names: Names
    """Experiments, as `signalprop list` shows them."""
    size: Literal["quick", "standard", "full"] = "quick"
    """How large."""
    device: Literal["best", "cpu", "gpu", "tpu"] = "best"
    """Where to compute."""
    jobs: int = field(default_factory=machine.usual_jobs)
    """Processes at once on this machine: one per core of a CPU, one for accelerators."""
    scheduler: str = field(default_factory=lambda: os.environ.get("SIGNALPROP_SCHEDULER", ""))
    """Address of a Dask scheduler whose workers compute instead; SIGNALPROP_SCHEDULER by default."""
    out: Path = Path("results")
    """Folder of stores, figures and verdicts."""
    dry_run: bool = False
    """Only say how many points and programs it is and what it costs."""
    fresh: bool = False
    """Remove the stored run of these settings first."""
    strict: bool = False
    """Exit with 1 if a verdict disagrees."""
    shard: str = "0/1"
    """i/n computes only every n-th chunk from the i-th, for a job array on one store."""


@dataclass(frozen=True)
class Reproduce:
    """Run every experiment, then write the report. Resumes where it stopped."""

    size: Literal["quick", "standard", "full"] = "quick"
    """How large."""
    only: tuple[str, ...] = ()
    """Only these experiments."""
    device: Literal["best", "cpu", "gpu", "tpu"] = "best"
    """Where to compute."""
    jobs: int = field(default_factory=machine.usual_jobs)
    """Processes at once on this machine: one per core of a CPU, one for accelerators."""
    scheduler: str = field(default_factory=lambda: os.environ.get("SIGNALPROP_SCHEDULER", ""))
    """Address of a Dask scheduler whose workers compute instead; SIGNALPROP_SCHEDULER by default."""
    out: Path = Path("results")
    """Folder of stores, figures and verdicts."""
    fresh: bool = False
    """Remove the stored runs first."""
    strict: bool = False
    """Exit with 1 if a verdict disagrees."""


@dataclass(frozen=True)
class Figures:
    """Redraw figures and verdicts from stored results; nothing is recomputed.

    With --format, --width or --dpi only the figures are drawn, into the folder print beside the others.
    """

    names: Names = ()
    """Experiments, or the stores of single runs (results/runs/NAME-....zarr); all if none is named."""
    out: Path = Path("results")
    """Folder of stores, figures and verdicts."""
    format: tuple[Literal["png", "svg", "pdf"], ...] = ()
    """Formats for a paper or a talk; fonts of PDF are TrueType."""
    width: float = 0.0
    """Inches; 3.4 is a column of many journals. As on the page if left out."""
    dpi: int = 0
    """Dots per inch of a PNG. As on the page if left out."""


@dataclass(frozen=True)
class Report:
    """Write the table of claims and the self-contained page from the verdicts and figures in a folder."""

    folder: Path = Path("results")
    """Folder with one subfolder per experiment."""
    open: bool = False
    """Show the page in a browser."""


@dataclass(frozen=True)
class Compare:
    """Compare two stored runs of one experiment: settings, verdicts, and every number in standard errors."""

    runs: Names
    """Two stores (results/runs/NAME-....zarr), or experiments for their runs at the given size."""
    size: Literal["quick", "standard", "full"] = "quick"
    """Of a run that is given by its experiment."""
    out: Path = Path("results")
    """Folder of stores, figures and verdicts."""
    json: bool = False
    """For machines."""


@dataclass(frozen=True)
class Clean:
    """List stored runs, leftovers and compiled programs with sizes and ages, and remove what is named.

    Figures, tables and verdicts stay, whatever is removed.
    """

    what: Names = ()
    """runs, unfinished, partial, errors, cache, an experiment or stores; without one all are listed."""
    out: Path = Path("results")
    """Folder of stores, figures and verdicts."""
    yes: bool = False
    """Do not ask."""


@dataclass(frozen=True)
class List:
    """The experiments by chapter, one line each: question and state of the stored result."""

    out: Path = Path("results")
    """Folder of stores, figures and verdicts."""


@dataclass(frozen=True)
class Diagnose:
    """Measure how gradients flow through a network of yours, beside theory, and name what is wrong with it.

    TARGET is package.module:factory; factory() returns a model, or (model, batch), or (model, batch, loss). A
    model is an nnx.Module, (linen module, variables) or (function, params). Exit code 0 fine, 1 broken.
    """

    target: tyro.conf.Positional[str]
    """What makes the model, as package.module:factory."""
    data: Path | None = None
    """An .npz file with the batch: its arrays in their order, one alone as itself."""
    loss: str = ""
    """Loss of (model, batch), as package.module:function."""
    json: bool = False
    """Everything, for machines."""
    figure: Path | None = None
    """File to draw to: .png, .svg or .pdf."""
    full: bool = False
    """Show every layer by itself."""


@dataclass(frozen=True)
class Theory:
    """Print what theory predicts for given parameters, as a table or as JSON.

    signalprop theory TOPIC --help shows the parameters of a topic.
    """

    json: bool = False
    """For machines."""


@dataclass(frozen=True)
class Info:
    """Devices, versions, caches and where results are."""


COMMANDS: dict[str, type] = {
    "list": List,
    "run": Run,
    "reproduce": Reproduce,
    "figures": Figures,
    "report": Report,
    "compare": Compare,
    "clean": Clean,
    "diagnose": Diagnose,
    "theory": Theory,
    "info": Info,
}


def parse(kind: type[T], args: Sequence[str], *, prog: str, default: T | None = None) -> T:
    """Parse arguments into a dataclass.

    Raises:
        InputError: One line that names the argument, what was given and what to write.
    """
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    options = {f"--{f.name.replace('_', '-')}": str(f.type) for f in fields}
    known = [option for option, of in options.items() if "Positional" not in of]
    command = prog.removeprefix("signalprop ")
    if args and not args[0].startswith("-") and len(known) == len(options):
        hint = f"write options: {', '.join(known)}" if known else "it takes none"
        raise InputError(f"{command}: got {args[0]!r}; {hint}")
    for word in args:
        option = word.partition("=")[0].replace("_", "-")
        option = re.sub(r"^--no-", "--", option)
        if option.startswith("--") and option not in [*known, "--help"]:
            hint = nearest(option, known) if known else "it has none"
            if option in options:
                hint = f"write its values right after the command, as in {prog} VALUE"
            raise InputError(f"{command}: no option {option}; {hint}")
    parsed: T = _quietly(partial(tyro.cli, kind, args=args, prog=prog, default=default, registry=NUMBERS))
    return parsed


def parse_known(kind: type[T], args: Sequence[str], *, prog: str) -> tuple[T, list[str]]:
    """Parse the options of ``kind`` and return what is left for the experiments' settings."""
    parsed: tuple[T, list[str]] = _quietly(
        partial(tyro.cli, kind, args=args, prog=prog, return_unknown_args=True, registry=NUMBERS)
    )
    return parsed


def settled(default: T, chosen: T) -> T:
    """Settings with their numbers in the types that their class declares, so that 1 and 1.0 name one run.

    What equals the default is the default itself: its run has a name already.
    """
    hints = get_type_hints(type(default))
    names = [f.name for f in dataclasses.fields(default)]  # type: ignore[arg-type]
    pairs = {name: (getattr(default, name), getattr(chosen, name)) for name in names}
    changes = {name: _typed(hints[name], new) for name, (old, new) in pairs.items() if new != old}
    return dataclasses.replace(default, **changes)  # type: ignore[type-var]


def _typed(hint: Any, value: Any) -> Any:
    """A value, or each of a tuple, as the number that a type hint asks for; whatever cannot be is left."""
    kinds = get_args(hint) or (hint,)
    if isinstance(value, tuple) and get_origin(hint) is tuple:
        each = kinds if len(kinds) == len(value) and ... not in kinds else kinds[:1] * len(value)
        return tuple(map(_typed, each, value))
    if type(value) is int and float in kinds and int not in kinds:
        return float(value)
    whole = type(value) is float and value.is_integer()
    return int(value) if whole and int in kinds and float not in kinds else value


@NUMBERS.primitive_rule
def _fractions(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[float] | None:
    """Floats are read with `_number`, wherever they stand."""
    if info.type is not float:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="FLOAT",
        instance_from_str=lambda words: _number(words[0]),
        is_instance=lambda value: isinstance(value, (int, float)),
        str_from_instance=lambda value: [str(value)],
    )


def _number(word: str) -> float:
    """A number, or a fraction such as 1/3."""
    over, slash, under = word.partition("/")
    try:
        return float(over) / float(under) if slash else float(word)
    except ZeroDivisionError as error:
        raise ValueError(f"got {word!r}") from error


def _quietly(call: Callable[[], Any]) -> Any:
    said, help_text = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(help_text):
            return call()
    except SystemExit as stop:
        if not stop.code:
            print(help_text.getvalue(), end="")
            raise
        raise InputError(_one_line(said.getvalue())) from None


def _one_line(box: str) -> str:
    """The message inside tyro's box, with the option as it is typed and the form it takes."""
    lines = [line.strip(" │╭╮╰╯") for line in box.splitlines()]
    rules = [i for i, line in enumerate(lines) if line and not line.strip("-─")]
    body = " ".join(lines[rules[0] + 1 : rules[1]]) if len(rules) > 1 else " ".join(lines)
    body = re.sub(r"^Error parsing \w+: (\w+):", lambda m: f"--{m[1].replace('_', '-')}:", body)
    body = re.sub(r"^Error parsing ", "", body)
    body = re.sub(UNREAD, r"got \1", body)
    form = next((line for line in lines if re.match(r"--[\w-]+ [\[{A-Z]", line)), None)
    return f"{body}; write {form}" if form and "write" not in body else body
