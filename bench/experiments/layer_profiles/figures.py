"""Figures: a table of all pairs, profiles, and the pictures of the classical sources; the table of totals."""

import math
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from signalprop.bench.experiments.layer_profiles.verdicts import deviation
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

SATURATED = 5  # decades where the colour scale of the table ends
PANELS = ("sigmoid", "tanh", "relu", "linear", "gelu", "selu")
DRAWN = ("normal_001", "uniform_standard", "glorot_uniform", "he_normal", "gaussian")  # one per sigma_w
CLASSICAL = (
    ("tanh", "normal_001"),
    ("tanh", "glorot_uniform"),
    ("tanh", "gaussian"),
    ("relu", "glorot_uniform"),
    ("relu", "he_normal"),
)  # activation statistics of CS231n


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Every pair at one depth, gradient profiles, the effect of the width, and the two classical pictures."""
    drawn = {
        "decades": _all_pairs(result),
        "profiles": _profiles(result),
        "finite-width": _finite_width(result),
    }
    if "tanh" in result["activation"] and "glorot_uniform" in result["scheme"]:
        drawn["glorot"] = _glorot(result)
    known = [
        (phi, name) for phi, name in CLASSICAL if phi in result["activation"] and name in result["scheme"]
    ]
    if known:
        drawn["activities"] = _activities(result, known)
    return drawn


def table(result: xr.Dataset) -> pd.DataFrame:
    """Totals of every pair, input and depth: measured, predicted, and in the infinitely wide network."""
    totals = result["total_decades"]
    mean = totals.mean("seed", skipna=False)
    columns = {
        "decades": mean,
        "standard_error": standard_error(totals).where(mean.notnull()),
        "decades_predicted": result["total_decades_predicted"],
        "decades_wide": result["decades_predicted"].sel(layer=1, drop=True),
        "spread": deviation(totals),
        "spread_predicted": result["total_decades_spread"],
        "lost": (result["forward_lost_at"] > 0).mean("seed"),
    }
    return tidy(columns)


def _all_pairs(result: xr.Dataset) -> Figure:
    depth = int(sorted(result["depth"].values)[result.sizes["depth"] // 2])
    at_depth = result.sel(depth=depth)
    mean = at_depth["total_decades"].mean(["seed", "input"], skipna=False).transpose("activation", "scheme")
    wide = at_depth["decades_predicted"].sel(layer=1).transpose("activation", "scheme")
    figure, ((ax,),) = draw.canvas(height=1.0 + 0.33 * result.sizes["activation"])
    sns.heatmap(
        np.clip(mean.values, -99, 99), ax=ax, annot=np.vectorize(_cell)(mean.values, wide.values), fmt="",
        annot_kws={"size": 5.5}, cmap=draw.DIVERGING, vmin=-SATURATED, vmax=SATURATED, linewidths=0.5,
        cbar_kws={"label": "decades", "extend": "both", "extendfrac": 0.02},
        yticklabels=list(mean["activation"].values),
        xticklabels=[str(name).replace("_", "\n") for name in mean["scheme"].values],
    )  # fmt: skip
    title = rf"$\log_{{10}} |\delta^1| / |\delta^{{{depth}}}|$: measured (infinitely wide)"
    lost = "; grey: the signal was lost" if bool(mean.isnull().any()) else ""
    ax.set(title=title + lost, xlabel="", ylabel="", facecolor="0.85")
    ax.grid(False)
    ax.tick_params(length=0)
    ax.tick_params("y", rotation=0)
    ax.tick_params("x", rotation=0, labelsize=6)
    return figure


def _cell(mean: float, wide: float) -> str:
    def short(value: float) -> str:
        if np.isinf(value):
            return "none"
        return f"{value:+.0f}" if abs(value) >= 10 else f"{round(value, 1) + 0:+.1f}"

    return short(mean) if np.isnan(wide) else f"{short(mean)}\n({short(wide)})"


def _profiles(result: xr.Dataset) -> Figure:
    names = [name for name in PANELS if name in result["activation"]] or list(result["activation"].values)[:1]
    schemes = [name for name in DRAWN if name in result["scheme"]] or list(result["scheme"].values)[:5]
    depth = int(result["depth"].max())
    columns = 2 if len(names) in (2, 4) else 3
    figure, panels = draw.panels(names, columns, height=2.4)
    for name, ax in panels.items():
        for chosen, look in draw.series(schemes).items():
            pair = result.sel(activation=name, scheme=chosen, depth=depth)
            profile = pair["decades"].isel(input=0, layer=slice(0, None, max(1, depth // 8)))
            draw.theory(ax, pair["layer"], pair["decades_predicted"], look, linewidth=1.0)
            mean = profile.mean("seed", skipna=False)
            draw.measured(ax, profile["layer"], mean, deviation(profile), look, label=chosen, markersize=3)
        ax.set(xlabel="layer l")
    for name in names[::columns]:
        panels[name].set_ylabel(r"$\log_{10} |\delta^l| / |\delta^L|$")
    draw.legend(figure, *panels.values(), ncols=6)
    figure.suptitle(
        f"Gradients in {depth} layers: infinitely wide (lines), networks (points: mean and spread)"
    )
    return figure


def _glorot(result: xr.Dataset) -> Figure:
    """Glorot & Bengio's figures 6 to 8, and what their equation 14 says about weight gradients."""
    plain = "uniform_standard" if "uniform_standard" in result["scheme"] else str(result["scheme"].values[0])
    depth = int(result["depth"].min())
    figure, axes = draw.canvas(2, 4, height=2.1)
    for row, chosen in zip(axes, (plain, "glorot_uniform"), strict=True):
        pair = result.sel(activation="tanh", scheme=chosen, depth=depth, layer=slice(1, depth)).isel(input=0)
        for ax, name in zip(row, ("activity", "gradient", "weight_gradient"), strict=False):
            _histograms(ax, pair[f"{name}_histogram"])
        _norms(row[3], pair)
        row[0].set(xlim=(-1.15, 1.15), ylabel=f"{chosen}\ndensity")
        row[1].set(xlim=(-2.9, 2.9))
        row[2].set(xlim=(-2.9, 2.9))
    titles = "activities", "back-propagated gradients", "weight gradients", "norms: decades"
    rms = rf"/ rms ($l = {depth}$)"
    labels = "y", rf"$\delta^l$ {rms}", rf"$\partial E/\partial W^l$ {rms}", "layer l"
    for top, bottom, title, label in zip(*axes, titles, labels, strict=True):
        top.set_title(title, fontsize=8.5)
        bottom.set_xlabel(label)
    draw.legend(figure, axes[0, 0], ncols=6)
    figure.suptitle(f"tanh, {depth} layers, at initialization")
    return figure


