"""Free probability of the input-output Jacobian: squared singular values of deep, infinitely wide networks.

At fixed q (every layer at the fixed point of the length map) J J^T is a product of L free factors, so its
law follows from that of one layer, d = phi'(sqrt(q) z)^2 for a standard Gaussian z. Its moments mu_k = E d^k
give the moments, the law itself the edges, the atoms and the density (`signalprop.analysis.spectraldensity`).
The depth may be traced; slopes have to be bounded.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from signalprop.analysis import spectraldensity
from signalprop.analysis.gaussian import Elementwise
from signalprop.analysis.meanfield import derivative_moment
from signalprop.analysis.roots import first_crossing
from signalprop.analysis.spectraldensity import Layer, layer

Weights = Literal["gaussian", "orthogonal"]
Family = Weights | Float[ArrayLike, ""]  # 1 is Gaussian and 0 orthogonal; the number may be traced
Scalar = Float[ArrayLike, ""]
POINTS = 200  # over the whole spectrum, from which shares are summed
MISSING = 2.5e-4  # smoothed share of a spectrum below the points that `spectrum` chooses
_GAUSSIAN = {"gaussian": 1.0, "orthogonal": 0.0}  # minus the first coefficient of the S transform of W W^T


class Moments(NamedTuple):
    """Logarithm of the mean squared singular value, and the variance of the squares over the squared mean."""

    log_mean: Float[Array, ""]
    relative_variance: Float[Array, ""]


def moments(
    phi: Elementwise,
    sigma_w: Float[ArrayLike, ""],
    q: Float[ArrayLike, ""],
    depth: Float[ArrayLike, ""],
    weights: Family = "gaussian",
) -> Moments:
    r"""First two moments of the squared singular values of the Jacobian of a wide network.

    .. math:: m_1 = \chi_1^L, \qquad \sigma_{JJ^T}^2 / m_1^2 = L (\mu_2 / \mu_1^2 - 1 - s_1)

    with s_1 = -1 for Gaussian and 0 for orthogonal weights. Exact for infinite width; at width N the measured
    mean scatters by O(sqrt(L/N)), so divide a measured spectrum by its own mean before comparing.

    Args:
        phi: Activation.
        sigma_w: Weight scale, above zero.
        q: Mean squared pre-activation, the same in every layer; at 0 the limit of small q.
        depth: Number L of layers.
        weights: ``gaussian``, ``orthogonal``, or 1 or 0, which may be traced.

    Returns:
        Natural logarithm of the mean, and the relative variance; NaN where phi' vanishes everywhere.

    Raises:
        ValueError: If ``weights`` is neither.

    References:
        Pennington, Schoenholz & Ganguli (arXiv 1711.04735), where the variance is printed for chi_1 = 1.
    """
    gaussian = _gaussian(weights)
    mu_1, mu_2 = (derivative_moment(phi, q, order) for order in (1, 2))
    log_mean = jnp.asarray(depth) * (2 * jnp.log(jnp.asarray(sigma_w)) + jnp.log(mu_1))
    return Moments(log_mean, jnp.asarray(depth) * (mu_2 / mu_1**2 - 1 + gaussian))


class Edge(NamedTuple):
    """Upper end of the squared singular values.

    ``scale`` belongs to a soft edge, where the density falls as a square root: at width N the logarithm of
    the largest squared singular value is about log_edge + scale N^(-2/3) t, t of the Tracy-Widom law (real:
    mean -1.2065, standard deviation 1.2680). Where the spectrum ends in an atom, soft is False and scale 0.
    """

    log_edge: Float[Array, ""]
    scale: Float[Array, ""]
    soft: Bool[Array, ""]


class Atoms(NamedTuple):
    """Shares of the singular values at one place: at 0, and at exp(log_place) of the squares."""

    zero: Float[Array, ""]
    share: Float[Array, ""]
    log_place: Float[Array, ""]


class Density(NamedTuple):
    """Law of the squared singular values on the points exp(log_x), ascending.

    ``per_log`` is the density per unit of log lambda and ``density`` that per unit of lambda, both without
    atoms; ``above`` the share above each point, atoms included; ``mass`` the share above or at the first
    point plus that at 0, which is 1 if the points cover the spectrum. Where the continuation failed the
    densities are NaN, so is ``above`` from there down, and ``converged`` is False; it is also False if the
    whole spectrum was not found to hold a mass of 1, to 0.005. ``edge`` and ``atoms`` are as the functions of
    these names give them.
    """

    log_x: Float[Array, " points"]
    density: Float[Array, " points"]
    per_log: Float[Array, " points"]
    above: Float[Array, " points"]
    mass: Float[Array, ""]
    converged: Bool[Array, ""]
    edge: Edge
    atoms: Atoms


def edge(
    phi: Elementwise, sigma_w: Scalar, q: Scalar, depth: Float[ArrayLike, ""], weights: Family = "gaussian"
) -> Edge:
    r"""Upper end of the spectrum in the log domain, and the scale of the fluctuations of the largest value.

    Outside the spectrum w is real and explicit in u above all slopes (see `spectraldensity`). Coming from
    infinity it falls until its derivative vanishes: there the spectrum ends softly. If it never does, the
    spectrum ends in the atom of the largest slope. Reproduces (L+1)^(L+1) / L^L for linear Gaussian and
    L^L / (L-1)^(L-1) for critical relu orthogonal networks.

    Args:
        phi: Activation, of bounded slope.
        sigma_w: Weight scale, above zero.
        q: Mean squared pre-activation, the same in every layer.
        depth: Number L of layers, may be traced.
        weights: ``gaussian``, ``orthogonal``, or 1 or 0, which may be traced.

    Returns:
        The edge; -inf where phi' vanishes almost everywhere.

    Raises:
        ValueError: If ``weights`` is neither.

    References:
        Pennington, Schoenholz & Ganguli (arXiv 1711.04735). The scale is that of every soft edge: Soshnikov
        (arXiv math/0104113) for one Gaussian layer.
    """
    found: Edge = _edge(*_given(phi, sigma_w, q, depth, weights))
    return found


def upper_edge(
    phi: Elementwise, sigma_w: Scalar, q: Scalar, depth: Float[ArrayLike, ""], weights: Family = "gaussian"
) -> Float[Array, ""]:
    """Largest squared singular value of an infinitely wide network; arguments and method as in `edge`.

    At finite width N the largest value is lower by a term of order N^(-2/3): 2 to 4 percent at N = 400.
    """
    return jnp.exp(edge(phi, sigma_w, q, depth, weights).log_edge)


def atoms(
    phi: Elementwise, sigma_w: Scalar, q: Scalar, depth: Float[ArrayLike, ""], weights: Family = "gaussian"
) -> Atoms:
    r"""Shares of the singular values that are exactly zero, and that are all equal to one other value.

    .. math:: P(\lambda = 0) = P(d = 0), \qquad P(\lambda = (\sigma_w^2 d_0)^L) = 1 - L (1 - P(d = d_0))

    at every depth: 1/2 for relu. Slopes that the dtype cannot tell from 0 count as 0, as those of half of the
    units of tanh at q = 870. The second only for orthogonal weights and while above 0; d_0 is the most
    probable slope that is not 0, as 1 of hard_tanh or linear.

    Args:
        phi: Activation.
        sigma_w: Weight scale, above zero.
        q: Mean squared pre-activation, the same in every layer.
        depth: Number L of layers, may be traced.
        weights: ``gaussian``, ``orthogonal``, or 1 or 0, which may be traced.

    Raises:
        ValueError: If ``weights`` is neither.

    References:
        Pennington, Schoenholz & Ganguli (arXiv 1711.04735); Bercovici & Voiculescu (1998) for the atoms of
        free products.
    """
    found: Atoms = _atoms(*_given(phi, sigma_w, q, depth, weights))
    return found


def universal_edge(spread: Float[ArrayLike, ""], smooth: bool) -> Float[Array, ""]:
    r"""Upper edge of deep orthogonal networks at chi_1 = 1 and fixed L (mu_2 / mu_1^2 - 1).

    .. math:: S = e^{-\sigma_0^2 z}, \quad \lambda_+ = \frac{1 + z}{z} e^{\sigma_0^2 z}, \quad
        z = \frac{\sqrt{1 + 4 / \sigma_0^2} - 1}{2}

    for slopes with a smooth maximum at 0 (tanh, erf; approached as L^(-1/2)), and for slopes 0 and 1
    (hard_tanh; approached as 1/L) :math:`S = e^{-\sigma_0^2 z / (1 + z)}` and :math:`e \sigma_0^2`, or, if
    sigma_0^2 is at most 1, the atom :math:`e^{\sigma_0^2}`.

    Args:
        spread: sigma_0^2 = L (mu_2 / mu_1^2 - 1), above zero.
        smooth: Which class.

    References:
        Pennington, Schoenholz & Ganguli (arXiv 1802.09979).
    """
    spread = jnp.asarray(spread, jnp.result_type(0.0, spread))
    if not smooth:
        return jnp.where(spread > 1, jnp.e * spread, jnp.exp(spread))
    z = (jnp.sqrt(1 + 4 / spread) - 1) / 2
    return (1 + z) / z * jnp.exp(spread * z)


def jacobian_density(
    x: Float[ArrayLike, " points"],
    phi: Elementwise,
    sigma_w: Scalar,
    q: Scalar,
    depth: Float[ArrayLike, ""],
    weights: Family = "gaussian",
) -> Density:
    """Density of the squared singular values of the Jacobian of an infinitely wide network.

    Relative error about 1e-7 in float64, 1e-3 in float32. The share above is summed from `upper_edge` down
    over the points and 200 of its own, which cover the spectrum: its error is about 2e-5, for any number of
    points. One Gaussian layer shows the nodes of the quadrature as ripples where its slopes spread over
    decades.

    Args:
        x: Squared singular values, ascending, above zero.
        phi: Activation, of bounded slope.
        sigma_w: Weight scale, above zero.
        q: Mean squared pre-activation, the same in every layer.
        depth: Number L of layers, may be traced.
        weights: ``gaussian``, ``orthogonal``, or 1 or 0, which may be traced.

    Returns:
        The density. Where phi' vanishes almost everywhere all singular values are 0: the densities are 0.

    Raises:
        ValueError: If ``weights`` is neither.

    References:
        Pennington, Schoenholz & Ganguli (arXiv 1711.04735).
    """
    given = _given(phi, sigma_w, q, depth, weights)
    found: Density = _between(jnp.log(jnp.asarray(x, given.depth.dtype)), given, _edge(*given))
    return found


def spectrum(
    phi: Elementwise,
    sigma_w: Scalar,
    q: Scalar,
    depth: Float[ArrayLike, ""],
    weights: Family = "gaussian",
    num_points: int = 400,
) -> Density:
    """The density of `jacobian_density` at points chosen so that they cover all but 0.05 percent of it.

    They are equally spaced in the root of their logarithmic distance from the upper edge. ``converged`` is
    False where slopes differ by hundreds of decades.
    """
    given = _given(phi, sigma_w, q, depth, weights)
    end = _edge(*given)
    log_x = _points(given, end, num_points)
    if num_points < POINTS:
        few: Density = _between(log_x, given, end)
        return few
    found: Density = _density(log_x, given, end)
    return found._replace(converged=found.converged & _whole(found.mass))


class _Given(NamedTuple):
    law: Layer
    depth: Array
    gaussian: Array


def _given(phi: Elementwise, sigma_w: Scalar, q: Scalar, depth: ArrayLike, weights: Family) -> _Given:
    """The arguments as arrays of one dtype: what follows is compiled once for all activations."""
    law = layer(phi, sigma_w, q)
    dtype = law.slopes.dtype
    return _Given(law, jnp.asarray(depth, dtype), jnp.asarray(_gaussian(weights), dtype))


@jax.jit
def _edge(law: Layer, depth: Array, gaussian: Array) -> Edge:
    largest = jnp.max(law.slopes)

    def at(s: Array) -> spectraldensity.Image:
        gaps = largest - law.slopes + largest * jnp.exp(s)
        return spectraldensity.image(jnp.log(largest) + jax.nn.softplus(s), gaps, law, depth, gaussian)

    bits = jnp.finfo(law.slopes.dtype).nmant
    places = jnp.linspace(0.4 * bits, -0.4 * bits, 200, dtype=law.slopes.dtype)
    s, soft = first_crossing(lambda s: -at(s).log_w_slope, places, 0.0)
    end, curvature = at(s), jax.grad(lambda s: at(s).log_w_slope)(s) / jax.nn.sigmoid(s)
    scale = (2 * end.z_slope**2 / curvature) ** (-1 / 3)
    relative = jnp.where(soft, end.log_w, depth * jnp.log(largest))
    exists = largest != 0
    return Edge(
        jnp.where(exists, depth * law.log_mean + relative, -jnp.inf),
        jnp.where(soft & exists, scale, 0.0),
        soft & exists,
    )


@jax.jit
def _atoms(law: Layer, depth: Array, gaussian: Array) -> Atoms:
    zero = jnp.dot(law.weights, law.slopes == 0)
    equal = law.slopes == law.slopes[:, None]
    flat = (jnp.sum(equal, axis=1) > 2) & (law.slopes > 0)  # two can be mirror images
    shares = jnp.where(flat, equal @ law.weights, 0)
    most = jnp.argmax(shares)
    share = jnp.maximum(0, 1 - depth * (1 - shares[most])) * (1 - gaussian)
    share = jnp.where(shares[most] > 0, share, 0)
    place = depth * (law.log_mean + jnp.log(law.slopes[most]))
    return Atoms(zero, share, jnp.where(share > 0, place, -jnp.inf))


def _points(given: _Given, end: Edge, num_points: int) -> Array:
    """Logarithms of points from the lower end of a spectrum to the upper one, ascending."""
    bottom = given.depth * given.law.log_mean + _low_end(*given)
    fraction = (jnp.arange(num_points, 0, -1, given.depth.dtype) - 0.5) ** 2 / num_points**2
    points: Array = end.log_edge - (end.log_edge - bottom) * fraction
    return points


def _whole(mass: Array) -> Array:
    """Whether a mass is that of a whole spectrum."""
    return jnp.abs(mass - 1) < 0.005


@jax.jit
def _between(log_x: Array, given: _Given, end: Edge) -> Density:
    """The density at any points, with the shares above them summed over points of the whole spectrum too."""
    every = jnp.sort(jnp.concatenate([log_x, _points(given, end, POINTS)]))
    found: Density = _density(every, given, end)
    place = jnp.searchsorted(every, log_x)
    density, per_log, above = (a[place] for a in (found.density, found.per_log, found.above))
    mass, converged = above[0] + found.atoms.zero, found.converged & _whole(found.mass)
    return found._replace(
        log_x=log_x, density=density, per_log=per_log, above=above, mass=mass, converged=converged
    )


@jax.jit
def _density(log_x: Array, given: _Given, end: Edge) -> Density:
    law, depth, gaussian = given
    shift = depth * law.log_mean
    exists = ~jnp.isneginf(shift)
    relative = log_x - jnp.where(exists, shift, 0)
    per_log, solved = spectraldensity.density(relative, law, depth, gaussian)
    atom = _atoms(*given)
    pole = (jnp.abs(log_x - atom.log_place) < spectraldensity.reach_of_atoms(log_x.dtype)) & (atom.share > 0)
    per_log = jnp.where(pole, 0, per_log)
    above = _above(log_x, per_log, end)
    single = (depth == 1) & (gaussian == 0)
    alone = spectraldensity.one_layer(relative, law.cells)
    per_log, above = (jnp.where(single, a, b) for a, b in zip(alone, (per_log, above), strict=True))
    solved = solved | single
    per_log, above = (jnp.where(exists, value, 0) for value in (per_log, above))
    above = above + jnp.where(single, 0, atom.share * (log_x < atom.log_place))
    mass = above[0] + atom.zero
    converged = jnp.all(solved | ~exists) & (mass < 1.01)
    return Density(log_x, per_log * jnp.exp(-log_x), per_log, above, mass, converged, end, atom)


def _above(log_x: Array, per_log: Array, end: Edge) -> Array:
    """Mass above each point, by the trapezoidal rule in t = sqrt(log_edge - log_x), where all is smooth.

    Above the last point the density is taken to end like a square root, or like its inverse at a hard edge.
    """
    t = jnp.sqrt(jnp.maximum(end.log_edge - log_x, 0))
    per_t = 2 * t * per_log
    steps = (per_t[1:] + per_t[:-1]) / 2 * -jnp.diff(t)
    last = per_t[-1:] * t[-1:] * jnp.where(end.soft, 1 / 3, 1)
    return jnp.cumsum(jnp.append(steps, last)[::-1])[::-1]


@jax.jit
def _low_end(law: Layer, depth: Array, gaussian: Array) -> Array:
    """Logarithm of a value below which at most twice the share MISSING lies, the atom at 0 left out.

    The larger of two bounds: where the smoothed mass E[s / (s + lambda)] is MISSING, with s = -w explicit in
    u < 0, and Cantelli's inequality for narrow spectra.
    """
    positive = law.slopes > 0

    def lack(s: Array) -> Array:
        return MISSING - jnp.dot(law.weights, positive / (1 + law.slopes * jnp.exp(-s)))

    s, _ = first_crossing(lack, jnp.linspace(5.0, -200.0, 200, dtype=depth.dtype), 0.0)
    v = s + 1j * np.pi
    by_mass = spectraldensity.image(v, jnp.exp(v) - law.slopes, law, depth, gaussian).log_w.real
    spread = jnp.sqrt(depth * (jnp.dot(law.weights, (law.slopes - 1) ** 2) + gaussian) / MISSING)
    return jnp.maximum(by_mass, jnp.log1p(-jnp.minimum(spread, 1)))


def _gaussian(weights: Family) -> ArrayLike:
    """1 for Gaussian, 0 for orthogonal weights; a number that is traced is believed."""
    if isinstance(weights, jax.core.Tracer):
        return weights
    if isinstance(weights, str) and weights in _GAUSSIAN:
        return _GAUSSIAN[weights]
    if isinstance(weights, str) or np.ndim(weights) or weights not in (0, 1):
        raise ValueError(f"weights must be 'gaussian' or 'orthogonal', got {weights!r}")
    return weights
