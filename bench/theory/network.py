"""What theory predicts for networks: topics of ``signalprop theory``, each a dataclass of its options."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis import growth, meanfield
from signalprop.analysis.layerwise import layerwise
from signalprop.analysis.smoothness import splits_of
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known, require_scale
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
    sigma_w: tuple[float, ...] = (1.0,)
    """Standard deviation of the weights times sqrt(fan_in), of all layers or of each."""
    sigma_b: tuple[float, ...] = (0.0,)
    """Standard deviation of the biases, of all layers or of each."""
    weight_mean: tuple[float, ...] = (0.0,)
    """Mean of the weights times fan_in, of all layers or of each: fan_in / 2 for U(0, 1)."""
    bias_mean: tuple[float, ...] = (0.0,)
    """Mean of the biases, of all layers or of each."""
    q_0: float = 1.0
    """Mean square of the input."""
    mean_0: float = 0.0
    """Mean of the input over its units."""
    widths: tuple[int, ...] = ()
    """Units of the input and of each layer, such as 784 500 500 10; none for wide ones."""
    depth: int | None = None
    """Number of layers, where neither widths nor scales tell it; 10 by default."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.layerwise`."""
        require_scale("--sigma-w", self.sigma_w)
        require_scale("--sigma-b", self.sigma_b)
        require_scale("--q-0", (self.q_0,))
        if self.widths:
            require_count("--widths", self.widths)
        if len(self.widths) == 1:
            raise InputError(
                f"--widths: got {self.widths[0]} alone; write those of the input and of each layer"
            )
        phi, depth = find_activation(self.activation), self._depth()
        widths = np.array(self.widths or [np.inf] * (depth + 1), float)
        if self.mean_0**2 > self.q_0:
            raise InputError(
                f"--mean-0: got {self.mean_0}; write one whose square is at most --q-0, {self.q_0}"
            )
        sigma_w, sigma_b, weight_mean, bias_mean = (
            np.resize(values, depth)
            for values in (self.sigma_w, self.sigma_b, self.weight_mean, self.bias_mean)
        )
        found = layerwise(phi, sigma_w, widths[:-1], sigma_b, weight_mean, bias_mean, self.q_0, self.mean_0)
        decades = np.asarray(found.log_gradient) / (2 * np.log(10))
        columns = {
            "layer": np.arange(1, depth + 1),
            "q": found.q,
            "chi_1": found.chi_1,
            "gradient_decades": decades,
        }
        if any((*self.weight_mean, *self.bias_mean)):
            columns["mean"] = found.mean
        if self.widths:
            columns |= {"units": widths[1:].astype(int), "signal_variance": found.signal_variance}
            columns |= {"decades_sd": np.sqrt(found.log_gradient_variance) / (2 * np.log(10))}
        values: dict[str, Number] = {"decades_lost": -float(decades[0])}
        if self.widths:
            values["in_range"] = bool(found.in_range.all())
        values |= _unresolved(phi, float(found.error.max()))
        return Prediction(values, columns | {"error": found.error})

    def _depth(self) -> int:
        """The number of layers that all options agree on."""
        told = {"--widths": len(self.widths) - 1} if self.widths else {}
        told |= {} if self.depth is None else {"--depth": self.depth}
        for name in ("sigma_w", "sigma_b", "weight_mean", "bias_mean"):
            if (count := len(getattr(self, name))) != 1:
                told["--" + name.replace("_", "-")] = count
        depths = set(told.values())
        if len(depths) > 1:
            each = ", ".join(f"{name} {count}" for name, count in told.items())
            raise InputError(f"layers told apart: {each}; write one value for all layers, or one for each")
        depth = depths.pop() if depths else 10
        require_count(next(iter(told), "--depth"), (depth,))
        return depth


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
