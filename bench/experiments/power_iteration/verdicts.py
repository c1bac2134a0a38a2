"""Verdicts of ``power-iteration``: powers of one matrix, tied and untied products, relu, two exceptions."""

from typing import Any

import numpy as np
import xarray as xr

from signalprop.bench.experiments.power_iteration.matrices import FORMATS, SECOND
from signalprop.bench.experiments.power_iteration.measure import HE, driven_nilpotent
from signalprop.bench.measure.estimates import exp, standard_error
from signalprop.bench.record.verdict import Verdict, compare, compare_estimates, judge, observe, surely

SPECTRAL: dict[str, Any] = {
    "claim": "right after repair",
    "correction": "In the end |A^k x| grows like the largest modulus of an eigenvalue whose eigenvector is "
    "part of x. A non-normal A may first grow by any factor, which the eigenvalues do not tell.",
}
TIED: dict[str, Any] = {
    "claim": "right after repair",
    "correction": "One W repeated and a new W per step agree for few steps only. Then the tied product grows "
    "by its largest eigenvalue, the untied one by Newman's exponent, which belongs to no eigenvalue of a "
    "factor.",
}
MASKED: dict[str, Any] = {
    "claim": "wrong",
    "correction": "relu switches units, so the matrix of a step is D W with a mask D: the exponent of the "
    "product of all D W decides. For Gaussian W of scale g it is log(g / sqrt 2), for W = g I it is log g; "
    "the eigenvalues of W do not decide.",
}
DRIVEN: dict[str, Any] = {
    "claim": "wrong",
    "correction": "A tanh network may grow at spectral radius 0: inputs that saturate some units and not "
    "others make D_t W another matrix than W. The exponent of the product of all D_t W decides, not the "
    "eigenvalues of W.",
}
STOPPED = 1e-10  # 1 - cosine of successive states below which a direction counts as stopped
ASYMPTOTIC = 32  # least width N of which laws for wide networks are asked


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the powers of single matrices, tied against untied products, and the relu network."""
    zoo = result.isel(width=0)
    wide = result.isel(width=result["width"].values >= ASYMPTOTIC)
    found = [*_powers(zoo), *_bounds(zoo), *_blind(zoo), *_products(result)]
    if wide.sizes["width"]:
        found += [*_edge(wide), *_new_weights(wide), *_stopped(wide), *_early(wide.isel(width=-1))]
    return [*found, *_exceptions()]


def rate_and_stopped(tied: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Late growth per step of tied relu networks, and whether their direction has stopped."""
    steps, logs = tied["step"].values, tied["log_h"]
    rate = (logs.isel(step=-1) - logs.isel(step=-2)) / (steps[-1] - steps[-2])
    return rate, tied["cosine"].isel(step=-1) > 1 - STOPPED


def _powers(zoo: xr.Dataset) -> list[Verdict]:
    """Powers of a number, of matrices of which they are known, and the transient of a Jordan block."""
    base = np.array([0.9, -0.9, 1.0, -1.0, 1.1, -1.1])
    scalars = np.log(np.abs(np.cumprod(np.tile(base[:, None], 500), axis=1)[:, -1]))
    found = [judge(
        ["D1"], "b multiplied by itself 500 times, b = 0.9, -0.9, 1, -1, 1.1, -1.1: log of the size",
        "arithmetic", measured=scalars, predicted=500 * np.log(np.abs(base)), tolerance=1e-9,
        tolerance_from="rounding", correction="And |b| = 1 keeps its size for ever.",
    )]  # fmt: skip
    known = zoo.isel(matrix=zoo["log_norm_predicted"].notnull().all("k").values)
    if known.sizes["matrix"]:
        found.append(judge(
            ["D2"], "Norms of powers of matrices of one spectral radius rho "
            f"({', '.join(map(str, known['matrix'].values))}): rho^k, or the binomials of a Jordan block, "
            "that grow as k^m rho^k", "matrix algebra",
            measured=known["log_norm"].mean("seed"), predicted=known["log_norm_predicted"],
            tolerance=1e-10 * zoo["k"], tolerance_from="rounding, 1e-10 per step", **SPECTRAL,
        ))  # fmt: skip
    if "jordan_pair" in zoo["matrix"].values:
        pair = zoo.sel(matrix="jordan_pair")
        exact, measured = exp(pair["log_norm_predicted"]), exp(pair["log_norm"].mean("seed"))
        peak = int(exact.values.argmax())
        found.append(judge(
            ["D2"], f"[[rho, 5], [0, rho]] with rho = {float(zoo['radius']):g} first grows: largest norm "
            f"of its powers, at step {int(zoo['k'][peak])}", "matrix algebra",
            measured=measured.max("k"), predicted=exact[peak], tolerance=1e-6, tolerance_from="rounding",
            **SPECTRAL,
        ))  # fmt: skip
    return found


