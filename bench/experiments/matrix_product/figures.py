"""Figures: the textbook example, the two critical scales, and the exponents."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from scipy import special, stats

from signalprop.analysis.randommatrix import newman_exponents
from signalprop.bench.experiments.matrix_product.verdicts import TEXTBOOK, holds, pooled
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """The textbook example, the two critical scales, and the exponents."""
    found = {"critical": _critical(result), "exponents": _exponents(result)}
    if holds(result, TEXTBOOK):
        found["example"] = _example(result.sel(width=TEXTBOOK["width"], sigma_w=TEXTBOOK["sigma_w"]))
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Mean, spread and median of the column's norm by width, scale and depth."""
    x = pooled(result["decades"])
    columns = {
        "mean_decades": x.mean("x"),
        "sd_decades": x.std("x", ddof=1),
        "median_decades": x.median("x"),
        "predicted_decades": result["decades_predicted"],
        "predicted_sd": result["decades_sd_predicted"],
        "predicted_mean_square_decades": 2 * result["depth"] * np.log10(result["sigma_w"]),
    }
    return tidy(columns)


def _example(example: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=3.0)
    _sizes(left, example.sel(depth=TEXTBOOK["depth"]))
    _overflow(right, example)
    return figure


def _sizes(axes: Axes, at: xr.Dataset) -> None:
    axes.axvspan(24, 27, color="0.5", alpha=0.2, linewidth=0, label="entries printed in the book")
    for name, look in draw.series(["decades", "entry_decades"]).items():
        mean, sd = float(at[f"{name}_predicted"]), float(at[f"{name}_sd_predicted"])
        what = "norm of a column" if name == "decades" else "size of an entry"
        axes.hist(pooled(at[name]), bins=30, density=True, alpha=0.3, color=look["color"], label=what)
        x = np.linspace(mean - 4 * sd, mean + 4 * sd, 200)
        draw.theory(axes, x, stats.norm.pdf(x, mean, sd), look, label=f"N({mean:.2f}, {sd:.2f}$^2$)")
    axes.set(xlabel=r"$\log_{10} |M e_1|$ or $\log_{10} |M_{11}|$", ylabel="density", ylim=(0, 0.42))
    axes.set_title("101 factors: the example is typical")
    axes.legend(loc="upper left")


def _overflow(axes: Axes, example: xr.Dataset) -> None:
    """Growth of the column, and where each format loses it."""
    middle, low, high = (pooled(example["decades"]).quantile(p, "x") for p in (0.5, 0.05, 0.95))
    draw.theory(axes, example["depth"], example["decades_predicted"], label=r"Newman, $K \lambda_1$")
    draw.measured(axes, example["depth"], middle, [middle - low, high - middle], label="median, 5 to 95 %")
    formats = [str(name) for name in example["format"].values]
    for name, look in list(draw.series(["norm", *formats]).items())[1:]:
        limit, colour = np.log10(float(jnp.finfo(name).max)), look["color"]
        lost = float(example["lost_at"].sel(format=name).median())
        axes.plot([0, lost], [limit, limit], color=colour, linestyle=look["linestyle"])
        hollow: dict[str, Any] = {"markerfacecolor": "none", "markersize": 8, "zorder": 4}
        axes.plot(lost, limit, look["marker"], color=colour, label=f"{name} overflows", **hollow)
    axes.set(xlabel="factors $K$", ylabel=r"$\log_{10} |M_K e_1|$", title="Overflow is a matter of depth")
    axes.legend(loc="lower right")


def _critical(result: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=3.3)
    depth = min(result["depth"].values, key=lambda k: abs(int(k) - TEXTBOOK["depth"]))
    at = result.sel(depth=depth)
    _phases(figure, left, at)
    _mean_and_median(right, at.isel(width=int(np.argmin(np.abs(at["width"].values - TEXTBOOK["width"])))))
    return figure


