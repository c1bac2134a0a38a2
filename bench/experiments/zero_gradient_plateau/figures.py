"""Figures of ``zero-gradient-plateau``: the resurrection matrix, ways to the boundary, saddles."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from signalprop.bench.experiments.zero_gradient_plateau.routes import ROUTES
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

MEMORY = ("heavy_ball_rest", "ball_killed", "ball_moving", "nesterov_moving", "adam_moving", "noise")
DECAY = ("l2_all", "l2_weights", "l2_rising", "ball_l2_slow", "ball_l2_fast", "adam_l2")
ESCAPED = "#0173b2"


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Routes and their shares, ways to the boundary, and what curvature does."""
    return {
        "resurrection": _matrix(result),
        "ways": _ways(result),
        "curvature": _curvature(result),
    }


def table(result: xr.Dataset) -> pd.DataFrame:
    """Routes with their shares, steps and accuracies; saddles; the sigmoid."""
    over = ("seed", "instance")
    rows = []
    for name in result["route"].values:
        at = result.sel(route=name)
        for what, measured, predicted in (
            ("share that escapes", np.isfinite(at["escape"]).mean(), np.isfinite(at["foreseen"]).mean()),
            ("median step of escape", at["escape"].median(over), at["foreseen"].median(over)),
            ("accuracy", at["accuracy"].mean(), np.nan),
        ):
            rows.append(("route", str(name), what, float(measured), float(predicted)))
    for name in ("chain_steps", "sigmoid_steps"):
        both = tidy(result[[name, f"{name}_predicted"]].isel(seed=0))
        keys = [c for c in both if c not in ("seed", name, f"{name}_predicted")]
        rows += [(name, " ".join(f"{row[k]}" for k in keys), "steps", row[name], row[f"{name}_predicted"])
                 for _, row in both.iterrows()]  # fmt: skip
    return pd.DataFrame(rows, columns=["part", "case", "quantity", "measured", "predicted"])


def _names(result: xr.Dataset, wanted: Any = ROUTES) -> list[str]:
    """The routes that were run, those that never lead out first."""
    run = set(map(str, result["route"].values))
    return [name for name in ROUTES if name in run and name in wanted]


def _matrix(result: xr.Dataset) -> Figure:
    """One row per route: predicted and observed share, step, and what is learnt."""
    names = _names(result)
    figure, ((axes,),) = draw.canvas(1, 1, height=0.21 * len(names) + 0.85)
    count = result.sizes["seed"] * result.sizes["instance"]
    columns = ("predicted\nshare that escapes", "observed\nshare", "predicted step\n(median)",
               "observed step\n(median)", "same step in\nall instances", "accuracy\nat the end")  # fmt: skip
    for row, name in enumerate(names):
        at = result.sel(route=name)
        step, share = {}, {}
        for key in ("foreseen", "escape"):
            values = at[key].values.ravel()
            share[key] = np.isfinite(values).mean()
            left = values[np.isfinite(values)]
            step[key] = f"{np.median(left):g}" if left.size else "never"
        same = float((at["foreseen"] == at["escape"]).mean())
        learnt = float(at["accuracy"].mean())
        texts = (f"{share['foreseen']:.0%}", f"{share['escape']:.0%}", step["foreseen"], step["escape"],
                 f"{same:.0%}", f"{learnt:.2f}")  # fmt: skip
        fill = (share["foreseen"], share["escape"], None, None, None, 2 * learnt - 1)
        for column, (text, strength) in enumerate(zip(texts, fill, strict=True)):
            colour = to_rgba(ESCAPED, 0.08 + 0.6 * max(strength, 0)) if strength is not None else "white"
            axes.add_patch(
                Rectangle((column - 0.47, row - 0.45), 0.94, 0.9, facecolor=colour, edgecolor="none")
            )
            axes.text(column, row, text, ha="center", va="center", fontsize=7.2)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(names) - 0.5, -0.5))
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(names)), [ROUTES[n].label for n in names])
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title(f"Ways out of a silent relu layer: closed form against network, {count} instances")
    return figure


def _ways(result: xr.Dataset) -> Figure:
    """Highest w x + b of one instance against the step."""
    figure, panels = draw.canvas(1, 2, height=4.5, sharey=True)
    at = result.isel(seed=0)
    for axes, wanted, title in zip(
        panels[0], (MEMORY, DECAY), ("Memory and noise: it depends on the instance", "Decay: what decays "
        "decides"),
        strict=True,
    ):  # fmt: skip
        names = _names(result, wanted)
        for name, look in zip(names, draw.series(names).values(), strict=True):
            seen, foreseen = at["highest"].sel(route=name), at["highest_foreseen"].sel(route=name)
            stop = np.flatnonzero(seen.values > 0)
            last = stop[0] + 1 if stop.size else len(seen)
            draw.theory(axes, at["step"][:last] + 1, foreseen[:last], look)
            chosen = np.unique(np.round(np.geomspace(1, last, 14)).astype(int) - 1)
            draw.measured(axes, at["step"][chosen] + 1, seen[chosen], None, look, label=ROUTES[name].label)
        axes.axhline(0, color="0.3", linewidth=0.8)
        axes.set(xscale="log", xlabel="step + 1", title=title, ylim=(-9, 2))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=6.8)
    panels[0][0].set_ylabel("highest $w \\cdot x + b$ (above 0: awake)")
    return figure


def _curvature(result: xr.Dataset) -> Figure:
    """Saddles of order L, from near and from nearer, and the slow sigmoid."""
    figure, ((left, middle, right),) = draw.canvas(1, 3, height=2.9)
    middle.sharey(left)
    for axes, i in ((left, 0), (middle, -1)):
        _chains(axes, result.isel(seed=0, chain_start=i))
    left.set_ylabel("steps to leave the saddle")
    start = result["sigmoid_start"]
    draw.theory(right, start, result["sigmoid_steps_predicted"], label="gradient flow")
    draw.measured(right, start, result["sigmoid_steps"].isel(seed=0), None, label="gradient descent")
    right.set(yscale="log", xlabel="initial bias $b_0$", ylabel="steps until $b = 0$")
    right.set_title(r"A sigmoid is slow: $\approx e^{|b_0|} / \eta$")
    right.legend()
    return figure


def _chains(axes: Axes, at: xr.Dataset) -> None:
    names = [m for m in at["descent"].values if np.isfinite(at["chain_steps"].sel(descent=m)).any()]
    for name, look in draw.series(names).items():
        draw.theory(axes, at["chain"], at["chain_steps_predicted"].sel(descent=name), look)
        draw.measured(axes, at["chain"], at["chain_steps"].sel(descent=name), None, look, label=name)
    axes.set(yscale="log", xlabel="order $L$ of the saddle")
    axes.set_xticks(at["chain"].values)
    axes.set_title(f"Saddle of order $L$, from $w = {float(at['chain_start']):g}$")
    axes.legend()
