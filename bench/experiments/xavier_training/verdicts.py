"""Verdicts of ``xavier-training``: the start by theory, saturation while learning, and the final errors."""

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.bench.experiments.xavier_training import NETWORKS
from signalprop.bench.measure.estimates import mean_and_error
from signalprop.bench.record.verdict import Verdict, compare_estimates, observe
from signalprop.bench.training.choice import at_best_rate

GLOROT = "Glorot & Bengio (2010), AISTATS 9"
THEORY = "Schoenholz et al. (arXiv 1611.01232), with 1/N terms"
OFF = 0.1  # mean activation below which a sigmoid layer counts as driven to 0
FULL = 0.9  # 98th percentile above which a symmetric layer counts as saturating
EARLY = 0.05  # of the updates
TRUSTED = 4  # networks from which on an interval is trusted
STANDARD = 0.05  # systematic part of the tolerance: terms beyond 1/N
LN10 = float(np.log(10))


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the start, and report what the layers do and the errors that are reached."""
    result = named_networks(result)
    at, pushed = best(result), fastest(result)
    names = [str(name) for name in at["network"].values]
    symmetric = [name for name in names if NETWORKS[name].phi != "sigmoid"]
    found = _start(at)
    if symmetric:
        found += [_equal_gradients(at, symmetric)]
    if "sigmoid" in names:
        found += [_driven_off(pushed, result), *_plateau(pushed)]
    if {"sigmoid", "sigmoid_unbiased"} <= set(names):
        found.append(_without_bias(pushed))
    if "tanh" in names:
        found += [_in_turn(at), _reversed(at)]
    if {"tanh", "softsign"} <= set(names):
        found.append(_softsign(at))
    pairs = [("sigmoid", "tanh"), ("tanh", "softsign"), ("tanh", "tanh_normalized"),
             ("softsign", "softsign_normalized")]  # fmt: skip
    kept = [pair for pair in pairs if set(pair) <= set(names)]
    return found + [_order(at, worse, better, len(kept)) for worse, better in kept]


def _start(at: xr.Dataset) -> list[Verdict]:
    """Deviation of the activations of every layer before training."""
    start = at.isel(update=0)
    return compare_estimates(
        ["C12", "C1"],
        "log of the standard deviation of the activations, every layer of every untrained network, against "
        "the recursion of lengths", THEORY,
        xr.apply_ufunc(np.log, start["deviation"]).mean("seed"),
        start["deviation_spread"] / at.sizes["seed"] ** 0.5,
        xr.apply_ufunc(np.log, start["deviation_predicted"]), slack=STANDARD,
        tolerance_from="5% for terms beyond 1/N and few examples, and as sure as five predicted errors",
        claim="right after repair",
        correction="At the start, and for tanh only roughly: training then moves every layer away from it.",
    )  # fmt: skip


def _equal_gradients(at: xr.Dataset, names: list[str]) -> Verdict:
    """Weight gradients and back-propagated gradients of untrained layers, largest over smallest."""
    start = at.sel(network=names).isel(update=0)
    ranges = {}
    for variable in ("log_gradient", "log_delta"):
        mean = start[variable].mean("seed").isel(layer=slice(1, None)) / LN10
        ranges[variable] = mean.max("layer") - mean.min("layer")
    worst, delta = (float(ranges[name].max()) for name in ("log_gradient", "log_delta"))
    even = worst < delta
    return observe(
        ["C1", "C2"],
        f"Untrained {_labels(names)}: rms weight gradients of hidden layers 2 to L, largest over smallest "
        f"{10**worst:.3g}, where the back-propagated gradients differ up to {10**delta:.3g} (equation 14); "
        "log10 of the former", GLOROT,
        measured=worst, claim="right after repair" if even else "not checkable",
        correction="Nearly equal weight gradients do not mean that the signal is kept: at the standard start "
        "activations shrink upwards while gradients shrink downwards." if even else
        "Weight gradients are no more alike than the back-propagated ones here.",
    )  # fmt: skip


def _labels(names: list[str]) -> str:
    return ", ".join(NETWORKS[name].label for name in names)


def _off_after(at: xr.Dataset, name: str) -> xr.DataArray:
    """Update at which the mean activation of the last hidden layer is first below ``OFF``; NaN: never."""
    low = at["mean"].sel(network=name).isel(layer=-1) < OFF
    return at["update"].where(low).min("update")


def _driven_off(at: xr.Dataset, result: xr.Dataset) -> Verdict:
    """Whether and when sigmoids saturate at the largest rate, beside the result at all rates."""
    share = _off_after(at, "sigmoid") / total_updates(at)
    anywhere = _off_after(result, "sigmoid").notnull()
    error = at["final_error"].sel(network="sigmoid")
    reached = int(share.notnull().sum())
    always = bool(anywhere.all())
    return observe(
        ["A4", "A16"],
        f"Sigmoid networks of {at.sizes['layer']} hidden layers at the standard start and the largest rate: "
        f"the last layer's mean activation falls below {OFF:g} in {reached} of {share.size} (at all rates in "
        f"{int(anywhere.sum())} of {anywhere.size}), and the final test errors are {float(error.min()):.2f} "
        f"to {float(error.max()):.2f}; median share of training until then", GLOROT,
        measured=float(share.median()) if reached else float("nan"),
        claim="right" if always else "right after repair",
        correction="" if always else "Not every sigmoid network saturates at these rates within this number "
        "of updates.",
    )  # fmt: skip


def _plateau(at: xr.Dataset) -> list[Verdict]:
    """Whether sigmoid layers that were driven to 0 come back."""
    mean = at["mean"].sel(network="sigmoid").isel(layer=-1)
    off = (mean < OFF).any("update")
    back = int((off & (mean.isel(update=-1) > 2 * OFF)).sum())
    if not off.any():
        return []
    return [
        observe(
            ["A4"],
            f"Of {int(off.sum())} sigmoid networks whose last layer was driven to 0, those in which it is "
            f"above {2 * OFF:g} again after {total_updates(at)} updates", GLOROT,
            measured=float(back), claim="right after repair",
            correction="A sigmoid layer at 0 may come back within this number of updates." if back else
            "None came back within this number of updates; in the paper networks of four layers did, after "
            "about a hundred epochs, far more.",
        )
    ]  # fmt: skip


def _without_bias(at: xr.Dataset) -> Verdict:
    """The read-out's bias, which is said to let the output ignore its features, taken away."""
    free, frozen = _off_after(at, "sigmoid"), _off_after(at, "sigmoid_unbiased")
    driven = [int(part.notnull().sum()) for part in (free, frozen)]
    return observe(
        ["A4"],
        "The read-out's bias kept at 0, so that the last layer alone must give the constant answer, both at "
        "the largest rate: "
        f"it is driven to 0 in {driven[1]} of {frozen.size} sigmoid networks, else in {driven[0]}: "
        "difference of the shares", GLOROT,
        measured=(driven[1] - driven[0]) / free.size, claim="not checkable",
        correction="The bias is not needed: where classes are equally frequent the best constant answer is "
        "0, and to silence features that are of no use yet is to push them to 0." if driven[1] >= driven[0]
        else "Without the bias fewer layers are driven to 0: it takes part, as the paper suspects.",
    )  # fmt: skip


