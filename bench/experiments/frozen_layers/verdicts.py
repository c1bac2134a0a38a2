"""Verdicts of ``frozen-layers``: which layers move, what is learnt, and what single silent units cost."""

import numpy as np
import xarray as xr

from signalprop.bench.experiments.frozen_layers.measure import REPLACED
from signalprop.bench.measure.estimates import mean_and_error
from signalprop.bench.record.verdict import Verdict, judge_zero, observe

FREE = 0.02  # accuracy that counts as no loss


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge who moves, and what is learnt."""
    found = []
    for name, what in (("way", "Kernels"), ("bias_way", "Biases")):
        predicted = result[f"{name.replace('way', 'moves')}_predicted"]
        moves, predicted = xr.broadcast((result[name] > -np.inf).astype(float), predicted)
        still = predicted == 0
        found += [
            judge_zero(
                ["B34", "B35"], f"{what} of {int(still.sum())} layers in or below a layer of steps or "
                f"silent units{' or right above a silent one' * (name == 'way')}: number that any step moves",
                "chain rule", float(moves.where(still).sum()), claim="right after repair",
                correction="Learning stops in that layer and below, exactly. The kernel right above a silent "
                "layer reads only zeros and does not move either.",
            ),
            judge_zero(
                ["B35"], f"{what} of {int((~still).sum())} other layers: number that no step moves",
                "chain rule", float((1 - moves).where(~still).sum()),
            ),
        ]  # fmt: skip
    step = result["way"].sel(replaced="step").where(result["layer"] <= result["at"])
    found.append(judge_zero(
        ["B26"], f"Kernels in or below a layer of binary steps, {int(step.notnull().sum())}: number that "
        "any step of training moves", "chain rule", float((step > -np.inf).sum()),
    ))  # fmt: skip
    return [*found, *_learnt(result), *_shares(result)]


def _learnt(result: xr.Dataset) -> list[Verdict]:
    """What the read-out makes of frozen features, and of none."""
    step, silent = (result["learnt"].sel(replaced=kind).isel(at=-1) for kind in REPLACED)
    guess, (right, error) = float(result["guessing"]), mean_and_error(step)
    return [
        observe(
            ["B34"], "Test accuracy of a read-out that learns on the frozen random features of a "
            f"network whose last hidden layer are binary steps (guessing: {guess:.2f}; behind a silent "
            f"layer: {float(silent.mean()):.2f})", "Rahimi & Recht (2007), NIPS 20",
            measured=right, uncertainty=error,
            claim="right after repair" if right > 2 * guess else "right",
            correction="No gradient passes a step, so all below stays random; the output layer still fits "
            "random features." if right > 2 * guess else "",
        )
    ]  # fmt: skip


def _shares(result: xr.Dataset) -> list[Verdict]:
    """Silent units among others."""
    some = result.sel(share=[s for s in result["share"].values if 0 < s < 1])
    if some.sizes["share"] == 0:
        return []
    units, count = int(result["units"]), some["silent_units"]
    least, most = int(count.min()), int(count.max())
    still = float((~np.isfinite(some["share_way"])).sum())
    what = f"Kernels that no step moves, where {least} to {most} of one layer's {units} units are silent"
    found = [
        judge_zero(["B33", "B37"], what, "paths through the other units", still),
        judge_zero(
            ["A9"], what, "paths through the other units", still, claim="right after repair",
            correction="One silent unit blocks nothing: what is below learns through the units that are "
            "awake. Only a layer silent as a whole blocks.",
        ),
    ]  # fmt: skip
    if 0.0 in result["share"].values:
        loss = result["share_accuracy"].sel(share=0.0, drop=True) - some["share_accuracy"]
        free = count.where(loss.mean("seed") < FREE, 0)
        lost, error = mean_and_error(loss.isel(share=int(np.argmin(count.values))))
        costs = "" if lost < FREE else "It costs accuracy at this width."
        found.append(observe(
            ["B36"], f"Test accuracy lost where {least} of {units} units of one layer, {least / units:.1%}, "
            f"are silent (largest number of those measured that costs less than {FREE}: {int(free.max())})",
            "trained networks",
            measured=lost, uncertainty=error,
            claim="wrong" if costs else "right", correction=costs,
        ))  # fmt: skip
    return found
