r"""When do gradients of a random recurrent network explode in time, and what does input change?

The network is a_t = g W phi(a_{t-1}) + s x_t with the same W at every step: Gaussian of variance 1/N, or
Haar orthogonal; x_t is Gaussian noise, independent at every unit and step. Gradients grow or shrink by
exp(lambda_1) per step, the largest Lyapunov exponent. Measured by QR on the tangent: lambda_1 at several
widths, gains g and input strengths s; at one width the whole spectrum, from which follow the dimension of the
attractor (Kaplan-Yorke) and its entropy bound (sum of the positive exponents). Beside them the mean square q
of the pre-activations over time, and the spectral radius of every W.

Theory:

* lambda_1 = log[g^2 E phi'(sqrt(q) z)^2] / 2 with q = g^2 E phi(sqrt(q) z)^2 + s^2: mean field, exact for
  wide networks (Sompolinsky, Crisanti & Sommers 1988; with input Molgedey, Schuchhardt & Schuster 1992; in
  discrete time Engelken, Wolf & Abbott, arXiv 2006.02427). Finite width lowers it by
  (3 mu_2 / mu_1^2 - 1) / (4N).
* Where the state dies (g < 1, s = 0) the same matrix acts at every step: lambda_1 = log(g rho(W)) at every N.
* The whole spectrum is that of a product of free matrices, D_t W, at the network's own q.
"""

import json
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis import lyapunov
from signalprop.analysis.chaos import finite_width_correction
from signalprop.analysis.eigenvalues import eigenvalues
from signalprop.bench.drawings.edge_of_chaos_rnn import figures
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.exponents import (
    FAMILIES,
    dimension,
    entropy,
    log_radius,
    mean_field,
    own_spectra,
    points,
    predicted,
    spectrum_verdicts,
)  # fmt: skip
from signalprop.bench.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.rates import standard_error
from signalprop.bench.verdict import Verdict, judge, sampling_factor
from signalprop.models.activations import ACTIVATIONS, activation
from signalprop.models.initializers import scheme

RESOLVED = 1e-3  # largest error from rounding, in nats per step, of an exponent that counts
VARIED = 0.5  # relative variance of the squared slopes from which the mean field holds at finite width
FINE = (32, 8)  # gains and inputs of the lines in the figures
MEAN_FIELD = "mean field (Engelken, Wolf & Abbott, arXiv 2006.02427)"
PASCANU = "Pascanu, Mikolov & Bengio (arXiv 1211.5063)"


@dataclass(frozen=True)
class Settings:
    """Settings of ``edge-of-chaos-rnn``."""

    scheme: tuple[str, ...] = FAMILIES
    """Recurrent weights: gaussian or orthogonal."""
    width: tuple[int, ...] = (48,)
    """Numbers N of units."""
    gain: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
    """Gains g of the recurrent weights, above 0."""
    noise: tuple[float, ...] = (0.0, 1.0)
    """Standard deviations s of the input to a unit at one step."""
    activation: str = "tanh"
    """Activation of all units."""
    settle: int = 100
    """Steps before anything is followed."""
    align: int = 30
    """Steps in which the directions turn, not counted either."""
    steps: int = 200
    """Steps over which the largest exponent is averaged."""
    spectrum_width: int = 48
    """Width at which all exponents are measured; none if it is not among the widths."""
    spectrum_steps: int = 100
    """Steps over which these are averaged."""
    seeds: int = 12
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("scheme", self.scheme, FAMILIES)
        require_count("width", self.width, least=2)
        require_scale("gain", self.gain)
        require_scale("noise", self.noise)
        require_known("activation", [self.activation], ACTIVATIONS)
        require_count("steps", [self.steps, self.spectrum_steps])
        require_count("settle", [self.settle, self.align], least=0)
        if min(self.gain) == 0:
            raise ValueError("gain: got 0; write gains above 0")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        width=(64, 128, 256, 512),
        gain=(0.5, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0),
        noise=(0.0, 0.3, 0.5, 1.0),
        settle=200,
        align=40,
        steps=400,
        spectrum_width=128,
        spectrum_steps=200,
        seeds=16,
    ),
    "full": Settings(
        width=(64, 128, 256, 512, 1024),
        gain=(0.5, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0),
        noise=(0.0, 0.1, 0.3, 0.5, 1.0, 2.0),
        settle=1000,
        align=200,
        steps=3000,
        spectrum_width=256,
        spectrum_steps=1000,
        seeds=24,
    ),
}


