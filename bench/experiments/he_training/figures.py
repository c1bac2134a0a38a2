"""Figures of ``he-training``: learning curves at 22 and 30 layers, the signal by layer, success by rate."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.he_training import STARTS
from signalprop.bench.experiments.he_training.verdicts import BEGUN, LN10, best, named_starts
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

CHANCE = 0.1  # what a diverged network is shown at


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Learning curves, signal and gradient by layer, and successes by learning rate."""
    result = named_starts(result)
    return {"curves": _curves(result), "signal": _signal(result), "rates": _rates(result)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Successes and speed by depth, start and learning rate."""
    result = named_starts(result)
    count, seeds = result["begun_at"].notnull().sum("seed"), result.sizes["seed"]
    low, high = xr.apply_ufunc(share_interval, count, seeds, output_core_dims=[[], []], vectorize=True)
    columns = {
        "begun": count,
        "seeds": xr.full_like(count, seeds),
        "low": low,
        "high": high,
        "updates_to_begin_median": result["begun_at"].median("seed"),
        "test_accuracy_median": result["test_accuracy"].median("seed"),
        "diverged": (result["diverged_at"] > 0).sum("seed"),
        "counts": xr.zeros_like(count).where(result["learning_rate"] != best(result)["learning_rate"], 1),
    }
    return tidy(xr.Dataset(columns).reset_coords(drop=True))


def _looks(result: xr.Dataset) -> dict[str, dict[str, Any]]:
    looks = draw.series(list(STARTS))
    return {str(name): looks[str(name)] for name in result["start"].values}


def _curves(result: xr.Dataset) -> Figure:
    """Training error against updates, one panel per depth, as in figures 2 and 3 of the paper."""
    at, depths = best(result), result["depth"].values
    rates = ", ".join(f"{rate:g}" for rate in result["learning_rate"].values)
    titles = [f"{depth} hidden layers" for depth in depths]
    figure, panels = draw.panels(titles, height=3.8, sharey=True)
    for panel, depth in zip(panels.values(), depths, strict=True):
        for name, look in _looks(result).items():
            chosen = at.sel(depth=depth, start=name)
            error = 1 - chosen["accuracy"].fillna(CHANCE)
            begun = int(chosen["begun_at"].notnull().sum())
            rate = float(chosen["learning_rate"])
            low, median, high = error.quantile([0.25, 0.5, 0.75], "seed").values
            label = f"{STARTS[name].label} (rate {rate:g}): {begun} of {result.sizes['seed']}"
            panel.plot(
                result["update"], median, label=label, markersize=3.5,
                markevery=(2, max(1, median.size // 6)), **look,
            )  # fmt: skip
            panel.fill_between(result["update"], low, high, color=look["color"], alpha=0.15, linewidth=0)
        panel.axhline(1 - BEGUN, color="0.3", linewidth=0.8, linestyle=":")
        panel.set(xlabel="updates", ylim=(-0.02, 1.0))
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), title="have begun to learn")
    panels[titles[0]].set_ylabel("training error (median, quartiles)")
    figure.suptitle(
        f"Relu networks by start, each at the best, on these networks, of the learning rates {rates}\n"
        f"(dotted: begun, error {1 - BEGUN:g})",
        fontsize=9,
    )
    return figure


def _signal(result: xr.Dataset) -> Figure:
    """Size of the signal, and of the weight gradients, by layer of the deepest network."""
    depth = int(result["depth"].max())
    at = result.sel(depth=depth).isel(learning_rate=0)
    figure, (panels,) = draw.canvas(1, 2, height=3.0)
    for name, look in _looks(result).items():
        if name == "xavier_frozen":  # equal to xavier before training
            continue
        chosen, label = at.sel(start=name), STARTS[name].label
        for panel, variable in zip(panels, ("log_signal", "log_gradient"), strict=True):
            y = chosen[variable].where(np.isfinite(chosen[variable])) / LN10
            draw.measured(
                panel, at["layer"], y.mean("seed"), standard_error(y), look, label=label, markersize=3
            )
        draw.theory(panels[0], at["layer"], chosen["log_signal_predicted"] / LN10, look)
    panels[0].set(ylabel=r"$\log_{10} (|y^l| / |x|)$", title=r"Signal: Xavier's is He's times $2^{-l/2}$")
    panels[1].set(
        ylabel=r"$\log_{10} |\partial E / \partial W^l|$", 
        title="Weight gradients: alike in all layers of a start",
    )  # fmt: skip
    for panel in panels:
        panel.set_xlabel("layer $l$")
    figure.suptitle(
        f"Before training, {depth} layers: points: mean of {at.sizes['seed']} networks; lines: exact law",
        fontsize=9,
    )
    panels[0].legend(loc="lower left")
    return figure


def _rates(result: xr.Dataset) -> Figure:
    """Share of networks that begin to learn, by learning rate."""
    depths, rates = result["depth"].values, result["learning_rate"].values
    looks, seeds = _looks(result), result.sizes["seed"]
    titles = [f"{depth} hidden layers" for depth in depths]
    figure, panels = draw.panels(titles, height=2.9, sharey=True)
    for panel, depth in zip(panels.values(), depths, strict=True):
        for i, (name, look) in enumerate(looks.items()):
            begun = result["begun_at"].sel(depth=depth, start=name).notnull().sum("seed")
            x = np.arange(rates.size) + 0.13 * (i - (len(looks) - 1) / 2)  # the starts side by side
            draw.shares(panel, x, begun, seeds, look, label=STARTS[name].label)
        panel.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set(xlabel="learning rate", ylim=(-0.04, 1.04))
    panels[titles[0]].set_ylabel(f"share of {seeds} networks\nthat begin to learn")
    draw.legend(figure, panels[titles[0]], ncols=4)
    figure.suptitle("Networks that begin to learn, by learning rate; bars: exact 95 % intervals", fontsize=9)
    return figure
