"""Figures: singular values over depth, their densities, growth and spread."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from signalprop.analysis import freeprob, randommatrix
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy
from signalprop.models.activations import chosen

LN10 = float(np.log(10))
MOST_LINES = 32  # singular values drawn per panel
EDGES = np.arange(-4.1, 1.4, 0.2)  # decades; with isometry, s = s_rms, in the middle of a bin
BARE: dict[str, Any] = {"color": "0.3", "linestyle": "none", "markerfacecolor": "white"}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Singular values over depth, their densities, their mean square, and the spread of their squares."""
    return {
        "spectrum": _spectrum(result.isel(scale=0)),
        "density": _density(result.isel(scale=0)),
        "mean_square": _mean_square(result),
        "variance": _variance(result.isel(scale=0)),
    }


def table(result: xr.Dataset) -> pd.DataFrame:
    """Means over seeds with their standard errors, beside the predictions; sizes are in decades."""
    measured = {
        "mean_square": result["log_mean_square"] / np.log(10),
        "largest": result["log_singular_values"].isel(index=0, drop=True) / np.log(10),
        "relative_variance": result["relative_variance"],
        "rank": result["rank"],
    }
    columns = {}
    for name, values in measured.items():
        columns[name], columns[f"{name}_error"] = over_seeds(values)
    columns["mean_square_predicted"] = result["log_mean_square_predicted"] / np.log(10)
    for name in ("relative_variance_predicted", "relative_variance_at_width", "sigma_w"):
        columns[name] = result[name]
    return tidy(columns).drop(columns=["multiple", "absolute"])