def grid(settings: Settings) -> Grid:
    """One compilation per width; gains and inputs share their draws."""
    names = ("scheme", "activation", "settle", "align", "steps", "spectrum_width", "spectrum_steps", "dtype")
    return Grid(
        static={"width": settings.width},
        traced={"gain": settings.gain, "noise": settings.noise},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in names},
        coords={"scheme": settings.scheme, "index": range(1, num_exponents(settings) + 1)},
    )


def num_exponents(settings: Settings) -> int:
    """Length of the measured spectra; 1 if there are none."""
    return settings.spectrum_width if settings.spectrum_width in settings.width else 1


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow one network of each family; weights and input are drawn at scale 1, for all gains alike."""
    width, dtype = static["width"], static["dtype"]
    weights_key, start_key, input_key = jax.random.split(key, 3)
    kernels = [scheme(name).draw(weights_key, width, width, dtype=dtype) for name in static["scheme"]]
    steps = static["spectrum_steps"] if width == static["spectrum_width"] else static["steps"]
    start = jax.random.normal(start_key, (width,), dtype)
    inputs = jax.random.normal(input_key, (static["settle"] + static["align"] + steps, width), dtype)
    return jax.vmap(lambda kernel: follow(kernel, start, inputs, point, static))(jnp.stack(kernels))


def follow(
    kernel: jax.Array, a: jax.Array, inputs: jax.Array, point: dict[str, jax.Array], static: Static
) -> dict[str, jax.Array]:
    """Exponents, mean square and spectral radius of one network; a are the first pre-activations."""
    width, phi, settle = len(kernel), activation(static["activation"]), static["settle"]
    whole = width == static["spectrum_width"]

    def step(a: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        after = point["gain"] * (phi(a) @ kernel) + point["noise"] * x
        return after, jnp.mean(after * after)

    a, _ = jax.lax.scan(step, a, inputs[:settle])
    found = lyapunov.spectrum(step, a, inputs[settle:], width if whole else 1, transient=static["align"])
    _, squares = jax.lax.scan(step, a, inputs[settle:])
    resolved = jnp.where(found.rounding < RESOLVED, found.exponents, jnp.nan)
    return {
        "exponent": found.exponents[0],
        "q": jnp.mean(squares),
        "radius": jnp.max(jnp.abs(eigenvalues(kernel))),
        "exponents": resolved if whole else jnp.full(1, jnp.nan, kernel.dtype),
    }


def theory(settings: Settings) -> xr.Dataset:
    """Mean field with and without finite width, whole spectra, and both on finer axes for the figures."""
    phi, count = activation(settings.activation), num_exponents(settings)
    lines = {
        "gain_line": np.geomspace(min(settings.gain), max(settings.gain), FINE[0]),
        "noise_line": np.union1d(
            np.linspace(0, max(settings.noise) ** 0.5 or 1, FINE[1]) ** 2, settings.noise
        ),
    }
    at, fine = mean_field(phi, settings.gain, settings.noise), mean_field(phi, *lines.values())
    n, family = np.array(settings.width)[:, None, None], [FAMILIES.index(w) for w in settings.scheme]
    finite = [at.exponent + finite_width_correction(at.variety, n, FAMILIES[i]) for i in family]
    along = [list(lines["noise_line"]).index(s) for s in settings.noise]
    whole = predicted(phi, count, np.array(settings.gain)[:, None], at.q)[family]
    line = predicted(phi, count, lines["gain_line"][:, None], fine.q[:, along])[family]
    by_place, by_line = ("gain", "noise"), ("gain_line", "noise_line")
    return xr.Dataset(
        {
            "exponent_predicted": (("scheme", "width", *by_place), finite),
            "exponent_wide": (by_place, at.exponent),
            "q_predicted": (by_place, at.q),
            "variety": (by_place, at.variety),
            "exponents_predicted": (("scheme", *by_place, "index"), whole),
            "exponent_line": (by_line, fine.exponent),
            "dimension_line": (("scheme", "gain_line", "noise"), dimension(line)),
            "entropy_line": (("scheme", "gain_line", "noise"), entropy(line)),
        },
        coords={**{k: v for k, v in grid(settings).labels().items() if k != "seed"}, **lines},
    )


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the largest exponent, its sign, the rule of the spectral radius, and the whole spectra."""
    if result.sizes["seed"] < 3:
        return []
    found = [*_largest(result), *_sign(result), *_dying(result), *_orthogonal(result), *_radius(result)]
    if result["exponents"].notnull().any() and result.sizes["index"] > 1:
        found += _spectra(result)
    return found


