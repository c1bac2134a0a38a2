"""Follow small changes of a recurrent cell's state along its trajectory, path by path, in the log domain.

* ``carry``: the whole carry, (c, h) of an LSTM, from a change of c alone.
* ``hidden``: what is left if only h is followed: products of the blocks dh_t/dh_{t-1}.
* ``four_terms``: products of the popular four-term expression for dc_t/dc_{t-1}.
* ``best_unit``: products of the gates that keep the state, for the unit that keeps it best.
* ``typical_unit``: the same, averaged over units in the log.

For the LSTMs also the four terms themselves, as squared Frobenius norms per unit, by the formulas of
``analysis.gated``, and how far these are from differentiation of the cell.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from signalprop.analysis import gated
from signalprop.bench.measure.gates import activities, kept, kernels
from signalprop.models.cells import zero_carry

PATHS = ("carry", "hidden", "four_terms", "best_unit", "typical_unit")
TERMS = ("carousel", "forget", "input", "candidate", "sum")
TERM_LABELS = {
    "carousel": r"diag $f_t$",
    "forget": "by the forget gate",
    "input": "by the input gate",
    "candidate": "by the candidate",
}

CellAt = Callable[[jax.Array], Any]  # from the key of a step to the cell of that step


class _Changes(NamedTuple):
    """Changes of unit size along the first three paths, (3, n) each, and the logs of their sizes."""

    c: jax.Array
    h: jax.Array
    logs: jax.Array


def follow(cell_at: CellAt, inputs: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """Walk from a carry of zeros through all inputs.

    Args:
        cell_at: The cell of each step, drawn anew or always the same.
        inputs: Time first, (T, m).
        key: Random key of the first change and of the steps.

    Returns:
        Time first: ``log_norm`` (T, path), ``cell_square`` (T,), the mean square of the cell state (of h
        where there is no other); for an LSTM ``terms`` (T, term), ``diagonal_share`` (T,) of the last three
        terms, ``formula_error`` (T,) and ``discrepancy`` (T,), the relative error of the product of the
        four-term expressions as dc_t/dc_0. NaN for other cells.
    """
    keys = jax.random.split(key, len(inputs))
    carry = zero_carry(cell_at(keys[0]))
    walk = _memory_step if isinstance(carry, tuple) else _state_step
    state = carry[0] if isinstance(carry, tuple) else carry
    unit = jax.random.normal(key, state.shape, state.dtype)
    unit = unit / jnp.linalg.norm(unit)
    none = jnp.zeros_like(state)
    changes = _Changes(
        jnp.stack([unit, none, unit]), jnp.stack([none, unit, none]), jnp.zeros(3, state.dtype)
    )
    start = carry, changes, none, none

    def step(position: Any, now: tuple[jax.Array, jax.Array]) -> Any:
        key, x = now
        return walk(cell_at(key), x, *position)

    return dict(jax.lax.scan(step, start, (keys, inputs))[1])


def _memory_step(
    cell: Any, x: jax.Array, carry: Any, changes: _Changes, log_kept: jax.Array, previous_o: jax.Array
) -> Any:
    """One step of a cell with carry (c, h)."""
    c, h = carry
    gates, weights = activities(cell, h, x), kernels(cell)
    exposed = previous_o * (1 - jnp.tanh(c) ** 2)
    pushed_h = changes.h.at[2].set(exposed * changes.c[2])

    def push(dc: jax.Array, dh: jax.Array) -> Any:
        return jax.jvp(lambda carry: cell(carry, x)[0], (carry,), ((dc, dh),))

    carry, (dc, dh) = jax.vmap(push, out_axes=(None, 0))(changes.c, pushed_h)
    terms = gated.four_terms(weights, gates, c, previous_o)
    found = {
        **_term_sizes(terms),
        "formula_error": jnp.linalg.norm(terms.total @ changes.c[2] - dc[2]) / jnp.linalg.norm(dc[2]),
        "discrepancy": jnp.linalg.norm(dc[0] - jnp.exp(changes.logs[2] - changes.logs[0]) * dc[2])
        / jnp.linalg.norm(dc[0]),
    }
    kept_paths = jnp.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]], c.dtype)  # of c and of h
    changes = _renew(changes, dc * kept_paths[:, :1], dh * kept_paths[:, 1:])
    log_kept = log_kept + jnp.log(gates.f)
    return (carry, changes, log_kept, gates.o), found | _summary(changes, log_kept, carry[0])


def _state_step(
    cell: Any, x: jax.Array, carry: Any, changes: _Changes, log_kept: jax.Array, previous_o: jax.Array
) -> Any:
    """One step of a cell with carry h, whose changes are kept in the place of c."""
    log_kept = log_kept + jnp.log(kept(cell, carry, x))
    carry, pushed = jax.jvp(lambda h: cell(h, x)[0], (carry,), (changes.c[0],))
    dc = jnp.zeros_like(changes.c).at[0].set(pushed)
    changes = _renew(changes, dc, jnp.zeros_like(dc))
    absent = jnp.full((), jnp.nan, carry.dtype)
    found = dict.fromkeys(("formula_error", "discrepancy", "diagonal_share"), absent)
    found |= {"terms": jnp.full(len(TERMS), jnp.nan, carry.dtype)}
    summary = _summary(changes, log_kept, carry)
    log_norm = summary["log_norm"].at[1:3].set(jnp.nan)
    return (carry, changes, log_kept, previous_o), found | summary | {"log_norm": log_norm}


def _renew(changes: _Changes, dc: jax.Array, dh: jax.Array) -> _Changes:
    """The changes after a step at unit size; an exact zero stays, at -inf."""
    size = jnp.sqrt(jnp.sum(dc**2 + dh**2, axis=1))
    scale = jnp.where(size > 0, size, 1)[:, None]
    return _Changes(dc / scale, dh / scale, changes.logs + jnp.log(size))


def _summary(changes: _Changes, log_kept: jax.Array, state: jax.Array) -> dict[str, jax.Array]:
    gates = jnp.stack([jnp.max(log_kept), jnp.mean(log_kept)])
    return {"log_norm": jnp.append(changes.logs, gates), "cell_square": jnp.mean(state**2)}


def _term_sizes(terms: gated.FourTerms) -> dict[str, jax.Array]:
    """Squared Frobenius norms per unit, and the share of the last three terms that is on the diagonal."""
    matrices = jnp.stack(terms[1:])
    squares = [jnp.mean(terms.carousel**2)[None], jnp.sum(matrices**2, (1, 2)) / len(terms.carousel)]
    whole = jnp.sum(terms.total**2)[None] / len(terms.carousel)
    on_diagonal = jnp.sum(jnp.diagonal(matrices, axis1=1, axis2=2) ** 2)
    all_squares = jnp.sum(matrices**2)
    share = jnp.where(all_squares > 0, on_diagonal / all_squares, jnp.nan)
    return {"terms": jnp.concatenate([*squares, whole]), "diagonal_share": share}
