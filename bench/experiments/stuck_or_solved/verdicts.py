"""Verdicts of ``stuck-or-solved``: what tells the two apart, local minima, and early signals."""

import warnings
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.analysis.statistics import auc, bootstrap_interval, share_interval
from signalprop.bench.experiments.stuck_or_solved.conditions import CONDITIONS
from signalprop.bench.experiments.stuck_or_solved.xor import UNSOLVED
from signalprop.bench.measure.estimates import share_and_error
from signalprop.bench.record.verdict import Verdict, judge, observe

HANLEY = "Hanley & McNeil (1982), Radiology 143; Efron (1987), J. Am. Stat. Assoc. 82"
DAUPHIN = "Dauphin et al. (2014), arXiv:1406.2572"
HAMEY = "Hamey (1998), Neural Networks 11"
ENOUGH = 0.95  # area under the ROC curve of a test that is worth using
SOON = 0.05  # share of the training after which signals are read
LIMIT = 0.1  # of the base rate's loss: a fresh network that is better by more calls this one stuck
ENDED_WELL = 0.5  # of the loss of the base rate, below which training counts as a success
TELLTALES = {
    "flatness": "gradient norm",
    "excess": "loss / base rate",
    "level": "least curvature",
    "regained": "restart",
}
SIGNALS = {
    "loss_by_record": "loss",
    "first_by_last": "first / last gradient",
    "log_first": "first gradient",
    "saturated": "saturated share",
    "inactive": "inactive share",
}
RISES_WITH_FAILURE = ("loss_by_record", "saturated", "inactive")
RESAMPLED = 8  # seeds from which there is an interval


class Area(NamedTuple):
    """Area under the ROC curve with its 95 % interval, NaN where there is none."""

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Standard error, as if the interval were Gaussian."""
        return (self.high - self.low) / 3.92

    def __str__(self) -> str:
        """The area with its interval, if it has one, in words."""
        return f"{self.value:.2f}" + ("" if np.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]")


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the four numbers, the ends on XOR, and the early signals."""
    return [*_telltales(result), *_minima(result), *_signals(result)]


def _telltales(result: xr.Dataset) -> list[Verdict]:
    """How well each number tells stuck networks from others."""
    at = states(result)
    areas = {name: separation(at[name], at["stuck"]) for name in TELLTALES}
    flat, restart = areas["flatness"], areas["regained"]
    alone = "; ".join(f"{TELLTALES[n]} {areas[n]}" for n in ("excess", "level"))
    size = at["loss"].size
    right = int(((at["regained"].fillna(np.inf) > LIMIT) == (at["stuck"] > 0)).sum())
    low, high = share_interval(right, size)
    dead, solved, vanishing = (at["log_gradient"].sel(network=n) for n in ("dead", "solved", "vanishing"))
    smaller = float((solved.values[:, None] < vanishing.values[None, :]).mean())
    hard, tells = flat.value < ENOUGH, restart.value >= ENOUGH
    return [
        observe(
            ["B24"], f"Stuck from not stuck by the norm of the gradient alone, {size} networks in "
            f"{len(CONDITIONS)} conditions: area under the ROC curve {flat}; by other numbers alone: "
            f"{alone}. A solved network has the smaller gradient than a vanishing one in {smaller:.0%} of "
            "pairs", HANLEY, measured=flat.value, uncertainty=flat.error, claim="right" if hard else "wrong",
            correction="" if hard else "In this collection the gradient alone suffices.",
        ),
        observe(
            ["B24"], "The same by a restart: a network is called stuck if its loss after some more steps is "
            f"above that of a fresh network after as many, by {LIMIT:.0%} of the loss of the base rate or "
            f"more; right for {right} of {size} (95 % Clopper-Pearson {low:.3f} to {high:.3f}); area under "
            "the ROC curve, 0.95 asked", HANLEY,
            measured=restart.value, uncertainty=restart.error,
            claim="right after repair" if tells else "right",
            correction="Hard to tell from the gradient, the loss or the curvature alone; a short restart "
            "tells." if tells else "",
        ),
        judge(
            ["B24"], f"Norm of the whole gradient of {dead.size} networks with a dead layer, once the output "
            "bias has learnt the base rate: exactly or nearly 0",
            "chain rule", measured=np.exp(dead), predicted=0.0,
            tolerance=1e-6, tolerance_from="what the output bias still has to learn",
        ),
    ]  # fmt: skip


