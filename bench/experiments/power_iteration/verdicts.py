"""Verdicts of ``power-iteration`` on recurrences: tied against untied products, relu, two exceptions."""

import numpy as np
import xarray as xr

from signalprop.bench.experiments.power_iteration.matrices import FORMATS, SECOND
from signalprop.bench.experiments.power_iteration.recurrences import HE, WEIGHTS, driven_nilpotent
from signalprop.bench.measure.estimates import exp, standard_error
from signalprop.bench.record.verdict import Verdict, judge, observe, sampling_factor, surely

TIED = (
    "One W repeated and a new W per step agree for few steps only. Then the tied product grows by its "
    "largest eigenvalue, the untied one by Newman's exponent, which belongs to no eigenvalue of a factor."
)
MASKED = (
    "relu switches units, so the matrix of a step is D W with a mask D: the exponent of the product of all "
    "D W decides. For Gaussian W of scale g it is log(g / sqrt 2), for W = g I it is log g; the eigenvalues "
    "of W do not decide."
)
DRIVEN = (
    "A tanh network may grow at spectral radius 0: inputs that saturate some units and not others make D_t W "
    "another matrix than W. The exponent of the product of all D_t W decides, not the eigenvalues of W."
)
SPECTRAL = (
    "In the end |A^k x| grows like the largest modulus of an eigenvalue whose eigenvector is part of x. A "
    "non-normal A may first grow by any factor, which the eigenvalues do not tell."
)


