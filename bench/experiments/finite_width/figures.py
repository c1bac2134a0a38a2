"""Figures: the law of one gradient, its mean and variance, rare draws and deaths."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from signalprop.analysis import finitewidth
from signalprop.bench.experiments.finite_width.verdicts import deaths, fourth_moments, pooled, statistic
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

SHOWN = ((20, 10), (10, 20), (50, 20), (50, 50), (100, 50), (20, 20))  # width and depth, best first
LAWS = {"gaussian": "Gaussian", "he_normal": "cut normal", "he_uniform": "uniform"}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """The law of one gradient, its mean and variance in all profiles, and what rare draws do."""
    found = {"collapse": _collapse(result)}
    if "gaussian" in result["scheme"]:
        relu = result.sel(scheme="gaussian", network="relu")
        found["rare"] = _rare(result, relu)
        if places := _places(relu):
            found["law"] = _law(relu, places)
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Mean and variance of log |Ju|^2, fourth moments and deaths by network, profile and depth."""
    (mean, mean_error), (variance, variance_error) = (statistic(result["log_gain"], i) for i in (0, 1))
    fourth, fourth_error = fourth_moments(result)
    columns = {
        "layers": result["layers"],
        "inverse_widths": result["inverse_widths"],
        "mean": mean,
        "mean_error": mean_error,
        "mean_predicted": result["log_gain_predicted"],
        "variance": variance,
        "variance_error": variance_error,
        "variance_predicted": result["log_gain_variance_predicted"],
        "fourth": fourth,
        "fourth_error": fourth_error,
        "fourth_predicted": result["fourth_predicted"],
        "dead": deaths(result)[0],
    }
    return tidy(columns).drop_duplicates(["scheme", "network", "profile", "layers"]).drop(columns="depth")


def _places(relu: xr.Dataset) -> list[tuple[int, int]]:
    """The first three of the shown widths and depths that were measured."""
    measured = [(n, d) for n, d in SHOWN if f"width {n}" in relu["profile"] and d in relu["depth"]]
    return sorted(measured[:3])


def _law(relu: xr.Dataset, places: list[tuple[int, int]]) -> Figure:
    figure, axes = draw.canvas(1, len(places), height=2.9)
    looks = draw.series(["|J u|", "|y|"])
    for panel, (n, depth) in zip(axes[0], places, strict=True):
        at = relu.sel(profile=f"width {n}", depth=depth)
        widths = (n,) * (depth + 1)
        gain, forward = (pooled(at[name]).dropna("x").values for name in ("log_gain", "log_forward"))
        mean, variance = finitewidth.log_gain(widths)
        edges = mean + np.sqrt(variance) * np.linspace(-4, 4, 33)
        panel.hist(gain, edges, density=True, alpha=0.3, color=looks["|J u|"]["color"], label="$|Ju|^2$")
        heights, _ = np.histogram(forward, edges)
        scale = forward.size * (edges[1] - edges[0])
        draw.measured(
            panel, (edges[1:] + edges[:-1]) / 2, heights / scale, np.sqrt(heights) / scale, looks["|y|"],
            label="$|y|^2 / |x|^2$",
        )  # fmt: skip
        x = np.linspace(edges[0], edges[-1], 300)
        draw.theory(panel, x, finitewidth.log_gain_density(x, widths), label="exact")
        wide = finitewidth.log_gain_asymptotic(widths)
        normal = stats.norm.pdf(x, wide.mean, np.sqrt(wide.variance))
        draw.theory(panel, x, normal, {"color": "0.2", "linestyle": "--"}, label=r"$N(-\beta/2, \beta)$")
        panel.axvline(0, color="0.4", linewidth=1, linestyle=":", label="log of the mean, 0")
        panel.set(xlabel="log of the squared gain, nats", title=f"$n$ = {n}, {depth} layers")
    axes[0, 0].set_ylabel("density")
    draw.legend(figure, axes[0, 0], ncols=5)
    figure.suptitle("Relu networks at He variance: the mean square is 1, the typical one is not", fontsize=9)
    return figure


def _collapse(result: xr.Dataset) -> Figure:
    """Mean and variance against the sum of reciprocal widths: equal widths at all depths, whole profiles."""
    figure, axes = draw.canvas(1, 2, height=3.4)
    result = result.isel(scheme=0)
    equal = np.array([str(p).startswith("width") for p in result["profile"].values])
    groups = {f"{n}, {kind} widths": (n, kind) for n in ("relu", "linear") for kind in ("equal", "random")}
    x = np.geomspace(float(result["inverse_widths"].min()), float(result["inverse_widths"].max()), 50)
    for order, panel in enumerate(axes[0]):
        for label, look in draw.series([*groups]).items():
            network, kind = groups[label]
            at = result.sel(network=network).isel(profile=equal == (kind == "equal"))
            at = at if kind == "equal" else at.isel(depth=[-1])
            value, error = statistic(at["log_gain"] - np.log(at["widening"]), order)
            shown = (value if order else -value).values.ravel()
            place = at["inverse_widths"].values.ravel()
            draw.measured(panel, place, shown, error.values.ravel(), look, label=label, markersize=3.4)
        for constant, dashes in ((5, "-"), (2, "--")):
            factor = constant if order else constant / 2
            label = rf"{constant} (var.) or {constant}/2 (mean) times x"
            draw.theory(panel, x, factor * x, {"color": "0.2", "linestyle": dashes}, label=label)
        panel.set(xscale="log", yscale="log", xlabel=r"sum of reciprocal widths, $x = \sum_l 1/n_l$")
    left, right = axes[0]
    left.set(ylabel=r"$-$ mean of $\log(|Ju|^2 n_0 / n_L)$, nats", title="The typical gradient vanishes")
    right.set(ylabel=r"variance of $\log |Ju|^2$", title="and its size spreads without end")
    draw.legend(figure, axes[0, 0], ncols=3)
    return figure


