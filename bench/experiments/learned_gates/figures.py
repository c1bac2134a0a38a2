"""Figures of ``learned-gates``: gates around the first mark, and terms and exponents by training."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.learned_gates.measure import PARTS
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.measure.memory import TERM_LABELS, TERMS
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Gates around the first mark, what training changes, and the learning curves."""
    at = result.isel(cell=0).sortby("forget_bias")
    return {"gates": _gates(at), "training": _training(at)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Success, exponent, gates and terms by bias, before and after training."""
    at = result.isel(cell=0, drop=True)
    columns = {
        "exponent": at["exponent"].mean("seed"),
        "exponent_error": standard_error(at["exponent"]),
        "solved": at["solved"].mean("seed"),
        **{f"gradient_{part}": at["rates"].sel(part=part, drop=True).mean("seed") for part in PARTS},
        **{f"{term}_square": at["terms"].sel(term=term, drop=True).mean("seed") for term in TERMS},
    }
    return tidy(columns)


def _gates(at: xr.Dataset) -> Figure:
    """Gradient and gates by time from the first mark, of networks that solve the task."""
    titles = {
        "gradient": "Gradient of networks that solve\nthe task; dotted: untrained",
        "log_f": "Forget gates",
        "input_gate": "Input gates",
    }
    labels = (r"$\log |\partial L / \partial (c_t, h_t)|$, 0 at the mark", r"mean $\log f_t$ over units",
              r"mean $i_t$ over units")  # fmt: skip
    figure, panels = draw.panels(list(titles.values()), height=2.7)
    kept = at.where(at["solved"] > 0)
    for name, label, axes in zip(titles, labels, panels.values(), strict=True):
        for bias, look in _looks(at).items():
            after = kept[name].sel(forget_bias=bias).isel(stage=1)
            before = at[name].sel(forget_bias=bias).isel(stage=0).mean("seed")
            count = int(after.notnull().all("offset").sum())
            axes.plot(at["offset"], before, color=look["color"], linestyle=":", linewidth=0.9)
            axes.errorbar(at["offset"], after.mean("seed"), yerr=standard_error(after),
                          label=f"$b$ = {bias:g} ({count})", **look)  # fmt: skip
        axes.axvline(0, color="0.4", linewidth=0.8)
        axes.set(xlabel="steps from the first mark", ylabel=label)
    first = panels[titles["gradient"]]
    first.legend(title="first bias $b$ (solved)", loc="upper left", fontsize=6, title_fontsize=6.5)
    return figure


def _looks(at: xr.Dataset) -> dict[float, dict[str, Any]]:
    biases = [float(bias) for bias in at["forget_bias"]]
    return dict(zip(biases, draw.series([str(bias) for bias in biases]).values(), strict=True))


def _training(at: xr.Dataset) -> Figure:
    """Terms and exponents before and after training, and the learning curves."""
    figure, ((left, middle, right),) = draw.canvas(1, 3, height=2.7)
    _terms(left, at)
    _exponents(middle, at)
    for bias, look in _looks(at).items():
        curve = at["curve"].sel(forget_bias=bias).median("seed")
        right.plot(at["update"], curve, label=f"$b$ = {bias:g}", color=look["color"],
                   linestyle=look["linestyle"])  # fmt: skip
    right.axhline(float(at["chance_predicted"]), color="0.4", linewidth=0.8)
    right.set(xlabel="update", ylabel="median loss (line: chance)", yscale="log", title="Learning curves")
    right.legend(fontsize=6.5)
    return figure


def _terms(axes: Axes, at: xr.Dataset) -> None:
    """Stacked squares of the four terms, before and after training, for every bias."""
    bias = np.arange(at.sizes["forget_bias"])
    looks = draw.series(list(TERM_LABELS))
    for stage, shift in ((0, -0.21), (1, 0.21)):
        below = np.zeros(len(bias))
        for term, look in looks.items():
            height = at["terms"].isel(stage=stage).sel(term=term).mean("seed").values
            axes.bar(
                bias + shift, height, 0.36, bottom=below, color=look["color"], alpha=0.45 + 0.45 * stage,
                label=TERM_LABELS[term] if stage else None,
            )  # fmt: skip
            below = below + height
    axes.set_xticks(bias, [f"{b:g}" for b in at["forget_bias"].values])
    axes.set(xlabel="first forget bias $b$", ylabel=r"$|A|_F^2 / N$ of the terms")
    axes.set_title("Four terms before (left, pale)\nand after training (right)")
    axes.set_ylim(0, 1.45 * float(at["terms"].sel(term="sum").mean("seed").max()))
    axes.legend(fontsize=6, loc="upper left")


def _exponents(axes: Axes, at: xr.Dataset) -> None:
    """Growth of a change of the carry by bias, before and after training, beside the success."""
    for name, look in draw.series([str(stage) for stage in at["stage"].values]).items():
        values = at["exponent"].sel(stage=name)
        draw.measured(axes, at["forget_bias"], values.mean("seed"), standard_error(values), look, label=name)
    share = at["solved"].mean("seed")
    twin = axes.twinx()
    twin.plot(at["forget_bias"], share, color="0.5", linestyle="--", linewidth=0.9)
    twin.set(ylim=(-0.02, 1.05), ylabel="share solved (dashed)")
    twin.grid(False)
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.set(xlabel="first forget bias $b$", ylabel="exponent of $(c, h)$ per step")
    axes.set_title("Training moves the exponent\ntowards 0")
    axes.legend(fontsize=6.5, loc="lower right")
