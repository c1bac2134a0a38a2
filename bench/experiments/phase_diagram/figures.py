"""Figures: the plane with its critical line, and the growth rates along it."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import distance_transform_edt

from signalprop.bench.experiments.phase_diagram.verdicts import REACHED, SETTLED, by_ratio, zeros
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

LOOK: dict[str, Any] = {"cmap": draw.DIVERGING, "vmin": -2, "vmax": 2}
PHASES = {-1: "ordered:\ngradients\nvanish", 1: "chaotic:\ngradients\nexplode"}  # by the sign of log chi_1
LABEL = (0.15, 0.13)  # half the width and height of such a label, in shares of a panel


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """The plane, and the growth rates along it."""
    result = by_ratio(result)
    return {"plane": _plane(result), "growth": _growth(result)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Measured and predicted rates at every point, over networks."""
    columns = {"sigma_w": result["ratio"] * result["unit"]} if "ratio" in result.dims else {}
    columns |= {
        "growth": result["growth"].mean("seed"),
        "growth_error": standard_error(result["growth"]),
        "growth_predicted": result["growth_predicted"],
        "log_chi_1": result["log_chi_1"],
        "separation": result["separation"].mean("seed", skipna=False),
        "log_q": result["log_q"].mean("seed"),
        "log_q_predicted": result["log_q_predicted"],
    }
    found = zeros(result)
    if len(found):
        at_zero = found.set_index(["activation", "sigma_b"]).to_xarray()
        columns |= {name: at_zero[name] for name in ("measured_zero", "predicted_zero")}
    return tidy(columns)


def _plane(result: xr.Dataset) -> Figure:
    figure, panels = _panels(result, r"$\sigma_b$", 2.9)
    crossings = zeros(result)
    for name, axes in panels.items():
        at = _activation(result, name)
        mesh = _theory_plane(axes, at)
        growth = at["growth"].mean(("seed", "input")).transpose("ratio", "sigma_b")
        sigma_w, sigma_b = np.meshgrid(at["sigma_w"], at["sigma_b"], indexing="ij")
        axes.scatter(
            sigma_w.ravel(), sigma_b.ravel(), c=np.ravel(growth), s=26, edgecolor="0.25", linewidth=0.6,
            zorder=3, clip_on=False, label="measured growth of gradients, same colours", **LOOK,
        )  # fmt: skip
        if len(crossings):
            _crossings(axes, crossings[crossings["activation"] == name])
        _name_phases(axes, at)
    draw.legend(figure, *panels.values(), where="upper", ncols=3)
    label = r"$\log \chi_1$; growth of $\log |\delta|^2$ per layer"
    figure.colorbar(mesh, ax=list(panels.values()), label=label, extend="both", shrink=0.9)
    return figure


def _panels(result: xr.Dataset, ylabel: str, height: float) -> tuple[Figure, dict[str, Axes]]:
    """One panel per activation, with plain numbers on a logarithmic axis of sigma_w."""
    names = [str(name) for name in result["activation"].values]
    columns = 2 if len(names) in (2, 4) else 3
    figure, panels = draw.panels(names, columns, height=height, sharey=True)
    for name, axes in panels.items():
        spec = axes.get_subplotspec()
        axes.set_ylabel(ylabel if spec and spec.is_first_col() else "")
        at = _activation(result, name)
        low, high = (float(at["unit"] * at["ratio_map"][end]) for end in (0, -1))
        ticks = _ticks(low, high)
        axes.set(xscale="log", xlabel=r"$\sigma_w$", xlim=(low, high))
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.set_xticks([], minor=True)
    return figure, panels


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade; evenly spaced ones in a range that has fewer than two of these."""
    every = [m * 10.0**e for e in range(-2, 4) for m in (1, 2, 5)]
    inside = [t for t in every if 0.98 * low <= t <= 1.02 * high]
    even = MaxNLocator(4).tick_values(low, high)
    return inside if len(inside) > 1 else [t for t in even if low <= t <= high]


def _activation(result: xr.Dataset, name: str) -> xr.Dataset:
    """One activation, with its scales as the coordinate sigma_w."""
    at = result.sel(activation=name)
    return at.assign_coords(sigma_w=at["unit"] * at["ratio"])


def _theory_plane(axes: Axes, at: xr.Dataset) -> Any:
    """Theory's log chi_1 and the line where it is 0; dotted where q = 1 at the input does not lead there."""
    chi = at["log_chi_1_map"].transpose("sigma_b_map", "ratio_map")
    sigma_w = at["unit"] * at["ratio_map"]
    mesh = axes.pcolormesh(sigma_w, at["sigma_b_map"], chi, shading="gouraud", rasterized=True, **LOOK)
    reached = abs(at["log_chi_1_line"]) < REACHED
    line = at["critical_sigma_w"]
    axes.plot(line.where(reached), at["sigma_b_line"], "k-", label=r"critical line, theory: $\chi_1 = 1$")
    dotted = line.where(~reached & (line > sigma_w[0]) & (line < sigma_w[-1]))
    if dotted.count() > 1:
        axes.plot(dotted, at["sigma_b_line"], "k:", label="critical line, not reached from q = 1")
    axes.set_ylim(0, float(at["sigma_b_map"][-1]))
    axes.grid(False)
    return mesh


