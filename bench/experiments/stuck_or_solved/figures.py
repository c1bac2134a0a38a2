"""Figures of ``stuck-or-solved``: what tells stuck from solved, ends on XOR, and early signals."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.stuck_or_solved.conditions import CONDITIONS
from signalprop.bench.experiments.stuck_or_solved.verdicts import (
    ENDED_WELL,
    LIMIT,
    SIGNALS,
    TELLTALES,
    foretells,
    separation,
    states,
)
from signalprop.bench.experiments.stuck_or_solved.xor import UNSOLVED
from signalprop.bench.record import figures as draw

TINY = 1e-16  # below which logs of norms are drawn


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Four numbers by condition, the chart of two of them, ends on XOR, and early signals."""
    return {
        "telltales": _telltales(result),
        "chart": _chart(result),
        "xor": _xor(result),
        "early": _early(result),
    }


def table(result: xr.Dataset) -> pd.DataFrame:
    """Numbers of every condition, how well each tells, ends on XOR, and early signals."""
    at, found = states(result), []
    for name, label in TELLTALES.items():
        area = separation(at[name], at["stuck"])
        found.append(("all conditions", label, "area under the ROC curve", *area))
        for condition in CONDITIONS:
            values = at[name].sel(network=condition).values.ravel()
            ends = np.quantile(values, (0.5, 0.1, 0.9), method="nearest")
            found.append((condition, label, "median, 10 % and 90 %", *ends))
    bad = result["xor_error"] > UNSOLVED
    kinds = {"bad end": bad, "certified minimum": bad & (result["xor_minimum"] > 0)}
    for width in result["xor_width"].values:
        for penalty in result["penalty"].values:
            for kind, which in kinds.items():
                share = float(which.sel(xor_width=width, penalty=penalty).mean())
                found.append((f"XOR, {width} units, L2 {penalty:g}", kind, "share", share, np.nan, np.nan))
    for step in result["step"].values:
        for name, label in SIGNALS.items():
            area = foretells(result, name, step)._replace(low=np.nan, high=np.nan)
            found.append((f"step {step}", label, "area under the ROC curve", *area))
    return pd.DataFrame(found, columns=["case", "number", "quantity", "value", "low", "high"])


def _telltales(result: xr.Dataset) -> Figure:
    """Each number of each network, by condition, with what it is worth alone."""
    at = states(result)
    shown = {
        "norm of the gradient": (10.0 ** -at["flatness"]).clip(TINY), "loss over base rate's": at["excess"],
        "smallest eigenvalue": at["level"], "regained by a restart": at["regained"],
    }  # fmt: skip
    titles = [f"{title}\nAUC {separation(at[name], at['stuck'])}" for name, title in TELLTALES.items()]
    figure, by_title = draw.panels(titles, 4, height=2.9, sharey=True)
    panels = list(by_title.values())
    for axes, (label, numbers) in zip(panels, shown.items(), strict=True):
        for row, (condition, look) in enumerate(draw.series(list(CONDITIONS)).items()):
            values = numbers.sel(network=condition).values.ravel()
            jitter = np.linspace(-0.28, 0.28, values.size)
            draw.measured(axes, values, row + jitter, None, look, markersize=2.6)
        axes.set_xlabel(label)
    panels[0].set_xscale("log")
    panels[2].set_xscale("symlog", linthresh=1e-4)
    panels[2].set_xticks([-0.1, -0.001, 0], ["-0.1", "-0.001", "0"])
    panels[2].set_xticks([], minor=True)
    panels[3].axvline(LIMIT, color="0.3", linewidth=0.8, linestyle="--")
    kinds = list(CONDITIONS.values())
    panels[0].set_yticks(range(len(kinds)), [c.label for c in kinds])
    border = sum(c.stuck for c in kinds) - 0.5
    for axes in panels:
        axes.axhline(border, color="0.3", linewidth=0.8)
    panels[0].invert_yaxis()
    return figure


