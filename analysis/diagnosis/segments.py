"""The way of the gradient in parts that add up: between places that every path passes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from signalprop.analysis.diagnosis.network import Network, divides_by_spread, joins
from signalprop.analysis.diagnosis.recurrence import log_state_gradient
from signalprop.analysis.diagnosis.sites import Site, place
from signalprop.analysis.program.blockfloat import BlockFloat, log_norm, rescaled
from signalprop.analysis.program.flat import source_line
from signalprop.analysis.program.gradients import Backward, Forward, backward
from signalprop.analysis.program.reading import SHAPE_ALONE, region

PROBES = 3
"""Random directions by which the gain of a part without a formula is expected."""


End = tuple[str, float]
"""Name of a place, and the log of the gradient's norm there."""


@dataclass(frozen=True)
class Segment:
    """The way between two places.

    Attributes:
        start: Name of the first.
        end: Name of the second.
        gain: Log of |gradient| at the start over that at the end.
        isotropic: The same for gradients that arrive at the end in random directions, their mean.
        isotropic_error: Its standard error.
        sites: Indices of the layers on the way.
        joins: Sums of two signals on the way.
        norms: Divisions by a spread of the signal on the way.
        plain: Whether it is one activation and one layer, the first of which ends at the start.
    """

    start: str
    end: str
    gain: float
    isotropic: float
    isotropic_error: float
    sites: tuple[int, ...]
    joins: int
    norms: int
    plain: bool


def segments(network: Network, sites: Sequence[Site], found: Forward, back: Backward) -> list[Segment]:
    """The way from the first station to the last; a scan over layers step by step."""
    program, of = network.program, network.flow
    stations = [v for v in network.stations if v in back.cotangents and v in found.values]
    probes = np.array([_probe(network, found, stations, seed) for seed in range(PROBES)])
    places = {x.output: place(x.parameters) for x in network.layers}
    ends: list[End | None] = [None]
    for v in stations:
        name = places.get(v) or f"join at {source_line(program.equations[of.makers[v]])}"
        ends.append((name, log_norm(back.cotangents[v])))
    makers = [-1, *(of.makers[v] for v in stations), len(program.equations)]
    own: list[Segment] = []
    for k, (start, end) in enumerate(pairwise([*ends, None])):  # before the first and behind the last too
        between = range(makers[k] + 1, makers[k + 1] + 1)
        inside = tuple(i for i, x in enumerate(sites) if x.order[0] in between)
        deep = [lead for lead, scan in network.scans.items() if scan.over_layers and scan.equation in between]
        if len(deep) == 1 and deep[0] in back.steps:
            own += _through_scan(network, deep[0], sites, inside, back, start, end)
        if deep or start is None or end is None:
            continue
        equations = [program.equations[i] for i in between if i < len(program.equations)]
        probe = probes[:, k - 1]
        own.append(
            Segment(
                start[0],
                end[0],
                start[1] - end[1],
                float(probe.mean()),
                float(probe.std(ddof=1) / len(probe) ** 0.5),
                inside,
                sum(joins(e, of) for e in equations),
                sum(divides_by_spread(e, of) for e in equations),
                _is_plain(network, stations[k - 1], stations[k]),
            )
        )
    return own


def _through_scan(
    network: Network,
    lead: int,
    sites: Sequence[Site],
    inside: tuple[int, ...],
    back: Backward,
    start: End | None,
    end: End | None,
) -> Iterator[Segment]:
    """A scan over layers, step by step, from and to stations if there are any: by its one layer, or state."""
    scan = network.scans[lead]
    body = network.program.equations[scan.equation].body
    assert body is not None
    steps = [i for i in inside if sites[i].order[0] == scan.equation]
    counts = (
        sum(joins(e, scan.flow) for e in body.equations),
        sum(divides_by_spread(e, scan.flow) for e in body.equations),
    )
    single = len(scan.layers) == 1 and counts == (0, 0)
    if single:
        logs = [sites[i].log_gradient for i in steps]
        names = [sites[i].name for i in steps]
    else:
        logs = list(log_state_gradient(back.steps[lead]))
        names = [
            f"{place(frozenset().union(*(x.parameters for x in scan.layers)))}[{t}]" for t in range(len(logs))
        ]
    ends = [x for x in (start, *zip(names, logs, strict=True), end) if x is not None]
    for t, (a, b) in enumerate(pairwise(ends), 0 if start else 1):
        own = tuple(i for i in steps if sites[i].order[1] == (t if single else t - 1))
        plain = single and 0 < t < len(logs)
        yield Segment(a[0], b[0], a[1] - b[1], np.nan, np.nan, own, *counts, plain)


def _is_plain(network: Network, start: int, end: int) -> bool:
    """Whether the layer that ends at one place takes the activation of the other as it is."""
    first, layer = (next((x for x in network.layers if x.output == v), None) for v in (start, end))
    if layer is None or first is None:
        return False
    found = region(network.program, network.flow, start)
    variable = layer.signal
    while variable != (start if found is None else found.out):
        maker = network.flow.makers.get(variable)
        if maker is None or network.program.equations[maker].name not in SHAPE_ALONE:
            return False
        variable = network.program.equations[maker].variables[0]
    return True


def _probe(network: Network, found: Forward, stations: Sequence[int], seed: int) -> list[float]:
    """Log gains of the ways between stations, for a random unit cotangent set in at the end of each."""
    if not stations:
        return []
    arrived: dict[int, float] = {}
    rng, places = np.random.default_rng(seed), set(stations[:-1])

    def at_random(variable: int, value: BlockFloat) -> BlockFloat:
        if variable not in places:
            return value
        arrived[variable] = log_norm(value)
        return _unit(value.mantissa, rng)

    last = stations[-1]
    start: Mapping[int, BlockFloat] = {last: _unit(found.values[last], rng)}
    backward(network.program, network.pieces, found, start, at_random)
    return [arrived.get(v, -np.inf) for v in stations[:-1]]


def _unit(like: Array, rng: np.random.Generator) -> BlockFloat:
    x = rng.standard_normal(like.shape)
    return _rescaled(jnp.asarray(x / np.linalg.norm(x), like.dtype), jnp.zeros((), jnp.int32))


_rescaled: Callable[[Array, Array], BlockFloat] = jax.jit(rescaled)
