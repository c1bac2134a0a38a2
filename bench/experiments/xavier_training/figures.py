"""Figures of ``xavier-training``, after figures 2, 3, 4, 7 and 11 of Glorot & Bengio (2010)."""

import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from signalprop.bench.experiments.xavier_training import NETWORKS
from signalprop.bench.experiments.xavier_training.verdicts import LN10, best, fastest, named_networks
from signalprop.bench.record import figures as draw


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


def _title(at: xr.Dataset, name: str) -> str:
    return f"{NETWORKS[name].label} (rate {float(at['learning_rate'].sel(network=name)):g})"


def _layers(at: xr.Dataset) -> dict[str, dict[str, object]]:
    return draw.series([f"layer {int(layer)}" for layer in at["layer"].values])


def _sigmoids(at: xr.Dataset, names: list[str]) -> Figure:
    """Mean and standard deviation of the activations of sigmoid layers, as in figure 2."""
    figure, (panels,) = draw.canvas(1, len(names), height=3.0, sharey=True)
    for panel, name in zip(panels, names, strict=True):
        for i, (label, look) in enumerate(_layers(at).items()):
            part = at.sel(network=name).isel(layer=i).mean("seed")
            panel.plot(at["update"], part["mean"], label=label, markevery=8, markersize=3, **look)
            low, high = part["mean"] - part["deviation"], part["mean"] + part["deviation"]
            panel.fill_between(at["update"], low, high, color=look["color"], alpha=0.12, linewidth=0)
        panel.set(xlabel="updates", title=_title(at, name), ylim=(0, 1))
    panels[0].set_ylabel("activation: mean, standard deviation")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(
        f"Sigmoid layers at the largest learning rate ({at['data'].item()}), {_seeds(at)}: "
        "0 and 1 are saturation",
        fontsize=9,
    )
    return figure


def _symmetric(at: xr.Dataset, names: list[str]) -> Figure:
    """98th percentile and standard deviation of the activations of symmetric layers, as in figure 3."""
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure, axes = draw.canvas(rows, columns, height=2.3, sharex=True, sharey=True)
    for spare in axes.ravel()[len(names) :]:
        spare.remove()
    for panel, name in zip(axes.ravel(), names, strict=False):
        for i, (label, look) in enumerate(_layers(at).items()):
            part = at.sel(network=name).isel(layer=i).mean("seed")
            panel.plot(
                at["update"], part["high"], linestyle="none", marker=look["marker"], color=look["color"],
                markersize=3, label=label,
            )  # fmt: skip
            panel.plot(at["update"], part["deviation"], color=look["color"], linestyle=look["linestyle"])
        panel.set(title=_title(at, name), ylim=(0, 1.03))
    for panel in axes[-1]:
        panel.set_xlabel("updates")
    for panel in axes[:, 0]:
        panel.set_ylabel("activation")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(
        f"98th percentile (points) and standard deviation (lines) of the layers ({at['data'].item()})",
        fontsize=9,
    )
    return figure


def _histograms(at: xr.Dataset, names: list[str]) -> Figure:
    """Activations after training, as in figure 4."""
    names = [name for name in names if NETWORKS[name].scheme == "uniform_standard"] or names
    figure, (panels,) = draw.canvas(1, len(names), height=2.6, sharey=True)
    width = float(at["bin"][1] - at["bin"][0])
    for panel, name in zip(panels, names, strict=True):
        for i, (label, look) in enumerate(_layers(at).items()):
            density = at["histogram"].sel(network=name).isel(layer=i).mean("seed") / width
            panel.plot(at["bin"], density, label=label, color=look["color"], linestyle=look["linestyle"])
        panel.set(xlabel="activation", title=_title(at, name), xlim=(-1, 1))
    panels[0].set(ylabel="density", yscale="log")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(f"Activations after {_updates(at)} updates ({at['data'].item()})", fontsize=9)
    return figure


def _seeds(at: xr.Dataset) -> str:
    return f"mean of {at.sizes['seed']} networks"


def _updates(at: xr.Dataset) -> int:
    """Updates of a whole run."""
    return int(2 * at["update"].values[-1] - at["update"].values[-2]) if at.sizes["update"] > 1 else 1


