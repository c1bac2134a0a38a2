"""What theory predicts for gated cells: topics of ``signalprop theory``, each a dataclass of its options."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis import gated, gatedfield, gaussian
from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.engine.grid import require_count, require_finite, require_scale, require_values
from signalprop.bench.theory.prediction import Number, Prediction

FIELDS = ("lstm", "gru", "minimal_rnn")


@dataclass(frozen=True)
class Memory:
    """How long a forget gate keeps a state, by its bias: constant, random and chrono-initialized gates."""

    forget_bias: tuple[float, ...] = (-1.0, 0.0, 1.0, 2.0, 3.0, 5.0)
    """Mean pre-activations of the gate."""
    noise: float = 1.0
    """Standard deviation of the pre-activation from step to step."""
    longest: int = 100
    """Longest time lag T_max of a chrono initialization, above 2."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.gated`."""
        require_values("--forget-bias", self.forget_bias)
        require_finite("--forget-bias", self.forget_bias)
        require_scale("--noise", (self.noise,))
        require_count("--longest", (self.longest,), least=3)
        bias, lag = jnp.array(self.forget_bias, float), jnp.array([1.0, 0.1, 0.5]) * self.longest

        @jax.jit
        def compute() -> tuple[gated.Decay, jax.Array]:
            decay = jax.vmap(gated.random_gate_decay, (0, None))(bias, self.noise)
            return decay, jax.vmap(gated.chrono_memory, (0, None))(lag, float(self.longest))

        decay, kept = compute()
        columns = {
            "forget_bias": bias,
            "kept_per_step": jax.nn.sigmoid(bias),
            "lifetime": gated.forget_lifetime(bias),
            "e_folding": gated.forget_e_folding(bias),
            "e_folding_typical": 1 / abs(decay.typical),  # all are at most 0, and inf where they are 0
            "e_folding_of_mean": 1 / abs(decay.mean),
            "e_folding_of_root_mean_square": 1 / abs(decay.root_mean_square),
        }
        values: dict[str, Number] = {
            "chrono_mean_lifetime": 1 + self.longest / 2,
            "chrono_kept_after_longest": float(kept[0]),
            "chrono_kept_after_a_tenth": float(kept[1]),
            "chrono_kept_after_half": float(kept[2]),
        }
        return Prediction(values, {k: np.asarray(v) for k, v in columns.items()})


@dataclass(frozen=True)
class GatedField:
    """Mean field of a gated cell whose weights are drawn anew at every step; real LSTMs differ.

    Beside the exponent stand jacobian_square, the mean squared singular value of a step, hidden_square,
    |dh_t/dh_{t-1}|_F^2 / N, and the same of the four terms of dc_t/dc_{t-1}, carousel_square and so on.
    """

    cell: str = "lstm"
    """lstm, gru or minimal_rnn."""
    sigma_w: float = 1.0
    """Standard deviation of the recurrent weights times sqrt(units)."""
    input_scale: float = 1.0
    """Standard deviation that inputs add to a gate; of the minimalRNN's embedding before its tanh."""
    forget_bias: float = 0.0
    """Bias of the gate that keeps the state."""
    units: int = 2000
    """Units of the population; the minimalRNN needs none."""
    steps: int = 1000
    """Steps that the population is followed; at least 10 (1 + e^bias) to reach its stationary state."""
    seed: int = 0
    """Seed of the population."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.gatedfield`."""
        if self.cell not in FIELDS:
            raise InputError(f"--cell: no {self.cell!r}; {nearest(self.cell, FIELDS)}")
        require_scale("--sigma-w", (self.sigma_w,))
        require_scale("--input-scale", (self.input_scale,))
        require_finite("--forget-bias", (self.forget_bias,))
        require_count("--units", (self.units,), least=2)
        require_count("--steps", (self.steps,), least=20)
        point = jax.jit(self._minimal if self.cell == "minimal_rnn" else self._population)()
        values: dict[str, Number] = {"weights": "drawn anew at every step"}
        needed = 10 * (1 + float(np.exp(self.forget_bias)))
        if self.cell != "minimal_rnn" and self.steps < needed:
            why = (
                f"withheld: {self.steps} steps are too few for a stationary state; write --steps {needed:.3g}"
            )
            return Prediction(values | {"exponent": why})
        for name, value in point.items():
            if not np.isnan(value):
                values[name] = value.item()
        return Prediction(values)

    def _minimal(self) -> dict[str, jax.Array]:
        power = gaussian.expectation(lambda z: jnp.tanh(z) ** 2, jnp.square(float(self.input_scale)))
        point = gatedfield.minimal_rnn(self.sigma_w, 1.0, self.forget_bias, power)
        return {"exponent": jnp.log(point.chi) / 2, **point._asdict()}

    def _population(self) -> dict[str, jax.Array]:
        follow = {"num_units": self.units, "num_steps": self.steps}
        key, scales = jax.random.key(self.seed), (float(self.sigma_w), float(self.input_scale))
        none, bias = jnp.zeros(()), jnp.asarray(float(self.forget_bias))
        if self.cell == "gru":
            point = gatedfield.gru(key, *scales, gated.ResetGates(none, bias, none), **follow)
        else:
            point = gatedfield.lstm(key, *scales, gated.Gates(none, bias, none, none), **follow)
        terms = dict(zip(gated.FourTerms._fields, point.term_squares, strict=True))
        named = {f"{name}_square": value for name, value in terms.items()}
        whole = {k: v for k, v in point._asdict().items() if k != "term_squares"}
        return whole | named
