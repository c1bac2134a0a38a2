"""Figures of ``xavier-training``, after figures 2, 3, 4, 7 and 11 of Glorot & Bengio (2010)."""

from typing import Any

import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from signalprop.bench.experiments.xavier_training import NETWORKS, SCHEMES
from signalprop.bench.experiments.xavier_training.verdicts import (
    LN10,
    best,
    fastest,
    named_networks,
    total_updates,
)
from signalprop.bench.measure.estimates import mean_and_error, standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Layers of sigmoids, and of tanh and softsign, over training; histograms, gradients and errors."""
    result = named_networks(result)
    at = best(result)
    first = at.isel(data=0)
    names = [str(name) for name in at["network"].values]
    sigmoids = [name for name in names if NETWORKS[name].phi == "sigmoid"]
    symmetric = [name for name in names if NETWORKS[name].phi != "sigmoid"]
    found = {"error": _errors(at, names)}
    if sigmoids:
        found["sigmoid"] = _sigmoids(fastest(result).isel(data=0), sigmoids)
    if symmetric:
        found["symmetric"] = _symmetric(first, symmetric)
        found["histogram"] = _histograms(first, symmetric)
        found["gradients"] = _gradients(first, symmetric)
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Final errors (1: diverged) of every network at every rate, and its layers at the start and the end."""
    result = named_networks(result)
    counts = result["learning_rate"] == best(result)["learning_rate"].drop_vars("learning_rate")
    top = result[["mean", "deviation", "saturated"]].isel(layer=-1, drop=True).mean("seed")
    columns = {
        "error_mean": result["final_error"].mean("seed"),
        "error_standard_error": standard_error(result["final_error"]),
        "loss_mean": result["final_loss"].mean("seed"),
        "last_training_loss_median": result["loss"].isel(update=-1, drop=True).median("seed"),
        "diverged": (result["diverged_at"] > 0).sum("seed"),
        "counts": counts.astype(int),
        **{f"top_{name}_start": top[name].isel(update=0, drop=True) for name in top},
        **{f"top_{name}_end": top[name].isel(update=-1, drop=True) for name in top},
    }
    return tidy(xr.Dataset(columns).reset_coords(drop=True))


def _errors(at: xr.Dataset, names: list[str]) -> Figure:
    """Test error against updates, as in figure 11."""
    figure, panels = draw.panels([str(data) for data in at["data"].values], height=3.0)
    looks = draw.series(list(NETWORKS))
    for data, panel in panels.items():
        part = at.sel(data=data)
        for name in names:
            curve = part["test_error"].sel(network=name).mean("seed")
            panel.plot(
                at["update"], curve, label=_title(part, name), markevery=8, markersize=3, linewidth=1,
                **looks[name],
            )  # fmt: skip
            final, error = mean_and_error(part["final_error"].sel(network=name))
            draw.measured(panel, [total_updates(at) * 1.02], [final], error, looks[name])
        panel.set(xlabel="updates", ylim=(0, 1))
        panel.legend(loc="best", fontsize=6.5)
    next(iter(panels.values())).set_ylabel("test error, mean over networks")
    figure.suptitle(
        f"Test error of {at.sizes['seed']} networks at the rate of their smallest training loss; "
        "last point: more examples, one standard error",
        fontsize=9,
    )
    return figure


def _title(at: xr.Dataset, name: str) -> str:
    return f"{NETWORKS[name].label} (rate {float(at['learning_rate'].sel(network=name)):g})"


def _sigmoids(at: xr.Dataset, names: list[str]) -> Figure:
    """Mean and standard deviation of the activations of sigmoid layers, as in figure 2."""
    figure, panels = _panels(at, names, height=3.0, sharey=True)
    for name, panel in panels.items():
        for i, (label, look) in enumerate(_layers(at).items()):
            part = at.sel(network=name).isel(layer=i).mean("seed")
            panel.plot(at["update"], part["mean"], label=label, markevery=8, markersize=3, **look)
            low, high = part["mean"] - part["deviation"], part["mean"] + part["deviation"]
            panel.fill_between(at["update"], low, high, color=look["color"], alpha=0.12, linewidth=0)
        panel.set(xlabel="updates", ylim=(0, 1))
    panels[names[0]].set_ylabel("activation: mean, standard deviation")
    return _finished(
        figure, panels[names[0]],
        f"Sigmoid layers at the largest learning rate ({at['data'].item()}), mean of {at.sizes['seed']} "
        "networks: 0 and 1 are saturation",
    )  # fmt: skip


