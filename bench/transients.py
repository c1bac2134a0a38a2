"""Verdicts on powers of single matrices: exact norms, Kreiss' and Berger's bounds, a missing eigenvector."""

import numpy as np
import xarray as xr

from signalprop.bench.measure.rates import exp, standard_error
from signalprop.bench.powers import FORMATS, SECOND
from signalprop.bench.record.verdict import Verdict, judge

SPECTRAL = (
    "In the end |A^k x| grows like the largest modulus of an eigenvalue whose eigenvector is part of x. A "
    "non-normal A may first grow by any factor, which the eigenvalues do not tell."
)


def verdicts(zoo: xr.Dataset) -> list[Verdict]:
    """Judge what `signalprop.bench.powers` followed."""
    return [*_powers(zoo), *_bounds(zoo), *_blind(zoo)]


def _powers(zoo: xr.Dataset) -> list[Verdict]:
    at, expected = zoo["log_norm"].mean("seed"), zoo["log_norm_predicted"]
    known = expected.notnull().all("k").values
    base = np.array([0.9, -0.9, 1.0, -1.0, 1.1, -1.1])
    scalars = np.log(np.abs(np.cumprod(np.tile(base[:, None], 500), axis=1)[:, -1]))
    found = [
        judge(
            ["D1"], "b multiplied by itself 500 times, b = 0.9, -0.9, 1, -1, 1.1, -1.1: log of the size",
            "arithmetic", measured=scalars, predicted=500 * np.log(np.abs(base)),
            tolerance=1e-9, tolerance_from="rounding",
            correction="And |b| = 1 keeps its size for ever.",
        ),
    ]  # fmt: skip
    if known.any():
        names = ", ".join(str(name) for name in zoo["matrix"].values[known])
        found.append(
            judge(
                ["D2"], f"Norms of powers of matrices of one spectral radius rho ({names}): rho^k, or the "
                "binomials of a Jordan block, that grow as k^m rho^k", "matrix algebra",
                measured=at.isel(matrix=known), predicted=expected.isel(matrix=known),
                tolerance=1e-10 * zoo["k"], tolerance_from="rounding, 1e-10 per step",
                claim="right after repair", correction=SPECTRAL,
            )
        )  # fmt: skip
    if "jordan_pair" in zoo["matrix"].values:
        pair = zoo.sel(matrix="jordan_pair")
        exact, measured = exp(pair["log_norm_predicted"]), exp(pair["log_norm"].mean("seed"))
        peak = int(exact.values.argmax())
        found.append(
            judge(
                ["D2"], f"[[rho, 5], [0, rho]] with rho = {float(zoo['radius']):g} first grows: largest norm "
                f"of its powers, at step {int(zoo['k'][peak])}", "matrix algebra",
                measured=measured.max("k"), predicted=exact[peak],
                tolerance=1e-6, tolerance_from="rounding", claim="right after repair", correction=SPECTRAL,
            )
        )  # fmt: skip
    return found


def _bounds(zoo: xr.Dataset) -> list[Verdict]:
    n, peak = int(zoo["size"]), zoo["log_norm"].max("k").clip(0)
    log_k = zoo["kreiss"].copy(data=np.log(zoo["kreiss"].values))
    # Only powers up to the last step are known: a peak that comes later would be missed.
    seen = zoo["log_norm"].argmax("k") < zoo.sizes["k"] - 1
    berger = zoo["log_norm"] - np.log(2) - zoo["k"] * np.log(zoo["numerical_radius"])
    half = (1 + np.log(n)) / 2
    flat = [part.where(seen).values.ravel() for part in (peak, log_k)]
    measured, lower = (part[np.isfinite(flat[0])] for part in flat)
    found = [
        judge(
            ["D2"], "|A^k| exceeds 2 w(A)^k, w being the numerical radius, by a factor of which the log is "
            "(0 if never)", "Berger's inequality",
            measured=float(np.maximum(berger, 0).max()), predicted=0.0,
            tolerance=1e-6, tolerance_from="accuracy of the numerical radius", claim="right after repair",
            correction=SPECTRAL,
        )
    ]  # fmt: skip
    if measured.size == 0:
        return found
    return [
        judge(
            ["D2"], "Log of the largest norm that powers of any of the matrices reach, against the middle of "
            "Kreiss' interval from log K to log(e n K)", "Kreiss (1962); Spijker (1991)",
            measured=measured, predicted=lower + half, tolerance=half + 1e-6,
            tolerance_from="half of the interval, a theorem", claim="right after repair", correction=SPECTRAL,
        ),
        *found,
    ]  # fmt: skip


def _blind(zoo: xr.Dataset) -> list[Verdict]:
    excess = zoo["log_blind"] - zoo["log_blind_predicted"]
    early = excess.sel(k=20) - excess.sel(k=10)
    gap, back = -np.log(SECOND), _return(excess)
    eps = np.log([np.finfo(f).eps for f in FORMATS])
    shown = back.notnull().all("seed").values
    found = [
        judge(
            ["D2"], "x without a component along the leading eigenvector of a symmetric A: log growth of "
            "|A^k x| from step 10 to 20 over that of the second eigenvalue", "matrix algebra",
            measured=early.mean("seed"), predicted=0.0, tolerance=0.01,
            tolerance_from="third eigenvalue, (0.3 / 0.7)^20, and rounding in float32",
            claim="right after repair", correction=SPECTRAL,
        )
    ]  # fmt: skip
    if shown.any():
        found.append(
            judge(
                ["D2"], "Rounding puts the missing component back: step at which |A^k x| has doubled against "
                "the second eigenvalue, in float32 and float64", "log(1/eps) / log(rho / rho_2)",
                measured=back.mean("seed")[shown], predicted=(-eps / gap)[shown],
                uncertainty=standard_error(back)[shown],
                tolerance=np.log(10 * int(zoo["size"])) / gap,
                tolerance_from="size of a rounding error: eps up to a factor of 10 n",
                claim="right after repair", correction=SPECTRAL,
            )
        )  # fmt: skip
    return found


def _return(excess: xr.DataArray) -> xr.DataArray:
    """First step at which the excess has grown by log 2 over step 10; NaN if none."""
    grown = excess - excess.sel(k=10) > np.log(2)
    first: xr.DataArray = grown.idxmax("k").where(grown.any("k"))
    return first
