"""One pass through a network: singular values at many depths, the gain of one vector, and what is lost."""

from functools import cache
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis import meanfield
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.jacobian_spectrum import Settings
from signalprop.bench.measure.data import inputs
from signalprop.bench.measure.spectra import FORMS
from signalprop.models.activations import activation, chosen
from signalprop.models.mlp import draw_layer

Q_STAR = {"sigmoid": 46.0, "gelu": 8.0}  # lengths of stable critical points; the others have theirs at 0


def grid(settings: Settings) -> Grid:
    """One program: activations, weight families and scales share it and its draws."""
    multiple, absolute = settings.multiple, settings.sigma_w
    names = ["critical" if m == 1 else f"{m:g} critical" for m in multiple] + [f"{s:g}" for s in absolute]
    scales = {
        "multiple": [*multiple, *[0.0] * len(absolute)],
        "absolute": [*[0.0] * len(multiple), *absolute],
    }
    kept = ("activation", "weights", "width", "depth", "dtype", "form", "input")
    constants = {name: getattr(settings, name) for name in kept}
    return Grid(
        static={},
        traced={"scale": scales},
        seeds=settings.seeds,
        constants=constants | {"critical": critical_scales(settings.activation, bool(settings.multiple))},
        coords={
            "scale": names,
            "weights": settings.weights,
            "activation": settings.activation,
            "depth": settings.depth,
            "layer": range(1, settings.depth[-1] + 1),
            "index": range(1, settings.width + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow the networks of both weight families and all activations, from the same draws."""
    names, weights = static["activation"], static["weights"]
    critical, sigma_b = jnp.asarray(static["critical"], point["multiple"].dtype).T
    sigma_w = point["multiple"] * critical + point["absolute"]
    family, index = (jnp.array(i) for i in zip(*product(range(len(weights)), range(len(names))), strict=True))

    cases = Case(family, index, sigma_w[index], sigma_b[index])
    measured = jax.vmap(lambda case: follow(key, case, static))(cases)  # two axes compile more slowly
    return {name: x.reshape(len(weights), len(names), *x.shape[1:]) for name, x in measured.items()}


@cache
def critical_scales(names: tuple[str, ...], needed: bool = True) -> tuple[tuple[float, float], ...]:
    """Critical sigma_w of each activation, with the sigma_b that keeps its length at the fixed point.

    Args:
        names: Activations.
        needed: Whether a scale is a multiple of it; if not, both are 0 where there is none.

    Raises:
        InputError: If one is needed and the activation has no critical point at the length 0.
    """

    def biased(index: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
        phi = chosen(names, index)
        sigma_w = meanfield.critical_sigma_w(phi, q)
        exists = (q > 0) | meanfield.has_slope_at_zero(phi)
        return jnp.where(exists, sigma_w, jnp.nan), q - meanfield.length_map(phi, q, sigma_w, 0.0)

    q_star = jnp.array([Q_STAR.get(name, 0.0) for name in names])
    found = np.array(jax.jit(jax.vmap(biased))(jnp.arange(len(names)), q_star)).T
    exists = np.isfinite(found[:, 0]) & (found[:, 1] > -1e-9)
    for name in np.array(names)[~exists]:
        if needed:
            hint = "leave it out, or write scales as they are: --multiple --sigma-w 1 2"
            raise InputError(f"--activation: {name} has no critical point at q = 0; {hint}")
    sigma_w, sigma_b = np.where(exists, [found[:, 0], np.sqrt(np.maximum(found[:, 1], 0))], 0.0)
    return tuple(zip(sigma_w.tolist(), sigma_b.tolist(), strict=True))


class Case(NamedTuple):
    """One network, and which of the named activations and weight families it has."""

    family: jax.Array
    activation: jax.Array
    sigma_w: jax.Array
    sigma_b: jax.Array


class Walk(NamedTuple):
    """What is carried: the signal y, J, J u as a unit vector and log |J u|^2, and J u in float32."""

    y: jax.Array
    product: Any
    direction: jax.Array
    log_gain: jax.Array
    plain: jax.Array


def follow(key: jax.Array, case: Case, static: Static) -> dict[str, jax.Array]:
    """Singular values at every depth, gain at every layer, and losses of one network, from one pass.

    The signal of homogeneous activations is rescaled in every layer. The form ``exact`` finds every singular
    value; ``fast`` leaves those below eps times the largest NaN, and with them the rank.

    Args:
        key: Of the weights and of the input, whose mean square is 1.
        case: The network.
        static: Constants of the grid: the activations and weight families to choose from, and the settings.

    Returns:
        ``log_singular_values``, ``log_mean_square`` (of s), ``relative_variance`` (of s^2) and ``rank`` per
        depth; ``log_gain``, log |J u|^2 of the first unit vector u, per layer; NaN where the signal is lost.
        The layers where the signal left its dtype (``forward_lost_at``) and where in float32 the norm of J u
        (``norm_lost_at``) and J u itself (``vector_lost_at``) became 0 or infinite; 0 if never.
    """
    names, width, dtype, depths = (static[k] for k in ("activation", "width", "dtype", "depth"))
    product_form = FORMS[static["form"]]
    phi, at = chosen(names, case.activation), jnp.array(depths)
    homogeneous = jnp.array([activation(name).homogeneous for name in names])[case.activation]
    weight_key, input_key = jax.random.split(key)

    def step(walk: Walk, layer: jax.Array) -> tuple[Walk, Any]:
        draws = [
            draw_layer(weight_key, layer, width, width, family, case.sigma_w, case.sigma_b, dtype)
            for family in static["weights"]
        ]
        drawn = jax.tree.map(lambda *leaves: jnp.stack(leaves)[case.family], *draws)
        z = drawn(walk.y)
        size = jnp.max(jnp.abs(z))
        z = z / jnp.where(homogeneous & (size > 0), size, 1)
        kernel, slopes = drawn.kernel[...].astype("float64"), phi.derivative(z).astype("float64")
        factor = (kernel * slopes).T
        product, moved = product_form.extend(walk.product, kernel, slopes), factor @ walk.direction
        length, plain = jnp.linalg.norm(moved), factor.astype("float32") @ walk.plain
        unwanted = jnp.full(width, jnp.nan, "float64")
        spectrum = jax.lax.cond(jnp.any(layer == at), product_form.finish, lambda _: unwanted, product)
        lost = {
            "forward": ~jnp.isfinite(size) | (~homogeneous & (size < jnp.finfo(dtype).tiny)),
            "norm": _is_lost(jnp.sqrt(jnp.sum(plain * plain))),
            "vector": _is_lost(plain),
        }
        log_gain = walk.log_gain + 2 * jnp.log(length)
        moved = moved / jnp.where(length > 0, length, 1)
        return Walk(phi(z), product, moved, log_gain, plain), (spectrum, log_gain, lost)

    x = jax.random.normal(input_key, (width,), dtype)
    if static["input"] != "gaussian":
        x = inputs(static["input"], input_key, 1, width, dtype=dtype)[0]
    x = x * jnp.sqrt(width / jnp.sum(x * x)).astype(dtype)
    u = jnp.zeros(width, "float64").at[0].set(1)
    walk = Walk(x, product_form.start(width, "float64"), u, jnp.zeros((), "float64"), u.astype("float32"))
    _, (spectra, log_gain, lost) = jax.lax.scan(step, walk, jnp.arange(1, depths[-1] + 1))
    seen = jnp.cumsum(lost["forward"]) == 0
    return {
        **_statistics(jnp.where(seen[at - 1, None], spectra[at - 1], jnp.nan)),
        "log_gain": jnp.where(seen, log_gain, jnp.nan),
        **{f"{k}_lost_at": jnp.where(flags.any(), flags.argmax() + 1, 0) for k, flags in lost.items()},
    }


def _statistics(log_s: jax.Array) -> dict[str, jax.Array]:
    """Singular values at every depth, and their moments; unresolved ones (NaN) are too small to count."""
    largest = log_s[:, 0]
    square = jnp.exp(2 * (log_s - jnp.where(jnp.isneginf(largest), 0, largest)[:, None]))
    square = jnp.where(jnp.isnan(log_s) & ~jnp.isnan(largest)[:, None], 0, square)
    mean = jnp.mean(square, axis=1)
    return {
        "log_singular_values": log_s,
        "log_mean_square": 2 * largest + jnp.log(mean),
        "relative_variance": jnp.mean(square * square, axis=1) / mean**2 - 1,
        "rank": jnp.where(jnp.isnan(log_s).any(1), jnp.nan, jnp.sum(log_s > -jnp.inf, axis=1)),
    }


def _is_lost(values: jax.Array) -> jax.Array:
    return ~(jnp.all(jnp.isfinite(values)) & jnp.any(values != 0))
