"""Verdicts of ``loss-landscape``: what batch norm changes along the gradient, and what noise takes back."""

import numpy as np
import xarray as xr

from signalprop.bench.measure.estimates import exp, standard_error
from signalprop.bench.record.tables import tidy
from signalprop.bench.record.verdict import Verdict, observe
from signalprop.bench.training.choice import at_best_rate

SANTURKAR = "Santurkar, Tsipras, Ilyas & Madry (2018), arXiv:1805.11604"
SMOOTHER = 0.5  # of the plain network's range: clearly smoother
IOFFE = "Ioffe & Szegedy (2015), arXiv:1502.03167"
TARGET = 0.5  # of the loss of the best constant answer: the training loss at which a network has learned


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Compare batch norm, with and without noise, with plain networks; absent ones are left out."""
    at, networks = best(result), set(map(str, result["network"].values))
    found = []
    if {"plain", "batch_norm"} <= networks:
        found += [_smoother(result), _faster(at, "batch_norm")]
    if {"plain", "noisy_batch_norm"} <= networks:
        found.append(_faster(at, "noisy_batch_norm"))
    return found


def best(result: xr.Dataset) -> xr.Dataset:
    """The result at the better learning rate of every network and scale: smaller median of the last loss."""
    last = result["loss"].isel(update=-1, drop=True).fillna(np.inf).median("seed")
    return at_best_rate(result, -last)


def updates_to_target(result: xr.Dataset) -> xr.DataArray:
    """Updates until the mean loss of a record is at half the loss of the best constant answer; inf: never."""
    stride = float(result["update"][1] - result["update"][0]) if result.sizes["update"] > 1 else 1.0
    reached = result["loss"] <= TARGET * result["loss_predicted"]
    return (result["update"] + stride).where(reached, np.inf).min("update")


def scale_name(sigma_w2: float) -> str:
    """A weight variance in words."""
    words = {2.0: "He's scale", round(1 / 3, 6): "the default scale"}
    return words.get(round(sigma_w2, 6), rf"$\sigma_w^2$ = {sigma_w2:g}")


def _smoother(result: xr.Dataset) -> Verdict:
    """The range of the loss at equal scales and learning rates, one ratio each."""
    logs: xr.DataArray = xr.apply_ufunc(np.log, result["loss_range"].median("update"))
    apart = logs.sel(network="batch_norm") - logs.sel(network="plain")
    apart = apart.where(np.isfinite(apart))
    ratio = exp(apart.mean("seed"))
    each = "; ".join(
        f"{scale_name(at.sigma_w2)}, rate {at.learning_rate:g}: {at.ratio:.2g} "
        f"(standard error {at.error:.1g})"
        for at in tidy({"ratio": ratio, "error": ratio * standard_error(apart)}).itertuples()
    )
    smooth = int((ratio < SMOOTHER).sum())
    return observe(
        ["C23"], "Range of the loss along the gradient, median over training, batch norm over plain at equal "
        f"scale and learning rate: {each}. Share of these below {SMOOTHER:g}", SANTURKAR,
        measured=smooth / ratio.size, claim="right" if smooth == ratio.size else "right after repair",
        correction="" if smooth == ratio.size else "Batch norm flattens the loss while a plain network "
        "learns. Before it begins to learn, its gradient vanished, and once it has fitted the data, its "
        "loss is the flatter one.",
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
