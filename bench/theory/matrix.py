"""What theory predicts for random matrices and Jacobians: topics of ``signalprop theory``.

Every topic imports its own mathematics: half of it needs SciPy, which is slow to import.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis import freeprob, meanfield
from signalprop.analysis.smoothness import breaks_of
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_scale
from signalprop.bench.theory.prediction import Number, Prediction, find_activation, require_scales
from signalprop.models.activations import Activation

MOST_PANELS = 120  # of an undeclared activation, where pre-activations lie; memory grows as their square
REACH = 10.0  # standard deviations of a pre-activation, beyond which no quadrature looks


@dataclass(frozen=True)
class MatrixProduct:
    """Exponents of a product of Gaussian matrices, its critical scales and the law of one column."""

    width: int = 4
    """Size N of the square factors."""
    sigma_w: float = 1.0
    """Standard deviation of the entries times sqrt(N)."""
    depth: int = 100
    """Number of factors."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.randommatrix`."""
        from signalprop.analysis import randommatrix

        require_count("--width", (self.width,))
        require_scales(self.sigma_w)
        require_count("--depth", (self.depth,))
        n, sigma = self.width, self.sigma_w / np.sqrt(self.width)
        law = randommatrix.product_vector_law(n, self.depth, sigma)
        exponents = np.asarray(randommatrix.newman_exponents(n, sigma))
        values = {
            "log10_column_mean": float(law.log_norm_mean) / np.log(10),
            "log10_column_sd": float(jnp.sqrt(law.log_norm_variance)) / np.log(10),
            "log10_entry_mean": float(law.log_entry_mean) / np.log(10),
            "log10_entry_sd": float(jnp.sqrt(law.log_entry_variance)) / np.log(10),
            "critical_sigma_w_typical": float(jnp.sqrt(n * randommatrix.quenched_critical_variance(n))),
            "critical_sigma_w_mean_square": float(jnp.sqrt(n * randommatrix.annealed_critical_variance(n))),
        }
        return Prediction(values, {"index": np.arange(1, n + 1), "exponent": exponents})


@dataclass(frozen=True)
class Eigenvalues:
    """One large Gaussian matrix: its eigenvalues and singular values, at infinite and at this width."""

    width: int = 128
    """Size N of the square matrix."""
    sigma_w: float = 1.0
    """Standard deviation of the entries times sqrt(N)."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.ginibre` and `signalprop.analysis.extremes`."""
        from signalprop.analysis import extremes, ginibre

        require_count("--width", (self.width,), least=2)
        require_scales(self.sigma_w)
        radius = ginibre.real_spectral_radius(self.width)
        largest = extremes.largest_moments(self.width)
        sd = math.sqrt(largest.variance)
        return Prediction({
            "circular_law_radius": self.sigma_w,
            "spectral_radius_mean": self.sigma_w * radius.mean,
            "spectral_radius_sd": self.sigma_w * math.sqrt(radius.variance),
            "real_eigenvalues_mean": ginibre.expected_real_eigenvalues(self.width),
            "real_eigenvalues_sd": math.sqrt(ginibre.variance_of_real_eigenvalues(self.width)),
            "largest_singular_value_wide": 2 * self.sigma_w,
            "largest_singular_value_mean": self.sigma_w * largest.mean,
            "largest_singular_value_sd": self.sigma_w * sd,
            "largest_singular_value_rms": self.sigma_w * math.hypot(largest.mean, sd),
            "smallest_singular_value_median": self.sigma_w * extremes.smallest_median(self.width),
        })  # fmt: skip


