"""The Jacobian of one network, layer by layer: its spectra, one gradient, its chain rule, its mean field.

J = D_L W_L ... D_1 W_1 is kept in one of the forms of `signalprop.bench.spectra`, so that its singular values
are found at any depth. Which activation and weight family a network has may be traced: networks that
differ in them share their draws and one program.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis import finitewidth, freeprob, jacobian, meanfield
from signalprop.bench.engine.errors import InputError
from signalprop.bench.measure.data import inputs
from signalprop.bench.measure.spectra import FORMS, FormName
from signalprop.models.activations import Activation, activation, chosen
from signalprop.models.mlp import draw_layer

Q_STAR = {"sigmoid": 46.0, "gelu": 8.0}  # lengths of stable critical points; the others have theirs at 0
EXACT: dict[tuple[str, str], Callable[[int], finitewidth.LogGain]] = {
    ("linear", "gaussian"): lambda n: finitewidth.linear_log_gain((n, n)),
    ("relu", "gaussian"): lambda n: finitewidth.log_gain((n, n)),
    ("relu", "orthogonal"): lambda n: finitewidth.orthogonal_log_gain(n, 1),
}


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


def follow(
    key: jax.Array,
    case: Case,
    names: tuple[str, ...],
    weights: tuple[str, ...],
    width: int,
    depths: tuple[int, ...],
    dtype: str,
    form: FormName = "exact",
    source: str = "gaussian",
) -> dict[str, jax.Array]:
    """Singular values at every depth, gain at every layer, and losses of one network, from one pass.

    Args:
        key: Of the weights and of the input, whose mean square is 1.
        case: The network.
        names: Activations to choose from; the signal of homogeneous ones is rescaled in every layer.
        weights: Schemes to choose from.
        width: Units of the input and of every layer.
        depths: Where singular values are found, increasing; the last is the depth.
        dtype: Of weights and signal.
        form: ``exact`` finds every singular value; ``fast`` leaves those below eps times the largest NaN, and
            with them the rank.
        source: The input: ``gaussian``, or a data set of `signalprop.bench.data`, turned to ``width`` units.

    Returns:
        ``log_singular_values``, ``log_mean_square`` (of s), ``relative_variance`` (of s^2) and ``rank`` per
        depth; ``log_gain``, log |J u|^2 of the first unit vector u, per layer; NaN where the signal is lost.
        The layers where the signal left its dtype (``forward_lost_at``) and where in float32 the norm of J u
        (``norm_lost_at``) and J u itself (``vector_lost_at``) became 0 or infinite; 0 if never.
    """
    product_form = FORMS[form]
    phi, at = chosen(names, case.activation), jnp.array(depths)
    homogeneous = jnp.array([activation(name).homogeneous for name in names])[case.activation]
    weight_key, input_key = jax.random.split(key)

    def step(walk: Walk, layer: jax.Array) -> tuple[Walk, Any]:
        draws = [
            draw_layer(weight_key, layer, width, width, family, case.sigma_w, case.sigma_b, dtype)
            for family in weights
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
    if source != "gaussian":
        x = inputs(source, input_key, 1, width, dtype=dtype)[0]
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


def chain_rule_error(phi: Activation, sigma_w: jax.Array) -> jax.Array:
    """Largest relative difference over layers between dE/dy^l by autodiff and by products of D_l W_l."""
    rng, depth, width = np.random.default_rng(0), 20, 16
    kernels = rng.normal(size=(depth, width, width)) * sigma_w / np.sqrt(width)
    x, top = rng.normal(size=(2, width))

    def network(shifts: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(y: jax.Array, layer: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            z = (y + layer[1]) @ layer[0]
            return phi(z), z

        return jax.lax.scan(step, jnp.asarray(x), (kernels, shifts))

    _, pull_back, z = jax.vjp(network, jnp.zeros((depth, width)), has_aux=True)
    (by_autodiff,) = pull_back(jnp.asarray(top))
    factors = jacobian.layer_factors(phi, kernels, z)
    _, by_product = jax.lax.scan(lambda g, a: (a.T @ g,) * 2, jnp.asarray(top), factors, reverse=True)
    difference = jnp.linalg.norm(by_autodiff - by_product, axis=1)
    return jnp.max(difference / jnp.linalg.norm(by_product, axis=1))


@cache
def critical_scales(names: tuple[str, ...]) -> tuple[tuple[float, float], ...]:
    """Critical sigma_w of each activation, with the sigma_b that keeps its length at the fixed point.

    Raises:
        InputError: If the activation has no critical point at the length 0.
    """

    def biased(index: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
        phi = chosen(names, index)
        sigma_w = meanfield.critical_sigma_w(phi, q)
        return sigma_w, q - meanfield.length_map(phi, q, sigma_w, 0.0)

    q_star = jnp.array([Q_STAR.get(name, 0.0) for name in names])
    found = np.array(jax.jit(jax.vmap(biased))(jnp.arange(len(names)), q_star)).T
    for name, (sigma_w, variance) in zip(names, found, strict=True):
        if not (np.isfinite(sigma_w) and variance > -1e-9):
            raise InputError(f"activation: {name} has no critical point at q = 0; leave it out")
    return tuple((float(sigma_w), float(np.sqrt(max(variance, 0.0)))) for sigma_w, variance in found)


def layer_moments(
    names: tuple[str, ...], sigma_w: np.ndarray, sigma_b: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log of sigma_w^2 mu_1 and mu_2 / mu_1^2 of every layer, at its own length: (activation, scale, layer).

    Lengths outside 1e-24 to 1e24 are moved there, where slopes have reached their limits.
    """

    def moments(index: jax.Array, sigma_w: jax.Array, sigma_b: jax.Array) -> freeprob.Moments:
        phi = chosen(names, index)
        q = jnp.clip(meanfield.length_trajectory(phi, sigma_w, sigma_b, 1.0, depth), 1e-24, 1e24)
        return jax.vmap(lambda q: freeprob.moments(phi, sigma_w, q, 1, "orthogonal"))(q)

    over_scales = jax.vmap(moments, (None, 0, None))
    found = jax.jit(jax.vmap(over_scales))(jnp.arange(len(names)), jnp.asarray(sigma_w), jnp.asarray(sigma_b))
    return np.asarray(found.log_mean), 1 + np.maximum(found.relative_variance, 0)


def gain_laws(
    names: tuple[str, ...], ratio: np.ndarray, width: int, family: freeprob.Weights
) -> finitewidth.LogGains:
    """Law of log |J u|^2 beside its mean-field growth: exact for linear and relu, else to first order."""
    laws = finitewidth.log_gain_as_if_independent(ratio, width, family)
    for i, name in enumerate(names):
        if (name, family) in EXACT:
            layer, layers = EXACT[name, family](width), np.arange(1, ratio.shape[-1] + 1)
            laws.mean[i], laws.variance[i] = layer.mean * layers, layer.variance * layers
    return laws
