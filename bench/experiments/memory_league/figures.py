"""Figures of ``memory-league``: ranked remedies, learning curves, and what theory knows before."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from signalprop.bench.experiments.memory_league.competitors import ALONE
from signalprop.bench.experiments.memory_league.scores import naming, scores
from signalprop.bench.record import figures as draw
from signalprop.bench.training.league import KINDS

FEWEST, MOST = 0.02, 3.0  # of the loss at chance: what figures show
STEEPEST = -12.0  # decades


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """The league, its learning curves, and the gradient before training beside the loss after it."""
    rows = scores(result)
    return {"league": _league(result, rows), "curves": _curves(result, rows), "gradient": _gradient(result)}


def look() -> dict[str, dict[str, Any]]:
    """Colour and marker of every kind of remedy."""
    kept = draw.series(KINDS)
    return {kind: {"color": kept[kind]["color"], "marker": kept[kind]["marker"]} for kind in KINDS}


def order(rows: pd.DataFrame) -> list[str]:
    """Labels of the rows, the best last, by successes with any optimizer, then by steps and loss."""
    ranked = rows.assign(share=rows["solved"] / rows["seeds"], slow=rows["steps"].clip(upper=1e9))
    best = ranked.groupby("label").agg({"share": "max", "slow": "min", "test_loss": "min"})
    return list(best.sort_values(["share", "slow", "test_loss"], ascending=[True, False, False]).index)


def _columns(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Plain gradient descent and optimizers that are the remedy in one column, Adam in the other."""
    alone = rows["optimizer"].isin([*ALONE, "sgd", "nesterov"])
    both = {"plain gradient descent": rows[alone], "with Adam": rows[~alone]}
    return [(title, chosen.set_index("label")) for title, chosen in both.items() if len(chosen)]


def _league(result: xr.Dataset, rows: pd.DataFrame) -> Figure:
    """Dots with exact intervals, ranked, and the numbers beside them."""
    labels, columns = order(rows), _columns(rows)
    figure, (axes,) = draw.canvas(
        1, 2 * len(columns), height=1.2 + 0.205 * len(labels), width_ratios=[1.0, 0.95] * len(columns),
        sharey=True,
    )  # fmt: skip
    for i, (title, chosen) in enumerate(columns):
        _dots(axes[2 * i], labels, chosen, title)
        _numbers(axes[2 * i + 1], labels, chosen)
    axes[0].set_yticks(range(len(labels)), [label.replace("Omega", r"$\Omega$") for label in labels])
    axes[0].set_ylim(-0.7, len(labels) + 0.9)
    handles = [
        Line2D([], [], linestyle="none", label=kind, markersize=4.5, **look()[kind])
        for kind in KINDS if kind in set(rows["kind"])
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.0, handletextpad=0.2
    )
    figure.suptitle(
        f"Tanh network, adding problem, T = {int(result['length'])}: who solves it in "
        f"{int(result['updates'])} updates ({int(rows['seeds'].iloc[0])} networks each)", fontsize=9,
    )  # fmt: skip
    return figure


def _dots(axes: Axes, labels: list[str], rows: pd.DataFrame, title: str) -> None:
    for place, label in enumerate(labels):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="0.95", zorder=0, linewidth=0)
        if label in rows.index:
            row = rows.loc[label]
            share = row.solved / row.seeds
            axes.errorbar(
                share, place, xerr=[[share - row.low], [row.high - share]], linestyle="none", markersize=4.5,
                elinewidth=1.0, **look()[row.kind],
            )  # fmt: skip
    axes.set(xlim=(-0.05, 1.05), xlabel="share solved, exact 95 % interval")
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid(axis="y", visible=False)
    axes.set_title(title, loc="left", fontsize=8)
    axes.tick_params(axis="y", length=0)


def _numbers(axes: Axes, labels: list[str], rows: pd.DataFrame) -> None:
    """Decades lost before and after training, predicted ones, updates, and cost."""
    columns: dict[str, Callable[[Any], str]] = {
        "lost at\nstart": lambda r: _number(r.decades_lost_start),
        "theory": lambda r: _number(r.decades_lost_predicted),
        "lost at\nend": lambda r: _number(r.decades_lost_end),
        "updates": lambda r: f"{r.steps:.0f}" if np.isfinite(r.steps) else "\N{EN DASH}",
        "cost": lambda r: f"{r.cost:.1f}",
    }
    axes.axis("off")
    for x, (title, text) in zip(np.linspace(0.1, 0.95, len(columns)), columns.items(), strict=True):
        across = axes.get_yaxis_transform()
        axes.text(x, len(labels) - 0.3, title, ha="center", va="bottom", fontsize=6, color="0.3",
                  transform=across)  # fmt: skip
        for place, label in enumerate(labels):
            if label in rows.index:
                axes.text(x, place, text(rows.loc[label]), ha="center", va="center", fontsize=6.2,
                          color="0.1", transform=across)  # fmt: skip


