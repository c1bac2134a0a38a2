"""Anybody's model as a plain function of its parameters: Flax NNX, Flax Linen, or any function with a pytree.

Nothing is edited in the model, and what a call would change in it (batch statistics, random streams) changes
in a copy.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen, nnx
from jaxtyping import Array

Loss = Callable[[Any, Any], Any]


class Adapted(NamedTuple):
    """A model with its loss as a function of arrays.

    Attributes:
        loss: Scalar loss of (parameters, rest, batch), which are lists of arrays.
        parameters: What is trained, by name.
        rest: What the model holds besides, by name: batch statistics, random keys, frozen weights.
        batch: Leaves of the batch, by name.
        notes: What was assumed.
    """

    loss: Callable[[list[Any], list[Any], list[Any]], Array]
    parameters: dict[str, Any]
    rest: dict[str, Any]
    batch: dict[str, Any]
    notes: tuple[str, ...]


def adapted(
    model: Any, batch: Any, loss: Loss | None = None, rngs: Mapping[str, Any] | None = None
) -> Adapted:
    """The model as a function.

    Args:
        model: An ``nnx.Module``; ``(module, variables)`` of Linen; or ``(function, params)`` with
            ``function(params, *inputs)``, the params any pytree (of Haiku, Equinox or one's own).
        batch: What the loss takes; without a loss what the model is called with, a tuple as its arguments.
        loss: ``loss(model, batch)``, a number or ``(number, anything)``, with the model called in it as ever.
            Without one: the function's own result if that is a number, else a random projection of the
            outputs, over the square root of their number.
        rngs: Random keys of a Linen module, as ``apply`` takes them.

    Raises:
        TypeError: If the model is none of these.
    """
    parameters, rest, rebuilt = _opened(model, dict(rngs or {}))
    names, leaves, structure = _leaves((parameters, rest))
    batch_names, batch_leaves, batch_structure = _leaves(batch)
    arrays = [k for k, x in enumerate(leaves) if _is_array(x)]
    own = {k for k in arrays if names[k].startswith("0/")}
    first, second = [k for k in arrays if k in own], [k for k in arrays if k not in own]

    def function(own: list[Any], others: list[Any], inputs: list[Any]) -> Array:
        every = list(leaves)
        for k, x in zip([*first, *second], [*own, *others], strict=True):
            every[k] = x
        called = rebuilt(*jax.tree.unflatten(structure, every))
        given = jax.tree.unflatten(batch_structure, inputs)
        if loss is not None:
            found = loss(called, given)
            return jnp.asarray(found[0] if isinstance(found, tuple) else found)
        return _projection(called(*given) if isinstance(given, tuple) else called(given))

    return Adapted(
        function,
        {names[k].removeprefix("0/"): leaves[k] for k in first},
        {names[k].removeprefix("1/"): leaves[k] for k in second},
        dict(zip(batch_names, batch_leaves, strict=True)),
        () if loss else ("no loss was given: gradients are those of a random projection of the outputs",),
    )


def _opened(model: Any, rngs: dict[str, Any]) -> tuple[Any, Any, Callable[[Any, Any], Callable[..., Any]]]:
    """Parameters, the rest, and how to make the callable model of both."""
    if isinstance(model, nnx.Module):
        structure, parameters, rest = nnx.split(model, nnx.Param, ...)  # type: ignore[misc]
        return parameters, rest, lambda own, others: nnx.merge(structure, own, others)
    if isinstance(model, tuple) and len(model) == 2:
        function, variables = model
        if isinstance(function, linen.Module):
            own = variables.get("params", variables)
            others = (
                {name: part for name, part in variables.items() if name != "params"}
                if own is not variables
                else {}
            )

            def bound(own: Any, others: Any) -> Any:
                return function.bind(
                    {"params": own, **others["variables"]},
                    rngs=others["rngs"],
                    mutable=list(others["variables"]),
                )

            return own, {"variables": others, "rngs": rngs}, bound
        if callable(function):
            return variables, (), lambda own, _: lambda *inputs: function(own, *inputs)
    raise TypeError(_refusal(model))


def _refusal(model: Any) -> str:
    expected = "give an nnx.Module, (linen module, variables) or (function, params)"
    root = type(model).__module__.partition(".")[0]
    if any(kind.__module__.partition(".")[0] == "torch" for kind in type(model).__mro__):
        return f"model: got a PyTorch module, which JAX cannot differentiate; {expected}"
    if root == "keras":
        return f"model: got a Keras model; {expected}, for example by its stateless_call"
    if isinstance(model, linen.Module):
        return f"model: got a Linen module without its variables; {expected}"
    if callable(model):
        return f"model: got a function without its parameters; {expected}"
    return f"model: got {type(model).__name__}; {expected}"


def _leaves(tree: Any) -> tuple[list[str], list[Any], Any]:
    found, structure = jax.tree_util.tree_flatten_with_path(tree)
    return [_name(path) for path, _ in found], [leaf for _, leaf in found], structure


def _name(path: Any) -> str:
    """``layers/3/kernel`` of a path; the leaf of an NNX variable ends in ``value``."""
    return jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value")


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _projection(outputs: Any) -> Array:
    """The outputs along a random direction, or themselves if they are one number."""
    floats = [x for x in jax.tree.leaves(outputs) if jnp.issubdtype(jnp.result_type(x), jnp.floating)]
    if len(floats) == 1 and jnp.ndim(floats[0]) == 0:
        return jnp.asarray(floats[0])
    keys = jax.random.split(jax.random.key(0), max(len(floats), 1))
    wide = [x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in floats]
    along = [
        jnp.vdot(jax.random.normal(key, x.shape, x.dtype), x) / x.size**0.5
        for key, x in zip(keys, wide, strict=True)
    ]
    return jnp.asarray(sum(along))
