"""Verdicts of ``power-iteration`` on recurrences: tied against untied products, relu, two exceptions."""

import numpy as np
import xarray as xr

from signalprop.bench.measure.rates import standard_error
from signalprop.bench.record.verdict import Verdict, judge, observe, sampling_factor, surely
from signalprop.bench.repetition import HE, WEIGHTS, driven_nilpotent
from signalprop.bench.transients import SPECTRAL

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


def verdicts(result: xr.Dataset) -> list[Verdict]:
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
