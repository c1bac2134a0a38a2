"""Figures of ``flossing``: exponents, gradients by lag, training at equal budget, and who solves the task."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.flossing.verdicts import LN10, condition_decades
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy
from signalprop.bench.training.flossing import MOMENTS, STARTS

MOMENT_LABELS = {"start": "at the start", "flossed": "after flossing", "trained": "after training"}
SCHEDULE_LABELS = {"none": "never flossed", "before": "flossed before", "during": "before and half way"}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """What flossing does to a network, and what it is good for."""
    found = {"training": _training(result), "success": _success(result)}
    if "before" in result["schedule"].values:
        at = result.sel(schedule="before").isel(delay=-1)
        found |= {"exponents": _exponents(at), "gradients": _gradients(at)}
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Success, exponents, gradients and training by delay, schedule and start."""
    columns = {
        "solved": result["solved"].sum("seed"),
        "networks": result["solved"].count("seed"),
        "test_correct": result["test_correct"].mean("seed"),
        "test_loss": result["test_loss"].mean("seed"),
        "clip_rate": result["clip_rate"].mean(("seed", "record")),
    }
    decades = condition_decades(result).mean("seed")
    for moment in MOMENTS:
        now = result.sel(moment=moment, drop=True).mean("seed")
        columns[f"lambda_1_{moment}"] = now["exponents"].isel(index=0, drop=True)
        columns[f"lambda_k_{moment}"] = now["exponents"].isel(index=int(result["num"]) - 1, drop=True)
        columns[f"log_gradient_{moment}"] = now["log_gradient"].isel(lag=-1, drop=True)
        columns[f"condition_decades_{moment}"] = decades.sel(moment=moment, drop=True)
    return tidy(columns)


def _starts(result: xr.Dataset) -> dict[str, str]:
    """Labels of the starts that were run, by name."""
    return {str(name): STARTS[name].label for name in result["start"].values}


def _distinct(at: xr.Dataset) -> dict[str, str]:
    """Starts that differ in their weights: clipping changes nothing before training."""
    starts = _starts(at)
    return {name: label for name, label in starts.items() if name != "clipped" or len(starts) == 1}


def _exponents(at: xr.Dataset) -> Figure:
    """All exponents of every start, at the start, after flossing and after training."""
    starts, total = _distinct(at), at.sizes["index"]
    figure, (panels,) = draw.canvas(1, len(starts), height=3.0, sharey=True)
    place = (at["index"].values - 0.5) / total
    for panel, (name, label) in zip(panels, starts.items(), strict=True):
        now = at.sel(start=name)
        panel.axvspan(0, int(at["num"]) / total, color="0.5", alpha=0.15, linewidth=0)
        panel.axhline(0, color="0.4", linewidth=0.8)
        draw.theory(panel, place, now["exponents_predicted"], label="mean field")
        for moment, look in draw.series(list(MOMENT_LABELS)).items():
            values, look = now["exponents"].sel(moment=moment), look | {"markersize": 2.6}
            draw.measured(
                panel, place, values.mean("seed"), standard_error(values), look, label=MOMENT_LABELS[moment]
            )
        panel.set(xlabel=r"place in the spectrum, $i / N$", title=label)
    panels[0].set(ylabel=r"$\lambda_i$ in nats per step", ylim=(-2.5, 0.3))
    panels[0].legend(loc="lower left")
    figure.suptitle(
        "Flossing lifts the leading exponents (shaded) to 0, but not from the critical gain", fontsize=9
    )
    return figure


