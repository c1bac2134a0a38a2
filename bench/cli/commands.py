"""What each command does, after its arguments are parsed."""

import builtins
import dataclasses
import json
import math
import os
import sys
import warnings
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from signalprop.bench import pool, steps
from signalprop.bench.cli import arguments
from signalprop.bench.engine import machine
from signalprop.bench.engine.errors import InputError, StoreError, nearest
from signalprop.bench.experiment import Experiment
from signalprop.bench.experiments import CHAPTERS, EXPERIMENTS, find
from signalprop.models.lookup import Unusable, own_form

console = Console(highlight=False, soft_wrap=True)
WIDEST = 2**14  # pixels of a drawn figure; Matplotlib takes no more than four times as many


def run(options: arguments.Run, axes: Sequence[str]) -> int:
    """``signalprop run``."""
    if not options.names:
        raise InputError(f"run: got no experiment; write at least one of {', '.join(EXPERIMENTS)}")
    check_names(options.names)
    shard = _shard(options.shard)
    os.environ.update(machine.environment(_platform(options.device)))  # a user's own file may import JAX
    chosen = [(e, _settings(e, options.size, axes)) for e in map(find, options.names)]
    if options.dry_run:
        machine.start(_platform(options.device))
        for experiment, settings in chosen:
            try:
                _show_plan(experiment, settings)
            except (InputError, StoreError, Unusable):
                raise
            except Exception as error:  # whatever a user's code raises
                why = f"{type(error).__name__}: {error}; without --dry-run its traceback is kept"
                raise StoreError(f"{experiment.name}: {why}") from error
        return 0
    tasks = [
        steps.Task(e.origin or e.name, settings, options.out, shard, options.fresh) for e, settings in chosen
    ]
    return exit_code(run_all(tasks, options), options.strict)


def run_help(name: str) -> int:
    """``signalprop run NAME --help``: the settings of an experiment, which are options too."""
    experiment = find(name)
    lead = "Its settings, beside the options of every run (signalprop run --help):"
    print(f"{experiment.question}\n\n{lead}\n")
    _settings(experiment, "quick", ["--help"])
    return 0


def reproduce(options: arguments.Reproduce) -> int:
    """``signalprop reproduce``."""
    check_names(options.only)
    from signalprop.bench.record import report as page

    names = options.only or EXPERIMENTS
    tasks = [steps.Task(name, options.size, options.out, fresh=options.fresh) for name in names]
    ended = run_all(tasks, options)
    folder = options.out / "quick" if options.size == "quick" else options.out
    if any((folder / name / "verdicts.json").exists() for name in EXPERIMENTS):
        for path in page.write(folder):
            console.print(f"wrote {path}")
    return exit_code(ended, options.strict)


def figures(options: arguments.Figures) -> int:
    """``signalprop figures``."""
    for name, value in (("--width", options.width), ("--dpi", options.dpi)):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name}: got {value}; write a number above 0")
    machine.start("cpu")
    from signalprop.bench import pipeline
    from signalprop.bench.record import figures as house
    from signalprop.bench.record.verdict import Outcome

    look = (options.width or house.WIDTH, options.dpi or house.STYLE["savefig.dpi"])
    if (pixels := look[0] * look[1]) > WIDEST:
        raise InputError(
            f"--width, --dpi: got {look[0]:g} and {look[1]}, {pixels:.0f} pixels; write at most {WIDEST}"
        )
    paths, failed = _stored(options), []
    for path in paths:
        try:
            experiment, settings = _run_of(path)
            folder = pipeline.result_folder(experiment, settings, path)
            if options.format or options.width or options.dpi:
                to, kinds = folder / "print", options.format or house.KINDS
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    drawn = pipeline.redraw(experiment, path, to, kinds, *look)
                tight = any("constrained_layout not applied" in str(one.message) for one in said)
                hint = "; not all fit in this width, write a larger --width" * tight
                console.print(f"{experiment.name}: {len(drawn)} files in {to}{hint}")
            else:
                verdicts = pipeline.draw(experiment, path, folder)
                _say_outcome(experiment.name, Outcome(path, folder, verdicts))
        except StoreError as error:
            failed.append(path)
            _complain(str(error))
        except (InputError, Unusable):
            raise
        except Exception as error:  # of a user's own experiment, or of settings that no figure is made for
            failed.append(path)
            _complain(f"{path.name} cannot be drawn ({type(error).__name__}: {error})")
    if failed and len(failed) == len(paths):
        raise StoreError("nothing was drawn")
    return 1 if failed else 0


