"""Figures of ``depth-limits``: to the largest depth in decades, and the slow decay at the end of the line."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.depth_limits.measure import distances
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

TITLES = {"mlp": "fully connected", "conv": "convolutional, on a ring"}
LIMITS = {  # (weights, start): label
    ("orthogonal", "critical"): r"orthogonal, critical at $q^* = 1/L$",
    ("gaussian", "critical"): "Gaussian, the same point",
    ("orthogonal", "ordered"): r"orthogonal, $\sigma_w$ 1 % lower",
    ("orthogonal", "chaotic"): r"orthogonal, $\sigma_w$ 5 % higher",
}
SLOW = {
    "critical": r"critical, $|x|^2 / N = q^* = 1/L$",
    "unit input": r"critical, $|x|^2 / N = 1$",
    "no bias": r"$\sigma_w = 1$, $\sigma_b = 0$, $|x|^2 / N = 1$",
}
AXES = {
    "signal": ("layer $l$", r"$\log_{10}$ rms of $y^l$"),
    "gradient": (
        "layers from the output, $L - l$",
        r"$\log_{10} |\partial E/\partial y^l| \, / \, |\partial E/\partial y^L|$",
    ),
}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """How far signal and gradient get, and what the start of the critical line costs."""
    return {"limits": _limits(result), "slow-decay": _slow_decay(result)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Signal and gradient by network, weights, start and depth, in decades; empty where a signal was lost."""
    columns = {}
    for name in ("signal", "gradient"):
        columns[name] = result[name].mean("seed", skipna=False)
        columns[f"{name}_deviation"] = result[name].std("seed", ddof=1, skipna=False)
        columns[f"{name}_mean_field"] = result[f"{name}_predicted"]
    columns["gradient_gaussian_walk"] = result["gaussian_predicted"]
    kept = ["network", "weights", "start", "layer", *columns]
    return tidy(columns)[kept]


def passed(at: xr.Dataset, from_output: bool) -> xr.Dataset:
    """Layers by their distance from the input, or from the output, about six per decade."""
    depth, layer = int(at["layer"][-1]), at["layer"]
    at = at.assign_coords(passed=depth - layer if from_output else layer).swap_dims(layer="passed")
    return at.sortby("passed").sel(passed=distances(depth))


def _points(axes: Axes, at: xr.Dataset, name: str, look: dict[str, Any], every: int, **more: Any) -> None:
    """Mean and deviation over networks at every so many depths."""
    at = at.isel(passed=slice(None, None, -every))
    values = at[name]
    draw.measured(axes, at["passed"], values.mean("seed"), values.std("seed", ddof=1), look, **more)


def _limits(result: xr.Dataset) -> Figure:
    networks = list(result["network"].values)
    figure, axes = draw.canvas(len(networks), 2, height=2.7)
    looks = draw.series([" ".join(case) for case in LIMITS])
    for row, network in zip(axes, networks, strict=True):
        for ax, name in zip(row, AXES, strict=True):
            for (weights, start), label in LIMITS.items():
                at = passed(result.sel(network=network, weights=weights, start=start), name == "gradient")
                look = looks[f"{weights} {start}"]
                if weights == "gaussian":
                    _gaussian_theory(ax, at, name, look)
                else:
                    draw.theory(ax, at["passed"], at[f"{name}_predicted"], look)
                _points(ax, at, name, look, 2, label=label)
            ax.set(xscale="log", xlabel=AXES[name][0], ylabel=AXES[name][1])
        row[0].set_title(f"Signal, {TITLES[network]}")
        row[1].set_title(f"Gradient, {TITLES[network]}")
    draw.legend(figure, axes[0, 0], ncols=2)
    depth = int(result["layer"][-1])
    figure.suptitle(
        f"{depth:,} tanh layers without skips: orthogonal weights at $q^* = 1/L$ keep signal and gradient\n"
        "(lines and bands: theory; points: mean and spread over networks)",
        fontsize=9,
    )
    return figure


def _gaussian_theory(axes: Axes, at: xr.Dataset, name: str, look: dict[str, Any]) -> None:
    """The walk of the gradient with its deviation; the floor under the signal of a fully connected net."""
    if name == "gradient":
        mean, spread = at["gaussian_predicted"], at["gaussian_spread"]
        draw.theory(axes, at["passed"], mean, look)
        axes.fill_between(at["passed"], mean - spread, mean + spread, color=look["color"], alpha=0.15, lw=0)
    elif str(at["network"].values) == "mlp" and np.isfinite(at["gaussian_floor"]):
        axes.axhline(float(at["gaussian_floor"]), color=look["color"], linestyle=look["linestyle"])


def _slow_decay(result: xr.Dataset) -> Figure:
    figure, (row,) = draw.canvas(1, 2, height=3.0)
    looks = draw.series(list(SLOW))
    for ax, name in zip(row, AXES, strict=True):
        for start, label in SLOW.items():
            at = passed(result.sel(weights="orthogonal", start=start), from_output=False)
            draw.theory(ax, at["passed"], at[f"{name}_predicted"], looks[start])
            for network, size in zip(result["network"].values, (4.5, 2.5), strict=False):
                look = looks[start] | ({} if size > 4 else {"markerfacecolor": looks[start]["color"]})
                shown = label if size > 4 else None
                _points(ax, at.sel(network=network), name, look, 1, label=shown, markersize=size)
        ax.set(xscale="log", xlabel="layer $l$", ylabel=AXES[name][1])
    row[0].set_title("Signal")
    row[1].set_title("Gradient: a power of the depth")
    draw.legend(figure, row[0], ncols=3)
    figure.suptitle(
        r"Orthogonal weights, $\chi_1 \to 1$ in all three: a large input or $\sigma_w = 1$ without biases "
        r"costs $\sqrt{L}$" + f"\n(lines: mean field; open: {TITLES[str(result['network'].values[0])]}"
        + (f", filled: {TITLES['conv']})" if result.sizes["network"] > 1 else ")"),
        fontsize=9,
    )  # fmt: skip
    return figure