def _moving(at: xr.Dataset) -> xr.DataArray:
    """Where the mean field holds at finite width: slopes vary, or input drives weights without an edge."""
    moving: xr.DataArray = (at["variety"] > VARIED) | (at["scheme"] == "orthogonal") & (at["noise"] > 0)
    return moving


def _largest(result: xr.Dataset) -> list[Verdict]:
    columns = {
        "mean": result["exponent"].mean("seed"),
        "error": standard_error(result["exponent"]),
        "predicted": result["exponent_predicted"].where(_moving(result)),
        "n": result["width"],
    }
    flat = points(columns, "scheme", "width", "gain", "noise")
    if flat.sizes["x"] == 0:
        return []
    factor = sampling_factor(flat.sizes["x"], result.sizes["seed"])
    found = [
        judge(
            ["D9", "D10"], "Wherever slopes vary, gradients of random recurrent networks grow by the mean "
            "field's exponent per step, lowered by finite width, at all widths, gains and inputs", MEAN_FIELD,
            measured=flat["mean"], predicted=flat["predicted"], uncertainty=flat["error"],
            tolerance=2 / flat["n"] + factor * flat["error"],
            tolerance_from="2 / N for what correlations in time leave out, five standard errors",
            claim="right after repair",
            correction="Saturation fights back: slopes fall as the gain rises, and the factor per step grows "
            "as the root of the gain.",
        )
    ]  # fmt: skip
    if 3.0 in result["gain"] and 0.0 in result["noise"]:
        at = result.sel(gain=3.0, noise=0.0).isel(width=-1, scheme=0)
        factor_mean, linear = float(np.exp(at["exponent"].mean("seed"))), 3 * float(at["radius"].mean())
        spread = factor_mean * float(standard_error(at["exponent"]))
        found.append(judge(
            ["D9"], f"At gain 3 without input the gradient of tanh grows per step by a factor, not by the "
            f"linear {linear:.2f} (N = {int(at['width'])})", MEAN_FIELD,
            measured=factor_mean, predicted=float(np.exp(at["exponent_predicted"])), uncertainty=spread,
            tolerance=factor_mean * 2 / int(at["width"]) + sampling_factor(1, at.sizes["seed"]) * spread,
            tolerance_from="2 / N, five standard errors", claim="right after repair",
            correction="It does explode, but far more slowly than powers of the matrix do.",
        ))  # fmt: skip
    return found


def _sign(result: xr.Dataset) -> list[Verdict]:
    """Judge which networks explode, away from the edge."""
    at = result.isel(width=-1)
    predicted = at["exponent_predicted"].where(np.abs(at["exponent_predicted"]) > 0.06)
    measured = at["exponent"].mean("seed")
    flat = points({"p": predicted, "m": measured}, "scheme", "gain", "noise")
    if flat.sizes["x"] == 0:
        return []
    right = (flat["p"] > 0) == (flat["m"] > 0)
    share = float((measured < 0).mean())
    return [
        judge(
            ["D10"], "Gradients vanish below the edge of chaos, a gain that input raises (for tanh from 1 to "
            "1.86 at s = 1), and explode above: share of settings on the predicted side. Of those measured "
            f"here {share:.0%} vanish", MEAN_FIELD,
            measured=float(right.mean()), predicted=1.0, tolerance=0.0,
            tolerance_from="all settings with a predicted exponent beyond 0.06", claim="right after repair",
            correction="Neither is more common as such: with inputs of standard deviation 1 every gain up to "
            "1.86 vanishes, and without input every gain above 1 explodes.",
        )
    ]  # fmt: skip


