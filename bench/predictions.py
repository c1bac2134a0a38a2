"""What theory predicts for given parameters: the topics of ``signalprop theory``.

Every topic is a dataclass of its options; ``predict`` gives numbers by name and, where there are many of a
kind, a table. Nothing is measured here.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from signalprop.analysis import finitewidth, meanfield, randommatrix
from signalprop.bench.errors import InputError
from signalprop.bench.grid import require_count, require_known, require_scale
from signalprop.models.activations import ACTIVATIONS, Activation, activation, chosen

Number = float | int | bool | str


class Prediction(NamedTuple):
    """Numbers by name, and a table if there is one."""

    values: dict[str, Number]
    table: pd.DataFrame | None = None

    def as_text(self) -> str:
        """Lines of names and numbers, then the table, with ten digits."""
        width = max(map(len, self.values), default=0)
        lines = [
            f"{k:{width}}  {v:.10g}" if isinstance(v, float) else f"{k:{width}}  {v}"
            for k, v in self.values.items()
        ]
        if self.table is not None:
            lines += [""] * bool(lines) + [self.table.to_string(index=False, float_format="{:.10g}".format)]
        return "\n".join(lines)

    def as_json(self, given: Mapping[str, Any]) -> str:
        """One object: parameters, numbers, the table as a list of objects; infinities and NaN as text."""
        table = {} if self.table is None else {"table": self.table.to_dict("records")}
        return json.dumps(_finite({**given, **self.values, **table}))


@dataclass(frozen=True)
class MeanField:
    """Fixed point of length and correlation, susceptibilities and depth scales of a wide network."""

    activation: str = "tanh"
    """Name, or module:name of a callable of your own."""
    sigma_w: float = 1.0
    """Standard deviation of the weights times sqrt(fan_in)."""
    sigma_b: float = 0.0
    """Standard deviation of the biases."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.meanfield.fixed_point`."""
        point = meanfield.fixed_point(_scaled(self), self.sigma_w, self.sigma_b)
        return Prediction({name: value.item() for name, value in point._asdict().items()})


@dataclass(frozen=True)
class Profile:
    """Length q of the signal, factor chi_1 and gradient of every layer, for an input of mean square q_0."""

    activation: str = "tanh"
    """Name, or module:name of a callable of your own."""
    sigma_w: float = 1.0
    """Standard deviation of the weights times sqrt(fan_in)."""
    sigma_b: float = 0.0
    """Standard deviation of the biases."""
    q_0: float = 1.0
    """Mean square of the input."""
    depth: int = 10
    """Number of layers."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.meanfield.gradient_profile`."""
        phi = _scaled(self)
        require_scale("--q-0", (self.q_0,))
        require_count("--depth", (self.depth,))
        at = (phi, self.sigma_w, self.sigma_b, self.q_0, self.depth)
        q = meanfield.length_trajectory(*at)
        profile = meanfield.gradient_profile(*at)
        chi_1 = jax.vmap(lambda q: meanfield.chi_1(phi, q, self.sigma_w))(q)
        columns = {"layer": np.arange(1, self.depth + 1), "q": q, "chi_1": chi_1, "gradient_decades": profile}
        return Prediction({"decades_lost": -float(profile[0])}, pd.DataFrame(columns))


@dataclass(frozen=True)
class CriticalLine:
    """Weight scale at which gradients neither grow nor decay (chi_1 = 1), for every bias scale."""

    activation: tuple[str, ...] = tuple(ACTIVATIONS)
    """Names, or module:name of callables of your own."""
    sigma_b: tuple[float, ...] = (0.0,)
    """Standard deviations of the biases."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.meanfield.critical_point`."""
        require_known("--activation", self.activation, ACTIVATIONS)
        require_scale("--sigma-b", self.sigma_b)
        sigma_b = jnp.array(self.sigma_b)

        def line(index: jax.Array) -> meanfield.CriticalPoint:
            return meanfield.critical_table(chosen(self.activation, index), sigma_b)

        # Not vmapped: a vmapped switch would evaluate every activation for each of them.
        found = jax.jit(lambda: jax.lax.map(line, jnp.arange(len(self.activation))))()._asdict()
        names = np.repeat(self.activation, len(self.sigma_b))
        given = {"activation": names, "sigma_b": np.tile(self.sigma_b, len(self.activation))}
        columns = {name: np.ravel(values) for name, values in found.items() if name not in given}
        return Prediction({}, pd.DataFrame({**given, **columns}))


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
        require_count("--width", (self.width,))
        require_scale("--sigma-w", (self.sigma_w,))
        require_count("--depth", (self.depth,))
        n, sigma = self.width, self.sigma_w / np.sqrt(self.width)
        law = randommatrix.product_vector_law(n, self.depth, sigma)
        exponents = np.asarray(randommatrix.newman_exponents(n, sigma))
        values = {
            "log10_column_mean": float(law.mean) / np.log(10),
            "log10_column_sd": float(jnp.sqrt(law.variance)) / np.log(10),
            "log10_entry_mean": float(law.entry_mean) / np.log(10),
            "log10_entry_sd": float(jnp.sqrt(law.entry_variance)) / np.log(10),
            "critical_sigma_w_typical": float(jnp.sqrt(n * randommatrix.quenched_critical_variance(n))),
            "critical_sigma_w_mean_square": float(jnp.sqrt(n * randommatrix.annealed_critical_variance(n))),
        }
        return Prediction(values, pd.DataFrame({"index": np.arange(1, n + 1), "exponent": exponents}))


@dataclass(frozen=True)
class FiniteWidth:
    """Law of log |J u|^2 of a relu network at He variance: exact, and its wide limit."""

    width: int = 64
    """Units of the input and of every layer."""
    depth: int = 10
    """Number of layers."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.finitewidth`."""
        require_count("--width", (self.width,))
        require_count("--depth", (self.depth,))
        widths = (self.width,) * (self.depth + 1)
        exact, wide = finitewidth.log_gain(widths), finitewidth.asymptotic_log_gain(widths)
        rank = finitewidth.relu_rank(self.width, self.depth)
        return Prediction({
            "beta": wide.variance,
            "log_gain_mean": exact.mean,
            "log_gain_mean_wide": wide.mean,
            "log_gain_sd": float(np.sqrt(exact.variance)),
            "log_gain_sd_wide": float(np.sqrt(wide.variance)),
            "fourth_moment": finitewidth.fourth_moment(widths),
            "orthogonal_log_gain_mean": finitewidth.orthogonal_log_gain(self.width, self.depth).mean,
            "rank_mean": rank.mean,
            "rank_sd": float(np.sqrt(max(rank.variance, 0.0))),
        })  # fmt: skip


Topic = MeanField | Profile | CriticalLine | MatrixProduct | FiniteWidth
TOPICS: dict[str, type[Topic]] = {
    "mean-field": MeanField,
    "profile": Profile,
    "critical-line": CriticalLine,
    "matrix-product": MatrixProduct,
    "finite-width": FiniteWidth,
}


def _finite(value: Any) -> Any:
    """The same without numbers that JSON lacks."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _scaled(options: MeanField | Profile) -> Callable[[jax.Array], jax.Array]:
    """The activation of the options, after their scales were checked."""
    require_scale("--sigma-w", (options.sigma_w,))
    require_scale("--sigma-b", (options.sigma_b,))
    return _activation(options.activation)


def _activation(name: str) -> Activation:
    try:
        return activation(name)
    except ValueError as error:
        raise InputError(f"--activation: {error}") from error
