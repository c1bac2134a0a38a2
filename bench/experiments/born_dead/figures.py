"""Figures of ``born-dead``: dead networks by depth, dead units of layer 1, and constant fits."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.born_dead import STARTS, Start
from signalprop.bench.experiments.born_dead.verdicts import LABELS, chosen, share_by_depth
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Draw the three figures."""
    return {
        "dead_by_depth": _by_depth(result),
        "collapse": _collapse(result),
        "dead_units": _units(result),
    }


def table(result: xr.Dataset) -> pd.DataFrame:
    """Share of dead networks by width, start, features and depth, at some depths, with the theory."""
    depths = [d for d in (2, 5, 10, 20, 50, 100) if d <= result.sizes["depth"]]
    born = {
        "dead_at_input": share_by_depth(result, "dead_at_input").sel(depth=depths),
        "dead_at_input_predicted": result["dead_at_input_predicted"].sel(depth=depths),
        "dead_at_all": share_by_depth(result, "dead_at_all").sel(depth=depths),
        "upper_bound": result["dead_at_all_predicted"].sel(depth=depths),
    }
    fits = {
        "collapsed_before": result["collapsed_before"].mean("seed"),
        "collapsed_after": result["collapsed"].mean("seed"),
        "median_loss_after": result["loss"].median("seed"),
    }
    by_depth, fitted = (tidy(xr.Dataset(columns).drop_vars(Start._fields)) for columns in (born, fits))
    both = by_depth.merge(fitted, on=["width", "start"])
    return both.assign(start=[list(STARTS)[int(i)] for i in both["start"]])


def _by_depth(result: xr.Dataset) -> Figure:
    """Dead networks against depth: at one input, and everywhere for one feature and several."""
    part = next(p for p in (chosen(result, s) for s in STARTS) if p is not None)
    features = [int(f) for f in result["features"].values]
    titles = ["at one given input: exact", *(f"at all inputs, d = {f}" for f in features)]
    figure, by_title = draw.panels(titles, len(titles), height=2.9, sharey=True)
    first, *others = by_title.values()
    looks = draw.series([f"N = {w}" for w in part["width"].values])
    for width, (label, look) in zip(part["width"].values, looks.items(), strict=True):
        here = part.sel(width=width)
        one = share_by_depth(here, "dead_at_input").isel(features=0)
        _curve(first, here, one, "dead_at_input_predicted", look, label)
        for panel, f in zip(others, features, strict=True):
            dead = share_by_depth(here, "dead_at_all").sel(features=f)
            _curve(panel, here, dead, "dead_at_all_predicted", look, label)
            if f == 1:
                panel.plot(here["depth"], here["dead_at_all_floor_predicted"], color=look["color"],
                           linestyle=":", linewidth=0.9)  # fmt: skip
    for panel in (first, *others):
        panel.set(xscale="log", xlabel="hidden layers $L$", ylim=(-0.03, 1.03))
    first.set_ylabel("share of networks that are dead")
    draw.legend(figure, first, ncols=min(5, len(looks)))
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
    names = [name for name in STARTS if chosen(result, name) is not None]
    figure, by_title = draw.panels([LABELS[name] for name in names], len(names), height=2.7, sharey=True)
    panels, looks = list(by_title.values()), draw.series(["constant before training", "constant after it"])
    x, shifts = np.arange(result.sizes["width"]), (-0.12, 0.12)
    for panel, name in zip(panels, names, strict=True):
        part = chosen(result, name)
        assert part is not None
        for variable, (label, look), shift in zip(
            ("collapsed_before", "collapsed"), looks.items(), shifts, strict=True
        ):
            counts = part[variable].sum("seed").values
            draw.shares(panel, x + shift, counts, part.sizes["seed"], look, label=label)
        panel.set(xlabel="width $N$", ylim=(-0.04, 1.04), xlim=(-0.5, len(x) - 0.5))
        panel.set_xticks(x, [str(w) for w in result["width"].values])
    panels[0].set_ylabel(f"share of {result.sizes['seed']} networks")
    draw.legend(figure, panels[0], ncols=2)
    figure.suptitle(
        "Relu networks of ten layers fitted to |x|: born constant, they stay so (bars: exact 95 %)",
        fontsize=9,
    )
    return figure


def _units(result: xr.Dataset) -> Figure:
    """Dead units of layer 1 against the number of examples, by how far these are off centre."""
    figure, ((panel,),) = draw.canvas(1, 1, height=3.0)
    n, looks = result["examples"].values, draw.series([f"m/s = {r:g}" for r in result["ratio"].values])
    for ratio, (label, look) in zip(result["ratio"].values, looks.items(), strict=True):
        shares = result["unit_dead"].isel(start=0).sel(ratio=ratio).mean("width")
        mean, error = shares.mean("seed"), standard_error(shares)
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
