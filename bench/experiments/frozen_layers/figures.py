"""Figures of ``frozen-layers``: which layers move when one passes no gradient, and what is learnt."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.measure.estimates import exp, standard_error
from signalprop.bench.record import figures as draw

FLOOR = 10.0  # times below the smallest way that moved: where exact zeros are drawn


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Ways of the layers, and accuracies."""
    return {"frozen": _frozen(result), "learnt": _learnt(result)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Mean ways and accuracies."""
    rows = []
    for kind in result["replaced"].values:
        for k in result["at"].values:
            at = result.sel(replaced=kind, at=k).mean("seed")
            case = f"layer {k}: {kind}"
            rows += [(case, str(n), "way of the kernel", float(np.exp(w)))
                     for n, w in zip(at["layer"].values, at["way"].values, strict=True)]  # fmt: skip
            rows.append((case, "", "test accuracy", float(at["learnt"])))
    learnt = result["share_accuracy"].mean("seed").values
    for count, accuracy in zip(result["silent_units"].values, learnt, strict=True):
        rows.append((f"silent units: {count}", "", "test accuracy", float(accuracy)))
    return pd.DataFrame(rows, columns=["case", "layer", "quantity", "measured"])


def _frozen(result: xr.Dataset) -> Figure:
    """Way of every layer's kernel, for every replaced layer."""
    kinds = {"Layer $k$ of binary steps": "step", "Layer $k$ silenced (relu, offset -100)": "silent"}
    figure, panels = draw.panels(list(kinds), height=3.2, sharey=True)
    ways = exp(result["way"])
    floor = float(ways.where(ways > 0).min()) / FLOOR
    looks = draw.series([f"{k}" for k in result["at"].values])
    for title, axes in panels.items():
        for k, look in zip(result["at"].values, looks.values(), strict=True):
            way = ways.sel(replaced=kinds[title], at=k)
            mean, error = way.mean("seed"), standard_error(way)
            moved = mean.values > 0
            shift = 0.04 * (float(k) - float(result["at"].mean()))
            axes.plot(result["layer"] + shift, mean.where(mean > 0), color=look["color"], linewidth=0.8,
                      linestyle=look["linestyle"])  # fmt: skip
            draw.measured(
                axes, result["layer"][moved] + shift, mean[moved], error[moved], look, label=f"$k$ = {k}"
            )
            draw.measured(
                axes, result["layer"][~moved] + 2 * shift, np.full((~moved).sum(), floor), None, look
            )
        axes.axhspan(floor / 2.5, floor * 2.5, color="0.92", zorder=0)
        ticks = [str(n) for n in result["layer"].values[:-1]] + ["out"]
        axes.set_xticks(result["layer"].values, ticks)
        axes.set(yscale="log", xlabel="layer $l$", ylim=(floor / 2.5, None))
    left, right = panels.values()
    left.set_ylabel(r"way of the kernel, $\sum_t |\Delta W_l|$")
    left.text(float(result["layer"][-1]) + 0.3, floor * 1.4, "exactly 0", ha="right", fontsize=7)
    right.legend(loc="center left", ncols=2)
    return figure


def _learnt(result: xr.Dataset) -> Figure:
    """Accuracy against the replaced layer and against the silent share."""
    figure, ((left, right),) = draw.canvas(1, 2, height=2.9, sharey=True)
    labels = {"step": "binary steps", "silent": "silent"}
    for kind, look in draw.series(list(labels)).items():
        learnt, label = result["learnt"].sel(replaced=kind), labels[kind]
        draw.measured(left, result["at"], learnt.mean("seed"), standard_error(learnt), look, label=label)
    left.set(xlabel="replaced layer $k$", ylabel="test accuracy", ylim=(0, 1))
    left.set_title("Steps pass information up, a silent layer passes none")
    left.legend()
    _shares(right, result)
    return figure


def _shares(axes: Axes, result: xr.Dataset) -> None:
    """Accuracy against the share of the middle layer's units that is silent."""
    learnt = result["share_accuracy"]
    draw.measured(axes, result["silent_units"] / result["units"], learnt.mean("seed"), standard_error(learnt))
    guess = float(result["guessing"])
    axes.axhline(guess, color="0.4", linestyle=":", linewidth=0.9)
    axes.text(0.02, guess + 0.015, "guessing", fontsize=7, color="0.3")
    axes.set(xlabel="share of silent units in the middle layer")
    axes.set_title("Single silent units do not block")
