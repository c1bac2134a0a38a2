"""Verdicts on densities, edges, spread and zeros, and the normalized squares behind them."""

from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.bench.experiments.free_probability.theory import FINE
from signalprop.bench.measure.estimates import exp
from signalprop.bench.record.verdict import Verdict, compare_estimates, judge

PENNINGTON = "Pennington, Schoenholz & Ganguli (arXiv 1711.04735)"
UNIVERSAL = "Pennington, Schoenholz & Ganguli (arXiv 1802.09979)"
REPAIRED: Any = {
    "claim": "right after repair",
    "correction": "Orthogonal weights bound the largest singular value only with slopes that tend to 1 at 0, "
    "the critical sigma_w, and q falling as L^(-1/2); relu, and any fixed q, spread like the root of the "
    "depth.",
}
"""Standing of the claim that orthogonal weights avoid vanishing and exploding."""
TRACY_WIDOM = -1.2065335745820  # mean for real symmetric matrices
SPREAD = 1.2680340580  # its standard deviation
NEAR = 0.15  # nats around an atom, which no finite spectrum has in the very same place
RESOLVED = float(np.log(1e-13))  # of the largest s: below, an SVD in float64 gives noise


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge masses, densities, edges, spread, zeros, and growth with depth."""
    groups = (_masses, _densities, _edges, _spread, _zeros, _growth, _factors, _limit)
    return [v for group in groups for v in group(result)]


def _masses(result: xr.Dataset) -> list[Verdict]:
    verdict = judge(
        ["C14"], f"The {result['mass_predicted'].size} predicted densities have mass 1, atoms included",
        PENNINGTON, measured=result["mass_predicted"].where(result["converged"]), predicted=1.0,
        tolerance=0.002, tolerance_from="0.0005 below the lowest point, trapezoids", **REPAIRED,
    )  # fmt: skip
    return [verdict]


def _densities(result: xr.Dataset) -> list[Verdict]:
    """Kolmogorov-Smirnov distance; gates of a narrow network close more than p = P(phi' = 0) predicts."""
    zero, depth = result["zero_predicted"], result["depth"]
    fewest = np.vectorize(lambda p, depth: _fewest_open(result.sizes["index"], 1 - p, int(depth)))
    surplus = 1 - zero - xr.apply_ufunc(fewest, zero, depth.broadcast_like(zero))
    return compare_estimates(
        ["C14", "C5"], "Singular values follow the density of free probability, nothing fitted: distance of "
        "the distribution functions (one orthogonal layer, where nothing is multiplied, left out)",
        PENNINGTON, distances(result).where(_within(result, 1 / 8)), 0.0, 0.0,
        slack=(0.02 + 0.02 * (depth > 16)) * _by_width(result, 0.5) + surplus,
        tolerance_from="theory to depth N/8: 0.02 at N = 512, 0.04 above depth 16, as N^(-1/2); and the "
        "expected surplus of zeros, of the fewest open gates in L layers", **REPAIRED,
    )  # fmt: skip


def _fewest_open(width: int, share: float, depth: int) -> float:
    """Mean over ``width`` of the smallest of ``depth`` binomial numbers of open gates."""
    return float((stats.binom.sf(np.arange(width), width, share) ** depth).sum() / width)


def _within(result: xr.Dataset, share: float) -> xr.DataArray:
    """Depths up to a share of the width; of an isometric network that of its length only."""
    names, depths = result["network"].values, result["depth"].values
    own = [[" to " not in str(n) or str(n).endswith(f" to {d}") for d in depths] for n in names]
    places = xr.DataArray(own, {"network": names, "depth": depths}, ("network", "depth"))
    return places & (places["depth"] <= max(1, result.sizes["index"] * share))


def _by_width(result: xr.Dataset, power: float) -> float:
    """Factor on a tolerance that is meant for width 512."""
    return float(max(1.0, (512 / result.sizes["index"]) ** power))


def _edges(result: xr.Dataset) -> list[Verdict]:
    return compare_estimates(
        ["C14"], "Logarithm of the largest s^2 over the mean: upper edge of the density, less 1.2065 "
        "Tracy-Widom scales; both families, all activations, atoms included",
        f"{PENNINGTON}; Tracy & Widom", largest(result).mean("seed").where(_within(result, 1 / 16)),
        SPREAD * largest_scale(result) / np.sqrt(result.sizes["seed"]), predicted_largest(result),
        slack=0.1 * _by_width(result, 0.5),
        tolerance_from="five standard errors of Tracy and Widom's law; 10 percent of s^2 at N = 512, as "
        "N^(-1/2), for what lengths and gates scatter besides; depth up to N/16", **REPAIRED,
    )  # fmt: skip


def _spread(result: xr.Dataset) -> list[Verdict]:
    predicted = result["relative_variance_predicted"]
    shown = _within(result, 1 / 16) & (predicted > 1e-6)
    return compare_estimates(
        ["C14"], "Variance of s^2 over its squared mean is L (mu_2 / mu_1^2 - 1 - s_1), s_1 = -1 for "
        "Gaussian and 0 for orthogonal weights: orthogonality removes L, the slopes' share stays",
        PENNINGTON, relative_variance(result).mean("seed").where(shown), 0.0, predicted,
        slack=0.2 * predicted, tolerance_from="20 percent at finite width, depth up to N/16", **REPAIRED,
    )  # fmt: skip


def _zeros(result: xr.Dataset) -> list[Verdict]:
    """Up to depth 4, where no other singular value is too small to resolve."""
    at = result.sel(depth=result["depth"] <= 4)
    if "relu" not in result["network"]:
        return []
    at, width = at.sel(network="relu", drop=True), result.sizes["index"]
    return compare_estimates(
        ["C14", "B3"], "Share of zeros among the singular values of a relu network, both families: 1/2 at "
        "every depth in the wide limit; at width N that of the layer with the fewest open gates",
        f"{PENNINGTON}; binomial law of the rank", log_squares(at).isnull().mean(("index", "seed")),
        (at["rank_variance"] / at.sizes["seed"]) ** 0.5 / width, 1 - at["rank_predicted"] / width,
        tolerance_from="five exact standard errors; depth up to 4", claim="wrong",
        correction="Slopes of 0 and 1 lose half of all directions, whatever the weights.",
    )  # fmt: skip


def _growth(result: xr.Dataset) -> list[Verdict]:
    """Exponent of the largest s between the first depth above 1 and the last."""
    depths = [int(d) for d in result["depth"].values if d > 1]
    if len(depths) < 2:
        return []
    first, last, names = depths[0], depths[-1], [str(name) for name in result["network"].values]
    pairs = [(n, n) for n in names if " to " not in n]
    pairs += [(n, n.removesuffix(str(first)) + str(last)) for n in names if n.endswith(f" to {first}")]
    rows, told = [], []
    for family, (before, after) in product(result["weights"].values, pairs):
        if after in names:
            start = result.sel(weights=family, network=before, depth=first)
            end = result.sel(weights=family, network=after, depth=last)
            tops = [(float(largest(at).mean()), float(predicted_largest(at))) for at in (end, start)]
            rows.append(np.subtract(tops[0], tops[1]) / 2 / np.log(last / first))
            if family == "orthogonal":
                told.append(f"{before.removesuffix(f' to {first}')} {rows[-1][0]:.2f}")
    measured, predicted = np.array(rows).T
    verdict = judge(
        ["C14", "B3"], f"Exponent of growth of the largest singular value from depth {first} to {last}: "
        "1/2 for all Gaussian networks, for relu and any fixed q with orthogonal weights too, near 0 for "
        f"orthogonal networks of fixed sigma_0^2 (orthogonal: {', '.join(told)})",
        f"{PENNINGTON}; {UNIVERSAL}", measured=measured, predicted=predicted,
        tolerance=0.1 * _by_width(result, 1 / 2),
        tolerance_from="20 percent of s^2 at either end, at N = 512", **REPAIRED,
    )  # fmt: skip
    return [verdict]


def _factors(result: xr.Dataset) -> list[Verdict]:
    """The largest value of a product against the product of the largest values."""
    if not ("linear" in result["network"] and "gaussian" in result["weights"]):
        return []
    at = result.sel(network="linear", weights="gaussian")
    at = at.sel(depth=at["depth"] <= max(1, result.sizes["index"] / 16))
    top, depth = at.isel(index=0)["log_singular_values"].mean("seed") / np.log(10), at["depth"]
    predicted = ((depth + 1) * np.log(depth + 1) - depth * np.log(depth)) / 2
    shift = TRACY_WIDOM * largest_scale(at) / 2
    verdict = judge(
        ["C5"], "Each Gaussian factor has a largest singular value of 2, yet that of L factors is not 2^L: "
        "log10 of it, from sqrt((L+1)^(L+1) / L^L), about sqrt(e L), less Tracy-Widom",
        f"Fuss-Catalan law, {PENNINGTON}", measured=top, predicted=(predicted + shift) / np.log(10),
        tolerance=0.05 / np.log(10) * _by_width(result, 2 / 3) + 0.5 * np.sqrt(depth) / result.sizes["index"],
        tolerance_from="5 percent at N = 512, as N^(-2/3), and the wandering of the mean square",
        claim="right after repair",
        correction="At critical scale the largest singular value of a product grows like the root of the "
        "depth, not like the product of the factors'; most of the others vanish exponentially.",
    )  # fmt: skip
    return [verdict]


def _limit(result: xr.Dataset) -> list[Verdict]:
    if "isometric" not in result.dims or "orthogonal" not in result["weights"]:
        return []
    curve = np.exp(result["isometric_curve"].sel(weights="orthogonal", fine=FINE[-1]) / 2)
    verdict = judge(
        ["C14"], f"Orthogonal networks of fixed sigma_0^2, {FINE[-1]:.0f} layers: largest singular value "
        "from their own slopes against the universal limit of smooth activations", UNIVERSAL,
        measured=curve, predicted=float(np.sqrt(result["smooth_limit"])), tolerance=2 / np.sqrt(FINE[-1]),
        tolerance_from="corrections of order L^(-1/2)", **REPAIRED,
    )  # fmt: skip
    return [verdict]


def log_squares(result: xr.Dataset) -> xr.DataArray:
    """Logarithm of s^2 over the mean of its network; NaN where it is not resolved."""
    relative = result["log_singular_values"] - result["log_singular_values"].isel(index=0)
    found: xr.DataArray = 2 * relative.where(relative > RESOLVED)
    return found - np.log(exp(found).fillna(0).mean("index"))


def largest(result: xr.Dataset) -> xr.DataArray:
    """Logarithm of the largest s^2 over the mean of its network."""
    return log_squares(result).isel(index=0, drop=True)


def relative_variance(result: xr.Dataset) -> xr.DataArray:
    """Variance of s^2 over its squared mean."""
    squares = exp(log_squares(result)).fillna(0)
    return (squares * squares).mean("index") - 1


def predicted_largest(result: xr.Dataset) -> xr.DataArray:
    """Mean of the logarithm of the largest s^2 at this width: Tracy and Widom's law at the edge."""
    return result["log_edge"] + TRACY_WIDOM * largest_scale(result)


def largest_scale(result: xr.Dataset) -> xr.DataArray:
    """Unit of the fluctuations of the largest s^2; their standard deviation is 1.268 of it."""
    found: xr.DataArray = result["edge_scale"] * result.sizes["index"] ** (-2 / 3)
    return found


def distances(result: xr.Dataset) -> xr.DataArray:
    """Kolmogorov-Smirnov distance between all networks together and theory, at the resolved values.

    Values near an atom are left out; NaN where all are, where the spectrum was not predicted, and for one
    orthogonal layer, where nothing is multiplied.
    """
    values = log_squares(result).transpose("weights", "network", "depth", "seed", "index")
    shape = values.shape[:3]
    found = np.full(shape, np.nan)
    for place in np.ndindex(shape):
        one = dict(zip(values.dims[:3], place, strict=True))
        if result["weights"].values[place[0]] == "orthogonal" and result["depth"].values[place[2]] == 1:
            continue
        found[place] = _distance(values[place].values.ravel(), result.isel(one))
    return xr.DataArray(found, {dim: result[dim] for dim in values.dims[:3]}, values.dims[:3])


def _distance(values: np.ndarray, one: xr.Dataset) -> float:
    descending = -np.sort(-values[np.isfinite(values)])
    measured = (np.arange(descending.size) + 0.5) / values.size
    predicted = np.interp(descending, one["log_x"], one["above_predicted"], left=np.nan, right=0)
    if float(one["atom_share"]) > 0:
        predicted[np.abs(descending - float(one["atom_log_place"])) < NEAR] = np.nan
    gaps = np.abs(measured - predicted)
    return float(np.nanmax(gaps)) if np.isfinite(gaps).any() else np.nan
