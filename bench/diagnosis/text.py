"""A report on one screen: the verdict, its evidence, and a table in which like layers are folded."""

from collections.abc import Iterator, Sequence
from io import StringIO

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from signalprop.analysis.diagnosis.layers import Layer
from signalprop.analysis.diagnosis.rule import DECADE
from signalprop.bench.diagnosis import words
from signalprop.bench.diagnosis.report import NOT_CHECKED, Report

COLUMNS = (
    "layer",
    "kind",
    "activation",
    "sigma_w",
    "rms z",
    "saturated",
    "cosine",
    "|gradient|",
    "gain",
    "expected",
)


def screen(report: Report, width: int = 120, full: bool = False) -> str:
    """The report as text.

    Args:
        report: The report.
        width: Characters in a line.
        full: Whether every layer has a line of its own.
    """
    console = Console(file=StringIO(), width=width, highlight=False, soft_wrap=True)
    lead = "FINE" if report.cause == "fine" else f"BROKEN: {report.cause}"
    console.print(f"{lead}. {report.verdict[0].upper()}{report.verdict[1:]}")
    for name, line in _evidence(report):
        console.print(f"  {name:11}{line}")
    console.print()
    table = Table(*COLUMNS, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for k, column in enumerate(table.columns):
        column.justify, column.no_wrap = "left" if k < 3 else "right", k > 0
    layers = report.measured.layers
    for run in [[layer] for layer in layers] if full else _runs(layers):
        table.add_row(*_cells(run))
    console.print(table)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().rstrip()


def _evidence(report: Report) -> Iterator[tuple[str, str]]:
    network = report.measured
    if report.finding and network.segments:
        should, spread = words.expected(network)
        if np.isfinite(should):
            yield (
                "expected",
                f"{should:+.1f} +- {spread:.1f} decades from end to end,"
                f" {words.decades(network):+.1f} measured",
            )
    others = [x for x in report.findings if x is not report.finding]
    for finding in others:
        name = "borderline" if finding.borderline else "also"
        yield name, f"{finding.cause}: {finding.quantity} {finding.number:.3g} at {finding.where}"
    for past in network.recurrences:
        yield (
            "time",
            f"{past.name}: {past.rate / DECADE:+.3f} decades per step back,"
            f" {past.rate / DECADE * past.steps:+.1f} over {past.steps}",
        )
    for note in report.notes:
        yield "note", note
    yield "not seen", ", ".join(NOT_CHECKED)


def _runs(layers: Sequence[Layer]) -> Iterator[Sequence[Layer]]:
    """Neighbours of one kind, width and activation; of four or more the first and last by themselves."""
    start = 0
    for k in range(1, len(layers) + 1):
        if k < len(layers) and _alike(layers[start], layers[k]):
            continue
        run = layers[start:k]
        if len(run) < 4:
            yield from ([layer] for layer in run)
        else:
            yield from ([run[0]], run[1:-1], [run[-1]])
        start = k


def _alike(a: Layer, b: Layer) -> bool:
    return (a.kind, a.activation, a.units) == (b.kind, b.activation, b.units)


def _differing(first: str, last: str) -> str:
    """The end of the second name, from the part on in which it differs from the first."""
    a, b = first.split("/"), last.split("/")
    k = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), 0)
    return "/".join(b[k:])


def _cells(run: Sequence[Layer]) -> list[str]:
    first, last = run[0], run[-1]
    name = first.name if len(run) == 1 else f"{first.name} .. {_differing(first.name, last.name)}"

    def middle(values: Sequence[float], form: str, scale: float = 1.0) -> str:
        finite = [x * scale for x in values if np.isfinite(x)]
        return format(float(np.median(finite)), form) if finite else "-"

    def gradient(layer: Layer) -> str:
        return "0" if layer.log_gradient == -np.inf else f"{layer.log_gradient / DECADE:.1f}"

    predicted = [x.prediction for x in run if x.prediction is not None]
    gains, spreads = [p.log_gain for p in predicted], [p.deviation for p in predicted]
    expected = f"{middle(gains, '+.2f', 1 / DECADE)} +- {middle(spreads, '.2f', 1 / DECADE)}"
    activities = [x.activity for x in run if x.activity is not None]
    return [
        name,
        {"convolution": "conv", "embedding": "embed"}.get(first.kind, first.kind),
        first.activation or "-",
        middle([x.weights.sigma_w for x in run if x.weights], ".2f"),
        middle([np.exp(x.signal.log_rms) for x in run], ".3g"),
        middle([a.saturated for a in activities], ".0f", 100) + " %" if activities else "-",
        middle([x.signal.cosine for x in run], ".3g"),
        gradient(first) if len(run) == 1 else f"{gradient(first)} .. {gradient(last)}",
        middle([x.gain for x in run], "+.2f", 1 / DECADE),
        expected if predicted else "-",
    ]
