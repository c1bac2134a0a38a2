r"""Spectral density of a product of free layers, by continuation of its subordination function.

A layer is D W with d = phi'^2, here divided by its mean: E d = 1 and W W^T has mean 1. For the squared
singular values of a product of L layers let z(w) = E[lambda / (w - lambda)]. There is one analytic map u(w)
of the upper half plane into itself with z = E[d / (u - d)] and

.. math:: \log w = L \log u + (1 - (1 - g) L) \log\frac{1 + z}{z} + g L \log z

g = 1 for Gaussian and 0 for orthogonal weights. The right side is explicit in u, so nothing but a scalar
equation is left. With log u in the strip 0 < Im < pi every logarithm is the principal one: no branch has to
be chosen, and a solution in the strip is the solution. It is followed down the imaginary axis of w, which all
points share, and then for each point from there along the circle |w| = lambda to the real axis.

Sources: Pennington, Schoenholz & Ganguli (arXiv 1711.04735) for the S transforms of the layers; Belinschi &
Bercovici (2007), A new approach to subordination results in free probability.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import ndtr
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Bool, Complex, Float

from signalprop.analysis.compiled import compiled
from signalprop.analysis.gaussian import Elementwise, derivative, nodes, resolvable
from signalprop.analysis.smoothness import breaks_of, kinks_of

RUNGS = 256  # steps down the imaginary axis
STEP = float(np.log(10) * 0.4)  # largest ratio of successive angles, as a logarithm
MAX_ITERATIONS = 60
CELLS = 1000  # of the law of one layer, on each of two scales


class Cells(NamedTuple):
    """Law of d over its mean, linear between ``low`` and ``high`` within cells of probability ``share``."""

    low: Float[Array, " cells"]
    high: Float[Array, " cells"]
    share: Float[Array, " cells"]


class Layer(NamedTuple):
    """Law of d = phi'^2 over its mean, as a quadrature rule and in cells, and log(sigma_w^2 E phi'^2).

    Where phi' is 0 almost everywhere the slopes are 0 and the logarithm is -inf.
    """

    slopes: Float[Array, " nodes"]
    weights: Float[Array, " nodes"]
    cells: Cells
    log_mean: Float[Array, ""]


class Image(NamedTuple):
    """Where u = exp(v) lies on the curve: z, the mass 1 + z, log w, and derivatives of log w and z by v."""

    z: Array
    mass: Array
    log_w: Array
    log_w_slope: Array
    z_slope: Array


@compiled("phi")
def layer(phi: Elementwise, sigma_w: Float[ArrayLike, ""], q: Float[ArrayLike, ""]) -> Layer:
    """Law of the squared slopes of one layer at mean square pre-activation q; at 0 the limit of small q."""
    q = resolvable(q)
    x, weights = nodes(q, breaks_of(phi))
    slopes = derivative(phi, x) ** 2
    mean = jnp.dot(weights, slopes)
    log_mean = 2 * jnp.log(jnp.asarray(sigma_w, x.dtype)) + jnp.log(mean)
    mean = jnp.where(mean > 0, mean, 1)
    return Layer(slopes / mean, weights, _cells(phi, q, mean), log_mean)


def _cells(phi: Elementwise, q: Array, mean: Array) -> Cells:
    """Cells on the scale of z and on that of the slopes, split at the kinks, with values just inside them."""
    narrow, kinks = np.linspace(-7, 7, CELLS + 1), np.asarray(kinks_of(phi), float)
    wide = jnp.asarray(np.concatenate([4 * narrow, kinks]), q.dtype) / jnp.maximum(jnp.sqrt(q), 1e-30)
    z = jnp.sort(jnp.concatenate([narrow.astype(q.dtype), jnp.clip(wide, -7, 7)]))
    inset = 8 * float(jnp.finfo(q.dtype).eps)
    left, right = z[:-1] + inset, z[1:] - inset
    ends = derivative(phi, jnp.sqrt(q) * jnp.stack([left, right])) ** 2 / mean
    return Cells(jnp.min(ends, axis=0), jnp.max(ends, axis=0), jnp.diff(ndtr(z)))


def image(v: Array, gaps: Array, law: Layer, depth: Array, gaussian: Float[ArrayLike, ""]) -> Image:
    """Where u = exp(v) lies on the curve; real for u above all slopes, else of complex type.

    Args:
        v: Logarithm of u.
        gaps: u - d, given so that it can be exact where u is close to the largest slope.
        law: Of one layer.
        depth: Number of layers.
        gaussian: 1 for Gaussian, 0 for orthogonal weights.
    """
    u, inverse = jnp.exp(v), 1 / gaps
    z = jnp.sum(law.weights * law.slopes * inverse)
    mass = u * jnp.sum(law.weights * inverse)
    z_slope = -u * jnp.sum(law.weights * law.slopes * inverse * inverse)
    log_z, power = jnp.log(z), 1 - (1 - gaussian) * depth
    log_w = depth * v + power * (jnp.log(mass) - log_z) + gaussian * depth * log_z
    log_w_slope = depth - power * z_slope / (z * mass) + gaussian * depth * z_slope / z
    return Image(z, mass, log_w, log_w_slope, z_slope)


def density(
    log_x: Float[Array, " points"], law: Layer, depth: Float[ArrayLike, ""], gaussian: Float[ArrayLike, ""]
) -> tuple[Float[Array, " points"], Bool[Array, " points"]]:
    """Density per unit of log lambda, at lambda in units of the mean, and where the equation was solved.

    Error about 1e-9 of the density in float64, 1e-3 in float32, away from the edges of the spectrum. Not for
    one orthogonal layer, whose law is that of d: see `one_layer`.

    Args:
        log_x: Where, in any order, over at most a few hundred decades.
        law: Of one layer.
        depth: Number of layers; may be traced.
        gaussian: 1 for Gaussian, 0 for orthogonal weights.
    """
    depth = jnp.asarray(depth, log_x.dtype)
    eps = float(jnp.finfo(log_x.dtype).eps)
    tolerance = 100 * eps * (depth + 10)

    def curve(v: Array) -> Image:
        return image(v, jnp.exp(v) - law.slopes, law, depth, gaussian)

    def follow(v: Array, log_w: Array) -> tuple[Array, Array]:
        v, error = _newton(curve, v, log_w, tolerance)
        return v, error

    spread = 1 + depth * (jnp.dot(law.weights, law.slopes**2) - 1 + gaussian)
    top = jnp.log(100 * spread) + jnp.maximum(0.0, jnp.max(log_x))
    rungs = jnp.linspace(top, jnp.minimum(jnp.min(log_x), 0.0), RUNGS) + 0.5j * np.pi
    _, ladder = lax.scan(lambda v, log_w: (follow(v, log_w)[0],) * 2, rungs[0], rungs)
    nearest = jnp.argmin(jnp.abs(rungs.real - log_x[:, None]), axis=1)

    smallest = _last_angle(log_x.dtype)
    steps = int(np.ceil(np.log(np.pi / 2 / smallest) / STEP))
    angles = jnp.geomspace(np.pi / 2, smallest, steps + 1, dtype=log_x.dtype)

    def turn(v: Array, angle: Array) -> tuple[Array, Array]:
        return jax.vmap(follow)(v, log_x + 1j * angle)

    v, errors = lax.scan(turn, ladder[nearest], angles)
    found = errors[-1] < 100 * tolerance
    return jnp.where(found, -jax.vmap(curve)(v).z.imag / np.pi, jnp.nan), found


def reach_of_atoms(dtype: DTypeLike) -> float:
    """Distance in log lambda up to which an atom, widened by the last angle, spoils the density."""
    return float(50 * np.sqrt(_last_angle(dtype)))


def _last_angle(dtype: DTypeLike) -> float:
    """How close to the real axis the density is taken."""
    return float(np.power(float(jnp.finfo(dtype).eps), 0.6))


class _Iterate(NamedTuple):
    v: Array
    error: Array
    slope: Array
    damping: Array
    steps: Array


def _newton(
    curve: Callable[[Array], Image], v: Array, log_w: Array, tolerance: Array
) -> tuple[Complex[Array, ""], Float[Array, ""]]:
    """Solve curve(v).log_w = log_w in the strip 0 < Im v < pi; a step that gains nothing is shortened."""

    def residual(v: Array) -> tuple[Array, Array]:
        at = curve(v)
        return at.log_w - log_w, at.log_w_slope

    def unfinished(state: _Iterate) -> Array:
        going = (state.damping > 1e-7) & (state.steps < MAX_ITERATIONS)
        return going & ~(jnp.abs(state.error) <= tolerance)

    def step(state: _Iterate) -> _Iterate:
        v = state.v - state.damping * state.error / state.slope
        error, slope = residual(v)
        better = (v.imag > 0) & (v.imag < np.pi) & (jnp.abs(error) < jnp.abs(state.error))
        damping = jnp.where(better, jnp.minimum(1, 4 * state.damping), state.damping / 2)
        v, error = jnp.where(better, v, state.v), jnp.where(better, error, state.error)
        return _Iterate(v, error, jnp.where(better, slope, state.slope), damping, state.steps + 1)

    start = _Iterate(v, *residual(v), jnp.ones((), v.real.dtype), jnp.zeros((), int))
    end = lax.while_loop(unfinished, step, start)
    return end.v, jnp.abs(end.error)


def one_layer(
    log_x: Float[Array, " points"], cells: Cells
) -> tuple[Float[Array, " points"], Float[Array, " points"]]:
    """Law of d over its mean: density per unit of log d without atoms, and mass above with them.

    It is that of the squared singular values of one orthogonal layer. Flat cells are atoms. The mass above
    has an error of 5e-5, near a smooth maximum of the slope 3e-3.

    Args:
        log_x: Where.
        cells: Law of d.
    """
    x, span = jnp.exp(log_x)[:, None], cells.high - cells.low
    flat = span == 0
    place = jnp.where(flat, x >= cells.low, (x - cells.low) / jnp.where(flat, 1, span))
    inside = (place > 0) & (place < 1)
    per_log = jnp.sum(jnp.where(inside, cells.share * x / jnp.where(flat, 1, span), 0), axis=1)
    return per_log, jnp.sum(cells.share * jnp.clip(1 - place, 0, 1), axis=1)