def recurrence_verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge tied against untied products, the relu network, and two exceptions."""
    return [*_products(result), *_relu(result), *_exceptions()]


def _products(result: xr.Dataset) -> list[Verdict]:
    seeds, n = result.sizes["seed"], result["width"]
    tied = result["log_power"].sel(weights="tied")
    last = int(result["step"][-1])
    found = []
    if last // 2 in result["step"].values and last % 2 == 0:
        half, full = tied.sel(step=last // 2), tied.sel(step=last)
        radius = result["log_radius"].transpose(*half.dims)
        rate = (full - half) / (last // 2)
        tolerance = 2 / (last // 2)
        found.append(
            judge(
                ["D2"], f"Tied Gaussian W: growth of log |W^k| per step from k = {last // 2} to {last}, "
                "against the log spectral radius of the same W, every network", "Gelfand's formula",
                measured=rate, predicted=radius, tolerance=tolerance,
                tolerance_from=f"{tolerance:.2g}: turning and leaving the transient change the norm by less "
                f"than e^2 over these {last // 2} steps",
                claim="right after repair", correction=SPECTRAL,
            )
        )  # fmt: skip
    error = standard_error(result["log_radius"])
    found.append(
        judge(
            ["D2"], "Mean log spectral radius of a real Gaussian matrix of variance 1/N: the rate of tied "
            "products for k far above N, positive", "exact law, Forrester & Nagao (arXiv 0706.2020)",
            measured=result["log_radius"].mean("seed"), predicted=result["log_radius_predicted"],
            uncertainty=error, tolerance=error * sampling_factor(n.size, seeds),
            tolerance_from=surely(seeds), claim="right after repair", correction=TIED,
        )
    )  # fmt: skip
    vector = result["log_power_vector"].sel(weights="untied")
    error = result["log_power_vector_sd_predicted"] / np.sqrt(seeds)
    found.append(
        judge(
            ["D2"], "Untied Gaussian products: mean of log |W_k ... W_1 x|, k times Newman's largest "
            "exponent, which is below 0 at every N", "exact law, Newman (1986)",
            measured=vector.mean("seed"), predicted=result["log_power_vector_predicted"],
            uncertainty=error, tolerance=error * sampling_factor(error.size),
            tolerance_from="five exact standard errors", claim="right after repair", correction=TIED,
        )
    )  # fmt: skip
    return found + _edge(result)


def _edge(result: xr.Dataset) -> list[Verdict]:
    at = result.isel(step=result["step"].values <= 4, width=result["width"].values >= 32)
    if not at["log_power"].size:
        return []
    seeds, measured = at.sizes["seed"], at["log_power"]
    expected = at["log_power_predicted"].expand_dims(weights=WEIGHTS).transpose("width", "weights", "step")
    error = standard_error(measured).transpose(*expected.dims)
    return [
        judge(
            ["D2"], "Norm of k = 1 .. 4 Gaussian factors, N >= 32, the same whether one W is repeated or "
            "each is new: log of the edge sqrt((k+1)^(k+1) / k^k), lowered by Tracy-Widom's N^(-2/3)",
            "Fuss-Catalan law; Tracy & Widom",
            measured=measured.mean("seed").transpose(*expected.dims), predicted=expected, uncertainty=error,
            tolerance=error * sampling_factor(error.size, seeds) + at["step"] / at["width"],
            tolerance_from=f"terms of order k/N left out, {surely(seeds)}",
            claim="right after repair", correction=TIED,
        )
    ]  # fmt: skip


def _relu(result: xr.Dataset) -> list[Verdict]:
    wide = result.isel(width=result["width"].values >= 32)
    if not wide.sizes["width"]:
        return []
    seeds, untied = wide.sizes["seed"], wide["log_gain"].sel(weights="untied")
    error = wide["log_gain_sd_predicted"] / np.sqrt(seeds)
    early = wide.isel(width=-1)
    early = early.isel(step=early["step"].values <= int(early["width"]) // 16)
    found = [
        judge(
            ["D3"], "relu network with new weights in each step, variance 2/N, N >= 32: mean of log |J u|",
            "exact law, Hanin & Nica (arXiv 1812.05994)",
            measured=untied.mean("seed"), predicted=wide["log_gain_predicted"], uncertainty=error,
            tolerance=error * sampling_factor(error.size), tolerance_from="five exact standard errors",
            claim="wrong", correction=MASKED,
        ),
        *_stopped(wide, seeds),
    ]  # fmt: skip
    if early.sizes["step"]:
        found += _early(early)
    return found


def _early(early: xr.Dataset) -> list[Verdict]:
    n, seeds, steps = int(early["width"]), early.sizes["seed"], early["step"]
    growth = (early["log_h"].sel(weights="tied") / steps).isel(step=-1)
    turned, error = early["cosine"], standard_error(early["cosine"])
    radius = float(np.exp(early["log_radius"].mean())) * HE
    return [
        judge(
            ["D3"], f"relu network with one W of variance 2/N, N = {n}, whose largest eigenvalue has modulus "
            f"{radius:.2f} on average: log growth of |h| per step in the first {int(steps[-1])} steps",
            "log(sigma_w^2 / 2) / 2 for N to infinity",
            measured=growth.mean("seed"), predicted=0.0, uncertainty=standard_error(growth),
            tolerance=2.5 / n + sampling_factor(1, seeds) * standard_error(growth),
            tolerance_from=f"5/(2N) per step of the square, {surely(seeds)}",
            claim="wrong", correction=MASKED,
        ),
        judge(
            ["D3"], "Cosine of successive states: the arc-cosine map from 1/pi towards 1 with one W, 1/pi "
            f"with new weights in each step; N = {n}, up to {int(steps[-1])} steps",
            "arc-cosine kernel, Cho & Saul (2009)",
            measured=turned.mean("seed"), predicted=early["cosine_predicted"].transpose(*error.dims),
            uncertainty=error, tolerance=error * sampling_factor(error.size, seeds) + steps / n,
            tolerance_from=f"finite width, t/N, and {surely(seeds)}", claim="wrong",
            correction=MASKED,
        ),
    ]  # fmt: skip


def _stopped(wide: xr.Dataset, seeds: int) -> list[Verdict]:
    """Networks whose direction has stopped, and the spread of growth rates of the others."""
    steps, tied = wide["step"].values, wide.sel(weights="tied")
    stopped = (tied["cosine"].isel(step=-1) > 1 - 1e-10).values
    rate = ((tied["log_h"].isel(step=-1) - tied["log_h"].isel(step=-2)) / (steps[-1] - steps[-2])).values
    masked = (tied["log_masked_radius"] + 0 * tied["log_h"].isel(step=0)).transpose(*tied["log_h"].dims[:2])
    found = []
    if stopped.any():
        found.append(
            judge(
                ["D3"], "relu networks whose direction has stopped (1 - cosine below 1e-10): growth of log "
                "|h| per step, against the log spectral radius of the masked matrix D W",
                "the state is an eigenvector of D W",
                measured=rate[stopped], predicted=masked.values[stopped], tolerance=1e-3,
                tolerance_from="rest of the transient: angle to the eigenvector 1e-5, times its condition",
                claim="wrong", correction=MASKED,
            )
        )  # fmt: skip
    at = wide.isel(width=-1)
    spread = at["log_h"].isel(step=-1).std("seed", ddof=1)
    ratio = float(spread.sel(weights="tied") / spread.sel(weights="untied"))
    text = (
        f"N = {int(at['width'])}, {int(steps[-1])} steps: spread over networks of log |h|, tied over untied; "
        "tied rates do not average out, so it grows as the root of the number of steps"
    )
    sigma = ratio / np.sqrt(seeds - 1)
    share = float(stopped.mean())
    more = (
        "share of tied relu networks, N >= 32, whose direction has stopped; "
        f"the others had not stopped after {int(steps[-1])} steps"
    )
    return [
        *found,
        observe(
            ["D3"], text, "measurement", measured=ratio, uncertainty=sigma, claim="wrong", correction=MASKED
        ),
        observe(
            ["D3"], more, "measurement", measured=share,
            uncertainty=np.sqrt(share * (1 - share) / stopped.size), claim="wrong", correction=MASKED,
        ),
    ]  # fmt: skip


def _exceptions() -> list[Verdict]:
    measured, exact = driven_nilpotent(3.0, 20)
    h = np.maximum(-3.0 * np.eye(4) @ np.abs(np.random.default_rng(0).standard_normal(4)), 0)
    with np.errstate(divide="ignore"):
        dead = float(np.log(np.linalg.norm(h)))
    return [
        judge(
            ["D3", "D7"], "W = [[3, -3], [3, -3]] squares to zero, so its spectral radius is 0. A tanh "
            "network with it, whose inputs saturate the second unit: log |dh_t/dh_0| for t = 1 .. 20",
            "matrix algebra", measured=measured, predicted=exact, tolerance=1e-9, tolerance_from="rounding",
            claim="wrong", correction=DRIVEN,
        ),
        judge(
            ["D3", "D7"], "W = -3 I has spectral radius 3, but h = relu(W h) from h >= 0 is zero after one "
            "step: log |h_1|", "arithmetic",
            measured=dead, predicted=-np.inf, tolerance=0.0, tolerance_from="exact",
            claim="wrong", correction=MASKED,
        ),
    ]  # fmt: skip


def power_verdicts(zoo: xr.Dataset) -> list[Verdict]:
    """Judge what ``matrices.py`` followed."""
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


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the powers of single matrices, tied against untied products, and the relu network."""
    return [*power_verdicts(result.isel(width=0)), *recurrence_verdicts(result)]
