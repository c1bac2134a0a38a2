"""Verdicts of ``activation-race``: means and zeros before training, cost, and speed at equal criticality."""

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.bench.experiments.activation_race import RACERS
from signalprop.bench.measure.estimates import mean_and_error
from signalprop.bench.record.verdict import Standing, Verdict, judge, observe, sampling_factor
from signalprop.bench.training.choice import best_rate

CLEVERT = "Clevert, Unterthiner & Hochreiter (2016), arXiv:1511.07289"
HE = "He, Zhang, Ren & Sun (2015), arXiv:1502.01852"
FEWEST = 4  # networks from which on an interval is trusted
COUNTED = "operations as XLA's cost analysis counts them, before fusion"
PAIRS = (
    (("B2",), "sigmoid", "relu relieves vanishing gradients even where the sigmoid's are kept at the start"),
    (("B2", "B16"), "tanh", "relu is faster than tanh"),
    (("B13",), "leaky_0.01", "a slope of 0.01 below zero changes the speed"),
    (("B13", "B32"), "leaky_0.3", "relu's zero slope is a reason for its speed"),
    (("B32",), "abs", "relu's zero slope is a reason for its speed"),
    (("B15",), "elu", "elu, whose mean is nearer to zero, is faster"),
    (("B16",), "linear", "relu is faster than no activation at all"),
)
ARRIVED = 0.5  # training accuracy of a record at which a network has arrived


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge means and zeros, and report costs and speeds."""
    result = named_racers(result)
    at, names = best(result), [str(name) for name in result["racer"].values]
    before = result.isel(learning_rate=0)
    found = [_means(before, names), *_zeros(before, names)]
    if "relu" in names:
        found.append(_cost(at, names))
        if at.sizes["seed"] > 1:
            found += [_against(at, chosen_by(result), *pair) for pair in PAIRS if pair[1] in names]
    return found


def named_racers(result: xr.Dataset) -> xr.Dataset:
    """The result with activations by name, and the update at which each network arrives; NaN: never."""
    result = result.assign_coords(racer=[tuple(RACERS)[int(i)] for i in result["racer"].values])
    alive = (result["diverged_at"] == 0) | (result["update"] <= result["diverged_at"])
    reached = (result["accuracy"] >= ARRIVED) & alive  # a record cut short by divergence does not count
    return result.assign(arrived_at=result["update"].where(reached).min("update"))


def best(result: xr.Dataset) -> xr.Dataset:
    """The result at the learning rate that counts, for every depth and activation.

    That is where most of the networks that choose it arrive or, at equal numbers, at which the median one
    arrives first. Those networks are left out of the result.
    """
    choosing = choosers(result)
    arrived = result["arrived_at"].isel(seed=slice(choosing or None))
    count, median = arrived.notnull().sum("seed"), arrived.fillna(np.inf).median("seed")
    return result.isel(learning_rate=best_rate(count, -median), seed=slice(choosing, None))


def choosers(result: xr.Dataset) -> int:
    """How many networks, the first quarter, choose the learning rate; none of one network or for one rate."""
    several = min(result.sizes["learning_rate"], result.sizes["seed"]) > 1
    return max(1, result.sizes["seed"] // 4) if several else 0


def chosen_by(result: xr.Dataset) -> str:
    """How the learning rate was chosen, in words."""
    if result.sizes["learning_rate"] == 1:
        return "at the same learning rate"
    choosing = choosers(result)
    by = f"{choosing} other network{'s' if choosing > 1 else ''} with it" if choosing else "the same network"
    return f"each at the best of the same learning rates, chosen by {by}"


def _means(before: xr.Dataset, names: list[str]) -> Verdict:
    """Mean activity of layer 1, where inputs of one length make z exactly Gaussian."""
    deviation = before["activity_deviation"] / float(before["units"] * before.sizes["seed"]) ** 0.5
    measured, predicted, error = xr.broadcast(
        before["mean_activity"].mean("seed"), before["mean_activity_predicted"], deviation
    )
    known = ", ".join(
        f"{name} {float(before['mean_activity_predicted'].sel(racer=name)):z.3f}" for name in names
    )
    return judge(
        ["B15"], f"Mean activity E phi(z) of layer 1 at the critical start ({known})", CLEVERT,
        measured=measured, predicted=predicted, uncertainty=error,
        tolerance=sampling_factor(len(names)) * error,
        tolerance_from="as sure as five standard errors of the mean over units and networks, as if all "
        "examples were one; depths share their draws",
        claim="right after repair",
        correction="elu's mean is nearer to zero than relu's, 0.16 against 0.40 at q = 1, but not zero.",
    )  # fmt: skip


def _zeros(before: xr.Dataset, names: list[str]) -> list[Verdict]:
    """Slopes that are exactly zero, of relu and of leaky rectifiers."""
    kept = [name for name in names if RACERS[name].family == 0]
    if not kept:
        return []
    at = before.sel(racer=kept)
    measured, predicted = xr.broadcast(at["zero_slopes"].mean("seed"), at["zero_slopes_predicted"])
    error = 0.5 * (predicted > 0) / float(at["units"] * at.sizes["seed"]) ** 0.5
    return [
        judge(
            ["B13"], "Share of slopes in layer 1 that are exactly 0 before training: 1/2 for relu, none for "
            "rectifiers with another slope below zero", "symmetry of z",
            measured=measured, predicted=predicted, uncertainty=error, tolerance=sampling_factor() * error,
            tolerance_from="0, and for relu as sure as five standard errors as if all examples were one",
            claim="right after repair",
            correction="No slope is exactly zero, and the scale must follow: sigma_w^2 = 2 / (1 + k^2). The "
            "side below zero passes k per layer.",
        )
    ]  # fmt: skip


def _cost(at: xr.Dataset, names: list[str]) -> Verdict:
    """What an activation costs beside the matrix product of its layer."""
    units = int(at["units"])
    cost = {
        name: (float(at["flops"].sel(racer=name)), float(at["transcendentals"].sel(racer=name)))
        for name in names
    }
    share = cost["relu"][0] / (6 * units)
    known = "; ".join(f"{name} {flops:.3g} and {hard:.3g}" for name, (flops, hard) in cost.items())
    return observe(
        ["B16"], "Arithmetic and transcendental operations per unit and example of an activation with its "
        f"slope: {known}. relu's over the 6 N of the layer's matrix products, N = {units}", COUNTED,
        measured=share, claim="right after repair",
        correction="relu needs no transcendental function, but an activation costs a share of about 1 / N of "
        "its layer, so cheapness does not make training faster; the number of updates does.",
    )  # fmt: skip


def _against(at: xr.Dataset, chosen: str, claims: tuple[str, ...], rival: str, said: str) -> Verdict:
    """Updates of a rival over relu's, for equal draws; networks that never arrive count as twice the run."""
    total = float(at["update"][-1])
    arrived = at["arrived_at"].fillna(2 * total)
    ratio = xr.apply_ufunc(np.log, arrived.sel(racer=rival, drop=True) / arrived.sel(racer="relu", drop=True))
    mean, error = mean_and_error(ratio.mean("depth"))
    seeds = at.sizes["seed"]
    reach = error * float(stats.t.isf(0.025 / len(PAIRS), seeds - 1))
    slower, faster = (seeds >= FEWEST and side > reach for side in (mean, -mean))
    by_depth = ", ".join(
        f"{np.exp(float(ratio.sel(depth=d).mean())):.2f} at {d} layers ({_counts(at, rival, d)})"
        for d in at["depth"].values
    )
    standing, correction = _standing(rival, slower, faster)
    return observe(
        claims,
        f"It is said or implied that {said}. Updates until {ARRIVED:.0%} of the training examples are right, "
        f"{rival} over relu, both critical, {chosen}: geometric mean {by_depth}; a network that "
        f"never arrives counts as twice the run. Natural log, +- {reach:.2f} (95 %, all pairs)",
        HE, measured=mean, uncertainty=error, claim=standing, correction=correction,
    )  # fmt: skip


def _counts(at: xr.Dataset, rival: str, depth: int) -> str:
    arrived = at["arrived_at"].sel(depth=depth).notnull().sum("seed")
    seeds = at.sizes["seed"]
    return f"arrive: {int(arrived.sel(racer=rival))} and {int(arrived.sel(racer='relu'))} of {seeds}"


def _standing(rival: str, slower: bool, faster: bool) -> tuple[Standing, str]:
    """The claim after the comparison: most say that relu is faster, elu's that elu is."""
    if rival == "leaky_0.01":
        if slower or faster:
            return "right", ""
        return "right after repair", "No zeros are left, but the speed cannot be told from relu's."
    if rival == "elu":
        said: Standing = "right" if faster else "wrong" if slower else "not checkable"
        return said, "" if faster else "Its mean gives elu no clear advantage here."
    if rival == "linear" and faster:
        return "wrong", (
            "A linear network learns this problem, which it can solve, faster: relu adds not speed but "
            "what it can represent."
        )
    if slower:
        return "right after repair", f"Relu is faster than {rival} here, both at their critical scale."
    if faster:
        return "wrong", f"At equal criticality {rival} is faster than relu."
    return "not checkable", f"At equal criticality {rival} and relu cannot be told apart here."
