"""Figures: predicted densities under histograms, largest values against depth, distances from theory."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from signalprop.bench.experiments.free_probability.verdicts import (
    distances,
    largest,
    log_squares,
    predicted_largest,
    relative_variance,
)
from signalprop.bench.measure.estimates import exp, standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

LN10 = float(np.log(10))
STORY = {
    "gaussian": "Gaussian weights: all grow with depth",
    "orthogonal": "Orthogonal weights: bounded at fixed $\\sigma_0^2$",
}
EDGES = np.arange(-4.05, 2.7, 0.1)  # decades of s^2 around its mean


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Densities of all networks, largest values against depth, and how well the two agree."""
    return {"densities": _densities(result), "isometry": _isometry(result), "agreement": _agreement(result)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row for each weight family, network and depth."""
    top = largest(result)
    columns = {
        "q": result["q"],
        "sigma_w": result["sigma_w"],
        "largest_decades": top.mean("seed") / 2 / LN10,
        "largest_decades_error": standard_error(top) / 2 / LN10,
        "edge_decades": result["log_edge"] / 2 / LN10,
        "largest_decades_predicted": predicted_largest(result) / 2 / LN10,
        "distance": distances(result),
        "relative_variance": relative_variance(result).mean("seed"),
        "relative_variance_predicted": result["relative_variance_predicted"],
    }
    columns |= {name: result[name] for name in ("zero_predicted", "atom_share", "mass_predicted")}
    return tidy(columns)[["weights", "network", "depth", *columns]]


def _densities(result: xr.Dataset) -> Figure:
    """A row for each network at one length, a column for each depth."""
    names = [str(name) for name in result["network"].values if "," not in str(name)]
    depths = [int(depth) for depth in result["depth"].values]
    figure, axes = draw.canvas(len(names), len(depths), height=1.25, sharex=True, sharey="col")
    looks, values = draw.series(["gaussian", "orthogonal"]), log_squares(result)
    for row, name in zip(axes, names, strict=True):
        for panel, depth in zip(row, depths, strict=True):
            at = {"network": name, "depth": depth}
            for family in result["weights"].values:
                one = result.sel(at, drop=True).sel(weights=family)
                _density_panel(panel, values.sel(at).sel(weights=family), one, looks[str(family)])
        row[0].set_ylabel(f"{name}\nshare per decade", fontsize=7.5)
    for panel, depth in zip(axes[0], depths, strict=True):
        panel.set_title(f"$L$ = {depth}")
        panel.set_ylim(0, _tallest(result.sel(depth=depth), names))
    for panel in axes[-1]:
        panel.set_xlabel(r"$\log_{10} (s^2 / \langle s^2 \rangle)$")
    axes[0, 0].set_xlim(EDGES[0], EDGES[-1])
    handles: list[Any] = []
    for family, look in looks.items():
        handles.append(Patch(color=look["color"], alpha=0.3, label=f"{family}, measured"))
        handles.append(Line2D([], [], color=look["color"], label=f"{family}, theory"))
    handles.append(Line2D([], [], color="0.3", linestyle="none", marker=7, label="predicted edge"))
    figure.legend(handles=handles, loc="outside upper center", ncols=5, columnspacing=1, handlelength=1.4)
    return figure


def _tallest(at: xr.Dataset, names: list[str]) -> float:
    """A little more than the highest continuous density of a column; a spike may be cut off."""
    peaks = LN10 * at["per_log_predicted"].sel(network=names).max("point")
    return 1.45 * float(peaks.where(at["edge_scale"] > 0).max())


def _density_panel(panel: Axes, values: xr.DataArray, one: xr.Dataset, look: dict[str, Any]) -> None:
    decades = values.values.ravel() / LN10
    share = np.histogram(decades[np.isfinite(decades)], EDGES)[0] / decades.size / np.diff(EDGES)
    panel.stairs(share, EDGES, fill=True, color=look["color"], alpha=0.3)
    if float(one["atom_share"]) < 0.999:
        panel.plot(one["log_x"] / LN10, one["per_log_predicted"] * LN10, color=look["color"], linewidth=1.1)
    top = float(one["log_edge"]) / LN10
    edge = {"marker": 7, "color": look["color"], "markersize": 4, "clip_on": False}
    panel.plot(top, 0.97, transform=panel.get_xaxis_transform(), **edge)
    if float(one["atom_share"]) > 0:
        place = float(one["atom_log_place"]) / LN10
        panel.axvline(place, color=look["color"], linewidth=0.8, linestyle=":")
    below = 1 - float(np.interp(EDGES[0] * LN10, one["log_x"], one["above_predicted"]))
    if below > 0.005:
        row = 0.86 if look["marker"] == "o" else 0.72
        words = {"color": look["color"], "fontsize": 6, "transform": panel.transAxes}
        panel.text(0.03, row, f"{below:.0%} below", **words)


def _isometry(result: xr.Dataset) -> Figure:
    """Largest singular value against depth: growing like the root of the depth, or bounded."""
    figure, axes = draw.canvas(1, 2, height=3.4, sharey=True)
    top = exp(largest(result) / 2)
    looks = draw.series([str(name) for name in result["activation"].values])
    families = result["weights"].values
    for panel, family in zip(axes[0], families, strict=True):
        at = result.sel(weights=family)
        for name, look in looks.items():
            values = top.sel(weights=family, network=name)
            curve = exp(at["edge_curve"].sel(activation=name) / 2)
            draw.theory(panel, at["fine"], curve, look, label=name)
            draw.measured(panel, at["depth"], values.mean("seed"), standard_error(values), look)
        _isometric_panel(panel, at, top.sel(weights=family))
        panel.set(xscale="log", yscale="log", xlabel="depth $L$", title=STORY[str(family)])
        panel.set(xlim=(0.8, 1500), ylim=(0.8, 60))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.plot([2, 100], 3.6 * np.sqrt([2, 100]), color="0.6", linewidth=0.8)
        panel.text(5, 13, r"$\propto \sqrt{L}$", color="0.4")
    axes[0, 0].set_ylabel(r"largest $s$ / root mean square")
    draw.legend(figure, axes[0, -1], ncols=4)
    return figure


def _isometric_panel(panel: Axes, at: xr.Dataset, top: xr.DataArray) -> None:
    if "isometric" not in at.dims:
        return
    names = [str(name) for name in at["isometric"].values]
    colours = draw.series([str(i) for i in range(10)])
    for look, name in zip(list(colours.values())[-len(names) :], names, strict=True):
        curve = exp(at["isometric_curve"].sel(isometric=name) / 2)
        draw.theory(panel, at["fine"], curve, look, label=f"{name}, isometric", linewidth=2.0)
        for depth in at["depth"].values:
            if f"{name}, isometric to {depth}" in at["network"]:
                values = top.sel(network=f"{name}, isometric to {depth}", depth=depth)
                draw.measured(panel, [depth], [values.mean()], [standard_error(values)], look)
    if str(at["weights"].values) == "orthogonal":
        limit = float(np.sqrt(at["smooth_limit"]))
        panel.axhline(limit, color="0.3", linestyle=":", linewidth=1, label="universal limit")


def _agreement(result: xr.Dataset) -> Figure:
    """Distance from theory, and isometric spectra, which depth leaves alone."""
    isometric = [str(name) for name in result["network"].values if "," in str(name)]
    figure, ((left, right),) = draw.canvas(1, 2, height=3.2)
    looks, found = draw.series([str(name) for name in result["activation"].values]), distances(result)
    for name, look in looks.items():
        for family in result["weights"].values:
            face = look["color"] if family == "gaussian" else "white"
            draw.measured(
                left, found["depth"], found.sel(network=name, weights=family), None, look,
                linestyle="-", linewidth=0.7, markerfacecolor=face,
                label=name if family == "gaussian" else None,
            )  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel="depth $L$", ylim=(1e-3, 0.5), xlim=(0.8, None))
    left.set_ylabel("distance of the distribution functions")
    left.set_title("filled: Gaussian, white: orthogonal")
    left.legend(ncols=2, loc="upper left")
    if isometric and "orthogonal" in result["weights"]:
        _isometric_densities(right, result.sel(weights="orthogonal"), isometric[0].split(",")[0])
    else:
        right.set_visible(False)
    return figure


def _isometric_densities(panel: Axes, at: xr.Dataset, name: str) -> None:
    bins = np.linspace(0, 1.8, 37)
    depths = [int(d) for d in at["depth"].values if f"{name}, isometric to {d}" in at["network"]]
    for look, depth in zip(draw.series([str(d) for d in depths]).values(), depths, strict=True):
        one = at.sel(network=f"{name}, isometric to {depth}", depth=depth)
        s = exp(log_squares(one) / 2).fillna(0).values.ravel()
        share = np.histogram(s, bins)[0] / s.size / np.diff(bins)
        middles = (bins[1:] + bins[:-1]) / 2
        draw.measured(panel, middles, share, None, look, label=f"$L$ = {depth}", markersize=3)
        x = exp(one["log_x"] / 2)
        draw.theory(panel, x, 2 * one["per_log_predicted"] / x, look)
    limit = float(np.sqrt(at["smooth_limit"]))
    panel.axvline(limit, color="0.3", linestyle=":", linewidth=1, label=r"edge, $L \to \infty$")
    panel.set(xlabel=r"$s / \sqrt{\langle s^2 \rangle}$", ylabel="density", xlim=(0, 1.8))
    panel.set_title(f"Isometric {name}, orthogonal weights")
    panel.legend(loc="upper left")