def over_seeds(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean and standard error, without networks that are lost or, by a layer of closed gates, exactly 0."""
    finite = values.where(abs(values) < np.inf)
    return finite.mean("seed"), standard_error(finite)


def _panels(at: xr.Dataset, **shared: Any) -> tuple[Figure, np.ndarray]:
    """One column for each activation, one row for each weight family."""
    families, names = at["weights"].values, at["activation"].values
    figure, axes = draw.canvas(len(families), len(names), height=1.9, sharex=True, **shared)
    for panel, name in zip(axes[0], names, strict=True):
        panel.set_title(str(name))
    return figure, axes


def _spectrum(at: xr.Dataset) -> Figure:
    """Singular values as lines over depth."""
    figure, axes = _panels(at, sharey="col")
    for row, family in zip(axes, at["weights"].values, strict=True):
        for panel, name in zip(row, at["activation"].values, strict=True):
            _spectrum_panel(panel, at.sel(activation=name, weights=family))
        row[0].set_ylabel(f"{family} weights\n" r"$\log_{10} s_i$")
    for panel in axes[-1]:
        panel.set_xlabel("depth $L$")
    for panel in axes[0]:
        _span(panel)
    unresolved = bool((at["rank"].isnull() & at["log_mean_square"].notnull()).any())
    label = r"$s_i > 10^{-16} s_1$ (median)" if unresolved else "$s_i$ (median)"
    handles = [
        Line2D([], [], color=mpl.colormaps[draw.SEQUENTIAL](0.33), linewidth=0.8, label=label),
        Line2D([], [], marker="o", label="root mean square", **{**BARE, "color": "k"}),
        Line2D([], [], color="C3", label=r"theory, product of $\sqrt{\chi_1}$"),
        Line2D([], [], color="C1", linestyle="--", label="Newman (first, middle, last)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def _spectrum_panel(panel: Axes, one: xr.Dataset) -> None:
    depth, n = one["depth"].values, one.sizes["index"]
    shown = np.unique(np.linspace(0, n - 1, MOST_LINES).round().astype(int))
    with np.errstate(invalid="ignore"):
        median = np.median(one["log_singular_values"].transpose("seed", "index", "depth").values, 0) / LN10
    lines = [np.column_stack([depth, median[i]])[np.isfinite(median[i])] for i in shown]
    colours = mpl.colormaps[draw.SEQUENTIAL](0.95 * shown / n)
    panel.add_collection(LineCollection(lines, colors=colours, linewidths=0.6, zorder=1))
    draw.theory(panel, depth, one["log_mean_square_predicted"] / 2 / LN10, {"color": "C3"}, linewidth=1.6)
    root = one["log_mean_square"] / 2 / LN10
    draw.measured(panel, depth, *over_seeds(root), {"color": "k", "marker": "o"}, markersize=2.8)
    if (str(one["activation"].values), str(one["weights"].values)) == ("linear", "gaussian"):
        newman = randommatrix.newman_exponents(n, float(one["sigma_w"]) / np.sqrt(n))
        fine = np.geomspace(1, depth[-1], 50)
        for exponent in np.asarray(newman)[[0, n // 2, n - 1]] / LN10:
            panel.plot(fine, exponent * fine, color="C1", linestyle="--", linewidth=1.1, zorder=3)
    zero = 1 - float(one["rank"].isel(depth=-1).mean()) / n
    if zero > 0:
        panel.text(0.04, 0.05, f"{zero:.0%}\nexactly 0", transform=panel.transAxes, fontsize=6.5)
    panel.set_xscale("log", base=2)
    panel.set_yscale("symlog", linthresh=1.0)
    panel.yaxis.set_major_formatter("{x:g}")


def _span(panel: Axes) -> None:
    """Room for all lines of a column; a flat one still shows a decade."""
    ends = [end for other in panel.get_shared_y_axes().get_siblings(panel) for end in other.dataLim.intervaly]
    panel.set_ylim(min(1.6 * min(ends), -1.0), max(1.6 * max(ends), 1.0))


def _density(at: xr.Dataset) -> Figure:
    """Densities of s over its root mean square at a few depths, all networks together."""
    figure, axes = _panels(at, sharey=True)
    families = at["weights"].values
    depths = shown_depths(at["depth"].values.tolist())
    colours = mpl.colormaps[draw.SEQUENTIAL](np.linspace(0, 0.85, len(depths)))
    log_s = ((at["log_singular_values"] - at["log_mean_square"] / 2) / LN10).sel(depth=depths)
    for row, family in zip(axes, families, strict=True):
        for panel, name in zip(row, at["activation"].values, strict=True):
            for depth, colour in zip(depths, colours, strict=True):
                s = log_s.sel(activation=name, weights=family, depth=depth).values.ravel()
                density = np.histogram(s[np.isfinite(s)], EDGES)[0] / s.size / (EDGES[1] - EDGES[0])
                panel.stairs(density, EDGES, baseline=None, color=colour, label=f"$L$ = {depth}")
                if depth <= at.sizes["index"] // 8:
                    _wide_limit(panel, str(name), str(family), depth, colour)
        row[0].set(yscale="log", ylabel=f"{family} weights\nshare per decade")
        row[0].minorticks_off()
    for panel in axes[-1]:
        panel.set_xlabel(r"$\log_{10} (s / s_{rms})$")
    handles, _ = axes[0, 0].get_legend_handles_labels()
    if {"linear", "relu"} & set(at["activation"].values):
        handles.append(Line2D([], [], color="0.3", linestyle=":", label="edge, free probability"))
    if "linear" in at["activation"] and "gaussian" in families:
        handles.append(Line2D([], [], color="0.3", linestyle="--", label="Fuss-Catalan"))
    axes[0, 0].set_ylim(bottom=4e-3)
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def shown_depths(depths: list[int]) -> list[int]:
    """2, 8, 32 and 128 if most of them were measured, else up to four of those that were, evenly chosen."""
    usual: list[int] = [d for d in (2, 8, 32, 128) if d in depths]
    if len(usual) > 2:
        return usual
    return [depths[i] for i in np.unique(np.linspace(0, len(depths) - 1, 4).round().astype(int))]


def _wide_limit(panel: Axes, name: str, family: str, depth: int, colour: Any) -> None:
    """Where the spectrum of a wide homogeneous network ends, whose length q does not matter; its density."""
    names = ("linear", "relu")
    if name not in names:
        return
    phi, sigma_w = chosen(names, names.index(name)), 1.0 if name == "linear" else np.sqrt(2)
    weights: freeprob.Weights = "gaussian" if family == "gaussian" else "orthogonal"
    top = float(freeprob.edge(phi, sigma_w, 1.0, float(depth), weights).log_edge) / 2 / LN10
    panel.axvline(top, color=colour, linestyle=":", linewidth=0.9)
    if (name, family) == ("linear", "gaussian"):
        decades = np.linspace(EDGES[0], top - 1e-4, 200)
        squares = 10 ** (2 * decades)
        density = 2 * LN10 * squares * np.asarray(randommatrix.fuss_catalan_density(squares, float(depth)))
        panel.plot(decades, density, color=colour, linestyle="--", linewidth=0.9)


def _mean_square(result: xr.Dataset) -> Figure:
    """Growth of the mean square of s: a panel for each weight family, a colour for each activation."""
    families, depth = result["weights"].values, result["depth"].values
    figure, (axes,) = draw.canvas(1, len(families), height=3.0, sharey=True)
    looks = draw.series([str(name) for name in result["activation"].values])
    marks = dict(zip([str(scale) for scale in result["scale"].values], draw.MARKERS, strict=False))
    for panel, family in zip(axes, families, strict=True):
        for name, look in looks.items():
            for scale, mark in marks.items():
                one = result.sel(activation=name, weights=family, scale=scale)
                draw.theory(panel, depth, one["log_mean_square_predicted"] / LN10, {"color": look["color"]})
                mean = one["log_mean_square"].mean("seed", skipna=False) / LN10
                draw.measured(panel, depth, mean, None, {"color": look["color"], "marker": mark})
        panel.set(xlabel="depth $L$", title=f"{family} weights")
    axes[0].set_ylabel(r"$\log_{10}$ of the mean of $s^2$")
    handles = [Line2D([], [], color=look["color"], label=name) for name, look in looks.items()]
    for scale, mark in marks.items():
        handles.append(Line2D([], [], marker=mark, label=rf"$\sigma_w$: {scale}", **BARE))
    figure.legend(handles=handles, loc="outside upper center", ncols=6)
    return figure


def _variance(at: xr.Dataset) -> Figure:
    """Spread of the squared singular values for each weight family, and the random walk of one gradient."""
    families, depth, n = at["weights"].values, at["depth"].values, at.sizes["index"]
    figure, (axes,) = draw.canvas(1, len(families) + 1, height=3.2)
    looks, valid = draw.series([str(name) for name in at["activation"].values]), depth <= n // 16
    for panel, family in zip(axes, families, strict=False):
        for name, look in looks.items():
            one, colour = at.sel(activation=name, weights=family), {"color": look["color"]}
            ideal = one["relative_variance_predicted"].values
            if ideal.max() > 1e-9:
                draw.theory(panel, depth[valid], ideal[valid], colour, linewidth=2.6)
                draw.theory(panel, depth, ideal, {**colour, "linestyle": ":"}, linewidth=0.9)
                draw.theory(panel, depth, one["relative_variance_at_width"], colour, linewidth=0.9)
                draw.measured(panel, depth, *over_seeds(one["relative_variance"]), look, label=name)
        panel.axhline(n - 1, color="0.6", linewidth=0.8, zorder=0)
        panel.set(xscale="log", yscale="log", xlabel="depth $L$", title=f"{family} weights")
        panel.set_ylim(0.1, 6 * n)
        panel.minorticks_off()
    axes[0].legend(loc="lower right")
    axes[0].set_ylabel(r"variance of $s^2$ / mean$^2$")
    kinds: dict[str, tuple[Any, float]] = {
        "infinite width, valid": ("-", 2.6),
        "infinite width, beyond": (":", 0.9),
        "at this width": ("-", 0.9),
    }
    handles = [Line2D([], [], color="0.3", linestyle=v[0], linewidth=v[1], label=k) for k, v in kinds.items()]
    axes[len(families) - 1].legend(handles=handles, loc="lower right")
    _walk_panel(axes[-1], at)
    return figure


def _walk_panel(panel: Axes, at: xr.Dataset) -> None:
    """Variance of log |Ju|^2 over all blocks of L layers, which are independent."""
    depth, layers = at["depth"].values, at.sizes["layer"]
    for label, look in draw.series(["linear, gaussian", "relu, gaussian", "relu, orthogonal"]).items():
        name, family = label.split(", ")
        if name in at["activation"] and family in at["weights"]:
            one = at.sel(activation=name, weights=family)
            walk = np.pad(one["log_gain"].transpose("seed", "layer").values, ((0, 0), (1, 0)))
            blocks = [np.diff(walk[:, :: int(k)][:, : layers // int(k) + 1], axis=1) for k in depth]
            variance = np.array([block.var(ddof=1) for block in blocks])
            error = [v * np.sqrt(2 / max(1, b.size - 1)) for v, b in zip(variance, blocks, strict=True)]
            draw.theory(panel, depth, one["log_gain_variance"].sel(layer=depth), look)
            draw.measured(panel, depth, variance, error, look, label=label)
    panel.plot(depth, 5 * depth / at.sizes["index"], color="0.5", linestyle=":", label="$5L/N$")
    panel.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel=r"variance of $\log |Ju|^2$")
    panel.set_title("a single gradient wanders")
    panel.minorticks_off()
    panel.legend(loc="upper left")