@dataclass(frozen=True)
class Spectrum:
    """Squared singular values of the Jacobian of a wide network: moments, edge, atoms and density.

    An activation that does not declare its kinks is split into panels on each of which it is resolved. One
    with more than 120 where pre-activations lie, as sin(10 x) from q = 25 on, is refused.
    """

    activation: str = "tanh"
    """Name, or module:name of a callable of your own."""
    sigma_w: float = 1.0
    """Standard deviation of the weights times sqrt(fan_in)."""
    sigma_b: float = 0.0
    """Standard deviation of the biases."""
    q: float | None = None
    """Mean squared pre-activation of every layer; the fixed point of both scales if left out."""
    depth: int = 10
    """Number of layers."""
    weights: freeprob.Weights = "gaussian"
    """Family of the weights."""
    points: int = 20
    """Rows of the table of the density."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.freeprob.spectrum`."""
        require_count("--depth", (self.depth,))
        require_count("--points", (self.points,))
        require_scales(self.sigma_w, self.sigma_b)
        phi = find_activation(self.activation)
        q = self._length(phi)
        phi = self._within_reach(phi, q)
        at = (phi, self.sigma_w, q, self.depth, self.weights)
        chi_1, moments, edge, atoms = jax.jit(
            lambda: (
                meanfield.chi_1(phi, q, self.sigma_w),
                freeprob.moments(*at),
                freeprob.edge(*at),
                freeprob.atoms(*at),
            )
        )()
        values: dict[str, Number] = {
            "q": q,
            "chi_1": float(chi_1),
            "log_mean": float(moments.log_mean),
            "relative_variance": float(moments.relative_variance),
            "log_upper_edge": float(edge.log_edge),
            "largest_singular_value": float(jnp.exp(edge.log_edge / 2)),
            "share_at_zero": float(atoms.zero),
            "share_at_atom": float(atoms.share),
            "log_atom": float(atoms.log_place),
        }
        if atoms.zero == 1:  # phi' vanishes almost everywhere
            return Prediction(values)
        law = jax.jit(lambda: freeprob.spectrum(*at, num_points=max(400, self.points)))()
        values |= {"mass": float(law.mass), "converged": bool(law.converged)}
        rows = np.linspace(0, law.log_x.size - 1, self.points).astype(int)
        columns = {
            "log_lambda": law.log_x,
            "density": law.density,
            "density_per_log": law.per_log,
            "share_above": law.above,
        }
        return Prediction(values, {k: np.asarray(v)[rows] for k, v in columns.items()})

    def _within_reach(self, phi: Activation, q: float) -> Activation:
        """The same with the ends of panels found for it, where pre-activations lie, as its kinks."""
        if phi.kinks is not None:
            return phi
        reach = REACH * math.sqrt(q)
        ends = np.array([-reach, *sorted(x for x in breaks_of(phi) if abs(x) < reach), reach])
        if len(ends) > MOST_PANELS:
            raise InputError(
                f"--activation: {self.activation} turns too often for the spectrum at q = {q:.3g}; write "
                "another, or smaller scales"
            )
        # All moments of phi'^2 count, which turn faster than phi; thirds miss the ends that the rule has.
        thirds = ends[:-1, None] + np.diff(ends)[:, None] * np.arange(3) / 3
        return replace(phi, kinks=tuple(thirds.ravel()[1:].tolist()))

    def _length(self, phi: Activation) -> float:
        if self.q is not None:
            require_scale("--q", (self.q,))
            return self.q
        q, found = jax.jit(partial(meanfield.length_fixed_point, phi))(self.sigma_w, self.sigma_b)
        if not found:
            raise InputError(
                f"--sigma-w: at {self.sigma_w} the length of the signal has no finite fixed point; write --q"
            )
        return float(q)


@dataclass(frozen=True)
class FiniteWidth:
    """Law of log |J u|^2 of a relu network at He variance: exact, and its wide limit."""

    width: int = 64
    """Units of the input and of every layer."""
    depth: int = 10
    """Number of layers."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.finitewidth`."""
        from signalprop.analysis import finitewidth

        require_count("--width", (self.width,))
        require_count("--depth", (self.depth,))
        widths = (self.width,) * (self.depth + 1)
        exact, wide = finitewidth.log_gain(widths), finitewidth.log_gain_asymptotic(widths)
        rank = finitewidth.relu_rank(self.width, self.depth)
        return Prediction({
            "beta": wide.variance,
            "log_gain_mean": exact.mean,
            "log_gain_mean_wide": wide.mean,
            "log_gain_sd": float(np.sqrt(exact.variance)),
            "log_gain_sd_wide": float(np.sqrt(wide.variance)),
            "fourth_moment": finitewidth.fourth_moment(widths),
            "orthogonal_log_gain_mean": finitewidth.log_gain_orthogonal(self.width, self.depth).mean,
            "rank_mean": rank.mean,
            "rank_sd": float(np.sqrt(max(rank.variance, 0.0))),
        })  # fmt: skip
