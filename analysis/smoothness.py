"""Where an activation bends: its kinks, and the panels on each of which quadrature resolves it.

A function that declares ``kinks`` is believed. Any other is looked at: a panel on which its last Legendre
coefficients vanish is resolved; any other is cut at the jump that is found in it, or halved. A kink that
quadrature does not know of costs it all but two digits without a sign (the correlation c* of clip(x, 0, 6) at
q = 39 came out as .37 for .89), and so does an oscillation faster than its nodes.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from signalprop.analysis.gaussian import Elementwise

Evaluation = Callable[[np.ndarray], np.ndarray]

REACH = 1024.0
"""Functions are looked at up to this size of the argument."""

_BENDS = (1.0, 4.0, 16.0, 64.0)  # where the rules split for every function

_MOST, _MOST_IN_A_PAIR = 4096, 64  # panels
_MOST_KINKS = 16  # more are a table or a comb, and become mere ends of panels
_NARROWEST = 2.0**-20
_JUMP = 1e-6  # change across rounding, in terms of the values around it
_BATCHES = (1280, 81920)  # arguments of one call of the compiled evaluation


class Splits(NamedTuple):
    """Where quadrature splits for a function.

    Attributes:
        kinks: Points where the function or one of its first two derivatives jumps.
        edges: Further ends of panels, on each of which 20 Gauss-Legendre nodes resolve it.
        pair_edges: The same for the 12 nodes in each dimension of a pair, the first 64 around zero.
        rough: Intervals where panels did not become short enough: endless kinks or turns, or noise.
    """

    kinks: tuple[float, ...]
    edges: tuple[float, ...] = ()
    pair_edges: tuple[float, ...] = ()
    rough: tuple[tuple[float, float], ...] = ()


def splits_of(phi: Elementwise) -> Splits:
    """Where quadrature splits for an activation.

    Its attribute ``kinks`` is believed. Without one, or where it is None, the function is looked at once, in
    float64 and up to `REACH`. One that depends on traced values cannot be: it is split where the functions in
    its attribute ``parts`` are.

    Raises:
        ValueError: If it depends on traced values, and has neither ``kinks`` nor ``parts``.
    """
    if (declared := getattr(phi, "kinks", None)) is not None:
        return Splits(tuple(declared))
    if parts := getattr(phi, "parts", ()):
        return Splits(
            *(tuple(sorted(set().union(*each))) for each in zip(*map(splits_of, parts), strict=True))
        )
    return _looked_at(phi)


def kinks_of(phi: Elementwise) -> tuple[float, ...]:
    """Points where an activation or one of its first two derivatives jumps; see `splits_of`."""
    return splits_of(phi).kinks


def breaks_of(phi: Elementwise) -> tuple[float, ...]:
    """Where a rule in one dimension is split for an activation: at its kinks and edges; see `splits_of`."""
    splits = splits_of(phi)
    return splits.kinks + splits.edges


def pair_breaks_of(phi: Elementwise) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Kinks and edges at which a rule in two dimensions is split for an activation; see `splits_of`."""
    splits = splits_of(phi)
    return splits.kinks, splits.pair_edges


def jumps_of(phi: Elementwise) -> tuple[float, ...]:
    """The kinks at which an activation itself jumps, as a step function does."""
    if parts := getattr(phi, "parts", ()):
        return tuple(sorted(set().union(*map(jumps_of, parts))))
    return _jumps(phi, kinks_of(phi))


@lru_cache(maxsize=1024)
def _jumps(phi: Elementwise, kinks: tuple[float, ...]) -> tuple[float, ...]:
    if not kinks:
        return ()
    with jax.ensure_compile_time_eval():
        at = np.asarray(kinks, jnp.result_type(float))
        aside = 64 * np.finfo(at.dtype).eps * np.maximum(np.abs(at), 1)
        left, right = np.asarray(jax.jit(lambda x: phi(x))(np.stack([at - aside, at + aside])))
    jump = np.abs(right - left) > 1e-3 * np.maximum(np.abs(left), np.abs(right))
    return tuple(kink for kink, jumps in zip(kinks, jump, strict=True) if jumps)


