"""Figures of ``carousel``: the terms of one step, paths over many, time scales, the phase map, and growth."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from signalprop.bench.experiments.carousel.verdicts import exponents
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.measure.memory import PATHS, TERM_LABELS, TERMS
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

PANELS = {
    "lstm_1997": "LSTM of 1997, truncated",
    "lstm_1997_full": "the same, not truncated",
    "lstm": "LSTM with forget gate",
}
NAMES = {
    **PANELS,
    "lstm": "LSTM",
    "lstm_untied": "LSTM, weights drawn anew",
    "gru": "GRU",
    "minimal_rnn": "minimalRNN",
    "tanh": "tanh, no gate",
}
PATH_NAMES = {
    "carry": "whole carry $(c, h)$",
    "four_terms": "product of four terms",
    "best_unit": "gates $f$ of the best unit",
    "hidden": "blocks of $h$ only",
}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Every figure whose cells and settings were measured."""
    result = result.sortby(["forget_bias", "gain"])
    shown = [name for name in PANELS if name in result["cell"].values]
    found = {"growth": _growth(result)}
    if shown:
        found["factors"] = _factors(result, shown)
    if "lstm" in shown:
        found |= {"paths": _paths(result), "memory": _memory(result)}
        if (result["gain"] > 0).any():
            found["phase"] = _phase(result)
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Exponents of every path, beside the theory of untied weights, and the late terms of the LSTMs."""
    rate, late = exponents(result), result["late_terms"]
    columns = {
        **{f"{path}_exponent": rate.sel(path=path, drop=True).mean("seed") for path in PATHS},
        "carry_exponent_error": standard_error(_finite(rate.sel(path="carry", drop=True))),
        "untied_exponent_predicted": result["exponent_predicted"],
        **{f"{term}_square": late.sel(term=term, drop=True).mean("seed") for term in TERMS},
    }
    return tidy(columns)


def _finite(rate: xr.DataArray) -> xr.DataArray:
    """Exponents without those of changes that are exactly zero."""
    return rate.where(np.isfinite(rate))


def _at(result: xr.Dataset, **wanted: float) -> xr.Dataset:
    """The setting nearest to what is asked for."""
    return result.sel(wanted, method="nearest")


def _factors(result: xr.Dataset, shown: list[str]) -> Figure:
    figure, (row,) = draw.canvas(1, len(shown), height=2.9, sharey=True)
    looks = draw.series(list(TERM_LABELS))
    for axes, name in zip(row, shown, strict=True):
        at = _at(result, forget_bias=1.0, gain=2.0).sel(cell=name)
        terms, step = at["terms"].mean("seed"), at["step"].values
        heights = [np.nan_to_num(terms.sel(term=term)) for term in TERM_LABELS]
        colours = [looks[term]["color"] for term in TERM_LABELS]
        axes.stackplot(step, *heights, labels=TERM_LABELS.values(), colors=colours, alpha=0.75, linewidth=0)
        axes.plot(step, terms.sel(term="sum"), color="0.1", label="their sum, measured")
        if name == "lstm":
            theory = float(at["late_terms_predicted"].sel(term="sum"))
            axes.axhline(theory, color="0.1", linestyle=":", label="mean field")
        axes.set(xlabel="step $t$", title=PANELS[name], xlim=(1, step[-1]))
    row[0].set_ylabel(r"$|A|_F^2 / N$ of the terms of $\partial c_t / \partial c_{t-1}$")
    figure.suptitle(
        f"The derivative of one step, gain {float(at['gain']):g}, forget bias {float(at['forget_bias']):g}",
        fontsize=9,
    )
    draw.legend(figure, row[-1], ncols=6, handlelength=1.4, columnspacing=1.0)
    return figure


def _paths(result: xr.Dataset) -> Figure:
    gains = [g for g in result["gain"].values if g > 0]
    figure, (panels,) = draw.canvas(1, 2 if gains else 1, height=2.9)
    _sizes(panels[0], result)
    if gains:
        _discrepancy(panels[1], result, gains)
    return figure


def _sizes(axes: Axes, result: xr.Dataset) -> None:
    """Sizes of a change along every path, for a small and a large bias."""
    at = _at(result.sel(cell="lstm"), gain=1.0)
    looks = draw.series(list(PATH_NAMES))
    small, large = (_at(at, forget_bias=bias) for bias in (0.0, 3.0))
    for here, style in ((small, "-"), (large, "--")):
        for path, name in PATH_NAMES.items():
            mean = here["log_norm"].sel(path=path).mean("seed") / np.log(10)
            label = name if style == "-" else None
            axes.plot(at["time"], mean, color=looks[path]["color"], linestyle=style, label=label)
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.set(xlabel="step $t$", ylabel=r"$\log_{10}$ size of a change", ylim=(-60, 5))
    axes.set_xlim(0, min(245, int(at["time"][-1])))
    biases = f"{float(small['forget_bias']):g} (solid) and {float(large['forget_bias']):g} (dashed)"
    axes.set(title=f"Forget bias {biases}: $h$ alone\ndoes not see the memory")
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.86), fontsize=6.5)


def _discrepancy(axes: Axes, result: xr.Dataset, gains: list[float]) -> None:
    """Error of the product of the four-term expressions, by the number of steps."""
    for look, gain in zip(draw.series([str(g) for g in gains]).values(), gains, strict=True):
        error = _at(result.sel(cell="lstm"), gain=gain, forget_bias=1.0)["discrepancy"].isel(step=slice(20))
        mean, spread = error.mean("seed"), standard_error(error)
        draw.measured(axes, error["step"], mean, spread, look, label=f"gain {gain:g}")
    axes.set(xlabel="steps $T$", ylabel=r"relative error as $\partial c_T / \partial c_0$", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("The product of the four-term expressions\nis right for two steps, not for more")
    axes.legend()


def _memory(result: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=3.1)
    at = _at(result, gain=1.0)
    rate = exponents(at).sel(cell="lstm")
    _time_scales(left, at, rate)
    _exponents(right, at, rate)
    return figure


def _time_scales(axes: Axes, at: xr.Dataset, rate: xr.DataArray) -> None:
    """Measured e-folding times against forget bias, with the time scales of gates as lines."""
    bias = at["forget_bias"]
    fine = np.linspace(float(bias[0]), float(bias[-1]), 100)
    looks = draw.series(["carry", "typical_unit", "hidden"])
    names = {"typical_unit": r"gates: $-1 / \overline{\log f}$", "carry": "whole carry", "hidden": "$h$ only"}
    draw.theory(axes, fine, 1 + np.exp(fine), label=r"$1 + e^b$")
    dashed = {"color": "0.2", "linestyle": "--"}
    draw.theory(axes, fine, 1 / np.log1p(np.exp(-fine)), dashed, label=r"$-1/\log \sigma(b)$")
    draw.theory(axes, bias, -1 / at["keep_predicted"], looks["typical_unit"], label="random gates, theory")
    for path, name in names.items():
        values = _finite(rate.sel(path=path))
        mean, error = values.mean("seed"), standard_error(values)
        decays = mean < -2 * error
        length = (-1 / mean).where(decays)
        draw.measured(axes, bias, length, (error / mean**2).where(decays), looks[path], label=name)
    axes.set(xlabel="forget bias $b$", ylabel="memory in steps (fall by $e$)", yscale="log", ylim=(0.3, 500))
    axes.set_title(
        f"Memory length at gain {float(at['gain']):g}; where the exponent\nis not below 0, the carry has none"
    )
    axes.legend(loc="upper left", fontsize=6.5)


def _exponents(axes: Axes, at: xr.Dataset, rate: xr.DataArray) -> None:
    bias, looks = at["forget_bias"], draw.series(["tied", "untied", "hidden", "best_unit"])
    draw.theory(
        axes, bias, at["exponent_predicted"].sel(cell="lstm"), looks["untied"], label="mean field, untied"
    )
    draw.theory(axes, bias, at["hidden_predicted"], looks["hidden"], label="mean field, $h$ only")
    series = {
        "tied": (rate.sel(path="carry"), "whole carry"),
        "best_unit": (rate.sel(path="best_unit"), r"best unit, $\overline{\log f}$"),
        "hidden": (_finite(rate.sel(path="hidden")), "$h$ only"),
    }
    if "lstm_untied" in at["cell"].values:
        untied = exponents(at).sel(cell="lstm_untied", path="carry")
        series["untied"] = untied, "whole carry, weights drawn anew"
    for name, (values, label) in series.items():
        mean, error = values.mean("seed"), standard_error(values)
        draw.measured(axes, bias, mean, error, looks[name], label=label)
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.set(xlabel="forget bias $b$", ylabel="exponent per step in nats", ylim=(-3.2, 0.3))
    axes.set_title("Neither $h$ alone nor $f$ alone\nhas the exponent of the gradient")
    axes.legend(loc="lower right", fontsize=6.5)


def _phase(result: xr.Dataset) -> Figure:
    kept = result.sel(gain=result["gain"] > 0)
    rate = exponents(kept).sel(path="carry").mean("seed")
    panels = {"LSTM": rate.sel(cell="lstm")}
    if "lstm_untied" in result["cell"].values:
        panels["weights drawn anew at every step"] = rate.sel(cell="lstm_untied")
    panels["mean field, untied"] = kept["exponent_predicted"].sel(cell="lstm")
    figure, (row,) = draw.canvas(1, len(panels), height=2.6)
    for axes, (title, values) in zip(row, panels.items(), strict=True):
        table = values.transpose("gain", "forget_bias")
        sns.heatmap(
            table, ax=axes, cmap=draw.DIVERGING, vmin=-0.6, vmax=0.6, annot=True, fmt="+.2f", cbar=False,
            annot_kws={"size": 5.5}, linewidths=0,
            xticklabels=[f"{b:g}" for b in table["forget_bias"].values],
            yticklabels=[f"{g:g}" for g in table["gain"].values],
        )  # fmt: skip
        _zero_line(axes, table.values)
        axes.invert_yaxis()
        axes.grid(False)
        axes.set(xlabel="forget bias $b$", ylabel="gain $g$" if axes is row[0] else "", title=title)
    figure.suptitle("Exponent of $d(c_T, h_T) / d(c_0, h_0)$ per step; line: 0", fontsize=9)
    return figure


def _zero_line(axes: Axes, values: np.ndarray) -> None:
    if min(values.shape) > 1 and values.min() < 0 < values.max():
        x, y = np.arange(values.shape[1]) + 0.5, np.arange(values.shape[0]) + 0.5
        axes.contour(x, y, values, levels=[0.0], colors="0.1", linewidths=1.4)


def _growth(result: xr.Dataset) -> Figure:
    name = next((c for c in ("lstm_1997", "lstm_1997_full") if c in result["cell"].values), None)
    figure, (panels,) = draw.canvas(1, 1 if name is None else 2, height=2.9)
    if name is not None:
        _cell_growth(panels[0], result.sel(cell=name).isel(forget_bias=0))
    _ablation(panels[-1], result)
    return figure


def _cell_growth(axes: Axes, at: xr.Dataset) -> None:
    time, gains = at["time"].values, at["gain"].values
    for look, gain in zip(draw.series([str(g) for g in gains]).values(), gains, strict=True):
        values = at["cell_square"].sel(gain=gain)
        if gain == 0:
            draw.theory(axes, time, at["cell_square_predicted"], look, label="theory, gain 0")
        draw.measured(axes, time, values.mean("seed"), standard_error(values), look, label=f"gain {gain:g}")
    place = at["cell_square"].isel(gain=-1, time=0).mean("seed").item()
    for power, style in ((1, ":"), (2, "--")):
        guide = {"color": "0.5", "linestyle": style, "linewidth": 0.9}
        draw.theory(axes, time, 0.4 * place * (time / time[0]) ** power, guide, label=rf"$\propto t^{power}$")
    axes.set(xscale="log", yscale="log", xlabel="step $t$", ylabel=r"mean square of the cell, $|c_t|^2 / N$")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title("Without a forget gate the cell grows\nfor ever, as a walk and then as a drift")
    axes.legend(loc="upper left", fontsize=6.5, ncols=2)


def _ablation(axes: Axes, result: xr.Dataset) -> None:
    at = _at(result, gain=1.0)
    rate, bias = exponents(at).sel(path="carry"), at["forget_bias"]
    shown = [c for c in NAMES if c in at["cell"].values]
    shown = [c for c in shown if c != "lstm_untied"] or shown
    looks: dict[str, dict[str, Any]] = draw.series(shown)
    for name in shown:
        values = _finite(rate.sel(cell=name))
        draw.measured(axes, bias, values.mean("seed"), standard_error(values), looks[name], label=NAMES[name])
        if name in ("minimal_rnn", "gru", "tanh"):
            draw.theory(axes, bias, at["exponent_predicted"].sel(cell=name), looks[name])
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.set(xlabel="bias of the gate that keeps", ylabel="exponent per step in nats")
    axes.set_title(
        "One gate is enough, and so is none: exponents\n"
        f"at gain {float(at['gain']):g} (lines: mean field, untied)"
    )
    axes.legend(loc="lower right", fontsize=6.5)
