"""Figures of ``dead-relu``: dead units by learning rate, by layer, in time, and by initial bias."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.dead_relu import RECTIFIERS
from signalprop.bench.experiments.dead_relu.verdicts import LARGE, at_end, rates
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

INPUTS = {0: "raw input", 1: "centred input"}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Draw the four figures."""
    result = result.sortby("rate")
    names = [str(name) for name in result["network"].values]
    kinds = [int(kind) for kind in result["centred"].values]
    return {
        "dead_by_rate": _by_rate(result, names, kinds),
        "dead_by_layer": _by_layer(result, names, kinds),
        "deaths_and_revivals": _turnover(result, names),
        "dead_by_bias": _by_bias(result, names, kinds),
    }


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
    return tidy(columns).dropna(subset="dead")


def _by_rate(result: xr.Dataset, names: list[str], kinds: list[int]) -> Figure:
    """Dead units after training and networks that fail, against the learning rate."""
    columns = min(5, len(names))
    figure, by_title = draw.panels(
        [RECTIFIERS[name].label for name in names], columns, height=2.1, sharey=True
    )
    panels, looks = list(by_title.values()), draw.series(list(INPUTS.values()))
    for panel, name in zip(panels, names, strict=True):
        x = rates(result).sel(network=name)
        for kind in kinds:
            part, look, label = result.sel(network=name, centred=kind), looks[INPUTS[kind]], INPUTS[kind]
            gone, lost = at_end(part), 1 - part["learned"].mean("seed")
            panel.plot(x, lost, color=look["color"], linestyle=":", linewidth=1.0,
                       label=f"{label}: networks that fail")  # fmt: skip
            panel.plot(x, gone.mean("seed"), color=look["color"], linestyle="-", linewidth=1.0)
            draw.measured(
                panel, x, gone.mean("seed"), standard_error(gone), look, label=f"{label}: dead units"
            )
        _share_axis(panel)
        _rate_axis(panel, x)
    for panel in panels[::columns]:
        panel.set_ylabel("share")
    for panel in panels[-columns:]:
        panel.set_xlabel("learning rate")
    figure.suptitle(
        "Dead units after training, and networks that fail, by learning rate (dashed: 40 %)", fontsize=9
    )
    draw.legend(figure, panels[0], ncols=2)
    return figure


def _share_axis(panel: Axes) -> None:
    """Shares from 0 to 1, with a line at the share that CS231n's notes name."""
    panel.axhline(LARGE, color="0.4", linestyle="--", linewidth=0.8)
    panel.set_ylim(-0.04, 1.04)


def _rate_axis(panel: Axes, rate: xr.DataArray) -> None:
    """A logarithmic axis with the smallest, a middle and the largest rate written out."""
    panel.set_xscale("log")
    panel.minorticks_off()
    shown = sorted({float(rate[i]) for i in (0, rate.size // 2, rate.size - 1)})
    panel.set_xticks(shown, [f"{value:.2g}" for value in shown])


def _by_layer(result: xr.Dataset, names: list[str], kinds: list[int]) -> Figure:
    """Dead units of each layer, for plain descent and a second optimizer, raw and centred."""
    shown = [n for n in ("sgd", "adam") if n in names] or names[:1]
    cases = {f"{RECTIFIERS[name].label}, {INPUTS[kind]}": (name, kind) for name in shown for kind in kinds}
    figure, by_title = draw.panels(list(cases), len(kinds), height=2.2, sharex="row", sharey=True)
    panels = list(by_title.values())
    for panel, (name, kind) in zip(panels, cases.values(), strict=True):
        gone, x = (
            result["dead"].isel(update=-1).sel(network=name, centred=kind),
            rates(result).sel(network=name),
        )
        _layers(panel, [x * 1.03 ** (layer - 2) for layer in _numbers(name)], gone)
        _share_axis(panel)
        _rate_axis(panel, x)
    for panel in panels[:: len(kinds)]:
        panel.set_ylabel("dead units / units")
    for panel in panels[-len(kinds) :]:
        panel.set_xlabel("learning rate")
    figure.suptitle("Which layers die; dashed: 40 %", fontsize=9)
    panels[0].legend(loc="upper left")
    return figure


def _numbers(name: str) -> range:
    """Numbers of a network's layers."""
    return range(1, RECTIFIERS[name].depth + 1)


def _layers(panel: Axes, places: Sequence[xr.DataArray], gone: xr.DataArray) -> None:
    """Dead units of each layer, at places a little apart, so that no layer hides another."""
    looks = draw.series([f"layer {layer}" for layer in range(1, len(places) + 1)])
    for layer, (x, (label, look)) in enumerate(zip(places, looks.items(), strict=True), start=1):
        here = gone.sel(layer=layer)
        panel.plot(x, here.mean("seed"), linewidth=0.8, color=look["color"])
        draw.measured(panel, x, here.mean("seed"), standard_error(here), look, label=label)


def _turnover(result: xr.Dataset, names: list[str]) -> Figure:
    """Deaths and revivals of every network in layer 1 and above, per network trained."""
    parts = {"layer 1": result.sel(layer=[1]), "layers above": result.sel(layer=result["layer"] > 1)}
    figure, panels = draw.panels(list(parts), height=1.7 + 0.3 * len(names), sharey=True)
    for title, panel in panels.items():
        part = parts[title]
        for kind, shift in zip(part["centred"].values, (0.17, -0.17), strict=False):
            _bars(panel, part.sel(centred=kind), int(kind), shift)
        panel.set_xlabel("units per network, sum over learning rates")
        panel.set_yticks(np.arange(len(names))[::-1], [RECTIFIERS[n].label for n in names])
        panel.grid(axis="y", visible=False)
    draw.legend(figure, panels["layer 1"], ncols=4, title="numbers: share of the deaths that were undone")
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


def _by_bias(result: xr.Dataset, names: list[str], kinds: list[int]) -> Figure:
    """Dead units before training against the initial bias."""
    shown = [n for n in ("sgd", "batch_norm") if n in names] or names[:1]
    result = result.sortby("initial_bias").isel(rate=0)
    what = {n: "batch norm" if RECTIFIERS[n].norm == "batch" else "plain relu" for n in shown}
    cases = {f"{what[name]},\n{INPUTS[kind]}": (name, kind) for name in shown for kind in kinds}
    figure, by_title = draw.panels(list(cases), len(cases), height=2.5, sharey=True)
    panels, bias = list(by_title.values()), result["initial_bias"]
    for panel, (name, kind) in zip(panels, cases.values(), strict=True):
        gone = result["dead_by_bias"].sel(network=name, centred=kind)
        _layers(panel, [bias + 0.06 * (layer - 2) for layer in _numbers(name)], gone)
        panel.set_ylim(-0.04, 1.04)
    panels[0].set_ylabel("dead units / units, untrained")
    panels[0].legend(loc="lower left")
    figure.suptitle("Negative biases kill units before training, batch norm's shift later", fontsize=9)
    figure.supxlabel("initial bias of every unit (of batch norm: its shift)", fontsize=8.5)
    return figure