def _dying(result: xr.Dataset) -> list[Verdict]:
    """Judge networks without input whose state dies: one matrix acts for ever."""
    if 0.0 not in result["noise"]:
        return []
    at = result.sel(noise=0.0)
    expected = log_radius(at) - np.log(at["gain"]) + at["exponent_wide"]
    dies = (at["q_predicted"] == 0) & (at["variety"] < 1e-6) & (expected < np.log(0.95))
    columns = {"m": at["exponent"], "p": expected.where(dies)}
    flat = points(columns, "scheme", "width", "gain", "seed")
    if flat.sizes["x"] == 0:
        return []
    settings = json.loads(result.attrs["settings"])
    steps = min(settings["steps"], settings["spectrum_steps"])
    return [
        judge(
            ["D1", "D7"], "Without input and with g rho(W) < 0.95 the state dies, and every single network "
            "has the exponent log(g rho(W)) at every width (times phi'(0), if not 1)", "Gelfand's formula",
            measured=flat["m"], predicted=flat["p"], tolerance=np.log(100) / steps,
            tolerance_from="a transient growth of up to 100, spread over the steps",
        )
    ]  # fmt: skip


def _orthogonal(result: xr.Dataset) -> list[Verdict]:
    if "orthogonal" not in result["scheme"] or 1.0 not in result["gain"]:
        return []
    at = result.sel(scheme="orthogonal", gain=1.0).isel(width=-1)
    error = standard_error(at["exponent"])
    factor = sampling_factor(error.size, at.sizes["seed"])
    return [
        judge(
            ["D12"], "Orthogonal weights with gain 1: the exponent is 0 without input, and with input that "
            "of the mean field, the same as for Gaussian weights", MEAN_FIELD,
            measured=at["exponent"].mean("seed"), predicted=at["exponent_predicted"], uncertainty=error,
            tolerance=0.005 + 2 / int(at["width"]) + factor * error,
            tolerance_from="0.005 for the algebraic decay of a critical state, 2 / N, five standard errors",
            claim="right after repair",
            correction="A derivative of about 1 does keep gradients, but orthogonal weights alone do not "
            "provide it: input lowers the slopes. A derivative of about 0 is vanishing itself.",
        )
    ]  # fmt: skip


def _radius(result: xr.Dataset) -> list[Verdict]:
    """Judge networks whose matrix expands while their input keeps them below the edge."""
    margin = 0.06 + 2 / result["width"]
    below = (result["exponent_predicted"] < -margin) & (result["noise"] > 0)
    radius = (result["gain"] * result["radius"]).where(below)
    columns = {"m": result["exponent"], "radius": radius.where(radius > 1.05)}
    flat = points(columns, "scheme", "width", "gain", "noise", "seed")
    if flat.sizes["x"] == 0:
        return []
    return [
        judge(
            ["D7"], f"Of {flat.sizes['x']} driven networks with g rho(W) from 1.05 to "
            f"{float(flat['radius'].max()):.2f} that lie below the edge of chaos, the share whose gradient "
            "vanishes", PASCANU,
            measured=float((flat["m"] < 0).mean()), predicted=1.0, tolerance=0.0,
            tolerance_from="all networks with a predicted exponent below -0.06 - 2 / N", claim="wrong",
            correction="A spectral radius above 1 does not make a nonlinear network explode: every factor is "
            "D_t W, and the slopes D_t decide too. sigma_max(W) < 1 / max slope is sufficient to vanish.",
        )
    ]  # fmt: skip


def _spectra(result: xr.Dataset) -> list[Verdict]:
    at = result.sel(width=result.sizes["index"])
    law = own_spectra(at, activation(json.loads(result.attrs["settings"])["activation"]))
    return spectrum_verdicts(at, law.where(_moving(at)))


def table(result: xr.Dataset) -> pd.DataFrame:
    """Largest exponent, q and spectral radius by weights, width, gain and input, beside the predictions."""
    columns = {
        "exponent": result["exponent"].mean("seed"),
        "exponent_error": standard_error(result["exponent"]),
        "exponent_predicted": result["exponent_predicted"],
        "exponent_wide": result["exponent_wide"],
        "q": result["q"].mean("seed"),
        "q_predicted": result["q_predicted"],
        "radius": result["radius"].mean("seed"),
    }
    return xr.Dataset(columns).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="edge-of-chaos-rnn",
    question="When do gradients of a random recurrent network explode in time, and what does input change?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "exponent": Variable(("scheme",), "largest Lyapunov exponent", "nats per step"),
        "q": Variable(("scheme",), "mean square of the pre-activations over units and time"),
        "radius": Variable(("scheme",), "spectral radius of the recurrent weights at gain 1"),
        "exponents": Variable(
            ("scheme", "index"), "Lyapunov exponents, where they are resolved", "nats per step"
        ),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