def _gradients(at: xr.Dataset) -> Figure:
    """Gradient by lag with the slope of the largest exponent, and the fall of the flossing loss."""
    starts, lag = _distinct(at), at["lag"].values
    figure, (panels,) = draw.canvas(1, len(starts) + 1, height=2.8)
    shown = lag[:: max(1, len(lag) // 16)]
    for panel, (name, label) in zip(panels, starts.items(), strict=False):
        for moment, look in draw.series(list(MOMENT_LABELS)).items():
            now = at.sel(start=name, moment=moment)
            rate, some = float(now["exponents"].isel(index=0).mean()), now["log_gradient"].sel(lag=shown)
            draw.theory(panel, lag, rate / LN10 * lag, look, linewidth=1.0)
            mean, error = (some / LN10).mean("seed"), standard_error(some / LN10)
            draw.measured(panel, shown, mean, error, look, label=MOMENT_LABELS[moment])
        panel.set(xlabel="lag $k$")
        panel.set_title(label, fontsize=8)
    limits = np.array([panel.get_ylim() for panel in panels[:-1]])
    for panel in panels[:-1]:
        panel.set_ylim(limits.min(), limits.max())
    panels[0].set(ylabel=r"$\log_{10} |\partial L / \partial h_{T-k}|$")
    panels[0].legend(loc="lower left", fontsize=6)
    _curves(panels[-1], at)
    return figure


def _curves(axes: Axes, at: xr.Dataset) -> None:
    """Fall of the flossing loss from every start."""
    steps = (at["record"].values + 0.5) * int(at["floss_count"]) / at.sizes["record"]
    looks = draw.series(list(_starts(at)))
    for name, label in _distinct(at).items():
        values = at["floss_loss"].sel(start=name)
        draw.measured(axes, steps, values.mean("seed"), standard_error(values), looks[name], label=label)
        draw.theory(axes, steps, values.mean("seed"), looks[name], linewidth=0.8)
    axes.set(yscale="log", xlabel="flossing step", ylabel=r"mean of $\lambda_i^2$")
    axes.set_title("Flossing itself", fontsize=8)
    axes.set(ylim=(0.2 * float(at["floss_loss"].mean("seed").min()), None))
    axes.legend(loc="lower left", fontsize=6)


def _training(result: xr.Dataset) -> Figure:
    """Share of right answers of every network over the budget."""
    delays, starts = result["delay"].values, _starts(result)
    figure, axes = draw.canvas(len(delays), len(starts), height=2.0, sharex=True, sharey=True)
    looks = draw.series([str(s) for s in result["schedule"].values])
    for panel, label in zip(axes[0], starts.values(), strict=True):
        panel.set_title(label, fontsize=8)
    for row, delay in zip(axes, delays, strict=True):
        for panel, name in zip(row, starts, strict=True):
            for schedule, look in looks.items():
                at = result.sel(delay=delay, start=name, schedule=schedule)
                used = at["budget"].values
                line = {"color": look["color"], "linestyle": look["linestyle"]}
                panel.plot(used, at["correct"].transpose("record", "seed"), **line, linewidth=0.5, alpha=0.4)
                panel.plot(used, at["correct"].median("seed"), **line, label=SCHEDULE_LABELS[schedule])
            panel.axhline(0.5, color="0.5", linewidth=0.7)
            panel.set(ylim=(0.44, 1.03))
        row[0].set_ylabel(f"delay {int(delay)}\nshare of right answers")
    for panel in axes[-1]:
        panel.set_xlabel("cost in training steps")
    draw.legend(figure, axes[0][0], ncols=3)
    return figure


def _success(result: xr.Dataset) -> Figure:
    """Share of networks that solve the task, by delay, start and schedule."""
    delays, starts = {f"delay {int(d)}": d for d in result["delay"].values}, _starts(result)
    figure, by_title = draw.panels(list(delays), len(delays), height=2.7, sharey=True)
    panels, count = list(by_title.values()), result.sizes["seed"]
    looks, place = draw.series([str(s) for s in result["schedule"].values]), np.arange(len(starts))
    for panel, delay in zip(panels, delays.values(), strict=True):
        solved = result["solved"].sel(delay=delay).sum("seed")
        for shift, (schedule, look) in zip(np.linspace(-0.2, 0.2, len(looks)), looks.items(), strict=True):
            counts, look = solved.sel(schedule=schedule), look | {"markersize": 6}
            draw.shares(panel, place + shift, counts, count, look, label=SCHEDULE_LABELS[schedule])
        panel.set_xticks(place, [label.replace(", ", ",\n") for label in starts.values()])
        panel.set(ylim=(-0.05, 1.05))
        panel.tick_params(axis="x", labelsize=6.5)
    panels[0].set_ylabel(f"share of {count} networks that solve it")
    figure.suptitle("Delayed XOR: solved within one budget, with exact 95 % intervals", fontsize=9)
    draw.legend(figure, panels[0], ncols=3)
    return figure
