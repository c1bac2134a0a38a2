"""What the two leagues of remedies share: the columns of their scores, and the figure that ranks them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from signalprop.analysis.statistics import share_interval
from signalprop.bench.record import figures as draw

KINDS = ("failing", "initialisation", "activation", "architecture", "optimiser", "regulariser", "combination")


def first_reached(
    reached: xr.DataArray, records: str, steps: ArrayLike, diverged_at: xr.DataArray
) -> xr.DataArray:
    """The step of the first record at which a network had reached its goal.

    Args:
        reached: Whether it had, by network and record.
        records: Dimension of the records.
        steps: Step of every record.
        diverged_at: Step at which a network left float range; 0: never.

    Returns:
        Steps by network; inf if it never reached the goal, or diverged.
    """
    numbers = xr.DataArray(np.asarray(steps, float), dims=records)
    first: xr.DataArray = numbers.where(reached, np.inf).min(records)
    return first.where(diverged_at == 0, np.inf)


def score(one: xr.Dataset) -> dict[str, float]:
    """The columns that both leagues have, of the networks of one remedy.

    Args:
        one: By seed ``solved``, ``steps``, ``diverged_at`` and, at the start and the end, ``decades``;
            ``decades_predicted`` and ``cost``.
    """
    solved, count = int(one["solved"].sum()), one.sizes["seed"]
    low, high = share_interval(solved, count)
    start, end = (median(-one["decades"].isel(moment=m).values) for m in (0, 1))
    return {
        "solved": solved, "seeds": count, "low": low, "high": high,
        "decades_lost_start": start, "decades_lost_end": end,
        "decades_lost_predicted": float(-one["decades_predicted"]), "steps": float(one["steps"].median()),
        "diverged": int((one["diverged_at"] > 0).sum()), "cost": float(one["cost"]),
    }  # fmt: skip


def median(values: np.ndarray) -> float:
    """Median of what is not NaN, infinities included; NaN if nothing is left."""
    kept = values[~np.isnan(values)]
    return float(np.median(kept)) if kept.size else float("nan")


def ranking(columns: Mapping[str, pd.DataFrame], labels: Mapping[str, str], steps: str = "steps") -> Figure:
    """Scores in ranked rows: shares with their intervals, and beside them decades lost, steps and cost.

    Args:
        columns: By its title the scores of a column, indexed by the name of their row. Where ``filled`` is
            among them, those without it are hollow; where ``same`` is, those with it are grey.
        labels: Of the rows by name, the best last.
        steps: What a step is called.
    """
    figure, (axes,) = draw.canvas(
        1, 2 * len(columns), height=1.15 + 0.205 * len(labels), width_ratios=[1.0, 0.9] * len(columns),
        sharey=True,
    )  # fmt: skip
    for i, (title, rows) in enumerate(columns.items()):
        placed = [(place, rows.loc[name]) for place, name in enumerate(labels) if name in rows.index]
        _dots(axes[2 * i], placed)
        for place in range(1, len(labels), 2):
            axes[2 * i].axhspan(place - 0.5, place + 0.5, color="0.95", zorder=0, linewidth=0)
        axes[2 * i].set_title(title, loc="left", fontsize=8)
        _numbers(axes[2 * i + 1], placed, len(labels) - 0.3, steps)
    axes[0].set_yticks(range(len(labels)), list(labels.values()))
    axes[0].set_ylim(-0.7, len(labels) + 0.9)
    legend_of_kinds(figure, {kind for rows in columns.values() for kind in rows["kind"]})
    return figure


def _dots(axes: Axes, placed: list[tuple[int, Any]]) -> None:
    """Share of successes of every row with its interval."""
    for place, row in placed:
        share, style = row.solved / row.seeds, look(row.kind)
        face = style["color"] if row.get("filled", True) else "white"
        axes.errorbar(
            share, place, xerr=[[share - row.low], [row.high - share]], linestyle="none", markersize=4.5,
            elinewidth=1.0, markerfacecolor=face, **style,
        )  # fmt: skip
    axes.set(xlim=(-0.05, 1.05), xlabel="share solved, exact 95 % interval")
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _numbers(axes: Axes, placed: list[tuple[int, Any]], top: float, steps: str) -> None:
    """Decades lost before and after training, those predicted, steps, and cost."""
    columns: dict[str, Callable[[Any], str]] = {
        "lost:\nstart": lambda row: _decades(row.decades_lost_start),
        "by\ntheory": lambda row: _decades(row.decades_lost_predicted),
        "lost:\nend": lambda row: _decades(row.decades_lost_end),
        f"\n{steps}": lambda row: f"{row.steps:.0f}" if np.isfinite(row.steps) else "\N{EN DASH}",
        "\ncost": lambda row: f"{row.cost:.2f}",
    }
    axes.axis("off")
    across: dict[str, Any] = {"ha": "center", "transform": axes.get_yaxis_transform()}
    for x, (title, text) in zip(np.linspace(0.08, 0.96, len(columns)), columns.items(), strict=True):
        axes.text(x, top, title, va="bottom", fontsize=6, color="0.3", **across)
        for place, row in placed:
            colour = "0.6" if row.get("same", False) else "0.1"
            axes.text(x, place, text(row), va="center", fontsize=6.2, color=colour, **across)


def _decades(value: float) -> str:
    if np.isnan(value):
        return "\N{EN DASH}"
    return f"{round(value, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}") if np.isfinite(value) else "all"


def look(kind: str) -> dict[str, Any]:
    """Colour and marker of a kind of remedy."""
    return {name: value for name, value in draw.series(KINDS)[kind].items() if name != "linestyle"}


def legend_of_kinds(figure: Figure, kinds: Iterable[str], **more: Any) -> None:
    """A legend of the kinds of remedies that are drawn, below the panels; ``more`` as of a line."""
    shown = [kind for kind in KINDS if kind in set(kinds)]
    handles = [
        Line2D([], [], **{"linestyle": "none", "label": kind, "markersize": 4.5, **look(kind), **more})
        for kind in shown
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(shown), columnspacing=1.0, handletextpad=0.2
    )
