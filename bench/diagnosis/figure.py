"""The report drawn: signal and gradient over depth beside their prediction, gains, likeness, and time."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from signalprop.analysis.diagnosis.rule import DECADE
from signalprop.bench.diagnosis.verdict import Diagnosis
from signalprop.bench.record import figures as house

NAMED = 12
"""Layers up to which the axis shows their names."""

ENDS = {"float16": -7.2, "bfloat16": -40.1, "float32": -44.9}  # log10 of the smallest subnormal number


def draw(report: Diagnosis) -> Figure:
    """Sizes, gains and shares over depth, then sizes over time; a panel that would be empty is left out."""
    measured = report.measured
    panels: list[tuple[Any, float]] = [(_sizes, 1.5)]
    if any(np.isfinite(layer.gain) for layer in measured.layers):
        panels.append((_gains, 1.0))
    panels.append((_shares, 1.0))
    depth = len(panels)
    if measured.recurrences:
        panels.append((_time, 1.3))
    heights = [height for _, height in panels]
    with house.style():
        figure, axes = plt.subplots(
            len(panels), 1, figsize=(house.WIDTH, 1.7 * sum(heights) + 0.5), height_ratios=heights
        )
        for axis, (panel, _) in zip(axes, panels, strict=True):
            panel(axis, report)
        for axis in axes[: depth - 1]:
            axis.sharex(axes[depth - 1])
            axis.tick_params(labelbottom=False)
        _name_layers(axes[depth - 1], [layer.name for layer in measured.layers])
        figure.suptitle(_wrapped(report), fontsize=9)
    return figure


def _name_layers(axes: Axes, names: list[str]) -> None:
    """Few layers by name, many by number."""
    if len(names) <= NAMED:
        axes.set_xticks(range(1, len(names) + 1), names, rotation=25, ha="right")
    else:
        axes.set_xlabel("layer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _wrapped(report: Diagnosis) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(f"{report.cause}: {report.verdict}", 95))


def _sizes(axes: Axes, report: Diagnosis) -> None:
    layers = report.measured.layers
    x = np.arange(1, len(layers) + 1)
    gradient = np.array([layer.log_gradient for layer in layers]) / DECADE
    rms = np.array([layer.signal.log_rms for layer in layers]) / DECADE
    look = house.series(["gradient", "signal"])
    axes.plot(
        x,
        np.where(np.isfinite(gradient), gradient, np.nan),
        linestyle="none",
        label="gradient by the layer, measured",
        **_points(look["gradient"]),
    )
    axes.plot(
        x,
        np.where(np.isfinite(rms), rms, np.nan),
        linestyle="none",
        label="root mean square of its pre-activations",
        **_points(look["signal"]),
    )
    for start, line, band in _theory(report):
        axes.plot(
            x[start : start + len(line)],
            line,
            color=look["gradient"]["color"],
            label="gradient, mean field from the last layer" if start == _theory(report)[0][0] else None,
        )
        axes.fill_between(
            x[start : start + len(line)],
            line - 2 * band,
            line + 2 * band,
            color=look["gradient"]["color"],
            alpha=0.2,
            linewidth=0,
        )
    low, high = axes.get_ylim()
    for name, end in ENDS.items():
        if low < end < high:
            axes.axhline(end, color="0.5", linewidth=0.8, linestyle=":")
            axes.text(
                x[-1], end, f" smallest number of {name}", ha="right", va="bottom", fontsize=7, color="0.4"
            )
    axes.set(ylabel="log10")
    axes.legend(loc="best")


def _points(look: dict[str, Any]) -> dict[str, Any]:
    return {"color": look["color"], "marker": look["marker"]}


def _theory(report: Diagnosis) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Predicted runs of layers: first index, log10 of the gradient summed up from the end, deviation."""
    layers = report.measured.layers
    runs, k = [], 0
    while k < len(layers):
        end = k
        while end < len(layers) - 1 and layers[end].prediction is not None:
            end += 1
        if end > k:
            own = [p for layer in layers[k:end] if (p := layer.prediction) is not None]
            gains, spread = (np.array(part) for part in zip(*own, strict=True))
            line = layers[end].log_gradient + np.append(np.cumsum(gains[::-1])[::-1], 0)
            band = np.sqrt(np.append(np.cumsum(np.nan_to_num(spread[::-1]) ** 2)[::-1], 0))
            runs.append((k, line / DECADE, band / DECADE))
        k = end + 1
    return runs


def _gains(axes: Axes, report: Diagnosis) -> None:
    layers = report.measured.layers
    x = np.arange(1, len(layers) + 1)
    look = house.series(["gain"])["gain"]
    predicted = np.array([y.prediction.log_gain if y.prediction else np.nan for y in layers]) / DECADE
    spread = np.array([y.prediction.deviation if y.prediction else np.nan for y in layers]) / DECADE
    axes.axhline(0, color="k", linewidth=0.8)
    axes.errorbar(
        x, predicted, 2 * spread, color="0.45", fmt="_", markersize=7, label="mean field and two deviations"
    )
    axes.plot(
        x, np.array([y.gain for y in layers]) / DECADE, linestyle="none", label="measured", **_points(look)
    )
    axes.set(ylabel="decades per layer")
    axes.legend(loc="best", ncols=2)


def _shares(axes: Axes, report: Diagnosis) -> None:
    layers = report.measured.layers
    x = np.arange(1, len(layers) + 1)
    looks = house.series(["cosine", "saturated", "silent"])
    acts = [y.activity for y in layers]
    values = {
        "cosine": ([y.signal.cosine for y in layers], "mean cosine between examples"),
        "saturated": (
            [a.saturated if a else np.nan for a in acts],
            "share under a tenth of the largest slope",
        ),
        "silent": ([a.silent if a else np.nan for a in acts], "share silent on every example"),
    }
    for name, (own, label) in values.items():
        axes.plot(x, own, label=label, linewidth=0.7, **_points(looks[name]))
    axes.set(ylim=(-0.05, 1.05), ylabel="share, cosine")
    axes.legend(loc="best")


def _time(axes: Axes, report: Diagnosis) -> None:
    looks = house.series([past.name for past in report.measured.recurrences])
    for past in report.measured.recurrences:
        lag = np.arange(past.steps, 0, -1)
        values = past.log_gradient / DECADE
        look = looks[past.name]
        axes.plot(
            lag,
            np.where(np.isfinite(values), values, np.nan),
            linestyle="none",
            label=past.name,
            **_points(look),
        )
        if np.isfinite(past.rate):
            middle = past.steps // 2
            line = values[-middle] + past.rate / DECADE * (lag - middle)
            axes.plot(lag, line, color=look["color"], label=f"{past.rate / DECADE:+.3f} decades per step")
    axes.set(xlabel="steps back from the last", ylabel="log10 gradient by the state")
    axes.legend(loc="best")