def _gradients(at: xr.Dataset, names: list[str]) -> Figure:
    """Back-propagated and weight gradients by layer, before training and during it, as in figures 7 and 9."""
    names = [name for name in names if NETWORKS[name].phi == "tanh"] or names[:2]
    stages = dict.fromkeys([0, max(1, at.sizes["update"] // 20), at.sizes["update"] - 1])
    figure, axes = draw.canvas(1, 2 * len(names), height=2.6)
    looks = draw.series([f"{int(at['update'][i])} updates" for i in stages])
    for j, name in enumerate(names):
        for i, (label, look) in zip(stages, looks.items(), strict=True):
            part = at.sel(network=name).isel(update=i)
            for panel, variable in zip(axes[0, 2 * j :], ("log_delta", "log_gradient"), strict=False):
                y = part[variable] / LN10
                error = y.std("seed", ddof=1) / y.sizes["seed"] ** 0.5 if y.sizes["seed"] > 1 else None
                draw.measured(panel, at["layer"], y.mean("seed"), error, look, label=label)
        start = at.sel(network=name).isel(update=0)
        shape = start["log_delta_predicted"] + start["log_delta"].mean("seed").isel(layer=-1)
        draw.theory(axes[0, 2 * j], at["layer"], shape / LN10, label="theory, untrained")
        _name_axes(axes[0, 2 * j], r"$\log_{10}$ rms $\partial E / \partial z^l$", NETWORKS[name].label)
        _name_axes(axes[0, 2 * j + 1], r"$\log_{10}$ rms $\partial E / \partial W^l$", NETWORKS[name].label)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(f"Gradients by layer ({at['data'].item()})", fontsize=9)
    return figure


def _name_axes(panel: Axes, label: str, title: str) -> None:
    panel.set(xlabel="layer $l$", ylabel=label, title=title)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def _errors(at: xr.Dataset, names: list[str]) -> Figure:
    """Test error against updates, as in figure 11."""
    figure, (panels,) = draw.canvas(1, at.sizes["data"], height=3.0)
    looks = draw.series(list(NETWORKS))
    for panel, data in zip(panels, at["data"].values, strict=True):
        part = at.sel(data=data)
        for name in names:
            y = part["test_error"].sel(network=name).mean("seed")
            final = part["final_error"].sel(network=name)
            error = float(final.std(ddof=1)) / final.size**0.5 if final.size > 1 else None
            panel.plot(
                at["update"],
                y,
                label=_title(part, name),
                markevery=8,
                markersize=3,
                linewidth=1,
                **looks[name],
            )
            draw.measured(panel, [_updates(at) * 1.02], [float(final.mean())], error, looks[name])
        panel.set(xlabel="updates", title=str(data), ylim=(0, 1))
        panel.legend(loc="best", fontsize=6.5)
    panels[0].set_ylabel("test error, mean over networks")
    figure.suptitle(
        f"Test error of {at.sizes['seed']} networks at the rate of their smallest training loss; "
        "last point: more examples, one standard error",
        fontsize=9,
    )
    return figure


def table(result: xr.Dataset) -> pd.DataFrame:
    """Final errors (1: diverged) of every network at every rate, and its layers at the start and the end."""
    result = named_networks(result)
    counts = result["learning_rate"] == best(result)["learning_rate"].drop_vars("learning_rate")
    top = result[["mean", "deviation", "saturated"]].isel(layer=-1, drop=True).mean("seed")
    columns = {
        "error_mean": result["final_error"].mean("seed"),
        "error_standard_error": result["final_error"].std("seed", ddof=1) / result.sizes["seed"] ** 0.5,
        "loss_mean": result["final_loss"].mean("seed"),
        "last_training_loss_median": result["loss"].isel(update=-1, drop=True).median("seed"),
        "diverged": (result["diverged_at"] > 0).sum("seed"),
        "counts": counts.astype(int),
        **{f"top_{name}_start": top[name].isel(update=0, drop=True) for name in top},
        **{f"top_{name}_end": top[name].isel(update=-1, drop=True) for name in top},
    }
    return xr.Dataset(columns).reset_coords(drop=True).to_dataframe().reset_index()
