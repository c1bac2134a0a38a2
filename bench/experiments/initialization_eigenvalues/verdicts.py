"""Verdicts on scales, both spectra, products, orthogonal kernels and the wrong recipe."""

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from signalprop.analysis import ginibre, randommatrix
from signalprop.bench.measure.kernels import KURTOSIS
from signalprop.bench.measure.names import UNSIGNED
from signalprop.bench.record.verdict import Verdict, compare, judge

ORTHOGONAL = ("haar_orthogonal", "orthogonal", UNSIGNED, "identity")
EDELMAN_MEAN = 0.65568  # of N times the smallest singular value
compare_kernels = partial(compare, over="kernel", tolerance_from="five standard errors over kernels")


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the scales, both spectra, the product, orthogonal matrices and the wrong recipe."""
    at = result.isel(width=0)
    entries = at.isel(scheme=np.flatnonzero(at["kurtosis"].notnull()))
    found = _radius(at)
    if entries.sizes["scheme"]:
        for group in (_scales, _circular, _universal, _singular, _product):
            found += group(entries)
    return [*found, *_orthogonal(at)]


def _radius(at: xr.Dataset) -> list[Verdict]:
    """Spectral radius and real eigenvalues of Gaussian matrices of several sizes."""
    gumbel = ginibre.gumbel_mean_spectral_radius(at.sizes["index"])
    says = "is not defined here" if np.isnan(gumbel) else f"says {gumbel:.4f}"
    return [
        *compare_kernels(
            ["C1"], "Spectral radius over sigma_w of Gaussian matrices by size: mean of the exact law at "
            f"finite N (at the largest, the asymptotic Gumbel law {says})",
            "ratio of determinants, derived here; Rider & Sinclair (arXiv 1209.6085)",
            over_kernels(at["size_radius"], "size_draw"), at["size_radius_predicted"],
            claim="right after repair",
            correction="A layer of standard deviation sigma_w / sqrt(N) has a spectral radius a few percent "
            "above sigma_w: 1.06 sigma_w at N = 64, not sigma_w.",
        ),
        *compare_kernels(
            ["C5"], "Number of real eigenvalues of Gaussian matrices by size: exact, about sqrt(2N/pi) + 1/2",
            "Edelman, Kostlan & Shub (1994)", over_kernels(at["size_real"], "size_draw"),
            at["size_real_predicted"], claim="right after repair",
            correction="Most eigenvalues of a layer are complex: real ones number about sqrt(2N/pi).",
        ),
    ]  # fmt: skip


def _scales(entries: xr.Dataset) -> list[Verdict]:
    """Every scheme is a value of sigma_w: mean squared singular value."""
    cases: dict[str, tuple[Any, str, Any, str]] = {
        "C11": (("normal_001",), "N(0, 0.01^2), 0.01 sqrt(N)", "right after repair", "Its sigma_w grows with "
            "the width and is far below 1 at ordinary widths: the signal vanishes."),
        "C12": (("glorot_uniform", "glorot_normal"), "Xavier on a square layer, 1", "right after repair",
            "It keeps a linear layer's scale, as LeCun does. With relu the critical value is sqrt 2."),
        "C13": (("he_normal", "he_uniform", "he_leaky"), "He, sqrt 2, critical for relu", "right", ""),
        "C16": (tuple(KURTOSIS), "all schemes with independent entries", "right after repair",
            "For wide square layers the heuristics differ in one number, sigma_w^2 = N Var W."),
    }  # fmt: skip
    found: list[Verdict] = []
    for claim, (names, what, standing, correction) in cases.items():
        some = entries.isel(scheme=[str(name) in names for name in entries["scheme"].values])
        if some.sizes["scheme"]:
            squares = over_kernels((some["singular"] ** 2).mean("index") / some["sigma_w"] ** 2)
            found += compare_kernels(
                [claim], f"Mean squared singular value over the nominal sigma_w^2, sigma_w: {what}",
                "definition", squares, 1.0, claim=standing, correction=correction,
            )  # fmt: skip
    return found


def _circular(entries: xr.Dataset) -> list[Verdict]:
    """Eigenvalues fill the disc evenly."""
    n = entries.sizes["index"]
    share = over_kernels((moduli(entries) < entries["inside"]).mean("index"))
    return compare_kernels(
        ["C5"], "Share of the eigenvalues within r sigma_w, every scheme with independent entries: r^2",
        "circular law: Girko (1985), Tao & Vu (arXiv 0807.4898)", share, entries["inside"] ** 2, slack=1 / n,
        tolerance_from="one eigenvalue at finite N and five standard errors over kernels",
        claim="right after repair",
        correction="The eigenvalues of one layer fill a disc of radius sigma_w: the largest is as large as "
        "in any other draw. It is the singular values of the product that spread.",
    )  # fmt: skip


def _universal(entries: xr.Dataset) -> list[Verdict]:
    """Not the distribution but the variance decides: radius and real eigenvalues of every scheme."""
    n = entries.sizes["index"]
    cases = (
        ("spectral radius over sigma_w", moduli(entries).max("index"), entries["radius_predicted"]),
        ("number of real eigenvalues", entries["num_real"], entries["num_real_predicted"]),
    )
    found: list[Verdict] = []
    for what, values, gaussian in cases:
        found += compare_kernels(
            ["C16"], f"Uniform, normal and cut normal entries: the mean {what} is that of Gaussian matrices",
            "universality (Tao & Vu, arXiv 0807.4898); exact Gaussian laws",
            over_kernels(values), gaussian, slack=gaussian / n,
            tolerance_from="five standard errors; the law of the entries changes it at order 1/N",
            claim="right after repair", correction="Of a heuristic's distribution only the variance counts.",
        )  # fmt: skip
    return found


def _singular(entries: xr.Dataset) -> list[Verdict]:
    """Largest, smallest and fourth moment of the singular values."""
    n = entries.sizes["index"]
    s = over_kernels(entries["singular"] / entries["sigma_w"])
    bounds: Any = {
        "claim": "right after repair",
        "correction": "Not the eigenvalues, all within sigma_w, but the singular values bound what a layer "
        "does: from about 0.7/N to 2 in units of sigma_w.",
    }
    return [
        *compare_kernels(
            ["C5"], "Largest squared singular value over sigma_w^2, all schemes with independent entries: "
            "4, less by N^(-2/3)", "Johnstone (2001)", (s**2).max("index"), entries["largest_predicted"],
            slack=2 / n, tolerance_from="five standard errors; 2/N for the law of the entries", **bounds,
        ),
        *compare_kernels(
            ["C5"], "N times the smallest singular value over sigma_w: mean 0.656", "Edelman (1988)",
            n * s.min("index"), EDELMAN_MEAN, slack=1 / n,
            tolerance_from="five standard errors, and 1/N of finite size", **bounds,
        ),
        *compare_kernels(
            ["C16"], "Fourth moment of the singular values, uniform and normal entries: 2 + (kurtosis - 2)/N",
            "exact at every N", (s**4).mean("index"), 2 + (entries["kurtosis"] - 2) / n,
            claim="right after repair", correction="Variance decides; the kurtosis changes it at order 1/N.",
        ),
    ]  # fmt: skip


def _product(entries: xr.Dataset) -> list[Verdict]:
    """Eigenvalues of factors do not multiply, singular values of the product spread."""
    depth, n = entries.sizes["draw"], entries.sizes["index"]
    scale = entries["sigma_w"] ** depth
    predicted = float(entries["product_largest_predicted"])
    radius = float((entries["product_radius"] / scale).mean())
    return compare(
        ["C5"], f"Products of {depth} kernels: largest squared singular value over sigma_w^(2L), below "
        "the Fuss-Catalan edge (L+1)^(L+1)/L^L by N^(-2/3); the spectral radius is "
        f"{radius:.2f} sigma_w^L",
        "Penson & Zyczkowski (arXiv 1103.3453) with a Tracy-Widom correction",
        (entries["product_largest"] / scale) ** 2, predicted, slack=depth / n * predicted,
        tolerance_from="L/N of finite size and five standard errors over seeds",
        claim="right after repair",
        correction="Eigenvalues of factors do not multiply. Those of the product stay near sigma_w^L; "
        "its largest singular value grows as sqrt(e L) sigma_w^L.",
    )  # fmt: skip


def _orthogonal(at: xr.Dataset) -> list[Verdict]:
    """Isometries, Haar or not."""
    names, n = [str(name) for name in at["scheme"].values], at.sizes["index"]
    found: list[Verdict] = []
    if some := [name for name in names if name in ORTHOGONAL]:
        here = at.sel(scheme=some)
        sizes = (moduli(here), here["singular"], here["product_largest"])
        found.append(judge(
            ["C14"], "Orthogonal and identity kernels: eigenvalues on the unit circle, all singular values "
            "1, also of products: largest distance", "linear algebra",
            measured=max(float(np.abs(values - 1).max()) for values in sizes), predicted=0.0,
            tolerance=4 * float(np.finfo(at["real"].dtype).eps) * n, tolerance_from="rounding",
            claim="right after repair",
            correction="They avoid both exactly in a linear network; slopes of an activation still multiply.",
        ))  # fmt: skip
    cases = {
        "haar_orthogonal": ("The suite's orthogonal scheme, Haar", 0.0, 0.0),
        UNSIGNED: ("Q of a QR as returned", randommatrix.householder_trace(n), (-1.0) ** (n - 1)),
    }
    for name, (what, trace, sign) in cases.items():
        if name not in names:
            continue
        values = over_kernels(at["real"].sel(scheme=name) + 1j * at["imaginary"].sel(scheme=name))
        numbers = {"trace": (values.sum("index"), trace), "determinant": (values.prod("index"), sign)}
        for number, (measured, predicted) in numbers.items():
            found += compare_kernels(
                ["C14"], f"{what}: mean {number}", "Mezzadri (math-ph/0609050); reflections, derived here",
                measured.real, predicted, slack=1e-3,
                tolerance_from="five standard errors over kernels, rounding",
                claim="right after repair", correction="Orthogonal kernels drawn by QR need the signs of the "
                "diagonal of R, or they are not uniformly distributed.",
            )  # fmt: skip
    return found


def over_kernels(values: xr.DataArray, draw: str = "draw") -> xr.DataArray:
    """All kernels of all seeds along the dimension kernel."""
    return values.stack(kernel=("seed", draw))


def moduli(at: xr.Dataset) -> xr.DataArray:
    """Moduli of the eigenvalues over sigma_w."""
    return (at["real"] ** 2 + at["imaginary"] ** 2) ** 0.5 / at["sigma_w"]
