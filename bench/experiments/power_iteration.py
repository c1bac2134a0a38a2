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
from signalprop.bench import transients
from signalprop.bench.drawings.power_iteration import figures
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.powers import FORMATS, KINDS, SECOND, follow
from signalprop.bench.rates import standard_error
from signalprop.bench.repetition import HE, WEIGHTS, driven_nilpotent, mean_log, recurrences
from signalprop.bench.transients import SPECTRAL
from signalprop.bench.verdict import Verdict, judge, observe, sampling_factor

TIED = (
    "One W repeated and a new W per step agree for few steps only. Then the tied product grows by its "
    "largest eigenvalue, the untied one by Newman's exponent, which belongs to no eigenvalue of a factor."
)
MASKED = (
    "relu switches units, so the matrix of a step is D W with a mask D: the exponent of the product of all "
    "D W decides. For Gaussian W of scale g it is log(g / sqrt 2), for W = g I it is log g; the eigenvalues "
    "of W do not decide."
)


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
    return [*transients.verdicts(result.isel(width=0)), *_products(result), *_relu(result), *_exceptions()]


def _products(result: xr.Dataset) -> list[Verdict]:
    seeds, n = result.sizes["seed"], result["width"]
    tied = result["log_power"].sel(weights="tied")
    last = int(result["step"][-1])
    found = []
    if last // 2 in result["step"].values and last % 2 == 0:
        half, full = tied.sel(step=last // 2), tied.sel(step=last)
        radius = result["log_radius"].transpose(*half.dims)
        rate = (full - half) / (last // 2)
        found.append(
            judge(
                ["D2"], f"Tied Gaussian W: growth of log |W^k| per step from k = {last // 2} to {last}, "
                "against the log spectral radius of the same W, every network", "Gelfand's formula",
                measured=rate, predicted=radius, tolerance=half / (last // 2) - radius + 1e-9,
                tolerance_from="its own transient up to half the steps: |A^2k| <= |A^k|^2",
                claim="right after repair", correction=SPECTRAL,
            )
        )  # fmt: skip
    error = standard_error(result["log_radius"])
    found.append(
        judge(
            ["D2"], "Mean log spectral radius of a real Gaussian matrix of variance 1/N: the rate of tied "
            "products for k far above N, positive", "exact law, Forrester & Nagao (arXiv 0706.2020)",
            measured=result["log_radius"].mean("seed"), predicted=result["log_radius_predicted"],
            uncertainty=error, tolerance=error * sampling_factor(n.size, seeds),
            tolerance_from="five standard errors", claim="right after repair", correction=TIED,
        )
    )  # fmt: skip
    vector = result["log_power_vector"].sel(weights="untied")
    error = result["log_power_vector_sd_predicted"] / np.sqrt(seeds)
    found.append(
        judge(
            ["D2"], "Untied Gaussian products: mean of log |W_k ... W_1 x|, k times Newman's largest "
            "exponent, which is below 0 at every N", "exact law, Newman (1986)",
            measured=vector.mean("seed"), predicted=result["log_power_vector_predicted"],
            uncertainty=error, tolerance=error * sampling_factor(error.size),
            tolerance_from="five exact standard errors", claim="right after repair", correction=TIED,
        )
    )  # fmt: skip
    return found + _edge(result)


def _edge(result: xr.Dataset) -> list[Verdict]:
    at = result.isel(step=result["step"].values <= 4, width=result["width"].values >= 32)
    if not at["log_power"].size:
        return []
    seeds, measured = at.sizes["seed"], at["log_power"]
    expected = at["log_power_predicted"].expand_dims(weights=WEIGHTS).transpose("width", "weights", "step")
    error = standard_error(measured).transpose(*expected.dims)
    return [
        judge(
            ["D2"], "Norm of k = 1 .. 4 Gaussian factors, N >= 32, the same whether one W is repeated or "
            "each is new: log of the edge sqrt((k+1)^(k+1) / k^k), lowered by Tracy-Widom's N^(-2/3)",
            "Fuss-Catalan law; Tracy & Widom",
            measured=measured.mean("seed").transpose(*expected.dims), predicted=expected, uncertainty=error,
            tolerance=error * sampling_factor(error.size, seeds) + at["step"] / at["width"],
            tolerance_from="terms of order k/N left out, five standard errors",
            claim="right after repair", correction=TIED,
        )
    ]  # fmt: skip


def _relu(result: xr.Dataset) -> list[Verdict]:
    wide = result.isel(width=result["width"].values >= 32)
    if not wide.sizes["width"]:
        return []
    seeds, untied = wide.sizes["seed"], wide["log_gain"].sel(weights="untied")
    error = wide["log_gain_sd_predicted"] / np.sqrt(seeds)
    early = wide.isel(width=-1)
    early = early.isel(step=early["step"].values <= int(early["width"]) // 16)
    found = [
        judge(
            ["D3"], "relu network with new weights in each step, variance 2/N, N >= 32: mean of log |J u|",
            "exact law, Hanin & Nica (arXiv 1812.05994)",
            measured=untied.mean("seed"), predicted=wide["log_gain_predicted"], uncertainty=error,
            tolerance=error * sampling_factor(error.size), tolerance_from="five exact standard errors",
            claim="wrong", correction=MASKED,
        ),
        *_stopped(wide, seeds),
    ]  # fmt: skip
    if early.sizes["step"]:
        found += _early(early)
    return found


def _early(early: xr.Dataset) -> list[Verdict]:
    n, seeds, steps = int(early["width"]), early.sizes["seed"], early["step"]
    growth = (early["log_h"].sel(weights="tied") / steps).isel(step=-1)
    turned, error = early["cosine"], standard_error(early["cosine"])
    radius = float(np.exp(early["log_radius"].mean())) * HE
    return [
        judge(
            ["D3"], f"relu network with one W of variance 2/N, N = {n}, whose largest eigenvalue has modulus "
            f"{radius:.2f} on average: log growth of |h| per step in the first {int(steps[-1])} steps",
            "log(sigma_w^2 / 2) / 2 for N to infinity",
            measured=growth.mean("seed"), predicted=0.0, uncertainty=standard_error(growth),
            tolerance=2.5 / n + sampling_factor(1, seeds) * standard_error(growth),
            tolerance_from="5/(2N) per step of the square, five standard errors",
            claim="wrong", correction=MASKED,
        ),
        judge(
            ["D3"], "Cosine of successive states: the arc-cosine map from 1/pi towards 1 with one W, 1/pi "
            f"with new weights in each step; N = {n}, up to {int(steps[-1])} steps",
            "arc-cosine kernel, Cho & Saul (2009)",
            measured=turned.mean("seed"), predicted=early["cosine_predicted"].transpose(*error.dims),
            uncertainty=error, tolerance=error * sampling_factor(error.size, seeds) + steps / n,
            tolerance_from="finite width, t/N, and five standard errors", claim="wrong", correction=MASKED,
        ),
    ]  # fmt: skip


def _stopped(wide: xr.Dataset, seeds: int) -> list[Verdict]:
    """Networks whose direction has stopped, and the spread of growth rates of the others."""
    steps, tied = wide["step"].values, wide.sel(weights="tied")
    stopped = (tied["cosine"].isel(step=-1) > 1 - 1e-10).values
    rate = ((tied["log_h"].isel(step=-1) - tied["log_h"].isel(step=-2)) / (steps[-1] - steps[-2])).values
    masked = (tied["log_masked_radius"] + 0 * tied["log_h"].isel(step=0)).transpose(*tied["log_h"].dims[:2])
    found = []
    if stopped.any():
        found.append(
            judge(
                ["D3"], "relu networks whose direction has stopped (1 - cosine below 1e-10): growth of log "
                "|h| per step, against the log spectral radius of the masked matrix D W",
                "the state is an eigenvector of D W",
                measured=rate[stopped], predicted=masked.values[stopped], tolerance=1e-3,
                tolerance_from="rest of the transient: angle to the eigenvector 1e-5, times its condition",
                claim="wrong", correction=MASKED,
            )
        )  # fmt: skip
    at = wide.isel(width=-1)
    spread = at["log_h"].isel(step=-1).std("seed", ddof=1)
    ratio = float(spread.sel(weights="tied") / spread.sel(weights="untied"))
    text = (
        f"N = {int(at['width'])}, {int(steps[-1])} steps: spread over networks of log |h|, tied over untied; "
        "tied rates do not average out, so it grows as the root of the number of steps"
    )
    sigma = ratio / np.sqrt(seeds - 1)
    share = float(stopped.mean())
    more = f"share of tied relu networks, N >= 32, whose direction has stopped after {int(steps[-1])} steps"
    return [
        *found,
        observe(
            ["D3"], text, "measurement", measured=ratio, uncertainty=sigma, claim="wrong", correction=MASKED
        ),
        observe(
            ["D3"], more + "; the others turn for ever", "measurement", measured=share,
            uncertainty=np.sqrt(share * (1 - share) / stopped.size), claim="wrong", correction=MASKED,
        ),
    ]  # fmt: skip


def _exceptions() -> list[Verdict]:
    measured, exact = driven_nilpotent(3.0, 20)
    h = np.maximum(-3.0 * np.eye(4) @ np.abs(np.random.default_rng(0).standard_normal(4)), 0)
    with np.errstate(divide="ignore"):
        dead = float(np.log(np.linalg.norm(h)))
    return [
        judge(
            ["D3", "D7"], "W = [[3, -3], [3, -3]] squares to zero, so its spectral radius is 0. A tanh "
            "network with it, whose inputs saturate the second unit: log |dh_t/dh_0| for t = 1 .. 20",
            "matrix algebra", measured=measured, predicted=exact, tolerance=1e-9, tolerance_from="rounding",
            claim="wrong", correction=MASKED,
        ),
        judge(
            ["D3", "D7"], "W = -3 I has spectral radius 3, but h = relu(W h) from h >= 0 is zero after one "
            "step: log |h_1|", "arithmetic",
            measured=dead, predicted=-np.inf, tolerance=0.0, tolerance_from="exact",
            claim="wrong", correction=MASKED,
        ),
    ]  # fmt: skip


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
