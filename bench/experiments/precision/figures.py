"""Figures of ``precision``: the atlas of slopes, gradients in four formats, and steps below half a gap."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.analysis import precision
from signalprop.bench.experiments.precision import EXPERIMENT
from signalprop.bench.experiments.precision.verdicts import lost_layers
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

LOWEST, HIGHEST = 0.85, 2e3  # of |z| on the axis of the atlas
ALL, NEVER = 0.6, 4e3  # where edges at 0 and edges beyond the axis are drawn
ONCE = ("slope_edge", "value_edge", "number_edge", "moving_step", "rest", "product_end", "product_rest")
NAMES = {
    "sigmoid_symmetric": "sigmoid, S(z) S(-z)",
    "maximum": "maximum(z, 0)",
    "gelu_tanh": "gelu by tanh (right: NaN)",
    "log_softmax_loss": "loss by log_softmax",
    "softplus_loss": "loss by softplus",
}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """The atlas of edges, gradients against depth, and rounded steps."""
    once = result.isel(seed=0)
    return {"atlas": _atlas(once), "depth": _depth(result), "rounding": _rounding(once)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """All that the figures show beside its prediction: edges, steps, rests, products and depths of loss."""
    columns = ["quantity", "format", "of", "measured", "error", "predicted"]
    once, parts = result.isel(seed=0), []
    for name in ONCE:
        known = f"{name}_predicted"
        part = tidy(once[[n for n in (name, known) if n in once]])
        of = part[list(EXPERIMENT.variables[name].dims[1:])].astype(str).agg(" ".join, axis=1)
        parts.append(part.rename(columns={name: "measured", known: "predicted"}).assign(quantity=name, of=of))
    for name in ("kept", "plain"):
        part = tidy(lost_layers(result, name)).rename(columns={"network": "of"})
        parts.append(part.assign(quantity=f"{name}_lost"))
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)


def _looks(result: xr.Dataset) -> dict[str, dict[str, Any]]:
    return draw.series([str(name) for name in result["format"].values])


def _atlas(once: xr.Dataset) -> Figure:
    order = once["slope_edge"].sel(format="float32").min("side").argsort().values
    rows = once.isel(activation=order[::-1])
    height = 1.3 + 0.21 * rows.sizes["activation"]
    figure, ((left, right),) = draw.canvas(1, 2, height=height, sharey=True)
    for axes, side in ((left, "left"), (right, "right")):
        _edges(axes, rows.sel(side=side))
    left.invert_xaxis()
    left.set(xlabel=r"$|z|$ on the left, $z < 0$", title="Slope exactly 0 further left")
    right.set(xlabel=r"$z$ on the right, $z > 0$", title="Slope exactly 0 further right")
    labels = [NAMES.get(str(name), str(name)) for name in rows["activation"].values]
    left.set_yticks(range(len(labels)), labels)
    draw.legend(figure, right, ncols=5)
    return figure


def _edges(axes: Axes, rows: xr.Dataset) -> None:
    """Edges of every function on one side: points measured, ticks predicted, one level per format."""
    place = np.arange(rows.sizes["activation"])
    for shift, (name, look) in zip((0.27, 0.09, -0.09, -0.27), _looks(rows).items(), strict=True):
        at = rows.sel(format=name)
        measured, predicted = (_on_axis(at[v]) for v in ("slope_edge", "slope_edge_predicted"))
        draw.measured(axes, measured, place + shift, None, look, label=name, markersize=3.5)
        more: dict[str, Any] = {"linestyle": "none", "marker": "|", "markersize": 6, "zorder": 4}
        axes.plot(predicted, place + shift, color="0.1", markeredgewidth=1.1, **more)
    axes.plot([], [], "|", color="0.1", markeredgewidth=1.1, label="half-ulp analysis")
    axes.axvspan(HIGHEST, 8e3, color="0.5", alpha=0.15, linewidth=0)
    axes.axvspan(0.45, LOWEST, color="0.5", alpha=0.15, linewidth=0)
    ticks = {ALL: "all", 1: "1", 10: "10", 100: "100", 1000: "1000", NEVER: "never,\n$> 10^{18}$"}
    axes.set(xscale="log", xlim=(0.45, 8e3), ylim=(-0.6, len(place) - 0.4))
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()
    axes.grid(axis="y", visible=False)
    for row in place[:-1]:
        axes.axhline(row + 0.5, color="0.85", linewidth=0.5, zorder=0)


def _on_axis(edge: xr.DataArray) -> np.ndarray:
    """Edges with those beyond the axis moved into its margins."""
    return np.where(edge > HIGHEST, NEVER, np.where(edge < LOWEST, ALL, edge))


def _depth(result: xr.Dataset) -> Figure:
    figure, (axes,) = draw.canvas(1, 3, height=3.3)
    _decades(axes[0], result.sel(network="sigmoid"), (-46, 4), 76)
    _decades(axes[1], result.sel(network="sin"), (-3, 43), 62)
    axes[0].set_title("Sigmoids: it vanishes and dies")
    axes[1].set_title("Sines: it explodes and overflows")
    draw.legend(figure, axes[0], ncols=7)
    _predicted_depths(axes[2], result)
    return figure


def _decades(axes: Axes, at: xr.Dataset, limits: tuple[float, float], layers: int) -> None:
    """Gradient by layer in the formats whose end is in the picture, with the predicted ends."""
    true, layer = at["true"].mean("seed"), at["layer"].values
    draw.theory(axes, layer, at["true_predicted"], label=r"$\sqrt{\chi_1}$ per layer")
    every = slice(0, layers, 6)
    grey = {"color": "0.2", "marker": "."}
    draw.measured(axes, layer[every], true[every], None, grey, label="log domain", markersize=7)
    for index, (name, look) in enumerate(list(_looks(at).items())[:3]):
        kept = at["kept"].sel(format=name)
        alive = kept.where(abs(kept) < np.inf).mean("seed", skipna=False)
        some = slice(1 + 2 * index, layers, 6)
        draw.measured(axes, layer[some], alive[some], None, look, label=name)
        for variable, style in (("kept", "--"), ("plain", ":")):
            end = float(at[f"{variable}_lost_predicted"].sel(format=name))
            axes.axvline(end, color=look["color"], linestyle=style, linewidth=1.0, zorder=1)
            if variable == "kept" and name != "bfloat16":  # whose range is that of float32
                label = "float16" if name == "float16" else "bfloat16, float32"
                place, align = (limits[1], "top") if limits[0] < -10 else (limits[0], "bottom")
                axes.text(end + 1, place, f" {label} ", rotation=90, va=align, ha="left", fontsize=7)
    axes.plot([], [], "--", color="0.4", linewidth=1.0, label="entries lost")
    axes.plot([], [], ":", color="0.4", linewidth=1.0, label="squares lost")
    axes.set(xlim=(-1, layers), ylim=limits)
    axes.set(xlabel="layers below the last", ylabel=r"$\log_{10} |\delta|$")


def _predicted_depths(axes: Axes, result: xr.Dataset) -> None:
    """Layers at which gradients are lost, measured against predicted, with the products of equal factors."""
    once = result.isel(seed=0)
    axes.plot([2, 1e4], [2, 1e4], color="0.2", linewidth=0.9)
    looks = _looks(result)
    marks = {("sigmoid", "kept"): "o", ("sigmoid", "plain"): "s", ("sin", "kept"): "^", ("sin", "plain"): "v"}
    labels = {"sigmoid": "sigmoids", "sin": "sines", "kept": "entries", "plain": "squares"}
    for (network, variable), marker in marks.items():
        table = lost_layers(result, variable).sel(network=network)
        for name, look in looks.items():
            at = table.sel(format=name)
            style = {"color": look["color"], "marker": marker}
            draw.measured(axes, at["predicted"], at["measured"], at["error"], style)
        label = f"{labels[network]}, {labels[variable]}"
        axes.plot([], [], marker, color="0.4", markerfacecolor="white", label=label)
    for name, look in looks.items():
        at = once.sel(format=name)
        axes.plot(at["product_end_predicted"], at["product_end"], "x", color=look["color"], markersize=4)
        axes.plot([], [], "-", color=look["color"], linewidth=3, label=name)
    axes.plot([], [], "x", color="0.4", label="products $r^L$")
    axes.set(xscale="log", yscale="log", xlim=(2, 1e4), ylim=(2, 1e4))
    axes.set(xlabel="predicted layers or factors", ylabel="measured", title="Where numbers end")
    axes.legend(loc="upper left", fontsize=6.5)


def _rounding(once: xr.Dataset) -> Figure:
    figure, (axes,) = draw.canvas(1, 3, height=2.9)
    _idle(axes[0], once)
    _rest(axes[1], once)
    _slope_error(axes[2], once)
    return figure


def _idle(axes: Axes, once: xr.Dataset) -> None:
    """Smallest step that changes a weight, relative to the weight."""
    w = np.linspace(1, 3, 2001)
    for name, look in _looks(once).items():
        idle = precision.largest_idle_step(w, name)
        draw.theory(axes, w, idle / w, {**look, "linestyle": "-"}, linewidth=1.0)
        moving = once["moving_step"].sel(format=name) / once["weight"]
        draw.measured(axes, once["weight"], moving, None, look, label=name)
    axes.set(yscale="log", ylim=(1e-17, 100), xlabel="weight $w$", ylabel=r"$|\eta g| / |w|$ that moves $w$")
    axes.set_title("Smaller steps do nothing")
    axes.legend(loc="upper center", ncols=2)


def _rest(axes: Axes, once: xr.Dataset) -> None:
    """Where gradient descent on a quadratic ends."""
    fine = np.linspace(0.05, 1.95, 4001)
    slack = np.minimum(fine, 2 - fine)
    axes.fill_between([0, 0.5], 0, 11, color="0.5", alpha=0.12, linewidth=0)
    axes.fill_between([1.5, 2], 0, 11, color="0.5", alpha=0.12, linewidth=0)
    draw.theory(axes, fine, np.floor(0.5 / slack), label=r"$k |1 - \eta h|$ rounds to $k$")
    for shift, (name, look) in zip((-0.03, -0.01, 0.01, 0.03), _looks(once).items(), strict=True):
        gaps = np.abs(once["rest"].sel(format=name))
        draw.measured(axes, once["rate"] + shift, gaps, None, look, label=name)
    for place, state in ((0.25, "frozen"), (1.0, "arrives"), (1.74, "alternates")):
        axes.text(place, 10.4, state, ha="center", va="center", fontsize=6)
    axes.set(xlim=(0, 2), ylim=(-0.4, 11), xlabel=r"rate times curvature, $\eta h$")
    axes.set(ylabel="gaps from the minimum", title="Descent ends off the minimum")
    axes.legend(loc="center")


def _slope_error(axes: Axes, once: xr.Dataset) -> None:
    """Relative error of S (1 - S)."""
    z = once["z"].values
    for name, look in _looks(once).items():
        limits = precision.number_format(name)
        flush = bool(once["flushes"].sel(format=name))
        zero = precision.zero_gradient_edges(name, flush, True)["sigmoid"]
        bound = np.minimum(2.0**-limits.precision * (1 + np.exp(z)), 1)
        bound = np.where((z < -zero[1]) | (z >= zero[0]), 1, bound)
        draw.theory(axes, z, bound, {**look, "linestyle": "-"}, linewidth=1.0)
        error = once["slope_error"].sel(format=name)
        some = slice(None, None, 4)
        draw.measured(axes, z[some], error.where(error > 0)[some], None, look)
    axes.set(yscale="log", ylim=(1e-18, 1e4), xlabel="$z$", ylabel="relative error of $S (1 - S)$")
    axes.plot([], [], "-", color="0.4", label=r"$2^{-p} (1 + e^z)$; 1 where $S' = 0$")
    axes.set_title("$1 - S$ loses its digits")
    axes.legend(loc="upper left", handlelength=1.2)
