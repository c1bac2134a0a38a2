"""Figures of ``learned-gates``: gates around the first mark, and terms and exponents by training."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.learned_gates.measure import PARTS
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.measure.memory import TERM_LABELS, TERMS
from signalprop.bench.record import figures as draw


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Gates around the first mark, what training changes, and the learning curves."""
    at = result.isel(cell=0).sortby("forget_bias")
    return {"gates": _gates(at), "training": _training(at)}


def _gates(at: xr.Dataset) -> Figure:
    figure, ((left, middle, right),) = draw.canvas(1, 3, height=2.7)
    looks = draw.series([str(b) for b in at["forget_bias"].values])
    kept = at.where(at["solved"] > 0)
    for axes, name, title in (
        (left, "gradient", r"$\log |\partial L / \partial (c_t, h_t)|$, 0 at the mark"),
        (middle, "log_f", r"mean $\log f_t$ over units"),
        (right, "input_gate", r"mean $i_t$ over units"),
    ):
        for look, bias in zip(looks.values(), at["forget_bias"].values, strict=True):
            after = kept[name].sel(forget_bias=bias).isel(stage=1)
            count = int(after.notnull().all("offset").sum())
            before = at[name].sel(forget_bias=bias).isel(stage=0).mean("seed")
            label = f"$b$ = {bias:g} ({count})"
            axes.plot(at["offset"], before, color=look["color"], linestyle=":", linewidth=0.9)
            error = after.std("seed", ddof=1) / count**0.5 if count > 1 else None
            axes.errorbar(at["offset"], after.mean("seed"), yerr=error, label=label, **look)
        axes.axvline(0, color="0.4", linewidth=0.8)
        axes.set(xlabel="steps from the first mark", ylabel=title)
    left.set_title("Gradient of networks that solve\nthe task; dotted: untrained")
    middle.set_title("Forget gates")
    right.set_title("Input gates")
    left.legend(title="first bias $b$ (solved)", loc="upper left", fontsize=6, title_fontsize=6.5)
    return figure


def _training(at: xr.Dataset) -> Figure:
    figure, ((left, middle, right),) = draw.canvas(1, 3, height=2.7)
    _terms(left, at)
    _exponents(middle, at)
    looks = draw.series([str(b) for b in at["forget_bias"].values])
    for look, bias in zip(looks.values(), at["forget_bias"].values, strict=True):
        curve = at["curve"].sel(forget_bias=bias).median("seed")
        plain = {"color": look["color"], "linestyle": look["linestyle"]}
        right.plot(at["update"], curve, label=f"$b$ = {bias:g}", **plain)
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
    looks = draw.series(list(map(str, at["stage"].values)))
    for name, look in looks.items():
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


def table(result: xr.Dataset) -> pd.DataFrame:
    """Success, exponent, gates and terms by bias, before and after training."""
    at = result.isel(cell=0, drop=True)
    columns = {name: at[name].mean("seed") for name in ("solved", "exponent")}
    errors = {"exponent_error": standard_error(at["exponent"])}
    rates = {f"gradient_{part}": at["rates"].sel(part=part, drop=True).mean("seed") for part in PARTS}
    terms = {f"{term}_square": at["terms"].sel(term=term, drop=True).mean("seed") for term in TERMS}
    found = xr.Dataset({**columns, **errors, **rates, **terms})
    return found.to_dataframe(["stage", "forget_bias"]).reset_index()
