"""Figures of ``memory-league``: ranked remedies, learning curves, and what theory knows before."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from signalprop.bench.experiments.memory_league.scores import LEARNT, naming, scores
from signalprop.bench.record import figures as draw
from signalprop.bench.record.league import legend_of_kinds, look, ranking

FEWEST, MOST = 0.02, 3.0  # of the loss at chance: what figures show
STEEPEST = -12.0  # decades


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """The league, its learning curves, and the gradient before training beside the loss after it."""
    rows = scores(result)
    return {"league": _league(result, rows), "curves": _curves(result, rows), "gradient": _gradient(result)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row per remedy and optimizer, as the league ranks them."""
    return scores(result)


def _league(result: xr.Dataset, rows: pd.DataFrame) -> Figure:
    """Remedies ranked by success, with plain descent or optimizers that are the remedy, and with Adam."""
    adam = rows["optimizer"] == "adam"
    both = {"plain gradient descent": rows[~adam], "with Adam": rows[adam]}
    figure = ranking(
        {title: chosen.set_index("label") for title, chosen in both.items() if len(chosen)},
        {label: label.replace("Omega", r"$\Omega$") for label in order(rows)},
        "updates",
    )
    figure.suptitle(
        f"Tanh network, adding problem, T = {int(result['length'])}: who solves it in "
        f"{int(result['updates'])} updates ({int(rows['seeds'].iloc[0])} networks each)", fontsize=9,
    )  # fmt: skip
    return figure


def order(rows: pd.DataFrame) -> list[str]:
    """Labels of the rows, the best last, by successes with any optimizer, then by steps and loss."""
    ranked = rows.assign(share=rows["solved"] / rows["seeds"], slow=rows["steps"].clip(upper=1e9))
    best = ranked.groupby("label").agg({"share": "max", "slow": "min", "test_loss": "min"})
    return list(best.sort_values(["share", "slow", "test_loss"], ascending=[True, False, False]).index)


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
        panel.axhline(LEARNT, color="k", linestyle=":", linewidth=1.0, label="solved")
        title = {"sgd": "plain gradient descent", "adam": "Adam"}.get(optimizer, optimizer)
        panel.set(yscale="log", ylim=(FEWEST / 4, MOST), xlabel="updates", title=title)
    axes[0].set_ylabel("training loss / chance")
    for spare in axes[len(shown) :]:
        spare.remove()
    draw.legend(figure, axes[0], where="right")
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
        style = {**look(kind), "linestyle": "none", "markersize": 3.5, "alpha": 0.7}
        axes[0].plot(start, loss, **style)
        axes[1].plot(start, end, **style)
    axes[0].axhline(1, color="k", linestyle="--", linewidth=1.0)
    axes[0].set(yscale="log", xlabel="decades gained over $T$, untrained", ylabel="test loss / chance",
                title="Loss after training (dashed: chance)")  # fmt: skip
    ends = axes[1].get_xlim()
    axes[1].plot(ends, ends, color="k", linestyle="--", linewidth=1.0)
    axes[1].set(xlabel="decades gained over $T$, untrained", ylabel="the same, trained",
                title="After training (dashed: unchanged)")  # fmt: skip
    legend_of_kinds(figure, kinds)
    figure.suptitle(
        f"Gradient of the answer over the whole sequence, every network ({optimizer})", fontsize=9
    )
    return figure
