"""Figures of ``learning-rate-or-depth``: the map with both boundaries, and where 2 / lambda holds."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from signalprop.bench.experiments.learning_rate_or_depth.descent import BRACKET
from signalprop.bench.experiments.learning_rate_or_depth.measure import WHEN
from signalprop.bench.experiments.learning_rate_or_depth.verdicts import (
    FACTOR,
    LN10,
    beyond,
    blown,
    edge_ratio,
    own_of,
)
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

CLIP = 2.0  # decades of the final loss beyond which the map's colour does not change


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """The map of final losses, and the edges over 2 / lambda with the exact case beside them."""
    result = result.sortby(["sigma_w2", "learning_rate", "batch_size"])
    found = {"edges": _edges(result)}
    if result.sizes["sigma_w2"] > 1 and result.sizes["learning_rate"] > 1:
        found["map"] = _map(result)
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row per point of the map, with the curvature and edges of its networks; medians over seeds."""
    columns = {
        "log10_final_loss_ratio": result["log_final"].median("seed") / np.log(10),
        "blown_up": blown(result).sum("seed"),
        "left_float_range": (result["diverged_at"] > 0).sum("seed"),
    }
    for when in WHEN:
        at = own_of(result).sel(when=when, drop=True)
        columns[f"gradient_decades_{when}"] = at["decades"].mean("seed")
        columns[f"two_over_sharpness_{when}"] = (2 / at["sharpness"]).median("seed")
        columns[f"edge_{when}"] = at["edge"].median("seed")
    columns["gradient_decades_mean_field"] = result["decades_predicted"]
    return tidy(columns)


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
        _boundaries(axes, own_of(result))
        axes.set(xscale="log", yscale="log", xlim=_cells(x)[[0, -1]], ylim=_cells(y)[[0, -1]])
        _variances(axes)
        axes.grid(False)
    panels[0].set_ylabel(r"learning rate $\eta$")
    draw.legend(figure, panels[-1], ncols=2)
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
        shown = at["edge"].where(~beyond(edge_ratio(at))).median("seed")
        draw.measured(axes, x, shown, None, {**looks[when], "color": colour},
                      label=f"measured: loss blows up, {when} network")  # fmt: skip


def _edges(result: xr.Dataset) -> Figure:
    """Edges in units of 2 / lambda, and beside them the exact case."""
    figure, ((left, right),) = draw.canvas(1, 2, height=3.1)
    own = own_of(result)
    x, looks = own["sigma_w2"].values, draw.series(["drawn", "settled"])
    left.axhline(1, color="k", linewidth=1.3, label=r"theory: $\eta = 2 / \lambda$")
    left.axhline(2, color="0.5", linewidth=1.0, linestyle="--", label=r"catapult: $\eta = 4 / \lambda$")
    left.axhspan(1 / FACTOR, FACTOR, color="0.9", zorder=0)
    for when, shift in (("drawn", 0.98), ("settled", 1.02)):
        ratio = edge_ratio(own).sel(when=when)
        middle = ratio.median("seed")
        error = np.abs(np.stack([ratio.quantile(q, "seed") - middle for q in (0.1, 0.9)]))
        draw.measured(left, x * shift, middle, error, looks[when],
                      label=f"{when} network: median, 10-90 % of {ratio.sizes['seed']}")  # fmt: skip
        for place in x[beyond(ratio).values]:
            left.annotate("", (place * shift, 3 * BRACKET), (place * shift, BRACKET),
                          arrowprops={"arrowstyle": "->", "color": looks[when]["color"]})  # fmt: skip
    left.set(xscale="log", yscale="log", ylabel=r"$\eta$ at blow-up / $(2/\lambda)$")
    _variances(left)
    left.set_title("tanh networks: blow-up of the loss")
    left.set_ylim(top=40 * BRACKET)
    left.legend(loc="upper left")
    _quadratic(right, own["rate"].isel(sigma_w2=0), looks["drawn"])
    return figure


def _variances(axes: Axes) -> None:
    """Weight variances below a logarithmic axis, in plain numbers."""
    axes.set_xlabel(r"weight variance $\sigma_w^2$")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _quadratic(axes: Axes, rate: xr.DataArray, look: dict[str, Any]) -> None:
    """Growth per update of the error of linear regression, the exact case."""
    m = np.linspace(0.05, 3.1, 400)
    draw.theory(axes, m, np.log(np.abs(1 - m)), label=r"theory: $\log |1 - \eta\lambda|$")
    draw.measured(axes, rate["multiple"], rate.median("seed"), None, look, label="measured")
    axes.axvline(2, color="k", linestyle="--", linewidth=1.0)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set(xlabel=r"$\eta \lambda$", ylabel="growth of the error per update", ylim=(-3, 1.2))
    axes.set_title("linear regression: exact")
    axes.legend(loc="upper left")