def _number(value: float) -> str:
    if np.isnan(value):
        return "\N{EN DASH}"
    return f"{value:.1f}".replace("-", "\N{MINUS SIGN}") if np.isfinite(value) else "all"


def _curves(result: xr.Dataset, rows: pd.DataFrame) -> Figure:
    """Training loss of the best remedies and of the failing network, median over networks."""
    chance = float(result["test_loss_predicted"])
    chosen = [label for label in order(rows)[::-1] if label != "none"][:6]
    figure, (axes,) = draw.canvas(1, 2, height=2.9, sharey=True)
    looks = draw.series(["none", *chosen])
    optimizers = [str(o) for o in result["optimizer"].values]
    shown = [o for o in ("sgd", "adam") if o in optimizers] or optimizers[:1]
    for panel, optimizer in zip(axes, shown, strict=False):
        for remedy in map(str, result["remedy"].values):
            label = naming(remedy, "sgd")[0]
            if label not in looks:
                continue
            y = result["curve"].sel(remedy=remedy, optimizer=optimizer).median("seed")
            panel.plot(
                result["update"], y / chance, label=label.replace("Omega", r"$\Omega$"), markersize=3,
                markevery=max(1, y.size // 6), linewidth=1.0, **looks[label],
            )  # fmt: skip
        panel.axhline(1, color="k", linestyle="--", linewidth=1.0, label="chance: no memory")
        panel.axhline(0.3, color="k", linestyle=":", linewidth=1.0, label="solved")
        title = {"sgd": "plain gradient descent", "adam": "Adam"}.get(optimizer, optimizer)
        panel.set(yscale="log", ylim=(FEWEST / 4, MOST), xlabel="updates", title=title)
    axes[0].set_ylabel("training loss / chance")
    for spare in axes[len(shown) :]:
        spare.remove()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    figure.suptitle("Learning curves at the tuned rate: median over networks", fontsize=9)
    return figure


def _gradient(result: xr.Dataset) -> Figure:
    """Decades lost before training against the loss after it, and against those after it, under Adam."""
    optimizers = [str(o) for o in result["optimizer"].values]
    optimizer = "adam" if "adam" in optimizers else optimizers[-1]
    figure, (axes,) = draw.canvas(1, 2, height=2.9)
    chance, kinds = float(result["test_loss_predicted"]), []
    for remedy in map(str, result["remedy"].values):
        one = result.sel(remedy=remedy, optimizer=optimizer)
        if not np.isfinite(one["rate"]).any():
            continue
        _, kind, _ = naming(remedy, "sgd")
        kinds.append(kind)
        start, end = (np.maximum(one["decades"].isel(moment=m), STEEPEST) for m in (0, 1))
        loss = np.clip(one["test_loss"] / chance, FEWEST / 10, MOST)
        style = {**look()[kind], "linestyle": "none", "markersize": 3.5, "alpha": 0.7}
        axes[0].plot(start, loss, **style)
        axes[1].plot(start, end, **style)
    axes[0].axhline(1, color="k", linestyle="--", linewidth=1.0)
    axes[0].set(yscale="log", xlabel="decades gained over $T$, untrained", ylabel="test loss / chance",
                title="Loss after training (dashed: chance)")  # fmt: skip
    ends = axes[1].get_xlim()
    axes[1].plot(ends, ends, color="k", linestyle="--", linewidth=1.0)
    axes[1].set(xlabel="decades gained over $T$, untrained", ylabel="the same, trained",
                title="After training (dashed: unchanged)")  # fmt: skip
    handles = [
        Line2D([], [], linestyle="none", label=kind, markersize=4.5, **look()[kind])
        for kind in KINDS if kind in kinds
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, len(handles)), columnspacing=1.0)
    figure.suptitle(
        f"Gradient of the answer over the whole sequence, every network ({optimizer})", fontsize=9
    )
    return figure


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row per remedy and optimizer, as the league ranks them."""
    return scores(result)
