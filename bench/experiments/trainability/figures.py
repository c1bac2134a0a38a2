"""Figures of ``trainability``: the heat map with its depth scales, the threshold's share, both directions."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from signalprop.bench.experiments.trainability.directions import WAYS
from signalprop.bench.experiments.trainability.verdicts import (
    LN10,
    MULTIPLE,
    REACH,
    away,
    trainable_depth,
)
from signalprop.bench.measure.estimates import run_settings
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

MULTIPLES = {1: ":", 2: "--", 6: "-"}  # of xi_c, drawn over the heat map
MAX_PANELS = 3
SQUARED = r"$\sigma_w^2$"


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Heat maps, trainable depth against depth scale, and both directions of differentiation."""
    result = result.sortby("sigma_w_squared")
    found = {"trainability": _heat_maps(result), "multiple": _multiple(result)}
    if result.sizes["depth"] and np.isfinite(result["log_delta"]).any():
        found["directions"] = _directions(result)
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Accuracy after the last step by data, depth and scale; depth scales and trainable depth beside it."""
    return tidy(
        {
            "accuracy": result["accuracy"].isel(step=-1, drop=True).mean("seed"),
            "log10_first_layer_moved": result["log_moved"].mean("seed") / LN10,
            "trainable_depth": trainable_depth(result),
            "xi_c": result["xi_c"],
            "log_chi_1": result["log_chi_1"],
        }
    )


def _heat_maps(result: xr.Dataset) -> Figure:
    """Accuracy over weight scale and depth, a row per data set and a column per snapshot."""
    names = [str(name) for name in result["data"].values]
    chosen = np.unique(np.linspace(0, result.sizes["step"] - 1, MAX_PANELS).round().astype(int))
    figure, axes = draw.canvas(len(names), len(chosen), height=2.5, sharex=True, sharey=True)
    for row, name in zip(axes, names, strict=True):
        for ax, i in zip(row, chosen, strict=True):
            values = result["accuracy"].sel(data=name).isel(step=i).mean("seed").transpose("depth", ...)
            image: QuadMesh = ax.pcolormesh(
                result["sigma_w_squared"], result["depth"], values, cmap=draw.SEQUENTIAL, vmin=0, vmax=1,
                shading="nearest", rasterized=True,
            )  # fmt: skip
            _scales(ax, result)
            ax.set_title(f"{name}, {int(result['step'][i])} steps")
            ax.grid(visible=False)
        row[0].set_ylabel("hidden layers $L$")
    for ax in axes[-1]:
        ax.set_xlabel(f"weight variance {SQUARED}")
    figure.colorbar(image, ax=axes, label="training accuracy", shrink=0.8)
    draw.legend(figure, axes[0, 0], ncols=len(MULTIPLES), frameon=True, facecolor="0.35", labelcolor="white")
    s = run_settings(result)
    figure.suptitle(
        rf"Training reaches a few depth scales $\xi_c$ ({s['activation']}, $\sigma_b^2 = "
        rf"{s['sigma_b'] ** 2:.2g}$, width {s['width']}, SGD, rate {s['learning_rate']:g})",
        fontsize=9,
    )
    return figure


def _scales(axes: Axes, result: xr.Dataset) -> None:
    """Multiples of xi_c in white, inside the depths of the grid."""
    top = float(result["depth"].max())
    scales = result["sigma_w_squared"].values
    fine = np.linspace(scales[0], scales[-1], 400)
    rate = np.interp(fine, result["sigma_w_squared"], 1 / result["xi_c"])
    for multiple, dashes in MULTIPLES.items():
        curve = multiple / np.maximum(rate, 1e-9)
        axes.plot(
            fine, np.where(curve < 1.5 * top, curve, np.nan), color="white", linestyle=dashes, linewidth=1.6,
            label=rf"${multiple if multiple > 1 else ''}\,\xi_c$",
        )  # fmt: skip
    axes.set_ylim(float(result["depth"].min()) / 2, top * 1.02)


def _multiple(result: xr.Dataset) -> Figure:
    """Trainable depth against xi_c, and its multiple of xi_c by threshold."""
    figure, ((left, right),) = draw.canvas(1, 2, height=3.1)
    names = [str(name) for name in result["data"].values]
    looks, depth = draw.series(names), trainable_depth(result)
    xi, cap = result["xi_c"].values, float(result["depth"].max())
    ordered = result["log_chi_1"].values < 0
    for name in names:
        for phase, side, face in (
            ("ordered", ordered, "white"), ("chaotic", ~ordered, looks[name]["color"])
        ):  # fmt: skip
            draw.measured(
                left, xi[side], depth.sel(data=name).values[side], None,
                looks[name] | {"markerfacecolor": face}, label=f"{name}, {phase}",
            )  # fmt: skip
    line = np.geomspace(np.nanmin(xi), np.nanmax(xi[np.isfinite(xi)]), 100)
    draw.theory(left, line, np.minimum(MULTIPLE * line, cap), label=r"$\min(6\, \xi_c,$ largest depth)")
    left.fill_between(
        line, np.minimum((MULTIPLE - REACH) * line, cap), np.minimum((MULTIPLE + REACH) * line, cap),
        color="0.92", zorder=0, label=rf"{MULTIPLE - REACH:g} to ${MULTIPLE + REACH:g}\, \xi_c$",
    )  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel=r"depth scale $\xi_c$", ylabel="trainable depth $L^*$")
    ticks = [t for t in (10, 20, 30, 40, 60, 80, 100, 200, 300) if t <= 1.2 * cap]
    left.set_yticks(ticks, [str(t) for t in ticks])
    left.set_yticks([], minor=True)
    left.set_title(
        f"Accuracy above {run_settings(result)['threshold']:.0%} after {int(result['step'][-1])} steps"
    )
    left.legend()
    _by_threshold(right, result, names)
    return figure


def _by_threshold(axes: Axes, result: xr.Dataset, names: list[str]) -> None:
    """Median multiple of xi_c by threshold, after every snapshot."""
    keep = away(result) if away(result).any() else np.isfinite(result["xi_c"].values)
    levels = np.linspace(0.2, 0.8, 25)
    looks = draw.series([str(int(step)) for step in result["step"].values])
    for i, step in enumerate(result["step"].values):
        for name in names:
            multiples = [
                np.median((trainable_depth(result, t, i).sel(data=name) / result["xi_c"]).values[keep])
                for t in levels
            ]
            label = f"{name}, {int(step)} steps"
            style = {"linestyle": "-" if name == names[0] else "--", "color": looks[str(int(step))]["color"]}
            axes.plot(levels, multiples, label=label, **style)
    axes.axhline(MULTIPLE, color="0.2", linewidth=0.8, linestyle=":")
    axes.set(xlabel="accuracy that counts as trained", ylabel=r"median of $L^* / \xi_c$", ylim=(0, None))
    axes.set_title("The multiple depends on threshold and steps")
    axes.legend(ncols=1, fontsize=6.5)


def _directions(result: xr.Dataset) -> Figure:
    """Distance forward and gradient backward in one panel per phase, and the product in three ways."""
    at = result.isel(depth=-1, data=0).mean("seed")
    figure, (row,) = draw.canvas(1, 3, height=3.2)
    order = np.argsort(at["log_chi_1"].values)
    ordered = [i for i in order if at["log_chi_1"].values[i] < -0.02][:1]
    chaotic = [i for i in order if at["log_chi_1"].values[i] > 0.1][:1]
    for ax, places, title in zip(row, (ordered, chaotic), ("Ordered", "Chaotic"), strict=False):
        for i in places:
            _one_phase(ax, at.isel(sigma_w_squared=i))
            ax.set_title(rf"{title}, {SQUARED} = {float(at['sigma_w_squared'][i]):.3g}")
        ax.set(xlabel="layers passed", ylabel="decades of a square")
    _products(row[2], result)
    draw.legend(figure, *row, ncols=3)
    s = run_settings(result)
    figure.suptitle(
        f"Untrained networks of {int(at['depth'])} layers: what back-propagation loses, the forward pass has "
        f"lost\n(means of {s['networks']} networks, width {s['width']})",
        fontsize=9,
    )
    return figure


def _one_phase(axes: Axes, at: xr.Dataset) -> None:
    passed = at["layer"].values - 1
    forward = (at["log_distance"] - at["log_distance"][0]).values / LN10
    backward = 2 * at["log_delta"].values[::-1] / LN10
    rate = float(at["log_chi_1"] - at["shift"]) / LN10
    looks = draw.series(["forward", "backward"])
    every = slice(None, None, max(1, passed.size // 16))
    draw.measured(
        axes, passed[every], forward[every], None, looks["forward"], label=r"forward, $1 - c$ of two inputs"
    )
    draw.measured(
        axes, passed[every], backward[every], None, looks["backward"], label=r"backward, $|\delta|^2$"
    )
    draw.theory(axes, passed, rate * passed, label=r"$\chi_1$ per layer, with its $1/N$ term")
    if float(at["c_star"]) < 1:
        axes.axhline(np.log10((1 - float(at["c_star"])) / np.exp(float(at["log_distance"][0]))), color="0.5",
                     linestyle=":", linewidth=1, label=r"$1 - c^*$")  # fmt: skip


def _products(axes: Axes, result: xr.Dataset) -> None:
    """How far the three ways to the same number are apart; differences where gradients do not explode."""
    found = result.isel(depth=-1, data=0)
    looks = draw.series(WAYS)
    exact = found["product"].sel(way="VJP")
    for way, keep in (("JVP", slice(None)), ("differences", np.asarray(found["log_chi_1"] <= 0))):
        apart = abs(found["product"].sel(way=way) - exact).max(("seed", "network"))
        draw.measured(
            axes, found["sigma_w_squared"][keep], np.maximum(apart, 1e-17)[keep], None,
            looks[way] | {"marker": "^" if way == "JVP" else "D"}, label=f"{way} against VJP",
        )  # fmt: skip
    axes.set(yscale="log", xlabel=f"weight variance {SQUARED}", ylabel=r"largest difference over $|J u|$")
    axes.set_title(r"$v^T J u$, one number")
