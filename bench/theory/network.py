"""What theory predicts for networks: topics of ``signalprop theory``, each a dataclass of its options."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis import growth, meanfield, precision
from signalprop.analysis.smoothness import splits_of
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.measure.names import FORMATS
from signalprop.bench.theory.prediction import Number, Prediction, find_activation, require_scales
from signalprop.models.activations import ACTIVATIONS, Activation, chosen


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
        require_scales(self.sigma_w, self.sigma_b)
        phi = find_activation(self.activation)
        point = jax.jit(partial(meanfield.fixed_point, phi))(self.sigma_w, self.sigma_b)
        found: dict[str, Number] = {name: value.item() for name, value in point._asdict().items()}
        return Prediction(found | _unresolved(phi, point.error.item()))


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
        require_scales(self.sigma_w, self.sigma_b)
        require_scale("--q-0", (self.q_0,))
        require_count("--depth", (self.depth,))
        phi = find_activation(self.activation)
        at = (phi, self.sigma_w, self.sigma_b, self.q_0, self.depth)

        @jax.jit
        def profiles() -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
            q = meanfield.length_trajectory(*at)
            chi_1 = jax.vmap(lambda q: meanfield.chi_1(phi, q, self.sigma_w))(q)
            error = jax.vmap(lambda q: meanfield.quadrature_error(phi, q))(q)
            return q, chi_1, meanfield.gradient_profile(*at), error

        q, chi_1, decades, error = profiles()
        columns = {"layer": np.arange(1, self.depth + 1), "q": q, "chi_1": chi_1, "gradient_decades": decades}
        lost: dict[str, Number] = {"decades_lost": -float(decades[0])}
        return Prediction(lost | _unresolved(phi, float(error.max())), columns | {"error": error})


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
        return Prediction({}, {**given, **columns})


@dataclass(frozen=True)
class Growth:
    """Growth of a squared gradient through normalized and residual blocks, per block and over a depth."""

    activation: str = "relu"
    """Name, or module:name of a callable of your own."""
    sigma_w: float = math.sqrt(2)
    """Scale of the first weights of a residual branch W_2 phi(W_1 x); W_2 has scale 1."""
    batch_size: int = 128
    """Examples that batch norm averages over, at least 4."""
    depth: int = 64
    """Number of blocks."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.growth`."""
        require_scales(self.sigma_w)
        require_count("--batch-size", (self.batch_size,), least=4)
        require_count("--depth", (self.depth,))
        gains, logs = jax.jit(partial(self._logs, find_activation(self.activation)))()
        total = np.array([float(value) for value in logs.values()]).round(12) + 0.0
        columns = {
            "block": list(logs),
            "factor_per_block": np.exp(total / self.depth),
            "decades_of_norm": total / 2 / np.log(10),
        }
        values: dict[str, Number] = {f"branch_{k}_gain": float(v) for k, v in gains._asdict().items()}
        return Prediction(values, columns)

    def _logs(self, phi: Activation) -> tuple[growth.Gains, dict[str, jax.Array]]:
        """Gains of the branch, and growth of log |gradient|^2 over all blocks."""
        depth, gains = self.depth, growth.branch_gains(phi, 1.0, self.sigma_w)
        in_batches = growth.batch_norm(phi, self.batch_size)
        logs = {
            "phi(LayerNorm(W x))": depth * jnp.log(growth.layer_norm(phi)),
            f"phi(BatchNorm(W x)), B = {self.batch_size}": depth * jnp.log(in_batches),
            "phi(BatchNorm(W x)), B = inf": depth * jnp.log(growth.batch_norm(phi)),
            "x + F(LayerNorm(x))": growth.pre_layer_norm(depth, *gains).log_gradient[0],
            "LayerNorm(x + F(x))": depth * jnp.log(growth.post_layer_norm(*gains)),
        }
        if phi.homogeneous:
            scales = {"x + F(x)": 1.0, "x + F(x) / sqrt(L)": depth**-0.5, "x + F(x) / L": 1 / depth}
            logs |= {name: growth.residual(gains.gradient, scale, depth) for name, scale in scales.items()}
        return gains, logs


@dataclass(frozen=True)
class Dropout:
    """A layer with inverted dropout: length, chi_1, and the correlation of one input under two masks."""

    activation: str = "relu"
    """Name, or module:name of a callable of your own."""
    keep: float = 0.8
    """Probability to keep a unit."""
    sigma_w: float = 1.0
    """Standard deviation of the weights times sqrt(fan_in)."""
    sigma_b: float = 0.0
    """Standard deviation of the biases."""
    q: float = 1.0
    """Mean squared pre-activation of the layer below."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.growth.dropout`."""
        require_scales(self.sigma_w, self.sigma_b)
        require_scale("--q", (self.q,))
        if not 0 < self.keep <= 1:
            raise InputError(f"--keep: got {self.keep}; write a probability above 0 and up to 1")
        phi = find_activation(self.activation)
        found = jax.jit(partial(growth.dropout, phi))(self.q, self.keep, self.sigma_w, self.sigma_b)
        return Prediction({name: value.item() for name, value in found._asdict().items()})


def _unresolved(phi: Activation, error: float) -> dict[str, Number]:
    """Where quadrature did not resolve an activation, if that shows in the error of the averages."""
    rough = () if error <= meanfield.LARGEST_ERROR else splits_of(phi).rough
    return {"unresolved": ", ".join(f"{a:.6g} to {b:.6g}" for a, b in rough)} if rough else {}


@dataclass(frozen=True)
class Precision:
    """Depth at which a product of equal factors is lost in each number format, rounded after each factor."""

    factor: float = 0.25
    """The factor, such as the largest slope of a sigmoid."""
    formats: tuple[str, ...] = FORMATS
    """Number formats."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.precision`."""
        require_known("--formats", self.formats, FORMATS)
        require_scale("--factor", (self.factor,))
        return Prediction({"factor": self.factor}, [self._row(name) for name in self.formats])

    def _row(self, name: str) -> dict[str, Number]:
        held = float(jnp.asarray(self.factor, name))
        gradual, flushed = (precision.death_depth(held, name, flush) for flush in (False, True))
        return {
            "format": name,
            "zero_at": float(gradual.depth),
            "sticks_at": float(gradual.residue),
            "zero_at_if_flushed": float(flushed.depth),
            "infinite_at": float(precision.overflow_depth(held, name)),
            "this_device_flushes": precision.measured_flush_to_zero(name),
        }
