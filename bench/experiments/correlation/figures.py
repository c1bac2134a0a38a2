"""Figures: Poole's maps and trajectories, Schoenholz's depth scales, the critical laws."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.correlation import HE, MAPS, XAVIER
from signalprop.bench.experiments.correlation.verdicts import measured_scales, near_input, position
from signalprop.bench.measure.estimates import exp, standard_error
from signalprop.bench.record import figures as draw

KINDS = {
    "xi_q": r"length, $\xi_q$",
    "xi_c": r"cosine, $\xi_c$",
    "xi_grad": r"gradient, $|\xi_\mathrm{grad}|$",
}
SHOWN = 12  # layers of the length panel
SETTLED = 4  # layers after which the length is that of the drawn correlation map


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Poole's maps and trajectories, and Schoenholz's depth scales with the laws at criticality."""
    drawn = {i: at[0] for i, scale in enumerate(MAPS) if (at := position(result, scale)).size}
    maps = {"maps": _maps(result.isel(activation=0), drawn)} if drawn else {}
    return {**maps, "depth-scales": _depth_scales(result)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Rates of length, cosine and gradient, measured and predicted, and asymptotic depth scales."""
    return measured_scales(near_input(result))


def _maps(at: xr.Dataset, drawn: dict[int, int]) -> Figure:
    figure, ((length_map, lengths), (c_map, cosines)) = draw.canvas(2, 2, height=2.9)
    looks = draw.series([rf"$\sigma_w$ = {MAPS[i][0]:g}" for i in drawn])
    for (label, look), (i, scale) in zip(looks.items(), drawn.items(), strict=True):
        here = at.isel(scales=scale, map=i)
        _length_map(length_map, here, look, label)
        _trajectories(lengths, exp(here["log_q"]), exp(here["log_q_predicted"]), look, SHOWN)
        _correlation_map(c_map, here, look)
        gaussian = here.isel(pair=slice(None, -1))
        _trajectories(cosines, 1 - gaussian["distance"], gaussian["c_predicted"], look)
        real = here.isel(pair=slice(-1, None))
        _trajectories(cosines, 1 - real["distance"], real["c_predicted"], {**look, "alpha": 0.45})
    for axes in (length_map, c_map):
        axes.axline((0, 0), slope=1, color="0.6", linewidth=0.8, zorder=1)
    longest = float(at["q_axis"][-1])
    length_map.set(
        xlim=(0, longest), ylim=(0, longest), xlabel="$q^{l-1}$", ylabel="$q^l$",
        title=r"length map $\mathcal{V}(q)$ with the steps of one input",
    )  # fmt: skip
    lengths.set(yscale="log", xlabel="layer $l$", ylabel="$q^l$", title="length of inputs of several sizes")
    c_map.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="$c^{l-1}$", ylabel="$c^l$",
        title=r"correlation map $\mathcal{C}(c)$ with the steps of one pair",
    )  # fmt: skip
    cosines.set(xlabel="layer $l$", ylabel="$c^l$", title="cosine of Gaussian (and, pale, real) pairs")
    length_map.legend(loc="center right")
    title = rf"{at['activation'].item()}, $\sigma_b$ = {MAPS[0][1]:g}: theory (lines) and networks (points)"
    figure.suptitle(title, fontsize=9)
    return figure


def _length_map(axes: Axes, here: xr.Dataset, look: dict[str, Any], label: str) -> None:
    draw.theory(axes, here["q_axis"], here["q_map"], look)
    mean = exp(here["log_q"]).mean("seed").values[:, :8]
    draw.measured(axes, mean[:, :-1].ravel(), mean[:, 1:].ravel(), None, look, label=label, markersize=3.5)
    start = float(exp(here["log_q_predicted"])[0, 0])
    _staircase(axes, here["q_axis"].values, here["q_map"].values, start, look)


def _correlation_map(axes: Axes, here: xr.Dataset, look: dict[str, Any]) -> None:
    """Measured steps are those behind the transient of the length."""
    draw.theory(axes, here["c_axis"], here["c_map"], look)
    mean = 1 - here["distance"].mean("seed").values[:, SETTLED:]
    draw.measured(axes, mean[:, :-1].ravel(), mean[:, 1:].ravel(), None, look, markersize=3)
    ordered = here["c_star"] == 1
    start = here["c_predicted"][0 if ordered else -2, 0]
    _staircase(axes, here["c_axis"].values, here["c_map"].values, float(start), look)


def _staircase(axes: Axes, x: np.ndarray, y: np.ndarray, start: float, look: dict[str, Any]) -> None:
    """Iterate a drawn map from a start: up to the curve, across to the diagonal."""
    values = [start]
    for _ in range(SHOWN):
        values.append(float(np.interp(values[-1], x, y)))
    steps = np.repeat(values, 2)
    axes.plot(steps[:-1], [0, *steps[2:]], color=look["color"], linewidth=0.7, alpha=0.7, zorder=1)


def _trajectories(
    axes: Axes, values: xr.DataArray, predicted: xr.DataArray, look: dict[str, Any], shown: int | None = None
) -> None:
    """Means over networks in every layer, one row per input; error bars where they can be seen."""
    layer = values["layer"].values[:shown]
    mean, error = values.mean("seed").values, standard_error(values).values
    for j, line in enumerate(predicted.values):
        draw.theory(axes, layer, line[:shown], look, linewidth=0.9)
        draw.measured(axes, layer, mean[j, :shown], error[j, :shown], look, markersize=3, capsize=0)


def _depth_scales(result: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=3.2)
    own = measured_scales(near_input(result))
    if len(own):
        _lines(left, result, own)
    _laws(right, result)
    return figure


def _lines(axes: Axes, result: xr.Dataset, own: pd.DataFrame) -> None:
    """Depth scales over sigma_w^2 at the first sigma_b; scales that noise hides are left out."""
    first = position(result, (float(result["sigma_w"][0]), float(result["sigma_b"][0])))
    sigma_b = float(result["sigma_b"][first[0]])
    own = own[own["sigma_b"] == sigma_b].sort_values("sigma_w")
    for (kind, label), look in zip(KINDS.items(), draw.series(list(KINDS)).values(), strict=True):
        line = abs(result[f"{kind}_line"])
        draw.theory(axes, result["sigma_w_line"] ** 2, line, look)
        rows = own[(own["kind"] == kind) & (own["rate"].abs() > 2 * own["error"])]
        length, x = 1 / rows["rate"].abs(), rows["sigma_w"] ** 2
        draw.measured(axes, x, length, length**2 * rows["error"], look, label=label)
        cross = {"marker": "x", "color": look["color"], "linestyle": "none", "markersize": 3.5}
        axes.plot(x, 1 / rows["predicted"].abs(), zorder=2, **cross)
    critical = _critical(result)
    if critical:
        axes.axvline(critical, color="0.5", linewidth=0.8, zorder=1)
        axes.text(critical, 0.55, r" $\chi_1 = 1$", ha="left", va="bottom", color="0.3", fontsize=7.5)
    axes.set(yscale="log", ylim=(0.5, 300), xlabel=r"$\sigma_w^2$", ylabel="depth scale (layers)")
    place = rf"{own['activation'].iloc[0]}, $\sigma_b^2$ = {sigma_b**2:.2g}"
    axes.set_title(rf"{place} ($\times$: theory over the layers measured)")
    axes.legend(loc="upper right")


def _critical(result: xr.Dataset) -> float | None:
    """sigma_w^2 at which 1 / xi_grad = -log chi_1 changes sign along the line."""
    rate = 1 / result["xi_grad_line"].values
    change = np.flatnonzero(rate[:-1] * rate[1:] <= 0)
    if not change.size:
        return None
    i = change[0]
    ends = result["sigma_w_line"].values[i : i + 2]
    return float((ends[0] + rate[i] / (rate[i] - rate[i + 1]) * (ends[1] - ends[0])) ** 2)


def _laws(axes: Axes, result: xr.Dataset) -> None:
    """Powers of the depth on the critical line, on logarithmic axes."""
    layer = result["layer"].values
    names = set(result["activation"].values)
    he, xavier = position(result, HE), position(result, XAVIER)
    looks = draw.series(["relu", "tanh"])
    if "relu" in names and he.size:
        here = result.sel(activation="relu").isel(scales=he[0], pair=0)
        look = {**looks["relu"], "label": r"relu, $\sigma_w^2 = 2$: $1 - c$"}
        law = 9 * np.pi**2 / (2 * layer**2.0), r"$9 \pi^2 / 2 l^2$"
        _law(axes, here["distance"], 1 - here["c_predicted"], law, look)
    if "tanh" in names and xavier.size:
        here = result.sel(activation="tanh").isel(scales=xavier[0], q_0=-1)
        look = {**looks["tanh"], "label": r"tanh, $\sigma_w = 1$: $q$"}
        _law(axes, exp(here["log_q"]), exp(here["log_q_predicted"]), (1 / (2.0 * layer), r"$1 / 2 l$"), look)
    axes.set(xscale="log", yscale="log", xlabel="layer $l$")
    axes.set_title("on the critical line: powers of the depth")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left")


def _law(
    axes: Axes,
    values: xr.DataArray,
    predicted: xr.DataArray,
    law: tuple[np.ndarray, str],
    look: dict[str, Any],
) -> None:
    """A quantity in every layer, and the asymptotic law over the last two thirds."""
    layer = values["layer"].values
    line = {k: v for k, v in look.items() if k != "label"}
    draw.theory(axes, layer, predicted, line)
    draw.measured(axes, layer, values.mean("seed"), standard_error(values), look)
    far = layer > layer[-1] / 3
    axes.plot(layer[far], law[0][far], color=look["color"], linestyle=":", label=law[1])
