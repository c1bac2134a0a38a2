"""Figures of ``recurrent-eigenvalues`` (the myth, every rule, growth by gain, eigenvalues), and its table."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from signalprop.bench.experiments.recurrent_eigenvalues.audit import (
    OUTCOMES,
    accuracy,
    audit,
    confusion,
    outcome,
    rank_correlation,
    rules,
    trained_radius,
)
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

NAMES = {"scaled_identity": "identity", "smart_tanh": "smart tanh"}
LABELS = {
    "rho": r"$\rho(W)$",
    "largest": r"$\gamma \, s_{\max}(W)$",
    "numerical": r"$\gamma \, w(W)$",
    "chi_1": r"$\sqrt{\chi_1}$",
    "other": "100 other steps",
}
FLOOR, CEILING = -1.4, 1.6  # growth per step beyond which points are drawn at the edge
DOTS: dict[str, Any] = {
    "linestyle": "none",
    "markersize": 2.6,
    "alpha": 0.35,
    "markeredgewidth": 0.4,
    "rasterized": True,
}


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """The scatter of the myth, every rule against the growth, growth by gain, and eigenvalues."""
    at = result.isel(width=0)
    return {"myth": _myth(at), "rules": _rules(at), "gain": _gain(at), "eigenvalues": _eigenvalues(at)}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Accuracy of every rule, over all networks and by activation and ensemble; then every setting."""
    at = result.isel(width=0)
    parts = [audit(at).assign(part="all")]
    for axis in ("activation", "ensemble"):
        parts += [audit(at, {axis: name}).assign(part=str(name)) for name in at[axis].values]
    return pd.concat([pd.concat(parts), _settings_table(at)])


def _looks(at: xr.Dataset) -> dict[str, dict[str, Any]]:
    names = [str(name) for name in at["ensemble"].values]
    return {name: {**look, "label": NAMES.get(name, name)} for name, look in draw.series(names).items()}


def _dots(axes: Axes, x: np.ndarray, y: np.ndarray, look: dict[str, Any]) -> None:
    """One point per network; growth beyond the panel lies on its edge."""
    axes.plot(x, np.clip(y, FLOOR, CEILING), color=look["color"], marker=look["marker"], **DOTS)


def _legend(figure: Figure, looks: dict[str, dict[str, Any]], axes: Axes) -> None:
    """Marks of the ensembles, larger than in the panels."""
    for look in looks.values():
        axes.plot([], [], **{**look, "linestyle": "none", "markersize": 5})
    draw.legend(figure, axes, ncols=len(looks))


def _myth(at: xr.Dataset) -> Figure:
    """Spectral radius against measured growth; the rule is wrong in the shaded quadrants."""
    figure, (panels,) = draw.canvas(1, at.sizes["activation"], height=2.9, sharey=True)
    looks, kind, radius = _looks(at), outcome(at), at["gain"] * at["radius"]
    limit = 1.08 * float(radius.max())
    for axes, name in zip(panels, at["activation"].values, strict=True):
        axes.fill_between([0, 1], 0, CEILING, color="C3", alpha=0.13, linewidth=0)
        axes.fill_between([1, limit], FLOOR, 0, color="C3", alpha=0.13, linewidth=0)
        here = at.sel(activation=name)
        for ensemble, look in looks.items():
            y = here["slope"].sel(ensemble=ensemble)
            x = radius.sel(ensemble=ensemble).broadcast_like(y).transpose(*y.dims)
            _dots(axes, x.values.ravel(), y.values.ravel(), look)
        line = np.linspace(0.05, limit, 200)
        draw.theory(axes, line, np.log(line))
        axes.axhline(0, color="0.4", linewidth=0.7)
        axes.axvline(1, color="0.4", linewidth=0.7)
        counts = confusion(kind.sel(activation=name), rules(at)["rho"].sel(activation=name))
        axes.set_title(f"{name}: {100 * accuracy(counts)[0]:.0f} % right")
        axes.set(xlim=(-0.03 * limit, limit), ylim=(FLOOR - 0.07, CEILING + 0.07), xlabel=r"$\rho(W)$")
    panels[0].set_ylabel("growth per step of lag (nats)")
    panels[0].text(0.96, 0.05, r"line: $\log \rho$", transform=panels[0].transAxes, ha="right", fontsize=7.5)
    figure.suptitle(
        r"The eigenvalue myth: '$\rho(W) > 1$ explodes, $< 1$ vanishes' is wrong in the shaded quadrants",
        fontsize=9,
    )
    _legend(figure, looks, panels[0])
    return figure