def _stored(options: arguments.Figures) -> builtins.list[Path]:
    """The runs that are meant: of the named experiments, or the named stores; all if none is named."""
    stores = [Path(name) for name in options.names if _is_store(name)]
    named = [name for name in options.names if not _is_store(name)]
    runs = {path: path.stem.rpartition("-")[0] for path in sorted((options.out / "runs").glob("*.zarr"))}
    check_names([name for name in named if name not in runs.values()])
    if any(":" in name for name in named):
        from signalprop.bench.engine import store

        runs |= {path: store.described(path)[0] for path, name in runs.items() if name not in EXPERIMENTS}
    if named or not stores:
        stores += [path for path, name in runs.items() if name in named or not named]
    if not stores:
        raise StoreError(f"no stored run under {options.out / 'runs'}; start with: signalprop reproduce")
    return stores


def _is_store(name: str) -> bool:
    """Whether a name is meant as the path of a store and not as an experiment."""
    return name.endswith(".zarr") or os.sep in name


def _run_of(path: Path) -> tuple[Experiment, Any]:
    """The experiment and the settings of a stored run."""
    from signalprop.bench.engine import store

    name, stored = store.described(path)
    try:
        experiment = find(name)
    except InputError as error:
        raise StoreError(f"{path}: {error}") from error
    kind = type(experiment.sizes["quick"])
    try:
        return experiment, kind(**stored)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path} has settings that cannot be used now ({error}); run it again") from error


def report(options: arguments.Report) -> int:
    """``signalprop report``."""
    from signalprop.bench.record import report as page

    paths = page.write(options.folder)
    for path in paths:
        console.print(f"wrote {path}")
    if options.open:
        webbrowser.open(paths[-1].resolve().as_uri())
    return 0


def compare(options: arguments.Compare) -> int:
    """``signalprop compare``."""
    if len(options.runs) != 2:
        given = " ".join(options.runs) or "nothing"
        raise InputError(f"compare: got {given}; write two stores or experiments")
    check_names([name for name in options.runs if not _is_store(name)])
    machine.start("cpu")
    from signalprop.bench import pipeline
    from signalprop.bench.engine import store
    from signalprop.bench.record.comparison import comparison

    def path(name: str) -> Path:
        if _is_store(name):
            return Path(name)
        experiment = find(name)
        return pipeline.run_path(options.out, experiment, experiment.sizes[options.size])

    paths = [path(name) for name in options.runs]
    names = [store.described(path)[0] for path in paths]
    if names[0] != names[1]:
        raise InputError(f"compare: got runs of {names[0]} and {names[1]}; write two runs of one experiment")
    experiment, (a, b) = _run_of(paths[0])[0], map(store.load, paths)
    found = comparison(a, b, experiment.verdicts(a), experiment.verdicts(b))
    if options.json:
        print(found.as_json())
    else:
        console.print(f"A: {paths[0]}\nB: {paths[1]}\n{found.as_text()}", markup=False)
    return 0


def clean(options: arguments.Clean) -> int:
    """``signalprop clean``."""
    from signalprop.bench.cli import leftovers

    found = leftovers.leftovers(options.out)
    named = leftovers.chosen(found, options.what)
    for kind, meaning in leftovers.KINDS.items():
        some = [one for one in (named if options.what else found) if one.kind == kind]
        if some:
            console.print(f"{kind}: {meaning}, {leftovers.total(some)}")
        for one in some:
            console.print(str(one), markup=False)
    if not named:
        hint = "signalprop clean NAME removes a kind of these, the runs of an experiment, or a store"
        console.print("nothing to remove" if options.what else hint)
        return 0
    if not (options.yes or sys.stdin.isatty()):
        raise InputError("clean: there is no terminal to ask at; write --yes to remove these")
    if not options.yes and not _agreed(f"remove {leftovers.total(named)}? [y/N] "):
        return 1
    for one in named:
        leftovers.remove(one)
    console.print(f"removed {leftovers.total(named)}")
    return 0


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def list(options: arguments.List) -> int:
    """``signalprop list``."""
    out = Console(highlight=False)
    for title, questions in CHAPTERS.items():
        table = Table(box=None, pad_edge=False, show_header=False, title=title, title_justify="left")
        table.add_column(min_width=max(map(len, EXPERIMENTS)))
        table.add_column(ratio=1)
        table.add_column()
        for name, question in questions.items():
            table.add_row(name, question, _state(options.out / name / "verdicts.json"))
        out.print(table, "")
    out.print("One of your own, from a file of this folder: signalprop run mymodule:EXPERIMENT", markup=False)
    return 0


def _state(verdicts: Path) -> str:
    """How many of the stored verdicts agree with theory, disagree, or have none."""
    if not verdicts.exists():
        return "no result"
    agreements = [verdict["agreement"] for verdict in json.loads(verdicts.read_text())]
    return ", ".join(f"{agreements.count(a)} {a}" for a in sorted(set(agreements)))


