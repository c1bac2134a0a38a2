"""Figures of ``power-iteration``: transients, tied against untied products, relu networks, exceptions."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.bench.experiments.power_iteration.matrices import FORMATS, SECOND
from signalprop.bench.experiments.power_iteration.measure import HE, driven_nilpotent
from signalprop.bench.experiments.power_iteration.verdicts import ASYMPTOTIC, rate_and_stopped
from signalprop.bench.measure.estimates import exp, standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

LN10 = float(np.log(10))
LABELS = {
    "rotation": "rotation",
    "normal": "symmetric",
    "gaussian": "Gaussian",
    "triangular": "triangular",
    "jordan_pair": r"Jordan 2 $\times$ 2, coupling 5",
    "jordan_block": "one Jordan block",
    "nilpotent": r"nilpotent ($\rho$ = 0)",
}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Transients, rates, tied against untied, relu, and two exceptions."""
    zoo = result.isel(width=0)
    return {
        "transients": _transients(zoo),
        "rates": _rates(zoo),
        "tied-untied": _tied_untied(result),
        "relu": _relu(result),
        "exceptions": _exceptions(),
    }


def table(result: xr.Dataset) -> pd.DataFrame:
    """Mean and standard error over networks of every recorded quantity, its prediction, and exact zeros."""
    zoo = result.isel(width=0).sel(k=[int(t) for t in result["step"].values])
    matrices = _long(zoo, ["log_norm", "log_vector"]).rename(columns={"k": "step"})
    rest = _long(result, ["log_power", "log_power_vector", "log_h", "log_norm_gain", "cosine"])
    return pd.concat([matrices, rest], ignore_index=True)


def _transients(zoo: xr.Dataset) -> Figure:
    figure, (axes,) = draw.canvas(1, 2, height=3.4, width_ratios=[1.25, 1])
    _powers(axes[0], zoo)
    _intervals(axes[1], zoo)
    return figure


def _powers(axes: Axes, zoo: xr.Dataset) -> None:
    """Norm of A^k over k, with the decay that the shared spectral radius promises."""
    k, radius = zoo["k"].values, float(zoo["radius"])
    shown = np.unique(np.geomspace(1, k[-1], 18).astype(int))
    axes.plot(k, radius**k, color="0.5", linewidth=4, alpha=0.4, label=r"$\rho^k$", zorder=1)
    for name, look in draw.series([str(m) for m in zoo["matrix"].values]).items():
        at = zoo.sel(matrix=name)
        exact = at["log_norm_predicted"]
        typical = at["log_norm"].median("seed")
        line = exact if exact.notnull().all() else typical
        draw.theory(axes, k, np.exp(line), look, linewidth=1.0)
        marks = exp(typical.sel(k=shown))
        draw.measured(axes, shown, marks.where(marks > 0), None, look)
    axes.set(xscale="log", yscale="log", xlabel="power $k$", ylabel=r"$|A^k|$")
    axes.set(ylim=(min(1e-3, 0.1 * radius ** k[-1]), None))
    axes.set_title(rf"One spectral radius, $\rho$ = {radius:g}: six fates, and $\rho$ = 0")
    axes.legend(loc="upper left", title="marks as on the right", title_fontsize=7)


def _intervals(axes: Axes, zoo: xr.Dataset) -> None:
    """The largest power of every kind between Kreiss' bounds."""
    names, n = [str(m) for m in zoo["matrix"].values], int(zoo["size"])
    looks = draw.series(names)
    for row, name in enumerate(names):
        at = zoo.sel(matrix=name).isel(seed=slice(0, 12))
        peaks, kreiss = exp(at["log_norm"].max("k").clip(0)), at["kreiss"]
        varies = float(peaks.std()) > 1e-3
        places = row + np.linspace(-0.3, 0.3, at.sizes["seed"]) if varies else np.array([row])
        for place, lower, peak in zip(places, kreiss.values, peaks.values, strict=False):
            axes.plot([lower, np.e * n * lower], [place, place], color="0.75", linewidth=2.2, zorder=1)
            draw.measured(axes, peak, place, None, looks[name])
    axes.set(xscale="log", xlabel=r"$\sup_k |A^k|$", xlim=(0.7, None), ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), [LABELS[m].replace(", ", ",\n") for m in names])
    axes.set_title(r"Largest power, within $[K, \, e n K]$ (bars)")


def _rates(zoo: xr.Dataset) -> Figure:
    figure, (axes,) = draw.canvas(1, 2, height=3.1)
    k, radius = zoo["k"].values, float(zoo["radius"])
    axes[0].axhline(radius, color="0.2", linewidth=0.8, linestyle="--")
    axes[0].annotate(r"$\rho$", (k[-1], radius), xytext=(4, -3), textcoords="offset points")
    for name, look in draw.series([str(m) for m in zoo["matrix"].values]).items():
        rates = exp(zoo["log_norm"].sel(matrix=name).median("seed") / k)
        rates = rates.where(rates > 0)
        draw.theory(axes[0], k, rates, look, label=LABELS[name])
    axes[0].set(xscale="log", xlabel="power $k$", ylabel=r"$|A^k|^{1/k}$")
    axes[0].set_title(r"$|A^k|^{1/k} \to \rho$ from above, and slowly")
    axes[0].legend(loc="upper right", fontsize=6.5)
    _blind(axes[1], zoo)
    return figure