def _bounds(zoo: xr.Dataset) -> list[Verdict]:
    """Kreiss' interval of the largest power, and Berger's inequality for every power."""
    n, peak = int(zoo["size"]), zoo["log_norm"].max("k").clip(0)
    # Only powers up to the last step are known: a peak that comes later would be missed.
    seen = (zoo["log_norm"].argmax("k") < zoo.sizes["k"] - 1).values
    lower, half, found = np.log(zoo["kreiss"].values[seen]), (1 + np.log(n)) / 2, []
    if seen.any():
        found.append(judge(
            ["D2"], "Log of the largest norm that powers of any of the matrices reach, against the middle of "
            "Kreiss' interval from log K to log(e n K)", "Kreiss (1962); Spijker (1991)",
            measured=peak.values[seen], predicted=lower + half, tolerance=half + 1e-6,
            tolerance_from="half of the interval, a theorem", **SPECTRAL,
        ))  # fmt: skip
    berger = zoo["log_norm"] - np.log(2) - zoo["k"] * np.log(zoo["numerical_radius"])
    found.append(judge(
        ["D2"], "|A^k| exceeds 2 w(A)^k, w being the numerical radius, by a factor of which the log is "
        "(0 if never)", "Berger's inequality", measured=float(np.maximum(berger, 0).max()), predicted=0.0,
        tolerance=1e-6, tolerance_from="accuracy of the numerical radius", **SPECTRAL,
    ))  # fmt: skip
    return found


def _blind(zoo: xr.Dataset) -> list[Verdict]:
    """A vector without the leading eigenvector, until rounding has put it back."""
    excess = zoo["log_blind"] - zoo["log_blind_predicted"]
    found = [judge(
        ["D2"], "x without a component along the leading eigenvector of a symmetric A: log growth of "
        "|A^k x| from step 10 to 20 over that of the second eigenvalue", "matrix algebra",
        measured=(excess.sel(k=20) - excess.sel(k=10)).mean("seed"), predicted=0.0, tolerance=0.01,
        tolerance_from="third eigenvalue, (0.3 / 0.7)^20, and rounding in float32", **SPECTRAL,
    )]  # fmt: skip
    grown = excess - excess.sel(k=10) > np.log(2)
    back = grown.idxmax("k").where(grown.any("k"))  # NaN where it has not come back
    shown = back.notnull().all("seed").values
    gap, eps = -np.log(SECOND), np.log([np.finfo(f).eps for f in FORMATS])
    if shown.any():
        found.append(judge(
            ["D2"], "Rounding puts the missing component back: step at which |A^k x| has doubled against "
            "the second eigenvalue, in float32 and float64", "log(1/eps) / log(rho / rho_2)",
            measured=back.mean("seed")[shown], predicted=(-eps / gap)[shown],
            uncertainty=standard_error(back)[shown], tolerance=np.log(10 * int(zoo["size"])) / gap,
            tolerance_from="size of a rounding error: eps up to a factor of 10 n", **SPECTRAL,
        ))  # fmt: skip
    return found


def _products(result: xr.Dataset) -> list[Verdict]:
    """Growth of tied and untied Gaussian products at every width."""
    tied, last, found = result["log_power"].sel(weights="tied"), int(result["step"][-1]), []
    half = last // 2
    if half in result["step"].values and last % 2 == 0:
        rate = (tied.sel(step=last) - tied.sel(step=half)) / half
        tolerance = 2 / half
        found.append(judge(
            ["D2"], f"Tied Gaussian W: growth of log |W^k| per step from k = {half} to {last}, "
            "against the log spectral radius of the same W, every network", "Gelfand's formula",
            measured=rate, predicted=result["log_radius"].transpose(*rate.dims), tolerance=tolerance,
            tolerance_from=f"{tolerance:.2g}: turning and leaving the transient change the norm by less "
            f"than e^2 over these {half} steps", **SPECTRAL,
        ))  # fmt: skip
    found += compare(
        ["D2"], "Mean log spectral radius of a real Gaussian matrix of variance 1/N: the rate of tied "
        "products for k far above N, positive", "exact law, Forrester & Nagao (arXiv 0706.2020)",
        result["log_radius"], result["log_radius_predicted"], tolerance_from=surely(result.sizes["seed"]),
        **TIED,
    )  # fmt: skip
    vector = result["log_power_vector"].sel(weights="untied")
    found += compare_estimates(
        ["D2"], "Untied Gaussian products: mean of log |W_k ... W_1 x|, k times Newman's largest "
        "exponent, which is below 0 at every N", "exact law, Newman (1986)",
        vector.mean("seed"), result["log_power_vector_sd_predicted"] / np.sqrt(vector.sizes["seed"]),
        result["log_power_vector_predicted"], tolerance_from="five exact standard errors", **TIED,
    )  # fmt: skip
    return found


def _edge(wide: xr.Dataset) -> list[Verdict]:
    """Norms of few factors, tied or not, against the edge of their law."""
    early = wide.isel(step=wide["step"].values <= 4)
    return compare(
        ["D2"], "Norm of k = 1 .. 4 Gaussian factors, N >= 32, the same whether one W is repeated or "
        "each is new: log of the edge sqrt((k+1)^(k+1) / k^k), lowered by Tracy-Widom's N^(-2/3)",
        "Fuss-Catalan law; Tracy & Widom", early["log_power"], early["log_power_predicted"],
        slack=early["step"] / early["width"],
        tolerance_from=f"terms of order k/N left out, {surely(wide.sizes['seed'])}", **TIED,
    )  # fmt: skip


