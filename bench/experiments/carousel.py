r"""What keeps the gradient of an LSTM: the constant error carousel, its gates, or the paths around it?

Recurrent cells of equal width, driven by x_t ~ N(0, I) that adds noise of standard deviation 1 to every gate,
for many forget biases and gains of the recurrent weights. A small change of the state is followed along the
trajectory by several paths, in the log domain (``bench.memory``):

* the LSTM of 1997 has two gates and no forget gate. With its truncated gradient dc_t/dc_{t-1} = 1 exactly;
  without truncation it is not (Hochreiter & Schmidhuber 1997, Neural Computation 9, 1735);
* the modern LSTM (Gers et al. 2000) has dc_t/dc_{t-1} = diag f_t and three more terms by way of h_{t-1}. The
  four are right for one step with o_{t-1} held fixed. Their product over steps is not dc_T/dc_1, and neither
  is the exponent of the path through f alone that of the whole carry (c, h).

Theory: gates of constant pre-activation b keep for 1 + e^b steps, random ones for -1 / E log f; exponents of
wide networks whose weights are drawn anew at every step ("untied", ``analysis.gatedfield``; Gilboa et al.
1901.08987, Chen et al. 1806.05394). Real networks keep their weights, and for the LSTM it matters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax.nn import sigmoid
from scipy import stats

from signalprop.analysis import gated, gatedfield, gaussian
from signalprop.analysis.chaos import mean_field_exponent
from signalprop.bench.drawings.carousel import figures
from signalprop.bench.engine.grid import (
    Grid,
    Static,
    require_count,
    require_finite,
    require_known,
    require_scale,
)
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.forgetting import exponents, verdicts
from signalprop.bench.measure.memory import PATHS, TERMS, follow
from signalprop.bench.measure.rates import standard_error
from signalprop.models.cells import cell as find_cell

UNTIED = "lstm_untied"
CELLS = ("lstm", UNTIED, "lstm_1997", "lstm_1997_full", "gru", "minimal_rnn", "tanh")
SHOWN = 40  # first steps of which every term is recorded


@dataclass(frozen=True)
class Settings:
    """Settings of ``carousel``."""

    cell: tuple[str, ...] = CELLS
    """Cells; lstm_untied draws new weights at every step."""
    forget_bias: tuple[float, ...] = (-1.0, 0.0, 1.0, 2.0, 3.0, 5.0)
    """Biases of the gate that keeps the state."""
    gain: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)
    """Scales g of the recurrent weights, of variance g^2 / N."""
    input_scale: float = 1.0
    """Standard deviation that the inputs add to every pre-activation."""
    width: int = 32
    """Units N, and number of inputs."""
    steps: int = 240
    """Steps T of every trajectory."""
    transient: int = 80
    """First steps that do not count for exponents; rounded to a recorded one, two strides before the end."""
    stride: int = 20
    """Steps between two records of sizes; divides the number of steps."""
    population: int = 1000
    """Units of the population that theory follows."""
    seeds: int = 12
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights and states."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("cell", self.cell, CELLS)
        require_scale("gain", self.gain)
        require_finite("forget_bias", self.forget_bias)
        require_scale("input_scale", [self.input_scale])
        require_count("width", [self.width])
        require_count("steps", [self.steps], least=SHOWN)
        require_count("stride", [self.stride])
        if self.steps % self.stride or not 0 < self.transient <= self.steps - 2 * self.stride:
            raise ValueError(
                f"steps, stride, transient: got {self.steps}, {self.stride}, {self.transient}; write a "
                "multiple of the stride, and a transient above 0 that leaves at least two strides"
            )


SIZES = {
    "quick": Settings(cell=("lstm", UNTIED, "lstm_1997"), population=500),
    "standard": Settings(
        forget_bias=(-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0),
        gain=(0.0, 0.5, 1.0, 2.0, 3.0, 4.0),
        width=96,
        steps=600,
        transient=200,
        population=4000,
        seeds=16,
    ),
    "full": Settings(
        forget_bias=tuple(np.arange(-1.0, 5.5, 0.5).tolist()),
        gain=(0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0),
        width=256,
        steps=2000,
        transient=500,
        population=20000,
        seeds=32,
    ),
}


def grid(settings: Settings) -> Grid:
    """One compilation per cell; biases and gains share their draws."""
    return Grid(
        static={"cell": settings.cell},
        traced={"forget_bias": settings.forget_bias, "gain": settings.gain},
        seeds=settings.seeds,
        constants={
            name: getattr(settings, name)
            for name in ("width", "input_scale", "steps", "transient", "stride", "dtype")
        },
        coords={
            "path": PATHS,
            "term": TERMS,
            "step": range(1, SHOWN + 1),
            "time": range(settings.stride, settings.steps + 1, settings.stride),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow one network from rest."""
    width, steps, stride = static["width"], static["steps"], static["stride"]
    name = "lstm" if static["cell"] == UNTIED else static["cell"]
    draw = partial(
        find_cell(name),
        inputs=width,
        units=width,
        gain=point["gain"],
        input_scale=jnp.asarray(static["input_scale"], static["dtype"]),
        forget_bias=point["forget_bias"],
        dtype=static["dtype"],
    )
    cell_key, input_key, walk_key = jax.random.split(key, 3)
    inputs = jax.random.normal(input_key, (steps, width), static["dtype"])
    once = draw(cell_key)
    found = follow(draw if static["cell"] == UNTIED else lambda _: once, inputs, walk_key)
    late = slice(static["transient"], None)
    recorded = {k: found[k][stride - 1 :: stride] for k in ("log_norm", "cell_square")}
    early = {k: found[k][:SHOWN] for k in ("terms", "discrepancy")}
    return {
        "log_norm": recorded["log_norm"].T,
        "cell_square": recorded["cell_square"],
        "terms": early["terms"].T,
        "discrepancy": early["discrepancy"],
        "late_terms": found["terms"][late].mean(0),
        "diagonal_share": found["diagonal_share"][late].mean(),
        "formula_error": found["formula_error"].max(),
    }


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
    terms = np.concatenate([lstm.terms, lstm.terms.sum(-1, keepdims=True)], -1)
    at, time = ("forget_bias", "gain"), np.array(grid(settings).coords["time"])
    return xr.Dataset(
        {
            "exponent_predicted": (("cell", *at), exponent),
            "exponent_predicted_error": (at, lstm.exponent_error),
            "late_terms_predicted": ((*at, "term"), terms),
            "keep_predicted": (at, keep.typical),
            "keep_mean_square_predicted": (at, keep.mean_square),
            "lifetime_predicted": (at[:1], gated.forget_lifetime(b)),
            "e_folding_predicted": (at[:1], gated.forget_e_folding(b)),
            "hidden_predicted": (at, jnp.log(lstm.hidden) / 2),
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


def table(result: xr.Dataset) -> pd.DataFrame:
    """Exponents of every path, beside the theory of untied weights, and the late terms of the LSTMs."""
    rate, late = exponents(result), result["late_terms"]
    columns = {
        **{f"{path}_exponent": rate.sel(path=path, drop=True).mean("seed") for path in PATHS},
        "carry_exponent_error": standard_error(_finite(rate.sel(path="carry", drop=True))),
        "untied_exponent_predicted": result["exponent_predicted"],
        **{f"{term}_square": late.sel(term=term, drop=True).mean("seed") for term in TERMS},
    }
    return xr.Dataset(columns).to_dataframe(["cell", "forget_bias", "gain"]).reset_index()


def _finite(rate: xr.DataArray) -> xr.DataArray:
    return rate.where(np.isfinite(rate))


EXPERIMENT = Experiment(
    name="carousel",
    question="What keeps the gradient of an LSTM: the carousel, its gates, or the paths around it?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "log_norm": Variable(("path", "time"), "log of the size of a change along each path", "nats"),
        "cell_square": Variable(("time",), "mean square of the cell state"),
        "terms": Variable(
            ("term", "step"), "|A|_F^2 / N of the terms of dc_t/dc_{t-1}, from the first step on"
        ),
        "discrepancy": Variable(("step",), "relative error of the four-term product as dc_t/dc_0"),
        "late_terms": Variable(("term",), "|A|_F^2 / N of the terms after the transient"),
        "diagonal_share": Variable(
            (), "share of the last three terms, squared, that lies on their diagonals"
        ),
        "formula_error": Variable((), "largest relative difference of the four terms and autodiff, any step"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
