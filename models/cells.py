"""One table of recurrent cells, drawn by functions of one signature."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import ArrayLike, Float, PRNGKeyArray

from signalprop.models import gated
from signalprop.models.lookup import Unusable, imported, named
from signalprop.models.recurrent import draw_vanilla

DrawCell = Callable[..., nnx.RNNCellBase]


def _vanilla(phi: str, scheme: str = "gaussian") -> DrawCell:
    """Cells without gates have no use for ``forget_bias``."""

    def draw(
        key: PRNGKeyArray,
        inputs: int,
        units: int,
        *,
        gain: Float[ArrayLike, ""] = 1.0,
        input_scale: Float[ArrayLike, ""] = 1.0,
        forget_bias: Float[ArrayLike, "*units"] = 0.0,
        dtype: DTypeLike = jnp.float32,
    ) -> nnx.SimpleCell:
        return draw_vanilla(key, inputs, units, phi, scheme, gain, input_scale, dtype=dtype)

    return draw


def _renamed(draw_gated: Callable[..., nnx.RNNCellBase], bias: str) -> DrawCell:
    """Of cells whose keeping gate has another name; with no such gate, ``bias`` is empty."""

    def draw(
        key: PRNGKeyArray,
        inputs: int,
        units: int,
        *,
        forget_bias: Float[ArrayLike, "*units"] = 0.0,
        **scales: Any,
    ) -> nnx.RNNCellBase:
        return draw_gated(key, inputs, units, **scales, **({bias: forget_bias} if bias else {}))

    return draw


CELLS: dict[str, DrawCell] = {
    "tanh": _vanilla("tanh"),
    "sigmoid": _vanilla("sigmoid"),
    "relu": _vanilla("relu"),
    "linear": _vanilla("linear"),
    "tanh_orthogonal": _vanilla("tanh", "orthogonal"),
    "relu_orthogonal": _vanilla("relu", "orthogonal"),
    "irnn": _vanilla("relu", "scaled_identity"),
    "tanh_identity": _vanilla("tanh", "scaled_identity"),
    "smart_tanh": _vanilla("tanh", "smart_tanh"),
    "lstm_1997": _renamed(gated.draw_lstm1997, ""),
    "lstm_1997_full": _renamed(partial(gated.draw_lstm1997, truncated=False), ""),
    "lstm": gated.draw_lstm,
    "lstm_peephole": gated.draw_peephole_lstm,
    "gru": _renamed(gated.draw_gru, "update_bias"),
    "gru_before": _renamed(gated.draw_gru_before, "update_bias"),
    "minimal_rnn": _renamed(gated.draw_minimal_rnn, "update_bias"),
}


def cell(name: str) -> DrawCell:
    """Find the function that draws a cell, by the cell's name, or import a user's own.

    It is called as ``draw(key, inputs, units, *, gain, input_scale, forget_bias, dtype)``; the three
    scales may be traced. ``gain`` multiplies the recurrent kernels, ``input_scale`` is
    ``sqrt(inputs Var V_ij)``, and ``forget_bias`` belongs to the gate that keeps the state; a cell without
    such a gate does not use it. Experiments take the output of a cell to be the last array of its carry.

    Args:
        name: A key of ``CELLS``, or ``module:name`` of such a function.

    Raises:
        Unusable: If the name is unknown (the message gives the nearest one) or cannot be imported, or if what
            it names cannot be called so, such as a class of Flax: it has no use for the scales.
    """
    if ":" not in name:
        return named("cell", name, CELLS)
    found: DrawCell = imported("cell", name)
    what, returned, called = "cannot be called", "a cell", found
    if isinstance(found, type):
        returned = f"{found.__name__}(inputs, units, rngs=nnx.Rngs(key))"
        what, called = "is a class", partial(found.__init__, None)  # type: ignore[misc]
    scales = dict.fromkeys(("gain", "input_scale", "forget_bias", "dtype"))
    try:
        inspect.signature(called).bind(None, None, None, **scales)
    except TypeError as error:
        form = "draw(key, inputs, units, *, gain, input_scale, forget_bias, dtype)"
        raise Unusable(f"cell {name!r}: {what} ({error}); write a function {form} for {returned}") from error
    return found


def zero_carry(cell: nnx.RNNCellBase) -> Any:
    """The carry of zeros of one sequence, without a batch axis."""
    return cell.initialize_carry((1,), nnx.Rngs(0))
