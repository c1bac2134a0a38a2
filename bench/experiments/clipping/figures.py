"""Figures of ``clipping``: the cliff, clipped steps, who learns, and how penalties shrink weights."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.clipping.scenes import SCENES
from signalprop.bench.experiments.clipping.scores import (
    LN10,
    at_best_rate,
    finite_radius,
    initial_share,
    named,
    solved,
)
from signalprop.bench.experiments.clipping.treatments import label
from signalprop.bench.measure.estimates import exp
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Draw what was run."""
    networks = [str(n) for n in result["network"].values]
    real = [n for n in networks if n in ("deep", "recurrent")]
    found = {}
    if "cliff" in networks and "none" in result["treatment"].values:
        found["cliff"] = _cliff(result.sel(network="cliff").isel(gain=0))
    if real:
        found["steps"] = _steps(result.sel(network=real))
        found["success"] = _success(result.sel(network=real))
    if "recurrent" in networks:
        found["weights"] = _weights(result.sel(network="recurrent"))
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row per network, treatment, gain and learning rate: medians over seeds, counts and shares."""
    number, count = solved(result).sum("seed"), result.sizes["seed"]
    low, high = xr.apply_ufunc(share_interval, number, count, output_core_dims=[[], []], vectorize=True)
    begin, last = result["log_weight"].isel(update=0, drop=True), result.isel(update=-1, drop=True)
    radius = finite_radius(result)
    columns = {
        "solved": number,
        "low": low,
        "high": high,
        "loss_end": last["loss"].median("seed"),
        "clip_share": result["clip_rate"].mean(("seed", "update")),
        "clip_share_predicted": initial_share(result).mean("seed"),
        "gradient_start_log10": result["log_first_gradient"].mean(("seed", "probe")) / LN10,
        "gradient_largest_log10": result["log_gradient_norm"].max("update").median("seed") / LN10,
        "weight_growth": exp((last["log_weight"] - begin.where(np.isfinite(begin))).median("seed")),
        "radius_start": radius.isel(moment=0, drop=True).mean("seed"),
        "radius_end": radius.isel(moment=-1, drop=True).mean("seed"),
        "diverged": (result["diverged_at"] > 0).sum("seed"),
    }
    frame = tidy(columns).drop(columns=["clip_norm", "clip_value", "l2", "l1"], errors="ignore")
    return frame.assign(seeds=count)


def _cliff(at: xr.Dataset) -> Figure:
    """Error surface with one path without and the paths with clipping; the error along them."""
    shown = named(at, "none", "norm")
    at = at.isel(learning_rate=-1)
    longest = at["log_update"].max("update").sel(treatment="none")
    one = at.isel(seed=int(longest.argmax("seed")))
    figure, (axes,) = draw.canvas(1, 2, height=3.3, width_ratios=[1.25, 1])
    ends = [(float(at[k][0]), float(at[k][-1])) for k in ("w", "b")]
    image = axes[0].pcolormesh(at["w"], at["b"], at["surface"], cmap=draw.SEQUENTIAL, shading="nearest",
                               rasterized=True)  # fmt: skip
    figure.colorbar(image, ax=axes[0], label=r"$E = (\sigma(h_T) - 0.7)^2$")
    looks = draw.series(shown)
    for name in shown:
        path = one["place"].sel(treatment=name).values
        look = {"color": {"none": "white"}.get(name, looks[name]["color"]), "marker": looks[name]["marker"]}
        axes[0].plot(path[:, 0], path[:, 1], linewidth=0.8, markersize=2.0, label=label(name), **look)
        least = np.minimum.accumulate(one["loss"].sel(treatment=name).values)
        axes[1].plot(at["update"], least, label=label(name), markevery=20, markersize=3, linewidth=1.0,
                     **looks[name])  # fmt: skip
    axes[0].plot(*one["place"].sel(treatment="none").values[0], marker="*", markersize=9, color="red",
                 linestyle="none", label="start")  # fmt: skip
    axes[0].set(xlim=ends[0], ylim=ends[1], xlabel="$w$", ylabel="$b$",
                title=r"$h_t = w\,\sigma(h_{t-1}) + b$")  # fmt: skip
    axes[0].legend(loc="lower left", labelcolor="white")
    axes[1].set(yscale="log", xlabel="updates", ylabel="smallest error so far", title="Error along the paths")
    axes[1].legend()
    rate = float(at["learning_rate"])
    figure.suptitle(
        f"At the cliff a step without clipping is thrown {float(np.exp(longest.max())):.0f} away "
        f"(learning rate {rate:g})", fontsize=9,
    )  # fmt: skip
    return figure


def _steps(result: xr.Dataset) -> Figure:
    """Histogram of the updates' lengths, and the share of clipped steps against the threshold."""
    networks = [str(n) for n in result["network"].values]
    figure, rows = draw.canvas(2, len(networks), height=2.5)
    rate = float(result["learning_rate"][-1])
    shown = named(result, "none", "norm", "value")
    looks = draw.series(shown)
    strong = result.sel(gain=result["gain"].max()).isel(learning_rate=-1)
    for axes, network in zip(rows[0], networks, strict=True):
        for name in shown:
            logs = strong["log_update"].sel(network=network, treatment=name).values.ravel() / LN10
            logs = np.clip(logs[np.isfinite(logs)], -6, 6)
            axes.hist(logs, bins=np.linspace(-6, 6, 61), histtype="step", label=label(name), linewidth=1.2,
                      color=looks[name]["color"], linestyle=looks[name]["linestyle"])  # fmt: skip
        axes.set(yscale="log", xlabel=r"$\log_{10}$ length of an update (outside: at the edge)",
                 ylabel="updates")  # fmt: skip
        axes.set_title(f"{SCENES[network].label}, gain {float(strong['gain']):g}, rate {rate:g}")
    rows[0][0].legend(loc="upper right")
    for axes, network in zip(rows[1], networks, strict=True):
        _clipped(axes, result.sel(network=network))
    draw.legend(figure, rows[1][0], ncols=result.sizes["gain"])
    return figure


