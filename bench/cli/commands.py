"""What each command does, after its arguments are parsed."""

import dataclasses
import json
import shutil
import sys
import time
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from signalprop.bench.cli import arguments
from signalprop.bench.engine import machine
from signalprop.bench.engine.errors import InputError, StoreError
from signalprop.bench.experiments import CHAPTERS, EXPERIMENTS

console = Console(highlight=False, soft_wrap=True)


def run(options: arguments.Run, axes: Sequence[str]) -> int:
    """``signalprop run``."""
    if not options.names:
        raise InputError(f"run: got no experiment; write at least one of {', '.join(EXPERIMENTS)}")
    _check_names(options.names)
    shard = _shard(options.shard)
    _start(options.device)
    from signalprop.bench.experiments import find

    chosen = [(e, _settings(e, options.size, axes)) for e in map(find, options.names)]
    if options.dry_run:
        for experiment, settings in chosen:
            _show_plan(experiment, settings)
        return 0
    if options.fresh:
        from signalprop.bench import pipeline

        for experiment, settings in chosen:
            shutil.rmtree(pipeline.run_path(options.out, experiment, settings), ignore_errors=True)
    return _run_all(chosen, options.out, strict=options.strict, shard=shard)


def reproduce(options: arguments.Reproduce) -> int:
    """``signalprop reproduce``."""
    _check_names(options.only)
    _start(options.device)
    from signalprop.bench.experiments import find
    from signalprop.bench.record import report as page

    chosen = [(e, e.sizes[options.size]) for e in map(find, options.only or EXPERIMENTS)]
    code = _run_all(chosen, options.out, strict=options.strict, shard=None)
    folder = options.out / "quick" if options.size == "quick" else options.out
    for path in page.write(folder):
        console.print(f"wrote {path}")
    return code


def figures(options: arguments.Figures) -> int:
    """``signalprop figures``."""
    _check_names(options.names)
    machine.start("cpu")
    from signalprop.bench import pipeline
    from signalprop.bench.experiment import SIZES
    from signalprop.bench.experiments import find

    drawn = 0
    for experiment in map(find, options.names or EXPERIMENTS):
        for size in SIZES:
            settings = experiment.sizes[size]
            path = pipeline.run_path(options.out, experiment, settings)
            if path.exists():
                folder = pipeline.result_folder(options.out, experiment, settings)
                verdicts = pipeline.draw(experiment, path, folder)
                _say_outcome(experiment.name, pipeline.Outcome(path, folder, verdicts))
                drawn += 1
    if not drawn:
        raise StoreError(f"no stored run under {options.out / 'runs'}; start with: signalprop reproduce")
    return 0


def report(options: arguments.Report) -> int:
    """``signalprop report``."""
    from signalprop.bench.record import report as page

    paths = page.write(options.folder)
    for path in paths:
        console.print(f"wrote {path}")
    if options.open:
        webbrowser.open(paths[-1].resolve().as_uri())
    return 0


def list(options: arguments.List) -> int:
    """``signalprop list``."""
    out = Console(highlight=False)
    for title, questions in CHAPTERS.items():
        table = Table(box=None, pad_edge=False, show_header=False, title=title, title_justify="left")
        table.add_column(min_width=max(map(len, EXPERIMENTS)))
        table.add_column(ratio=1)
        table.add_column(no_wrap=True)
        for name, question in questions.items():
            table.add_row(name, question, _state(options.out / name / "verdicts.json"))
        out.print(table, "")
    return 0


def _state(verdicts: Path) -> str:
    """How many of the stored verdicts agree with theory, disagree, or have none."""
    if not verdicts.exists():
        return "no result"
    agreements = [verdict["agreement"] for verdict in json.loads(verdicts.read_text())]
    return ", ".join(f"{agreements.count(a)} {a}" for a in sorted(set(agreements)))


