"""What the rules of thumb say of one recurrent network: the topic ``recurrent`` of ``signalprop theory``."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis import chaos, recurrent
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.measure.ensembles import RULES, ensemble
from signalprop.bench.measure.names import NILPOTENT
from signalprop.bench.theory.prediction import Number, Prediction, find_activation
from signalprop.models.initializers import SCHEMES

DIAGONAL = ("identity", "scaled_identity")  # ensembles that are one matrix, on which units stay apart


@dataclass(frozen=True)
class Recurrent:
    """Radii, bounds and exponents of one recurrent weight matrix, and what each rule makes of them."""

    activation: str = "tanh"
    """Name, or module:name of a callable of your own."""
    ensemble: str = "gaussian"
    """How the recurrent weights are drawn: a scheme, or nilpotent."""
    gain: float = 1.0
    """Factor of the recurrent weights."""
    noise: float = 0.0
    """Standard deviation of the independent input to every unit at every step."""
    width: int = 64
    """Number N of units."""
    seed: int = 0
    """Of the one matrix that is drawn."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.recurrent` and `signalprop.analysis.chaos`."""
        require_known("--ensemble", (self.ensemble,), (*SCHEMES, NILPOTENT))
        require_scale("--gain", (self.gain,))
        require_scale("--noise", (self.noise,))
        require_count("--width", (self.width,), 16)
        if self.gain == 0:
            raise InputError("--gain: got 0; write a gain above 0")
        found = {name: float(value) for name, value in jax.jit(self._numbers)().items()}
        gamma = find_activation(self.activation).max_slope
        compared = {
            "rho": found["spectral_radius"],
            "largest": gamma * found["largest_singular_value"],
            "numerical": gamma * found["numerical_radius"],
        }
        if "mean_field_exponent" in found:
            compared["chi_1"] = float(np.exp(found["mean_field_exponent"]))
        rows = [
            {"rule": RULES[name], "compared_with_1": value, "says": "explodes" if value > 1 else "vanishes"}
            for name, value in compared.items()
        ]
        must_vanish = bool(compared["largest"] < 1)
        values: dict[str, Number] = {**found, "largest_slope": gamma, "must_vanish": must_vanish}
        if self.ensemble in DIAGONAL:
            values["mean_field_exponent"] = "withheld: it is of random weights, and these couple no units"
        return Prediction(values, rows)

    def _numbers(self) -> dict[str, jax.Array]:
        """Numbers of the drawn matrix, and exponents of wide networks of its kind."""
        phi, scheme = find_activation(self.activation), ensemble(self.ensemble)
        factor = self.gain if not scheme.free else 1.0  # the others have no scale of their own
        drawn = factor * scheme.draw(
            jax.random.key(self.seed), self.width, self.width, self.gain, jnp.float64
        )
        sigma_w = factor * scheme.effective_sigma_w(self.width, self.width, self.gain)
        numbers = {
            "spectral_radius": recurrent.spectral_radius(drawn),
            "largest_singular_value": recurrent.largest_singular_value(drawn),
            "numerical_radius": recurrent.numerical_radius(drawn),
            "henrici_departure": recurrent.henrici_departure(drawn),
        }
        if self.ensemble not in DIAGONAL:
            numbers["mean_field_exponent"] = chaos.mean_field_exponent(phi, sigma_w, self.noise)
        if self.ensemble == NILPOTENT:
            numbers["nilpotent_exponent"] = recurrent.nilpotent_exponent(phi, self.gain, self.noise)
        return numbers