def _crossings(axes: Axes, own: pd.DataFrame) -> None:
    axes.errorbar(
        own["measured_zero"], own["sigma_b"], xerr=own["error"], fmt="D", color="k", markersize=4,
        markerfacecolor="gold", elinewidth=0.8, zorder=4, clip_on=False, label="measured zero of the growth",
    )  # fmt: skip


def _name_phases(axes: Axes, at: xr.Dataset) -> None:
    """Where theory says so, and a label has room."""
    log_chi_1 = at["log_chi_1_map"].transpose("sigma_b_map", "ratio_map").values
    across = np.log(at["ratio"] / at["ratio_map"][0]) / np.log(at["ratio_map"][-1] / at["ratio_map"][0])
    points = np.array(np.meshgrid(across, at["sigma_b"] / at["sigma_b_map"][-1])).reshape(2, -1)
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
    for sign, text in PHASES.items():
        if place := roomiest(np.sign(log_chi_1) == sign, points):
            axes.text(*place, text, bbox=box, transform=axes.transAxes, ha="center", va="center", fontsize=7)


def roomiest(there: np.ndarray, points: np.ndarray) -> tuple[float, float] | None:
    """Where a label fits, far from points and from all that is not meant, in shares of the axes, or None.

    Args:
        there: Whether a point of an even grid, bottom row first, is meant.
        points: What should not be covered, as x and y in shares of the axes: (2, any number).
    """
    half, steps = np.array(LABEL)[:, None, None], np.array(there.shape) - 1
    apart = distance_transform_edt(np.pad(there, 1), sampling=1 / (steps * np.array(LABEL[::-1])))[1:-1, 1:-1]
    places = np.array(np.meshgrid(*(np.linspace(0, 1, n + 1) for n in steps[::-1])))
    away = [np.hypot(*((places - point[:, None, None]) / half)) for point in points.T]
    free = np.where(apart < 1, -1, np.min([apart, *away], axis=0))
    row, column = np.unravel_index(np.argmax(free), free.shape)
    return (float(places[0, row, column]), float(places[1, row, column])) if free[row, column] >= 0 else None


def _growth(result: xr.Dataset) -> Figure:
    figure, panels = _panels(result, "growth of the logarithm per layer", 2.6)
    looks = draw.series([f"{s:g}" for s in result["sigma_b"].values])
    for name, axes in panels.items():
        at = _activation(result, name)
        for sigma_b, look in zip(at["sigma_b"].values, looks.values(), strict=True):
            _rates(axes, at.sel(sigma_b=sigma_b), look)
        axes.axhline(0, color="k", linewidth=0.8)
        if name == "sigmoid":
            quarter = 2 * np.log(0.25)
            axes.axhline(quarter, color="0.4", linestyle="--", linewidth=1)
            axes.text(float(at["sigma_w"][-1]), quarter, "1/4 per layer", ha="right", va="bottom", fontsize=7)
    title = r"$|\delta|^2$ back (open), squared difference of two inputs forward (dots), theory (lines)"
    figure.suptitle(title, fontsize=9)
    next(iter(panels.values())).legend(loc="lower right")
    return figure


def _rates(axes: Axes, line: xr.Dataset, look: dict[str, Any]) -> None:
    """Growth along one sigma_b."""
    alone = {"marker": "_", "markersize": 14} if line.sizes["ratio"] == 1 else {}
    draw.theory(axes, line["sigma_w"], line["growth_predicted"], look, **alone)
    growth = line["growth"].mean("input")
    label = rf"$\sigma_b$ = {float(line['sigma_b']):g}"
    draw.measured(axes, line["sigma_w"], growth.mean("seed"), standard_error(growth), look, label=label)
    forward = line["separation"].mean(("input", "seed"), skipna=False).where(line["drift"] < SETTLED)
    draw.measured(axes, line["sigma_w"], forward, None, {"marker": ".", "color": "k"}, markersize=2)