def _panels(at: xr.Dataset, names: list[str], **more: Any) -> tuple[Figure, dict[str, Axes]]:
    """One panel per network, whose title says its learning rate."""
    figure, panels = draw.panels([_title(at, name) for name in names], **more)
    return figure, dict(zip(names, panels.values(), strict=True))


def _layers(at: xr.Dataset) -> dict[str, dict[str, Any]]:
    return draw.series([f"layer {int(layer)}" for layer in at["layer"].values])


def _finished(figure: Figure, panel: Axes, title: str) -> Figure:
    """The figure with its title, and one line below that names what a panel shows."""
    draw.legend(figure, panel, ncols=len(panel.get_legend_handles_labels()[1]))
    figure.suptitle(title, fontsize=9)
    return figure


def _symmetric(at: xr.Dataset, names: list[str]) -> Figure:
    """98th percentile and standard deviation of the activations of symmetric layers, as in figure 3."""
    figure, panels = _panels(at, names, columns=2, height=2.3, sharex=True, sharey=True)
    for name, panel in panels.items():
        for i, (label, look) in enumerate(_layers(at).items()):
            part = at.sel(network=name).isel(layer=i).mean("seed")
            panel.plot(
                at["update"], part["high"], linestyle="none", marker=look["marker"], color=look["color"],
                markersize=3, label=label,
            )  # fmt: skip
            panel.plot(at["update"], part["deviation"], color=look["color"], linestyle=look["linestyle"])
        panel.set_ylim(0, 1.03)
    for name in names[-2:]:
        panels[name].set_xlabel("updates")
    for name in names[::2]:
        panels[name].set_ylabel("activation")
    return _finished(
        figure, panels[names[0]],
        f"98th percentile (points) and standard deviation (lines) of the layers ({at['data'].item()})",
    )  # fmt: skip


def _histograms(at: xr.Dataset, names: list[str]) -> Figure:
    """Activations after training, as in figure 4."""
    names = [name for name in names if NETWORKS[name].scheme == SCHEMES[0]] or names
    figure, panels = _panels(at, names, height=2.6, sharey=True)
    width = float(at["bin"][1] - at["bin"][0])
    for name, panel in panels.items():
        for i, (label, look) in enumerate(_layers(at).items()):
            density = at["histogram"].sel(network=name).isel(layer=i).mean("seed") / width
            panel.plot(at["bin"], density, label=label, color=look["color"], linestyle=look["linestyle"])
        panel.set(xlabel="activation", xlim=(-1, 1))
    panels[names[0]].set(ylabel="density", yscale="log")
    title = f"Activations after {total_updates(at)} updates ({at['data'].item()})"
    return _finished(figure, panels[names[0]], title)


def _gradients(at: xr.Dataset, names: list[str]) -> Figure:
    """Back-propagated and weight gradients by layer, before training and during it, as in figures 7 and 9."""
    names = [name for name in names if NETWORKS[name].phi == "tanh"] or names[:2]
    stages = dict.fromkeys([0, max(1, at.sizes["update"] // 20), at.sizes["update"] - 1])
    symbols = {
        "log_delta": r"$\log_{10}$ rms $\partial E / \partial z^l$",
        "log_gradient": r"$\log_{10}$ rms $\partial E / \partial W^l$",
    }
    figure, (axes,) = draw.canvas(1, 2 * len(names), height=2.6)
    looks = draw.series([f"{int(at['update'][i])} updates" for i in stages])
    for j, name in enumerate(names):
        part = at.sel(network=name)
        for panel, (variable, symbol) in zip(axes[2 * j :], symbols.items(), strict=False):
            for i, (label, look) in zip(stages, looks.items(), strict=True):
                y = part[variable].isel(update=i) / LN10
                draw.measured(panel, at["layer"], y.mean("seed"), standard_error(y), look, label=label)
            panel.set(xlabel="layer $l$", ylabel=symbol, title=NETWORKS[name].label)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        start = part.isel(update=0)
        shape = start["log_delta_predicted"] + start["log_delta"].mean("seed").isel(layer=-1)
        draw.theory(axes[2 * j], at["layer"], shape / LN10, label="theory, untrained")
    return _finished(figure, axes[0], f"Gradients by layer ({at['data'].item()})")