def _rare(result: xr.Dataset, relu: xr.Dataset) -> Figure:
    """Variance of a squared derivative in random profiles, weights of other laws, and dead networks."""
    figure, ((left, middle, right),) = draw.canvas(1, 3, height=2.9)
    _variance(left, relu)
    _kurtosis(middle, result)
    _deaths(right, relu)
    return figure


def _variance(axes: Axes, relu: xr.Dataset) -> None:
    relu = relu.isel(profile=["layers" in str(p) for p in relu["profile"].values])
    mean, error = fourth_moments(relu)
    for equal, look in zip((False, True), draw.series(["random", "equal"]).values(), strict=True):
        rows = [str(p).endswith("equal") == equal for p in relu["profile"].values]
        m, e, s = (v.isel(profile=rows).values.ravel() for v in (mean, error, relu["inverse_widths"]))
        label = "equal widths" if equal else "random widths"
        draw.measured(axes, 5 * s, 3 * m - 1, 3 * e, look, label=label, zorder=4 if equal else 3)
    exact = (3 * relu["fourth_predicted"] - 1).where(mean.notnull()).values.ravel()
    axes.plot(5 * relu["inverse_widths"].values.ravel(), exact, "_", color="0.2", label="exact", zorder=5)
    shown = mean.notnull() & (relu["inverse_widths"] > 0)
    beta = 5 * np.linspace(0, float(relu["inverse_widths"].where(shown).max()), 100)
    dashed = {"color": "0.2", "linestyle": "--"}
    draw.theory(axes, beta, 3 * np.exp(beta) - 1, dashed, label=r"$3 e^\beta - 1$")
    axes.set(yscale="log", xlabel=r"$\beta = 5 \sum_l 1/n_l$", ylabel="relative variance of $(dy/dx)^2$")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_title("Equal numbers of weights")
    axes.legend(loc="lower right")


def _kurtosis(axes: Axes, result: xr.Dataset) -> None:
    """Fourth moment of one equally wide network by depth and law of the weights."""
    mean, error = fourth_moments(result)
    many = [p for p in result["profile"].values if str(p).startswith("width")]
    known = mean.sel(network="relu").isel(scheme=0).notnull().sum("depth")
    chosen = max(many, key=lambda p: (min(3, int(known.sel(profile=p))), -int(str(p)[6:])))
    shown = {"depth": slice(0, max(2, int(known.sel(profile=chosen))))}
    mean, error, exact = (v.isel(shown) for v in (mean, error, result["fourth_predicted"]))
    laws = [(network, str(scheme)) for network in ("relu", "linear") for scheme in result["scheme"].values]
    cases = {f"{network}, {LAWS[scheme]}": (network, scheme) for network, scheme in laws}
    for label, look in draw.series([*cases]).items():
        at = dict(zip(("network", "scheme"), cases[label], strict=True), profile=chosen)
        draw.theory(axes, mean["depth"], exact.sel(at), look)
        draw.measured(axes, mean["depth"], mean.sel(at), error.sel(at), look, label=label)
    axes.set(xlabel="layers $L$", ylabel=r"$E|Ju|^4 / (E|Ju|^2)^2$")
    axes.set_title(f"Kurtosis counts in layer 1 ($n$ = {str(chosen)[6:]})")
    axes.legend(loc="upper left")


def _deaths(axes: Axes, relu: xr.Dataset) -> None:
    narrow = [p for p in relu["profile"].values if str(p).startswith("width")][:2]
    for profile, look in zip(narrow, draw.series([str(p) for p in narrow]).values(), strict=True):
        at = relu.sel(profile=profile)
        depth = np.arange(1, int(at["depth"][-1]) + 1)
        draw.theory(axes, depth, 1 - (1 - 0.5 ** int(str(profile)[6:])) ** depth, look)
        draw.measured(axes, at["depth"], *deaths(at), look, label=f"$n$ = {str(profile)[6:]}")
    axes.set(xlabel="layers $L$", ylabel="share of dead networks", ylim=(-0.03, 1))
    axes.set_title(r"Dead: $1 - (1 - 2^{-n})^L$")
    axes.legend(loc="upper left")