def _rules(at: xr.Dataset) -> Figure:
    """What every rule compares with 1 against the measured growth, and its confusion matrix below."""
    found, looks, kind = rules(at), _looks(at), outcome(at)
    figure, (upper, lower) = draw.canvas(2, len(found), height=2.3, sharey="row")
    for axes, below, (name, log_rule) in zip(upper, lower, found.items(), strict=True):
        for ensemble, look in looks.items():
            x, y = (v.sel(ensemble=ensemble).values.ravel() for v in (log_rule, at["slope"]))
            _dots(axes, np.clip(x, -2.6, 2.4), y, look)
        draw.theory(axes, [FLOOR, CEILING], [FLOOR, CEILING])
        axes.axhline(0, color="0.4", linewidth=0.7)
        axes.axvline(0, color="0.4", linewidth=0.7)
        axes.set(xlim=(-2.7, 2.5), xlabel="its logarithm" if name != "other" else "nats per step")
        axes.set_title(f"{LABELS[name]}\nrank corr. {rank_correlation(log_rule, at['slope']):.2f}")
        _confusion(below, confusion(kind, log_rule))
    upper[0].set(ylabel="growth per step of lag", ylim=(FLOOR - 0.07, CEILING + 0.07))
    lower[0].set_ylabel("measured: the gradient")
    number = int(kind.notnull().sum())
    figure.suptitle(
        f"What each rule says of {number:,} random networks (in brackets: exact 95 % interval)", fontsize=9
    )
    _legend(figure, looks, upper[0])
    return figure


