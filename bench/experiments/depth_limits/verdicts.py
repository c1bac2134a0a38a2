"""Verdicts of ``depth-limits``: orthogonal weights from every start, walks of Gaussian ones, memory."""

from typing import Any

import numpy as np
import xarray as xr

from signalprop.bench.experiments.depth_limits.measure import DECADES, STARTS, WEIGHTS
from signalprop.bench.record.verdict import Verdict, compare, compare_estimates, observe

XIAO = "Xiao et al. (arXiv 1806.05393); mean field with 1/N terms"
RING = "one matrix product per Fourier mode of the ring, derived in analysis.convolution"
ROUNDING = 1e-3  # decades that float32 may lose in 10,000 layers
ORDER_ONE: dict[str, Any] = {
    "statement": "Orthogonal tanh networks on the critical line at q* = 1/L, input at q*, keep the {name} "
    "through {depth} plain layers: log10 of {ratio}",
    "correction": "Orthogonal weights do at the critical scale and near q* = 0 only; Gaussian ones at the "
    "same point do for about as many layers as they have units.",
}
SLOW: dict[str, Any] = {
    "statement": "Orthogonal weights, an input of unit size, the critical line at q* = 1/L or sigma_w = 1 "
    "without biases: chi_1 tends to 1, and |g| falls as 1/sqrt(L): log10 of {ratio}, L = {depth}",
    "correction": "sigma_w = 1 is critical for tanh only where the signal has vanished; the way there costs "
    "a power of the depth.",
}
OFF: dict[str, Any] = {
    "statement": "Orthogonal weights 1% below the critical scale, or 5% above: log10 of {ratio}, L = {depth}",
    "correction": "Orthogonal weights of another scale vanish or explode exponentially, as chi_1^(L/2).",
}
ALL_SIGNALS: dict[str, Any] = {
    "statement": "Orthogonal weights, every start: log10 of the rms of y^{depth}",
    "correction": "The length of the signal is that of mean field; orthogonal weights only hold it there.",
}
END = {"signal": -1, "gradient": 0}  # place of the recorded layer where each has passed all layers
RATIO = {"signal": "rms(y^L), where that of y^0 is 1/sqrt(L)", "gradient": "|dE/dy^0| / |dE/dy^L|"}


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Orthogonal weights from every start, the walks of Gaussian ones, and memory."""
    found = [
        *_orthogonal(result, ["critical"], "signal", ["C14"], **ORDER_ONE),
        *_orthogonal(result, ["critical"], "gradient", ["C14"], **ORDER_ONE),
        *_orthogonal(result, ["unit input", "no bias"], "gradient", ["C14"], **SLOW),
        *_orthogonal(result, ["ordered", "chaotic"], "gradient", ["C14", "C1"], **OFF),
        *_orthogonal(result, list(STARTS), "signal", ["C14"], **ALL_SIGNALS),
    ]
    for network in result["network"].values:
        found += _gaussian(result.sel(network=network, weights="gaussian", start="critical"))
    return found + _memories(result)


def _orthogonal(
    result: xr.Dataset, start: list[str], name: str, claims: list[str], *, statement: str, correction: str
) -> list[Verdict]:
    """After all layers, networks and starts together, against mean field with its 1/N terms."""
    at = result.isel(layer=END[name]).sel(weights="orthogonal", start=start)
    shift = at[f"{name}_shift"]
    indirect = at["gradient_indirect"] if name == "gradient" else shift
    return compare(
        claims, statement.format(name=name, depth=int(result["layer"][-1]), ratio=RATIO[name]), XIAO,
        at[name], at[f"{name}_predicted"] + shift, slack=abs(indirect) / 2 + 0.05 * abs(shift) + ROUNDING,
        tolerance_from="half of the indirect 1/N terms, 5% of all of them, float32, five standard errors",
        claim="right after repair", correction=correction,
    )  # fmt: skip


def _gaussian(at: xr.Dataset) -> list[Verdict]:
    """Mean and spread of the gradient's walk, and the floor of the signal, of one network."""
    network, depth, count = str(at["network"].values), int(at["layer"][-1]), at.sizes["seed"]
    end, ratio = at.isel(layer=0), f"log10 |dE/dy^0| / |dE/dy^L|, L = {depth}"
    spread = end["gaussian_spread"]
    law = "log chi-squared walk of a deep linear network" if network == "mlp" else RING
    found = [
        *compare_estimates(
            ["C14", "C1"], f"Gaussian weights at the same critical point, {network}: mean of {ratio}", law,
            end["gradient"].mean("seed"), spread / np.sqrt(count), end["gaussian_predicted"],
            slack=DECADES / 2,
            tolerance_from="one nat of log |g|^2 for the slopes of tanh, five predicted standard errors",
            claim="right after repair", correction="Being critical on average is not enough: each Gaussian "
            "layer takes 1/N (on a ring 1/2N) off log |g|^2, and depth is limited to a few times the width.",
        ),
        *compare_estimates(
            ["C1"], f"The same networks, {network}: standard deviation over networks of {ratio}", law,
            end["gradient"].std("seed", ddof=1), spread / np.sqrt(2 * (count - 1)), spread,
            tolerance_from="five predicted standard errors",
        ),
    ]  # fmt: skip
    if network == "mlp":
        found += compare(
            ["C14"], "The signal of the same Gaussian networks falls until the biases hold it: log10 of its "
            f"rms after {depth} layers", "Kesten's recursion; Dufresne (1990)",
            at["signal"].isel(layer=-1), at["gaussian_floor"], slack=0.02,
            tolerance_from="0.02 for the terms of next order in 1/N, five standard errors over networks",
        )  # fmt: skip
    return found


def _memories(result: xr.Dataset) -> list[Verdict]:
    """The largest program, where the compiler was asked."""
    if result["memory"].isnull().any():
        return []
    starts_and_weights = len(STARTS) * len(WEIGHTS)
    return [observe(
        ["C14"], f"GiB that {starts_and_weights} networks of {int(result['layer'][-1])} layers take "
        "together, signal and gradient, when layers are drawn in the scan (8 GiB are allowed)",
        "memory analysis of the compiled program", measured=float(result["memory"].max()),
    )]  # fmt: skip