def _in_turn(at: xr.Dataset) -> Verdict:
    """Whether standard tanh layers saturate one after another from the first."""
    high = at["high"].sel(network="tanh")
    first = at["update"].where(high > FULL).min("update").fillna(2 * total_updates(at))
    order = first.transpose(..., "layer").values.reshape(-1, at.sizes["layer"])
    kept = [bool(np.all(np.diff(row) >= 0) and row[0] < row[-1]) for row in order]
    return observe(
        ["A4", "C2"],
        f"Tanh networks at the standard start: the 98th percentile of activations passes {FULL:g} in layer 1 "
        f"first and then upwards in turn in {sum(kept)} of {len(kept)} networks; share", GLOROT,
        measured=float(np.mean(kept)), claim="right" if np.mean(kept) > 0.5 else "right after repair",
        correction="" if np.mean(kept) > 0.5 else "The order of layers is not always that of depth here.",
    )  # fmt: skip


def _reversed(at: xr.Dataset) -> Verdict:
    """Decades between the back-propagated gradients of the first and the last layer, at start and later."""
    delta = at["log_delta"].sel(network="tanh") / LN10
    decades = (delta.isel(layer=0) - delta.isel(layer=-1)).transpose("update", ...)
    early = max(1, round(EARLY * at.sizes["update"]))
    change = decades.isel(update=early) - decades.isel(update=0)
    start, soon, end = (float(decades.isel(update=i).mean()) for i in (0, early, -1))
    mean, error = mean_and_error(change)
    turned = soon > 0
    return observe(
        ["C1", "A16"],
        "Tanh at the standard start: log10 of the back-propagated gradient in layer 1 over that in the last, "
        f"{start:.2f} before training, {soon:.2f} after {int(at['update'][early])} updates and {end:.2f} at "
        "the end; change in the first of these spans", GLOROT,
        measured=mean, uncertainty=error, claim="right" if turned else "right after repair",
        correction="" if turned else "The shrinking lessens first and turns round later." if end > 0 else
        "The order does not turn round here.",
    )  # fmt: skip