def _minima(result: xr.Dataset) -> list[Verdict]:
    """Bad ends on XOR: minima or plateaus, by width."""
    bad = (result["xor_error"] > UNSOLVED).sortby("xor_width")
    strict = bad & (result["xor_minimum"] > 0)
    total, found = result.sizes["seed"] * result.sizes["restart"], []
    for penalty in result["penalty"].values:
        ends, minima = (a.sel(penalty=penalty).sum(("seed", "restart")) for a in (bad, strict))
        each = "; ".join(
            f"{int(width)} units: {int(ends.sel(xor_width=width))} bad, of them "
            f"{int(minima.sel(xor_width=width))} certified minima"
            for width in result["xor_width"].values
        )
        (narrow, error), (wide, _) = (share_and_error(int(ends[i]), total) for i in (0, -1))
        found.append(observe(
            ["B40"], f"Restarts on XOR {f'with L2 {penalty:g}' if penalty else 'without penalty'}, {total} "
            f"per width; {each}. Share that ends badly with {int(ends['xor_width'][0])} units",
            f"{HAMEY}; {DAUPHIN}",
            measured=narrow, uncertainty=error,
            claim="right after repair" if narrow > wide else "right",
            correction=_lesson(int(ends.sum()), int(minima.sum()), wide) if narrow > wide else "",
        ))  # fmt: skip
    return found


def _lesson(bad: int, strict: int, wide: float) -> str:
    """What the ends teach where a wide net fails less often than a narrow one."""
    what = f"{strict} of {bad} bad ends are certified strict minima"
    what = what if strict else "no bad end is certified as a strict minimum"
    rarer = "bad ends vanish" if wide == 0 else f"bad ends get rarer ({wide:.0%})"
    return f"In nets barely large enough some restarts fail; {what}. With width {rarer}."


def _signals(result: xr.Dataset) -> list[Verdict]:
    """Signals inside the layers against the loss, soon after the start."""
    steps = result["step"].values
    soon = steps[np.argmin(np.abs(steps - SOON * (steps[-1] + steps[1]) if len(steps) > 1 else steps))]
    areas = {step: {name: foretells(result, name, step) for name in SIGNALS} for step in {steps[0], soon}}
    if np.isnan(areas[soon]["loss_by_record"].value):
        return []
    words = ". ".join(
        f"step {step}: " + "; ".join(f"{SIGNALS[name]} {area}" for name, area in areas[step].items())
        for step in sorted(areas)
    )
    inside, size = areas[soon]["log_first"], result["loss"].isel(network=slice(len(CONDITIONS), None)).size
    helps = inside.value >= 0.8
    return [
        observe(
            ["B42"], f"How well signals foretell that {size} networks of random activation and scale end "
            f"above half the loss of the base rate, area under the ROC curve: {words}. First layer's "
            f"gradient at step {soon}", HANLEY, measured=inside.value, uncertainty=inside.error,
            claim="right" if helps else "right after repair",
            correction="" if helps else "At this time no single signal inside the layers foretells the end "
            "well.",
        )
    ]  # fmt: skip


def states(result: xr.Dataset) -> xr.Dataset:
    """The conditions, with four numbers that should be high where a network is stuck.

    ``flatness``: minus log10 of the gradient norm; ``excess``: loss over that of the base rate; ``level``:
    the smallest curvature, which is near 0 on a plateau; ``regained``: what a fresh network is better by
    after a few steps than this one after as many more, over the loss of the base rate.
    """
    at = result.sel(network=list(CONDITIONS))
    return at.assign(
        flatness=-at["log_gradient"] / np.log(10),
        excess=at["loss"] / at["base"],
        level=at["least"],
        regained=(at["continued"] - at["restarted"]) / at["base"],
    )


def separation(scores: xr.DataArray, positive: xr.DataArray) -> Area:
    """Area under the ROC curve over all networks, with its 95 % bootstrap interval over seeds.

    Where all pairs are in order every resample is too: then the interval has no width. It is NaN below
    ``RESAMPLED`` seeds, and where resamples lack one of the two groups.
    """
    scores, positive = xr.broadcast(scores.fillna(np.inf), positive)
    x, group = (a.transpose("seed", ...).values for a in (scores, positive > 0))
    area = auc(x.ravel(), group.ravel())
    if not 0 < area < 1:
        return Area(area, area, area)
    if len(x) < RESAMPLED:
        return Area(area, np.nan, np.nan)

    def resampled(seeds: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.apply_along_axis(lambda i: auc(x[i].ravel(), group[i].ravel()), axis, seeds)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        return Area(area, *bootstrap_interval(np.arange(len(x)), resampled, num_resamples=500))


def foretells(result: xr.Dataset, name: str, step: int) -> Area:
    """How well a signal at a step foretells failure, for the networks of random scale, as `separation`."""
    at = result.isel(network=slice(len(CONDITIONS), None))
    failed = at["loss"].fillna(np.inf) > ENDED_WELL * at["base"]
    sign = 1 if name in RISES_WITH_FAILURE else -1
    return separation(sign * at[name].sel(step=step), failed)
