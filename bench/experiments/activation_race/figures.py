"""Figures of ``activation-race``: learning curves, updates by activation and by the slope below 0."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.activation_race import RACERS
from signalprop.bench.experiments.activation_race.verdicts import ARRIVED, best, chosen_by, named_racers
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

CHANCE = 0.1  # what a diverged network is shown at


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Learning curves, updates needed by activation, and by the rectifiers' slope."""
    at, chosen = best(named_racers(result)), chosen_by(result)
    names = [str(name) for name in at["racer"].values]
    found = {"curves": _curves(at, names, chosen), "updates": _updates(at, names, chosen)}
    rectifiers = [name for name in names if RACERS[name].family == 0]
    if len(rectifiers) > 1:
        found["slope"] = _slope(at, rectifiers, chosen)
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Speed and accuracy of every activation, depth and learning rate."""
    result = named_racers(result)
    counts = result["learning_rate"] == best(result)["learning_rate"].drop_vars("learning_rate")
    columns = {
        "arrived": result["arrived_at"].notnull().sum("seed"),
        "seeds": xr.full_like(result["test_accuracy"].isel(seed=0, drop=True), result.sizes["seed"]),
        "updates_median": result["arrived_at"].fillna(np.inf).median("seed"),
        "test_accuracy_median": result["test_accuracy"].median("seed"),
        "diverged": (result["diverged_at"] > 0).sum("seed"),
        "counts": counts.astype(int),
        **{name: result[name] for name in ("flops", "transcendentals", "mean_activity_predicted")},
        "mean_activity": result["mean_activity"].mean("seed"),
    }
    return tidy(xr.Dataset(columns).reset_coords(drop=True))


def _by_depth(at: xr.Dataset, height: float) -> tuple[Figure, list[Axes], np.ndarray]:
    """One panel per depth, and the depths."""
    depths = at["depth"].values
    titles = [f"{depth} hidden layers" for depth in depths]
    figure, panels = draw.panels(titles, columns=len(titles), height=height, sharey=True)
    return figure, list(panels.values()), depths


def _curves(at: xr.Dataset, names: list[str], chosen: str) -> Figure:
    """Median training error by update."""
    looks = draw.series(list(RACERS))
    figure, panels, depths = _by_depth(at, 3.3)
    for panel, depth in zip(panels, depths, strict=True):
        for name in names:
            error = 1 - at.sel(depth=depth, racer=name)["accuracy"].fillna(CHANCE).median("seed")
            panel.plot(
                at["update"], error, label=RACERS[name].label, markersize=3, linewidth=1,
                markevery=max(1, error.size // 6), **looks[name],
            )  # fmt: skip
        panel.axhline(1 - ARRIVED, color="0.3", linewidth=0.8, linestyle=":")
        panel.set(xlabel="updates", ylim=(0, 1))
    panels[0].set_ylabel("training error, median")
    draw.legend(figure, panels[0], where="right")
    figure.suptitle(f"All at criticality, {at.sizes['seed']} networks, {chosen}", fontsize=9)
    return figure


def _arrivals(arrived: xr.DataArray) -> tuple[xr.DataArray, np.ndarray]:
    """Median over the networks that arrive, and how far the first and the last of them are from it."""
    median = arrived.median("seed")
    return median, abs(np.stack([arrived.min("seed"), arrived.max("seed")]) - median.values)


def _updates(at: xr.Dataset, names: list[str], chosen: str) -> Figure:
    """Updates until a network arrives, a row per activation, and how many arrive."""
    figure, panels, depths = _by_depth(at, 0.9 + 0.24 * len(names))
    looks, rows = draw.series(list(RACERS)), np.arange(len(names))[::-1]
    for panel, depth in zip(panels, depths, strict=True):
        for row, name in zip(rows, names, strict=True):
            arrived = at["arrived_at"].sel(depth=depth, racer=name)
            count = int(arrived.notnull().sum())
            if count:
                median, span = _arrivals(arrived)
                draw.measured(panel, [median], [row], None, looks[name], xerr=span[:, None])
            panel.text(0.99, row, f"{count}/{arrived.size}", transform=panel.get_yaxis_transform(),
                       ha="right", va="center", fontsize=7)  # fmt: skip
        panel.set(
            xlabel=f"updates until {ARRIVED:.0%} are right", xlim=(0, 1.18 * float(at["update"][-1])),
            ylim=(-0.6, len(names) - 0.4),
        )  # fmt: skip
    panels[0].set_yticks(rows, [RACERS[name].label for name in names])
    figure.suptitle(
        f"Median and range over the networks that arrive; at the right, how many do\n({chosen})", fontsize=9
    )
    return figure


def _slope(at: xr.Dataset, names: list[str], chosen: str) -> Figure:
    """Updates of the rectifiers against k, the sweep of which relu is one point."""
    figure, ((panel,),) = draw.canvas(height=2.9)
    depths, order = at["depth"].values, sorted(names, key=lambda name: RACERS[name].slope)
    ticks = np.arange(len(order))
    for i, (label, look) in enumerate(draw.series([f"{depth} hidden layers" for depth in depths]).items()):
        median, span = _arrivals(at["arrived_at"].isel(depth=i).sel(racer=order))
        x = ticks + 0.1 * (i - (len(depths) - 1) / 2)
        draw.measured(panel, x, median, span, look, label=label)
        panel.plot(x, median, color=look["color"], linestyle=look["linestyle"], linewidth=0.8)
    panel.set_xticks(ticks, [f"{RACERS[name].slope:g}" for name in order])
    panel.set(
        xlabel="slope $k$ below zero (relu: 0)",
        ylabel=f"updates until {ARRIVED:.0%} are right",
        ylim=(0, None),
    )
    panel.set_title(r"Rectifiers, all critical: $\sigma_w^2 = 2 / (1 + k^2)$;" + f"\n{chosen}")
    panel.legend(title="median and range")
    return figure
