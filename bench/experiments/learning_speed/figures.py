"""Figures of ``learning-speed``: Nielsen's curves, untrained profiles, movement of the weights, remedies."""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from signalprop.bench.experiments.learning_speed.learners import find_learner
from signalprop.bench.experiments.learning_speed.theory import TO_DECADES
from signalprop.bench.experiments.learning_speed.verdicts import LN10, layers_of
from signalprop.bench.record import figures as draw


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Draw what the networks of the result allow."""
    names = [str(name) for name in result["network"].values]
    nielsen = [name for name in names if name.startswith("sigmoid-")]
    deepest = sorted(names, key=lambda name: find_learner(name)[1])[-1]
    found = {"moved": _moved(result, names), "remedies": _remedies(result, names)}
    if nielsen:
        found["nielsen"] = _curves(result, nielsen)
    plain = nielsen[-1:] + [n for n in names if n.startswith("relu-")][:1]
    return found | {"untrained": _untrained(result, plain or [deepest])}


def _looks(layers: Sequence[int]) -> dict[int, dict[str, object]]:
    return dict(zip(layers, draw.series([str(layer) for layer in layers]).values(), strict=True))


def _curves(result: xr.Dataset, names: list[str]) -> Figure:
    """Speed of every hidden layer by epoch, geometric mean over networks; predicted offsets at the start."""
    figure, (panels,) = draw.canvas(1, len(names), height=3.0, sharey=True)
    looks = _looks(layers_of(max(names, key=lambda n: len(layers_of(n)))))
    for panel, name in zip(panels, names, strict=True):
        layers = layers_of(name)
        speed = result["speed"].sel(network=name) / LN10
        top = speed.sel(layer=layers[-1]).isel(epoch=0).mean("seed")
        fall = result["mean_step_predicted"].sel(network=name)
        for layer in layers:
            mean = speed.sel(layer=layer).mean("seed")
            error = speed.sel(layer=layer).std("seed", ddof=1) / np.sqrt(speed.sizes["seed"])
            look = looks[layer]
            panel.fill_between(result["epoch"], 10 ** (mean - error), 10 ** (mean + error),
                               color=look["color"], alpha=0.25, linewidth=0)  # fmt: skip
            panel.plot(result["epoch"], 10**mean, color=look["color"], linestyle=look["linestyle"],
                       label=f"hidden layer {layer}")  # fmt: skip
            expected = 10 ** (top - fall.sel(layer=layers[layer - 1 : -1]).sum())
            panel.plot([-14], [expected], marker="<", color=look["color"], linestyle="none", markersize=5,
                       clip_on=False)  # fmt: skip
        panel.set(yscale="log", xlabel="epoch", title=f"{len(layers)} hidden layers")
        panel.set_xlim(-20, None)
    panels[0].set_ylabel(r"speed $|\langle \delta^l \rangle|$")
    panels[-1].legend(loc="upper right")
    figure.suptitle(
        "Nielsen's experiment: untrained, each layer is 4.9 times slower than the next (triangles: theory)",
        fontsize=9,
    )
    return figure


def _untrained(result: xr.Dataset, names: list[str]) -> Figure:
    """Speed of every layer of untrained networks of all depths, with the predicted slopes."""
    figure, (panels,) = draw.canvas(1, len(names), height=3.0)
    for panel, name in zip(panels, names, strict=True):
        part = result.sel(network=name)
        depths = [int(depth) for depth in part["depth"].values]
        looks = _looks(depths)
        for depth in depths:
            logs = (
                part["mean_error"].sel(depth=depth, layer=slice(1, depth)).stack(draw=("seed", "start"))
                / LN10
            )
            mean, error = logs.mean("draw"), logs.std("draw", ddof=1) / np.sqrt(logs.sizes["draw"])
            fall = part["mean_step_predicted"].sel(layer=slice(1, depth - 1))
            below = np.append(np.cumsum(fall.values[::-1])[::-1], 0)
            height = 10**mean.values
            if find_learner(name)[0].plain:
                draw.theory(
                    panel, logs["layer"], height[-1] * 10**-below, looks[depth], linestyle="-", linewidth=1
                )
            draw.measured(
                panel, logs["layer"], height, height * np.array([1 - 10**-error, 10**error - 1]),
                looks[depth], label=f"{depth} layers" if depth > 1 else "1 layer",
            )  # fmt: skip
        panel.set(yscale="log", xlabel="hidden layer $l$ (1: next to the input)",
                  title=f"untrained: {find_learner(name)[0].label}")  # fmt: skip
    panels[0].set_ylabel(r"speed $|\langle \delta^l \rangle|$")
    panels[0].legend(loc="lower right", ncols=2)
    count = result.sizes["seed"] * result.sizes["start"]
    figure.suptitle(
        f"Points: geometric mean of {count} networks; lines: theory below the last layer, examples of "
        "one cosine",
        fontsize=9,
    )
    return figure


def _moved(result: xr.Dataset, names: list[str]) -> Figure:
    """How far the weights of every layer are from their start, by network."""
    figure, (panels,) = draw.canvas(1, 2, height=3.0)
    nielsen = next((n for n in reversed(names) if n.startswith("sigmoid-")), names[0])
    looks = _looks(layers_of(nielsen))
    for layer in layers_of(nielsen):
        curve = result["moved"].sel(network=nielsen, layer=layer).mean("seed")
        look = looks[layer]
        panels[0].plot(
            result["epoch"], curve, color=look["color"], linestyle=look["linestyle"], label=f"layer {layer}"
        )
    panels[0].plot(result["epoch"], result["moved_by_decay_by_epoch"], color="k", linestyle=":",
                   label="weight decay alone")  # fmt: skip
    panels[0].set(xlabel="epoch", ylabel=r"$|W^l_t - W^l_0| \, / \, |W^l_0|$",
                  title=f"{find_learner(nielsen)[0].label}, {len(layers_of(nielsen))} layers")  # fmt: skip
    panels[0].legend()
    deep = [n for n in names if layers_of(n) == layers_of(nielsen)]
    for name, look in draw.series(deep).items():
        part = result["moved_at_end"].sel(network=name, layer=layers_of(name))
        error = part.std("seed", ddof=1) / np.sqrt(part.sizes["seed"])
        panels[1].plot(part["layer"], part.mean("seed"), color=look["color"], linewidth=0.8)
        draw.measured(
            panels[1], part["layer"], part.mean("seed"), error, look, label=find_learner(name)[0].label
        )
    panels[1].axhline(
        float(result["moved_by_decay_predicted"]), color="k", linestyle=":", label="weight decay alone"
    )
    epochs = json.loads(result.attrs["settings"])["epochs"] if "settings" in result.attrs else ""
    panels[1].set(xlabel="hidden layer $l$", title=f"after {epochs} epochs")
    panels[1].set_xticks(layers_of(nielsen))
    panels[1].legend()
    figure.suptitle("The weights of the front layers move by their decay, not by learning", fontsize=9)
    return figure


def _remedies(result: xr.Dataset, names: list[str]) -> Figure:
    """Speeds of the weights of all layers against epochs, one panel per remedy of the deepest networks."""
    depth = max(len(layers_of(n)) for n in names)
    shown = [n for n in names if len(layers_of(n)) == depth]
    figure, (panels,) = draw.canvas(1, len(shown), height=2.6, sharey=True)
    looks = _looks(list(range(1, depth + 1)))
    for panel, name in zip(panels, shown, strict=True):
        for layer, look in looks.items():
            mean = result["weight_speed"].sel(network=name, layer=layer).mean("seed") / LN10
            panel.plot(result["epoch"], 10**mean, color=look["color"], linestyle=look["linestyle"],
                       label=f"layer {layer}")  # fmt: skip
        right = float(result["accuracy"].sel(network=name).isel(epoch=-1).mean("seed"))
        label = find_learner(name)[0].label.replace(", ", "\n")
        panel.set(yscale="log", xlabel="epoch", title=f"{label}\n{right:.0%} right")
    panels[0].set_ylabel(r"speed of the weights $|dE/dW^l|$")
    figure.suptitle("Speed of the weights in training; right answers at its end", fontsize=9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=depth)
    return figure


def table(result: xr.Dataset) -> pd.DataFrame:
    """Speeds and movement of every trained layer, first and last, and the untrained steps."""
    ends = {"first": 0, "last": -1}
    columns = {f"log10_speed_{name}": TO_DECADES * result["speed"].isel(epoch=i, drop=True).mean("seed")
               for name, i in ends.items()}  # fmt: skip
    step = TO_DECADES * result["mean_error"].diff("layer", label="lower")
    columns["moved"] = result["moved_at_end"].mean("seed")
    columns["untrained_step"] = step.mean(("seed", "start", "depth"))
    columns["untrained_step_predicted"] = result["mean_step_predicted"]
    return xr.Dataset(columns).to_dataframe().reset_index().dropna(how="all", subset=list(columns))
