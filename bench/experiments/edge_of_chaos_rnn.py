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
from signalprop.bench.edge_of_chaos_verdicts import verdicts
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure.exponents import FAMILIES, dimension, entropy, mean_field, predicted
from signalprop.bench.measure.rates import standard_error
from signalprop.models.activations import ACTIVATIONS, activation
from signalprop.models.initializers import scheme

RESOLVED = 1e-3  # largest error from rounding, in nats per step, of an exponent that counts
FINE = (32, 8)  # gains and inputs of the lines in the figures


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
    """Networks per setting; below 8 no verdict is judged by their scatter."""
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
    dims = ["scheme", "width", "gain", "noise"]
    return xr.Dataset(columns).to_dataframe(dim_order=dims).reset_index()


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
