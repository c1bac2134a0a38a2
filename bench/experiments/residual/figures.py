"""Figures of ``residual``: gradient against block, and growth against depth."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from signalprop.bench.experiments.residual.verdicts import mean_log
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

LN10 = float(np.log(10))
GROUPS = {
    "Branches of gain 1 explode": ("plain", "relu branch", "residual", "tanh branch"),
    "Scaled with depth, they do not": ("1/sqrt(L)", "1/L", "ReZero", "Fixup"),
    "Norm after the sum: exponential;\nbefore the branch: a power": (
        "post-BN", "post-LN relu", "post-LN", "pre-BN", "pre-LN",
    ),
}  # fmt: skip
LABELS = {
    "plain": r"$W_2 \,\mathrm{relu}(W_1 x)$, no skip",
    "relu branch": r"$x + \mathrm{relu}(W x)$",
    "residual": r"$x + W_2 \,\mathrm{relu}(W_1 x)$",
    "tanh branch": r"$x + \tanh(W x)$",
    "1/sqrt(L)": r"branch $\times L^{-1/2}$",
    "1/L": r"branch $\times L^{-1}$",
    "ReZero": "ReZero, SkipInit",
    "Fixup": "Fixup",
    "post-BN": r"BN$(x + F)$",
    "post-LN relu": r"LN$(x + \mathrm{relu}(W x))$",
    "post-LN": r"LN$(x + F)$, Xavier",
    "pre-BN": r"$x + W \mathrm{relu}($BN$(x))$",
    "pre-LN": r"$x + F($LN$(x))$, Xavier",
}
ROWS = 16  # blocks per network in the table


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Profiles of the networks of middle depth, and growth against depth."""
    depths = np.sort(result["depth"].values)
    return {"profiles": _profiles(result, int(depths[len(depths) // 2])), "depth": _depth(result)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Gradient and signal at some blocks of each network."""
    rows = []
    for depth in result["depth"].values:
        blocks = np.unique(np.linspace(0, int(depth), min(int(depth), ROWS) + 1).astype(int))
        at = result.sel(depth=depth, block=blocks)
        columns: dict[str, xr.DataArray] = {}
        for name in ("log_gradient_squared", "log_mean_square"):
            stats = mean_log(at[name])
            columns |= {name: stats["mean"], f"{name}_error": stats["error"]}
            columns[f"{name}_predicted"] = at[f"{name}_predicted"]
        rows.append(tidy(columns))
    return pd.concat(rows, ignore_index=True)


def _profiles(result: xr.Dataset, depth: int) -> Figure:
    """log10 of |g|^2 at every block, by family."""
    figure, panels = draw.panels(list(GROUPS), height=3.6)
    looks = draw.series(list(LABELS))
    blocks = np.arange(depth + 1)
    shown = np.unique(np.linspace(0, depth, 9).astype(int))
    at = result.sel(depth=depth)
    for title, axes in panels.items():
        for name in (name for name in GROUPS[title] if name in result["architecture"]):
            profile = at.sel(architecture=name)
            draw.theory(
                axes, blocks, profile["log_gradient_squared_predicted"][: depth + 1] / LN10, looks[name]
            )
            values = mean_log(profile["log_gradient_squared"].sel(block=shown))
            draw.measured(
                axes, shown, values["mean"] / LN10, values["error"] / LN10, looks[name], label=LABELS[name]
            )
        axes.set_xlabel("block $l$")
        axes.legend(loc="upper right")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.35 * (high - low))
    figure.axes[0].set_ylabel(
        r"$\log_{10} \; |\partial E / \partial x_l|^2 \, / \, |\partial E / \partial x_L|^2$"
    )
    figure.suptitle(f"{depth} blocks: theory as lines, mean over networks as points", fontsize=9)
    return figure


def _depth(result: xr.Dataset) -> Figure:
    """Growth over the whole network, and the gradient of the last weights, against depth."""
    figure, ((left, right),) = draw.canvas(1, 2, height=4.4, width_ratios=(1.6, 1))
    looks = draw.series(list(LABELS))
    for name in (name for name in LABELS if name in result["architecture"]):
        _against_depth(left, result.sel(architecture=name), looks[name], LABELS[name])
    left.set_xscale("log", base=2)
    left.set_yscale("symlog", linthresh=0.1, linscale=0.6)
    left.set_ylim(bottom=max(-1.0, left.get_ylim()[0]))
    left.set(xlabel="blocks $L$", title="From constant to exponential: growth of the gradient with depth")
    left.set_ylabel(r"$\log_{10} \; |\partial E / \partial x_0|^2 \, / \, |\partial E / \partial x_L|^2$")
    draw.legend(figure, left, ncols=4)
    _last_weights(right, result, looks)
    for axes in (left, right):
        axes.set_xticks(result["depth"].values)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.minorticks_off()
    return figure


def _against_depth(axes: Axes, at: xr.Dataset, look: dict[str, object], label: str) -> None:
    """Growth at every depth, and theory between them."""
    start = at.sel(block=0)
    values = mean_log(start["log_gradient_squared"])
    predicted = start["log_gradient_squared_predicted"] / LN10
    draw.theory(axes, at["depth"], predicted, look)
    error = np.where(values["error"] < 1, values["error"], np.nan) / LN10
    draw.measured(axes, at["depth"], values["mean"] / LN10, error, look, label=label)


def _last_weights(axes: Axes, result: xr.Dataset, looks: dict[str, dict[str, object]]) -> None:
    for name in (name for name in ("post-LN", "pre-LN") if name in result["architecture"]):
        at = result.sel(architecture=name)
        values = mean_log(at["log_last_gradient_squared"])
        draw.theory(axes, at["depth"], at["log_last_gradient_squared_predicted"] / LN10, looks[name])
        draw.measured(
            axes, at["depth"], values["mean"] / LN10, values["error"] / LN10, looks[name], label=LABELS[name]
        )
    axes.set_xscale("log", base=2)
    axes.set(xlabel="blocks $L$", title="Gradient of the last weights")
    axes.set_ylabel(r"$\log_{10} \; |\partial E / \partial W_2^L|^2 \, / \, |\partial E / \partial y|^2$")
    axes.legend()