def _histograms(ax: Axes, histogram: xr.DataArray) -> None:
    looks = draw.series([f"layer {layer}" for layer in histogram["histogram_layer"].values])
    share = histogram.mean("seed").transpose("histogram_layer", "bin")
    for (label, look), density in zip(looks.items(), share / _bin_width(histogram), strict=True):
        draw.theory(ax, histogram["bin"], density, look, label=label, linewidth=1.0)


def _bin_width(histogram: xr.DataArray) -> float:
    return float(histogram["bin"][1] - histogram["bin"][0])


def _norms(ax: Axes, pair: xr.Dataset) -> None:
    signal, weight = draw.series(["signal", "weight"]).values()
    draw.theory(ax, pair["layer"], pair["decades_predicted"], signal)
    for name, label, look in (
        ("decades", r"$\delta^l$", signal),
        ("weight_decades", r"$\partial E / \partial W^l$", weight),
    ):
        values = pair[name]
        draw.measured(ax, pair["layer"], values.mean("seed"), standard_error(values), look, label=label)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.legend()


def _activities(result: xr.Dataset, pairs: list[tuple[str, str]]) -> Figure:
    """The activation statistics of CS231n: the spread in every layer, and histograms of some layers."""
    layers = result["histogram_layer"].values
    ratios = {"width_ratios": [3.2, *(1 for _ in layers)]}
    figure, axes = draw.canvas(len(pairs), 1 + len(layers), height=0.75, sharex="col", gridspec_kw=ratios)
    for ax in axes[:, 0]:
        ax.remove()
    left = figure.add_subplot(axes[0, 0].get_gridspec()[:, 0])
    left.set(yscale="log", xlabel="layer l", title="standard deviation of y")
    looks = draw.series([f"{phi}, {chosen}" for phi, chosen in pairs])
    for row, (label, look), (phi, chosen) in zip(axes, looks.items(), pairs, strict=True):
        pair = result.sel(activation=phi, scheme=chosen)
        _spread(left, pair, look, label)
        share = pair["activity_histogram"].isel(input=0).mean("seed")
        for ax, layer in zip(row[1:], layers, strict=True):
            _bars(ax, share.sel(histogram_layer=layer), look["color"])
        row[1].set_ylabel(f"{phi}\n{chosen}", fontsize=5.5)
    left.legend(fontsize=6.5, loc="lower left")
    for top, bottom, layer in zip(axes[0, 1:], axes[-1, 1:], layers, strict=True):
        top.set_title(f"layer {layer}")
        bottom.set_xlabel("y")
    figure.suptitle("Activities: spread (lines: theory) and histograms (heights: square root of the share)")
    return figure


