"""Figures of ``normalization``: gradient against layer, growth per layer, saturation and dropout."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.normalization.verdicts import norms, rates
from signalprop.bench.measure.estimates import exp, standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

LN10 = float(np.log(10))
BARS: dict[str, Any] = {"linewidth": 2.2, "alpha": 0.55}  # of predictions
TITLES = {"none": "No norm, He or LeCun weights", "layer": "Layer norm", "rms": "RMS norm"}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Profiles by norm, growth by activation, and what else norms and dropout change."""
    return {"profiles": _profiles(result), "growth": _growth(result), "units": _units(result)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Growth per layer, saturation and cosine of every norm and activation."""
    rate = rates(result)
    columns = {"log_growth_per_layer": rate.mean("seed"), "error": standard_error(rate)}
    columns["log_growth_predicted"] = result["rate_predicted"]
    for name in ("saturated", "cosine"):
        columns |= {name: result[name].mean("seed"), f"{name}_predicted": result[f"{name}_predicted"]}
    return tidy(columns)


def _title(name: str) -> str:
    return TITLES.get(name, f"Batch norm, $B$ = {name.split()[-1]}")


def _profiles(result: xr.Dataset) -> Figure:
    """As figure 1 of Yang et al.: log10 of |g|^2 against the layer, one panel per norm."""
    batches = norms(result, "batch")
    names = ["none", "layer", batches[0], batches[-1]]
    figure, panels = draw.canvas(2, 2, height=2.7, sharex=True)
    looks = draw.series([str(name) for name in result["activation"].values])
    for axes, name in zip(panels.flat, names, strict=True):
        _panel(axes, result.sel(norm=name), looks)
        axes.set_title(_title(name))
    for axes in panels[:, 0]:
        axes.set_ylabel(r"$\log_{10} \; |\partial E / \partial y^l|^2 \, / \, |\partial E / \partial y^L|^2$")
    for axes in panels[1]:
        axes.set_xlabel("layer $l$")
    draw.legend(figure, panels[0, 0], where="right")
    return figure


def _panel(axes: Axes, at: xr.Dataset, looks: dict[str, dict[str, Any]]) -> None:
    """Means over networks as points, and lines with the predicted slope through the top of the window."""
    low, high = (int(end) for end in at["window"].values)
    shown = at["layer"].values[::3]
    for name, look in looks.items():
        log = at["log_gradient_squared"].sel(activation=name) / LN10
        anchor = float(log.sel(layer=high).mean("seed"))
        layers = np.array([low, high])
        slope = float(at["rate_predicted"].sel(activation=name)) / LN10
        draw.theory(axes, layers, anchor + slope * (high - layers), look)
        values = log.sel(layer=shown)
        draw.measured(axes, shown, values.mean("seed"), standard_error(values), look, label=name)


def _growth(result: xr.Dataset) -> Figure:
    """Factor of |g|^2 per layer for every activation and norm, predicted as bars, measured as points."""
    figure, ((axes,),) = draw.canvas(1, 1, height=3.6)
    names = ["none", *norms(result, "layer", "rms", "batch")]
    activations = [str(name) for name in result["activation"].values]
    found, place = rates(result), np.arange(len(activations))
    for i, (name, look) in enumerate(draw.series(names).items()):
        at = place + (i - (len(names) - 1) / 2) * 0.8 / len(names)
        half = 0.4 / len(names)
        predicted = np.exp(result["rate_predicted"].sel(norm=name))
        axes.hlines(predicted, at - half, at + half, color=look["color"], **BARS)
        growth = exp(found.sel(norm=name).mean("seed"))
        error = growth * standard_error(found.sel(norm=name))
        label = _title(name).replace(", He or LeCun weights", "")
        draw.measured(axes, at, growth, error, look, label=label, zorder=4)
    axes.axhline(1, color="0.3", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xticks(place, activations)
    axes.set_ylabel(r"growth of $|\partial E / \partial y|^2$ per layer")
    axes.set_title("Batch norm: above 1 for every nonlinearity. Theory as bars, measured as points")
    axes.legend(loc="lower left", ncols=2)
    axes.grid(axis="x", visible=False)
    return figure


def _units(result: xr.Dataset) -> Figure:
    """Share of saturated units, and where two dropout masks of one input settle."""
    figure, ((left, right),) = draw.canvas(1, 2, height=2.9)
    _saturation(left, result)
    _masks(right, result)
    return figure


def _saturation(axes: Axes, result: xr.Dataset) -> None:
    """Share of saturated units without a norm and with batch norm, for sigmoid and tanh."""
    names = norms(result, "none, large", "batch")
    place = np.arange(len(names))
    shown = [str(n) for n in result["activation"].values if n in ("sigmoid", "tanh")]
    for i, (name, look) in enumerate(draw.series(shown).items()):
        at = result.sel(norm=names, activation=name)
        x = place + 0.18 * (i - (len(shown) - 1) / 2)
        axes.hlines(at["saturated_predicted"], x - 0.08, x + 0.08, color=look["color"], **BARS)
        share = at["saturated"]
        draw.measured(axes, x, share.mean("seed"), standard_error(share), look, label=name)
    axes.set_xticks(place, ["no norm", *(f"BN, $B$ = {name.split()[-1]}" for name in names[1:])])
    axes.set(ylabel="share of saturated units", ylim=(-0.05, 1))
    axes.set_title("The same large weights, without\nand with batch norm")
    if shown:
        axes.legend()
    axes.grid(axis="x", visible=False)


def _masks(axes: Axes, result: xr.Dataset) -> None:
    """Cosine of the outputs under two masks of one input, against the probability to keep a unit."""
    names = norms(result, "dropout")
    keep = np.array([float(name.split()[1]) for name in names])
    if "relu" in result["activation"] and names:
        at = result.sel(norm=names, activation="relu")
        order = np.argsort(at["probability"].values)
        probability, settled = at["probability"].values[order], at["settled_cosine"].values[order]
        draw.theory(axes, probability, settled, label=r"$c = k \, \kappa_1(c)$")
        cosine = at["cosine"]
        draw.measured(axes, keep, cosine.mean("seed"), standard_error(cosine), label="relu networks")
        axes.legend()
    axes.set(xlabel="probability $k$ to keep a unit", ylabel="cosine of the outputs")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_title("Two dropout masks of one input\ndo not agree in depth")
