"""Tied and untied recurrences of Gaussian matrices and relu units, beside the powers of fixed matrices."""

from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy import special

from signalprop.analysis import products, trajectory
from signalprop.analysis.recurrent import spectral_radius
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.power_iteration import Settings
from signalprop.bench.experiments.power_iteration.matrices import FORMATS, follow
from signalprop.models.mlp import draw_layer
from signalprop.models.stream import Signal, rescale

WEIGHTS = ("tied", "untied")
HE = float(np.sqrt(2))  # scale of the relu network over the linear one


def grid(settings: Settings) -> Grid:
    """One compilation per width; the matrices of fixed size are followed beside the first."""
    return Grid(
        static={"width": settings.width},
        traced={},
        seeds=settings.seeds,
        constants={
            "matrix": settings.matrix,
            "size": settings.size,
            "radius": settings.radius,
            "steps": settings.steps,
            "with_matrices": settings.width[0],
            "dtype": settings.dtype,
        },
        coords={
            "matrix": settings.matrix,
            "k": range(1, settings.steps[-1] + 1),
            "step": settings.steps,
            "weights": WEIGHTS,
            "format": FORMATS,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow the matrices of fixed size, and tied and untied Gaussian recurrences of one width."""
    width, steps, dtype = static["width"], static["steps"], static["dtype"]

    def matrices() -> dict[str, jax.Array]:
        return follow(key, static["matrix"], static["size"], static["radius"], steps[-1], dtype)

    if width == static["with_matrices"]:
        found = matrices()
    else:
        found = {name: jnp.full(v.shape, jnp.nan, dtype) for name, v in jax.eval_shape(matrices).items()}
    return {**found, **recurrences(key, width, steps, dtype)}


def recurrences(
    key: PRNGKeyArray, n: int, steps: tuple[int, ...], dtype: DTypeLike
) -> dict[str, Float[Array, "..."]]:
    """Tied (first) and untied (second) Gaussian recurrences, recorded at some steps, all in logarithms.

    Args:
        key: Random key.
        n: Units; the matrices have variance 1/n.
        steps: Where to record, increasing.
        dtype: Type of everything.
    """

    def draw(number: Any) -> Array:
        return draw_layer(key, number, n, n, dtype=dtype).kernel[...].T

    first = draw(1)

    def step(number: Array, state: Recurrence) -> Recurrence:
        return jax.vmap(advance, (0, 0, None))(state, jnp.stack([first, draw(number)]), number)

    def record(state: Recurrence, ends: Array) -> Any:
        state = jax.lax.fori_loop(ends[0] + 1, ends[1] + 1, step, state)
        sizes = [p.log_scale + jnp.log(jnp.linalg.norm(p.mantissa, 2, (1, 2))) for p in state[:2]]
        return state, (*sizes, state.h.log_norm(), state.u.log_norm(), state.cosine)

    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), begin(n, dtype))
    ends = np.stack([(0, *steps[:-1]), steps], 1).astype(np.int32)
    both, recorded = jax.lax.scan(record, both, jnp.asarray(ends))
    names = ("log_power", "log_power_vector", "log_h", "log_norm_gain", "cosine")
    masked = jnp.where(both.mask[0][:, None], HE * first, 0)
    return {
        **{name: values.T for name, values in zip(names, recorded, strict=True)},
        "log_radius": jnp.log(spectral_radius(first)),
        "log_masked_radius": jnp.log(spectral_radius(masked)),
        "frozen_at": both.changed[0].astype(dtype),
    }


class Recurrence(NamedTuple):
    """A linear and a relu recurrence that multiply by the same matrices.

    Attributes:
        power: Product of the matrices.
        vector: Product of the matrices and a vector.
        h: State of the relu network.
        u: Jacobian of the relu network times a vector.
        cosine: Between h and the state before.
        mask: Units of the relu network that are active.
        changed: Last step in which the mask changed.
    """

    power: products.Scaled
    vector: products.Scaled
    h: Signal
    u: Signal
    cosine: Float[Array, ""]
    mask: Bool[Array, " n"]
    changed: Int[Array, ""]


def begin(n: int, dtype: DTypeLike) -> Recurrence:
    """Recurrences before the first step, from unit vectors that are the same for all networks.

    The linear one starts at x, normal quantiles in increasing order, the relu network at relu(x), and its
    Jacobian acts on the vector of ones. Gaussian weights know no direction: any fixed vectors would do.
    """
    x, u = jnp.asarray(special.ndtri((np.arange(n) + 0.5) / n), dtype), jnp.ones(n, dtype)
    none, zero = jnp.zeros((), jnp.int32), jnp.zeros((), dtype)
    vector = products.Scaled((x / jnp.linalg.norm(x))[:, None], zero)
    h = Signal(jax.nn.relu(x) / jnp.linalg.norm(jax.nn.relu(x)), none)
    gain = Signal(u / jnp.linalg.norm(u), none)
    return Recurrence(products.start_scaled(n, dtype), vector, h, gain, zero, x > 0, none)


def advance(state: Recurrence, factor: Float[Array, "n n"], number: Int[Array, ""]) -> Recurrence:
    """One step: multiply by the factor, and in the relu network by sqrt(2) times the factor."""
    z, v = HE * (factor @ state.h.mantissa), HE * (factor @ state.u.mantissa)
    mask = z > 0
    h = rescale(Signal(jax.nn.relu(z), state.h.exponent))
    lengths = jnp.linalg.norm(h.mantissa) * jnp.linalg.norm(state.h.mantissa)
    return Recurrence(
        products.append_scaled(state.power, factor),
        products.append_scaled(state.vector, factor),
        h,
        rescale(Signal(jnp.where(mask, v, 0), state.u.exponent)),
        (h.mantissa @ state.h.mantissa) / lengths,
        mask,
        jnp.where(jnp.any(mask != state.mask), number, state.changed),
    )


SATURATED = 6.0  # pre-activation of the second unit in `driven_nilpotent`


def driven_nilpotent(gain: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Measured and exact log norm of dh_t/dh_0 of a tanh network whose recurrent weights square to zero.

    W = [[g, -g], [g, -g]], and inputs that hold the pre-activations at (0, 6): the first unit stays linear,
    the second saturates, D = diag(1, d), and D W has the eigenvalue g (1 - d):

    .. math:: |(D W)^t| = (g (1 - d))^{t-1} \, g \sqrt{2 (1 + d^2)}

    Args:
        gain: g.
        steps: Largest t, up to 600 (norms are formed).

    Returns:
        Both for t = 1 .. steps.
    """
    weights, held = gain * np.array([[1.0, -1.0], [1.0, -1.0]]), np.array([0.0, SATURATED])
    inputs = np.tile(held - weights @ np.tanh(held), (steps, 1))
    inputs[0] = held

    def step(h: Array, x: Array) -> tuple[Array, Array]:
        h = jnp.tanh(jnp.asarray(weights) @ h + x)
        return h, h

    factors = jax.jit(lambda xs: trajectory.state_jacobians(step, jnp.zeros(2), xs))(jnp.asarray(inputs))
    prefixes = accumulate(np.asarray(factors), lambda product, factor: factor @ product)
    logs = np.log([np.linalg.norm(product, 2) for product in prefixes])
    d, t = 1 - np.tanh(SATURATED) ** 2, np.arange(1, steps + 1)
    exact = (t - 1) * np.log(gain * (1 - d)) + np.log(gain * np.sqrt(2 * (1 + d**2)))
    return logs, exact