def _softsign(at: xr.Dataset) -> Verdict:
    """Where the activations of the first layer are after training."""
    inside = (abs(at["bin"]) > 0.6) & (abs(at["bin"]) < 0.8)
    beyond = abs(at["bin"]) > 0.9
    part = at["histogram"].isel(layer=0)
    mode = abs(at["bin"][part.sel(network="softsign").mean(("seed", "data")).argmax("bin")])
    share = {
        name: [float(part.sel(network=name).where(where, 0).sum("bin").mean()) for where in (inside, beyond)]
        for name in ("tanh", "softsign")
    }
    more = share["tanh"][1] - share["softsign"][1]
    return observe(
        ["A4", "C2"],
        "Activations of the first layer after training: of softsign's "
        f"{share['softsign'][0]:.0%} lie in +-(0.6 to 0.8), most at +-{float(mode):.2f}, and "
        f"{share['softsign'][1]:.0%} beyond 0.9; of tanh's {share['tanh'][1]:.0%} beyond 0.9. Difference of "
        "the shares beyond 0.9", GLOROT,
        measured=more, claim="right" if more > 0 else "wrong",
        correction="" if more > 0 else "Softsign saturates no less than tanh here.",
    )  # fmt: skip


def _order(at: xr.Dataset, worse: str, better: str, pairs: int) -> Verdict:
    """Final errors of two networks with equal draws, with a 95 % interval for all pairs at once."""
    error = at["final_error"]
    gain = (error.sel(network=worse, drop=True) - error.sel(network=better, drop=True)).mean("data").values
    n, (mean, error_of_mean) = gain.size, mean_and_error(gain)
    reach = error_of_mean * float(stats.t.isf(0.025 / pairs, n - 1))
    sure, against = (n >= TRUSTED and side > reach for side in (mean, -mean))
    by_data = "; ".join(
        f"{data} {float(error.sel(network=worse, data=data).mean()):.3f} and "
        f"{float(error.sel(network=better, data=data).mean()):.3f}"
        for data in at["data"].values
    )
    return observe(
        ["C2"],
        f"Final test errors of {NETWORKS[worse].label} and {NETWORKS[better].label}, each at the rate of its "
        f"smallest training loss: {by_data}. Mean difference {mean:.3f} +- {reach:.3f}, "
        f"{'beyond' if sure or against else 'within'} chance (95 % for all pairs, {n} networks, choice of "
        "rates left out)", GLOROT,
        measured=mean, uncertainty=error_of_mean,
        claim="right" if sure else "wrong" if against else "not checkable",
        correction="" if sure else "The order is the other way round at this size." if against else
        "At this number of updates and networks the two cannot be told apart.",
    )  # fmt: skip


def named_networks(result: xr.Dataset) -> xr.Dataset:
    """The result with networks by name, and with an error of 1 from where a run diverged."""
    result = result.assign_coords(network=[tuple(NETWORKS)[int(i)] for i in result["network"].values])
    return result.assign(
        test_error=result["test_error"].fillna(1.0),
        final_error=result["final_error"].where(result["diverged_at"] == 0, 1.0),
    )


def best(result: xr.Dataset) -> xr.Dataset:
    """The result at the learning rate that counts, for every task and network.

    That is where the median of the last record's training loss is smallest: the test error has no part in the
    choice. The loss of a diverged run counts as infinite.
    """
    loss = result["loss"].isel(update=-1, drop=True).where(result["diverged_at"] == 0, np.inf)
    return at_best_rate(result, -loss.median("seed"))


def fastest(result: xr.Dataset) -> xr.Dataset:
    """The result at the largest learning rate.

    There sigmoids are watched: a network that does not learn has no best rate.
    """
    place = xr.full_like(result["network"], int(np.argmax(result["learning_rate"].values)), int)
    return result.isel(learning_rate=place)


def total_updates(at: xr.Dataset) -> int:
    """Updates of a whole run, one stride beyond the last record."""
    steps = at["update"].values
    return int(2 * steps[-1] - steps[-2]) if steps.size > 1 else 1
