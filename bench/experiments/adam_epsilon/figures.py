"""Figures of ``adam-epsilon``: Adam's first step by layer, and how deep it reaches and trains."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.adam_epsilon.verdicts import LN10, reach
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Steps by layer, and reach against epsilon."""
    return {"epsilon": _epsilon(result.sortby("epsilon", ascending=False))}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Layers that full steps reach and the trainable depth, by type and epsilon."""
    depth = result["trainable_depth"]
    return tidy(
        {
            "layers_with_full_steps": reach(result),
            "trainable_depth_median": depth.median("seed"),
            "trainable_depth_least": depth.min("seed"),
            "trainable_depth_most": depth.max("seed"),
        }
    )


def _epsilon(result: xr.Dataset) -> Figure:
    """Adam's first step by layer, one panel per type, and how deep full steps reach."""
    formats = [str(name) for name in result["format"].values]
    figure, (row,) = draw.canvas(1, len(formats) + 1, height=3.2)
    names = [f"{value:.0e}" for value in result["epsilon"].values]
    looks = draw.series(names)
    down = int(result["layer"][-1]) - result["layer"].values
    for ax, kind in zip(row, formats, strict=False):
        for value, name in zip(result["epsilon"].values, names, strict=True):
            steps = result["log_step"].sel(format=kind, epsilon=value).median("seed") / LN10
            ax.plot(down, steps, label=rf"$\epsilon$ = {name}", markersize=2.5, linewidth=0.9, **looks[name])
        ax.axhline(0, color="0.4", linewidth=0.8)
        ax.set(xlabel="layers below the read-out", title=f"First step, {kind}", ylim=(-14, 14))
        ax.set_ylabel(r"$\log_{10}$ rms step $/ \, \eta$")
    _reach(row[-1], result, formats)
    draw.legend(figure, row[0], ncols=4)
    figure.suptitle(
        f"Adam's full steps reach {1 / float(result['decades']):.1f} layers deeper per decade of epsilon "
        "(sigmoid, Xavier); the depth that trains stays",
        fontsize=9,
    )
    return figure


def _reach(axes: Axes, result: xr.Dataset, formats: list[str]) -> None:
    """Reach of full steps and trainable depth against epsilon."""
    decades, far = -np.log10(result["epsilon"].values), reach(result)
    looks, limit = draw.series(formats), result.sizes["layer"] - 1
    for kind, size in zip(formats, (6.0, 3.0), strict=False):
        look = {**looks[kind], "markersize": size}
        draw.measured(axes, decades, far.sel(format=kind), None, look, label=f"full steps, {kind}")
        depth = result["trainable_depth"].sel(format=kind)
        middle = depth.median("seed").values
        error = np.abs(np.stack([depth.min("seed").values, depth.max("seed").values]) - middle)
        filled = look | {"markerfacecolor": look["color"]}
        draw.measured(axes, decades, middle, error, filled, label=f"trains, {kind}")
    per_decade = 1 / float(result["decades"])
    start = float(far.isel(format=-1, epsilon=0)) - decades[0] * per_decade
    line = np.linspace(0, 32, 200)
    reached = np.minimum(start + line * per_decade, limit)
    draw.theory(axes, line, reached, label=f"{per_decade:.2f} layers per decade")
    axes.axhline(float(result["information"]), color="0.4", linestyle=":", label=r"$6\,\xi_c$")
    axes.set(xlabel=r"$\log_{10} 1/\epsilon$", ylabel="hidden layers", title="Reach", ylim=(0, 1.7 * limit))
    axes.legend(fontsize=6.5, loc="upper left")
