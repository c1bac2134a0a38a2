"""Figures of ``learning-rate-or-depth``: the map with both boundaries, and where 2 / lambda holds."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from signalprop.bench.experiments.learning_rate_or_depth import descent
from signalprop.bench.experiments.learning_rate_or_depth.descent import BRACKET
from signalprop.bench.experiments.learning_rate_or_depth.measure import WHEN
from signalprop.bench.record import figures as draw

LN10 = float(np.log(10))
CLIP = 2.0  # decades of the final loss beyond which the map's colour does not change


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """The map of final losses, and the edges over 2 / lambda with the exact case beside them."""
    result = result.sortby(["sigma_w2", "learning_rate", "batch_size"])
    found = {"edges": _edges(result)}
    if result.sizes["sigma_w2"] > 1 and result.sizes["learning_rate"] > 1:
        found["map"] = _map(result)
    return found


def _own(result: xr.Dataset) -> xr.Dataset:
    return result.isel(learning_rate=0, batch_size=0)


def _cells(values: np.ndarray) -> np.ndarray:
    """Borders of cells around logarithmically spaced points."""
    logs = np.log(values)
    middle = (logs[1:] + logs[:-1]) / 2
    ends = [2 * logs[0] - middle[0]], [2 * logs[-1] - middle[-1]]
    borders: np.ndarray = np.exp(np.concatenate([ends[0], middle, ends[1]]))
    return borders


def _map(result: xr.Dataset) -> Figure:
    """Left the gradient of drawn networks, then the loss after training, one panel per batch size."""
    batches = result["batch_size"].values
    figure, (panels,) = draw.canvas(1, 1 + len(batches), height=3.6, sharex=True, sharey=True)
    x, y = result["sigma_w2"].values, result["learning_rate"].values
    gradient = result.isel(batch_size=0)["decades"].sel(when="drawn").mean("seed")
    shown = gradient.transpose("learning_rate", "sigma_w2").values
    _colours(figure, panels[0], x, y, shown, r"$\log_{10} |\delta^1| / |\delta^L|$, drawn")
    panels[0].set_title("gradient before training")
    for axes, batch in zip(panels[1:], batches, strict=True):
        final = (
            result["log_final"].sel(batch_size=batch).median("seed").transpose("learning_rate", "sigma_w2")
        )
        last = axes is panels[-1]
        label = r"$\log_{10}$ loss / initial loss" if last else ""
        _colours(figure, axes, x, y, np.clip(final.values / LN10, -CLIP, CLIP), label, bar=last)
        axes.set_title(f"loss after training, batch {batch:g}")
    for axes in panels:
        _boundaries(axes, _own(result))
        axes.set(xscale="log", yscale="log", xlim=_cells(x)[[0, -1]], ylim=_cells(y)[[0, -1]])
        axes.set_xlabel(r"weight variance $\sigma_w^2$")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(False)
    panels[0].set_ylabel(r"learning rate $\eta$")
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle("Two boundaries that cross: weights decide on the gradient, the learning rate on blow-up",
                    fontsize=9)  # fmt: skip
    return figure


def _colours(
    figure: Figure, axes: Axes, x: np.ndarray, y: np.ndarray, shown: np.ndarray, label: str, bar: bool = True
) -> None:
    limit = max(float(np.nanmax(np.abs(shown))), 0.1)
    mesh = axes.pcolormesh(
        _cells(x), _cells(y), shown, cmap=draw.DIVERGING, norm=TwoSlopeNorm(0, -limit, limit), rasterized=True
    )
    if bar:
        figure.colorbar(mesh, ax=axes, label=label, location="top", shrink=0.9)


def _boundaries(axes: Axes, own: xr.Dataset) -> None:
    """Theory as lines, measured edges as points."""
    x = own["sigma_w2"].values
    axes.axvline(1.0, color="k", linewidth=1.4, label=r"theory: $\chi_1 = 1$ (infinite depth)")
    looks = draw.series(["drawn", "settled"])
    for when, dash in (("drawn", "--"), ("settled", ":")):
        at = own.sel(when=when)
        colour = "0.25" if when == "drawn" else "darkgreen"
        axes.plot(x, 2 / at["sharpness"].median("seed"), color=colour, linestyle=dash, linewidth=1.4,
                  label=rf"theory: $\eta = 2/\lambda$, {when} network")  # fmt: skip
        shown = at["edge"].where(~_beyond(at)).median("seed")
        draw.measured(axes, x, shown, None, {**looks[when], "color": colour},
                      label=f"measured: loss blows up, {when} network")  # fmt: skip


def _beyond(at: xr.Dataset) -> xr.DataArray:
    """Where half of the networks do not blow up below the largest learning rate that was tried."""
    ratio = (at["edge"] * at["sharpness"] / 2).median("seed")
    beyond: xr.DataArray = ratio > 0.95 * BRACKET
    return beyond


def _edges(result: xr.Dataset) -> Figure:
    """Edges in units of 2 / lambda, and growth per update of the quadratic."""
    figure, ((left, right),) = draw.canvas(1, 2, height=3.1)
    own = _own(result)
    x, looks = own["sigma_w2"].values, draw.series(["drawn", "settled"])
    left.axhline(1, color="k", linewidth=1.3, label=r"theory: $\eta = 2 / \lambda$")
    left.axhline(2, color="0.5", linewidth=1.0, linestyle="--", label=r"catapult: $\eta = 4 / \lambda$")
    left.axhspan(1 / 1.5, 1.5, color="0.9", zorder=0)
    for when, shift in (("drawn", 0.98), ("settled", 1.02)):
        ratio = own["edge"].sel(when=when) * own["sharpness"].sel(when=when) / 2
        middle = ratio.median("seed")
        error = np.abs(np.stack([ratio.quantile(q, "seed") - middle for q in (0.1, 0.9)]))
        draw.measured(left, x * shift, middle, error, looks[when],
                      label=f"{when} network: median, 10-90 % of {ratio.sizes['seed']}")  # fmt: skip
        for place in x[_beyond(own.sel(when=when)).values]:
            left.annotate("", (place * shift, 3 * BRACKET), (place * shift, BRACKET),
                          arrowprops={"arrowstyle": "->", "color": looks[when]["color"]})  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel=r"weight variance $\sigma_w^2$",
             ylabel=r"$\eta$ at blow-up / $(2/\lambda)$")  # fmt: skip
    left.set_title("tanh networks: blow-up of the loss")
    left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.xaxis.set_major_formatter("{x:g}")
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_ylim(top=40 * BRACKET)
    left.legend(loc="upper left")
    m = np.linspace(0.05, 3.1, 400)
    draw.theory(right, m, np.log(np.abs(1 - m)), label=r"theory: $\log |1 - \eta\lambda|$")
    rate = own["rate"].isel(sigma_w2=0)
    draw.measured(right, rate["multiple"], rate.median("seed"), None, looks["drawn"], label="measured")
    right.axvline(2, color="k", linestyle="--", linewidth=1.0)
    right.axhline(0, color="0.6", linewidth=0.8)
    right.set(xlabel=r"$\eta \lambda$", ylabel="growth of the error per update", ylim=(-3, 1.2))
    right.set_title("linear regression: exact")
    right.legend(loc="upper left")
    return figure


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row per point of the map, with the curvature and edges of its networks; medians over seeds."""
    columns = {
        "log10_final_loss_ratio": result["log_final"].median("seed") / np.log(10),
        "blown_up": (result["log_highest"] > np.log1p(descent.RISE)).sum("seed"),
        "left_float_range": (result["diverged_at"] > 0).sum("seed"),
    }
    for when in WHEN:
        at = result.sel(when=when, drop=True).isel(learning_rate=0, batch_size=0, drop=True)
        columns[f"gradient_decades_{when}"] = at["decades"].mean("seed")
        columns[f"two_over_sharpness_{when}"] = (2 / at["sharpness"]).median("seed")
        columns[f"edge_{when}"] = at["edge"].median("seed")
    columns["gradient_decades_mean_field"] = result["decades_predicted"]
    return xr.Dataset(columns).to_dataframe().reset_index()
