"""Figures of ``learning-speed``: Nielsen's curves, untrained profiles, movement of the weights, remedies."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from signalprop.bench.experiments.learning_speed.learners import find_learner
from signalprop.bench.experiments.learning_speed.theory import TO_DECADES
from signalprop.bench.experiments.learning_speed.verdicts import LN10, layers_of
from signalprop.bench.measure.estimates import run_settings, standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Draw what the networks of the result allow."""
    names = [str(name) for name in result["network"].values]
    nielsen = [name for name in names if name.startswith("sigmoid-")]
    deepest = max(names, key=lambda name: find_learner(name)[1])
    found = {"moved": _moved(result, names), "remedies": _remedies(result, names)}
    if nielsen:
        found["nielsen"] = _curves(result, nielsen)
    plain = nielsen[-1:] + [n for n in names if n.startswith("relu-")][:1]
    return found | {"untrained": _untrained(result, plain or [deepest])}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Speeds and movement of every trained layer, first and last, and the untrained steps."""
    speed = TO_DECADES * result["speed"].mean("seed")
    step = TO_DECADES * result["mean_error"].diff("layer", label="lower")
    columns = {
        "log10_speed_first": speed.isel(epoch=0, drop=True),
        "log10_speed_last": speed.isel(epoch=-1, drop=True),
        "moved": result["moved_at_end"].mean("seed"),
        "untrained_step": step.mean(("seed", "start", "depth")),
        "untrained_step_predicted": result["mean_step_predicted"],
    }
    return tidy(columns).dropna(how="all", subset=list(columns))


def _looks(layers: Sequence[int]) -> dict[int, dict[str, Any]]:
    return dict(zip(layers, draw.series([str(layer) for layer in layers]).values(), strict=True))


def _line(look: dict[str, Any]) -> dict[str, Any]:
    """A look without its marker."""
    return {"color": look["color"], "linestyle": look["linestyle"]}


def _curves(result: xr.Dataset, names: list[str]) -> Figure:
    """Speed of every hidden layer by epoch, geometric mean over networks; predicted offsets at the start."""
    titles = {f"{len(layers_of(name))} hidden layers": name for name in names}
    figure, panels = draw.panels(list(titles), height=3.0, sharey=True)
    looks = _looks(max(map(layers_of, names), key=len))
    for title, panel in panels.items():
        layers = layers_of(titles[title])
        speed = result["speed"].sel(network=titles[title]) / LN10
        top = speed.sel(layer=layers[-1]).isel(epoch=0).mean("seed")
        fall = result["mean_step_predicted"].sel(network=titles[title])
        for layer in layers:
            mean, error = speed.sel(layer=layer).mean("seed"), standard_error(speed.sel(layer=layer))
            line = _line(looks[layer])
            panel.fill_between(result["epoch"], 10 ** (mean - error), 10 ** (mean + error),
                               color=line["color"], alpha=0.25, linewidth=0)  # fmt: skip
            panel.plot(result["epoch"], 10**mean, **line, label=f"hidden layer {layer}")
            expected = 10 ** (top - fall.sel(layer=layers[layer - 1 : -1]).sum())
            panel.plot([-14], [expected], marker="<", color=line["color"], linestyle="none", markersize=5,
                       clip_on=False)  # fmt: skip
        panel.set(yscale="log", xlabel="epoch")
        panel.set_xlim(-20, None)
    shown = list(panels.values())
    shown[0].set_ylabel(r"speed $|\langle \delta^l \rangle|$")
    shown[-1].legend(loc="upper right")
    figure.suptitle(
        "Nielsen's experiment: untrained, each layer is 4.9 times slower than the next (triangles: theory)",
        fontsize=9,
    )
    return figure


def _untrained(result: xr.Dataset, names: list[str]) -> Figure:
    """Speed of every layer of untrained networks of all depths, with the predicted slopes."""
    titles = {f"untrained: {find_learner(name)[0].label}": name for name in names}
    figure, panels = draw.panels(list(titles), height=3.0)
    for title, panel in panels.items():
        part, kind = result.sel(network=titles[title]), find_learner(titles[title])[0]
        depths = [int(depth) for depth in part["depth"].values]
        looks = _looks(depths)
        for depth in depths:
            logs = part["mean_error"].sel(depth=depth, layer=slice(1, depth)) / LN10
            logs = logs.stack(draw=("seed", "start"))
            mean, error = logs.mean("draw"), standard_error(logs, "draw")
            fall = part["mean_step_predicted"].sel(layer=slice(1, depth - 1))
            below = np.append(np.cumsum(fall.values[::-1])[::-1], 0)
            height = 10**mean.values
            if kind.plain:
                draw.theory(
                    panel, logs["layer"], height[-1] * 10**-below, looks[depth], linestyle="-", linewidth=1
                )
            draw.measured(
                panel, logs["layer"], height, height * np.array([1 - 10**-error, 10**error - 1]),
                looks[depth], label=f"{depth} layers" if depth > 1 else "1 layer",
            )  # fmt: skip
        panel.set(yscale="log", xlabel="hidden layer $l$ (1: next to the input)")
    first = next(iter(panels.values()))
    first.set_ylabel(r"speed $|\langle \delta^l \rangle|$")
    first.legend(loc="lower right", ncols=2)
    count = result.sizes["seed"] * result.sizes["start"]
    figure.suptitle(
        f"Points: geometric mean of {count} networks; lines: theory below the last layer, examples of "
        "one cosine",
        fontsize=9,
    )
    return figure


def _moved(result: xr.Dataset, names: list[str]) -> Figure:
    """How far the weights of every layer are from their start, by network."""
    figure, ((left, right),) = draw.canvas(1, 2, height=3.0)
    nielsen = next((n for n in reversed(names) if n.startswith("sigmoid-")), names[0])
    layers, decay = layers_of(nielsen), {"color": "k", "linestyle": ":", "label": "weight decay alone"}
    for layer, look in _looks(layers).items():
        curve = result["moved"].sel(network=nielsen, layer=layer).mean("seed")
        left.plot(result["epoch"], curve, **_line(look), label=f"layer {layer}")
    left.plot(result["epoch"], result["moved_by_decay_by_epoch"], **decay)
    left.set(xlabel="epoch", ylabel=r"$|W^l_t - W^l_0| \, / \, |W^l_0|$",
             title=f"{find_learner(nielsen)[0].label}, {len(layers)} layers")  # fmt: skip
    left.legend()
    for name, look in draw.series([n for n in names if layers_of(n) == layers]).items():
        part, label = result["moved_at_end"].sel(network=name, layer=layers), find_learner(name)[0].label
        right.plot(part["layer"], part.mean("seed"), color=look["color"], linewidth=0.8)
        draw.measured(right, part["layer"], part.mean("seed"), standard_error(part), look, label=label)
    right.axhline(float(result["moved_by_decay_predicted"]), **decay)
    right.set(xlabel="hidden layer $l$", title=f"after {run_settings(result)['epochs']} epochs")
    right.set_xticks(layers)
    right.legend()
    figure.suptitle("The weights of the front layers move by their decay, not by learning", fontsize=9)
    return figure


def _remedies(result: xr.Dataset, names: list[str]) -> Figure:
    """Speeds of the weights of all layers against epochs, one panel per remedy of the deepest networks."""
    depth = max(len(layers_of(n)) for n in names)
    right = result["accuracy"].isel(epoch=-1).mean("seed")
    titles = {}
    for name in names:
        if len(layers_of(name)) == depth:
            label = find_learner(name)[0].label.replace(", ", "\n")
            titles[f"{label}\n{float(right.sel(network=name)):.0%} right"] = name
    figure, panels = draw.panels(list(titles), len(titles), height=2.6, sharey=True)
    for title, panel in panels.items():
        for layer, look in _looks(range(1, depth + 1)).items():
            mean = result["weight_speed"].sel(network=titles[title], layer=layer).mean("seed") / LN10
            panel.plot(result["epoch"], 10**mean, **_line(look), label=f"layer {layer}")
        panel.set(yscale="log", xlabel="epoch")
    first = next(iter(panels.values()))
    first.set_ylabel(r"speed of the weights $|dE/dW^l|$")
    figure.suptitle("Speed of the weights in training; right answers at its end", fontsize=9)
    draw.legend(figure, first, ncols=depth)
    return figure
