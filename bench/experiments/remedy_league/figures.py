"""Figures of ``remedy-league``: the ranked table of remedies, and whether theory explains it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from signalprop.bench.experiments.remedy_league.recipes import REMEDIES, recipe
from signalprop.bench.experiments.remedy_league.scores import league, scored, scores
from signalprop.bench.experiments.remedy_league.theory import SIGNAL_REACH, TOLERATED
from signalprop.bench.record import figures as draw
from signalprop.bench.training.league import KINDS

NEAR, OUTSIDE = 1e-4, 8.0  # where less difference is drawn, and networks without a prediction of it
TITLES = {
    "vanishing": r"vanishing: {depth} sigmoid layers, $\sigma_w^2 = 1$",
    "exploding": r"exploding: {depth} tanh layers, $\sigma_w^2 = 9$",
}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """The league, and theory beside it."""
    table = league(result)
    rows = scores(table)
    return {"league": _league(table, rows), "theory": _theory(table, rows)}


def look() -> dict[str, dict[str, Any]]:
    """Colour and marker of every kind of remedy."""
    kept = draw.series(KINDS)
    return {kind: {"color": kept[kind]["color"], "marker": kept[kind]["marker"]} for kind in KINDS}


def _league(table: xr.Dataset, rows: pd.DataFrame) -> Figure:
    """Dots with intervals, ranked by success on all networks, and the numbers beside them."""
    networks = [str(n) for n in table["network"].values]
    totals = rows.assign(share=rows["solved"] / rows["seeds"], slow=rows["steps"].clip(upper=1e9))
    mean = totals.groupby("remedy")[["share", "slow", "accuracy"]].mean()
    order = list(mean.sort_values(["share", "slow", "accuracy"], ascending=[True, False, True]).index)
    widths = [1.0, 0.86] * len(networks)
    figure, (axes,) = draw.canvas(
        1, 2 * len(networks), height=1.1 + 0.205 * len(order), width_ratios=widths, sharey=True
    )
    for i, network in enumerate(networks):
        chosen = rows[rows["network"] == network].set_index("remedy").loc[order]
        _dots(axes[2 * i], chosen, network, int(table["depth"]))
        _numbers(axes[2 * i + 1], chosen)
    axes[0].set_yticks(range(len(order)), [_label(name) for name in order])
    axes[0].set_ylim(-0.7, len(order) + 0.9)
    handles = [
        Line2D([], [], linestyle="none", label=kind, markersize=4.5, **look()[kind])
        for kind in KINDS if kind in set(rows["kind"])
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.0,
                  handletextpad=0.2)  # fmt: skip
    seeds = int(rows["seeds"].iloc[0])
    figure.suptitle(
        f"One protocol, every remedy: share of {seeds} networks that reach a training accuracy of "
        f"{float(table['threshold']):g} in {int(table['step'][-1])} steps\n"
        "filled: trainable by theory; lost: decades by which the gradient shrinks from last to first layer; "
        "grey: changes nothing",
        fontsize=8,
    )
    return figure


def _label(remedy: str) -> str:
    text = REMEDIES[remedy].label
    return text.replace("sigma_w", r"$\sigma_w$").replace("sqrt(L)", r"$\sqrt{L}$")


def _dots(axes: Axes, rows: pd.DataFrame, network: str, depth: int) -> None:
    for place, row in enumerate(rows.itertuples()):
        share = row.solved / row.seeds
        error = [[share - row.low], [row.high - share]]
        axes.errorbar(
            share, place, xerr=error, linestyle="none", markersize=4.5, elinewidth=1.0,
            markerfacecolor=look()[row.kind]["color"] if row.predicted else "white", **look()[row.kind],
        )  # fmt: skip
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="0.95", zorder=0, linewidth=0)
    axes.set(xlim=(-0.05, 1.05), xlabel="share of successes, 95 % interval")
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid(axis="y", visible=False)
    axes.set_title(TITLES[network].format(depth=depth), loc="left", fontsize=8)
    axes.tick_params(axis="y", length=0)


def _numbers(axes: Axes, rows: pd.DataFrame) -> None:
    """Decades lost before and after training, predicted ones, steps, and cost."""
    columns: dict[str, Callable[[Any], str]] = {
        "lost:\nstart": lambda r: _decades(r.decades_lost_start),
        "by\ntheory": lambda r: _decades(r.decades_lost_predicted),
        "lost:\nend": lambda r: _decades(r.decades_lost_end),
        "\nsteps": lambda r: f"{r.steps:.0f}" if np.isfinite(r.steps) else "\N{EN DASH}",
        "\ncost": lambda r: f"{r.cost:.2f}",
    }
    axes.axis("off")
    for x, (title, text) in zip(np.linspace(0.08, 0.96, len(columns)), columns.items(), strict=True):
        axes.text(x, len(rows) - 0.3, title, ha="center", va="bottom", fontsize=6, color="0.3",
                  transform=axes.get_yaxis_transform())  # fmt: skip
        for place, row in enumerate(rows.itertuples()):
            same = recipe(row.network, row.Index) == recipe(row.network, "none") and row.Index != "none"
            axes.text(x, place, text(row), ha="center", va="center", fontsize=6.2,
                      color="0.6" if same else "0.1", transform=axes.get_yaxis_transform())  # fmt: skip


def _decades(value: float) -> str:
    if np.isnan(value):
        return "\N{EN DASH}"
    return f"{round(value, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}") if np.isfinite(value) else "all"


def _theory(table: xr.Dataset, rows: pd.DataFrame) -> Figure:
    """Predicted decades against measured ones, and the rule of both limits against success."""
    figure, (axes,) = draw.canvas(1, 2, height=3.3)
    at = scored(table)
    for row in rows.itertuples():
        start = -at["decades"].sel(network=row.network, remedy=row.remedy, moment="start").values
        kept = start[np.isfinite(start)]
        if kept.size and np.isfinite(row.decades_lost_predicted):
            draw.measured(axes[0], row.decades_lost_predicted, kept.mean(), kept.std(), look()[row.kind])
    ends = axes[0].get_xlim()
    draw.theory(axes[0], ends, ends)
    axes[0].set(xlabel="decades lost, predicted", ylabel=r"decades lost, measured $\pm$ s.d.",
                title="The gradient before training is as predicted")  # fmt: skip
    _rule(axes[1], rows)
    handles = [
        Line2D([], [], linestyle="none", markersize=4.5, label=kind, markerfacecolor="white", **look()[kind])
        for kind in KINDS if kind in set(rows["kind"])
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.0,
                  handletextpad=0.2)  # fmt: skip
    return figure


def _rule(axes: Axes, rows: pd.DataFrame) -> None:
    """Success as the fill of points: difference left between inputs, and size of the gradient's ratio."""
    scale, shapes = sns.color_palette("viridis", as_cmap=True), {"sigmoid": "o", "tanh": "s"}
    placed: dict[tuple[float, float], int] = {}
    seen = set()
    for row in rows.sort_values("solved").itertuples():
        one = recipe(row.network, row.remedy)
        x = OUTSIDE if np.isnan(row.separation_predicted) else max(row.separation_predicted, NEAR)
        y = abs(row.decades_lost_predicted)
        if one in seen or np.isnan(y):
            continue
        seen.add(one)
        spot = (round(np.log10(x), 1), round(y, 1))
        shift = placed.get(spot, 0)
        placed[spot] = shift + 1
        axes.plot(
            x * 1.22 ** (shift % 6), y * 1.13 ** (shift // 6), linestyle="none", markersize=5.5,
            marker=shapes.get(one.activation, "^"), markeredgewidth=0.5, markeredgecolor="0.3",
            markerfacecolor=scale(row.solved / row.seeds),
        )  # fmt: skip
    axes.fill_between([np.exp(-SIGNAL_REACH), 60], -1, TOLERATED, color="0.9", zorder=0, linewidth=0)
    axes.axvline(4.2, color="0.5", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlim=(NEAR / 2, 60), ylabel="decades lost or gained, predicted",
             xlabel="difference left between two inputs, $1 - c^L$, predicted")  # fmt: skip
    axes.set_xticks([NEAR, 1e-3, 1e-2, 0.1, 1, 12], ["less", "0.001", "0.01", "0.1", "1", "skip,\nnorm"])
    axes.set_yscale("symlog", linthresh=TOLERATED)
    axes.set_ylim(-0.15, 40)
    axes.set_yticks([0, 1, 2, 5, 10, 20], ["0", "1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.set_title("Trainable by theory (grey), if inputs stay apart")
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color="0.4", markersize=4.5, label=label)
        for marker, label in (("o", "sigmoid"), ("s", "tanh"), ("^", "others"))
    ]
    axes.legend(handles=handles, loc="upper center", fontsize=7)
    bar = axes.figure.colorbar(ScalarMappable(cmap=scale), ax=axes, label="share of successes")
    bar.outline.set_linewidth(0.5)


def table(result: xr.Dataset) -> pd.DataFrame:
    """The league: one row per failing network and remedy."""
    return scores(league(result))
