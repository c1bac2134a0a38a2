"""Verdicts on growth, mean against median, exponents and formats, for many products at once."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy import special, stats

from signalprop.bench.experiments.matrix_product.measure import FORMATS, LN10
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record.verdict import Verdict, compare, compare_estimates, judge, sampling_factor

BOOK = "Dive into Deep Learning, section 5.4"
TEXTBOOK = {"width": 4, "sigma_w": 2.0, "depth": 101}  # its example
BETWEEN = {"width": 4, "sigma_w": 1.077, "depth": 101}  # sigma^2 = 0.29: mean explodes, median vanishes
MANY = 200  # products that a mean of squares needs at least
NEWMAN = "Newman (1986), The distribution of Lyapunov exponents: exact results for random matrices"


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the textbook example, growth per factor, mean against median, the spectrum and the formats."""
    found = [*_growth(result), *_spectrum(result), *_formats(result), _nilpotent()]
    if holds(result, TEXTBOOK):
        found += _textbook(result.sel(TEXTBOOK))
    if holds(result, BETWEEN):
        found.append(_median(result.sel(BETWEEN)))
    if holds(result, {"depth": 5, "sigma_w": 1.0}):
        found += _mean_square(result.sel(depth=5, sigma_w=1.0))
    return found


def _growth(result: xr.Dataset) -> list[Verdict]:
    depth = int(result["depth"][-1])
    x = pooled(result["decades"].isel(depth=-1) * LN10 / depth).transpose("width", "sigma_w", "x")
    count = x.isel(sigma_w=0).count("x")
    mean, error = x.mean("x"), standard_error(x, "x")
    factor = xr.DataArray([sampling_factor(count.size, int(n)) for n in count], dims="width")
    critical = np.exp(np.log(result["sigma_w"]) - mean).isel(sigma_w=0)
    origin = "five standard errors over products"
    return [
        judge(
            ["A20"], "A linear network, slope 1: its log gradient grows per layer by Newman's largest "
            "exponent, log(sigma_w) + (log(2/N) + psi(N/2))/2, at all widths and scales", NEWMAN,
            measured=mean, uncertainty=error, tolerance=error * factor, tolerance_from=origin,
            predicted=(result["decades_predicted"].isel(depth=-1) * LN10 / depth).transpose(*mean.dims),
            claim="right after repair",
            correction="A layer's derivative is the activation's slope times its weight matrix. The Lyapunov "
            "exponent of the product decides, not the slope: here the slope is 1 everywhere.",
        ),
        judge(
            ["C1"], "The typical product is critical at sigma_w = sqrt(N exp(-psi(N/2)) / 2), above 1 at "
            "every width", NEWMAN,
            measured=critical, predicted=result["typical_critical_sigma_w"],
            uncertainty=critical * error.isel(sigma_w=0),
            tolerance=critical * (error * factor).isel(sigma_w=0), tolerance_from=origin,
        ),
    ]  # fmt: skip


def _spectrum(result: xr.Dataset) -> list[Verdict]:
    depth = int(result["depth"][-1])
    shown = result.isel(sigma_w=0).sel(width=result["width"] * 10 <= depth)
    if result.sizes["seed"] < 3:
        return []
    return compare(
        ["C5"], f"All singular values of the product of {depth} factors grow by Newman's exponents, with "
        "the exact correction in 1/depth", NEWMAN, shown["exponents"], shown["exponents_predicted"],
        tolerance_from="five standard errors over seeds; widths up to a tenth of the depth",
        claim="right after repair",
        correction="It is the singular values of the product, not the eigenvalues of the factors, that "
        "spread over many orders of magnitude.",
    )  # fmt: skip


