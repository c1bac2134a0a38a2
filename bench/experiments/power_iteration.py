r"""Does the largest eigenvalue decide how a recurrent signal grows?

Three recurrences, all in the log domain, up to k steps:

* A^k and A^k x for seven kinds of matrices with one spectral radius rho < 1 (one of them nilpotent, rho = 0);
* products of Gaussian matrices of variance 1/N: one matrix again and again (tied), or a new one per step;
* h_t = relu(W h_{t-1}) at the He variance 2/N, tied and untied, with its Jacobian-vector product.

Theory:

* |A^k|^(1/k) -> rho, from above (Gelfand). Before that a non-normal A may grow by any factor: powers of a
  Jordan block are binomials times rho^(k-j), and K <= sup_k |A^k| <= e n K with the Kreiss constant K of A
  (Kreiss 1962; Spijker 1991). |A^k| <= 2 w^k with the numerical radius w (Berger).
* A normal A without the leading eigenvector in x grows like the second eigenvalue, until rounding, eps per
  step, has put the leading one back after about log(1/eps) / log(rho / rho_2) steps.
* Gaussian, N to infinity at fixed k: |W^k| and |W_k ... W_1| -> sqrt((k+1)^(k+1) / k^k). For k far above N
  the tied product grows by log rho(W), whose law is exact (`analysis.ginibre`); the untied one by Newman's
  lambda_1 < 0.
* relu: masks change the matrix in every step. log |h| and log |J u| grow by log(sigma_w^2 / 2) / 2 for
  N to infinity, tied or not; the exact law of the untied one is known at every N. Successive directions have
  the cosine 1 / pi untied; tied it follows the arc-cosine map to 1 (Cho & Saul 2009), where the mask is
  constant and one masked matrix D W decides.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis.finitewidth import log_gain
from signalprop.analysis.ginibre import real_spectral_radius
from signalprop.analysis.randommatrix import fuss_catalan_edge, largest_of_product, product_vector_law
from signalprop.analysis.recurrent import relu_cosines
from signalprop.bench import repetition_verdicts, transients
from signalprop.bench.drawings.power_iteration import figures
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure.rates import standard_error
from signalprop.bench.powers import FORMATS, KINDS, SECOND, follow
from signalprop.bench.record.verdict import Verdict
from signalprop.bench.repetition import WEIGHTS, mean_log, recurrences


@dataclass(frozen=True)
class Settings:
    """Settings of ``power-iteration``."""

    matrix: tuple[str, ...] = tuple(KINDS)
    """Kinds of matrices whose powers are followed."""
    size: int = 8
    """Their size, even."""
    radius: float = 0.9
    """Their spectral radius, between 0 and 1."""
    width: tuple[int, ...] = (8, 64)
    """Sizes N of the Gaussian matrices and units of the relu network."""
    steps: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 25, 50, 75, 100)
    """Numbers of steps at which Gaussian products and relu networks are recorded, increasing."""
    seeds: int = 16
    """Independent draws of every matrix."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of the matrices; float32 cannot resolve the Kreiss constant of a large Jordan block."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("matrix", self.matrix, KINDS)
        require_count("size", [self.size], 4)
        require_scale("radius", [self.radius])
        require_count("width", self.width, 2)
        require_count("steps", self.steps)
        if self.size % 2:
            raise ValueError(f"size: got {self.size}; write an even number")
        if not 0 < self.radius < 1:
            raise ValueError(f"radius: got {self.radius}; write a number between 0 and 1")
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"steps: got {self.steps}; write increasing numbers")
        if len(self.steps) < 2 or self.steps[-1] < 20:
            raise ValueError(f"steps: got {self.steps}; write two numbers or more, the last at least 20")
        require_count("seeds", [self.seeds], 2)


LONG = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 32, 40, 50, 64, 80, 100, 120, 140, 160, 180, 200)
SIZES = {
    "quick": Settings(),
    "standard": Settings(width=(8, 32, 128, 256), steps=LONG, seeds=48),
    "full": Settings(width=(8, 32, 128, 512, 1024), steps=(*LONG, 400, 800), seeds=100),
}


