"""Figures of ``born-dead``: dead networks by depth, dead units of layer 1, and constant fits."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.born_dead.starts import LABELS, STARTS, Start, name_of
from signalprop.bench.experiments.born_dead.verdicts import chosen, share_by_depth
from signalprop.bench.record import figures as draw


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Draw the three figures."""
    return {
        "dead_by_depth": _by_depth(result),
        "collapse": _collapse(result),
        "dead_units": _units(result),
    }


def _by_depth(result: xr.Dataset) -> Figure:
    """Dead networks against depth: at one input, and everywhere for one feature and several."""
    part = next(p for p in (chosen(result, s) for s in STARTS) if p is not None)
    widths = [int(w) for w in result["width"].values]
    looks = draw.series([f"N = {w}" for w in widths])
    features = [int(f) for f in result["features"].values]
    figure, (panels,) = draw.canvas(1, 1 + len(features), height=2.9, sharey=True)
    titles = ["at one given input: exact", *(f"at all inputs, d = {f}" for f in features)]
    for panel, title in zip(panels, titles, strict=True):
        panel.set(xscale="log", xlabel="hidden layers $L$", ylim=(-0.03, 1.03), title=title)
    for w, (label, look) in zip(widths, looks.items(), strict=True):
        here = part.sel(width=w)
        _curve(panels[0], here, share_by_depth(here, "dead_at_input").isel(features=0),
               "dead_at_input_predicted", look, label)  # fmt: skip
        for panel, f in zip(panels[1:], features, strict=True):
            dead = share_by_depth(here, "dead_at_all").sel(features=f)
            _curve(panel, here, dead, "dead_at_all_predicted", look, label)
            if f == 1:
                panel.plot(here["depth"], here["dead_at_all_floor_predicted"], color=look["color"],
                           linestyle=":", linewidth=0.9)  # fmt: skip
    panels[0].set_ylabel("share of networks that are dead")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(5, len(widths))
    )
    figure.suptitle(
        "Born dead. Points: networks; lines: exact (left), upper bound; dotted: lower bound", fontsize=9
    )
    return figure


def _curve(
    axes: Axes, part: xr.Dataset, share: xr.DataArray, line: str, look: dict[str, object], label: str
) -> None:
    """Share by depth at a few depths with its binomial error, and a line."""
    last = part.sizes["depth"]
    at = np.unique(np.geomspace(1, last, 13).round().astype(int))
    count = part.sizes["seed"] * part.sizes["network"]
    y = share.sel(depth=at).values
    draw.theory(axes, part["depth"], part[line], look, linestyle="-", linewidth=1.0)
    draw.measured(axes, at, y, np.sqrt(y * (1 - y) / count), look, label=label)


def _collapse(result: xr.Dataset) -> Figure:
    """Constant networks before and after training on |x|, by width and start."""
    names = [name_of(number) for number in result["start"].values]
    widths, seeds = [int(w) for w in result["width"].values], result.sizes["seed"]
    looks = draw.series(["constant before training", "constant after it"])
    figure, (panels,) = draw.canvas(1, len(names), height=2.7, sharey=True)
    x = np.arange(len(widths))
    for panel, name in zip(np.atleast_1d(panels), names, strict=True):
        part = chosen(result, name)
        assert part is not None
        for (label, look), variable, shift in zip(
            looks.items(), ("collapsed_before", "collapsed"), (-0.12, 0.12), strict=True
        ):
            counts = part[variable].sum("seed").values.astype(int)
            limits = np.array([share_interval(int(k), seeds) for k in counts]).T
            share = counts / seeds
            draw.measured(panel, x + shift, share, np.abs(limits - share), look, label=label)
        panel.set(title=LABELS[name], xlabel="width $N$", ylim=(-0.04, 1.04), xlim=(-0.5, len(widths) - 0.5))
        panel.set_xticks(x, [str(w) for w in widths])
    first = np.atleast_1d(panels)[0]
    first.set_ylabel(f"share of {seeds} networks")
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle("Relu networks of ten layers fitted to |x|: born constant, they stay so (bars: exact "
    "95 %)",
                    fontsize=9)  # fmt: skip
    return figure


def _units(result: xr.Dataset) -> Figure:
    """Dead units of layer 1 against the number of examples, by how far these are off centre."""
    part, ratios = result.isel(start=0), [float(r) for r in result["ratio"].values]
    looks = draw.series([f"m/s = {r:g}" for r in ratios])
    figure, axes = draw.canvas(1, 1, height=3.0)
    panel, n = axes[0, 0], result["examples"].values
    for ratio, (label, look) in zip(ratios, looks.items(), strict=True):
        shares = part["unit_dead"].sel(ratio=ratio).mean("width")
        mean, error = shares.mean("seed"), shares.std("seed", ddof=1) / np.sqrt(shares.sizes["seed"])
        draw.theory(panel, n, result["unit_dead_predicted"].sel(ratio=ratio), look)
        seen = mean > 0
        draw.measured(panel, n[seen], mean[seen], error[seen], look, label=label)
    panel.set(xscale="log", yscale="log", xlabel="examples $n$", ylabel="share of dead units, layer 1")
    panel.set_ylim(1e-5, 1)
    panel.set_title(
        "Units of layer 1 off on n examples of mean m, deviation s; lines: $E\\,\\Phi(-t\\,m/s)^n$"
    )
    panel.legend(ncols=2)
    return figure


def table(result: xr.Dataset) -> pd.DataFrame:
    """Share of dead networks by width, start, features and depth, at some depths, with the theory."""
    depths = [d for d in (2, 5, 10, 20, 50, 100) if d <= result.sizes["depth"]]
    columns = {
        "dead_at_input": share_by_depth(result, "dead_at_input"),
        "dead_at_input_predicted": result["dead_at_input_predicted"],
        "dead_at_all": share_by_depth(result, "dead_at_all"),
        "upper_bound": result["dead_at_all_predicted"],
    }
    tidy = xr.Dataset(columns).sel(depth=depths).drop_vars(Start._fields).to_dataframe().reset_index()
    fits = {
        "collapsed_before": result["collapsed_before"].mean("seed"),
        "collapsed_after": result["collapsed"].mean("seed"),
        "median_loss_after": result["loss"].median("seed"),
    }
    fitted = xr.Dataset(fits).drop_vars(Start._fields).to_dataframe().reset_index()
    both = tidy.merge(fitted, on=["width", "start"])
    return both.assign(start=[name_of(i) for i in both["start"]])
