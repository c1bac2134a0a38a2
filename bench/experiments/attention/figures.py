"""Figures of ``attention``: gradients of pre-LN and post-LN, and the collapse of the tokens."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.attention.verdicts import deepest, depths
from signalprop.bench.measure.estimates import mean_and_error, standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

LINES = {  # (norm, network): label
    ("pre", "full block"): "pre-LN",
    ("post", "full block"): "post-LN",
    ("pre", "feed-forward"): "pre-LN, no attention",
    ("post", "feed-forward"): "post-LN, no attention",
}
COLLAPSE = {
    ("none", "attention"): "attention alone",
    ("post", "attention"): "attention, LN",
    ("none", "no skip"): "attention and relu network, no skip",
    ("post", "full block"): "post-LN block",
    ("pre", "full block"): "pre-LN block",
}
LOWEST = -16.5  # log10 of the residual that is drawn
QUERY = r"$\log_{10} |\partial E / \partial W_Q| \, / \, |\partial E / \partial W_V|$"


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Gradients by block and by depth, and the collapse with what it does to the queries."""
    return {"gradients": _gradients(result), "collapse": _collapse(result)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Residuals and gradients by norm, network and block, in decades."""
    columns: dict[str, xr.DataArray] = {}
    for name in ("residual", "gradient", "query", "value", "relu"):
        values = _finite(result[name].isel(heads=0))
        columns |= {name: values.mean("seed"), f"{name}_error": standard_error(values)}
    columns |= {name: result[name] for name in ("residual_predicted", "gradient_predicted")}
    kept = ["norm", "network", "block", *columns]
    return tidy(columns)[kept].dropna(subset="residual")


def _measured(axes: Axes, at: xr.Dataset, values: xr.DataArray, look: dict[str, object], label: str) -> None:
    """Mean and standard error over networks, where all of them have a finite value."""
    finite = _finite(values)
    draw.measured(axes, at["block"], finite.mean("seed"), standard_error(finite), look, label=label)


def _finite(values: xr.DataArray) -> xr.DataArray:
    return values.where((abs(values) < np.inf).all("seed"))


def _gradients(result: xr.Dataset) -> Figure:
    figure, (row,) = draw.canvas(1, 2, height=3.2)
    looks = draw.series([" ".join(line) for line in LINES])
    for (norm, name), label in LINES.items():
        look = looks[f"{norm} {name}"]
        at = deepest(result, norm, name)
        draw.theory(row[0], at["block"], at["gradient_predicted"], look)
        _measured(row[0], at, at["gradient"], look, label)
        ends = [deepest(result, norm, name, depth).isel(block=-1) for depth in depths(result)]
        draw.theory(row[1], depths(result), [float(at["last_predicted"]) for at in ends], look)
        mean, error = np.array([mean_and_error(at["relu"].values) for at in ends]).T
        draw.measured(row[1], depths(result), mean, error, look)
    blocks = result["block"].values
    quoted = (blocks[-1] - blocks) / 2 * np.log10(2 / 3)
    quote = {"color": "0.55", "linestyle": (0, (1, 2))}
    draw.theory(row[0], blocks, quoted, quote, label=r"$(2/3)^{(L - l)/2}$, often quoted for post-LN")
    row[0].set(
        xlabel="block $l$",
        ylabel=r"$\log_{10} |\partial E / \partial x^l| \, / \, |\partial E / \partial \mathrm{out}|$",
    )
    row[0].set(title=f"Through {blocks[-1]} blocks", ylim=(max(quoted[0], -1.5) - 0.05, None))
    row[1].set(xscale="log", xlabel="number of blocks $L$", title="Last matrix: pre-LN falls with depth")
    row[1].set_xticks(depths(result), [str(n) for n in depths(result)])
    row[1].minorticks_off()
    row[1].set_ylabel(r"$\log_{10} |\partial E / \partial W_2^L|$")
    draw.legend(figure, row[0], ncols=3)
    figure.suptitle(
        "Gradients at initialization, layer norm before or after each part\n"
        "(lines: theory, on the left without attention only; points: measured)",
        fontsize=9,
    )
    return figure


def _collapse(result: xr.Dataset) -> Figure:
    figure, (row,) = draw.canvas(1, 2, height=3.3)
    looks = draw.series([" ".join(line) for line in COLLAPSE])
    for (norm, name), label in COLLAPSE.items():
        look, at = looks[f"{norm} {name}"], deepest(result, norm, name)
        predicted = at["residual_predicted"].where(at["residual_predicted"] > 4 * LOWEST)
        draw.theory(row[0], at["block"], predicted, look)
        _measured(row[0], at, at["residual"].where(at["residual"] > LOWEST), look, label)
        _measured(row[1], at, at["query"] - at["value"], look, label)
    row[0].axhspan(LOWEST, -15.2, color="0.5", alpha=0.2, linewidth=0)
    row[0].text(float(result["block"][-1]), -14.7, "rounding", ha="right", va="center", fontsize=7)
    row[0].set(ylim=(LOWEST, 0.6), xlabel="block $l$", title="Tokens become alike")
    row[0].set_ylabel(r"$\log_{10}$ residual $|x^l - \bar x^l| \, / \, |x^l|$")
    row[1].set(ylim=(-14, 0.6), xlabel="block $l$", ylabel=QUERY)
    row[1].set_title("and queries stop learning")
    draw.legend(figure, row[0], ncols=3)
    figure.suptitle("Rank collapse: skip connections slow it, pre-LN most (lines: theory; points: measured)")
    return figure