def grid(settings: Settings) -> Grid:
    """One compilation per width; the matrices of fixed size are followed beside the first."""
    return Grid(
        static={"width": settings.width},
        traced={},
        seeds=settings.seeds,
        constants={
            "matrix": settings.matrix,
            "size": settings.size,
            "radius": settings.radius,
            "steps": settings.steps,
            "with_matrices": settings.width[0],
            "dtype": settings.dtype,
        },
        coords={
            "matrix": settings.matrix,
            "k": range(1, settings.steps[-1] + 1),
            "step": settings.steps,
            "weights": WEIGHTS,
            "format": FORMATS,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow the matrices of fixed size, and tied and untied Gaussian recurrences of one width."""
    width, steps, dtype = static["width"], static["steps"], static["dtype"]

    def matrices() -> dict[str, jax.Array]:
        return follow(key, static["matrix"], static["size"], static["radius"], steps[-1], dtype)

    if width == static["with_matrices"]:
        found = matrices()
    else:
        found = {name: jnp.full(v.shape, jnp.nan, dtype) for name, v in jax.eval_shape(matrices).items()}
    return {**found, **recurrences(key, width, steps, dtype)}


def theory(settings: Settings) -> xr.Dataset:
    """Powers that are known exactly, limits and laws of Gaussian products, the relu growth and its cosine."""
    n, steps, k = settings.size, np.array(settings.steps), np.arange(1, settings.steps[-1] + 1)
    exact = [KINDS[name].log_norms for name in settings.matrix]
    norms = [np.full(len(k), np.nan) if f is None else f(n, settings.radius, k) for f in exact]
    laws = [product_vector_law(w, steps, 1 / np.sqrt(w)) for w in settings.width]
    radii = [real_spectral_radius(w) for w in settings.width]
    gains = [log_gain((w, w)) for w in settings.width]  # of one step; steps are independent
    edges = [[_log_edge(w, int(t)) for t in steps] for w in settings.width]
    tied = np.asarray(relu_cosines(1 / np.pi, settings.steps[-1]))[steps - 1]
    untied = np.full_like(tied, 1 / np.pi)
    width = ("width", "step")
    return xr.Dataset(
        {
            "radius": ((), settings.radius),
            "size": ((), n),
            "log_norm_predicted": (("matrix", "k"), np.array(norms)),
            "log_blind_predicted": (("format", "k"), np.tile(k * np.log(settings.radius * SECOND), (2, 1))),
            "log_power_edge": (("step",), np.log(np.asarray(fuss_catalan_edge(steps))) / 2),
            "log_power_predicted": (width, edges),
            "log_power_vector_predicted": (width, [np.asarray(law.mean) for law in laws]),
            "log_power_vector_sd_predicted": (width, [np.sqrt(np.asarray(law.variance)) for law in laws]),
            "log_radius_predicted": (("width",), [mean_log(law.radii, law.cdf) for law in radii]),
            "log_gain_predicted": (width, [law.mean / 2 * steps for law in gains]),
            "log_gain_sd_predicted": (width, [np.sqrt(law.variance * steps) / 2 for law in gains]),
            "cosine_predicted": (("weights", "step"), np.stack([tied, untied])),
        },
        coords={name: v for name, v in grid(settings).labels().items() if name != "seed"},
    )


def _log_edge(width: int, steps: int) -> float:
    """Mean log norm of a product of few Gaussian matrices, to second order; NaN for more than N/8 factors."""
    if 8 * steps > width:
        return float("nan")
    law = largest_of_product(width, steps)
    mean, variance = float(law.mean), float(law.variance)
    return float(np.log(mean) - variance / mean**2 / 2) / 2


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the powers of single matrices, tied against untied products, and the relu network."""
    return [*transients.verdicts(result.isel(width=0)), *repetition_verdicts.verdicts(result)]


def table(result: xr.Dataset) -> pd.DataFrame:
    """Mean and standard error over networks of every recorded quantity, its prediction, and exact zeros."""
    zoo = result.isel(width=0).sel(k=[int(t) for t in result["step"].values])
    matrices = _long(zoo, ["log_norm", "log_vector"]).rename(columns={"k": "step"})
    rest = _long(result, ["log_power", "log_power_vector", "log_h", "log_gain", "cosine"])
    return pd.concat([matrices, rest], ignore_index=True)


def _long(at: xr.Dataset, names: list[str]) -> pd.DataFrame:
    frames = []
    for name in names:
        alive = at[name].where(np.isfinite(at[name]))  # an exact zero has no logarithm to average
        columns = {
            "mean": alive.mean("seed"),
            "error": standard_error(alive),
            "zeros": (at[name] == -np.inf).sum("seed"),
        }
        if f"{name}_predicted" in at:
            columns["predicted"] = at[f"{name}_predicted"]
        frame = xr.Dataset(columns).drop_vars("width" if "width" not in at.dims else [])
        frames.append(frame.to_dataframe().reset_index().assign(quantity=name))
    return pd.concat(frames, ignore_index=True)


EXPERIMENT = Experiment(
    name="power-iteration",
    question="Does the largest eigenvalue decide how a recurrent signal grows?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "log_norm": Variable(("matrix", "k"), "log of the norm of A^k", "nats"),
        "log_vector": Variable(("matrix", "k"), "log of |A^k x| / |x|", "nats"),
        "log_blind": Variable(("format", "k"), "the same without the leading eigenvector, normal A", "nats"),
        "numerical_radius": Variable(("matrix",), "numerical radius of A"),
        "kreiss": Variable(("matrix",), "Kreiss constant of A"),
        "henrici": Variable(("matrix",), "Henrici's departure of A from normality"),
        "log_power": Variable(
            ("weights", "step"), "log of the norm of a product of Gaussian matrices", "nats"
        ),
        "log_power_vector": Variable(("weights", "step"), "log of its product with a unit vector", "nats"),
        "log_h": Variable(("weights", "step"), "log of |h_t| / |h_0| of the relu network", "nats"),
        "log_gain": Variable(("weights", "step"), "log of |J u| of the relu network", "nats"),
        "cosine": Variable(("weights", "step"), "cosine of h_t and h_{t-1}"),
        "log_radius": Variable((), "log of the spectral radius of W at variance 1/N", "nats"),
        "log_masked_radius": Variable((), "log of the spectral radius of the last D W, tied relu", "nats"),
        "frozen_at": Variable((), "last step in which the mask of the tied relu network changed"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
