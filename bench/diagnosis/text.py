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
from signalprop.bench.diagnosis.verdict import NOT_CHECKED, Diagnosis

NEAR = 0.5
"""Difference of decades, of shares, and of a fifth of sigma_w up to which neighbours share a row."""

LONGEST_BLOCK = 24
"""Layers of a block that repeats."""

COLUMNS = (
    "layer",
    "kind",
    "activation",
    "sigma_w",
    "rms z",
    "saturated",
    "cosine",
    "log10 |grad|",
    "gain",
    "expected",
)


def screen(report: Diagnosis, width: int = 120, full: bool = False) -> str:
    """The report as text.

    Args:
        report: The report.
        width: Characters in a line.
        full: Whether every layer has a line of its own.
    """
    console = Console(file=StringIO(), width=width, highlight=False, soft_wrap=True)
    lead = "FINE" if report.cause == "fine" else f"BROKEN ({report.cause})"
    console.print(f"{lead}: {report.verdict}")
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


def _evidence(report: Diagnosis) -> Iterator[tuple[str, str]]:
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
    """Layers that share a row: neighbours, or the same layer of blocks that follow on each other."""
    k = 0
    while k < len(layers):
        period, times = _repeats(layers[k:])
        if times == 1:
            yield [layers[k]]
        elif period == 1:  # the first and the last by themselves
            yield from ([layers[k]], layers[k + 1 : k + times - 1], [layers[k + times - 1]])
        else:
            yield from (layers[k + i : k + period * times : period] for i in range(period))
        k += period * times


def _repeats(layers: Sequence[Layer]) -> tuple[int, int]:
    """After how many layers the first ones come again, and how many times they are there; (1, 1) if never."""
    for period in range(1, min(LONGEST_BLOCK, len(layers) // 3) + 1):
        equal = 0
        while equal + period < len(layers) and _alike(layers[equal], layers[equal + period]):
            equal += 1
        times = equal // period + 1
        if times >= (4 if period == 1 else 3):
            return period, times
    return 1, 1


def _alike(a: Layer, b: Layer) -> bool:
    """Whether two layers can share a row: of one kind, with nearly the same scales, gains and shares."""
    if (a.kind, a.activation, a.units) != (b.kind, b.activation, b.units):
        return False
    names = a.name.split("/"), b.name.split("/")
    if len(names[0]) != len(names[1]) or sum(x != y for x, y in zip(*names, strict=True)) > 1:
        return False
    pairs = [(a.gain / DECADE, b.gain / DECADE), (a.signal.log_rms / DECADE, b.signal.log_rms / DECADE)]
    if a.weights is not None and b.weights is not None:
        pairs.append((5 * a.weights.sigma_w, 5 * b.weights.sigma_w))
    if a.activity is not None and b.activity is not None:
        pairs.append((a.activity.saturated, b.activity.saturated))
    return not any(abs(x - y) > NEAR for x, y in pairs)


def _span(first: str, last: str) -> str:
    """``layers/1..28/kernel``: two places as one, with what differs as a range."""
    a, b = first.split("/"), last.split("/")
    if len(a) != len(b):
        return f"{first} .. {last}"
    return "/".join(x if x == y else f"{x}..{y}" for x, y in zip(a, b, strict=True))


def _cells(run: Sequence[Layer]) -> list[str]:
    first, last = run[0], run[-1]
    name = _span(first.name, last.name)

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
        middle([x.weights.sigma_w for x in run if x.weights], ".3g"),
        middle([np.exp(x.signal.log_rms) for x in run], ".3g"),
        middle([a.saturated for a in activities], ".0f", 100) + " %" if activities else "-",
        middle([x.signal.cosine for x in run], ".3g"),
        gradient(first) if len(run) == 1 else f"{gradient(first)} .. {gradient(last)}",
        middle([x.gain for x in run], "+.2f", 1 / DECADE),
        expected if predicted else "-",
    ]
