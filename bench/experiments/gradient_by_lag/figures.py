"""Figures of ``gradient-by-lag``: profiles of every cell, rates, bounds, and maps of time and unit."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from signalprop.analysis import timelag
from signalprop.bench.experiments.gradient_by_lag.measure import LN10
from signalprop.bench.experiments.gradient_by_lag.verdicts import rates, where_all_finite
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

TITLES = {
    "tanh": "tanh", "sigmoid": "sigmoid", "relu": "relu", "linear": "linear",
    "tanh_orthogonal": "tanh, orthogonal", "relu_orthogonal": "relu, orthogonal",
    "tanh_identity": "tanh, identity", "irnn": "IRNN (relu, identity)", "smart_tanh": "smart tanh",
    "lstm_1997": "LSTM 1997, truncated", "lstm_1997_full": "LSTM 1997, full gradient", "lstm": "LSTM",
    "lstm_peephole": "LSTM, peepholes", "gru": "GRU", "gru_before": "GRU, reset before",
    "minimal_rnn": "minimalRNN",
}  # fmt: skip
GATED = ("lstm_1997", "lstm_1997_full", "lstm", "lstm_peephole", "gru", "gru_before", "minimal_rnn")
CAROUSEL = ("lstm_1997", "lstm_1997_full")  # with no gate that keeps, and so no use for a bias
HEATED = ("tanh", "relu", "irnn", "lstm_1997", "lstm", "gru", "sigmoid", "linear")  # the first six are shown
DECADES = 80  # shown above and below 0
FADED = -100  # decades at the dark end of the map
FORMAT = 38  # decades of float32 above and below 1


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Gradient against lag in every cell, its rate, Pascanu's bound, and every unit's gradient over time."""
    found = {"profiles": _profiles(result), "rates": _rates(result)}
    if any(name in HEATED for name in result["cell"].values):
        found["units"] = _units(result)
    if "tanh" in result["cell"].values:
        found["bounds"] = _bounds(result.sel(cell="tanh"))
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Gradient relative to lag 0 at some lags, and rates, by cell and setting."""
    lags = int(result["lag"][-1])
    mean, error = decades(result["log_norm"])
    rate = where_all_finite(rates(result))
    folding = e_folding_steps(result["log_norm"])
    early = [lag for lag in (1, 2, 5, 10, 20, 50) if lag < lags]
    shown = np.unique([*early, *np.linspace(0, lags, 9).astype(int)[1:]])
    columns = {
        "decades": mean.sel(lag=shown),
        "decades_error": error.sel(lag=shown),
        "live": result["live"].mean("seed").sel(lag=shown),
        "rate": rate.mean("seed"),
        "rate_error": standard_error(rate),
        "rate_predicted": result["rate_predicted"],
        "e_folding": folding.isel(fit=0),
        "e_folding_error": folding.isel(fit=1),
        "exponent": result["exponent"].mean("seed"),
        "largest_singular": result["largest_singular"].mean("seed"),
    }
    return tidy(columns).drop(columns=["setting"], errors="ignore")


def decades(log_norm: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """log10 of a gradient relative to lag 0, and its error; the root mean square where some are exactly 0."""
    change = (log_norm - log_norm.isel(lag=0)) / LN10
    finite = where_all_finite(change)
    logs = 2 * LN10 * change.transpose("seed", ...).astype(float)
    total = xr.DataArray(np.logaddexp.reduce(logs.values), logs.isel(seed=0, drop=True).coords, logs.dims[1:])
    square = (total - np.log(change.sizes["seed"])) / (2 * LN10)
    return finite.mean("seed").fillna(square), standard_error(finite)


def settings(result: xr.Dataset, name: str) -> dict[str, int]:
    """Label and place of every setting that is different for a cell."""
    if name in CAROUSEL:
        return {"no forget gate": 0}
    symbol, axis = ("b", "forget_bias") if name in GATED else ("g", "gain")
    return {f"${symbol}$ = {float(value):.3g}": place for place, value in enumerate(result[axis].values)}


def _profiles(result: xr.Dataset) -> Figure:
    names = [str(name) for name in result["cell"].values]
    figure, panels = draw.panels(names, 4, height=2.0, sharex=True, sharey=True)
    for name, axes in panels.items():
        _profile(axes, result.sel(cell=name), name)
        axes.set(title=TITLES.get(name, name), ylim=(-DECADES, DECADES), xlabel="lag $k$ in steps")
        axes.label_outer()
    figure.suptitle(
        f"Gradients over {int(result['lag'][-1])} steps. Lines: theory; dotted: exponents of the same runs; "
        "grey: float32",
        fontsize=9,
    )
    figure.supylabel(r"$\log_{10} |dL/dh_{T-k}| \, / \, |dL/dh_T|$", fontsize=8.5)
    # Below the panels: gains on the left, biases on the right.
    plain = [axes for name, axes in panels.items() if name not in GATED]
    gated = [axes for name, axes in panels.items() if name in GATED and name not in CAROUSEL]
    sides: tuple[tuple[list[Axes], Any, str], ...] = (
        (plain, "outside lower left", "without gates: gain"),
        (gated, "outside lower right", "bias of the gate that keeps"),
    )
    for found, place, title in sides:
        if found:
            figure.legend(*found[0].get_legend_handles_labels(), loc=place, ncols=3, title=title)
    return figure


def _profile(axes: Axes, at: xr.Dataset, name: str) -> None:
    """One cell: points with errors over networks, lines of theory, and what float32 can hold."""
    lag = at["lag"].values
    shown = np.unique(np.linspace(0, lag[-1], 11).astype(int))
    mean, error = decades(at["log_norm"])
    exponent = at["exponent"].mean("seed")
    places = settings(at, name)
    for (label, place), look in zip(places.items(), draw.series(list(places)).values(), strict=True):
        rate, known = float(at["rate_predicted"][place]), np.isfinite(at["rate_predicted"][place])
        slope = rate if known else float(exponent[place])
        line = slope * lag / LN10
        if name == "linear":  # at this width, of the same matrices
            line = float(np.log10(at["radius"].isel(setting=place).values).mean()) * lag
        if name == "irnn" and float(at["gain"][place]) == 1:
            line = np.log10(at["live_predicted"].values) / 2
        draw.theory(axes, lag, line, {**look, "linestyle": "-" if known else ":"}, linewidth=0.9)
        y, bars = mean.isel(setting=place, lag=shown), error.isel(setting=place, lag=shown)
        draw.measured(axes, lag[shown], y, bars, look, label=label, markersize=3)
    axes.axhspan(-FORMAT, FORMAT, color="0.5", alpha=0.12, linewidth=0)


def _rates(result: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=3.4)
    names = [str(name) for name in result["cell"].values]
    plain, gated = ([n for n in names if (n in GATED) == kind] for kind in (False, True))
    _rate(left, result, "gain", plain, result["rate_predicted"], "upper left")
    _rate(right, result, "forget_bias", gated, result["exponent"].mean("seed"), "lower right")
    if "lstm" in names:
        kept, look = result["log_kept"].sel(cell="lstm").mean("seed"), {"color": "0.4", "linestyle": "--"}
        draw.theory(right, result["forget_bias"], kept, look, label=r"LSTM: mean of $\log f$")
        right.legend(loc="lower right", fontsize=7, labelspacing=0.3)
    left.set(xscale="log", xlabel="gain $g$ of $W$", ylabel="rate of the gradient, nats per step")
    ticks = [tick for tick in (0.2, 0.5, 1, 2, 5, 10) if result["gain"].min() <= tick <= result["gain"].max()]
    left.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    left.set_ylim(top=3.6)
    left.minorticks_off()
    left.set_title("Without gates: lines, theory where there is one")
    right.set(xlabel="bias of the gate that keeps", title="With gates: lines, exponents of the same runs")
    return figure


def _rate(
    axes: Axes, result: xr.Dataset, axis: str, names: list[str], line: xr.DataArray, place: Any
) -> None:
    """Rates of some cells against gain or bias."""
    rate = where_all_finite(rates(result))
    mean, error = rate.mean("seed"), standard_error(rate)
    for name, look in draw.series(names).items():
        at = {"cell": name}
        draw.theory(axes, result[axis], line.sel(at), look, linewidth=0.9)
        draw.measured(axes, result[axis], mean.sel(at), error.sel(at), look, label=TITLES.get(name, name))
    axes.axhline(0, color="0.3", linewidth=0.8)
    if names:
        axes.legend(loc=place, fontsize=7, labelspacing=0.3)


def _bounds(at: xr.Dataset) -> Figure:
    """Early lags of the tanh network beside what singular value, eigenvalue and mean field say."""
    wanted = [g for g in (0.5, 1.0, 2.0) if g in at["gain"].values] or [float(at["gain"][0])]
    figure, axes = draw.canvas(1, len(wanted), height=2.9)
    lag = at["lag"].values[: min(61, at.sizes["lag"])]
    mean, error = decades(at["log_norm"])
    for panel, gain in zip(axes.ravel(), wanted, strict=True):
        place = int(np.flatnonzero(at["gain"].values == gain)[0])
        largest = float(np.log10(at["largest_singular"].isel(setting=place)).max())
        panel.fill_between(lag, lag * largest, lag * largest + 100, color="0.5", alpha=0.15, linewidth=0)
        panel.plot(lag, lag * largest, color="0.3", label=r"bound $(\gamma s_{max})^k$")
        panel.plot(lag, lag * np.log10(gain), "--", color="C3", label=r"$g^k$, spectral radius")
        panel.plot(
            lag, lag * float(at["rate_predicted"][place]) / LN10, "-.", color="C0", label="mean field, 1/$N$"
        )
        points = lag[:: max(1, len(lag) // 20)]
        y, bars = mean.isel(setting=place, lag=points), error.isel(setting=place, lag=points)
        draw.measured(panel, points, y, bars, {"color": "k", "marker": "o"}, label="measured")
        ends = [float(mean.isel(setting=place, lag=lag[-1])), lag[-1] * np.log10(gain), lag[-1] * largest]
        panel.set(
            title=f"tanh, $g$ = {gain:g}", xlabel="lag $k$", ylim=(min(0, *ends) - 1, max(0, *ends) + 1)
        )
    axes[0, 0].set_ylabel(r"$\log_{10} |dL/dh_{T-k}| \, / \, |dL/dh_T|$")
    axes[0, 0].legend(loc="lower left")
    figure.suptitle(
        "The largest singular value bounds the gradient; mean field predicts it, the spectral radius cannot",
        fontsize=9,
    )
    return figure


def _units(result: xr.Dataset) -> Figure:
    """One network of each cell: log10 of every unit's gradient over time, with a colour for exact zeros."""
    names = [name for name in HEATED if name in result["cell"].values][:6]
    figure, panels = draw.panels(names, height=2.3, sharex=True, sharey=True)
    colours = mpl.colormaps["viridis"].with_extremes(bad="white", under="0.85")
    place = int(np.argmin(abs(result["gain"].values - 1)))
    for name, panel in panels.items():
        heat = result["heat"].sel(cell=name).isel(setting=place, seed=0).values.T
        shown = np.where(np.isneginf(heat), -1e9, np.maximum(heat, FADED))
        edge = float(result["shown_lag"][-1])
        image = panel.imshow(
            shown[:, ::-1], aspect="auto", cmap=colours, vmin=FADED, vmax=0, interpolation="nearest",
            extent=(-edge, 0, 0, len(heat)),
        )  # fmt: skip
        label = "" if name in CAROUSEL else f", {list(settings(result, name))[place]}"
        panel.set_title(TITLES.get(name, name) + label)
        panel.grid(False)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    bar = figure.colorbar(image, ax=figure.axes, extend="min", shrink=0.8)
    bar.set_label(r"$\log_{10}$ of a unit's gradient; grey: exactly 0")
    figure.suptitle(
        "Gradients of single units (LSTM: c): they fade together, die one by one (IRNN), or stay (carousel)",
        fontsize=9,
    )
    figure.supxlabel("time before the loss, in steps", fontsize=8.5)
    figure.supylabel("unit", fontsize=8.5)
    return figure


def e_folding_steps(log_norm: xr.DataArray) -> xr.DataArray:
    """Fitted e-folding time of the mean profile over networks, and its standard error, along ``fit``.

    Negative where gradients grow; NaN where more than three quarters of the profile are exact zeros.
    """

    def fit(profile: np.ndarray) -> np.ndarray:
        if np.isfinite(profile).sum() < profile.size / 4:
            return np.full(2, np.nan)
        return np.array(timelag.e_folding(profile)[2:])

    mean = log_norm.mean("seed")
    fitted: xr.DataArray = xr.apply_ufunc(
        fit, mean, input_core_dims=[["lag"]], output_core_dims=[["fit"]], vectorize=True
    )
    return fitted
