"""Kinds of normalized networks, and when their units are saturated."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from scipy import special, stats

from signalprop.models.normalization import Norm, batch_norm, norm

SATURATED: dict[str, tuple[Callable[[jax.Array], jax.Array], float]] = {
    "sigmoid": (lambda y: y * (1 - y) < 0.025, float(special.logit((1 + 0.9**0.5) / 2))),
    "tanh": (lambda y: 1 - y * y < 0.1, float(np.arctanh(0.9**0.5))),
}  # where the slope is below a tenth of the largest, from the output, and the least |z| for it


class Case(NamedTuple):
    """A kind of network: its norm, and the scale of its weights where that is not the large one."""

    name: str
    norm: Norm
    keep: float = 1.0
    large: bool = True


def cases(batch_size: tuple[int, ...], keep: tuple[float, ...]) -> list[Case]:
    """All kinds of networks."""
    over_batches = [Case(f"batch {b}", partial(_by_batch, batch_size=b)) for b in batch_size]
    dropped = [Case(f"dropout {k:g}", norm("none"), k, False) for k in keep]
    plain = [Case("none", norm("none"), large=False), Case("none, large", norm("none"))]
    return [*plain, Case("layer", norm("layer")), Case("rms", norm("rms")), *over_batches, *dropped]


def _by_batch(z: jax.Array, batch_size: int) -> jax.Array:
    """Batch norm of consecutive batches, all with the same weights."""
    return jax.vmap(batch_norm)(z.reshape(-1, batch_size, z.shape[-1])).reshape(z.shape)


def own_scale(name: str) -> float:
    """He's scale for rectifiers, LeCun's for the others."""
    return float(2**0.5) if name in ("relu", "leaky_relu") else 1.0


def share_saturated(name: str, kind: Case, q: float) -> float:
    """Share of saturated units: of Gaussian z of length q, or of points of a normalized batch."""
    least = SATURATED[name][1]
    if not kind.name.startswith("batch"):
        return float(special.erfc(least / np.sqrt(2 * q)))
    free = int(kind.name.split()[1]) - 1
    return float(stats.beta.sf(min(least**2 / free, 1.0), 0.5, (free - 1) / 2))
