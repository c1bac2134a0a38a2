"""A network measured: the numbers of every layer beside what mean field predicts for it. Logs are natural."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from signalprop.analysis.activity import SATURATED
from signalprop.analysis.diagnosis import measured, predicted
from signalprop.analysis.diagnosis.network import Network
from signalprop.analysis.diagnosis.recurrence import Recurrence, log_state_gradient, recurrence
from signalprop.analysis.diagnosis.segments import Segment, segments
from signalprop.analysis.diagnosis.sites import Site, place, sites, slopes
from signalprop.analysis.diagnosis.trials import Trial, trials
from signalprop.analysis.gaussian import Elementwise
from signalprop.analysis.meanfield import critical_point
from signalprop.analysis.program.blockfloat import log_norm
from signalprop.analysis.program.flat import Program, is_float, results, source_line
from signalprop.analysis.program.gradients import (
    Backward,
    Forward,
    forward,
    gradient,
    native_gradient,
    prepare,
)
from signalprop.analysis.program.reading import is_factor

EXAMPLES = 16
"""Examples at whose lengths mean field is taken."""

TOLERATED = 2 * float(np.log(10))
"""Change of a gradient over all steps of time beyond which changes are tried: 2 decades, see `rule`."""

_LINE = np.linspace(-12, 12, 2401)


@dataclass(frozen=True)
class Layer:
    """Numbers of one layer.

    Attributes:
        name: Place of its parameters.
        kind: ``"dense"``, ``"convolution"``, ``"embedding"``.
        source: Line of the user's own code.
        steps: 1, or the steps of time that are taken together.
        units: Outputs.
        activation: Name of what follows, ``"custom"`` for an unknown function, empty for none.
        signal: Of its pre-activations.
        input_zero: Share of exact zeros in what comes in.
        activity: Of the activation behind it, if there is one.
        bounded: Whether that ends in a plateau on both sides.
        weights: Of its weight; none of an embedding.
        bias_mean: Mean of the bias.
        sigma_b: Its standard deviation.
        log_gradient: Log of the norm of the gradient by its pre-activations, over all units and examples.
        alike_gradient: Whether the gradients of all its units' weights are the same, or 0.
        gain: Log of |delta| here over |delta| at the next layer, where only an activation is between them.
        prediction: Of that gain, by mean field.
        critical_sigma_w: At which this activation keeps gradients, without biases; NaN if there is none.
        critical_square: Mean squared slope there.
    """

    name: str
    kind: str
    source: str
    steps: int
    units: int
    activation: str
    signal: measured.Signal
    input_zero: float
    activity: measured.Activity | None
    bounded: bool
    weights: measured.Weights | None
    bias_mean: float
    sigma_b: float
    log_gradient: float
    alike_gradient: bool
    gain: float
    prediction: predicted.Gain | None
    critical_sigma_w: float
    critical_square: float


@dataclass(frozen=True)
class Parameter:
    """Gradient of one parameter.

    Attributes:
        name: Its place in the model.
        size: Number of its entries.
        factor: Whether it multiplies something; a bias does not.
        used: Whether the loss takes it at all.
        reached: Whether a gradient path leads to it.
        log_norm: Log of its own norm.
        log_gradient: Log of the exact norm of its gradient; -inf if that is 0.
        log_native: The same as training gets it, in the network's own dtypes; NaN if it is not finite.
        lost: Share of entries whose gradient is 0 in the own dtype though it is not.
    """

    name: str
    size: int
    factor: bool
    used: bool
    reached: bool
    log_norm: float
    log_gradient: float
    log_native: float
    lost: float


@dataclass(frozen=True)
class Measured:
    """All numbers of one network.

    Attributes:
        loss: Its value.
        layers: In the order of the program.
        segments: From the first place that every path passes to the last one.
        recurrences: Gradients through time, of each scan over it.
        trials: For each of them, what changes of it would do, if the gradient is not near constant.
        parameters: By place.
        inputs: Of each layer that takes the batch as it is: its name and the numbers of what comes in.
        peaked: Of each softmax, the share of its rows in which one entry has more than 99 %.
        first_lost: What makes the first value that is not finite, and where; empty if all are.
    """

    loss: float
    layers: tuple[Layer, ...]
    segments: tuple[Segment, ...]
    recurrences: tuple[Recurrence, ...]
    trials: tuple[tuple[Trial, ...], ...]
    parameters: tuple[Parameter, ...]
    inputs: tuple[tuple[str, measured.Signal], ...]
    peaked: tuple[float, ...]
    first_lost: str


def measure(network: Network, arguments: Sequence[Any], known: Mapping[str, Elementwise]) -> Measured:
    """Evaluate a network and its exact gradient, and put numbers beside predictions.

    Args:
        network: The network.
        arguments: Its parameters, the rest, and the batch, leaf by leaf.
        known: Activations by name.
    """
    program, pieces = network.program, network.pieces
    prepare(program, pieces)
    found = forward(program, pieces, arguments)
    back = gradient(program, pieces, found)
    native = native_gradient(program, pieces, found) if _may_lose(program, back) else {}
    values = dict(program.constants) | dict(zip(program.ins, arguments, strict=True))
    own = sites(network, found, back, values, known)
    ways = segments(network, own, found, back)
    return Measured(
        float(np.asarray(results(program, found.values)[0])),
        tuple(_layers(own, ways)),
        tuple(ways),
        *_recurrences(network, arguments, found, back),
        tuple(_parameters(network, arguments, back, native)),
        tuple(_inputs(network, found)),
        tuple(measured.peaked(np.asarray(found.values[v])) for v in network.softmaxes),
        _first_lost(network, found),
    )


def _may_lose(program: Program, back: Backward) -> bool:
    """Whether a gradient comes near the ends of its dtype: one of 16 bits, or 30 decades from 1."""
    narrow = any(is_float(t) and t.dtype.itemsize < 4 for t in program.types)
    sizes = [log_norm(x) for x in back.cotangents.values()]
    return narrow or any(abs(x) > 30 * np.log(10) for x in sizes if np.isfinite(x))


def _layers(own: Sequence[Site], ways: Sequence[Segment]) -> list[Layer]:
    """Numbers of all layers; those of one function are predicted in one call."""
    after = {way.sites[0] - 1: way for way in ways if way.plain}
    moments = _moments([own[k] if k in after else None for k in range(len(own))])
    scales = [measured.weights(x.weight, x.contracted) if x.contracted else None for x in own]
    out = []
    for k, site in enumerate(own):
        signal = measured.signal(site.z)
        sigma_w, square = _critical(site.activation[1]) if site.activation else (1.0, 1.0)
        way, prediction = after.get(k), None
        if way is not None and k in moments and (scale := scales[k + 1]) is not None:
            prediction = predicted.gain(*moments[k], scale.root, site.z.shape[-1])
        bias = np.zeros(1) if site.bias is None else site.bias.astype(np.float64)
        out.append(
            Layer(
                site.name,
                site.kind,
                site.source,
                site.steps,
                site.z.shape[-1],
                site.activation[0] if site.activation else "",
                signal,
                0.0 if site.input is None else float(np.mean(site.input == 0)),
                _activity(site, signal),
                site.activation is not None and _is_bounded(site.activation[1]),
                scales[k],
                float(bias.mean()),
                float(bias.std()),
                site.log_gradient,
                site.alike_gradient,
                np.nan if way is None else way.gain,
                prediction,
                sigma_w,
                square,
            )
        )
    return out


def _activity(site: Site, signal: measured.Signal) -> measured.Activity | None:
    if site.activation is None or signal.finite < 1:
        return None
    largest = float(np.abs(slopes(site.activation[1], _LINE)).max())
    phi, z = site.activation[1], site.z
    fresh = slopes(phi, measured.fresh_units(z).astype(z.dtype))
    return measured.activity(slopes(phi, z), fresh, largest)


@lru_cache(maxsize=256)
def _is_bounded(phi: Elementwise) -> bool:
    """Whether its slope vanishes on both sides."""
    there = np.abs(slopes(phi, _LINE))
    return bool(max(there[0], there[-1]) < SATURATED * there.max())


@lru_cache(maxsize=256)
def _critical(phi: Elementwise) -> tuple[float, float]:
    """sigma_w at which chi_1 = 1 without biases, and mean squared slope there; NaN where there is none."""
    sigma_w = float(critical_point(phi, 0.0).sigma_w)
    return sigma_w, sigma_w**-2 if sigma_w > 0 else np.nan


def _identity(x: Array) -> Array:
    return x


def _moments(own: Sequence[Site | None]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """mu_1 and mu_2 at the lengths of some examples of these layers; those of one function in one call."""
    by_function: dict[Elementwise, list[tuple[int, np.ndarray]]] = {}
    for k, site in enumerate(own):
        if site is not None:
            rows = site.z.reshape(-1, site.z.shape[-1])
            rows = rows[:: max(len(rows) // EXAMPLES, 1)][:EXAMPLES].astype(np.float64)
            lengths = np.stack([np.resize(x, EXAMPLES) for x in (rows.mean(1), rows.var(1))])
            by_function.setdefault(site.activation[1] if site.activation else _identity, []).append(
                (k, lengths)
            )
    out: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for phi, those in by_function.items():
        means, variances = np.concatenate([lengths for _, lengths in those], axis=1)
        square, fourth = predicted.slope_moments(phi, jnp.asarray(means), jnp.asarray(variances))
        parts = (np.reshape(x, (len(those), EXAMPLES)) for x in (square, fourth))
        out |= {k: (a, b) for (k, _), a, b in zip(those, *parts, strict=True)}
    return out


def _recurrences(
    network: Network, arguments: Sequence[Any], found: Forward, back: Backward
) -> tuple[tuple[Recurrence, ...], tuple[tuple[Trial, ...], ...]]:
    """Gradients through time, and what was tried where they are not near constant."""
    own, tried = [], []
    for lead, scan in network.scans.items():
        steps = back.steps.get(lead, {})
        if scan.over_layers or not scan.layers or not any(str(k).startswith("carry") for k in steps):
            continue
        past = recurrence(
            place(frozenset().union(*(x.parameters for x in scan.layers))), log_state_gradient(steps)
        )
        moves = not abs(past.rate) * past.steps <= TOLERATED
        own.append(past)
        tried.append(tuple(trials(network, arguments, lead, found.steps[lead])) if moves else ())
    return tuple(own), tuple(tried)


def _parameters(
    network: Network, arguments: Sequence[Any], back: Backward, native: Mapping[int, Array]
) -> list[Parameter]:
    of, out = network.flow, []
    for name, variable, own, value in zip(
        network.names, network.program.ins, network.trained, arguments, strict=True
    ):
        if not own or not is_float(value):
            continue
        exact = back.cotangents.get(variable)
        log_exact = -np.inf if exact is None else log_norm(exact)
        log_native, lost = log_exact, 0.0
        if exact is not None and variable in native:
            array = np.asarray(native[variable]).astype(np.float64)
            log_native = _log_norm(array) if np.isfinite(array).all() else np.nan
            lost = float(np.mean((array == 0) & (np.asarray(exact.mantissa) != 0)))
        out.append(
            Parameter(
                name,
                int(np.size(value)),
                is_factor(network.program, of, variable),
                bool(of.users.get(variable)),
                variable in of.reached,
                _log_norm(np.asarray(value).astype(np.float64)),
                log_exact,
                log_native,
                lost,
            )
        )
    return out


def _log_norm(array: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log(np.linalg.norm(array)))


def _inputs(network: Network, found: Forward) -> list[tuple[str, measured.Signal]]:
    """What goes into layers that no other layer precedes."""
    out = []
    for layer in network.layers:
        if layer.kind != "embedding" and not network.flow.parameters[layer.signal]:
            x = np.asarray(found.values[layer.signal])
            out.append((place(layer.parameters), measured.signal(x.reshape(len(x), -1))))
    return out


def _first_lost(network: Network, found: Forward) -> str:
    """The first value between pieces that is not finite."""
    for variable, k in network.flow.makers.items():
        value = found.values.get(variable)
        if (
            value is not None
            and is_float(value)
            and not np.isfinite(np.asarray(value).astype(np.float64)).all()
        ):
            equation = network.program.equations[k]
            return f"{equation.name} at {source_line(equation)}"
    return ""
