"""Figures of ``dead-relu``: dead units by learning rate, by layer, in time, and by initial bias."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.dead_relu.rectifiers import RECTIFIERS
from signalprop.bench.experiments.dead_relu.verdicts import LARGE, at_end, rates
from signalprop.bench.record import figures as draw

INPUTS = {0: "raw input", 1: "centred input"}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Draw the four figures."""
    result = result.sortby("rate")
    return {
        "dead_by_rate": _by_rate(result),
        "dead_by_layer": _by_layer(result),
        "deaths_and_revivals": _turnover(result),
        "dead_by_bias": _by_bias(result),
    }


def _by_rate(result: xr.Dataset) -> Figure:
    names = [str(name) for name in result["network"].values]
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure, axes = draw.canvas(rows, columns, height=2.1, sharey=True)
    gone, failed, looks = at_end(result), 1 - result["learned"], draw.series(list(INPUTS.values()))
    for panel in axes.ravel()[len(names) :]:
        panel.remove()
    for panel, name in zip(axes.ravel(), names, strict=False):
        x = rates(result).sel(network=name)
        for kind in result["centred"].values:
            look, label = looks[INPUTS[int(kind)]], INPUTS[int(kind)]
            here = gone.sel(network=name, centred=kind)
            lost = failed.sel(network=name, centred=kind).mean("seed")
            panel.plot(x, lost, color=look["color"], linestyle=":", linewidth=1.0,
                       label=f"{label}: networks that fail")  # fmt: skip
            panel.plot(x, here.mean("seed"), color=look["color"], linestyle="-", linewidth=1.0)
            draw.measured(panel, x, here.mean("seed"), _error(here), look, label=f"{label}: dead units")
        panel.axhline(LARGE, color="0.4", linestyle="--", linewidth=0.8)
        panel.set(title=RECTIFIERS[name].label, ylim=(-0.04, 1.04))
        _rate_axis(panel, x)
    for panel in axes[:, 0]:
        panel.set_ylabel("share")
    for panel in axes.ravel()[len(names) - columns : len(names)]:
        panel.set_xlabel("learning rate")
    figure.suptitle(
        "Dead units after training, and networks that fail, by learning rate (dashed: 40 %)", fontsize=9
    )
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _rate_axis(panel: Axes, rate: xr.DataArray) -> None:
    """A logarithmic axis with the smallest, a middle and the largest rate written out."""
    panel.set_xscale("log")
    panel.minorticks_off()
    shown = sorted({float(rate[i]) for i in (0, rate.size // 2, rate.size - 1)})
    panel.set_xticks(shown, [f"{value:.2g}" for value in shown])


def _error(values: xr.DataArray) -> xr.DataArray:
    """Standard error of the mean over seeds."""
    error: xr.DataArray = values.std("seed", ddof=1) / np.sqrt(values.sizes["seed"])
    return error


def _by_layer(result: xr.Dataset) -> Figure:
    """Dead units of each layer, for plain descent and a second optimizer, raw and centred."""
    names = [str(name) for name in result["network"].values]
    shown = [n for n in ("sgd", "adam") if n in names] or names[:1]
    kinds = [int(kind) for kind in result["centred"].values]
    figure, axes = draw.canvas(len(shown), len(kinds), height=2.2, sharex="row", sharey=True)
    for row, name in zip(axes, shown, strict=True):
        layers = [int(layer) for layer in result["layer"].values if layer <= RECTIFIERS[name].depth]
        looks = draw.series([f"layer {layer}" for layer in layers])
        for panel, kind in zip(row, kinds, strict=True):
            for label, layer in zip(looks, layers, strict=True):
                gone = result["dead"].isel(update=-1).sel(network=name, centred=kind, layer=layer)
                x = rates(result).sel(network=name) * 1.03 ** (layer - 2)
                panel.plot(x, gone.mean("seed"), linewidth=0.8, color=looks[label]["color"])
                draw.measured(panel, x, gone.mean("seed"), _error(gone), looks[label], label=label)
            panel.axhline(LARGE, color="0.4", linestyle="--", linewidth=0.8)
            panel.set(title=f"{RECTIFIERS[name].label}, {INPUTS[kind]}", ylim=(-0.04, 1.04))
            _rate_axis(panel, rates(result).sel(network=name))
        row[0].set_ylabel("dead units / units")
    for panel in axes[-1]:
        panel.set_xlabel("learning rate")
    figure.suptitle("Which layers die; dashed: 40 %", fontsize=9)
    axes[0, 0].legend(loc="upper left")
    return figure


def _turnover(result: xr.Dataset) -> Figure:
    """Deaths and revivals of every network in layer 1 and above, per network trained."""
    names = [str(name) for name in result["network"].values]
    figure, (panels,) = draw.canvas(1, 2, height=1.7 + 0.3 * len(names), sharey=True)
    parts = {"layer 1": result.sel(layer=[1]), "layers above": result.sel(layer=result["layer"] > 1)}
    for panel, (title, part) in zip(panels, parts.items(), strict=True):
        for kind, shift in zip(part["centred"].values, (0.17, -0.17), strict=False):
            _bars(panel, part.sel(centred=kind), int(kind), shift)
        panel.set(title=title, xlabel="units per network, sum over learning rates")
        panel.set_yticks(np.arange(len(names))[::-1], [RECTIFIERS[n].label for n in names])
        panel.grid(axis="y", visible=False)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
        title="numbers: share of the deaths that were undone",
    )  # fmt: skip
    figure.suptitle(
        "Layer 1: what dies stays dead, save by momentum or batch norm; above it, some come back", fontsize=9
    )
    return figure


def _bars(panel: Axes, part: xr.Dataset, kind: int, shift: float) -> None:
    """Deaths as bars, revivals as filled bars inside, with their number."""
    colour = draw.series(list(INPUTS.values()))[INPUTS[kind]]["color"]
    deaths, revivals = (part[k].sum(("rate", "layer")).mean("seed").values for k in ("deaths", "revivals"))
    rows = np.arange(len(deaths))[::-1] + shift
    panel.barh(rows, deaths, 0.32, facecolor="none", edgecolor=colour, label=f"{INPUTS[kind]}: deaths")
    panel.barh(rows, revivals, 0.32, color=colour, label=f"{INPUTS[kind]}: revivals")
    for row, dead, back in zip(rows, deaths, revivals, strict=True):
        share = "none" if dead == 0 else "0" if back == 0 else f"{back / dead:.1%}"
        panel.text(dead, row, f"  {share}", va="center", fontsize=6.5)
    panel.set_xlim(0, max(panel.get_xlim()[1], 1.2 * deaths.max(), 1))


def _by_bias(result: xr.Dataset) -> Figure:
    """Dead units before training against the initial bias."""
    names = [str(name) for name in result["network"].values]
    shown = [n for n in ("sgd", "batch_norm") if n in names] or names[:1]
    result = result.sortby("initial_bias").isel(rate=0)
    kinds = [int(kind) for kind in result["centred"].values]
    figure, axes = draw.canvas(1, len(shown) * len(kinds), height=2.5, sharey=True)
    panels = iter(axes[0])
    for name in shown:
        layers = [int(layer) for layer in result["layer"].values if layer <= RECTIFIERS[name].depth]
        looks = draw.series([f"layer {layer}" for layer in layers])
        for kind in kinds:
            panel = next(panels)
            for label, layer in zip(looks, layers, strict=True):
                gone = result["dead_by_bias"].sel(network=name, centred=kind, layer=layer)
                x = gone["initial_bias"] + 0.06 * (layer - 2)
                panel.plot(x, gone.mean("seed"), linewidth=0.8, color=looks[label]["color"])
                draw.measured(panel, x, gone.mean("seed"), _error(gone), looks[label], label=label)
            what = "batch norm" if RECTIFIERS[name].norm == "batch" else "plain relu"
            panel.set(title=f"{what},\n{INPUTS[kind]}", ylim=(-0.04, 1.04))
    axes[0, 0].set_ylabel("dead units / units, untrained")
    axes[0, 0].legend(loc="lower left")
    figure.suptitle("Negative biases kill units before training, batch norm's shift later", fontsize=9)
    figure.supxlabel("initial bias of every unit (of batch norm: its shift)", fontsize=8.5)
    return figure


def table(result: xr.Dataset) -> pd.DataFrame:
    """Dead units by network, input, learning rate and layer at the end, with deaths and revivals."""
    columns = {
        "learning_rate": rates(result),
        "dead": result["dead"].isel(update=-1, drop=True).mean("seed"),
        "dead_at_start": result["dead"].isel(update=0, drop=True).mean("seed"),
        "deaths": result["deaths"].sum("seed"),
        "revivals": result["revivals"].sum("seed"),
        "learned": result["learned"].sum("seed"),
        "diverged": (result["diverged_at"] > 0).sum("seed"),
        "accuracy_median": result["accuracy"].median("seed"),
    }
    tidy = xr.Dataset(columns).to_dataframe().reset_index()
    return tidy[np.isfinite(tidy["dead"])]