def _phases(figure: Figure, axes: Axes, at: xr.Dataset) -> None:
    """Size of the typical product over width and scale, with both critical lines."""
    rows, median = np.arange(at.sizes["width"]), pooled(at["decades"]).median("x")
    span = float(np.abs(median).max())
    mesh = axes.pcolormesh(
        at["sigma_w"], rows, median.transpose("width", "sigma_w"), shading="nearest", cmap=draw.DIVERGING,
        norm=SymLogNorm(1, vmin=-span, vmax=span),
    )  # fmt: skip
    figure.colorbar(mesh, ax=axes, label=rf"median of $\log_{{10}} |M_{{{int(at['depth'])}}} e_1|$")
    axes.axvline(1.0, color="k", linestyle="--", label="mean square constant (annealed)")
    axes.plot(at["typical_critical_sigma_w"], rows, "k-o", label="typical constant (quenched)")
    axes.set(xlabel=r"$\sigma_w = \sigma \sqrt{N}$", ylabel="width $N$")
    axes.set_yticks(rows, [str(n) for n in at["width"].values])
    axes.grid(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _mean_and_median(axes: Axes, at: xr.Dataset) -> None:
    """Mean square against median of one width, with the scales between the critical ones shaded."""
    x, sigma_w, depth = pooled(at["decades"]).dropna("x"), at["sigma_w"].values, int(at["depth"])
    count, critical = x.sizes["x"], float(at["typical_critical_sigma_w"])
    decades = np.log(10) * x.transpose("x", "sigma_w").values
    mean_square = (special.logsumexp(2 * decades, axis=0) - np.log(count)) / np.log(10)
    looks = draw.series(["mean", "median"])
    draw.theory(axes, sigma_w, 2 * depth * np.log10(sigma_w), looks["mean"], label=r"mean, $\sigma_w^{2K}$")
    draw.measured(axes, sigma_w, mean_square, None, looks["mean"], label=f"mean of {count:,} products")
    draw.theory(axes, sigma_w, 2 * at["decades_predicted"], looks["median"], label="typical, Newman")
    draw.measured(axes, sigma_w, 2 * x.median("x"), None, looks["median"], label="their median")
    axes.axvspan(1, critical, color="0.5", alpha=0.2, linewidth=0)
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.set(xlabel=r"$\sigma_w$", ylabel=r"$\log_{10} |M e_1|^2$")
    axes.set(xlim=(0.85, critical + 0.25), ylim=(-0.3 * depth, 0.3 * depth))
    axes.set_title(f"$N$ = {int(at['width'])}: shaded,\nonly the mean explodes")
    axes.legend(loc="upper left")


def _exponents(result: xr.Dataset) -> Figure:
    figure, ((axes,),) = draw.canvas(1, 1, height=3.2)
    at = result.isel(sigma_w=int(np.argmin(np.abs(result["sigma_w"].values - 1))))
    log_scale, x = float(np.log(at["sigma_w"])), np.linspace(0, 0.999, 500)
    draw.theory(axes, x, log_scale + np.log(1 - x) / 2, label=r"$N \to \infty$: $\frac{1}{2} \log(1 - x)$")
    widths = [int(n) for n in at["width"] if at["exponents"].sel(width=n).notnull().any()]
    for look, n in zip(draw.series([str(n) for n in widths]).values(), widths, strict=True):
        values = at["exponents"].sel(width=n, index=slice(1, n))
        place = (np.arange(n) + 0.5) / n
        draw.theory(axes, place, log_scale + newman_exponents(n, 1 / np.sqrt(n)), look, linewidth=0.9)
        draw.measured(axes, place, values.mean("seed"), standard_error(values), look, label=f"$N$ = {n}")
    axes.set(xlabel=r"place in the spectrum, $x = (i - \frac{1}{2}) / N$")
    axes.set_ylabel("exponent per factor in nats")
    axes.set_title(f"Exponents of {int(result['depth'][-1])} factors: Newman's as lines, measured as points")
    axes.legend(loc="lower left")
    return figure
