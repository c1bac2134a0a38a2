r"""Does a long product of random matrices explode, vanish, or both at once?

The network is linear and has no biases, so its Jacobian is the product M_K = W_K ... W_1 of its weight
matrices. Their entries are N(0, sigma^2) with sigma_w^2 = N sigma^2. The slope of the activation is always 1:
whatever happens to M_K is the work of the matrices. The textbook example ("Dive into Deep Learning", 5.4)
multiplies 100 new 4 x 4 matrices with sigma = 1 (sigma_w = 2) onto a first one: 101 factors.

Measured in the log domain, on many products per seed: the norm of the first column M_K e_1, its first entry,
the depth at which the same column is lost when it is kept in a number format, and of one product per seed all
singular values.

Theory: |M_K e_1|^2 is sigma^{2K} times a product of K independent chi^2_N variables, exactly. So

* its logarithm grows by Newman's exponent lambda_1 = log sigma + (log 2 + psi(N/2)) / 2 per factor, with
  variance psi'(N/2) / 4; the i-th singular value by lambda_i (C. Newman 1986, Comm. Math. Phys. 103, 121);
* typical products are critical at lambda_1 = 0 (quenched), mean squares at sigma_w = 1 (annealed). In between
  E |M_K e_1|^2 = sigma_w^{2K} explodes while almost every product vanishes.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax.typing import DTypeLike
from scipy import special, stats

from signalprop.analysis import products
from signalprop.analysis.randommatrix import finite_depth_correction, newman_exponents, product_vector_law
from signalprop.bench.drawings.matrix_product import TEXTBOOK, figures, holds, pooled
from signalprop.bench.engine.grid import Grid, Static, require_count, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor
from signalprop.models.mlp import draw_layer

BETWEEN = {"width": 4, "sigma_w": 1.077, "depth": 101}  # sigma^2 = 0.29: mean explodes, median vanishes
MANY = 200  # products that a mean of squares needs at least
FORMATS = ("float16", "bfloat16", "float32")
BOOK = "Dive into Deep Learning, section 5.4"
NEWMAN = "Newman (1986), The distribution of Lyapunov exponents: exact results for random matrices"
LN10 = float(np.log(10))


@dataclass(frozen=True)
class Settings:
    """Settings of ``matrix-product``."""

    width: tuple[int, ...] = (2, 4, 16)
    """Sizes N of the square factors."""
    sigma_w: tuple[float, ...] = (0.5, 0.8, 1.0, 1.077, 1.15, 1.3, 1.5, 2.0)
    """Scales of the factors: entries have variance sigma_w^2 / N."""
    depth: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 101, 200)
    """Numbers of factors at which the product is recorded, increasing."""
    draws: int = 50
    """Products per seed at widths up to 4; fewer above, as the factors hold more numbers."""
    spectrum_width: int = 4
    """Largest width of which all singular values are computed."""
    seeds: int = 12
    """Independent repetitions."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type in which the factors are drawn and the logarithms are kept."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_count("width", self.width)
        require_scale("sigma_w", self.sigma_w)
        require_count("depth", self.depth)
        require_count("draws", [self.draws])
        if list(self.depth) != sorted(set(self.depth)):
            raise ValueError(f"depth: got {self.depth}; write increasing numbers")
        if min(self.sigma_w) == 0:
            raise ValueError("sigma_w: got 0; write scales above 0")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        width=(2, 4, 8, 16, 32, 64, 128, 256),
        depth=(1, 2, 5, 10, 20, 50, 101, 200, 500, 1000),
        draws=250,
        spectrum_width=64,
        seeds=24,
    ),
    "full": Settings(
        width=(2, 4, 8, 16, 32, 64, 128, 256),
        depth=(1, 2, 5, 10, 20, 50, 101, 200, 500, 1000),
        draws=2000,
        spectrum_width=256,
        seeds=100,
    ),
}