def _clipped(axes: Axes, result: xr.Dataset) -> None:
    """P(|g| > c) before training as lines, the share of first steps and of all steps as points."""
    gains = [float(g) for g in result["gain"].values]
    looks = draw.series([f"{g:g}" for g in gains])
    for gain in gains:
        one, look = result.sel(gain=gain), looks[f"{gain:g}"]
        sizes = np.sort(one["log_first_gradient"].isel(treatment=0, learning_rate=0).values.ravel()) / LN10
        draw.theory(axes, sizes, 1 - np.arange(len(sizes)) / len(sizes), look, label=f"gain {gain:g}")
        if norms := named(result, "norm"):
            clipped = one.sel(treatment=norms).isel(learning_rate=-1)
            x = np.log10(clipped["clip_norm"].values)
            draw.measured(axes, x, clipped["clip_rate"].isel(update=0).mean("seed"), None, look)
            whole = clipped["clip_rate"].mean(("seed", "update"))
            axes.plot(x, whole, linestyle="none", marker="x", color=look["color"], markersize=5)
    axes.set(xlim=(-3.5, 6.5), xlabel=r"$\log_{10} c$", ylabel="share of clipped steps")
    axes.set_title(r"lines: $P(|g| > c)$ untrained; $\circ$ first step, $\times$ all steps", fontsize=8)


def _success(result: xr.Dataset) -> Figure:
    """Share of networks that learn, and that stay below twice their first loss, by gain and treatment."""
    at = at_best_rate(result)
    names = [str(t) for t in at["treatment"].values]
    networks = [str(n) for n in at["network"].values]
    figure, (axes,) = draw.canvas(1, len(networks), height=2.9, sharey=True)
    gains, seeds, looks = at["gain"].values, at.sizes["seed"], draw.series(names)
    for panel, network in zip(axes, networks, strict=True):
        for i, name in enumerate(names):
            count = at["solved"].sel(network=network, treatment=name).sum("seed")
            x = np.arange(len(gains)) + 0.11 * (i - (len(names) - 1) / 2)
            draw.shares(panel, x, count, seeds, looks[name], label=label(name))
        panel.set_xticks(range(len(gains)), [f"{g:g}" for g in gains])
        panel.set(xlabel="gain", ylim=(-0.05, 1.05), title=SCENES[network].label)
    axes[0].set_ylabel(f"share of {seeds} networks that learn")
    draw.legend(figure, axes[0], where="right")
    figure.suptitle(
        f"Who learns in {at.sizes['update']} updates, at the better rate (exact 95 % intervals)", fontsize=9
    )
    return figure


def _weights(at: xr.Dataset) -> Figure:
    """Size and spectral radius of recurrent weights by update, beside pure decay."""
    names = named(at, "none", "norm", "l2", "l1")
    gains = [float(g) for g in at["gain"].values]
    shown = sorted({gains[0], gains[len(gains) // 2], gains[-1]})
    figure, rows = draw.canvas(2, len(shown), height=2.2, sharex=True)
    at, looks = at.isel(learning_rate=-1), draw.series(names)
    stride = max(1, at.sizes["update"] // 10)
    for (above, below), gain in zip(rows.T, shown, strict=True):
        for name in names:
            one, look = at.sel(gain=gain, treatment=name), looks[name]
            size = exp(one["log_weight"] - one["log_weight"].isel(update=0)).median("seed", skipna=False)
            radius = (finite_radius(one) / one["radius"].isel(moment=0)).median("seed", skipna=False)
            draw.measured(above, at["update"][::stride], size[::stride], None, look, label=label(name))
            draw.measured(below, at["moment"], radius, None, look)
            if name.startswith(("l2", "none")):
                pure = (1 - float(at["learning_rate"]) * float(one["l2"])) ** at["update"].values
                for axes in (above, below):
                    draw.theory(axes, at["update"], pure, look)
        above.set(yscale="log", title=f"gain {gain:g}")
        below.set(yscale="log", xlabel="updates")
    rows[0, 0].set_ylabel("$|W_t| / |W_0|$")
    rows[1, 0].set_ylabel(r"$\rho(W_t) / \rho(W_0)$")
    draw.legend(figure, rows[0, 0], where="right", title=r"lines: $(1 - \eta \lambda)^t$")
    figure.suptitle(
        f"Recurrent weights under penalties and clipping (rate {float(at['learning_rate']):g}, median "
        f"of {at.sizes['seed']} while none has diverged)", fontsize=9,
    )  # fmt: skip
    return figure