def diagnose(options: arguments.Diagnose) -> int:
    """``signalprop diagnose``."""
    from signalprop.bench.cli.target import opened

    model, batch, loss = opened(options.target, options.data, options.loss)
    from signalprop.bench.diagnosis.diagnose import DiagnoseError
    from signalprop.bench.diagnosis.diagnose import diagnose as measure
    from signalprop.bench.diagnosis.text import screen

    try:
        report = measure(model, batch, loss)
    except DiagnoseError as error:
        raise InputError(str(error)) from error
    if options.json:
        print(report.json())
    else:
        print(screen(report, width=console.width if sys.stdout.isatty() else 120, full=options.full))
    if options.figure is not None:
        report.figure().savefig(options.figure)
        print(f"wrote {options.figure}", file=sys.stderr)
    return 0 if report.cause == "fine" else 1


def theory(args: Sequence[str]) -> int:
    """``signalprop theory``."""
    from signalprop.bench.theory.topics import TOPICS, find_options

    topic, *rest = args or [""]
    if topic in ("-h", "--help"):
        width = max(map(len, TOPICS))
        lines = [f"  {name:{width}}  {listed.predicts}" for name, listed in TOPICS.items()]
        print("\n".join(["usage: signalprop theory TOPIC [--json] [PARAMETERS]", "", *lines]))
        return 0
    if topic not in TOPICS:
        given = f"no topic {topic!r}" if topic else "got no topic"
        raise InputError(f"theory: {given}; {nearest(topic, TOPICS)}")
    machine.start("cpu")
    parameters = [word for word in rest if word != "--json"]
    options = arguments.parse(find_options(topic), parameters, prog=f"signalprop theory {topic}")
    prediction = options.predict()
    as_json = len(parameters) < len(rest)
    print(prediction.as_json(dataclasses.asdict(options)) if as_json else prediction.as_text())
    return 0


def info(options: arguments.Info) -> int:
    """``signalprop info``."""
    del options
    import os

    machine.start()
    import jax
    import jax.numpy as jnp

    from signalprop.analysis.eigenvalues import routine

    commit, dirty = machine.commit()
    rows = {
        "devices": ", ".join(f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()),
        "memory": f"{machine.available_memory(jax.devices()[0]) / 2**30:.1f} GiB available",
        "versions": ", ".join(f"{k} {v}" for k, v in machine.versions().items()),
        "commit": commit + (" with changes" if dirty else ""),
        "64-bit": str(jnp.zeros(0).dtype == "float64"),
        "BLAS threads": os.environ["OPENBLAS_NUM_THREADS"],
        "eigenvalues": routine(jax.default_backend()),
        "program cache": os.environ["JAX_COMPILATION_CACHE_DIR"],
        "results": str(Path("results").resolve()),
    }
    for name, value in rows.items():
        console.print(f"{name:14} {value}")
    return 0


def _platform(device: str) -> str | None:
    return None if device == "best" else device


def check_names(names: Sequence[str]) -> None:
    """Raise InputError for the first name that no experiment has; ``module:name`` is left to ``find``."""
    for name in names:
        if ":" not in name and name not in EXPERIMENTS:
            hint = nearest(name, EXPERIMENTS) + own_form("experiment")
            raise InputError(f"no experiment {name!r}; {hint}")


def _settings(experiment: Experiment, size: str, axes: Sequence[str]) -> Any:
    default = experiment.sizes[size]
    prog = f"signalprop run {experiment.name}"
    return arguments.settled(default, arguments.parse(type(default), axes, prog=prog, default=default))


def _shard(text: str) -> tuple[int, int] | None:
    first, slash, step = text.partition("/")
    if not (slash and first.isdigit() and step.isdigit() and int(first) < int(step)):
        raise InputError(f"--shard: got {text}; write i/n with i from 0 to n-1, such as 0/4")
    return (int(first), int(step)) if int(step) > 1 else None


def run_all(
    tasks: Sequence[steps.Task], options: arguments.Run | arguments.Reproduce
) -> Sequence[steps.Finished]:
    """Run experiments in a pool of workers; a process of a pod of accelerators works itself."""
    _check_jobs(options.jobs)
    _check_writable(options.out)
    ended: builtins.list[steps.Finished] = []

    def finished(found: steps.Finished) -> None:
        ended.append(found)
        if not (found.error and len(tasks) == 1):
            _say(found)

    with _bars() as tell:
        engage = partial(_workers(options), _platform(options.device), tell)
        pool.run_all(tasks, options.jobs, engage, finished, console.print)
    return ended