def _spread(ax: Axes, pair: xr.Dataset, look: dict[str, Any], label: str) -> None:
    values = pair["log_std"].mean("input", skipna=False).sel(layer=slice(1, 10))
    spread = np.exp(values.mean("seed", skipna=False))
    draw.theory(ax, values["layer"], np.exp(pair["log_std_predicted"].sel(layer=values["layer"])), look)
    draw.measured(ax, values["layer"], spread, spread * standard_error(values), look, label=label)


def _bars(ax: Axes, share: xr.DataArray, colour: Any) -> None:
    edges = np.append(share["bin"] - _bin_width(share) / 2, share["bin"][-1] + _bin_width(share) / 2)
    ax.stairs(np.sqrt(share), edges, fill=True, color=colour)
    ax.set(yticks=[], xlim=(-1.2, 2.2), ylim=(0, 1.05 * math.sqrt(share.max())))
    ax.grid(False)


def _finite_width(result: xr.Dataset) -> Figure:
    """What a finite width adds to the mean of the total, and its spread over networks."""
    figure, ((left, right),) = draw.canvas(1, 2, height=3.4)
    for name, look in draw.series(list(result["activation"].values)).items():
        one = result.sel(activation=name).isel(input=0)
        wide, predicted = one["decades_predicted"].sel(layer=1), one["total_decades_predicted"]
        mean = one["total_decades"].mean("seed", skipna=False)
        kept = np.isfinite((predicted + mean).values)
        shift, expected = (mean - wide).values[kept], (predicted - wide).values[kept]
        error = standard_error(one["total_decades"]).values[kept]
        spread, law = deviation(one["total_decades"]).values[kept], one["total_decades_spread"].values[kept]
        draw.measured(left, -expected, -shift, error, look, label=name)
        draw.measured(right, law, spread, error / math.sqrt(2), look)
    titles = "Decades below the infinitely wide network", "Standard deviation over networks, decades"
    for ax, title in zip((left, right), titles, strict=True):
        ends = [0.0, 1.3 * ax.get_xlim()[1]]
        draw.theory(ax, ends, ends)
        ax.set_xscale("symlog", linthresh=0.1)
        ax.set_yscale("symlog", linthresh=0.1)
        ax.set(xlabel="predicted to first order in 1/N", ylabel="measured", title=title)
    draw.legend(figure, left, ncols=6)
    return figure
