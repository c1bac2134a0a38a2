"""Figures of ``frozen-layers``: which layers move when one passes no gradient, and what is learnt."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.record import figures as draw

FLOOR = 10.0  # times below the smallest way that moved: where exact zeros are drawn


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Ways of the layers, and accuracies."""
    return {"frozen": _frozen(result), "learnt": _learnt(result)}


def _frozen(result: xr.Dataset) -> Figure:
    """Way of every layer's kernel, for every replaced layer."""
    figure, panels = draw.canvas(1, 2, height=3.2, sharey=True)
    ways = result["way"].copy(data=np.exp(result["way"].values))
    floor = float(ways.where(ways > 0).min()) / FLOOR
    titles = {"step": "Layer $k$ of binary steps", "silent": "Layer $k$ silenced (relu, offset -100)"}
    looks = draw.series([f"{k}" for k in result["at"].values])
    for axes, kind in zip(panels[0], result["replaced"].values, strict=True):
        for k, look in zip(result["at"].values, looks.values(), strict=True):
            way = ways.sel(replaced=kind, at=k)
            mean, error = way.mean("seed"), way.std("seed", ddof=1) / np.sqrt(way.sizes["seed"])
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
        axes.set(yscale="log", xlabel="layer $l$", title=titles[str(kind)], ylim=(floor / 2.5, None))
    panels[0][0].set_ylabel(r"way of the kernel, $\sum_t |\Delta W_l|$")
    panels[0][0].text(float(result["layer"][-1]) + 0.3, floor * 1.4, "exactly 0", ha="right", fontsize=7)
    panels[0][1].legend(loc="center left", ncols=2)
    return figure


def _learnt(result: xr.Dataset) -> Figure:
    """Accuracy against the replaced layer and against the silent share."""
    figure, ((left, right),) = draw.canvas(1, 2, height=2.9, sharey=True)
    labels = {"step": "binary steps", "silent": "silent"}
    for kind, look in draw.series([str(k) for k in result["replaced"].values]).items():
        learnt = result["learnt"].sel(replaced=kind)
        draw.measured(left, result["at"], learnt.mean("seed"), _error(learnt), look, label=labels[kind])
    left.set(xlabel="replaced layer $k$", ylabel="test accuracy", ylim=(0, 1))
    left.set_title("Steps pass information up, a silent layer passes none")
    left.legend()
    _shares(right, result)
    return figure


def _error(values: xr.DataArray) -> xr.DataArray:
    error: xr.DataArray = values.std("seed", ddof=1) / np.sqrt(values.sizes["seed"])
    return error


def _shares(axes: Axes, result: xr.Dataset) -> None:
    learnt = result["share_accuracy"]
    draw.measured(axes, result["silent_units"] / result["units"], learnt.mean("seed"), _error(learnt))
    guess = float(result["guessing"])
    axes.axhline(guess, color="0.4", linestyle=":", linewidth=0.9)
    axes.text(0.02, guess + 0.015, "guessing", fontsize=7, color="0.3")
    axes.set(xlabel="share of silent units in the middle layer")
    axes.set_title("Single silent units do not block")


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
