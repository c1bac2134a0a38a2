"""Verdicts of ``loss-landscape``: what batch norm changes along the gradient, and what noise takes back."""

import numpy as np
import xarray as xr

from signalprop.bench.drawings.loss_landscape import TARGET, best, scale_name, updates_to_target
from signalprop.bench.verdict import Verdict, observe

SANTURKAR = "Santurkar, Tsipras, Ilyas & Madry (2018), arXiv:1805.11604"
IOFFE = "Ioffe & Szegedy (2015), arXiv:1502.03167"


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Compare batch norm, with and without noise, with plain networks; absent ones are left out."""
    at, networks = best(result), set(map(str, result["network"].values))
    found = []
    if {"plain", "batch_norm"} <= networks:
        found += [_smoother(result.sel(sigma_w2=s), float(s)) for s in at["sigma_w2"].values]
        found.append(_faster(at, "batch_norm"))
    if {"plain", "noisy_batch_norm"} <= networks:
        found.append(_faster(at, "noisy_batch_norm"))
    return found


def _ratio(result: xr.Dataset, name: str) -> tuple[float, float]:
    """Geometric mean over seeds of batch norm's median over training over the plain one's, and its error."""
    middle: xr.DataArray = xr.apply_ufunc(np.log, result[name].median("update"))
    values = (middle.sel(network="batch_norm") - middle.sel(network="plain")).values
    values = values[np.isfinite(values)]
    if values.size == 0:
        return float("nan"), float("nan")
    mean = float(np.exp(values.mean()))
    return mean, float(mean * values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else float("nan")


def _smoother(result: xr.Dataset, scale: float) -> Verdict:
    """At equal learning rates, the largest: the three measures."""
    rate = float(result["learning_rate"].max())
    one = result.sel(learning_rate=rate)
    ratios = {name: _ratio(one, name) for name in ("loss_range", "gradient_change", "smoothness")}
    mean, error = ratios["loss_range"]
    learns = bool(np.isfinite(updates_to_target(one).sel(network="plain").median("seed")))
    return observe(
        ["C23"], f"Batch norm over plain at {scale_name(scale)}, learning rate {rate:g}, medians over the "
        f"run: change of the gradient {ratios['gradient_change'][0]:.2g}, effective smoothness "
        f"{ratios['smoothness'][0]:.2g}, and range of the loss along the gradient", SANTURKAR,
        measured=mean, uncertainty=error, claim="right" if mean < 0.5 else "right after repair",
        correction="" if mean < 0.5 else "The loss is not twice as flat here." if learns else
        "Where the plain network's gradient has vanished its loss is the flatter one, and it learns nothing: "
        "a smooth loss is no merit by itself.",
    )  # fmt: skip


def _faster(at: xr.Dataset, network: str) -> Verdict:
    """Updates to the target against the plain network, each at its better rate, by scale."""
    needed = updates_to_target(at).median("seed")
    words, ratios = [], []
    for scale in at["sigma_w2"].values:
        pair = [float(needed.sel(sigma_w2=scale, network=n)) for n in ("plain", network)]
        words.append(f"{scale_name(float(scale))}: {pair[1]:g} against {pair[0]:g}")
        ratios.append(pair[1] / pair[0] if np.isfinite(pair).any() else np.nan)
    faster = [r for r in ratios if r < 1]
    name = "Batch norm" if network == "batch_norm" else "Batch norm with noise after it"
    return observe(
        ["C23"], f"{name}: updates to {TARGET:g} of the base-rate loss, median, each network at its better "
        f"learning rate, against plain networks; {'; '.join(words)}. Ratio at the first "
        "scale; 0: the plain network never learns",
        IOFFE if network == "batch_norm" else SANTURKAR,
        measured=ratios[0], claim="right" if len(faster) == len(ratios) else "right after repair",
        correction="" if len(faster) == len(ratios) else "It is faster where the weights' scale is wrong for "
        "the plain network; at a fitting scale and a tuned rate there is little to gain.",
    )  # fmt: skip
