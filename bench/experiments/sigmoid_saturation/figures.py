"""Figures: saturated units over two scales, slopes and gradients, exact zeros."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.sigmoid_saturation.measure import SATURATED
from signalprop.bench.experiments.sigmoid_saturation.theory import tail, zero_edges
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.measure.names import FORMATS
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Saturation against weight and against s, slopes and gradients, and exact zeros."""
    return {"saturation": _saturation(result), "gradients": _gradients(result)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Means over layers beside the predictions, and the share of exact zeros by format."""
    names = (
        "std",
        "saturated",
        "slope",
        "squared_slope",
        "weight_gradient_squared",
        "input_gradient_squared",
    )
    columns = {name: result[name].mean("seed") for name in names}
    columns |= {f"{name}_predicted": result[f"{name}_predicted"] for name in names}
    columns |= {f"zero_{f}": result["exact_zero"].sel(format=f, drop=True).mean("seed") for f in FORMATS}
    return tidy(columns)


def _saturation(result: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=2.9, sharey=True)
    s, fine = result["sigma_w"].values, _fine_scales(result)
    for name, look in draw.series([str(n) for n in result["width"].values]).items():
        n = int(name)
        values = result["saturated"].sel(width=n)
        draw.theory(left, fine / np.sqrt(n), 2 * tail(SATURATED, fine), look)
        _points(left, s / np.sqrt(n), values, look, f"$n$ = {n}")
        _points(right, s, values, look, f"$n$ = {n}")
    draw.theory(right, fine, 2 * tail(SATURATED, fine), label=r"erfc$(5 / s \sqrt{2})$")
    left.set(xscale="log", xlabel="standard deviation of a weight", ylabel="fraction with $|h| > 5$")
    left.set_title("At a given scale of the weights, width saturates")
    right.set(xscale="log", xlabel=r"standard deviation $s$ of $h = Wx$")
    right.set_title("At a given $s$, width drops out")
    left.legend(loc="upper left")
    right.legend(loc="upper left")
    return figure


def _points(axes: Axes, x: Any, values: xr.DataArray, look: Any, label: str) -> None:
    """Mean and standard error over layers."""
    draw.measured(axes, x, values.mean("seed"), standard_error(values), look, label=label)


def _fine_scales(result: xr.Dataset) -> np.ndarray:
    return np.geomspace(float(result["sigma_w"].min()), float(result["sigma_w"].max()), 300)


def _gradients(result: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=3.1)
    widest = result.isel(width=-1)
    _slopes_and_gradients(left, widest)
    _exact_zeros(right, widest)
    return figure


def _slopes_and_gradients(axes: Axes, at: xr.Dataset) -> None:
    """Mean slope and both local gradients over s, with their limits of large s."""
    s, fine = at["sigma_w"].values, _fine_scales(at)
    labels = {
        "slope": "mean of $S'$",
        "weight_gradient_squared": r"gradient of $W$: $\sqrt{E S'^2}$",
        "input_gradient_squared": r"gradient of $x$: $s \sqrt{E S'^2}$",
    }
    for (name, label), look in zip(labels.items(), draw.series(list(labels)).values(), strict=True):
        power = 1.0 if name == "slope" else 0.5
        mean, error = at[name].mean("seed"), standard_error(at[name])
        draw.theory(axes, s, at[f"{name}_predicted"] ** power, look)
        draw.measured(axes, s, mean**power, power * mean ** (power - 1) * error, look, label=label)
    large = fine[fine > 1]
    for law in (1 / (large * np.sqrt(2 * np.pi)), 1 / np.sqrt(6 * large * np.sqrt(2 * np.pi))):
        axes.plot(large, law, color="0.5", linewidth=0.8, linestyle=":")
    axes.plot([], [], color="0.5", linewidth=0.8, linestyle=":", label="limits of large $s$")
    axes.set(xscale="log", yscale="log", xlabel="standard deviation $s$ of $h$")
    axes.set_ylabel("mean slope or gradient")
    axes.set_title(f"Saturation kills $dW$, not $dx$ ($n$ = {int(at['width'])})")
    axes.legend(loc="lower left")


def _exact_zeros(axes: Axes, at: xr.Dataset) -> None:
    """Share of slopes that are exactly 0, by number format."""
    fine = _fine_scales(at)
    for name, look in draw.series([str(f) for f in at["format"].values]).items():
        above, below = zero_edges(name)
        draw.theory(axes, fine, tail(above, fine) + tail(below, fine), look)
        _points(axes, at["sigma_w"], at["exact_zero"].sel(format=name), look, name)
    axes.set(xscale="log", xlabel="standard deviation $s$ of $h$", ylabel="fraction of slopes exactly 0")
    axes.set_title("Exact zeros come from the number format")
    axes.legend(loc="upper left")
