"""Figures of ``flossing``: exponents, gradients by lag, training at equal budget, and who solves the task."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.analysis.statistics import share_interval
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.training.flossing import MOMENTS, STARTS

LN10 = float(np.log(10))
SCHEDULE_LABELS = {"none": "never flossed", "before": "flossed before", "during": "before and half way"}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """What flossing does to a network, and what it is good for."""
    found = {"training": _training(result), "success": _success(result)}
    if "before" in result["schedule"].values:
        at = result.sel(schedule="before").isel(delay=-1)
        found |= {"exponents": _exponents(at), "gradients": _gradients(at)}
    return found


def _labels(result: xr.Dataset) -> list[tuple[str, str]]:
    names = [str(name) for name in result["start"].values]
    return [(name, STARTS[name].label) for name in names]


def _distinct(at: xr.Dataset) -> list[tuple[str, str]]:
    """Starts that differ in their weights: clipping changes nothing before training."""
    return [(name, label) for name, label in _labels(at) if name != "clipped" or len(at["start"]) == 1]


def _exponents(at: xr.Dataset) -> Figure:
    starts, num = _distinct(at), int(at["num"])
    figure, (axes,) = draw.canvas(1, len(starts), height=3.0, sharey=True)
    index = at["index"].values
    place = (index - 0.5) / len(index)
    for panel, (name, label) in zip(axes, starts, strict=True):
        now = at.sel(start=name)
        panel.axvspan(0, num / len(index), color="0.5", alpha=0.15, linewidth=0)
        panel.axhline(0, color="0.4", linewidth=0.8)
        draw.theory(panel, place, now["exponents_predicted"], label="mean field")
        for moment, look in draw.series(["start", "flossed", "trained"]).items():
            values = now["exponents"].sel(moment=moment)
            error = standard_error(values)
            draw.measured(
                panel, place, values.mean("seed"), error, {**look, "markersize": 2.6}, label=_moment(moment)
            )
        panel.set(xlabel=r"place in the spectrum, $i / N$", title=label)
    axes[0].set(ylabel=r"$\lambda_i$ in nats per step", ylim=(-2.5, 0.3))
    axes[0].legend(loc="lower left")
    figure.suptitle(
        "Flossing lifts the leading exponents (shaded) to 0, but not from the critical gain", fontsize=9
    )
    return figure


def _moment(name: str) -> str:
    return {"start": "at the start", "flossed": "after flossing", "trained": "after training"}[name]


def _gradients(at: xr.Dataset) -> Figure:
    """Gradient by lag with the slope of the largest exponent, and the fall of the flossing loss."""
    starts = _distinct(at)
    figure, (axes,) = draw.canvas(1, len(starts) + 1, height=2.8)
    lag = at["lag"].values
    shown = lag[:: max(1, len(lag) // 16)]
    for panel, (name, label) in zip(axes, starts, strict=False):
        now = at.sel(start=name)
        for moment, look in draw.series(["start", "flossed", "trained"]).items():
            logs = now["log_gradient"].sel(moment=moment) / LN10
            rate = float(now["exponents"].sel(moment=moment).isel(index=0).mean()) / LN10
            draw.theory(panel, lag, rate * lag, look, linewidth=1.0)
            some = logs.sel(lag=shown)
            draw.measured(panel, shown, some.mean("seed"), standard_error(some), look, label=_moment(moment))
        panel.set(xlabel="lag $k$")
        panel.set_title(label, fontsize=8)
    low = min(panel.get_ylim()[0] for panel in axes[:-1])
    high = max(panel.get_ylim()[1] for panel in axes[:-1])
    for panel in axes[:-1]:
        panel.set(ylim=(low, high))
    axes[0].set(ylabel=r"$\log_{10} |\partial L / \partial h_{T-k}|$")
    axes[0].legend(loc="lower left", fontsize=6)
    _curves(axes[-1], at)
    return figure


def _curves(axes: Axes, at: xr.Dataset) -> None:
    steps = (at["record"].values + 0.5) * int(at["floss_count"]) / at.sizes["record"]
    looks = draw.series([name for name, _ in _labels(at)])
    for name, label in _distinct(at):
        values = at["floss_loss"].sel(start=name)
        draw.measured(axes, steps, values.mean("seed"), standard_error(values), looks[name], label=label)
        draw.theory(axes, steps, values.mean("seed"), looks[name], linewidth=0.8)
    axes.set(yscale="log", xlabel="flossing step", ylabel=r"mean of $\lambda_i^2$")
    axes.set_title("Flossing itself", fontsize=8)
    axes.set(ylim=(0.2 * float(at["floss_loss"].mean("seed").min()), None))
    axes.legend(loc="lower left", fontsize=6)


def _training(result: xr.Dataset) -> Figure:
    """Share of right answers of every network over the budget."""
    delays, starts = result["delay"].values, _labels(result)
    figure, axes = draw.canvas(len(delays), len(starts), height=2.0, sharex=True, sharey=True)
    looks = draw.series([str(s) for s in result["schedule"].values])
    for panel, (_, label) in zip(axes[0], starts, strict=True):
        panel.set_title(label, fontsize=8)
    for row, delay in zip(axes, delays, strict=True):
        for panel, (name, _) in zip(row, starts, strict=True):
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
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _success(result: xr.Dataset) -> Figure:
    delays, starts = result["delay"].values, _labels(result)
    figure, (axes,) = draw.canvas(1, len(delays), height=2.7, sharey=True)
    looks = draw.series([str(s) for s in result["schedule"].values])
    count = result.sizes["seed"]
    for panel, delay in zip(axes, delays, strict=True):
        for shift, (schedule, look) in zip(np.linspace(-0.2, 0.2, len(looks)), looks.items(), strict=True):
            solved = result["solved"].sel(delay=delay, schedule=schedule).sum("seed")
            found = [int(solved.sel(start=name)) for name, _ in starts]
            low, high = np.array([share_interval(n, count) for n in found]).T
            share = np.array(found) / count
            error = np.clip([share - low, high - share], 0, None)
            place = np.arange(len(starts)) + shift
            draw.measured(
                panel, place, share, error, {**look, "markersize": 6}, label=SCHEDULE_LABELS[schedule]
            )
        panel.set_xticks(range(len(starts)), [label.replace(", ", ",\n") for _, label in starts])
        panel.set(ylim=(-0.05, 1.05), title=f"delay {int(delay)}")
        panel.tick_params(axis="x", labelsize=6.5)
    axes[0].set_ylabel(f"share of {count} networks that solve it")
    figure.suptitle("Delayed XOR: solved within one budget, with exact 95 % intervals", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def table(result: xr.Dataset) -> pd.DataFrame:
    """Success, exponents, gradients and training by delay, schedule and start."""
    num, at = int(result["num"]), result
    columns = {
        "solved": at["solved"].sum("seed"),
        "networks": at["solved"].count("seed"),
        "test_correct": at["test_correct"].mean("seed"),
        "test_loss": at["test_loss"].mean("seed"),
        "clip_rate": at["clip_rate"].mean(("seed", "record")),
    }
    for moment in MOMENTS:
        now = at.sel(moment=moment)
        columns[f"lambda_1_{moment}"] = now["exponents"].isel(index=0).mean("seed")
        columns[f"lambda_k_{moment}"] = now["exponents"].isel(index=num - 1).mean("seed")
        columns[f"log_gradient_{moment}"] = now["log_gradient"].isel(lag=-1).mean("seed")
        decades = (now["log_singular"].isel(singular=0) - now["log_singular"].isel(singular=1)) / np.log(10)
        columns[f"condition_decades_{moment}"] = decades.mean("seed")
    scalars = ["moment", "index", "lag", "singular"]
    clean = {name: values.drop_vars(scalars, errors="ignore") for name, values in columns.items()}
    return xr.Dataset(clean).to_dataframe().reset_index()
