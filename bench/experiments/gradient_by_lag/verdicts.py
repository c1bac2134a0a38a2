"""Verdicts of ``gradient-by-lag``: sums over lags, rates and bounds, the arcsine law, and the carousel."""

import numpy as np
import xarray as xr

from signalprop.bench.experiments.gradient_by_lag import SHORT
from signalprop.bench.experiments.gradient_by_lag.measure import PHI
from signalprop.bench.measure.estimates import outside_range, standard_error
from signalprop.bench.record.verdict import (
    Verdict,
    compare,
    compare_estimates,
    judge,
    observe_mean,
    surely,
)
from signalprop.models.activations import ACTIVATIONS

EPS = float(np.finfo("float32").eps)
PASCANU = "Pascanu, Mikolov, Bengio (1211.5063)"
MEAN_FIELD = "mean field (Sompolinsky, Crisanti, Sommers 1988), 1/N term of `analysis.chaos`"


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge lag-by-lag sums, exponents, slopes and bounds, derivatives of 1, relu, and the carousel."""
    names = set(result["cell"].values)
    found = [*_slopes(result), *_exponents(result), *_mean_field(result), *_relu(result)]
    if "tanh" in names:
        found.append(_sum(result.sel(cell="tanh")))
    if "linear" in names:
        found += _linear(result.sel(cell="linear"))
    if "irnn" in names and 1.0 in result["gain"].values:
        found += _identity(result.sel(cell="irnn"))
    if "lstm_1997" in names:
        found.append(_carousel(result.sel(cell="lstm_1997")))
    return found


def rates(result: xr.Dataset, first: float = 0.1, last: float = 1.0) -> xr.DataArray:
    """Change of log |dL/dh_{T-k}| per step between two lags, given as shares of the largest."""
    low, high = (int(share * result["lag"].values[-1]) for share in (first, last))
    change = result["log_norm"].sel(lag=high, drop=True) - result["log_norm"].sel(lag=low, drop=True)
    return change / (high - low)


def where_all_finite(values: xr.DataArray) -> xr.DataArray:
    """Values at places where no network has lost its gradient or has one that is exactly 0."""
    return values.where((abs(values) < np.inf).all("seed"))


def _slopes(result: xr.Dataset) -> list[Verdict]:
    """Largest slope of every activation, and the bound that it enters."""
    cells = [str(name) for name in result["cell"].values if name in PHI]
    if not cells:
        return []
    at = result.sel(cell=cells)
    steepest = at["largest_slope"].max(("seed", "setting"))
    change = (at["log_norm"] - at["log_norm"].isel(lag=0)).clip(min=-1e30)
    slope = xr.DataArray([ACTIVATIONS[PHI[name]].max_slope for name in cells], dims="cell")
    excess = change - at["lag"] * np.log(slope * at["largest_singular"])
    worst = float((excess / (1 + at["lag"])).max())
    return [
        judge(
            ["D8"], "Largest slope met by a unit: 1 of tanh, relu and linear, 1/4 of sigmoid", "calculus",
            measured=steepest, predicted=slope, tolerance=1e-4,
            tolerance_from="distance of the smallest pre-activation from 0",
            claim="right after repair",
            correction="At most 1 for tanh, 1/4 for the sigmoid, exactly 1 for active relu units. The factor "
            "of a step is the slope times W.",
        ),
        judge(
            ["D8"], "Excess of log |dL/dh_{T-k}| over Pascanu's bound k log(gamma s_max), per lag, at all "
            "lags, gains and cells without gates", PASCANU,
            measured=max(0.0, worst), predicted=0.0, tolerance=8 * EPS,
            tolerance_from="rounding in float32", claim="right after repair",
            correction="gamma s_max(W) < 1 suffices for vanishing, gamma s_max(W) > 1 is only necessary for "
            "exploding.",
        ),
    ]  # fmt: skip


def _exponents(result: xr.Dataset) -> list[Verdict]:
    """Gradient against the leading exponent, over the same steps of the same networks."""
    lags = int(result["lag"][-1])
    return compare(
        ["D5"], f"Growth of log |dL/dh| per step over {0.9 * lags:g} steps, minus the leading Lyapunov "
        "exponent of the same steps, in every cell whose units are not relu or linear", PASCANU,
        rates(result, 0.0, 0.9) - result["exponent"], 0.0,
        slack=np.log(float(result["units"])) / (0.9 * lags),
        tolerance_from="random directions at both ends, log(units) over the steps; "
        + surely(result.sizes["seed"]),
    )  # fmt: skip


def _mean_field(result: xr.Dataset) -> list[Verdict]:
    """Rates of driven networks whose units bend, from weak gains to saturation."""
    at = _some(result, "tanh", "tanh_orthogonal", "sigmoid")
    return compare(
        ["D12"], f"Growth of log |dL/dh| per step in networks of {', '.join(at['cell'].values)}, at all "
        "gains: half the log of g^2 E phi'^2 with its 1/N term"
        + outside_range(at["rate_limit"], at["rate_predicted"]), MEAN_FIELD,
        rates(at), at["rate_predicted"], slack=abs(at["rate_predicted"] - at["rate_limit"]),
        tolerance_from=f"size of the 1/N term, {surely(at.sizes['seed'])}; Gaussian W of units that hardly "
        "bend (sigmoid, small gains) grow more, by their spectral radius", claim="right after repair",
        correction="Orthogonal weights of gain 1 do not help where the units saturate, and a step "
        "derivative of about 0 is vanishing, not a way out.",
    )  # fmt: skip


def _some(result: xr.Dataset, *cells: str) -> xr.Dataset:
    """The cells among these that were measured."""
    return result.sel(cell=[name for name in result["cell"].values if name in cells])


def _relu(result: xr.Dataset) -> list[Verdict]:
    """Rates of relu networks, and where their states leave the range of float32."""
    at = _some(result, "relu", "relu_orthogonal")
    found = compare(
        ["D13"], "Growth of log |dL/dh| per step in a relu network, Gaussian or orthogonal W of gain g: "
        "log(g / sqrt 2)", "mean field; He et al. (1502.01852)",
        rates(at), at["rate_predicted"], slack=1.25 / result["units"],
        tolerance_from=f"5/(4 units) of finite width, {surely(at.sizes['seed'])}",
        claim="right after repair",
        correction="relu alone does not relieve vanishing: with Gaussian W its gradients vanish below "
        "g = sqrt 2, faster than those of tanh. They explode above sqrt 2 and not above radius 1; with "
        "W = g I (IRNN) the limit is 1.",
    )  # fmt: skip
    return found + (_lost(result.sel(cell="relu")) if "relu" in result["cell"].values else [])


def _lost(at: xr.Dataset) -> list[Verdict]:
    """Step at which relu states leave the range of float32, at the last gain where all of them do."""
    all_lost = np.flatnonzero((at["lost_at"] > 0).all("seed"))
    if all_lost.size == 0:
        return []
    gain, left = float(at["gain"][all_lost[-1]]), at["lost_at"].isel(setting=all_lost[-1])
    return [observe_mean(
        ["D13"], f"Step at which the state of a relu network of gain {gain:g} leaves the range of its "
        "dtype, mean over networks", "recorded in every run", left, claim="right after repair",
        correction="States grow by g / sqrt 2 per step, above g = sqrt 2.",
    )]  # fmt: skip


def _sum(at: xr.Dataset) -> Verdict:
    """The gradient of the weights as the sum over lags that it is."""
    return judge(
        ["D4"], f"Gradient of all weights of a tanh network over {SHORT} steps: the sum over lags against "
        "autodiff, relative difference", PASCANU,
        measured=float(at["sum_error"].max()), predicted=0.0, tolerance=SHORT * EPS,
        tolerance_from="one rounding in float32 per step",
    )  # fmt: skip


def _linear(at: xr.Dataset) -> list[Verdict]:
    """Rates of single linear networks against their own spectral radius."""
    lags, grown = int(at["lag"][-1]), rates(at)
    gap = (grown - np.log(at["radius"])).values[np.isfinite(grown.values)]
    if gap.size == 0:
        return []
    return [judge(
        ["D5"], "Growth of log |dL/dh| per step in a linear network, minus the logarithm of the spectral "
        "radius of the same W", "linear algebra",
        measured=gap, predicted=0.0, tolerance=2 * np.log(float(at["units"])) / (0.9 * lags),
        tolerance_from="a change of direction between the two lags by up to log(units) at each",
    )]  # fmt: skip


def _identity(at: xr.Dataset) -> list[Verdict]:
    """Units of the IRNN that still have a gradient, at a gain of 1."""
    place, seeds, lags = int(np.flatnonzero(at["gain"] == 1)[0]), at.sizes["seed"], int(at["lag"][-1])
    chosen = np.unique([1, lags // 20, lags // 4, lags // 2, 3 * lags // 4])
    share = at["live"].isel(setting=place).sel(lag=chosen)
    expected = at["live_predicted"].sel(lag=chosen)
    binomial = np.sqrt(expected * (1 - expected) / (seeds * float(at["units"])))
    return compare_estimates(
        ["D12", "D13"], "Share of the units of an IRNN whose gradient is left after k steps of white noise: "
        "the arcsine law, 1/2 at half of the sequence", "Le et al. (1504.00941); Sparre Andersen (1953)",
        share.mean("seed"), standard_error(share).clip(min=binomial), expected, num_samples=seeds,
        tolerance_from=f"{surely(seeds)}, which are not below those of independent units",
        claim="right after repair",
        correction="A step derivative of 1 keeps the gradient, but only while a unit is active: it is lost "
        "unit by unit, as a random walk touches 0. A derivative of about 0 is what vanishing means.",
    )  # fmt: skip


def _carousel(at: xr.Dataset) -> Verdict:
    """The LSTM of 1997 keeps its truncated gradient exactly."""
    change = at["log_norm"] - at["log_norm"].sel(lag=1)
    return judge(
        ["D22"], f"LSTM of 1997, truncated: largest change of log |dL/dc| from lag 1 to "
        f"{int(at['lag'][-1])}, in nats", "Hochreiter & Schmidhuber (1997)",
        measured=float(np.abs(change.sel(lag=slice(1, None))).max()), predicted=0.0, tolerance=EPS,
        tolerance_from="dc_t/dc_{t-1} = 1 exactly: not even rounding",
    )  # fmt: skip