def grid(settings: Settings) -> Grid:
    """One compilation per width; all scales share their draws."""
    return Grid(
        static={"width": settings.width},
        traced={"sigma_w": settings.sigma_w},
        seeds=settings.seeds,
        constants={
            "depth": settings.depth,
            "draws": settings.draws,
            "spectrum_width": settings.spectrum_width,
            "dtype": settings.dtype,
        },
        coords={
            "draw": range(num_draws(min(settings.width), settings.draws)),
            "depth": settings.depth,
            "format": FORMATS,
            "index": range(1, num_exponents(settings) + 1),
        },
    )


def num_exponents(settings: Settings) -> int:
    """Length of the longest measured spectrum; 1 if none is measured."""
    return max([1, *(n for n in settings.width if n <= settings.spectrum_width)])


def num_draws(width: int, draws: int) -> int:
    """Products per seed: as many as hold no more numbers than ``draws`` 4 x 4 ones, at least one."""
    return max(1, draws * 16 // max(width, 4) ** 2)


class Column(NamedTuple):
    """First column of a product: in the log domain, in every format, and where each format lost it."""

    scaled: products.Scaled
    kept: list[jax.Array]
    lost_at: jax.Array


def first_column(width: int, dtype: DTypeLike) -> Column:
    """The column of the empty product."""
    unit = jnp.eye(width, 1, dtype=dtype)
    kept = [unit.astype(f) for f in FORMATS]
    return Column(products.Scaled(unit, jnp.zeros((), dtype)), kept, jnp.full(len(FORMATS), jnp.nan, dtype))


def append(column: Column, factor: jax.Array, number: jax.Array) -> tuple[Column, jax.Array]:
    """Multiply a factor onto a column; also the logarithms of the column's norm and of its first entry."""
    scaled = products.append_scaled(column.scaled, factor)
    kept = [(factor @ v.astype(factor.dtype)).astype(v.dtype) for v in column.kept]
    alive = jnp.stack([jnp.all(jnp.isfinite(v)) & jnp.any(v != 0) for v in kept])
    lost_at = jnp.where(jnp.isnan(column.lost_at) & ~alive, number, column.lost_at)
    sizes = jnp.stack([jnp.linalg.norm(scaled.mantissa), jnp.abs(scaled.mantissa[0, 0])])
    return Column(scaled, kept, lost_at), scaled.log_scale + jnp.log(sizes)


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow several products of one width and scale through all depths; all singular values of the first."""
    width, depth, dtype = static["width"], static["depth"], static["dtype"]
    keys = jax.random.split(key, num_draws(width, static["draws"]))
    with_spectrum = width <= static["spectrum_width"]

    def multiply(state: Any, number: jax.Array) -> Any:
        columns, spectrum = state
        factors = jax.vmap(lambda k: draw_layer(k, number, width, width, dtype=dtype).kernel[...].T)(keys)
        columns, log_sizes = jax.vmap(append, (0, 0, None))(columns, point["sigma_w"] * factors, number)
        if with_spectrum:  # at sigma_w = 1, shared by all scales
            spectrum = products.append(spectrum, factors[0])
        return (columns, spectrum), log_sizes

    columns = jax.tree.map(lambda v: jnp.broadcast_to(v, (len(keys), *v.shape)), first_column(width, dtype))
    state = columns, products.start(width, dtype)
    (columns, spectrum), log_sizes = jax.lax.scan(multiply, state, jnp.arange(1, depth[-1] + 1))
    recorded = log_sizes[jnp.array(depth) - 1] / LN10
    exponents = jnp.full(1, jnp.nan, dtype)
    if with_spectrum:
        exponents = products.finish(spectrum) / depth[-1] + jnp.log(point["sigma_w"])
    return {
        "decades": recorded[..., 0].T,
        "entry_decades": recorded[..., 1].T,
        "lost_at": columns.lost_at,
        "exponents": exponents,
    }


def theory(settings: Settings) -> xr.Dataset:
    """Exact laws of column and entry, Newman's exponents, both critical scales and the depths of loss."""
    log_scale, depth = np.log(settings.sigma_w), np.array(settings.depth)
    laws = [product_vector_law(n, depth, 1 / np.sqrt(n)) for n in settings.width]
    norm, norm_variance, entry, entry_variance = (np.array(part) for part in zip(*laws, strict=True))
    largest = np.asarray(newman_exponents(max(settings.width)))
    # At entries of variance 1 the exponents of a narrower product are the last ones of a wider.
    spectra = [largest[-n:] - np.log(n) / 2 for n in settings.width]
    exponents = np.full((len(spectra), num_exponents(settings)), np.nan)
    for row, limit in zip(exponents, spectra, strict=True):
        if limit.size <= settings.spectrum_width:
            row[: limit.size] = limit + finite_depth_correction(limit.size) / depth[-1]
    rate = (np.array([[limit[0]] for limit in spectra]) + log_scale)[..., None]
    low, high = np.log([[float(f.smallest_normal), float(f.max)] for f in map(jnp.finfo, FORMATS)]).T
    shift = log_scale[:, None] * depth
    by_depth, by_index = ("width", "sigma_w", "depth"), ("width", "sigma_w", "index")
    return xr.Dataset(
        {
            "decades_predicted": (by_depth, (norm[:, None] + shift) / LN10),
            "decades_sd_predicted": (("width", "depth"), np.sqrt(norm_variance) / LN10),
            "entry_decades_predicted": (by_depth, (entry[:, None] + shift) / LN10),
            "entry_decades_sd_predicted": (("width", "depth"), np.sqrt(entry_variance) / LN10),
            "lost_at_predicted": (("width", "sigma_w", "format"), np.where(rate > 0, high, low) / rate),
            "exponents_predicted": (by_index, exponents[:, None] + log_scale[:, None]),
            "typical_critical_sigma_w": (("width",), [np.exp(-limit[0]) for limit in spectra]),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k not in ("seed", "draw")},
    )


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the textbook example, growth per factor, mean against median, the spectrum and the formats."""
    found = [*_growth(result), *_spectrum(result), *_formats(result), _nilpotent()]
    if holds(result, TEXTBOOK):
        found += _textbook(result.sel(TEXTBOOK))
    if holds(result, BETWEEN):
        found.append(_median(result.sel(BETWEEN)))
    if holds(result, {"depth": 5, "sigma_w": 1.0}):
        found += _mean_square(result.sel(depth=5, sigma_w=1.0))
    return found


def _textbook(at: xr.Dataset) -> list[Verdict]:
    found = []
    for name, what in (("decades", "the norm of a column"), ("entry_decades", "the size of an entry")):
        x, sd = pooled(at[name]).dropna("x").values, float(at[f"{name}_sd_predicted"])
        error = sd / np.sqrt(x.size) * np.array([1.0, np.sqrt((2 + max(0.0, stats.kurtosis(x))) / 4)])
        found.append(judge(
            ["C7"], f"101 standard Gaussian 4 x 4 factors: mean and standard deviation of log10 of {what}",
            f"{BOOK}; exact product of chi-squared variables",
            measured=[x.mean(), x.std(ddof=1)], predicted=[float(at[f"{name}_predicted"]), sd],
            uncertainty=error, tolerance=sampling_factor(2, x.size) * error,
            tolerance_from=f"five standard errors of {x.size} products",
        ))  # fmt: skip
    return found


def _growth(result: xr.Dataset) -> list[Verdict]:
    depth = int(result["depth"][-1])
    x = pooled(result["decades"].isel(depth=-1) * LN10 / depth).transpose("width", "sigma_w", "x")
    count = x.isel(sigma_w=0).count("x")
    mean, error = x.mean("x"), x.std("x", ddof=1) / np.sqrt(count)
    factor = xr.DataArray([sampling_factor(count.size, int(n)) for n in count], dims="width")
    critical = np.exp(np.log(result["sigma_w"]) - mean).isel(sigma_w=0)
    origin = "five standard errors over products"
    return [
        judge(
            ["A20"], "A linear network, slope 1: its log gradient grows per layer by Newman's largest "
            "exponent, log(sigma_w) + (log(2/N) + psi(N/2))/2, at all widths and scales", NEWMAN,
            measured=mean, uncertainty=error, tolerance=error * factor, tolerance_from=origin,
            predicted=(result["decades_predicted"].isel(depth=-1) * LN10 / depth).transpose(*mean.dims),
            claim="right after repair",
            correction="A layer's derivative is the activation's slope times its weight matrix. The Lyapunov "
            "exponent of the product decides, not the slope: here the slope is 1 everywhere.",
        ),
        judge(
            ["C1"], "The typical product is critical at sigma_w = sqrt(N exp(-psi(N/2)) / 2), above 1 at "
            "every width", NEWMAN,
            measured=critical, predicted=result["typical_critical_sigma_w"],
            uncertainty=critical * error.isel(sigma_w=0),
            tolerance=critical * (error * factor).isel(sigma_w=0), tolerance_from=origin,
        ),
    ]  # fmt: skip


def _mean_square(at: xr.Dataset) -> list[Verdict]:
    x = pooled(10 ** (2 * at["decades"]))
    enough = (x.count("x") >= MANY).values
    if not enough.any():
        return []
    error = np.sqrt(((1 + 2 / at["width"]) ** 5 - 1) / x.count("x"))[enough]
    return [
        judge(
            ["C1"], "The mean of |M e_1|^2 is 1 at sigma_w = 1 and every width (products of 5 factors)",
            "exact moments: mean sigma_w^(2K), variance (1 + 2/N)^K - 1",
            measured=x.mean("x")[enough], predicted=1.0,
            uncertainty=error, tolerance=sampling_factor(int(enough.sum())) * error,
            tolerance_from=f"five exact standard errors; widths with at least {MANY} products",
        )
    ]  # fmt: skip


def _median(at: xr.Dataset) -> Verdict:
    x, sd = pooled(at["decades"]).dropna("x").values, float(at["decades_sd_predicted"])
    skewness = special.polygamma(2, 2) / special.polygamma(1, 2) ** 1.5 / np.sqrt(BETWEEN["depth"])
    error = sd * np.sqrt(np.pi / 2 / x.size)
    exponent = 2 * BETWEEN["depth"] * np.log10(BETWEEN["sigma_w"])
    return judge(
        ["C1"], "Between the critical scales (N = 4, sigma^2 = 0.29, 101 factors) the mean of |M e_1|^2 is "
        f"10^{exponent:.1f}, yet the typical product vanishes: median of log10 |M e_1|",
        "sum of 101 log chi-squared variables: mean minus skewness times deviation / 6",
        measured=float(np.median(x)), predicted=float(at["decades_predicted"] - skewness * sd / 6),
        uncertainty=error, tolerance=sampling_factor() * error,
        tolerance_from="five standard errors of a median",
    )  # fmt: skip


def _spectrum(result: xr.Dataset) -> list[Verdict]:
    depth, seeds = int(result["depth"][-1]), result.sizes["seed"]
    shown = result.isel(sigma_w=0).sel(width=result["width"] * 10 <= depth)
    flat = shown[["exponents", "exponents_predicted"]].stack(x=("width", "index")).dropna("x")
    if seeds < 3 or flat.sizes["x"] == 0:
        return []
    error = flat["exponents"].std("seed", ddof=1) / np.sqrt(seeds)
    return [
        judge(
            ["C5"], f"All singular values of the product of {depth} factors grow by Newman's exponents, with "
            "the exact correction in 1/depth", NEWMAN,
            measured=flat["exponents"].mean("seed"), predicted=flat["exponents_predicted"],
            uncertainty=error, tolerance=sampling_factor(error.size, seeds) * error,
            tolerance_from="five standard errors over seeds; widths up to a tenth of the depth",
            claim="right after repair",
            correction="It is the singular values of the product, not the eigenvalues of the factors, that "
            "spread over many orders of magnitude.",
        )
    ]  # fmt: skip


def _nilpotent() -> Verdict:
    factor = np.array([[0.0, 2.0], [0.0, 0.0]])
    product = np.linalg.matrix_power(factor.T @ factor, 50)
    return judge(
        ["C5", "A20"], "100 factors, [[0, 2], [0, 0]] and its transpose in turn, whose eigenvalues are all "
        "0: log2 of the norm of the product", "matrix algebra",
        measured=float(np.log2(np.linalg.norm(product, 2))), predicted=100.0,
        tolerance=1e-12, tolerance_from="rounding", claim="right after repair",
        correction="Eigenvalues of the factors do not multiply and do not decide the fate of a product.",
    )  # fmt: skip


def _formats(result: xr.Dataset) -> list[Verdict]:
    """Judge where every product is lost, away from criticality and from sticking.

    Gradual underflow, which float16 has, does not end in 0 if a factor shrinks by less than 2: rounding then
    holds the column at a few of the smallest subnormal numbers. So slower decay is left out.
    """
    lost, count = pooled(result["lost_at"]), pooled(result["decades"]).isel(depth=0).count("x")
    growth = np.log(result["sigma_w"] / result["typical_critical_sigma_w"])
    clear = (growth > 0.25) | (growth < -np.log(2))
    # The largest entry is at least |v| / sqrt(N), and subnormal numbers may hold a vanishing one longer.
    subnormal = xr.DataArray([np.log(2) * jnp.finfo(f).nmant for f in FORMATS], dims="format")
    slack = 2 + (np.log(result["width"]) / 2 + subnormal.where(growth < 0, 0.0)) / np.abs(growth)
    columns = {
        "mean": lost.mean("x").where((lost.count("x") == count) & clear),
        "error": lost.std("x", ddof=1) / np.sqrt(count),
        "predicted": result["lost_at_predicted"],
        "slack": slack,
    }
    flat = xr.Dataset(columns).stack(place=("width", "sigma_w", "format")).dropna("place")
    if flat.sizes["place"] == 0:
        return []
    return [
        judge(
            ["C4"], "A column kept in float16, bfloat16 or float32 is lost after log(limit of the format) / "
            "lambda_1 factors, its logarithm never (growth above 0.25, or decay above log 2 per factor)",
            "IEEE 754 and Newman (1986)",
            measured=flat["mean"], predicted=flat["predicted"], uncertainty=flat["error"],
            tolerance=flat["slack"] + sampling_factor(flat.sizes["place"], int(count.min())) * flat["error"],
            tolerance_from="two factors of overshoot, largest entry against norm, subnormal numbers, "
            "five standard errors",
        )
    ]  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """Mean, spread and median of the column's norm by width, scale and depth."""
    x = pooled(result["decades"])
    columns = {
        "mean_decades": x.mean("x"),
        "sd_decades": x.std("x", ddof=1),
        "median_decades": x.median("x"),
        "predicted_decades": result["decades_predicted"],
        "predicted_sd": result["decades_sd_predicted"],
        "predicted_mean_square_decades": 2 * result["depth"] * np.log10(result["sigma_w"]),
    }
    return xr.Dataset(columns).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="matrix-product",
    question="Does a long product of random matrices explode, vanish, or both at once?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "decades": Variable(("draw", "depth"), "log10 of the norm of the product's first column", "decades"),
        "entry_decades": Variable(("draw", "depth"), "log10 of the size of its first entry", "decades"),
        "lost_at": Variable(("draw", "format"), "factors at which the column, kept in a format, is lost"),
        "exponents": Variable(("index",), "log singular value per factor at the largest depth", "nats"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
