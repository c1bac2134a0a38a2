"""Untied exponents and terms, time scales of gates, and growth of a cell state that forgets nothing."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.nn import sigmoid
from scipy import stats

from signalprop.analysis import gated, gatedfield, gaussian
from signalprop.analysis.chaos import mean_field_exponent
from signalprop.bench.experiments.carousel import UNTIED, Settings
from signalprop.bench.experiments.carousel.measure import grid


def theory(settings: Settings) -> xr.Dataset:
    """Untied exponents and terms, time scales of gates, and the growth of a cell that forgets nothing."""
    b, g = (jnp.asarray(a, float) for a in (settings.forget_bias, settings.gain))
    lstm, others = _untied(settings, b, g)
    keep = jax.jit(_over(gated.random_gate_decay))(
        b[:, None] + 0 * g, jnp.sqrt(settings.input_scale**2 + g**2 * lstm.q_h)
    )
    nothing = np.full((len(b), len(g)), np.nan)
    by_cell = {"lstm": lstm.exponent, UNTIED: lstm.exponent, "lstm_1997": np.zeros_like(nothing), **others}
    exponent = np.stack([np.asarray(by_cell.get(name, nothing)) for name in settings.cell])
    terms = np.concatenate([lstm.term_squares, lstm.term_squares.sum(-1, keepdims=True)], -1)
    at, time = ("forget_bias", "gain"), np.array(grid(settings).coords["time"])
    return xr.Dataset(
        {
            "exponent_predicted": (("cell", *at), exponent),
            "exponent_predicted_error": (at, lstm.exponent_error),
            "late_terms_predicted": ((*at, "term"), terms),
            "keep_predicted": (at, keep.typical),
            "keep_mean_square_predicted": (at, keep.root_mean_square),
            "lifetime_predicted": (at[:1], gated.forget_lifetime(b)),
            "e_folding_predicted": (at[:1], gated.forget_e_folding(b)),
            "hidden_predicted": (at, jnp.log(lstm.hidden_square) / 2),
            "cell_square_predicted": (("time",), _growth(settings, time)),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k != "seed"},
    )


def _over(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of bias and gain on the whole grid."""
    return jax.vmap(jax.vmap(f))


def _untied(
    settings: Settings, b: jax.Array, g: jax.Array
) -> tuple[gatedfield.Population, dict[str, jax.Array]]:
    """The LSTM's population at every bias and gain; exponents of the cells without a second state."""
    key, s, none = jax.random.key(settings.seed), settings.input_scale, jnp.zeros(())
    steps = {"num_units": settings.population, "num_steps": 2 * settings.steps}
    bias, gain = jnp.meshgrid(b, g, indexing="ij")

    fields = {
        "gru": lambda b, g: gatedfield.gru(key, g, s, gated.ResetGates(none, b, none), **steps).exponent,
        "minimal_rnn": lambda b, g: jnp.log(gatedfield.minimal_rnn(g, 1.0, b, power()).chi) / 2,
        "tanh": lambda b, g: mean_field_exponent(jnp.tanh, g, s),
    }

    def power() -> jax.Array:
        """Mean square of an embedded input of the minimalRNN."""
        return gaussian.expectation(lambda z: jnp.tanh(z) ** 2, jnp.square(s))

    @jax.jit
    def compute() -> tuple[gatedfield.Population, dict[str, jax.Array]]:
        lstm = _over(lambda b, g: gatedfield.lstm(key, g, s, gated.Gates(none, b, none, none), **steps))
        others = {name: _over(f)(bias, gain) for name, f in fields.items() if name in settings.cell}
        return lstm(bias, gain), others

    found: tuple[gatedfield.Population, dict[str, jax.Array]] = compute()
    return found


def _growth(settings: Settings, time: np.ndarray) -> np.ndarray:
    """Mean square of a cell that adds i g at every step, without recurrent weights; to order 1 / inputs.

    The sum of uncorrelated terms grows as ``t E (i g)^2``: i and g see Gaussian noise of variance
    s^2 |x|^2 / m, independent given x. They share their m inputs, so a unit's i and g have a random
    correlation of variance 1 / m, a mean product, and a mean square of
    ``t (t - 1) (s^2 E i' E g')^2 / m`` more.
    """
    m, variance = settings.width, settings.input_scale**2
    places = (np.arange(400) + 0.5) / 400

    def added(q: jax.Array) -> jax.Array:
        gate = gaussian.expectation(lambda z: sigmoid(z) ** 2, q)
        return gate * gaussian.expectation(lambda z: jnp.tanh(z) ** 2, q)

    @jax.jit
    def rates(q: jax.Array) -> tuple[jax.Array, jax.Array]:
        slope = gaussian.expectation(lambda z: sigmoid(z) * sigmoid(-z), variance)
        drift = variance * slope * gaussian.expectation(lambda z: 1 - jnp.tanh(z) ** 2, variance)
        return jax.vmap(added)(q).mean(), drift**2 / m

    diffusion, ballistic = (float(r) for r in rates(variance * stats.chi2.ppf(places, m) / m))
    square: np.ndarray = time * diffusion + time * (time - 1) * ballistic
    return square


def held_deviation(input_scale: float, forget_bias: xr.DataArray, gain: xr.DataArray) -> xr.DataArray:
    """Standard deviation g sqrt(Q) of W h in a minimalRNN, at every bias and gain."""
    bias, strength = xr.broadcast(forget_bias, gain)

    @jax.jit
    @jnp.vectorize
    def deviation(b: jax.Array, g: jax.Array) -> jax.Array:
        power = gaussian.expectation(lambda z: jnp.tanh(z) ** 2, jnp.square(jnp.asarray(input_scale)))
        return g * jnp.sqrt(gatedfield.minimal_rnn(g, 1.0, b, power).q)

    return bias.copy(data=np.asarray(deviation(bias.values, strength.values)))
