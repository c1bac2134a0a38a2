"""Figures of ``depth-budget``: one row per network with its six limits and what was observed."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.depth_budget.limits import LIMITS, RULES
from signalprop.bench.experiments.depth_budget.networks import NETWORKS
from signalprop.bench.experiments.depth_budget.verdicts import limits
from signalprop.bench.measure.estimates import run_settings
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

SIZE = {"information": 10}  # so that it is seen around the gradient's mark where they are equal
FACTOR = 2.0  # drawn around the line on which prediction and observation agree


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """The budget of every network, and the smallest limit against the observed depth."""
    return {"budget": _budget(result), "prediction": _prediction(result)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Limits by network, the smallest of them, and the observed depth."""
    found = limits(result)
    depth = result["trainable_depth"]
    binding = found.argmin("limit")
    return tidy(
        {limit: found.sel(limit=limit, drop=True) for limit in LIMITS}
        | {
            "binding": binding.copy(data=np.array(LIMITS)[binding.values]),
            "smallest": found.min("limit"),
            "observed_median": depth.median("seed"),
            "observed_least": depth.min("seed"),
            "observed_most": depth.max("seed"),
        }
    )


def _budget(result: xr.Dataset) -> Figure:
    """One row per network: its six limits as marks, and as a bar the depth that trains."""
    names = [str(name) for name in result["network"].values]
    found, top = limits(result), run_settings(result)["top"]
    end = 8 * top
    figure, ((axes,),) = draw.canvas(height=1.5 + 0.3 * len(names))
    rows, looks = np.arange(len(names))[::-1], draw.series(LIMITS)
    for look in looks.values():
        look |= {"linestyle": "none", "markeredgewidth": 1.4}
    observed = result["trainable_depth"]
    for row, name in zip(rows, names, strict=True):
        _bar(axes, row, observed.sel(network=name).values, top, end)
        binding = str(LIMITS[int(found.sel(network=name).argmin("limit"))])
        for limit in LIMITS:
            value = float(found.sel(network=name, limit=limit))
            if value < end:
                filled = looks[limit]["color"] if limit == binding else "white"
                axes.plot(max(value, 0.7), row, markersize=SIZE.get(limit, 7), zorder=4,
                          markerfacecolor=filled, **looks[limit])  # fmt: skip
    for limit in LIMITS:
        axes.plot([], [], markersize=7, markerfacecolor="white", label=f"{limit}: {RULES[limit]}",
                  **looks[limit])  # fmt: skip
    axes.barh([-5], [1], color="0.8", label="observed: trained up to here")
    axes.set_yticks(rows, [NETWORKS[name].label for name in names])
    axes.set(xscale="log", xlim=(0.6, end), ylim=(-0.6, len(names) - 0.4), xlabel="hidden layers $L$")
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64, 128, 256][: int(np.log2(end)) + 1])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(visible=True, axis="x")
    draw.legend(figure, axes, ncols=3)
    settings = run_settings(result)
    figure.suptitle(
        f"Depth budgets: bars end at the largest depth that trains ({settings['steps']} steps, "
        f"accuracy above {settings['threshold']:.0%}, median of {result.sizes['seed']} networks; "
        f"\nwhiskers: all; arrow: deepest of the grid). The filled mark is the smallest limit",
        fontsize=9,
    )
    return figure


def _bar(axes: Axes, row: int, depth: np.ndarray, top: int, end: float) -> None:
    """The observed depth: a bar to the median, a whisker over all networks."""
    middle = float(np.median(depth))
    axes.barh([row], [max(middle, 0.65)], height=0.62, color="0.8", zorder=1)
    ends = np.maximum([depth.min(), depth.max()], 0.65)
    axes.plot(ends, [row, row], color="0.35", linewidth=2, zorder=2)
    if middle >= top:
        axes.annotate("", (top * 1.5, row), (top, row), arrowprops={"arrowstyle": "->", "color": "0.35"})


def _prediction(result: xr.Dataset) -> Figure:
    """The smallest limit, and each limit alone, against what was observed."""
    found, top = limits(result), run_settings(result)["top"]
    depth = result["trainable_depth"].median("seed").values
    smallest = found.min("limit").values
    figure, ((left, right),) = draw.canvas(1, 2, height=3.4)
    looks = draw.series(LIMITS)
    for x, y, binding in zip(smallest, depth, found.argmin("limit").values, strict=True):
        draw.measured(left, min(x, 8 * top), max(y, 0.7), None, looks[LIMITS[binding]])
    line = np.geomspace(0.6, 8 * top, 30)
    draw.theory(left, line, np.minimum(line, top), label="equal")
    left.fill_between(line, line / FACTOR, line * FACTOR, color="0.9", zorder=0, label="within a factor of 2")
    left.set(xlabel="smallest of the six limits", ylabel="observed trainable depth", title="The minimum")
    for limit in LIMITS:
        values = found.sel(limit=limit).values
        seen = values < 8 * top
        draw.measured(right, values[seen], np.maximum(depth[seen], 0.7), None, looks[limit], label=limit)
    draw.theory(right, line, np.minimum(line, top))
    right.set(xlabel="one limit alone", title="Each limit")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlim=(0.6, 8 * top), ylim=(0.6, 2 * top))
    left.legend(loc="lower right")
    right.legend(loc="upper left", fontsize=6.5)
    return figure
