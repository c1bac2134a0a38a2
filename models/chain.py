"""A deep network as a chain of blocks, each drawn where it is needed, with its gradients in the log domain.

A block is any callable pytree ``y -> y`` that keeps the shape, such as an ``nnx.Module`` or a
``jax.tree_util.Partial``: those of `signalprop.models.residual`, ``normalization``, ``convolutional`` and
``transformer``, or one of your own. Blocks are drawn again on the way back, so that a chain of 10,000 holds
one block at a time and the signals between them.
"""

from collections.abc import Callable, Sequence
from math import log
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from signalprop.models.stream import Signal, rescale

Block = Callable[[Array], Array]


class ChainProfile(NamedTuple):
    """What a chain does to a signal and to a gradient; y^0 is the input, y^l the output of block l = 1..L.

    Attributes:
        y: The output y^L.
        log_mean_square: Log of the mean over all entries of the square of y^l, l = 0..L; NaN from ``lost_at``
            on.
        log_gradient: Log of the norm of dE/dy^l over all entries, l = 0..L; -inf where it is exactly zero.
            NaN everywhere if the signal was lost.
        log_parameter_gradients: A block whose parameters are replaced by the logs of the norms of
            dE/dparameter, l = 1..L, in the same way.
        lost_at: First block whose output left the dtype's range: not finite, or all entries zero or
            subnormal; 0 if none.
    """

    y: Float[Array, "*shape"]
    log_mean_square: Float[Array, " L+1"]
    log_gradient: Float[Array, " L+1"]
    log_parameter_gradients: Any
    lost_at: Int[Array, ""]


def chain_profile(
    draw: Callable[[Int[Array, ""]], Block] | Sequence[Block],
    depth: int,
    x: Float[Array, "*shape"],
    loss_gradient: Callable[[Array], Array],
) -> ChainProfile:
    """Send a signal through a chain and a gradient back, both recorded after every block.

    The gradient is kept as a mantissa and an exponent, so it may grow or shrink by any factor. The signal is
    in the dtype of ``x`` and must stay in its range. Under ``jit``, what a caller does not use is not
    computed.

    Args:
        draw: Gives block ``number``, from 1 and traced: the same block whenever it is asked for. Or the
            blocks themselves, at least L of one structure.
        depth: Number L of blocks.
        x: Input y^0: one example, or a batch that the blocks may couple.
        loss_gradient: Gives dE/dy^L, of the shape of ``x``, from y^L.

    Raises:
        ValueError: If ``draw`` needs the number of a block as a Python integer, or if there are too few
            blocks or some of another structure.
    """
    draw = _traceable(draw) if callable(draw) else _stacked(draw, depth)

    def up(y: Array, number: Array) -> tuple[Array, tuple[Array, Array]]:
        out = draw(number)(y)
        return out, (y, _log_mean_square(out))

    def down(state: tuple[Array, Array], below: tuple[Array, Array]) -> tuple[Any, Any]:
        gradient, exponent = state
        number, y = below
        _, pull_back = jax.vjp(lambda block, y: block(y), draw(number), y)
        to_parameters, to_signal = pull_back(gradient)
        mantissa, moved = _rescaled(to_signal)
        sizes = jax.tree.map(lambda g: _log_norm(g, exponent), to_parameters)
        state = mantissa, exponent + moved
        return state, (_log_norm(*state), sizes)

    numbers = jnp.arange(1, depth + 1)
    y, (signals, sizes) = jax.lax.scan(up, x, numbers)
    smallest = 2 * jnp.log(jnp.finfo(x.dtype).smallest_normal)
    lost = ~(sizes > smallest) | jnp.isposinf(sizes)
    sizes = jnp.where(jnp.cumsum(lost) > 0, jnp.nan, sizes)
    top = _rescaled(loss_gradient(y))
    _, (log_gradient, log_parameters) = jax.lax.scan(down, top, (numbers, signals), reverse=True)
    log_gradient = jnp.concatenate([log_gradient, _log_norm(*top)[None]])
    return ChainProfile(
        y,
        jnp.concatenate([_log_mean_square(x)[None], sizes]),
        jnp.where(lost.any(), jnp.nan, log_gradient),
        jax.tree.map(lambda g: jnp.where(lost.any(), jnp.nan, g), log_parameters),
        jnp.where(lost.any(), jnp.argmax(lost) + 1, 0),
    )


def _traceable(draw: Callable[[Array], Block]) -> Callable[[Array], Block]:
    """The same function, which says what to write instead if it cannot be traced."""

    def drawn(number: Array) -> Block:
        try:
            return draw(number)
        except (jax.errors.TracerIntegerConversionError, jax.errors.ConcretizationTypeError) as error:
            raise ValueError(
                "draw: needs the number of a block as a Python integer, but it is traced; give the list of "
                "blocks itself, or draw each block from jax.random.fold_in(key, number)"
            ) from error

    return drawn


def _stacked(blocks: Sequence[Block], depth: int) -> Callable[[Array], Block]:
    """A function that gives each of some blocks, whose parameters are stacked."""
    if len(blocks) < depth:
        raise ValueError(f"draw: got {len(blocks)} blocks for depth {depth}; give as many as the depth")
    blocks = list(blocks[:depth])
    if any(callable(leaf) for leaf in jax.tree.leaves(blocks)):
        raise ValueError("draw: got blocks that are plain functions; make each an nnx.Module or a Partial")
    forms = [(jax.tree.structure(b), [(jnp.shape(x), x.dtype) for x in jax.tree.leaves(b)]) for b in blocks]
    if other := [i for i, form in enumerate(forms, 1) if form != forms[0]]:
        raise ValueError(f"draw: block {other[0]} differs from block 1 in structure or shape; give like ones")
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
    return lambda number: jax.tree.map(lambda leaf: leaf[number - 1], stacked)


def _rescaled(values: Array) -> tuple[Array, Array]:
    """A mantissa with a largest entry in [1/2, 1), and one exponent of two for all entries."""
    signal = rescale(Signal(values.ravel(), jnp.zeros((), jnp.int32)))
    return signal.mantissa.reshape(values.shape), signal.exponent


def _log_norm(values: Array, exponent: Array) -> Array:
    return Signal(values.ravel(), exponent).log_norm()


def _log_mean_square(values: Array) -> Array:
    return 2 * _log_norm(values, jnp.zeros((), jnp.int32)) - log(values.size)
