r"""What a recurrent weight matrix says about gradients through time, and what it does not.

The Jacobian of ``h_t = phi(W h_{t-1} + ...)`` over k steps is the product of D_t W with D_t = diag phi'. Of a
linear network it is W^k: the spectral radius decides in the end, non-normality what happens before. With
slopes of at most gamma only bounds remain, from singular values (Pascanu et al., arXiv 1211.5063). Exponents
of wide relu networks and of nilpotent weights under an activation are at the end.

Matrix functions are for one real square matrix; callers vmap. Called with numbers they raise a ValueError for
a matrix that is not square or not finite; under ``jit`` and ``vmap``, where values are unknown, the result of
one that is not finite is NaN. All are natural logarithms where the name says so.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from signalprop.analysis.compiled import compiled
from signalprop.analysis.eigenvalues import eigenvalues
from signalprop.analysis.gaussian import Elementwise, derivative, pair_expectation
from signalprop.analysis.products import append_scaled, start_scaled
from signalprop.analysis.smoothness import pair_breaks_of

Matrix = Float[ArrayLike, "n n"]
Scalar = Float[Array, ""]

NUM_ANGLES = 65  # of the half circle, for the numerical radius
NUM_PEAKS = 2  # of them that are refined
RESOLVENT_GRID = 24, 33  # distances from the unit circle, angles of the half circle
NEAREST, FARTHEST = 1e-4, 10.0  # distances from the unit circle


class OneSidedBounds(NamedTuple):
    """What singular values say about the Jacobian of k steps; see `one_sided_bounds`."""

    log_rate: Float[Array, ""]
    must_vanish: Bool[Array, ""]
    may_explode: Bool[Array, ""]


class TransientBounds(NamedTuple):
    """Logarithms of bounds of the norm |A^k|, k = 0..steps; see `transient_bounds`."""

    log_spectral: Float[Array, " steps+1"]
    log_singular: Float[Array, " steps+1"]
    log_berger: Float[Array, " steps+1"]
    log_eigenbasis: Float[Array, " steps+1"]
    log_kreiss_lower: Float[Array, ""]
    log_kreiss_upper: Float[Array, ""]


def spectral_radius(matrix: Matrix) -> Scalar:
    r"""Largest modulus of an eigenvalue, rho(A) = lim |A^k|^{1/k}.

    Backward stable only: a Jordan block of size m is resolved to (eps |A|)^{1/m}, so that a nilpotent matrix
    of index 64 seems to have a radius of about half its norm even in float64.

    Args:
        matrix: Real square matrix.

    Returns:
        The radius; NaN under a transformation if the matrix is not finite.

    Raises:
        ValueError: If the matrix is not square or not finite.
    """
    matrix = _square(matrix)
    return jnp.max(jnp.abs(eigenvalues(matrix) if len(matrix) > 1 else matrix))


def largest_singular_value(matrix: Matrix) -> Scalar:
    """Largest singular value s_max(A) = |A|, the operator norm.

    Args, returns and raises as `spectral_radius`.
    """
    return jnp.linalg.svd(_square(matrix), compute_uv=False)[0]


def numerical_radius(matrix: Matrix) -> Scalar:
    r"""Numerical radius w(A) = max |x* A x| over unit vectors x.

    .. math:: w(A) = \max_\theta \lambda_{max}\Bigl(\frac{e^{i\theta} A + e^{-i\theta} A^*}{2}\Bigr)

    Between max(rho(A), |A| / 2) and |A|; k / 2 for a 2 x 2 nilpotent matrix of norm k. The maximum over 65
    angles of the half circle (the other half mirrors it) is low by at most 0.03 %, as for every convex set;
    the two highest peaks are then refined to a relative 1e-9 (float32: to rounding).

    Args, returns and raises as `spectral_radius`.

    References:
        Johnson (1978), SIAM Journal on Numerical Analysis 15, 595.
    """
    matrix = _square(matrix)

    def support(place: Array) -> Array:
        turned = lax.complex(jnp.cos(place[0]), jnp.sin(place[0])) * matrix
        largest: Array = jnp.linalg.eigvalsh((turned + turned.conj().T) / 2)[-1]
        return largest

    angles = jnp.linspace(0, jnp.pi, NUM_ANGLES, dtype=matrix.dtype)[:, None]
    values = lax.map(support, angles)
    beside = jnp.pad(values, 1, mode="reflect")
    peak = (values >= beside[:-2]) & (values >= beside[2:])
    _, highest = lax.top_k(jnp.where(peak, values, -jnp.inf), NUM_PEAKS)
    step = jnp.full(1, jnp.pi / (NUM_ANGLES - 1), matrix.dtype)
    refined = lax.map(lambda start: _climb(support, start, step / 2, 14), angles[highest])
    return jnp.where(jnp.isfinite(matrix).all(), jnp.max(refined), jnp.nan)


def henrici_departure(matrix: Matrix) -> Scalar:
    r"""Departure from normality in the Frobenius norm, sqrt(|A|_F^2 - sum |lambda_i|^2).

    0 for a normal matrix, up to |A|_F sqrt(n eps); |A|_F for a nilpotent one.

    Args, returns and raises as `spectral_radius`.

    References:
        Henrici (1962), Numerische Mathematik 4, 24.
    """
    matrix = _square(matrix)
    diagonal = jnp.sum(jnp.abs(eigenvalues(matrix) if len(matrix) > 1 else matrix) ** 2)
    return jnp.sqrt(jnp.maximum(jnp.sum(matrix**2) - diagonal, 0))


def kreiss_constant(matrix: Matrix) -> Scalar:
    r"""Kreiss constant, K(A) = sup over |z| > 1 of (|z| - 1) |(z - A)^{-1}|.

    .. math:: K(A) \le \sup_k |A^k| \le e \, n \, K(A)

    Search over 24 distances |z| - 1 from 1e-4 to 10 and 33 angles of the half circle (the other half mirrors
    it), then around the highest place until the steps are 1e-6 of the first ones. Every value met is a lower
    bound of K, and 1 is its limit for large z. A peak narrower than the grid can be missed, so one within
    1e-4 of the circle.

    Args:
        matrix: Real square matrix.

    Returns:
        The constant, at least 1 (and 1 for a normal matrix of radius up to 1); inf if an eigenvalue is found
        outside the unit circle by more than rounding; NaN under a transformation if the matrix is not finite.

    Raises:
        ValueError: If the matrix is not square or not finite.

    References:
        Kreiss (1962); Spijker (1991), the factor e n; Trefethen & Embree (2005), Spectra and Pseudospectra.
    """
    matrix = _square(matrix)
    n, eps = len(matrix), float(np.finfo(matrix.dtype).eps)

    def growth(place: Array) -> Array:
        distance, angle = jnp.exp(place[0]), place[1]
        z = (1 + distance) * lax.complex(jnp.cos(angle), jnp.sin(angle))
        smallest = jnp.linalg.svd(z * jnp.eye(n, dtype=matrix.dtype) - matrix, compute_uv=False)[-1]
        return distance / smallest

    count, num_angles = RESOLVENT_GRID
    logs = jnp.linspace(np.log(NEAREST), np.log(FARTHEST), count, dtype=matrix.dtype)
    angles = jnp.linspace(0, jnp.pi, num_angles, dtype=matrix.dtype)
    places = jnp.stack(jnp.meshgrid(logs, angles, indexing="ij"), -1).reshape(-1, 2)
    best = places[jnp.argmax(lax.map(growth, places))]
    steps = jnp.stack([logs[1] - logs[0], angles[1] - angles[0]]) / 2
    found = jnp.maximum(_climb(growth, best, steps, 20), 1)
    radius = spectral_radius(matrix)
    outside = radius > 1 + n * eps * jnp.maximum(1, jnp.linalg.norm(matrix))
    return jnp.where(jnp.isnan(radius), jnp.nan, jnp.where(outside, jnp.inf, found))


def eigenbasis_condition(matrix: Matrix) -> Scalar:
    """Condition number kappa(V) of a basis of unit eigenvectors, by inverse iteration.

    1 for a normal matrix with simple eigenvalues; of multiple ones any basis counts. For a defective matrix,
    which has no such basis, it is a large number that rounding decides, or inf.

    Args, returns and raises as `spectral_radius`.
    """
    matrix = _square(matrix)
    n, eps = len(matrix), float(np.finfo(matrix.dtype).eps)
    if n == 1:
        return jnp.ones((), matrix.dtype)
    size = jnp.linalg.norm(matrix)
    starts = jax.random.normal(jax.random.key(0), (n, n), matrix.dtype)

    def eigenvector(value: Array, start: Array) -> Array:
        shifted = matrix - (value + 4 * eps * size) * jnp.eye(n, dtype=matrix.dtype)
        for _ in range(2):
            start = jnp.linalg.solve(shifted, start.astype(shifted.dtype))
            start = start / jnp.linalg.norm(start)
        return start

    basis = jax.vmap(eigenvector)(eigenvalues(matrix), starts)
    singular = jnp.linalg.svd(basis, compute_uv=False)
    return jnp.where(jnp.isnan(singular[0]) & jnp.isfinite(size), jnp.inf, singular[0] / singular[-1])


def log_power_norms(matrix: Matrix, steps: int) -> Float[Array, " steps+1"]:
    """Logarithms of |A^k| for k = 0..steps, the operator norm, over any number of decades.

    Args:
        matrix: Real square matrix.
        steps: Largest power, at least 1.

    Returns:
        Logarithms; -inf from the index of a nilpotent matrix on, if its powers cancel exactly.

    Raises:
        ValueError: If the matrix is not square or not finite.
    """
    matrix = _square(matrix)

    def multiply(power: Any, _: None) -> Any:
        power = append_scaled(power, matrix)
        return power, jnp.log(jnp.linalg.svd(power.mantissa, compute_uv=False)[0]) + power.log_scale

    _, logs = lax.scan(multiply, start_scaled(len(matrix), matrix.dtype), length=steps)
    return jnp.concatenate([jnp.zeros(1, matrix.dtype), logs])


def transient_bounds(matrix: Matrix, steps: int) -> TransientBounds:
    r"""Bounds of the norms of the powers of a matrix, in logarithms.

    ``steps`` is the largest power k. From below and from above,

    .. math:: \rho^k \le |A^k| \le \min(s_{max}^k, \; 2 w(A)^k, \; \kappa(V) \rho^k), \qquad
        K \le \sup_k |A^k| \le e \, n \, K

    with the numerical radius w (Berger), a basis V of eigenvectors and the Kreiss constant K.

    Returns:
        log_spectral: k log rho, from below.
        log_singular, log_berger, log_eigenbasis: k log s_max, log 2 + k log w, log kappa(V) + k log rho, from
            above.
        log_kreiss_lower, log_kreiss_upper: Of the largest over k; inf where the powers grow without bound.

    Raises:
        ValueError: If the matrix is not square or not finite.

    References:
        Trefethen & Embree (2005), Spectra and Pseudospectra, chapters 14 to 17.
    """
    matrix = _square(matrix)
    powers = jnp.arange(steps + 1, dtype=matrix.dtype)
    log_kreiss = jnp.log(kreiss_constant(matrix))

    def times(log_rate: Array) -> Array:
        return jnp.where(powers == 0, 0, powers * log_rate)

    spectral = times(jnp.log(spectral_radius(matrix)))
    return TransientBounds(
        log_spectral=spectral,
        log_singular=times(jnp.log(largest_singular_value(matrix))),
        log_berger=jnp.log(2) + times(jnp.log(numerical_radius(matrix))),
        log_eigenbasis=jnp.log(eigenbasis_condition(matrix)) + spectral,
        log_kreiss_lower=log_kreiss,
        log_kreiss_upper=log_kreiss + 1 + jnp.log(len(matrix)),
    )


def one_sided_bounds(matrix: Matrix, max_slope: Real[ArrayLike, ""]) -> OneSidedBounds:
    r"""What the largest singular value says about the Jacobian of k steps of a nonlinear network.

    .. math:: \Bigl|\prod_t D_t W\Bigr| \le (\gamma \, s_{max}(W))^k, \qquad \gamma = \sup |\phi'|

    s_max < 1/gamma is sufficient for vanishing, s_max > 1/gamma only necessary for exploding. With the
    spectral radius in its place both are wrong for nonlinear networks: W = [[k, -k], [k, -k]] is nilpotent,
    and gradients of a tanh network grow by k per step where the second unit saturates. For a linear network
    rho(W) < 1 is necessary and sufficient for vanishing.

    Args:
        matrix: Recurrent weights W, real and square.
        max_slope: gamma: 1 for tanh and relu, 1/4 for sigmoid.

    Returns:
        log_rate: log(gamma s_max), the largest growth per step; -inf for a matrix of zeros.
        must_vanish: gamma s_max < 1.
        may_explode: gamma s_max > 1.

    Raises:
        ValueError: If the matrix is not square or not finite.

    References:
        Pascanu, Mikolov & Bengio (arXiv 1211.5063). Early versions say eigenvalue where singular value is
        meant, and equation (5) transposes W by mistake.
    """
    log_rate = jnp.log(max_slope * largest_singular_value(matrix))
    return OneSidedBounds(log_rate, log_rate < 0, log_rate > 0)


def relu_exponent(gain: Real[ArrayLike, ""]) -> Scalar:
    r"""Growth of log |h_t| and of a gradient per step of a wide relu network without input.

    .. math:: \log(g / \sqrt 2)

    for h_t = relu(W h_{t-1}) with Gaussian entries of variance g^2/N or g times a Haar orthogonal matrix, one
    for all steps (tied) or a new one for every step. Half of the units are active; with tied weights the
    direction freezes, D W becomes one matrix of half the rank, and this is the logarithm of its spectral
    radius. For W = g I it is log g instead.

    Finite tied networks scatter: by 0.06 at N = 128, with a mean 0.02 to 0.04 higher. In some the masks stop
    changing and the radius of an N/2 x N/2 matrix decides, in others they repeat in cycles.
    """
    return jnp.log(jnp.asarray(gain, jnp.result_type(0.0, gain))) - jnp.log(2) / 2


def relu_cosines(first: Real[ArrayLike, ""], steps: int) -> Float[Array, " steps"]:
    r"""Cosines of h_t and h_{t-1}, t = 1..steps, in a wide tied relu network without input.

    .. math:: c_{t+1} = \frac{\sqrt{1 - c_t^2} + c_t (\pi - \arccos c_t)}{\pi}

    They tend to 1, as 1 - 9 pi^2 / (2 t^2): the direction freezes. With new weights at every step all of them
    are 1/pi, as for a state that does not depend on the one before.

    Args:
        first: c_1, between h_0 and h_1: 1/pi where h_0 = relu(z) of Gaussian z, sqrt(2)/pi for h_0 = |z|.
        steps: Number of cosines.

    References:
        Cho & Saul (2009), the arc-cosine kernel of order 1.
    """
    first = jnp.asarray(first, jnp.result_type(0.0, first))

    def move(c: Array, _: None) -> tuple[Array, Array]:
        return (jnp.sqrt((1 - c) * (1 + c)) + c * (jnp.pi - jnp.arccos(c))) / jnp.pi, c

    return lax.scan(move, first, length=steps)[1]


@compiled("phi")
def nilpotent_exponent(phi: Elementwise, gain: Real[ArrayLike, ""], noise: Real[ArrayLike, ""]) -> Scalar:
    r"""Growth per step of a gradient through wide nilpotent weights W = [[A, -A], [A, -A]].

    W^2 = 0, so every eigenvalue is 0. With entries of the M x M matrix A of variance g^2/M and independent
    inputs of standard deviation s to all 2M pre-activations z,

    .. math:: p = g^2 E (\phi(z) - \phi(z'))^2, \qquad
        \lambda = \tfrac{1}{2} \log \bigl[g^2 E (\phi'(z) - \phi'(z'))^2\bigr]

    where z and z' have variance p + s^2 and covariance p: both halves receive the same A (h - h'), the inputs
    tell them apart. Derived here, for infinite width: at finite M a step at which no unit tells the halves
    apart ends the gradient, as it does sooner or later with relu.

    Args:
        phi: Activation.
        gain: g.
        noise: s.

    Returns:
        The exponent, p to 1e-9 in at most 500 iterations; -inf without input, or if phi is linear.
    """
    gain, noise = jnp.asarray(gain, jnp.result_type(0.0, gain, noise)), jnp.asarray(noise)
    breaks = pair_breaks_of(phi)

    def apart(f: Elementwise, p: Array) -> Array:
        q = p + noise**2
        c = jnp.where(q == 0, 1, p / jnp.where(q == 0, 1, q))
        return gain**2 * pair_expectation(lambda a, b: (f(a) - f(b)) ** 2, q, q, c, *breaks)

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        p, before, count = state
        return (jnp.abs(p - before) > 1e-9 * p) & (count < 500)

    def move(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        p, _, count = state
        return apart(phi, p), p, count + 1

    p, _, _ = lax.while_loop(unfinished, move, (gain**2, jnp.zeros_like(gain), jnp.zeros((), int)))
    return jnp.log(apart(lambda x: derivative(phi, x), p)) / 2


def _square(matrix: Matrix) -> Array:
    """The matrix as an array; an error if it is not square, or known and not finite."""
    array = jnp.asarray(matrix, jnp.result_type(0.0, matrix))
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise ValueError(f"matrix: got shape {array.shape}; give a square matrix, and vmap over several")
    if not isinstance(array, jax.core.Tracer) and not bool(jnp.isfinite(array).all()):
        row, column = np.argwhere(~np.isfinite(np.asarray(array)))[0]
        raise ValueError(f"matrix: got {array[row, column]} at row {row}, column {column}; give numbers")
    return array


def _climb(f: Callable[[Array], Array], start: Array, steps: Array, rounds: int) -> Array:
    """Largest value of f met by moving to the best of all neighbours, with steps that halve each round."""
    offsets = jnp.stack(jnp.meshgrid(*[jnp.array([-1.0, 0.0, 1.0])] * start.size), -1).reshape(-1, start.size)

    def move(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        place, steps, _best = state
        places = place + offsets.astype(start.dtype) * steps
        values = lax.map(f, places)
        best = jnp.argmax(values)
        return (places[best], steps / 2, values[best]), None

    (_, _, value), _ = lax.scan(move, (start, steps, jnp.zeros((), start.dtype)), length=rounds)
    return value
