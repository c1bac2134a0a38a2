"""Figures: discs and quarter circles, finite size, and the wrong recipe."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from scipy import stats

from signalprop.analysis import ginibre, randommatrix
from signalprop.bench.experiments.initialization_eigenvalues.verdicts import moduli, over_kernels
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.measure.names import UNSIGNED
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

SHOWN = ("normal_001", "uniform_standard", "glorot_uniform", "he_normal", "haar_orthogonal")
CLOUD = 2  # matrices whose eigenvalues are drawn


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Both spectra of some schemes, spectral radius and real eigenvalues by size, and traces."""
    at = result.isel(width=0)
    names = [name for name in SHOWN if name in at["scheme"]] or [str(n) for n in at["scheme"].values[:5]]
    found = {"spectra": _spectra(at.sel(scheme=names)), "size": _size(at)}
    if {"haar_orthogonal", UNSIGNED} <= set(map(str, at["scheme"].values)):
        found["haar"] = _haar(at)
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Scale, radius, real eigenvalues and extreme singular values of every scheme."""
    at = result.isel(width=0)
    measured = {
        "spectral_radius_over_sigma_w": moduli(at).max("index"),
        "num_real": at["num_real"],
        "largest": at["singular"].max("index"),
        "smallest": at["singular"].min("index"),
        "trace": at["real"].sum("index"),
    }
    columns: dict[str, Any] = {"sigma_w": at["sigma_w"]}
    for name, values in measured.items():
        every = over_kernels(values)
        columns |= {name: every.mean("kernel"), f"{name}_error": standard_error(every, "kernel")}
    columns["product_largest"] = at["product_largest"].mean("seed")
    columns["product_radius"] = at["product_radius"].mean("seed")
    return tidy(xr.Dataset(columns).reset_coords(drop=True))


def _spectra(at: xr.Dataset) -> Figure:
    figure, axes = draw.canvas(2, at.sizes["scheme"], height=1.9)
    limit = 1.35 * float(at["sigma_w"].max())
    for (upper, lower), name in zip(axes.T, at["scheme"].values, strict=True):
        here = at.sel(scheme=name)
        sigma_w = float(here["sigma_w"])
        cloud = here.isel(seed=slice(0, CLOUD), draw=0)
        dots = min(2.5, 20 / np.sqrt(at.sizes["index"]))
        upper.plot(cloud["real"].values.ravel(), cloud["imaginary"].values.ravel(), ".", markersize=dots)
        upper.add_patch(Circle((0, 0), sigma_w, fill=False, color="0.2", linewidth=1.1, zorder=3))
        upper.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel=r"Re $\lambda$")
        upper.set_title(f"{name}\n$\\sigma_w$ = {sigma_w:.3g}")
        s = here["singular"].values.ravel() / sigma_w
        isometry = bool(np.allclose(s, 1, atol=1e-3))
        edges = np.arange(-0.05, 2.2, 0.1) if isometry else np.arange(0, 2.25, 0.1)
        lower.hist(s, edges, density=True, alpha=0.35)
        if not isometry:
            x = np.linspace(0.001, 2.2, 300)
            draw.theory(lower, x, 2 * x * np.asarray(randommatrix.marchenko_pastur_density(x**2, 1.0)))
        lower.set(xlabel=r"$s / \sigma_w$", xlim=(0, 2.2), ylim=(0, None if isometry else 0.95))
    axes[0, 0].set_ylabel(r"Im $\lambda$")
    axes[1, 0].set_ylabel("density")
    title = r"Eigenvalues fill the disc of radius $\sigma_w$ (circles); singular values reach $2 \sigma_w$"
    figure.suptitle(title, fontsize=9)
    return figure


def _size(at: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=3.3)
    sizes = at["size"].values
    fine = np.unique(np.geomspace(max(4, sizes[0]), 2 * sizes[-1], 8).astype(int))
    for panel, name in ((left, "size_radius"), (right, "size_real")):
        values = over_kernels(at[name], "size_draw")
        mean, error = values.mean("kernel"), standard_error(values, "kernel")
        draw.measured(panel, sizes, mean, error, label="measured, real Gaussian")
        panel.set(xscale="log", xlabel="size $N$")
    draw.theory(left, fine, [ginibre.mean_spectral_radius(int(n)) for n in fine], label="exact at finite $N$")
    grid, dashed = np.linspace(0, 3, 2000), {"color": "C0", "linestyle": "--"}
    kostlan = [np.trapezoid(1 - np.sqrt(ginibre.spectral_radius_cdf(grid, int(n))), grid) for n in fine]
    draw.theory(left, fine, kostlan, dashed, label="square root of the complex law")
    left.axhline(1, color="C2", linestyle=":", label=r"circular law, $N \to \infty$")
    large = np.geomspace(160, max(400, fine[-1]), 20)
    gumbel = [ginibre.gumbel_mean_spectral_radius(int(n)) for n in large]
    draw.theory(left, large, gumbel, {"color": "C3", "linestyle": "-."}, label="Gumbel law, none below 160")
    left.set(ylabel=r"mean spectral radius over $\sigma_w$", ylim=(0.985, None))
    left.set_title("The radius is above its limit at every usual size")
    draw.theory(right, fine, [ginibre.expected_real_eigenvalues(int(n)) for n in fine])
    draw.theory(right, fine, np.sqrt(2 * fine / np.pi), dashed)
    right.annotate(r"$\sqrt{2N/\pi}$", (fine[-3], 0.8 * np.sqrt(2 * fine[-3] / np.pi)), color="C0")
    right.set(yscale="log", ylabel="mean number of real eigenvalues", title="Few eigenvalues are real")
    for panel, ticks in ((left, [*sizes, 400]), (right, sizes)):
        panel.set_xticks(ticks, [str(n) for n in ticks])
        panel.minorticks_off()
    right.set_yticks([2, 3, 5, 10, 15], ["2", "3", "5", "10", "15"])
    draw.legend(figure, left, ncols=3)
    return figure


def _haar(at: xr.Dataset) -> Figure:
    """Eigenvalue angles and traces of orthogonal matrices, with and without the sign fix."""
    figure, ((left, right),) = draw.canvas(1, 2, height=2.8)
    labels = {"haar_orthogonal": "Haar (signs fixed)", UNSIGNED: "QR as returned"}
    looks, n = draw.series([*labels]), at.sizes["index"]
    mean = randommatrix.householder_trace(n)
    for name, label in labels.items():
        here = at.sel(scheme=name)
        angle = np.abs(np.arctan2(here["imaginary"].values, here["real"].values)).ravel() / np.pi
        trace = over_kernels(here["real"].sum("index")).values
        common = {"density": True, "alpha": 0.4, "color": looks[name]["color"], "label": label}
        left.hist(angle, np.linspace(0, 1, 21), **common)
        right.hist(trace, np.arange(np.floor(mean) - 3, 4.1, 0.5), **common)
    left.axhline(1, color="0.2", label="uniform")
    left.set(xlabel=r"angle of the eigenvalues, $|\theta| / \pi$", ylabel="density", ylim=(0, 1.9))
    left.set_title("QR as returned: few eigenvalues near 1")
    x = np.linspace(-4, 4, 200)
    draw.theory(right, x, stats.norm.pdf(x), label="Haar: $N(0, 1)$")
    right.axvline(mean, color="0.2", linestyle="--", label=f"QR: mean {mean:.2f}")
    right.set(xlabel=f"trace of Q, $N$ = {n}", ylabel="density", ylim=(0, 0.95))
    right.set_title("The trace tells them apart")
    left.legend(loc="upper left")
    right.legend(loc="upper right")
    return figure