def _confusion(axes: Axes, counts: np.ndarray) -> None:
    """Numbers of networks; right answers in violet, wrong ones in orange."""
    share, low, high = accuracy(counts)
    axes.imshow(np.array([[1, -1], [0, 0], [-1, 1]]) * counts / counts.sum(), cmap="PuOr", vmin=-1, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        dark = count > 0.6 * counts.sum()
        axes.text(j, i, f"{count:,}", ha="center", va="center", fontsize=8, color="w" if dark else "k")
    axes.set_xticks([0, 1], ["below 1:\nvanish", "above 1:\nexplode"])
    axes.set_yticks(range(3), OUTCOMES)
    axes.set(title=f"{100 * share:.1f} % right\n({100 * low:.1f} to {100 * high:.1f})", aspect="auto")
    axes.tick_params(length=0)
    axes.grid(False)


def _gain(at: xr.Dataset) -> Figure:
    """Growth against gain for the ensembles, with theory where there is one."""
    names = [str(name) for name in at["activation"].values if name != "linear"][:2] or ["linear"]
    inputs = sorted({float(at["input_std"].min()), float(at["input_std"].max())})
    figure, axes_grid = draw.canvas(1, len(names) * len(inputs), height=2.9, sharey=True)
    looks, places = _looks(at), [(name, s) for name in names for s in inputs]
    for axes, (name, noise) in zip(axes_grid[0], places, strict=True):
        here = at.sel(activation=name, input_std=noise)
        for ensemble, look in looks.items():
            one = here.sel(ensemble=ensemble)
            y = one["slope"].where(np.isfinite(one["slope"]))
            kept = {k: v for k, v in look.items() if k != "label"}
            theory = one["slope_predicted"]
            if ensemble in ("gaussian", "orthogonal"):
                theory = theory.fillna(one["mean_field"])
            theory = theory.where(theory > FLOOR)
            draw.theory(axes, at["gain"], theory, kept)
            draw.measured(axes, at["gain"], np.clip(y.median("seed"), FLOOR, None), standard_error(y), kept)
        axes.axhline(0, color="0.4", linewidth=0.7)
        axes.set(
            xscale="log", xlabel="gain $g$", title=f"{name}, input {noise:g}", ylim=(FLOOR - 0.07, CEILING)
        )
        ticks = [g for g in (0.3, 0.5, 1, 2, 4) if at["gain"].min() <= g <= at["gain"].max()]
        axes.set_xticks(ticks, [f"{g:g}" for g in ticks])
        axes.minorticks_off()
    axes_grid[0, 0].set_ylabel("growth per step of lag (nats)")
    figure.suptitle(
        "Growth of gradients by gain: theory as lines, median of the networks as points", fontsize=9
    )
    _legend(figure, looks, axes_grid[0, 0])
    return figure


def _eigenvalues(at: xr.Dataset) -> Figure:
    """Eigenvalues of every ensemble over the circular law, and of the networks before and after training."""
    ensembles, cells = ([str(name) for name in at[axis].values] for axis in ("ensemble", "cell"))
    figure, (upper, lower) = draw.canvas(2, max(len(ensembles), len(cells)), height=2.1)
    small = {"linestyle": "none", "markersize": 2.2, "markeredgewidth": 0.5}
    first = at.isel(seed=slice(0, 2))
    for axes, name in zip(upper, ensembles, strict=False):
        one = first.sel(ensemble=name)
        axes.plot(one["real"].values.ravel(), one["imaginary"].values.ravel(), ".", color="C0", **small)
        radius = float(at["radius"].sel(ensemble=name).mean())
        shown = radius if radius > 1e-6 else 0  # that of a nilpotent matrix is rounding
        axes.set_title(f"{NAMES.get(name, name)}, $g = 1$\n" + rf"$\rho$ = {shown:.3g}")
    for axes, name in zip(lower, cells, strict=False):
        one = first.sel(cell=name)
        for stage, look in (("before", {"marker": "o", "markerfacecolor": "none", "color": "0.55"}),
                            ("after", {"marker": ".", "color": "C1"})):  # fmt: skip
            x, y = (one[f"trained_{part}"].sel(stage=stage).values.ravel() for part in ("real", "imaginary"))
            axes.plot(x, y, **{**small, **look, "markersize": 3.5}, label=f"{stage} training")
        radii = trained_radius(at).sel(cell=name).mean("seed")
        axes.set_title(f"{name}\n" + rf"$\rho$: {float(radii[0]):.2f} $\to$ {float(radii[1]):.2f}")
    for axes in (*upper, *lower):
        if not axes.lines:
            axes.set_axis_off()
            continue
        axes.add_patch(Circle((0, 0), 1, fill=False, color="0.2", linewidth=1.0, zorder=3))
        axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")
    for axes in lower:
        axes.set_xlabel(r"Re $\lambda$")
    for axes in (upper[0], lower[0]):
        axes.set_ylabel(r"Im $\lambda$")
    draw.legend(figure, lower[0], ncols=2)
    figure.suptitle(
        "Eigenvalues of $W$: the disc of the circular law; below, before and after the adding problem",
        fontsize=9,
    )
    return figure


def _settings_table(result: xr.Dataset) -> pd.DataFrame:
    """Numbers of every setting, averaged over seeds: what the rules look at, and what gradients do."""
    kind = outcome(result)
    exploding, vanishing = ((kind == i).sum("seed") for i in (2, 0))
    finite = result["slope"].where(np.isfinite(result["slope"]))
    columns = {
        "spectral_radius": (result["gain"] * result["radius"]).mean("seed"),
        "largest_singular_value": (result["gain"] * result["largest"]).mean("seed"),
        "numerical_radius": (result["gain"] * result["numerical"]).mean("seed"),
        "log_sqrt_chi_1": result["mean_field"],
        "slope_predicted": result["slope_predicted"],
        "slope": finite.mean("seed"),
        "slope_error": standard_error(finite),
        "exponent": result["lyapunov"].mean("seed"),
        "vanished": vanishing,
        "exploded": exploding,
    }
    return tidy(xr.Dataset(columns).reset_coords(drop=True)).assign(part="settings")
