"""Figures of ``pretraining``: updates to the target by depth, learning curves, and what a start changes."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.pretraining import LABELS
from signalprop.bench.experiments.pretraining.measure import WHEN
from signalprop.bench.experiments.pretraining.verdicts import LN10, TARGET, best, updates_to_target
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Updates to the target if there are several depths, learning curves, and what a start changes."""
    at = best(result)
    found = {"curves": _curves(at), "start": _start(at)}
    if at.sizes["depth"] > 1:
        found["updates"] = _updates(at)
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row per network and start, at the better learning rate."""
    at = best(result)
    updates = updates_to_target(at)
    first = at["log_gradient"].sel(when="before", drop=True).isel(layer=0, drop=True) / np.log(10)
    directions = {"log_spread": at["spread"], "alignment": at["alignment"]}
    columns = {
        "learning_rate": at["learning_rate"],
        "seeds_at_target": (updates < np.inf).sum("seed"),
        "seeds": xr.full_like(updates.isel(seed=0, drop=True), at.sizes["seed"]),
        "updates_to_target_with_pretraining": updates.median("seed"),
        "train_loss": at["train_loss"].median("seed"),
        "test_accuracy": at["test_accuracy"].mean("seed"),
        "saturated_at_start": at["saturated"].isel(update=0, drop=True).mean("seed"),
        "most_saturated": at["saturated"].mean("seed").max("update"),
        "log10_first_gradient": first.mean("seed"),
        **{
            f"{name}_{when}": values.sel(when=when, drop=True).mean("seed")
            for name, values in directions.items() for when in WHEN
        },
    }  # fmt: skip
    return tidy(columns)


def _panels(at: xr.Dataset, **more: bool) -> tuple[Figure, list[tuple[Axes, xr.Dataset]]]:
    """One panel per activation and data set: a row per activation, or one row if there is one data set."""
    chosen = {
        f"{phi}, {data}": at.sel(activation=phi, data=data)
        for phi, data in product(at["activation"].values, at["data"].values)
    }
    columns = at.sizes["data"] if at.sizes["data"] > 1 else len(chosen)
    height = 3.4 if columns == len(chosen) else 2.4  # with room for the legend below a single row
    figure, panels = draw.panels(list(chosen), columns, height=height, **more)
    return figure, list(zip(panels.values(), chosen.values(), strict=True))


def _looks(at: xr.Dataset) -> dict[str, dict[str, Any]]:
    return draw.series([str(name) for name in at["start"].values])


def _updates(at: xr.Dataset) -> Figure:
    """Median updates to the target against depth; networks of which half fail lie on the upper line."""
    figure, panels = _panels(at, sharex=True, sharey=True)
    end = float(at["update"].values[-1]) + float(at["updates_before"].max())
    for axes, chosen in panels:
        needed = updates_to_target(chosen)
        for i, (name, look) in enumerate(_looks(at).items()):
            x = chosen["depth"].values + 0.07 * (i - at.sizes["start"] / 2)
            y = np.minimum(needed.sel(start=name).median("seed"), 1.25 * end)
            axes.plot(x, y, linewidth=0.9, color=look["color"], linestyle=look["linestyle"])
            draw.measured(axes, x, y, None, look, label=LABELS[name])
        axes.axhline(1.25 * end, color="0.4", linewidth=0.8)
        axes.text(0.02, 1.25 * end, "not reached by half of the networks", fontsize=6.5, va="bottom",
                  transform=axes.get_yaxis_transform())  # fmt: skip
        axes.set(yscale="log", ylim=(0.7 * float(at["update"][0]), 1.8 * end))
        axes.set(xlabel="hidden layers", ylabel="updates to half the\nbase-rate loss")
        axes.set_xticks(chosen["depth"].values)
        axes.label_outer()
    draw.legend(figure, panels[0][0], ncols=4)
    figure.suptitle(f"Updates until the network has learned, pretraining included: median of "
                    f"{at.sizes['seed']} networks", fontsize=9)  # fmt: skip
    return figure


def _curves(at: xr.Dataset) -> Figure:
    """Training loss of the deepest networks; pretrained ones begin after their pretraining."""
    deepest = at.sel(depth=at["depth"].max())
    figure, panels = _panels(deepest, sharex=True, sharey=True)
    for axes, chosen in panels:
        for name, look in _looks(at).items():
            x = chosen["update"] + float(chosen["updates_before"].sel(start=name))
            y = chosen["curve"].sel(start=name).median("seed", skipna=False)
            axes.plot(
                x, y, label=LABELS[name], linewidth=1.0, markersize=3, markevery=max(1, x.size // 6), **look
            )
        chance = float(chosen["curve_predicted"])
        axes.axhline(chance, color="k", linestyle="--", linewidth=1.1, label="best constant answer")
        axes.axhline(TARGET * chance, color="0.5", linewidth=0.8)
        axes.set(xlabel="updates, pretraining included", ylabel="training loss in nats")
        axes.set_ylim(0, 1.25 * chance)
        axes.label_outer()
    draw.legend(figure, panels[0][0], ncols=3)
    figure.suptitle(f"{int(deepest['depth'])} hidden layers: learning curves, median of {at.sizes['seed']} "
                    "networks at the better learning rate", fontsize=9)  # fmt: skip
    return figure


def _start(at: xr.Dataset) -> Figure:
    """Gradient by layer, saturation of the last layer during training, and the directions of layers."""
    chosen = at.isel(activation=0, data=0).sel(depth=at["depth"].max())
    depth, (figure, ((left, middle, right),)) = int(chosen["depth"]), draw.canvas(1, 3, height=3.3)
    for name, look in _looks(at).items():
        one = chosen.sel(start=name)
        gradient = one["log_gradient"].sel(when="before").isel(layer=slice(depth + 1)) / LN10
        left.plot(
            gradient["layer"], gradient.mean("seed"), label=LABELS[name], markersize=3, linewidth=1.0, **look
        )
        middle.plot(one["update"], one["saturated"].mean("seed"), markersize=3, linewidth=1.0,
                    markevery=max(1, one.sizes["update"] // 6), **look)  # fmt: skip
        plain = {k: v for k, v in look.items() if k != "linestyle"}
        right.plot(one["spread"].sel(when="before"), one["alignment"].sel(when="before"), linestyle="none",
                   alpha=0.8, **plain)  # fmt: skip
    left.set(xlabel="layer, read-out last", ylabel=r"$\log_{10} |\partial L / \partial W^l|$")
    left.set_title("gradient before training")
    middle.set(xlabel="updates", ylabel="saturated share of the last layer", ylim=(-0.03, 1.03))
    middle.set_title("saturation during training")
    for level in (0.5, 1.0):
        right.axhline(level, color="0.3", linewidth=1.0, linestyle="--" if level < 1 else "-")
    right.text(0.34, 1.0, "orthogonal", transform=right.get_yaxis_transform(), ha="center", va="bottom",
               fontsize=6.5)  # fmt: skip
    right.text(0.64, 0.5, "independent Gaussian", transform=right.get_yaxis_transform(), ha="center",
               va="bottom", fontsize=6.5)  # fmt: skip
    right.set(xlabel="spread of log singular values", ylabel="alignment of neighbours", ylim=(0.35, 1.08))
    right.set_title("directions before training")
    draw.legend(figure, left, ncols=4)
    figure.suptitle(
        f"{chosen['activation'].item()}, {chosen['data'].item()}, {depth} hidden layers", fontsize=9
    )
    return figure
