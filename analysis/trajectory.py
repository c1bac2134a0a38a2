"""The path of a recurrent state, and the Jacobian of each of its steps, for any cell on its whole carry.

A step is the body of a scan and the call of a Flax cell alike: ``step(carry, x) -> (carry, output)``. The
carry is that of one sequence, any pytree of floating arrays, such as (c, h) of an LSTM; its leaves are joined
to one vector in the order of ``jax.flatten_util.ravel_pytree``. Time is the first axis of the inputs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

Step = Callable[[Any, Any], tuple[Any, Any]]
AXES = (
    "give a cell, not nnx.RNN, and inputs with time as their first axis, then the features of one sequence; "
    "vmap over a batch"
)


class Flat(NamedTuple):
    """A step on vectors.

    Attributes:
        step: ``(state, x) -> state``.
        state: The carry as a vector (n,).
        unravel: Makes a carry of a vector.
    """

    step: Callable[[Array, Any], Array]
    state: Float[Array, " n"]
    unravel: Callable[[Array], Any]


def flatten(step: Step, carry: Any) -> Flat:
    """Write a step as a function of one vector, the joined leaves of its carry.

    Args:
        step: ``(carry, x) -> (carry, output)``.
        carry: Pytree of floating arrays, without a batch axis.

    Raises:
        ValueError: If the carry has no arrays or one that is not floating, or if the step gives back
            something else than a carry of the same shape and an output.
    """
    leaves = jax.tree.leaves(carry)
    kinds = sorted({str(jnp.result_type(leaf)) for leaf in leaves if not _floating(leaf)})
    if kinds or not leaves:
        given = f"arrays of type {', '.join(kinds)}" if kinds else "no arrays"
        raise ValueError(f"carry: got {given}; give a pytree of floating arrays")
    state, unravel = ravel_pytree(carry)

    def flat_step(state: Array, x: Any) -> Array:
        try:
            with jax.default_matmul_precision(
                "highest"
            ):  # accelerators round products to fewer digits by default
                back = step(unravel(state), x)
        except TypeError as error:  # whatever a cell says of a wrong call, or of shapes that do not fit
            given = f"carry {_shapes(carry)} and an input of one step {_shapes(x)}"
            raise ValueError(f"step: cannot take {given} ({error}); {AXES}") from error
        if not (isinstance(back, tuple) and len(back) == 2):
            raise ValueError(f"step: got back {type(back).__name__}; return (carry, output)")
        after, _ = back
        if _shapes(after) != _shapes(carry):
            given = f"a carry {_shapes(after)} for {_shapes(carry)} and an input of one step {_shapes(x)}"
            raise ValueError(f"step: got back {given}; {AXES}")
        return ravel_pytree(after)[0].astype(state.dtype)

    return Flat(flat_step, state, unravel)


def like_carry(carry: Any, gradient: Any) -> Float[Array, " n"]:
    """A gradient with respect to a carry as a vector, in the dtype of the carry's.

    Raises:
        ValueError: If its leaves are not those of the carry.
    """
    if _shapes(gradient) != _shapes(carry):
        given = f"got {_shapes(gradient)} for a carry {_shapes(carry)}"
        raise ValueError(f"loss_gradient: {given}; give a pytree like the carry")
    return ravel_pytree(gradient)[0].astype(ravel_pytree(carry)[0].dtype)


def num_steps(inputs: Any) -> int:
    """Number T of steps, the length of the first axis of every leaf.

    Raises:
        ValueError: If there are no leaves or of different lengths.
    """
    lengths = {len(leaf) for leaf in jax.tree.leaves(inputs)}
    if len(lengths) != 1:
        raise ValueError(f"inputs: got sequences of lengths {sorted(lengths)}; give time as their first axis")
    return lengths.pop()


def states(step: Step, carry: Any, inputs: Any) -> Float[Array, "T+1 n"]:
    """The carries h_0..h_T as vectors.

    Args:
        step: ``(carry, x) -> (carry, output)``.
        carry: The first carry, h_0.
        inputs: Inputs x_1..x_T along the first axis of every leaf.
    """
    flat = flatten(step, carry)

    def move(state: Array, x: Any) -> tuple[Array, Array]:
        after = flat.step(state, x)
        return after, after

    _, after = jax.lax.scan(move, flat.state, inputs)
    return jnp.concatenate([flat.state[None], after])


def lost_at(states: Float[Array, "T+1 n"]) -> Int[Array, ""]:
    """The first step t whose state is not finite; 0 if all are, and also if the first carry is not.

    Args:
        states: Carries h_0..h_T.
    """
    bad = ~jnp.all(jnp.isfinite(states), axis=-1)
    return jnp.argmax(bad)


def state_jacobian(step: Step, carry: Any, x: Any) -> Float[Array, "n n"]:
    """Jacobian dh_t/dh_{t-1} of one step on the whole carry.

    For ``h_t = phi(W h_{t-1} + V x_t)`` it is D_t W with D_t = diag phi' after W.

    Args:
        step: ``(carry, x) -> (carry, output)``.
        carry: The carry h_{t-1} before the step.
        x: Input x_t.
    """
    flat = flatten(step, carry)
    jacobian: Array = jax.jacfwd(flat.step)(flat.state, x)
    return jacobian


def state_jacobians(step: Step, carry: Any, inputs: Any) -> Float[Array, "T n n"]:
    """Jacobians of all steps, the factors of a product as `signalprop.analysis.products` takes them.

    ``factors[0]`` belongs to t = 1 and acts first.

    Args:
        step: ``(carry, x) -> (carry, output)``.
        carry: The first carry, h_0.
        inputs: Inputs x_1..x_T along the first axis of every leaf.
    """
    flat = flatten(step, carry)
    before = states(step, carry, inputs)[:-1]
    factors: Array = jax.vmap(jax.jacfwd(flat.step))(before, inputs)
    return factors


def _floating(leaf: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.floating))


def _shapes(carry: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every leaf by its place in the carry."""
    leaves = jax.tree_util.tree_leaves_with_path(carry)
    return {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}
