r"""How much of a gradient is left k steps before the loss, in every kind of recurrent cell?

Each network sees white noise for ``lags`` steps, from a carry of zero, through as many inputs as units, so
that every pre-activation has independent noise of standard deviation ``input_scale``. The loss reads the
carry h_T (for an LSTM c and h) in a random direction. Measured, in the log domain: |dL/dh_{T-k}| of the whole
carry at every lag k, the gradient of each unit, and the leading Lyapunov exponent of the same run. Cells
without gates are measured at several gains of W, gated ones at several biases of the gate that keeps.

Theory, with J_t = D_t W:

* The rate is the leading Lyapunov exponent. For wide networks it is (1/2) log(g^2 E phi'^2) (mean field),
  with relu log(g / sqrt 2). A linear network has log rho(W) at any width.
* |dL/dh_{T-k}| <= (gamma s_max(W))^k |dL/dh_T|, gamma the largest slope. So s_max < 1/gamma is sufficient for
  vanishing and s_max > 1/gamma necessary for exploding (Pascanu, Mikolov, Bengio, arXiv 1211.5063).
* A unit of the IRNN (relu, W = 1, no bias; Q. Le, N. Jaitly, G. Hinton, arXiv 1504.00941) is a random walk
  reflected at 0: its gradient is kept until the walk has touched 0, and then is exactly 0. The last visit to
  0 follows the discrete arcsine law, whatever the strength of the noise.
* In the LSTM of 1997 with its truncated gradient dc_t/dc_{t-1} is exactly 1 (S. Hochreiter, J. Schmidhuber).
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax.scipy.special import logsumexp

from signalprop.analysis import lyapunov, timelag
from signalprop.bench.drawings.gradient_by_lag import decades, figures, mean_and_error, rates
from signalprop.bench.engine.grid import (
    Grid,
    Static,
    require_count,
    require_finite,
    require_known,
    require_scale,
)
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.lag_verdicts import verdicts
from signalprop.bench.lags import (
    PHI,
    SHORT,
    e_folding_steps,
    log_kept,
    predicted_rates,
    sum_error,
    untouched_share,
    weight_facts,
)
from signalprop.models.activations import activation
from signalprop.models.cells import CELLS, cell, zero_carry

SUMMED = ("tanh",)
HEAT_UNITS = 32
LN10 = float(np.log(10))


@dataclass(frozen=True)
class Settings:
    """Settings of ``gradient-by-lag``."""

    cell: tuple[str, ...] = ("tanh", "relu", "irnn", "lstm_1997")
    """Recurrent cells."""
    gain: tuple[float, ...] = (0.5, 1.0, 1.4142, 2.0, 12.0)
    """Gains g of W in cells without gates."""
    forget_bias: tuple[float, ...] = (-1.0, 0.0, 1.0, 3.0, 5.0)
    """Biases of the keeping gate in gated cells, as many as gains: the two share an axis."""
    gated_gain: float = 1.0
    """Gain of the recurrent weights of gated cells."""
    input_scale: float = 0.3
    """Standard deviation of the noise that the inputs add to every pre-activation."""
    units: int = 32
    """Units, and inputs."""
    lags: int = 200
    """Steps of the sequence, and largest lag."""
    seeds: int = 12
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights, states and gradients."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("cell", self.cell, CELLS)
        require_scale("gain", self.gain)
        require_scale("input_scale", [self.input_scale])
        require_finite("forget_bias", self.forget_bias)
        require_count("units", [self.units], 2)
        require_count("lags", [self.lags], 2 * SHORT)
        require_count("seeds", [self.seeds], 2)
        if 0 in self.gain:
            raise ValueError("gain: got 0, at which no gradient is left; write numbers above 0")
        if len(self.gain) != len(self.forget_bias):
            raise ValueError(
                f"forget_bias: got {self.forget_bias}; write {len(self.gain)} numbers, as of gain"
            )


STANDARD = Settings(
    cell=(
        "tanh", "sigmoid", "relu", "linear", "tanh_orthogonal", "relu_orthogonal", "smart_tanh", "irnn",
        "lstm_1997", "lstm_1997_full", "lstm", "gru",
    ),
    gain=(0.5, 1.0, 1.2, 1.4142, 2.0, 12.0),
    forget_bias=(-1.0, 0.0, 1.0, 2.0, 3.0, 5.0),
    units=128, lags=1000, seeds=20,
)  # fmt: skip
SIZES = {
    "quick": Settings(),
    "standard": STANDARD,
    "full": replace(STANDARD, cell=tuple(CELLS), units=512, seeds=100),
}


def grid(settings: Settings) -> Grid:
    """One compilation per cell; gains and biases share their draws."""
    constants = ("gated_gain", "input_scale", "units", "lags", "dtype")
    return Grid(
        static={"cell": settings.cell},
        traced={"setting": {"gain": settings.gain, "forget_bias": settings.forget_bias}},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "lag": range(settings.lags + 1),
            "shown_lag": shown_lags(settings.lags),
            "unit": range(min(settings.units, HEAT_UNITS)),
        },
    )


def shown_lags(lags: int) -> list[int]:
    """About a hundred equally spaced lags, those of the heat map."""
    return list(range(0, lags + 1, max(1, lags // 100)))


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow the gradient of one network back through all steps."""
    name, units, lags, dtype = static["cell"], static["units"], static["lags"], jnp.dtype(static["dtype"])
    cell_key, noise_key = jax.random.split(key)
    network = cell(name)(
        cell_key, units, units,
        gain=point["gain"] if name in PHI else static["gated_gain"],
        input_scale=static["input_scale"], forget_bias=point["forget_bias"], dtype=dtype,
    )  # fmt: skip
    carry = zero_carry(network)
    leaves, tree = jax.tree.flatten(carry)
    noise = jax.random.normal(noise_key, (lags + len(leaves), units), dtype)
    inputs, loss_gradient = noise[:lags], jax.tree.unflatten(tree, list(noise[lags:]))
    homogeneous = name in PHI and activation(PHI[name]).homogeneous
    found = timelag.gradients(network, carry, inputs, loss_gradient, homogeneous=homogeneous)
    size = found.log_size()
    nothing = jnp.full((), jnp.nan, dtype)
    facts = dict.fromkeys(("radius", "largest_singular", "largest_slope"), nothing)
    summed = sum_error(network, carry, inputs[-SHORT:], loss_gradient) if name in SUMMED else nothing
    return {
        "log_norm": logsumexp(2 * size, axis=1) / 2,
        "live": jnp.mean(size[:, :units] > -jnp.inf, axis=1),
        "heat": size[jnp.array(shown_lags(lags)), : min(units, HEAT_UNITS)] / LN10,
        "lost_at": found.lost_at,
        "exponent": nothing if homogeneous else lyapunov.spectrum(network, carry, inputs, 1).exponents[0],
        "log_kept": log_kept(network, carry, inputs) if len(leaves) == 2 else nothing,
        "sum_error": summed,
        **(weight_facts(network, inputs) if name in PHI else facts),
    }


