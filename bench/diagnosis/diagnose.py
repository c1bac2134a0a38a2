"""The door: from anybody's model and a batch to a report."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis.diagnosis import layers, network, rule
from signalprop.bench.diagnosis.report import Report
from signalprop.models.activations import ACTIVATIONS
from signalprop.models.adapters import adapted

KNOWN = ACTIVATIONS | {  # what JAX offers besides
    "gelu (tanh)": jax.nn.gelu, "relu6": jax.nn.relu6, "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_swish": jax.nn.hard_silu, "celu": jax.nn.celu, "mish": jax.nn.mish,
    "squareplus": jax.nn.squareplus, "log_sigmoid": jax.nn.log_sigmoid,
}  # fmt: skip
"""Activations that are called by their names; any other is called custom."""


class DiagnoseError(ValueError):
    """A model, batch or loss that cannot be diagnosed; one line that says why, and what to give instead."""


def diagnose(
    model: Any,
    batch: Any,
    loss: Callable[[Any, Any], Any] | None = None,
    *,
    rngs: Mapping[str, Any] | None = None,
) -> Report:
    """Measure how gradients flow through a network, beside what theory predicts, and name what is wrong.

    The model is not edited. Gradients are exact over any number of decades, in the model's own dtypes.

    Args:
        model: An ``nnx.Module``, ``(linen module, variables)`` or ``(function, params)``.
        batch: What the loss takes; without a loss what the model is called with, a tuple as its arguments.
        loss: ``loss(model, batch)``, a number or ``(number, anything)``. Without one, gradients are those of
            the model's result if it is a number, else of a random projection of its outputs.
        rngs: Random keys of a Linen module, as ``apply`` takes them.

    Returns:
        The report; ``print`` it, or look at ``verdict``, ``table``, ``figure()`` and ``to_json(path)``.

    Raises:
        DiagnoseError: If the model cannot be traced, or its loss is not one floating number.

    Example:
        >>> report = diagnose(model, (images, labels), loss=loss_fn)  # doctest: +SKIP
        >>> print(report)  # doctest: +SKIP
    """
    try:
        own = adapted(model, batch, loss, rngs)
    except TypeError as error:
        raise DiagnoseError(str(error)) from error
    parts = [list(part.values()) for part in (own.parameters, own.rest, own.batch)]
    if not any(_is_float(x) for x in parts[0]):
        raise DiagnoseError("model: has no floating-point parameters; nothing can be trained in it")
    try:
        opened = network.read(own.loss, own.parameters, own.rest, own.batch)
    except Exception as error:  # whatever a user's code raises
        raise DiagnoseError(_why(error)) from error
    _require_number(opened)
    with _quiet():
        found = layers.measure(opened, jax.tree.leaves(parts), KNOWN)
    dtypes = {str(x.dtype) for x in parts[0] if _is_float(x)}
    narrowest = min(dtypes, key=lambda d: jnp.finfo(d).bits)
    return Report(found, tuple(rule.findings(found, float(jnp.finfo(narrowest).eps))), narrowest, own.notes)


def _is_float(x: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.floating))


def _quiet() -> Any:
    return np.errstate(all="ignore")


def _require_number(opened: network.Network) -> None:
    out = opened.program.outs[0]
    types = opened.program.types[out] if isinstance(out, int) else out.type
    if types.shape != () or not jnp.issubdtype(types.dtype, jnp.floating):
        shape = ",".join(map(str, types.shape))
        raise DiagnoseError(
            f"loss: returned {types.dtype}[{shape}]; return one number, for example loss.mean()"
        )


def _why(error: Exception) -> str:
    """A user's error in one line."""
    text = " ".join(str(error).split())
    return f"model: cannot be called with the batch: {type(error).__name__}: {text[:300]}"