def theory(args: Sequence[str]) -> int:
    """``signalprop theory``."""
    machine.start("cpu")
    from signalprop.bench.engine.errors import nearest
    from signalprop.bench.theory.topics import TOPICS

    topic, *rest = args or [""]
    if topic in ("-h", "--help"):
        width = max(map(len, TOPICS))
        lines = [f"  {name:{width}}  {(kind.__doc__ or '').splitlines()[0]}" for name, kind in TOPICS.items()]
        print("\n".join(["usage: signalprop theory TOPIC [--json] [PARAMETERS]", "", *lines]))
        return 0
    if topic not in TOPICS:
        given = f"no topic {topic!r}" if topic else "got no topic"
        raise InputError(f"theory: {given}; {nearest(topic, TOPICS)}")
    parameters = [word for word in rest if word != "--json"]
    options = arguments.parse(TOPICS[topic], parameters, prog=f"signalprop theory {topic}")
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


def _start(device: str) -> None:
    machine.start(None if device == "best" else device)
    import jax

    if device != "best" and jax.devices()[0].platform != device:
        raise InputError(
            f"--device: got {device}, but JAX finds only {jax.devices()[0].platform}; write --device cpu"
        )


def _check_names(names: Sequence[str]) -> None:
    from signalprop.bench.engine.errors import nearest

    for name in names:
        if name not in EXPERIMENTS:
            raise InputError(f"no experiment {name!r}; {nearest(name, EXPERIMENTS)}")


def _settings(experiment: Any, size: str, axes: Sequence[str]) -> Any:
    default = experiment.sizes[size]
    return arguments.parse(type(default), axes, prog=f"signalprop run {experiment.name}", default=default)


def _shard(text: str) -> tuple[int, int] | None:
    first, slash, step = text.partition("/")
    if not (slash and first.isdigit() and step.isdigit() and int(first) < int(step)):
        raise InputError(f"--shard: got {text}; write i/n with i from 0 to n-1, such as 0/4")
    return (int(first), int(step)) if int(step) > 1 else None


def _run_all(chosen: Sequence[Any], out: Path, *, strict: bool, shard: tuple[int, int] | None) -> int:
    from signalprop.bench import pipeline
    from signalprop.bench.engine import store
    from signalprop.bench.engine.provenance import code_hash

    disagree = 0
    for experiment, settings in chosen:
        path = pipeline.run_path(out, experiment, settings)
        if path.exists() and store.code_changed(path, code_hash(experiment, settings)):
            console.print(f"{experiment.name}: stored by other code than this; --fresh computes it again")
        began = time.perf_counter()
        with _progress(experiment.name) as progress:
            outcome = pipeline.run(experiment, settings, out, report=progress, shard=shard)
        seconds = time.perf_counter() - began
        if outcome is None:
            console.print(f"{experiment.name}: this share is stored; others still have chunks to compute")
            continue
        _say_outcome(experiment.name, outcome, seconds)
        disagree += len(outcome.disagreements)
    return 1 if strict and disagree else 0


@contextmanager
def _progress(name: str) -> Iterator[Any]:
    """A bar with the static case, chunks done and time left; silent where stderr is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if not sys.stderr.isatty():
        yield lambda case, done, total: None
        return
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda case, done, total: bar.update(
            task, description=f"{name} {case}", completed=done, total=total
        )


def _say_outcome(name: str, outcome: Any, seconds: float | None = None) -> None:
    wrong = outcome.disagreements
    took = "" if seconds is None else f" in {seconds:.1f} s"
    judged = [v for v in outcome.verdicts if v.agreement != "no theory"]
    alone = len(outcome.verdicts) - len(judged)
    console.print(
        f"{name}: {len(judged) - len(wrong)} of {len(judged)} verdicts agree with theory"
        f"{f', {alone} measurements stand alone' * bool(alone)}{took}; figures in {outcome.folder}"
    )
    for v in wrong:
        console.print(f"  disagrees: {v.statement} predicted {v.predicted:.4g}, measured {v.measured:.4g}")


def _show_plan(experiment: Any, settings: Any) -> None:
    from signalprop.bench.engine.plan import plan
    from signalprop.bench.engine.programs import Programs

    cost = plan(Programs(experiment, settings))
    console.print(
        f"{experiment.name}: {cost.points} points, {cost.programs} programs of {cost.compile_seconds:.1f} s "
        f"to compile, {cost.chunks} chunks of {cost.chunk}, about {cost.seconds:.0f} s to compute, "
        f"{cost.memory / 2**20:.0f} MiB per chunk, at most {cost.disk / 2**20:.0f} MiB on disk"
    )
    console.print(f"  {json.dumps(dataclasses.asdict(settings))}")
