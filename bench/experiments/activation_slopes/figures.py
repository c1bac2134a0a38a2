"""Figures: all activations, the factor of a layer over its scale, the sigmoid."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from signalprop.bench.experiments.activation_slopes.verdicts import critical, slopes
from signalprop.bench.measure.estimates import exp, standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy
from signalprop.models.activations import ACTIVATIONS


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """All activations with their slopes, the factor against the scale, and the sigmoid's profiles."""
    found = {"curves": _curves(result), "factor": _factor(result)}
    if "sigmoid" in result["activation"].values:
        found["sigmoid"] = _sigmoid(result)
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Factor per layer, measured and predicted."""
    factor, error = _factors(result)
    columns = {
        "factor": factor,
        "error": error,
        "predicted_factor": exp(result["slope_predicted"]),
        "width_correction": result["width_correction"],
    }
    return tidy(columns)


def _curves(result: xr.Dataset) -> Figure:
    figure, axes = draw.canvas(3, 5, height=1.75, sharex=True, sharey=True, layout="none")
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.08, top=0.91, wspace=0.1, hspace=0.25)
    shown = result[["phi", "phi_slope"]].sel(z=slice(-5, 5))
    for panel, name in zip(axes.ravel(), shown["known"].values, strict=False):
        at, largest = shown.sel(known=name), ACTIVATIONS[str(name)].max_slope
        panel.plot(at["z"], at["phi"], label=r"$\phi$")
        panel.plot(at["z"], at["phi_slope"], "--", label=r"$\phi'$")
        panel.axhline(largest, color="0.4", linestyle=":", linewidth=0.9)
        panel.set(title=f"{name}: {largest:.4g}", ylim=(-1.9, 2.4))
    axes[0, 0].legend(loc="upper left")
    figure.suptitle(r"Activations, their slopes, and the largest slope (dotted)", fontsize=9)
    figure.supxlabel("$z$", fontsize=8.5)
    return figure


def _factor(result: xr.Dataset) -> Figure:
    figure, ((axes,),) = draw.canvas(1, 1, height=3.6)
    for name, look in draw.series([str(a) for a in result["activation"].values]).items():
        at = result.sel(activation=name)
        measured, error = _factors(at)
        scale, factor = at["curve_sigma_w"].values, at["curve_factor"].values
        draw.theory(axes, scale, factor, look)
        draw.theory(axes, at["sigma_w"], exp(at["slope_predicted"]), look, linewidth=0.6)
        draw.measured(axes, at["sigma_w"], measured, error, look, label=name)
        _mark_critical(axes, critical(scale, factor), look["color"])
    axes.axhline(1.0, color="0.3", linewidth=0.8)
    axes.axhline(0.25, color="0.3", linewidth=0.8, linestyle="--")
    axes.text(2.2, 0.235, "1/4, largest slope of the sigmoid", fontsize=7.5, va="top")
    axes.set(xscale="log", yscale="log", xlim=(0.07, 25), ylim=(0.01, 30))
    axes.set(xlabel=r"weight scale $\sigma_w$", ylabel=r"factor per layer, $|\delta^{l}| / |\delta^{l+1}|$")
    axes.set_title(r"A layer multiplies the gradient by $\sqrt{\chi_1(\sigma_w)}$, a sigmoid not by 1/4")
    axes.legend(loc="upper left", title=r"lines $\sqrt{\chi_1}$; thin, at this width")
    return figure


def _factors(result: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Factor per layer, with the standard error of its logarithm times itself."""
    each = slopes(result)
    factor = exp(each.mean("seed", skipna=False))
    return factor, factor * standard_error(each)


def _mark_critical(axes: Axes, scale: float, colour: Any) -> None:
    """Mark where a factor passes 1, if it does."""
    if np.isfinite(scale):
        axes.axvline(scale, ymax=0.5, color=colour, linewidth=0.8, linestyle=":")
        axes.plot(scale, 1, "|", color=colour, markersize=12, markeredgewidth=2)
        axes.text(scale * 1.02, 0.0125, f"{scale:.5g}", rotation=90, fontsize=7, color=colour)


def _sigmoid(result: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=2.9)
    at = result.sel(known="sigmoid", z=slice(-8, 8))
    left.plot(at["z"], at["phi"], label="sigmoid")
    left.plot(at["z"], at["phi_slope"], "--", label="gradient")
    left.axhline(0.25, color="0.4", linestyle=":", linewidth=0.9, label="1/4")
    left.set(xlabel="$z$", title="The sigmoid and its gradient")
    left.legend(loc="upper left")
    _profiles(right, result.sel(activation="sigmoid"))
    return figure


def _profiles(axes: Axes, result: xr.Dataset) -> None:
    """Gradients of sigmoid networks by layer, beside the product of slopes of 1/4."""
    layer, top = result["layer"].values, int(result["layer"][-1])
    chosen = [s for s in (1.0, 4.0, 10.149, 20.0) if s in result["sigma_w"].values]
    looks = draw.series([f"{s:g}" for s in chosen])
    for scale, look in zip(chosen, looks.values(), strict=True):
        at = result.sel(sigma_w=scale)
        decades = (at["log_delta"] - at["log_delta"].sel(layer=top)) / np.log(10)
        draw.theory(axes, layer, at["log_delta_predicted"] / np.log(10), look)
        draw.measured(
            axes, layer, decades.mean("seed"), standard_error(decades), look, label=rf"$\sigma_w$ = {scale:g}"
        )
    bound = (top - layer) * np.log10(0.25)
    axes.plot(layer, bound, color="0.4", linestyle=":", label=r"$(1/4)^{L-l}$")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="layer $l$", ylabel=r"$\log_{10} |\delta^l| / |\delta^L|$")
    axes.set_title("Sigmoid networks against the product of 1/4")
    axes.legend(loc="lower right")
