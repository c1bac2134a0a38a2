"""Verdicts of ``learning-speed``: which layers are slow, by how much, how long, and what evens them out."""

import numpy as np
import xarray as xr

from signalprop.bench.experiments.learning_speed.learners import find_learner
from signalprop.bench.measure.estimates import mean_and_error, run_width
from signalprop.bench.record.verdict import (
    FEWEST,
    Standing,
    Verdict,
    compare,
    judge,
    observe,
    sampling_factor,
    surely,
)

SOURCE = "Nielsen, 'Neural Networks and Deep Learning', chapter 5"
FIELD = "mean field theory, arXiv:1611.01232"
FIXED_POINT = 4.88  # 1 / sqrt(chi_1) of sigmoids at sigma_w = sigma_b = 1
STATED = 0.05  # relative tolerance of the mean ratio, stated before measuring
STILL = 0.05  # distance from the start, over the norm of the start, that counts as next to nothing
KEPT = 0.95  # share of epochs that counts as keeping the order
LEARNED = 0.5  # share of right answers above which a network has learned
SPREAD = 5  # variance of the log of a squared gradient per layer, times N: of relu, the most here
LN10 = float(np.log(10))


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the untrained steps and the decay, then say what was seen in training."""
    names = [str(name) for name in result["network"].values]
    nielsen = sorted((n for n in names if n.startswith("sigmoid-") and len(layers_of(n)) > 1), key=layers_of)
    found = [*_steps(result, names)]
    if nielsen:
        found += [_ratio(result, nielsen[-1]), _order(result, nielsen), _gap(result, nielsen[-1])]
        found += [*_front(result, nielsen[-1]), _stuck(result, nielsen)]
    if "sigmoid-2" in names:
        found.append(_numbering(result))
    others = [n for n in names if n not in nielsen and nielsen and layers_of(n) == layers_of(nielsen[-1])]
    if others:
        found.append(_remedies(result, nielsen[-1], others))
    return found


def _steps(result: xr.Dataset, names: list[str]) -> list[Verdict]:
    """Decades lost from each layer to the one below, against theory at the width of the networks."""
    kinds = {n.rpartition("-")[0]: n for n in names if find_learner(n)[0].plain}
    if result.sizes["seed"] < FEWEST or not kinds:
        return []
    found = _step(result, list(kinds.values()), "rms", "the root mean square error of an example")
    if "sigmoid" in kinds:  # its examples all become alike; elsewhere the mean depends on their classes
        found += _step(result, [kinds["sigmoid"]], "mean", "the mean error over examples")
    return found


def _step(result: xr.Dataset, names: list[str], kind: str, what: str) -> list[Verdict]:
    labels = ", ".join(find_learner(n)[0].label for n in names)
    return compare(
        ["A10"], f"Decades from layer l + 1 to layer l that {what} loses in untrained networks of up to "
        f"{result.sizes['depth']} hidden layers ({labels})", FIELD,
        steps(result, f"{kind}_error").sel(network=names).mean(("start", "depth")),
        result[f"{kind}_step_predicted"].sel(network=names),
        slack=SPREAD / run_width(result) / 8 / LN10,
        tolerance_from=f"half of relu's correction of order 1/N, and {surely(result.sizes['seed'])}",
    )  # fmt: skip


def _ratio(result: xr.Dataset, name: str) -> Verdict:
    """Geometric mean of all neighbouring ratios, against the fixed point."""
    each = steps(result, "mean_error").sel(network=name).mean(("start", "depth")).mean("layer")
    mean, error = mean_and_error(each * LN10)
    ratio = float(np.exp(mean))
    count = result.sizes["seed"] * result.sizes["start"]
    return judge(
        ["A10"], "Speed of a hidden layer over that of the one below, untrained sigmoid networks: geometric "
        f"mean of {count} networks of up to {result.sizes['depth']} layers, against 1/sqrt(chi_1) at the "
        "fixed point", SOURCE,
        measured=ratio, predicted=FIXED_POINT, tolerance=STATED * FIXED_POINT, uncertainty=ratio * error,
        tolerance_from="5 %, stated before measuring; the correction at width 30 is 2 %",
    )  # fmt: skip


def _order(result: xr.Dataset, names: list[str]) -> Verdict:
    """Share of epochs in which the curves keep their order."""

    def ordered(speed: xr.DataArray) -> float:
        """How often every layer is slower than the one above."""
        return float((speed.diff("layer") > 0).all("layer").mean())

    speeds = {n: result["speed"].sel(network=n, layer=layers_of(n)) for n in names}
    single = {n: ordered(speed) for n, speed in speeds.items()}
    kept = {n: ordered(speed.mean("seed")) for n, speed in speeds.items()}
    standing: Standing = "right" if min(kept.values()) >= KEPT else "wrong"
    words = ", ".join(
        f"{len(layers_of(n))} layers {kept[n]:.0%} ({single[n]:.0%} of single runs)" for n in names
    )
    return observe(
        ["A10"], "Share of epochs in which every hidden layer is slower than the one above it, mean curves: "
        f"{words}. Least", SOURCE, measured=min(kept.values()), claim=standing,
        correction="" if standing == "right" else "The order is that of untrained networks; it is lost "
        "in part.",
    )  # fmt: skip


def _gap(result: xr.Dataset, name: str) -> Verdict:
    """Ratio of the last and the first layer at the end, and at the start."""
    speed = result["speed"].sel(network=name, layer=layers_of(name))
    gap = (speed.isel(layer=-1) - speed.isel(layer=0)).isel(epoch=[0, -1]) / LN10
    (start, _), (end, error) = (mean_and_error(gap.isel(epoch=i)) for i in (0, 1))
    slow = start > 0 and end > 0
    return observe(
        ["A10", "A15"], f"{len(layers_of(name))} hidden layers: the last layer is {10**start:.0f} times as "
        f"fast as the first before training and {10**end:.0f} times as fast at the end (Nielsen's run: 96 "
        "and 112); decades at the end", SOURCE,
        measured=end, uncertainty=error, claim="right after repair" if slow else "wrong",
        correction="The layers that are hardly updated are those next to the input, not the deeper ones. At "
        f"the end of training the gap has {end / start:.0%} of the decades it began with."
        if slow else "The first layer is not slower than the last both before training and after it.",
    )  # fmt: skip


def _front(result: xr.Dataset, name: str) -> list[Verdict]:
    """How far the weights move, layer by layer, against decay alone."""
    part = result["moved_at_end"].sel(network=name, layer=layers_of(name))
    expected = float(result["moved_by_decay_predicted"])
    words = ", ".join(
        f"layer {int(layer)} {float(part.sel(layer=layer).mean()):.3f}" for layer in part["layer"]
    )
    (first, error), seeds = mean_and_error(part.isel(layer=0)), result.sizes["seed"]
    near = abs(first - expected) <= STILL
    found = [
        observe(
            ["A17"], f"Distance of the weights from their start, over their norm, after training "
            f"{len(layers_of(name))} sigmoid layers: {words}; by weight decay alone {expected:.3f}. Layer 1",
            SOURCE, measured=first, uncertainty=error,
            claim="wrong" if not near else "right after repair" if expected else "right",
            correction="Layer 1 leaves its start by more or less than weight decay." if not near else
            "What layer 1 moves is weight decay, in the direction of its own weights; learning adds next to "
            "nothing." if expected else "",
        )
    ]  # fmt: skip
    if seeds >= FEWEST and expected > 0 and len(layers_of(name)) > 3:
        found.append(judge(
            ["A17"], "Distance that layer 1 moves, against that of weight decay alone, 1 - (1 - eta lambda "
            "/ n)^epochs",
            SOURCE, measured=first, predicted=expected, uncertainty=error,
            tolerance=0.05 * expected + sampling_factor(1, seeds) * error,
            tolerance_from=f"5 % for the gradient, and {surely(seeds)}", claim="right after repair",
            correction="The front layers' weights shrink by their decay and keep their direction.",
        ))  # fmt: skip
    return found


def _stuck(result: xr.Dataset, names: list[str]) -> Verdict:
    """Accuracy by the number of sigmoid layers."""
    right = result["accuracy"].isel(epoch=-1).mean("seed")
    words = ", ".join(f"{len(layers_of(n))} layers {float(right.sel(network=n)):.0%}" for n in names)
    last = float(right.sel(network=names[-1]))
    return observe(
        ["A16"], f"Right answers on the training images at the end of training: {words}. At the most layers",
        SOURCE, measured=last, claim="right after repair" if last < LEARNED else "wrong",
        correction="Vanishing makes plain gradient descent too slow for the epochs given, at this learning "
        "rate; see the experiments on optimizers for steps that do not shrink with the gradient."
        if last < LEARNED else "Here vanishing does not keep the network from learning.",
    )  # fmt: skip


def _numbering(result: xr.Dataset) -> Verdict:
    """Two hidden layers: which is slower."""
    speed = result["speed"].sel(network="sigmoid-2").isel(epoch=0) / LN10
    ratio = speed.sel(layer=2) - speed.sel(layer=1)
    first, second = (10 ** float(speed.sel(layer=layer).mean()) for layer in (1, 2))
    mean, error = mean_and_error(ratio)
    slower = mean > 0
    return observe(
        ["A18"], f"Two hidden layers, untrained: speed {first:.3f} of layer 1, next to the input, "
        f"{second:.3f} of layer 2 (Nielsen's run on MNIST: 0.07 and 0.31); layer 1 is slower in "
        f"{int((ratio > 0).sum())} of {ratio.size} networks; decades between them", SOURCE,
        measured=mean, uncertainty=error, claim="right after repair" if slower else "right",
        correction="Layer 1, next to the input, is the slower one in Nielsen's numbering; the statement "
        "holds if layers are counted from the output." if slower else "",
    )  # fmt: skip


def _remedies(result: xr.Dataset, nielsen: str, others: list[str]) -> Verdict:
    """Spread of the weights' speeds over layers, of the remedies and of Nielsen's network."""
    names = [nielsen, *others]
    spread = {}
    for name in names:
        speed = result["weight_speed"].sel(network=name, layer=layers_of(name)).isel(epoch=0).mean("seed")
        spread[name] = float(np.exp(speed.max() - speed.min()))
    right = result["accuracy"].isel(epoch=-1).mean("seed")
    words = ", ".join(
        f"{find_learner(n)[0].label} {spread[n]:.1f} ({float(right.sel(network=n)):.0%} right)" for n in names
    )
    largest = max(spread[n] for n in others)
    uneven = ", ".join(find_learner(n)[0].label for n in others if spread[n] >= spread[nielsen])
    return observe(
        ["A10"], "Gradient of the weights, that of the fastest over that of the slowest hidden layer of "
        f"{len(layers_of(nielsen))}, untrained, and right answers after training: {words}. Largest spread "
        "among the remedies", SOURCE, measured=largest, claim="right after repair",
        correction=f"Depth alone does not decide: the remedies bring the layers from a factor of "
        f"{spread[nielsen]:.1f} within {largest:.1f} of each other." if not uneven else
        f"Not every remedy evens the layers out; as far apart as before or farther: {uneven}.",
    )  # fmt: skip


def steps(result: xr.Dataset, variable: str) -> xr.DataArray:
    """Decades from the error of layer l, by which it is named, to that of layer l + 1."""
    return result[variable].diff("layer", label="lower") / LN10


def layers_of(name: str) -> list[int]:
    """Numbers of a network's hidden layers."""
    return list(range(1, find_learner(name)[1] + 1))