def _chart(result: xr.Dataset) -> Figure:
    """Gradient norm and restart: the chart that a reader can use."""
    figure, ((axes,),) = draw.canvas(1, 1, height=3.6)
    at = states(result)
    gradient = (10.0 ** -at["flatness"]).clip(TINY)
    axes.axhspan(LIMIT, 1.2, color="#d55e00", alpha=0.10, zorder=0)
    axes.axhline(LIMIT, color="0.3", linewidth=0.9, linestyle="--")
    for name, look in draw.series(list(CONDITIONS)).items():
        axes.plot(
            gradient.sel(network=name).values.ravel(), at["regained"].sel(network=name).values.ravel(),
            linestyle="none", marker=look["marker"], color=look["color"], alpha=0.8,
            label=CONDITIONS[name].label,
        )  # fmt: skip
    axes.set(
        xscale="log", ylim=(min(-0.3, float(at["regained"].min()) - 0.1), 1.2), xlabel="norm of the gradient"
    )
    axes.set_ylabel("loss that a restart regains, over base rate's")
    axes.text(0.985, 0.97, "stuck: a fresh network overtakes", transform=axes.transAxes, ha="right", va="top")
    axes.text(0.985, 0.03, "not stuck", transform=axes.transAxes, ha="right", va="bottom")
    axes.set_title("A small gradient has two meanings; a short restart tells them apart")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _xor(result: xr.Dataset) -> Figure:
    """Shares of ends by width, one panel per penalty."""
    titles = {f"L2 penalty {p:g}" if p else "no penalty": p for p in result["penalty"].values}
    figure, panels = draw.panels(list(titles), height=2.6, sharey=True)
    bad, minimum = result["xor_error"] > UNSOLVED, result["xor_minimum"] > 0
    kinds = {"bad strict minimum": bad & minimum, "plateau or saddle": bad & ~minimum, "solved": ~bad}
    widths, colours = [str(w) for w in result["xor_width"].values], ("#d55e00", "#de8f05", "#a6cee3")
    for title, axes in panels.items():
        base = np.zeros(len(widths))
        for (label, which), colour in zip(kinds.items(), colours, strict=True):
            share = which.sel(penalty=titles[title]).mean(("seed", "restart")).values
            axes.bar(widths, share, bottom=base, color=colour, label=label)
            base = base + share
        axes.set_xlabel("hidden units")
        axes.grid(axis="x", visible=False)
    shown = list(panels.values())
    shown[0].set_ylabel(f"share of {result.sizes['seed'] * result.sizes['restart']} restarts on XOR")
    shown[-1].legend(loc="lower right", frameon=True, framealpha=0.9)
    return figure


def _early(result: xr.Dataset) -> Figure:
    """Area under the ROC curve of every signal against the step."""
    figure, ((left, right),) = draw.canvas(1, 2, height=2.9)
    steps = result["step"].values
    for (name, label), look in zip(SIGNALS.items(), draw.series(list(SIGNALS)).values(), strict=True):
        found = np.array([foretells(result, name, step) for step in steps])
        error = np.abs(found[:, 1:] - found[:, :1]).T
        draw.measured(left, steps, found[:, 0], error, look, label=label)
    left.axhline(0.5, color="0.4", linestyle=":", linewidth=0.9)
    left.set(xlabel="step", ylabel="AUC for a failed training", ylim=(-0.2, 1.05))
    left.set_title("Signals that foretell the end")
    left.legend(loc="lower center", ncols=2)
    _outcomes(right, result)
    return figure


def _outcomes(axes: Axes, result: xr.Dataset) -> None:
    """First layer's gradient at the start against the end, network by network."""
    at = result.isel(network=slice(len(CONDITIONS), None), step=0)
    ratio = (at["loss"] / at["base"]).clip(1e-6)
    gradient = np.exp(at["log_first"].values).clip(TINY)
    axes.plot(gradient.ravel(), ratio.values.ravel(), "o", markerfacecolor="white", color="0.3")
    axes.axhline(ENDED_WELL, color="0.3", linewidth=0.8, linestyle="--")
    axes.set(xscale="log", yscale="log", xlabel="first layer's gradient norm before training")
    axes.set_ylabel("loss at the end, over base rate's")
    axes.set_title("Networks of random scale")