def _blind(axes: Axes, zoo: xr.Dataset) -> None:
    """A vector that lacks the leading eigenvector, until rounding puts it back."""
    k, radius = zoo["k"].values, float(zoo["radius"])
    if "normal" in zoo["matrix"]:
        full = zoo["log_vector"].sel(matrix="normal").median("seed")
        axes.plot(k, full / LN10, color="0.2", label="any $x$")
    shown = np.unique(np.linspace(1, k[-1], 26).astype(int))
    dotted = {"color": "0.4", "linestyle": ":"}
    draw.theory(axes, k, k * np.log10(radius * SECOND), dotted, label=r"$\rho_2^k$")
    for name, look in draw.series(FORMATS).items():
        at = zoo["log_blind"].sel(format=name).median("seed")
        draw.theory(axes, k, at / LN10, look, linewidth=0.8)
        draw.measured(axes, shown, at.sel(k=shown) / LN10, None, look, label=f"$x$ without $v_1$, {name}")
        back = -np.log(np.finfo(name).eps) / -np.log(SECOND)
        if back < k[-1]:
            axes.axvline(back, color=look["color"], linewidth=0.8, linestyle="--")
    axes.set(xlabel="power $k$", ylabel=r"$\log_{10} |A^k x| / |x|$")
    axes.set_title("Rounding finds the leading eigenvector")
    axes.legend(loc="lower left", fontsize=6.5)


def _tied_untied(result: xr.Dataset) -> Figure:
    figure, (axes,) = draw.canvas(1, 2, height=3.3, sharey=True)
    k, fine = result["step"].values, np.geomspace(1, float(result["step"][-1]), 100)
    edge = ((fine + 1) * np.log1p(fine) - fine * np.log(fine)) / 2 / LN10
    looks = draw.series([str(n) for n in result["width"].values])
    for panel, weights in zip(axes, ("tied", "untied"), strict=True):
        draw.theory(panel, fine, edge, label=r"$N \to \infty$ at fixed $k$")
        for n, look in zip(result["width"].values, looks.values(), strict=True):
            at = result.sel(width=n)
            logs = at["log_power"].sel(weights=weights) / LN10
            draw.measured(panel, k, logs.mean("seed"), standard_error(logs), look, label=f"$N$ = {n}")
            if weights == "tied":
                rate, least = float(at["log_radius"].mean("seed")), 2 * np.sqrt(n)
            else:
                rate, least = float(at["log_power_vector_predicted"].isel(step=0)), max(n / 2, 6)
            start, far = float(logs.mean("seed")[-1]) - rate * k[-1] / LN10, fine[fine > least]
            if far.size > 1 and k[-1] > n / 2:
                draw.theory(panel, far, start + rate * far / LN10, look, linewidth=1.0)
        panel.set(xscale="log", xlabel="number of factors $k$")
        panel.legend(loc="upper left")
    axes[0].set(ylabel=r"$\log_{10}$ of the norm of the product")
    axes[0].set_title(r"Tied, $|W^k|$: lines of slope $\langle \log \rho(W) \rangle$")
    axes[1].set_title(r"Untied, $|W_k \cdots W_1|$: lines of slope $\lambda_1$ (Newman)")
    return figure


def _relu(result: xr.Dataset) -> Figure:
    figure, (axes,) = draw.canvas(1, 3, height=2.9)
    large = result["width"].values >= ASYMPTOTIC
    wide = result.isel(width=large) if large.any() else result
    _cosines(axes[0], wide)
    _spread(axes[1], wide.isel(width=-1))
    _rule(axes[2], wide)
    return figure


def _cosines(axes: Axes, wide: xr.Dataset) -> None:
    k = wide["step"].values
    for weights, label in (("tied", "arc-cosine map"), ("untied", r"$1/\pi$")):
        line = {"color": "0.2", "linestyle": "-" if weights == "tied" else ":"}
        draw.theory(axes, k, wide["cosine_predicted"].sel(weights=weights), line, label=label)
    looks = draw.series([str(n) for n in wide["width"].values])
    for n, look in zip(wide["width"].values, looks.values(), strict=True):
        for weights in ("tied", "untied"):
            at = wide["cosine"].sel(width=n, weights=weights)
            legend = {"label": f"$N$ = {n}"} if weights == "tied" else {}
            draw.measured(axes, k, at.mean("seed"), standard_error(at), look, **legend)
    axes.set(xscale="log", xlabel="step $t$", ylabel=r"$\cos(h_t, h_{t-1})$", ylim=(0.2, 1.03))
    axes.set_title("Tied: the direction settles,\nlater than $N$ often not at all", fontsize=8)
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.34), fontsize=6.5)


