"""Figures of ``remedy-league``: the ranked table of remedies, and whether theory explains it."""

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
from signalprop.bench.record.league import legend_of_kinds, look, ranking

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


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row per failing network and remedy, as the league ranks them."""
    return scores(league(result))


def _league(table: xr.Dataset, rows: pd.DataFrame) -> Figure:
    """Remedies ranked by success on all networks, those in grey that change nothing."""
    totals = rows.assign(share=rows["solved"] / rows["seeds"], slow=rows["steps"].clip(upper=1e9))
    mean = totals.groupby("remedy")[["share", "slow", "accuracy"]].mean()
    order = list(mean.sort_values(["share", "slow", "accuracy"], ascending=[True, False, True]).index)
    same = [
        r.remedy != "none" and recipe(r.network, r.remedy) == recipe(r.network, "none")
        for r in rows.itertuples()
    ]
    marked = rows.assign(filled=rows["predicted"], same=same)
    columns = {
        TITLES[network].format(depth=int(table["depth"])): marked[marked["network"] == network]
        for network in map(str, table["network"].values)
    }
    figure = ranking(
        {title: chosen.set_index("remedy") for title, chosen in columns.items()},
        {name: _label(name) for name in order},
    )
    figure.suptitle(
        f"One protocol, every remedy: share of {int(rows['seeds'].iloc[0])} networks that reach a training "
        f"accuracy of {float(table['threshold']):g} in {int(table['step'][-1])} steps\n"
        "filled: trainable by theory; lost: decades by which the gradient shrinks from last to first layer; "
        "grey: changes nothing",
        fontsize=8,
    )
    return figure


def _label(remedy: str) -> str:
    text = REMEDIES[remedy].label
    return text.replace("sigma_w", r"$\sigma_w$").replace("sqrt(L)", r"$\sqrt{L}$")


def _theory(table: xr.Dataset, rows: pd.DataFrame) -> Figure:
    """Predicted decades against measured ones, and the rule of both limits against success."""
    figure, (axes,) = draw.canvas(1, 2, height=3.3)
    at = scored(table)
    for row in rows.itertuples():
        start = -at["decades"].sel(network=row.network, remedy=row.remedy, moment="start").values
        kept = start[np.isfinite(start)]
        if kept.size and np.isfinite(row.decades_lost_predicted):
            draw.measured(axes[0], row.decades_lost_predicted, kept.mean(), kept.std(), look(row.kind))
    ends = axes[0].get_xlim()
    draw.theory(axes[0], ends, ends)
    axes[0].set(xlabel="decades lost, predicted", ylabel=r"decades lost, measured $\pm$ s.d.",
                title="The gradient before training is as predicted")  # fmt: skip
    _rule(axes[1], rows)
    legend_of_kinds(figure, rows["kind"], markerfacecolor="white")
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
