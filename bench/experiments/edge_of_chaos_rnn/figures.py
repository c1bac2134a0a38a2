"""Figures of ``edge-of-chaos-rnn``: exponents by gain and input, whole spectra, dimension, finite width."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.analysis.meanfield import critical_line
from signalprop.bench.experiments.edge_of_chaos_rnn.theory import Activation
from signalprop.bench.experiments.edge_of_chaos_rnn.verdicts import log_radius, own_spectra
from signalprop.bench.measure.estimates import run_settings, standard_error
from signalprop.bench.measure.exponents import dimension, entropy, places
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy
from signalprop.models.activations import activation

GAINS = (1.5, 2.0, 3.0, 5.0)  # of which spectra are drawn
WIDE = (2.0, 3.0, 5.0, 10.0)  # of which the dependence on the width is drawn
TICKS = (0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20)


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Largest exponents, the plane of gain and input, the rule of the spectral radius, and spectra."""
    found = {"exponent": _exponent(result), "rule": _rule(result)}
    if result.sizes["index"] > 1 and result["exponents"].notnull().any():
        at = result.sel(width=result.sizes["index"])
        found |= {"spectra": _spectra(at), "dimension": _dimension(at)}
    if result.sizes["width"] > 2:
        found["width"] = _width(result)
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Largest exponent, q and spectral radius by weights, width, gain and input, beside the predictions."""
    columns = {
        "exponent": result["exponent"].mean("seed"),
        "exponent_error": standard_error(result["exponent"]),
        "exponent_predicted": result["exponent_predicted"],
        "exponent_wide": result["exponent_wide"],
        "q": result["q"].mean("seed"),
        "q_predicted": result["q_predicted"],
        "radius": result["radius"].mean("seed"),
    }
    return tidy(columns)


def _activation(result: xr.Dataset) -> str:
    return str(run_settings(result)["activation"])


def _gain_axis(axes: Axes, result: xr.Dataset) -> None:
    low, high = float(result["gain"].min()), float(result["gain"].max())
    ticks = [t for t in TICKS if 0.99 * low <= t <= 1.01 * high]
    axes.set(xscale="log", xlabel="gain $g$", xlim=(low / 1.08, high * 1.08))
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([], minor=True)


def _named(result: xr.Dataset, name: str, symbol: str) -> dict[float, dict[str, Any]]:
    """Looks of the values of an axis, with labels."""
    values = [float(v) for v in result[name].values]
    looks = draw.series([f"{v:g}" for v in values]).values()
    return {v: {**look, "label": f"{symbol} = {v:g}"} for v, look in zip(values, looks, strict=True)}


def _line(axes: Axes, result: xr.Dataset, noise: float, look: dict[str, Any], **more: Any) -> None:
    kept = {k: v for k, v in look.items() if k != "label"}
    draw.theory(axes, result["gain_line"], result["exponent_line"].sel(noise_line=noise), kept, **more)


def _exponent(result: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=3.2)
    mean, error = result["exponent"].mean("seed"), standard_error(result["exponent"])
    least = float(result["noise"].min())
    _line(left, result, least, {"color": "0.2", "linestyle": "-"}, label=r"mean field, $N \to \infty$")
    line = result["gain_line"]
    left.plot(line, np.log(line), color="0.5", linestyle=":", label=r"linear network, $\log g$")
    for n, look in _named(result, "width", "$N$").items():
        here = {"scheme": result["scheme"][0], "noise": least, "width": n}
        draw.measured(left, result["gain"], mean.sel(here), error.sel(here), look)
    for noise, look in _named(result, "noise", "$s$").items():
        here = {"scheme": result["scheme"][0], "noise": noise, "width": result["width"][-1]}
        _line(right, result, noise, look)
        draw.measured(right, result["gain"], mean.sel(here), error.sel(here), look)
    for axes in (left, right):
        _gain_axis(axes, result)
        axes.axhline(0, color="k", linewidth=0.8)
        axes.set(ylabel=r"largest exponent $\lambda_1$ in nats per step")
        axes.legend(loc="lower right")
    tanh = _activation(result) == "tanh"
    title = "explodes from $g$ = 1 on, but slowly" if tanh and least == 0 else "by width"
    left.set(ylim=(-0.75, 1.0), title=f"Input $s$ = {least:g}: {title}")
    right.set_title(f"Input suppresses chaos ($N$ = {int(result['width'][-1])})" if tanh else "By input")
    return figure


def _rule(result: xr.Dataset) -> Figure:
    """The plane of gain and input, and exponents against the spectral radius."""
    figure, (axes,) = draw.canvas(1, 2, height=3.2)
    _plane(figure, axes[0], result)
    at = result.isel(width=0)
    radius = log_radius(at.isel(noise=0))
    for noise, look in _named(result, "noise", "$s$").items():
        x, y = (v.stack(x=("scheme", "gain", "seed")) for v in (radius, at["exponent"].sel(noise=noise)))
        kept = {k: v for k, v in look.items() if k != "linestyle"}
        axes[1].plot(x, y, **kept, linestyle="none", markersize=2.8, markerfacecolor="none", alpha=0.8)
    ends = [float(radius.min()), float(radius.max())]
    axes[1].plot(ends, ends, color="0.2", label=r"rule: $\lambda_1 = \log(g \rho(W))$")
    axes[1].axhline(0, color="k", linewidth=0.8)
    axes[1].axvline(0, color="k", linewidth=0.8)
    axes[1].set(xlabel=r"$\log(g \rho(W))$", ylabel=r"largest exponent $\lambda_1$ in nats per step")
    seen = at["exponent"].values[np.isfinite(at["exponent"].values)]  # NaN: the state left float range
    if seen.size:
        axes[1].set(ylim=(seen.min() - 0.1, seen.max() + 0.3))
    axes[1].set_title(f"The spectral radius decides only\nwhere the state dies ($N$ = {int(at['width'])})")
    axes[1].legend(loc="lower right")
    return figure


def _plane(figure: Figure, axes: Axes, result: xr.Dataset) -> None:
    line = result["exponent_line"].transpose("noise_line", "gain_line")
    colours: dict[str, Any] = {"cmap": draw.DIVERGING, "vmin": -0.8, "vmax": 0.8}
    x, y = result["gain_line"], result["noise_line"]
    mesh = axes.pcolormesh(x, y, line, shading="gouraud", rasterized=True, **colours)
    edge = edge_line(activation(_activation(result)))
    axes.plot(*edge, color="k")
    mean = result["exponent"].isel(width=-1, scheme=0).mean("seed").transpose("gain", "noise")
    places_of = np.meshgrid(result["gain"], result["noise"], indexing="ij")
    axes.scatter(
        *places_of, c=mean, s=30, edgecolor="0.25", linewidth=0.6, clip_on=False, zorder=3, **colours
    )
    figure.colorbar(mesh, ax=axes, label=r"$\lambda_1$ in nats per step", extend="both")
    _gain_axis(axes, result)
    axes.set(ylabel="input $s$", ylim=(0, float(y.max()) or 1.0))
    axes.set_title("Sign of the exponent: line, edge of chaos;\nmeasured (dots), mean field")
    axes.grid(False)
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
    place: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 7, "bbox": box}
    axes.text(0.04, 0.7, "gradients\nvanish", **place)
    axes.text(0.96, 0.7, "gradients\nexplode", ha="right", **place)


def _spectra(at: xr.Dataset) -> Figure:
    """Whole spectra without input, beside the theory at the networks' own q."""
    figure, (row,) = draw.canvas(1, at.sizes["scheme"], height=3.2, sharey=True)
    least = float(at["noise"].min())
    law = own_spectra(at, activation(_activation(at))).sel(noise=least)
    x = places(at.sizes["index"])
    gains = [g for g in GAINS if g in at["gain"]] or [float(g) for g in at["gain"].values[-4:]]
    every = slice(None, None, max(1, len(x) // 32))
    for axes, name in zip(row, at["scheme"].values, strict=True):
        for gain, look in zip(gains, draw.series([f"{g:g}" for g in gains]).values(), strict=True):
            values = at["exponents"].sel(scheme=name, gain=gain, noise=least)
            mean = values.mean("seed", skipna=False)
            draw.theory(axes, x, law.sel(scheme=name, gain=gain), look)
            error = standard_error(values)
            draw.measured(axes, x[every], mean[every], error[every], look, label=f"$g$ = {gain:g}")
        axes.axhline(0, color="k", linewidth=0.8)
        axes.set(
            xlabel=r"place in the spectrum, $x = (i - \frac{1}{2}) / N$", ylim=(-5, 0.8), title=str(name)
        )
        axes.legend(loc="lower left")
    row[0].set_ylabel(r"exponent $\lambda(x)$ in nats per step")
    figure.suptitle(
        f"Whole spectra, $N$ = {len(x)}, input $s$ = {least:g}: a few directions explode, most vanish",
        fontsize=9,
    )
    return figure


def _dimension(at: xr.Dataset) -> Figure:
    """Dimension and entropy per unit against the gain."""
    figure, (row,) = draw.canvas(1, 2, height=3.0)
    shown = (("dimension", dimension, r"$D_{KY} / N$"), ("entropy", entropy, "$H / N$ in nats per step"))
    for axes, (name, per_unit, label) in zip(row, shown, strict=True):
        each = xr.apply_ufunc(per_unit, at["exponents"], input_core_dims=[["index"]])
        for noise, look in _named(at, "noise", "$s$").items():
            here = {"scheme": at["scheme"][0], "noise": noise}
            values = each.sel(here)
            kept = {k: v for k, v in look.items() if k != "label"}
            draw.theory(axes, at["gain_line"], at[f"{name}_line"].sel(here), kept)
            draw.measured(axes, at["gain"], values.mean("seed"), standard_error(values), look)
        _gain_axis(axes, at)
        axes.set_ylabel(label)
    row[0].set_title(f"Attractor's dimension ($N$ = {at.sizes['index']})")
    row[1].set_title("Entropy bound: sum of positive exponents")
    row[1].legend(loc="upper left")
    return figure


def _width(result: xr.Dataset) -> Figure:
    """What finite width takes from the exponent."""
    figure, (row,) = draw.canvas(1, result.sizes["scheme"], height=3.0, sharey=True)
    least, inverse = float(result["noise"].min()), 1 / result["width"].values
    at = result.sel(noise=least)
    gains = [g for g in WIDE if g in result["gain"]]
    for axes, name in zip(row, result["scheme"].values, strict=True):
        for gain, look in zip(gains, draw.series([f"{g:g}" for g in gains]).values(), strict=True):
            here, wide = at.sel(scheme=name, gain=gain), float(at["exponent_wide"].sel(gain=gain))
            expected = np.append(here["exponent_predicted"] - wide, 0)
            draw.theory(axes, np.append(inverse, 0), expected, look)
            mean, error = here["exponent"].mean("seed") - wide, standard_error(here["exponent"])
            draw.measured(axes, inverse, mean, error, look, label=f"$g$ = {gain:g}")
        axes.axhline(0, color="k", linewidth=0.8)
        axes.set_xticks(inverse, [f"1/{n}" for n in result["width"].values], rotation=45)
        axes.set(xlabel="$1 / N$", title=str(name))
        axes.legend(loc="lower left")
    row[0].set_ylabel(r"$\lambda_1(N) - \lambda_1(\infty)$")
    figure.suptitle(
        f"Finite width lowers the exponent (input $s$ = {least:g}); lines: first order", fontsize=9
    )
    return figure


def edge_line(phi: Activation) -> tuple[np.ndarray, np.ndarray]:
    """Gains and inputs at which the largest exponent of a wide network is 0: sigma_w and sigma_b of depth."""
    found = jax.jit(jax.vmap(partial(critical_line, phi)))(jnp.geomspace(1e-6, 1e2, 100))
    return np.asarray(found.sigma_w), np.asarray(found.sigma_b)