def _new_weights(wide: xr.Dataset) -> list[Verdict]:
    """Growth of relu networks that draw new weights in each step."""
    untied = wide["log_norm_gain"].sel(weights="untied")
    return compare_estimates(
        ["D3"], "relu network with new weights in each step, variance 2/N, N >= 32: mean of log |J u|",
        "exact law, Hanin & Nica (arXiv 1812.05994)",
        untied.mean("seed"), wide["log_norm_gain_sd_predicted"] / np.sqrt(untied.sizes["seed"]),
        wide["log_norm_gain_predicted"], tolerance_from="five exact standard errors", **MASKED,
    )  # fmt: skip


def _stopped(wide: xr.Dataset) -> list[Verdict]:
    """Networks whose direction has stopped, and the spread of growth rates of the others."""
    rate, at_rest = rate_and_stopped(wide.sel(weights="tied"))
    stopped, last, found = at_rest.values, int(wide["step"][-1]), []
    if stopped.any():
        found.append(judge(
            ["D3"], "relu networks whose direction has stopped (1 - cosine below 1e-10): growth of log "
            "|h| per step, against the log spectral radius of the masked matrix D W",
            "the state is an eigenvector of D W", measured=rate.values[stopped],
            predicted=wide["log_masked_radius"].transpose(*rate.dims).values[stopped], tolerance=1e-3,
            tolerance_from="rest of the transient: angle to the eigenvector 1e-5, times its condition",
            **MASKED,
        ))  # fmt: skip
    widest, share = wide.isel(width=-1, step=-1), float(stopped.mean())
    spread = widest["log_h"].std("seed", ddof=1)
    ratio = float(spread.sel(weights="tied") / spread.sel(weights="untied"))
    return [
        *found,
        observe(
            ["D3"], f"N = {int(widest['width'])}, {last} steps: spread over networks of log |h|, tied over "
            "untied; tied rates do not average out, so it grows as the root of the number of steps",
            "measurement", measured=ratio, uncertainty=ratio / np.sqrt(wide.sizes["seed"] - 1), **MASKED,
        ),
        observe(
            ["D3"], "share of tied relu networks, N >= 32, whose direction has stopped; the others had not "
            f"stopped after {last} steps", "measurement", measured=share,
            uncertainty=np.sqrt(share * (1 - share) / stopped.size), **MASKED,
        ),
    ]  # fmt: skip


def _early(at: xr.Dataset) -> list[Verdict]:
    """Networks of relu units with one W, while it still looks new."""
    n, seeds = int(at["width"]), at.sizes["seed"]
    early = at.isel(step=at["step"].values <= n // 16)
    if not early.sizes["step"]:
        return []
    last, radius = int(early["step"][-1]), float(np.exp(early["log_radius"].mean())) * HE
    return [
        *compare(
            ["D3"], f"relu network with one W of variance 2/N, N = {n}, whose largest eigenvalue has modulus "
            f"{radius:.2f} on average: log growth of |h| per step in the first {last} steps",
            "log(sigma_w^2 / 2) / 2 for N to infinity",
            early["log_h"].sel(weights="tied").isel(step=-1) / last, 0.0, slack=2.5 / n,
            tolerance_from=f"5/(2N) per step of the square, {surely(seeds)}", **MASKED,
        ),
        *compare(
            ["D3"], "Cosine of successive states: the arc-cosine map from 1/pi towards 1 with one W, 1/pi "
            f"with new weights in each step; N = {n}, up to {last} steps",
            "arc-cosine kernel, Cho & Saul (2009)", early["cosine"], early["cosine_predicted"],
            slack=early["step"] / n, tolerance_from=f"finite width, t/N, and {surely(seeds)}", **MASKED,
        ),
    ]  # fmt: skip


def _exceptions() -> list[Verdict]:
    """A network that explodes at spectral radius 0, and one that dies at 3."""
    measured, exact = driven_nilpotent(3.0, 20)
    h = np.maximum(-3.0 * np.eye(4) @ np.abs(np.random.default_rng(0).standard_normal(4)), 0)
    with np.errstate(divide="ignore"):
        dead = float(np.log(np.linalg.norm(h)))
    return [
        judge(
            ["D3", "D7"], "W = [[3, -3], [3, -3]] squares to zero, so its spectral radius is 0. A tanh "
            "network with it, whose inputs saturate the second unit: log |dh_t/dh_0| for t = 1 .. 20",
            "matrix algebra", measured=measured, predicted=exact, tolerance=1e-9, tolerance_from="rounding",
            **DRIVEN,
        ),
        judge(
            ["D3", "D7"], "W = -3 I has spectral radius 3, but h = relu(W h) from h >= 0 is zero after one "
            "step: log |h_1|", "arithmetic", measured=dead, predicted=-np.inf, tolerance=0.0,
            tolerance_from="exact", **MASKED,
        ),
    ]  # fmt: skip