def _spread(axes: Axes, at: xr.Dataset) -> None:
    """Growth of single networks, tied and untied."""
    k = at["step"].values
    for weights, look in draw.series(["tied", "untied"]).items():
        logs = at["log_h"].sel(weights=weights).transpose("step", "seed").isel(seed=slice(0, 16)) / LN10
        axes.plot(k, logs, color=look["color"], linestyle=look["linestyle"], linewidth=0.7, alpha=0.8)
        axes.plot([], [], color=look["color"], linestyle=look["linestyle"], label=weights)
    radius = float(at["log_radius"].mean()) + np.log(HE)
    some = np.linspace(0, k[-1], 3)
    axes.plot(some, some * radius / LN10, color="0.2", linestyle=":", label=r"$t \, \log \rho(W)$")
    ends = at["log_h"].isel(step=-1)  # -inf where no unit is active any more
    span = 1.3 * float(np.abs(ends.where(np.isfinite(ends), 1.0)).max()) / LN10
    axes.set(xlabel="step $t$", ylabel=r"$\log_{10} |h_t| / |h_0|$", ylim=(-span, span))
    axes.set_title(f"$N$ = {int(at['width'])}: tied rates differ,\nuntied average out", fontsize=8)
    axes.legend(loc="lower left", fontsize=6.5)


def _rule(axes: Axes, wide: xr.Dataset) -> None:
    """Late growth of tied networks against the eigenvalues of W and of the masked matrix."""
    tied = wide.sel(weights="tied")
    tied = tied.where(np.isfinite(tied["log_h"].isel(step=-1)))
    rate, stopped = rate_and_stopped(tied)
    looks = draw.series(["W", "stopped", "turning"])
    own, masked = tied["log_radius"] + np.log(HE), tied["log_masked_radius"]
    parts = (
        ("W", own, r"$W$", rate.notnull()),
        ("stopped", masked, r"$D W$, stopped", stopped),
        ("turning", masked, r"$D W$, still turning", ~stopped),
    )
    for name, log_radius, label, keep in parts:
        look = {**looks[name], "markersize": 3, "alpha": 0.7}
        x, y = (values.where(keep).values.ravel() for values in (log_radius, rate))
        draw.measured(axes, x, y, None, look, label=label)
    if rate.notnull().any():
        low, high = float(rate.min()), float(max(rate.max(), own.max()))
        draw.theory(axes, [low, high], [low, high])
    axes.set(xlabel=r"$\log$ of the spectral radius of", ylabel="growth of $\\log |h_t|$ per step")
    axes.set_title("The masked matrix decides,\nif the mask stays", fontsize=8)
    axes.legend(loc="upper left", fontsize=6.5)


def _exceptions() -> Figure:
    figure, (axes,) = draw.canvas(1, 2, height=2.6)
    t = np.arange(0, 61, 4)
    for base, look in zip((0.9, 1.0, 1.1), draw.series(["a", "b", "c"]).values(), strict=True):
        powers = [np.prod(np.full(k, base)) for k in t]
        draw.theory(axes[0], t, t * np.log10(base), look)
        draw.measured(axes[0], t, np.log10(powers), None, look, label=f"$b$ = {base}")
    axes[0].set(xlabel="step $k$", ylabel=r"$\log_{10} |b^k|$", title="A number: its size decides")
    axes[0].legend(loc="upper left")
    measured, exact = driven_nilpotent(3.0, 40)
    t = np.arange(1, 41)
    draw.theory(axes[1], t, exact / LN10, label=r"$(g (1 - d))^{t-1} g \sqrt{2 (1 + d^2)}$")
    blue = {"color": "C0", "marker": "o"}
    draw.measured(axes[1], t[::3], measured[::3] / LN10, None, blue, label="tanh network")
    limit = -np.log10(np.finfo(float).eps)
    axes[1].axhline(limit, color="0.5", linewidth=0.8, linestyle="--")
    note = "1 / eps: rounding, grown alike,\nleaves the unstable path"
    axes[1].annotate(note, (1, limit), xytext=(0, -20), textcoords="offset points", fontsize=6.5)
    axes[1].set(xlabel="step $t$", ylabel=r"$\log_{10} |\partial h_t / \partial h_0|$", ylim=(-1, 24))
    axes[1].set_title(r"$W^2 = 0$, $\rho(W) = 0$, driven by input: explodes")
    axes[1].legend(loc="upper left")
    return figure


def _long(at: xr.Dataset, names: list[str]) -> pd.DataFrame:
    frames = []
    for name in names:
        alive = at[name].where(np.isfinite(at[name]))  # an exact zero has no logarithm to average
        columns = {
            "mean": alive.mean("seed"),
            "error": standard_error(alive),
            "zeros": (at[name] == -np.inf).sum("seed"),
        }
        if f"{name}_predicted" in at:
            columns["predicted"] = at[f"{name}_predicted"]
        frame = xr.Dataset(columns).drop_vars("width" if "width" not in at.dims else [])
        frames.append(tidy(frame).assign(quantity=name))
    return pd.concat(frames, ignore_index=True)