@lru_cache(maxsize=1024)
def _looked_at(phi: Elementwise) -> Splits:
    """The splits of a function that declares nothing."""
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        evaluate, dtype = _evaluation(phi)
        noise = 1.0 if dtype == np.float64 else 1e3
        starts = np.array([*_BENDS, 256.0, REACH])
        ends = np.concatenate([-starts[::-1], [0.0], starts])
        kinks, edges, rough = _panels(evaluate, ends, 20, 1e-7 * noise, _MOST)
        near = np.concatenate([ends, kinks])
        near = np.unique(near[np.abs(near) <= _BENDS[-1]])
        _, pair_edges, _ = _panels(evaluate, near, 12, 1e-5 * noise, _MOST_IN_A_PAIR)
    if kinks.size > _MOST_KINKS:
        kinks, edges = np.empty(0), np.union1d(kinks, edges)
    known = np.concatenate([ends, kinks])
    return Splits(
        tuple(kinks.tolist()),
        tuple(np.setdiff1d(edges, known).tolist()),
        tuple(np.setdiff1d(pair_edges, known).tolist()),
        rough,
    )


def _evaluation(phi: Elementwise) -> tuple[Evaluation, np.dtype]:
    """A function and its first two derivatives at any number of points, of shape (3, points); their type."""

    def slope(x: Array) -> tuple[Array, Array]:
        return jax.jvp(phi, (x,), (jnp.ones_like(x),))

    @jax.jit
    def three(x: Array) -> Array:
        (value, first), (_, second) = jax.jvp(slope, (x,), (jnp.ones_like(x),))
        return jnp.stack([value, first, second])

    def evaluate(x: np.ndarray) -> np.ndarray:
        batch = _BATCHES[x.size > 16 * _BATCHES[0]]
        parts = np.resize(x, (-(-x.size // batch), batch))
        found = np.concatenate([np.asarray(three(part)) for part in parts], -1)
        return found[:, : x.size].reshape(3, *x.shape)

    try:
        return evaluate, evaluate(np.zeros(1)).dtype
    except jax.errors.TracerArrayConversionError as error:
        hint = "so where it bends cannot be found; give it an attribute `kinks`"
        raise ValueError(f"{phi} depends on traced values, {hint}") from error


def _panels(
    evaluate: Evaluation, ends: np.ndarray, nodes: int, tolerance: float, most: int
) -> tuple[np.ndarray, np.ndarray, tuple[tuple[float, float], ...]]:
    """Halve panels, or cut them at jumps, until each is resolved; those around zero first.

    Args:
        evaluate: See `_evaluation`.
        ends: Of the first panels, ascending.
        nodes: Gauss-Legendre nodes per panel.
        tolerance: Largest last coefficient, in terms of the largest value seen so far from zero on.
        most: Panels in all.

    Returns:
        The jumps, the other ends of panels, and the intervals that were given up.
    """
    size = np.zeros((3, 1))
    kinks, found, rough = ends[_jump(evaluate, ends)], ends, np.empty((0, 2))
    outer = np.maximum(np.abs(ends[1:]), np.abs(ends[:-1]))
    for reach in np.unique(outer):
        waiting = np.stack([ends[:-1], ends[1:]], 1)[outer == reach]
        while waiting.size:
            waiting = waiting[np.argsort(np.abs(waiting.mean(1)))]
            panels, waiting = np.split(waiting, [most // 32])
            largest, last = _coefficients(evaluate, panels, nodes)
            size = np.fmax(size, largest.max(1, keepdims=True))
            panels = panels[(last > tolerance * size)[:2].any(0)]
            lost = np.diff(panels)[:, 0] < _NARROWEST * np.maximum(1, np.abs(panels).max(1, initial=0))
            lost |= found.size + np.arange(len(panels)) >= most
            if lost.any():
                defined = np.isfinite(evaluate(panels)).all((0, 2))
                rough, panels = np.concatenate([rough, panels[lost & defined]]), panels[~lost]
            if panels.size:
                cuts, jump = _cuts(evaluate, panels)
                kinks, found = np.union1d(kinks, cuts[jump]), np.union1d(found, cuts)
                halves = np.stack([panels[:, 0], cuts], 1), np.stack([cuts, panels[:, 1]], 1)
                waiting = np.concatenate([waiting, *halves])
    return kinks, np.setdiff1d(found, kinks), _joined(rough)


def _coefficients(evaluate: Evaluation, panels: np.ndarray, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest value and larger one of the last two Legendre coefficients, each of shape (3, panels).

    Each panel is looked at as a whole and in eighths, so that what falls between its nodes is seen.
    """
    x, weights = np.polynomial.legendre.leggauss(nodes)
    last = np.polynomial.legendre.legvander(x, nodes - 1)[:, -2:] * weights[:, None] * (nodes - 0.5)
    eighths = np.linspace(panels[:, 0], panels[:, 1], 9, axis=-1)
    left, right = (np.concatenate([panels[:, i, None], eighths[:, i : i + 8]], 1)[..., None] for i in (0, 1))
    values = evaluate((left + right) / 2 + (right - left) / 2 * x)
    values = np.where(np.isfinite(values), values, 0)
    return np.abs(values).max((2, 3)), np.abs(values @ last).max((2, 3))


def _cuts(evaluate: Evaluation, panels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where to cut each panel: at the jump in which bisection towards the larger change ends, or midway."""
    a, b = panels.T
    at_a, at_b = evaluate(a), evaluate(b)
    size = np.fmax(np.abs(at_a), np.abs(at_b))
    for _ in range(80):
        half = a + (b - a) / 2
        at_half = evaluate(half)
        size = np.fmax(size, np.abs(at_half))
        go_left = _change(at_half, at_a, size).max(0) >= _change(at_b, at_half, size).max(0)
        a, b = np.where(go_left, a, half), np.where(go_left, half, b)
        at_a, at_b = np.where(go_left, at_a, at_half), np.where(go_left, at_half, at_b)
    where = np.where(np.float32(a) == a, a, b)
    inside = (where > panels[:, 0]) & (where < panels[:, 1])
    jump = inside & (_change(at_a, at_b, size) > _JUMP).any(0)
    return np.where(jump, where, panels.mean(1)), jump


def _jump(evaluate: Evaluation, x: np.ndarray) -> np.ndarray:
    """Whether there is a jump at a point, in terms of the values from zero to there."""
    order = np.argsort(np.abs(x), kind="stable")
    around = np.abs(evaluate(x + np.array([[-0.25], [0.25]]) * np.maximum(1, np.abs(x)))).max(1)
    size = np.empty_like(around)
    size[:, order] = np.fmax.accumulate(around[:, order], axis=1)
    left, right = (evaluate(np.nextafter(x, side * np.inf) + side * 1e-30) for side in (-1, 1))
    jump: np.ndarray = np.logical_or.reduce(_change(left, right, size) > _JUMP)
    return jump


def _change(a: np.ndarray, b: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Difference in terms of the size; 0 where one is not finite."""
    finite = np.isfinite(a) & np.isfinite(b) & (size > 0)
    change: np.ndarray = np.abs(np.where(finite, b, 0) - np.where(finite, a, 0))
    change /= np.where(finite, size, 1)
    return change


def _joined(intervals: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Intervals, with those as one between which there is little."""
    joined: list[tuple[float, float]] = []
    for a, b in sorted(map(tuple, intervals.tolist())):
        if joined and a - joined[-1][1] <= 4 * (b - a):
            joined[-1] = (joined[-1][0], b)
        else:
            joined.append((a, b))
    return tuple(joined)