def _formats(result: xr.Dataset) -> list[Verdict]:
    """Judge where every product is lost, away from criticality and from sticking.

    Gradual underflow, which float16 has, does not end in 0 if a factor shrinks by less than 2: rounding then
    holds the column at a few of the smallest subnormal numbers. So slower decay is left out.
    """
    lost, count = pooled(result["lost_at"]), pooled(result["decades"]).isel(depth=0).count("x")
    growth: xr.DataArray = xr.apply_ufunc(np.log, result["sigma_w"] / result["typical_critical_sigma_w"])
    clear = (growth > 0.25) | (growth < -np.log(2))
    # The largest entry is at least |v| / sqrt(N), and subnormal numbers may hold a vanishing one longer.
    subnormal = xr.DataArray([np.log(2) * jnp.finfo(f).nmant for f in FORMATS], dims="format")
    slack = 2 + (subnormal.where(growth < 0, 0.0) + np.log(result["width"]) / 2) / abs(growth)
    shown = lost.mean("x").where((lost.count("x") == count) & clear)
    return compare_estimates(
        ["C4"], "A column kept in float16, bfloat16 or float32 is lost after log(limit of the format) / "
        "lambda_1 factors, its logarithm never (growth above 0.25, or decay above log 2 per factor)",
        "IEEE 754 and Newman (1986)", shown, standard_error(lost, "x"), result["lost_at_predicted"],
        num_samples=int(count.min()), slack=slack,
        tolerance_from="two factors of overshoot, largest entry against norm, subnormal numbers, "
        "five standard errors",
    )  # fmt: skip


def _nilpotent() -> Verdict:
    factor = np.array([[0.0, 2.0], [0.0, 0.0]])
    product = np.linalg.matrix_power(factor.T @ factor, 50)
    return judge(
        ["C5", "A20"], "100 factors, [[0, 2], [0, 0]] and its transpose in turn, whose eigenvalues are all "
        "0: log2 of the norm of the product", "matrix algebra",
        measured=float(np.log2(np.linalg.norm(product, 2))), predicted=100.0,
        tolerance=1e-12, tolerance_from="rounding", claim="right after repair",
        correction="Eigenvalues of the factors do not multiply and do not decide the fate of a product.",
    )  # fmt: skip


def _textbook(at: xr.Dataset) -> list[Verdict]:
    found = []
    for name, what in (("decades", "the norm of a column"), ("entry_decades", "the size of an entry")):
        x, sd = pooled(at[name]).dropna("x").values, float(at[f"{name}_sd_predicted"])
        error = sd / np.sqrt(x.size) * np.array([1.0, np.sqrt((2 + max(0.0, stats.kurtosis(x))) / 4)])
        found.append(judge(
            ["C7"], f"101 standard Gaussian 4 x 4 factors: mean and standard deviation of log10 of {what}",
            f"{BOOK}; exact product of chi-squared variables",
            measured=[x.mean(), x.std(ddof=1)], predicted=[float(at[f"{name}_predicted"]), sd],
            uncertainty=error, tolerance=sampling_factor(2, x.size) * error,
            tolerance_from=f"five standard errors of {x.size} products",
        ))  # fmt: skip
    return found


def _median(at: xr.Dataset) -> Verdict:
    x, sd = pooled(at["decades"]).dropna("x").values, float(at["decades_sd_predicted"])
    skewness = special.polygamma(2, 2) / special.polygamma(1, 2) ** 1.5 / np.sqrt(BETWEEN["depth"])
    error = sd * np.sqrt(np.pi / 2 / x.size)
    exponent = 2 * BETWEEN["depth"] * np.log10(BETWEEN["sigma_w"])
    return judge(
        ["C1"], "Between the critical scales (N = 4, sigma^2 = 0.29, 101 factors) the mean of |M e_1|^2 is "
        f"10^{exponent:.1f}, yet the typical product vanishes: median of log10 |M e_1|",
        "sum of 101 log chi-squared variables: mean minus skewness times deviation / 6",
        measured=float(np.median(x)), predicted=float(at["decades_predicted"] - skewness * sd / 6),
        uncertainty=error, tolerance=sampling_factor() * error,
        tolerance_from="five standard errors of a median",
    )  # fmt: skip


def _mean_square(at: xr.Dataset) -> list[Verdict]:
    x = pooled(10 ** (2 * at["decades"]))
    count = x.count("x")
    return compare_estimates(
        ["C1"], "The mean of |M e_1|^2 is 1 at sigma_w = 1 and every width (products of 5 factors)",
        "exact moments: mean sigma_w^(2K), variance (1 + 2/N)^K - 1",
        x.mean("x").where(count >= MANY), (((1 + 2 / at["width"]) ** 5 - 1) / count) ** 0.5, 1.0,
        tolerance_from=f"five exact standard errors; widths with at least {MANY} products",
    )  # fmt: skip


def holds(result: xr.Dataset, place: dict[str, Any]) -> bool:
    """Whether a result has measured at these coordinates."""
    return all(value in result[name].values for name, value in place.items())


def pooled(values: xr.DataArray) -> xr.DataArray:
    """All products of all seeds along the dimension x."""
    return values.stack(x=("seed", "draw"))
