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
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.grid import Grid, Static, require_count, require_finite, require_known, require_scale
from signalprop.bench.lags import (
    PHI,
    e_folding_steps,
    log_kept,
    predicted_rates,
    sum_error,
    untouched_share,
    weight_facts,
)
from signalprop.bench.verdict import Verdict, judge, observe, sampling_factor
from signalprop.models.activations import ACTIVATIONS, activation
from signalprop.models.cells import CELLS, cell, zero_carry

SHORT = 20  # steps of the sequence whose weight gradient is summed lag by lag
SUMMED = ("tanh",)
HEAT_UNITS = 32
LN10 = float(np.log(10))
EPS = float(np.finfo("float32").eps)
PASCANU = "Pascanu, Mikolov, Bengio (1211.5063)"
MEAN_FIELD = "mean field (Sompolinsky, Crisanti, Sommers 1988)"


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
    """Rates of wide networks, exact ones of linear, identity and truncated cells; the arcsine law."""
    predicted = [predicted_rates(name, settings.gain, settings.input_scale) for name in settings.cell]
    labels = grid(settings).labels()
    return xr.Dataset(
        {
            "rate_predicted": (("cell", "setting"), np.array(predicted)),
            "live_predicted": (("lag",), untouched_share(settings.lags)),
            "units": ((), settings.units),
        },
        coords={name: labels[name] for name in ("cell", "lag")},
    )


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge lag-by-lag sums, exponents, slopes and bounds, derivatives of 1, relu, and the carousel."""
    names = set(result["cell"].values)
    found = [*_slopes(result), *_exponents(result)]
    if "tanh" in names:
        found.append(_sum(result.sel(cell="tanh")))
    if "linear" in names:
        found.append(_linear(result.sel(cell="linear")))
    if "irnn" in names and 1.0 in result["gain"].values:
        found.append(_identity(result.sel(cell="irnn")))
    if "tanh_orthogonal" in names:
        found += _orthogonal(result.sel(cell="tanh_orthogonal"))
    if "relu" in names:
        found += _relu(result.sel(cell="relu"))
    if "lstm_1997" in names:
        found.append(_carousel(result.sel(cell="lstm_1997")))
    return found


def _sum(at: xr.Dataset) -> Verdict:
    return judge(
        ["D4"], f"Gradient of all weights of a tanh network over {SHORT} steps: the sum over lags against "
        "autodiff, relative difference", PASCANU,
        measured=float(at["sum_error"].max()), predicted=0.0, tolerance=SHORT * EPS,
        tolerance_from="one rounding in float32 per step",
    )  # fmt: skip


def _exponents(result: xr.Dataset) -> list[Verdict]:
    """Gradient against the leading exponent, over the same steps of the same networks."""
    lags = int(result["lag"][-1])
    gap = (rates(result, 0.0, 0.9) - result["exponent"]).stack(place=("cell", "setting"))
    gap = gap.dropna("place", how="any")
    if gap.sizes["place"] == 0 or result.sizes["seed"] < 2:
        return []
    mean, error = mean_and_error(gap)
    ends = np.log(float(result["units"])) / (0.9 * lags)
    return [
        judge(
            ["D5"], f"Growth of log |dL/dh| per step over {0.9 * lags:g} steps, minus the leading Lyapunov "
            "exponent of the same steps, in every cell whose units are not relu or linear", PASCANU,
            measured=mean, predicted=0.0, uncertainty=error,
            tolerance=ends + sampling_factor(mean.size, result.sizes["seed"]) * error,
            tolerance_from="random directions at both ends, log(units) over the steps; five standard errors",
        )
    ]  # fmt: skip


def _linear(at: xr.Dataset) -> Verdict:
    lags = int(at["lag"][-1])
    gap = (rates(at) - np.log(at["radius"])).values.ravel()
    return judge(
        ["D5"], "Growth of log |dL/dh| per step in a linear network, minus the logarithm of the spectral "
        "radius of the same W", "linear algebra",
        measured=gap, predicted=0.0, tolerance=2 * np.log(float(at["units"])) / (0.9 * lags),
        tolerance_from="a change of direction between the two lags by up to log(units) at each",
    )  # fmt: skip


def _slopes(result: xr.Dataset) -> list[Verdict]:
    """Largest slope of every activation, and the bound that it enters."""
    cells = [str(name) for name in result["cell"].values if name in PHI]
    if not cells:
        return []
    at = result.sel(cell=cells)
    steepest = at["largest_slope"].max(("seed", "setting"))
    change = (at["log_norm"] - at["log_norm"].isel(lag=0)).clip(min=-1e30)
    slope = xr.DataArray([ACTIVATIONS[PHI[name]].max_slope for name in cells], dims="cell")
    excess = change - at["lag"] * np.log(slope * at["largest_singular"])
    worst = float((excess / (1 + at["lag"])).max())
    return [
        judge(
            ["D8"], "Largest slope met by a unit: 1 of tanh, relu and linear, 1/4 of sigmoid", "calculus",
            measured=steepest, predicted=slope, tolerance=1e-4,
            tolerance_from="distance of the smallest pre-activation from 0",
            claim="right after repair",
            correction="At most 1 for tanh, 1/4 for the sigmoid, exactly 1 for active relu units. The factor "
            "of a step is the slope times W.",
        ),
        judge(
            ["D8"], "Excess of log |dL/dh_{T-k}| over Pascanu's bound k log(gamma s_max), per lag, at all "
            "lags, gains and cells without gates", PASCANU,
            measured=max(0.0, worst), predicted=0.0, tolerance=8 * EPS,
            tolerance_from="rounding in float32", claim="right after repair",
            correction="gamma s_max(W) < 1 suffices for vanishing, gamma s_max(W) > 1 is only necessary for "
            "exploding.",
        ),
    ]  # fmt: skip


def _identity(at: xr.Dataset) -> Verdict:
    place, seeds = int(np.flatnonzero(at["gain"].values == 1)[0]), at.sizes["seed"]
    lags = int(at["lag"][-1])
    chosen = np.unique([1, lags // 20, lags // 4, lags // 2, 3 * lags // 4])
    share = at["live"].isel(setting=place).sel(lag=chosen)
    expected = at["live_predicted"].sel(lag=chosen)
    binomial = np.sqrt(expected * (1 - expected) / (seeds * float(at["units"])))
    error = np.maximum(binomial, share.std("seed", ddof=1) / np.sqrt(seeds))
    return judge(
        ["D12", "D13"], "Share of the units of an IRNN whose gradient is left after k steps of white noise: "
        "the arcsine law, 1/2 at half of the sequence", "Le et al. (1504.00941); Sparre Andersen (1953)",
        measured=share.mean("seed"), predicted=expected, uncertainty=error,
        tolerance=sampling_factor(chosen.size, seeds) * error,
        tolerance_from="five standard errors, not below those of independent units",
        claim="right after repair",
        correction="A step derivative of 1 keeps the gradient, but only while a unit is active: it is lost "
        "unit by unit, as a random walk touches 0. A derivative of about 0 is what vanishing means.",
    )  # fmt: skip


def _orthogonal(at: xr.Dataset) -> list[Verdict]:
    """Mean field of orthogonal networks that forget their state; no eigenvalue lies above the others."""
    ordered = at.isel(setting=np.flatnonzero(at["rate_predicted"] < -0.1))
    if ordered.sizes["setting"] == 0 or at.sizes["seed"] < 2:
        return []
    mean, error = mean_and_error(rates(ordered))
    return [
        judge(
            ["D12"], "Growth of log |dL/dh| per step in orthogonal tanh networks with step derivatives well "
            "below 1: half the log of g^2 E phi'^2", MEAN_FIELD,
            measured=mean, predicted=ordered["rate_predicted"], uncertainty=error,
            tolerance=1 / float(at["units"]) + sampling_factor(mean.size, at.sizes["seed"]) * error,
            tolerance_from="1/units of finite width, five standard errors over networks",
            claim="right after repair",
            correction="Orthogonal weights of gain 1 do not help where the units saturate, and a step "
            "derivative of about 0 is vanishing, not a way out.",
        )
    ]  # fmt: skip


def _relu(at: xr.Dataset) -> list[Verdict]:
    """Rates of Gaussian relu networks, and where their states leave the range of float32."""
    seeds, left = at.sizes["seed"], at["lost_at"].where(at["lost_at"] > 0)
    if seeds < 2:
        return []
    mean, error = mean_and_error(rates(at))
    above = np.flatnonzero(at["gain"].values > 1.5)
    found = [
        judge(
            ["D13"], "Growth of log |dL/dh| per step in a Gaussian relu network of gain g: log(g / sqrt 2)",
            "mean field; He et al. (1502.01852)",
            measured=mean, predicted=at["rate_predicted"], uncertainty=error,
            tolerance=1.25 / float(at["units"]) + sampling_factor(mean.size, seeds) * error,
            tolerance_from="5/(4 units) of finite width, five standard errors over networks",
            claim="right after repair",
            correction="relu alone does not relieve vanishing: with Gaussian W its gradients vanish below "
            "g = sqrt 2, faster than those of tanh. They explode above sqrt 2 and not above radius 1; with "
            "W = g I (IRNN) the limit is 1.",
        )
    ]  # fmt: skip
    if above.size:
        last = int(above[-1])
        found.append(observe(
            ["D13"], f"Step at which the state of a relu network of gain {float(at['gain'][last]):g} leaves "
            "the range of its dtype, mean over networks", "recorded in every run",
            measured=float(left.isel(setting=last).mean()),
            uncertainty=float(left.isel(setting=last).std() / np.sqrt(seeds)),
            claim="right after repair", correction="States grow by g / sqrt 2 per step, above g = sqrt 2.",
        ))  # fmt: skip
    return found


def _carousel(at: xr.Dataset) -> Verdict:
    change = at["log_norm"] - at["log_norm"].sel(lag=1)
    return judge(
        ["D22"], f"LSTM of 1997, truncated: largest change of log |dL/dc| from lag 1 to "
        f"{int(at['lag'][-1])}, in nats", "Hochreiter & Schmidhuber (1997)",
        measured=float(np.abs(change.sel(lag=slice(1, None))).max()), predicted=0.0, tolerance=EPS,
        tolerance_from="dc_t/dc_{t-1} = 1 exactly: not even rounding",
    )  # fmt: skip


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