def exit_code(ended: Sequence[steps.Finished], strict: bool) -> int:
    """0, or 1 if ``strict`` and a verdict disagrees.

    Raises:
        InputError, StoreError: If an experiment failed, in one line.
    """
    failed = [found for found in ended if found.error]
    if failed:
        several = f"{len(failed)} of {len(ended)} experiments failed: {', '.join(f.name for f in failed)}"
        kind = InputError if all(found.bad_input for found in failed) else StoreError
        raise kind(several if len(ended) > 1 else failed[0].error)
    return 1 if strict and any(found.outcome and found.outcome.disagreements for found in ended) else 0


def _workers(options: arguments.Run | arguments.Reproduce) -> Callable[..., Any]:
    """Who computes: a cluster, this process as one of a pod of accelerators, or processes of this machine."""
    if options.scheduler:
        from signalprop.bench.cluster import cluster

        return partial(cluster, options.scheduler, options.out)
    return pool.here if "JAX_COORDINATOR_ADDRESS" in os.environ else pool.processes


def _check_jobs(jobs: int) -> None:
    fit = machine.possible_jobs()
    if jobs < 1:
        raise InputError(f"--jobs: got {jobs}; write a whole number of at least 1")
    if jobs > fit:
        raise InputError(f"--jobs: got {jobs}, and memory is left for {fit}; write at most {fit}")


def _check_writable(out: Path) -> None:
    try:
        (out / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"--out: cannot write {out} ({error.strerror}); name a folder you own") from error


@contextmanager
def _bars() -> Iterator[Callable[[steps.Progress], None]]:
    """A bar per worker with its experiment, static case and chunks; silent where there is no terminal.

    The bars share the console of the lines about finished experiments, which would tear them otherwise.
    """
    if not console.is_terminal:
        yield lambda state: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[int, TaskID] = {}
    with Progress(*columns, console=console, transient=True) as live:

        def tell(state: steps.Progress) -> None:
            if state.worker not in bars:
                bars[state.worker] = live.add_task("", total=None)
            bar, doing = bars[state.worker], state.case or "" if state.total else "is traced and compiled"
            text = f"{state.name} {doing}"
            live.update(bar, description=text, completed=state.done, total=state.total or None)
            live.update(bar, visible=bool(state.name))

        yield tell


def _complain(message: str) -> None:
    print(f"signalprop: {' '.join(message.split())}", file=sys.stderr)  # not torn by bars, unlike a console's


def _say(found: steps.Finished) -> None:
    if found.error:
        _complain(f"{found.name} failed: {found.error}")
        return
    if found.stale:
        console.print(f"{found.name}: stored by other code than this; --fresh computes it again")
    if found.edited:
        console.print(
            f"{found.name}: {', '.join(found.edited)} changed since an earlier run; this is a new one"
        )
    if found.outcome is None:
        console.print(f"{found.name}: this share is stored; others still have chunks to compute")
    else:
        _say_outcome(found.name, found.outcome, found.seconds)


def _say_outcome(name: str, outcome: Any, seconds: float | None = None) -> None:
    wrong = outcome.disagreements
    took = "" if seconds is None else f" in {seconds:.1f} s"
    judged = [v for v in outcome.verdicts if v.agreement != "no theory"]
    alone = len(outcome.verdicts) - len(judged)
    console.print(
        f"{name}: {len(judged) - len(wrong)} of {len(judged)} verdicts agree with theory"
        f"{f', {alone} measurements stand alone' * bool(alone)}{took}; figures in {outcome.folder}"
    )
    if not judged:
        from signalprop.bench.engine import store
        from signalprop.bench.record.verdict import why_unjudged

        console.print(f"  no verdict: {why_unjudged(store.load(outcome.run))}")
    for v in wrong:
        console.print(f"  disagrees: {v.statement} predicted {v.predicted:.4g}, measured {v.measured:.4g}")


def _show_plan(experiment: Experiment, settings: Any) -> None:
    from signalprop.bench.engine.plan import plan
    from signalprop.bench.engine.programs import Programs

    cost = plan(Programs(experiment, settings))
    programs = f"{cost.programs} program{'s' * (cost.programs > 1)}"
    disk = math.ceil(cost.disk / 2**20 * 10) / 10
    console.print(
        f"{experiment.name}: {cost.points} points, {programs} of {cost.compile_seconds:.1f} s "
        f"to compile, {cost.chunks} chunks of {cost.chunk}, about {cost.seconds:.0f} s to measure "
        "one after the other (theory and figures come on top), "
        f"{cost.memory / 2**20:.0f} MiB per chunk, at most {disk} MiB on disk"
    )
    console.print(f"  {json.dumps(dataclasses.asdict(settings))}")
