"""Figures of ``learning-time``: time and best rate by depth, time by spread, and decoupled modes."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.learning_time.verdicts import STARTS, best
from signalprop.bench.measure.estimates import run_settings
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

TITLES = {
    "linear": "linear",
    "tanh_small": r"tanh, $q^* = 1/16$",
    "tanh_large": r"tanh, $q^* = 1$",
}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Learning time and rate by depth, by spread, and the modes of decoupled networks if there are any."""
    found = {"learning-time": _times(result)}
    if "linear" in result["network"].values:
        found["modes"] = _modes(result.sel(network="linear"))
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Learning time at the best rate, that rate, and the spread, by network, depth and start."""
    at = best(result)
    frame = tidy(
        {
            "learning_time_median": at["time"].median("seed"),
            "best_learning_rate": at["rate"],
            "spread": result["spread"].isel(learning_rate=0, drop=True).mean("seed"),
            "spread_predicted": result["spread_predicted"],
        }
    )
    return frame.assign(orthogonal=frame["orthogonal"] > 0)


def _looks(result: xr.Dataset) -> dict[tuple[str, float], dict[str, Any]]:
    """Colours of the networks, markers and lines of the starts."""
    colours = draw.series([str(name) for name in result["network"].values])
    return {
        (name, start): colours[name] | {"marker": marker, "linestyle": dashes}
        for name in colours
        for start, marker, dashes in ((1.0, "o", "-"), (0.0, "s", "--"))
    }


def _times(result: xr.Dataset) -> Figure:
    """Learning time by depth, the best rates, and learning time by the spread of singular values."""
    at, looks = best(result), _looks(result)
    figure, (row,) = draw.canvas(1, 3, height=3.0)
    depth, settings = result["depth"].values, run_settings(result)
    limit = settings["steps"]
    spread = result["spread"].isel(learning_rate=0)
    for (name, start), look in looks.items():
        chosen = at.sel(network=name, orthogonal=start)
        label = f"{TITLES[name]}, {STARTS[start]}"
        _times_of(row[0], depth, chosen["time"], limit, look, label)
        row[1].plot(depth, chosen["rate"], markerfacecolor="white", **look)
        wide = spread.sel(network=name, orthogonal=start).mean("seed").values
        shown = np.maximum(wide, 1e-3)
        _times_of(row[2], shown, chosen["time"], limit, look | {"linestyle": ":"}, label)
    reference = float(np.nanmax(at["rate"])) * depth[0]
    draw.theory(row[1], depth, reference / depth, color="0.2", linewidth=0.8, label=r"$\propto 1/L$")
    row[1].legend()
    row[0].set(xscale="log", yscale="log", xlabel="hidden layers $L$", ylabel="steps at the best rate")
    row[0].set_title("Learning time")
    row[1].set(xscale="log", yscale="log", xlabel="hidden layers $L$", ylabel=r"best learning rate $\eta$")
    row[1].set_title("Best learning rate")
    row[2].set(xscale="log", yscale="log", xlabel=r"Var $s^2$ / (mean $s^2)^2$, untrained")
    row[2].set_title("Against the spread of $s$")
    for ax in (row[0], row[2]):
        ax.set_ylim(top=1.6 * limit)
        ax.axhline(limit, color="0.6", linewidth=0.8)
    for ax in row[:2]:
        ax.set_xticks(depth, [str(d) for d in depth])
        ax.minorticks_off()
    draw.legend(figure, row[0], ncols=3)
    figure.suptitle(
        "Steps to learn by depth, from orthogonal and from Gaussian weights; medians and "
        f"range of {result.sizes['seed']} networks\n(N = {settings['width']}; grey line: not "
        f"learned within {limit} steps at any rate)",
        fontsize=9,
    )
    return figure


def _times_of(
    axes: Axes, x: np.ndarray, time: xr.DataArray, limit: int, look: dict[str, Any], label: str
) -> None:
    """Median and range over seeds; networks that never learn lie on the limit."""
    steps = np.minimum(time.transpose("depth", "seed").values, limit)
    middle = np.median(steps, 1)
    error = np.abs(np.stack([steps.min(1), steps.max(1)]) - middle)
    axes.plot(x, middle, color=look["color"], linestyle=look["linestyle"], linewidth=1.0)
    draw.measured(axes, x, middle, error, look, label=label)


def _modes(at: xr.Dataset) -> Figure:
    """Strength of decoupled modes, measured and from the differential equation."""
    figure, (row,) = draw.canvas(1, at.sizes["depth"], height=2.5, sharey=True)
    looks = draw.series([str(mode) for mode in at["mode"].values])
    first = at.isel(orthogonal=0, learning_rate=0, seed=0)
    for ax, depth in zip(row, at["depth"].values, strict=True):
        for mode in at["mode"].values:
            here, look = first.sel(depth=depth, mode=mode), looks[str(mode)]
            draw.theory(ax, at["moment"], here["strength_predicted"], look)
            draw.measured(ax, at["moment"], here["strength"], None, look, label=f"$s = {mode:g}$")
        ax.set(xlabel=r"time $\times\, n / \tau$", title=f"{int(depth) + 1} kernels")
    row[0].set_ylabel("strength $u$ of the mode")
    row[-1].legend(loc="lower right")
    figure.suptitle(
        r"Decoupled linear networks follow $\tau \dot u = n\, u^{2 - 2/n} (s - u)$ (lines; points: gradient "
        "descent on full matrices)",
        fontsize=9,
    )
    return figure
