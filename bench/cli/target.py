"""What is to be diagnosed, as it is named on the command line: model, batch and loss."""

from pathlib import Path
from typing import Any

import numpy as np

from signalprop.bench.engine.errors import InputError
from signalprop.models.lookup import imported


def opened(target: str, data: Path | None, loss: str) -> tuple[Any, Any, Any]:
    """Model, batch and loss of a factory, a file and a function.

    Raises:
        InputError: If the factory fails, the file cannot be read, or there is no batch.
        Unusable: If a name cannot be imported.
    """
    if ":" not in target:
        raise InputError(f"target: got {target!r}; write package.module:factory")
    factory = imported("factory", target)
    try:
        made = factory()
    except Exception as error:  # whatever a user's code raises
        raise InputError(f"{target} fails: {type(error).__name__}: {error}") from error
    model, *rest = made if _is_several(made) else (made,)
    batch = rest[0] if rest else None
    own_loss = rest[1] if len(rest) > 1 else None
    if data is not None:
        batch = _read(data)
    if batch is None:
        raise InputError(f"{target}: no batch; return (model, batch) or give --data FILE.npz")
    return model, batch, imported("loss", loss) if loss else own_loss


def _is_several(made: Any) -> bool:
    """Whether a factory returned a batch too: (function, params) and (module, variables) are one model."""
    if not isinstance(made, tuple) or len(made) > 3:
        return False
    if len(made) == 3:
        return True
    first = made[0]
    return len(made) == 2 and (isinstance(first, tuple) or not _takes_variables(first))


def _takes_variables(first: Any) -> bool:
    """Whether it is a function or a Linen module, which is no model without its parameters."""
    from flax import linen, nnx

    return isinstance(first, linen.Module) or (callable(first) and not isinstance(first, nnx.Module))


def _read(path: Path) -> Any:
    try:
        with np.load(path) as file:
            arrays = tuple(file[name] for name in file.files)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--data: cannot read {path} ({error}); write an .npz file of numpy.savez"
        ) from error
    if not arrays:
        raise InputError(f"--data: {path} holds no array")
    return arrays[0] if len(arrays) == 1 else arrays
