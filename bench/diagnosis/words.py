"""The verdict in words: one sentence for each cause, with its numbers, in decades."""

from collections.abc import Callable

import numpy as np

from signalprop.analysis.diagnosis.layers import Measured
from signalprop.analysis.diagnosis.rule import DECADE, THRESHOLDS, Finding
from signalprop.analysis.diagnosis.trials import most_helpful


def sentence(finding: Finding | None, network: Measured, dtype: str) -> str:
    """What is wrong, in one sentence; that nothing is, without a finding."""
    if finding is None:
        return _fine(network)
    return SENTENCES[finding.cause](finding, network, dtype)


def decades(network: Measured) -> float:
    """Of the gradient from the first place that every path passes to the last."""
    return float(sum(way.gain for way in network.segments)) / DECADE


def expected(network: Measured) -> tuple[float, float]:
    """The same by theory where it has a formula and by random gradients elsewhere, and its deviation."""
    total, variance = 0.0, 0.0
    for way in network.segments:
        prediction = network.layers[way.sites[0] - 1].prediction if way.plain else None
        if prediction is not None:
            total += prediction.log_gain
            variance += np.nan_to_num(prediction.deviation) ** 2
        else:
            total += way.isotropic if np.isfinite(way.isotropic) else way.gain
            variance += np.nan_to_num(way.isotropic_error) ** 2
    return total / DECADE, float(np.sqrt(variance)) / DECADE


def _fine(network: Measured) -> str:
    if not network.segments:
        return "nothing is wrong with the gradients here; look elsewhere."
    should, spread = expected(network)
    return (
        f"gradients are healthy here: {decades(network):+.1f} decades from end to end,"
        f" expected {should:+.1f} +- {spread:.1f}; look elsewhere."
    )


def _input(f: Finding, network: Measured, dtype: str) -> str:
    if f.quantity.startswith("first value"):
        return f"the batch holds numbers that are not finite; the first trouble is {f.where}."
    if f.number == 0:
        return f"all examples that go into {f.where} are the same."
    return (
        f"what goes into {f.where} has a root mean square of {f.number:.3g}; initializations are made for 1."
    )


def _depth(f: Finding, network: Measured, dtype: str) -> str:
    ways = [way for way in network.segments if way.plain]
    per_layer = f.number / max(len(network.segments), 1)
    moves = "loses" if f.number < 0 else "gains"
    whole = f"the gradient {moves} {abs(f.number):.1f} decades on its way to the first layer"
    if f.cause == "one layer":
        way = min(network.segments, key=lambda w: -np.sign(f.number) * w.gain)
        return f"{way.end} alone changes the gradient by {way.gain / DECADE:+.1f} of {f.number:+.1f} decades."
    if f.where == "softmax":
        return f"{whole}: {_peaked(network)}"
    if f.cause == "branches":
        joins = sum(way.joins for way in network.segments)
        return f"{whole}: the branches that are added to the signal multiply it, {joins} times."
    if f.cause == "norm":
        return f"{whole}, by the norms on it."
    layer = network.layers[ways[len(ways) // 2].sites[0] - 1] if ways else network.layers[-1]
    after = network.layers[ways[len(ways) // 2].sites[0]] if ways else layer
    sigma_w = after.weights.root if after.weights is not None else np.nan
    if f.cause == "activation":
        keeps = (
            f"it keeps gradients only at sigma_w = {layer.critical_sigma_w:.1f}"
            if np.isfinite(layer.critical_sigma_w)
            else "no scale of the weights makes it keep gradients"
        )
        return f"{whole}, {abs(per_layer):.2f} in each: {layer.activation} does, {keeps}."
    if f.cause == "saturated":
        share = np.mean([x.activity.saturated for x in network.layers if x.activity is not None])
        return f"{whole}: {100 * share:.0f} % of the units have less than a tenth of the largest slope."
    name = layer.activation or "a linear layer"
    return f"{whole}: sigma_w is {sigma_w:.2f}, and {name} keeps it at {layer.critical_sigma_w:.2f}."


def _time(f: Finding, network: Measured, dtype: str) -> str:
    k = next(k for k, past in enumerate(network.recurrences) if past.name == f.where)
    past, best = network.recurrences[k], most_helpful(network.trials[k])
    moves = "loses" if f.number < 0 else "gains"
    whole = (
        f"the gradient through time of {past.name} {moves} {abs(past.rate) / DECADE:.2f} decades per step,"
        f" {abs(f.number):.0f} over {past.steps} steps"
    )
    if best is None or best.cause != f.cause:
        return f"{whole}."
    after = best.rate * past.steps / DECADE
    return f"{whole}; with {best.where} {best.change} it would be {after:+.1f}, tried."


def _peaked(network: Measured) -> str:
    return f"{100 * network.peaked[0]:.0f} % of the rows of the first softmax give one entry more than 99 %."


def _local(f: Finding, network: Measured, dtype: str) -> str:
    if f.where == "softmax":
        return _peaked(network)
    if f.threshold_name == "empty":
        return f"{100 * f.number:.0f} % of what comes into {f.where} is exactly 0."
    kind = "silent on every example" if f.cause == "dead" else "saturated"
    layer = next((x for x in network.layers if x.name == f.where), None)
    by_chance = ""
    if f.cause == "dead" and layer is not None and layer.activity is not None:
        by_chance = f"; {100 * layer.activity.silent_expected:.0f} % would be because the examples are alike"
    return f"{100 * f.number:.0f} % of the units of {f.where} are {kind}{by_chance}."


def _too_wide(f: Finding, network: Measured) -> str:
    layer = next(x for x in network.layers if x.name == f.where)
    sigma_w = layer.weights.root if layer.weights is not None else np.nan
    return (
        f"{100 * f.number:.0f} % of the units of {f.where} are saturated: sigma_w is {sigma_w:.2f}, and"
        f" {layer.activation} keeps gradients at {layer.critical_sigma_w:.2f}."
    )


SENTENCES: dict[str, Callable[[Finding, Measured, str], str]] = {
    "input": _input,
    "not finite": lambda f, n, d: f"{f.where} holds numbers that are not finite.",
    "disconnected": lambda f, n, d: (
        f"no gradient reaches {f.where}"
        + (f" and {f.number - 1:.0f} more parameters" if f.number > 1 else "")
        + "."
    ),
    "symmetric": lambda f, n, d: (
        f"all units of {f.where} have the same weights and the same gradients, and will stay alike."
    ),
    "overflow": lambda f, n, d: f"values leave the range of {d}, first at {f.where}.",
    "underflow": lambda f, n, d: (
        f"{100 * f.number:.0f} % of the gradient of {f.where} is 0 in {d} though it is not; scale the loss."
    ),
    "gates": _time,
    "recurrent too small": _time,
    "recurrent too large": _time,
    "weights too small": _depth,
    "weights too large": lambda f, n, d: (
        _depth(f, n, d) if f.threshold_name == "decades" else _too_wide(f, n)
    ),
    "activation": _depth,
    "one layer": _depth,
    "branches": _depth,
    "norm": _depth,
    "saturated": lambda f, n, d: _depth(f, n, d) if f.threshold_name == "decades" else _local(f, n, d),
    "dead": _local,
    "collapsed": lambda f, n, d: (
        f"{f.quantity.rsplit(' ', 1)[1]} cannot be told apart at {f.where}: 1 - cosine is {f.number:.0e},"
        f" rounding of {d} is {f.threshold / THRESHOLDS['cosine'].value:.0e}."
    ),
}