def theory(settings: Settings) -> xr.Dataset:
    """Rates by mean field and their limits, exact ones of linear, identity, truncated cells; arcsine law."""
    predicted, limit = (
        np.array([predicted_rates(name, settings.gain, settings.input_scale, n) for name in settings.cell])
        for n in (settings.units, np.inf)
    )
    labels = grid(settings).labels()
    return xr.Dataset(
        {
            "rate_predicted": (("cell", "setting"), predicted),
            "rate_limit": (("cell", "setting"), limit),
            "live_predicted": (("lag",), untouched_share(settings.lags)),
            "units": ((), settings.units),
        },
        coords={name: labels[name] for name in ("cell", "lag")},
    )


def table(result: xr.Dataset) -> pd.DataFrame:
    """Gradient relative to lag 0 at some lags, and rates, by cell and setting."""
    lags = int(result["lag"][-1])
    mean, error = decades(result["log_norm"])
    rate, rate_error = mean_and_error(rates(result))
    folding = e_folding_steps(result["log_norm"])
    early = [lag for lag in (1, 2, 5, 10, 20, 50) if lag < lags]
    shown = np.unique([*early, *np.linspace(0, lags, 9).astype(int)[1:]])
    columns = {
        "decades": mean.sel(lag=shown),
        "decades_error": error.sel(lag=shown),
        "live": result["live"].mean("seed").sel(lag=shown),
        "rate": rate,
        "rate_error": rate_error,
        "rate_predicted": result["rate_predicted"],
        "e_folding": folding.isel(fit=0),
        "e_folding_error": folding.isel(fit=1),
        "exponent": result["exponent"].mean("seed"),
        "largest_singular": result["largest_singular"].mean("seed"),
    }
    frame = xr.Dataset(columns).to_dataframe().reset_index()
    return frame.drop(columns=["setting"], errors="ignore")


EXPERIMENT = Experiment(
    name="gradient-by-lag",
    question="How much of a gradient is left k steps before the loss, in every kind of recurrent cell?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "log_norm": Variable(("lag",), "log of |dL/dh_{T-k}|, whole carry", "nats"),
        "live": Variable(("lag",), "share of the units (c of an LSTM) whose gradient is not exactly 0"),
        "heat": Variable(("shown_lag", "unit"), "log10 of a unit's gradient (c of an LSTM)", "decades"),
        "lost_at": Variable((), "step at which the state leaves float range, 0 if it does not", "steps"),
        "exponent": Variable(
            (), "leading Lyapunov exponent of the same run; not of relu and linear", "nats per step"
        ),
        "log_kept": Variable((), "mean log of what a memory keeps per step", "nats per step"),
        "sum_error": Variable((), "relative error of the weight gradient summed lag by lag"),
        "radius": Variable((), "spectral radius of W"),
        "largest_singular": Variable((), "largest singular value of W"),
        "largest_slope": Variable((), "largest slope of the activation met"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
