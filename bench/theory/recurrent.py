"""What theory predicts for recurrent networks: topics of ``signalprop theory``."""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from signalprop.analysis import chaos
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_scale
from signalprop.bench.measure.exponents import dimension, entropy, places
from signalprop.bench.theory.prediction import Number, Prediction, find_activation
from signalprop.models.activations import Activation

PLACES = 400  # of the spectrum, for sums over it


@dataclass(frozen=True)
class Lyapunov:
    """Lyapunov exponents of a wide random recurrent network, with its dimension and entropy."""

    activation: str = "tanh"
    """Name, or module:name of a callable of your own."""
    gain: float = 1.5
    """Standard deviation of the recurrent weights times sqrt(N), or factor of orthogonal ones."""
    noise: float = 0.0
    """Standard deviation of the independent input to every unit at every step."""
    weights: chaos.Weights = "gaussian"
    """Family of the recurrent weights."""
    width: int = 128
    """Number N of units, for the finite-width correction."""
    exponents: int = 10
    """Rows of the table of the spectrum, at the places (i - 1/2) / rows."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.chaos`."""
        require_scale("--gain", (self.gain,))
        require_scale("--noise", (self.noise,))
        require_count("--width", (self.width,))
        require_count("--exponents", (self.exponents,))
        if self.gain == 0:
            raise InputError("--gain: got 0; write a gain above 0")
        phi = find_activation(self.activation)
        q, exponent, variety, correction, edge = (float(v) for v in jax.jit(partial(self._largest, phi))())
        values: dict[str, Number] = {
            "q": q,
            "largest_exponent": exponent,
            "factor_per_step": float(np.exp(exponent)),
            "finite_width_correction": self._withheld(variety) if np.isnan(correction) else correction,
            "gain_at_edge_of_chaos": edge,
        }
        if not np.isfinite(q):
            return Prediction(values)
        whole = self._spectrum(phi, q, PLACES)
        values |= {"dimension_per_unit": float(dimension(whole)), "entropy_per_unit": float(entropy(whole))}
        if np.isneginf(whole).any():
            first = places(PLACES)[np.isneginf(whole)][0] - 0.5 / PLACES
            values["minus_infinity"] = (
                f"from x = {first:.3g} on, where only units are left whose slope is 0, or too small for "
                f"{whole.dtype} to hold"
            )
        spectrum = self._spectrum(phi, q, self.exponents)
        return Prediction(values, {"x": places(self.exponents), "exponent": spectrum})

    def _largest(self, phi: Activation) -> tuple[jax.Array, ...]:
        q = chaos.mean_field_q(phi, self.gain, self.noise)
        variety = chaos.slope_variety(phi, q)
        correction = chaos.finite_width_correction(variety, self.width, self.weights)
        exponent = chaos.mean_field_exponent(phi, self.gain, self.noise)
        return q, exponent, variety, correction, chaos.edge_of_chaos(phi, self.noise)

    def _withheld(self, variety: float) -> str:
        """Why there is no correction for the width, and what width would have one."""
        if np.isnan(variety):
            return "withheld: every slope is 0"
        least = int(np.ceil(float(chaos.least_width(variety, self.weights))))
        return (
            f"withheld: its first term in 1/N exceeds {chaos.LARGEST_SHIFT} nat, beyond which the next ones "
            f"count; write --width {least} or more"
        )

    def _spectrum(self, phi: Activation, q: float, count: int) -> np.ndarray:
        one = partial(chaos.mean_field_spectrum, phi, g=self.gain, q=q, weights=self.weights)
        return np.asarray(jax.jit(jax.vmap(lambda x: one(x)))(places(count)))
