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
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from scipy import special, stats

from signalprop.analysis import products
from signalprop.analysis.randommatrix import (
    ProductLaw,
    newman_exponents,
    product_vector_law,
    quenched_critical_variance,
)
from signalprop.bench import figures as draw
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.grid import Grid, Static, require_count, require_scale
from signalprop.bench.verdict import Verdict, judge, sampling_factor
from signalprop.models.mlp import draw_layer

TEXTBOOK = {"width": 4, "sigma_w": 2.0, "depth": 101}
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
    spectrum_width: int = 16
    """Largest width of which all singular values are computed."""
    seeds: int = 20
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
        draws=400,
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


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow several products of one width and scale through all depths."""
    width, depth, dtype = static["width"], static["depth"], static["dtype"]
    keys = jax.random.split(key, num_draws(width, static["draws"]))
    columns = jax.vmap(partial(follow, sigma_w=point["sigma_w"], width=width, depth=depth, dtype=dtype))(keys)
    if width > static["spectrum_width"]:
        return {**columns, "exponents": jnp.full(1, jnp.nan, dtype)}
    exponents = unit_exponents(keys[0], width, depth[-1], dtype) + jnp.log(point["sigma_w"])
    return {**columns, "exponents": exponents}


def follow(
    key: jax.Array, sigma_w: jax.Array, width: int, depth: tuple[int, ...], dtype: str
) -> dict[str, jax.Array]:
    """First column of one product: its size at the recorded depths, and where each format loses it."""

    def multiply(state: Any, layer: jax.Array) -> Any:
        column, kept, lost_at = state
        factor = sigma_w * draw_layer(key, layer, width, width, dtype=dtype).kernel[...].T
        column = products.append_scaled(column, factor)
        kept = [(factor @ v.astype(dtype)).astype(v.dtype) for v in kept]
        alive = jnp.stack([jnp.all(jnp.isfinite(v)) & jnp.any(v != 0) for v in kept])
        lost_at = jnp.where(jnp.isnan(lost_at) & ~alive, layer, lost_at)
        log_norm = column.log_scale + jnp.log(jnp.linalg.norm(column.mantissa))
        log_entry = column.log_scale + jnp.log(jnp.abs(column.mantissa[0, 0]))
        return (column, kept, lost_at), (log_norm, log_entry)

    first = jnp.eye(width, 1, dtype=dtype)
    start = (
        products.Scaled(first, jnp.zeros((), dtype)),
        [first.astype(f) for f in FORMATS],
        jnp.full(len(FORMATS), jnp.nan, dtype),
    )
    (_, _, lost_at), sizes = jax.lax.scan(multiply, start, jnp.arange(1, depth[-1] + 1))
    log_norm, log_entry = (size[jnp.array(depth) - 1] for size in sizes)
    return {"decades": log_norm / LN10, "entry_decades": log_entry / LN10, "lost_at": lost_at}


def unit_exponents(key: jax.Array, width: int, depth: int, dtype: str) -> jax.Array:
    """Log singular values per factor at sigma_w = 1, shared by all scales; sigma_w only adds to them."""

    def multiply(state: products.Stratified, layer: jax.Array) -> Any:
        kernel = draw_layer(key, layer, width, width, dtype=dtype).kernel[...]
        return products.append(state, kernel.T), None

    state, _ = jax.lax.scan(multiply, products.start(width, dtype), jnp.arange(1, depth + 1))
    return products.finish(state) / depth


def theory(settings: Settings) -> xr.Dataset:
    """Exact laws of column and entry, Newman's exponents, both critical scales and the depths of loss."""
    log_scale = np.log(settings.sigma_w)
    depth = np.array(settings.depth)
    laws = [[product_vector_law(n, int(k), 1 / np.sqrt(n)) for k in depth] for n in settings.width]
    norm, norm_sd, entry, entry_sd = np.moveaxis(
        np.array([[_decades(law) for law in row] for row in laws]), -1, 0
    )
    spectra = [np.asarray(newman_exponents(n, 1 / np.sqrt(n))) for n in settings.width]
    exponents = np.full((len(spectra), num_exponents(settings)), np.nan)
    for row, limit in zip(exponents, spectra, strict=True):
        if limit.size <= settings.spectrum_width:
            row[: limit.size] = limit + finite_depth_correction(limit.size) / depth[-1]
    rate = np.array([[limit[0]] for limit in spectra]) + log_scale
    low, high = np.log([[float(f.smallest_normal), float(f.max)] for f in map(jnp.finfo, FORMATS)]).T
    lost_at = np.where(rate[..., None] > 0, high, low) / rate[..., None]
    shift = log_scale[:, None] * depth / LN10
    critical = [float(jnp.sqrt(n * quenched_critical_variance(n))) for n in settings.width]
    by_depth, by_index = ("width", "sigma_w", "depth"), ("width", "sigma_w", "index")
    return xr.Dataset(
        {
            "decades_predicted": (by_depth, norm[:, None] + shift),
            "decades_sd_predicted": (("width", "depth"), norm_sd),
            "entry_decades_predicted": (by_depth, entry[:, None] + shift),
            "entry_decades_sd_predicted": (("width", "depth"), entry_sd),
            "lost_at_predicted": (("width", "sigma_w", "format"), lost_at),
            "exponents_predicted": (by_index, exponents[:, None] + log_scale[:, None]),
            "typical_critical_sigma_w": (("width",), critical),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k not in ("seed", "draw")},
    )


def _decades(law: ProductLaw) -> list[float]:
    """Mean and standard deviation of the column's norm and of an entry, in decades."""
    return [
        float(v) / LN10
        for v in (law.mean, jnp.sqrt(law.variance), law.entry_mean, jnp.sqrt(law.entry_variance))
    ]


def finite_depth_correction(n: int) -> np.ndarray:
    """Mean of ``log s_i - K lambda_i`` of a product of K Gaussian factors, for K beyond the inverse gaps.

    The log volume of the first k columns has the mean K (lambda_1 + ... + lambda_k) exactly. The volume is
    the product of the k largest singular values and a k x k minor of a Haar orthogonal matrix, whose square
    is a product of independent Beta(j/2, (n-k)/2), j = 1..k.
    """
    log_minor = [
        sum((special.digamma(j / 2) - special.digamma((n - k + j) / 2)) / 2 for j in range(1, k + 1))
        for k in range(n + 1)
    ]
    return -np.diff(log_minor)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the textbook example, growth per factor, mean against median, the spectrum and the formats."""
    found = [*_growth(result), *_spectrum(result), *_formats(result), _nilpotent()]
    if _has(result, TEXTBOOK):
        found += _textbook(result.sel(TEXTBOOK))
    if _has(result, BETWEEN):
        found.append(_median(result.sel(BETWEEN)))
    if _has(result, {"depth": 5, "sigma_w": 1.0}):
        found += _mean_square(result.sel(depth=5, sigma_w=1.0))
    return found


def _has(result: xr.Dataset, place: dict[str, Any]) -> bool:
    return all(value in result[name].values for name, value in place.items())


def _pooled(values: xr.DataArray) -> xr.DataArray:
    """All products of all seeds along the dimension x."""
    return values.stack(x=("seed", "draw"))


def _textbook(at: xr.Dataset) -> list[Verdict]:
    found = []
    for name, what in (("decades", "norm of a column"), ("entry_decades", "size of an entry")):
        x = _pooled(at[name]).dropna("x").values
        sd = float(at[f"{name}_sd_predicted"])
        error = sd / np.sqrt(x.size) * np.array([1.0, np.sqrt((2 + max(0.0, stats.kurtosis(x))) / 4)])
        found.append(
            judge(
                ["C7"],
                f"101 standard Gaussian 4 x 4 factors: mean and standard deviation of log10 of the {what}",
                f"{BOOK}; exact product of chi-squared variables",
                measured=[x.mean(), x.std(ddof=1)],
                predicted=[float(at[f"{name}_predicted"]), sd],
                uncertainty=error,
                tolerance=sampling_factor(2, x.size) * error,
                tolerance_from=f"five standard errors of {x.size} products",
            )
        )
    return found


def _growth(result: xr.Dataset) -> list[Verdict]:
    depth = int(result["depth"][-1])
    x = _pooled(result["decades"].isel(depth=-1) * LN10 / depth).transpose("width", "sigma_w", "x")
    count = x.isel(sigma_w=0).count("x")
    mean, error = x.mean("x"), x.std("x", ddof=1) / np.sqrt(count)
    factor = xr.DataArray([sampling_factor(count.size, int(n)) for n in count], dims="width")
    critical = np.exp(np.log(result["sigma_w"]) - mean).isel(sigma_w=0)
    return [
        judge(
            ["A20"],
            "A linear network, slope 1: its log gradient grows per layer by Newman's largest exponent, "
            "log(sigma_w) + (log(2/N) + psi(N/2))/2, at all widths and scales",
            NEWMAN,
            measured=mean,
            predicted=(result["decades_predicted"].isel(depth=-1) * LN10 / depth).transpose(*mean.dims),
            uncertainty=error,
            tolerance=error * factor,
            tolerance_from="five standard errors over products",
            claim="right after repair",
            correction="A layer's derivative is the activation's slope times its weight matrix. The Lyapunov "
            "exponent of the product decides, not the slope: here the slope is 1 everywhere.",
        ),
        judge(
            ["C1"],
            "The typical product is critical at sigma_w = sqrt(N exp(-psi(N/2)) / 2), above 1 at every width",
            NEWMAN,
            measured=critical,
            predicted=result["typical_critical_sigma_w"],
            uncertainty=critical * error.isel(sigma_w=0),
            tolerance=critical * (error * factor).isel(sigma_w=0),
            tolerance_from="five standard errors over products",
        ),
    ]


def _mean_square(at: xr.Dataset) -> list[Verdict]:
    x = _pooled(10 ** (2 * at["decades"]))
    enough = (x.count("x") >= MANY).values
    if not enough.any():
        return []
    error = np.sqrt(((1 + 2 / at["width"]) ** 5 - 1) / x.count("x"))[enough]
    return [
        judge(
            ["C1"],
            "The mean of |M e_1|^2 is 1 at sigma_w = 1 and every width (products of 5 factors)",
            "exact moments: mean sigma_w^(2K), variance (1 + 2/N)^K - 1",
            measured=x.mean("x")[enough],
            predicted=1.0,
            uncertainty=error,
            tolerance=sampling_factor(int(enough.sum())) * error,
            tolerance_from=f"five exact standard errors; widths with at least {MANY} products",
        )
    ]


def _median(at: xr.Dataset) -> Verdict:
    x = _pooled(at["decades"]).dropna("x").values
    sd = float(at["decades_sd_predicted"])
    skewness = special.polygamma(2, 2) / special.polygamma(1, 2) ** 1.5 / np.sqrt(BETWEEN["depth"])
    error = sd * np.sqrt(np.pi / 2 / x.size)
    exponent = 2 * BETWEEN["depth"] * np.log10(BETWEEN["sigma_w"])
    return judge(
        ["C1"],
        "Between the critical scales (N = 4, sigma^2 = 0.29, 101 factors) the mean of |M e_1|^2 is "
        f"10^{exponent:.1f}, yet the typical product vanishes: median of log10 |M e_1|",
        "sum of 101 log chi-squared variables: mean minus skewness times deviation / 6",
        measured=float(np.median(x)),
        predicted=float(at["decades_predicted"] - skewness * sd / 6),
        uncertainty=error,
        tolerance=sampling_factor() * error,
        tolerance_from="five standard errors of a median",
    )


def _spectrum(result: xr.Dataset) -> list[Verdict]:
    depth, seeds = int(result["depth"][-1]), result.sizes["seed"]
    shown = result.isel(sigma_w=0).sel(width=result["width"] * 10 <= depth)
    flat = shown[["exponents", "exponents_predicted"]].stack(x=("width", "index")).dropna("x")
    if seeds < 3 or flat.sizes["x"] == 0:
        return []
    error = flat["exponents"].std("seed", ddof=1) / np.sqrt(seeds)
    return [
        judge(
            ["C5"],
            f"All singular values of the product of {depth} factors grow by Newman's exponents, with the "
            "exact correction in 1/depth",
            NEWMAN,
            measured=flat["exponents"].mean("seed"),
            predicted=flat["exponents_predicted"],
            uncertainty=error,
            tolerance=sampling_factor(error.size, seeds) * error,
            tolerance_from="five standard errors over seeds; widths up to a tenth of the depth",
            claim="right after repair",
            correction="It is the singular values of the product, not the eigenvalues of the factors, that "
            "spread over many orders of magnitude.",
        )
    ]


def _nilpotent() -> Verdict:
    factor = jnp.array([[0.0, 2.0], [0.0, 0.0]])
    logs = products.log_singular_values(jnp.stack([factor, factor.T] * 50))
    return judge(
        ["C5", "A20"],
        "100 factors, [[0, 2], [0, 0]] and its transpose in turn, whose eigenvalues are all 0: log2 of the "
        "norm of the product",
        "matrix algebra",
        measured=float(logs[0] / jnp.log(2.0)),
        predicted=100.0,
        tolerance=float(1e4 * jnp.finfo(logs.dtype).eps),
        tolerance_from="rounding",
        claim="right after repair",
        correction="Eigenvalues of the factors do not multiply and do not decide the fate of a product.",
    )


def _formats(result: xr.Dataset) -> list[Verdict]:
    """Judge where every product is lost, away from criticality and from sticking.

    Gradual underflow, which float16 has, does not end in 0 if a factor shrinks by less than 2: rounding then
    holds the column at a few of the smallest subnormal numbers. So slower decay is left out.
    """
    lost, count = _pooled(result["lost_at"]), _pooled(result["decades"]).isel(depth=0).count("x")
    growth = np.log(result["sigma_w"] / result["typical_critical_sigma_w"])
    clear = (growth > 0.25) | (growth < -np.log(2))
    # The largest entry is at least |v| / sqrt(N), and subnormal numbers may hold a vanishing one longer.
    subnormal = xr.DataArray([np.log(2) * jnp.finfo(f).nmant for f in FORMATS], dims="format")
    slack = 2 + (np.log(result["width"]) / 2 + subnormal.where(growth < 0, 0.0)) / np.abs(growth)
    found = xr.Dataset(
        {
            "mean": lost.mean("x").where((lost.count("x") == count) & clear),
            "error": lost.std("x", ddof=1) / np.sqrt(count),
            "predicted": result["lost_at_predicted"],
            "slack": slack,
        }
    )
    flat = found.stack(place=("width", "sigma_w", "format")).dropna("place")
    if flat.sizes["place"] == 0:
        return []
    return [
        judge(
            ["C4"],
            "A column kept in float16, bfloat16 or float32 is lost after log(limit of the format) / lambda_1 "
            "factors, its logarithm never (growth above 0.25, or decay above log 2 per factor)",
            "IEEE 754 and Newman (1986)",
            measured=flat["mean"],
            predicted=flat["predicted"],
            uncertainty=flat["error"],
            tolerance=flat["slack"] + sampling_factor(flat.sizes["place"], int(count.min())) * flat["error"],
            tolerance_from="two factors of overshoot, largest entry against norm, subnormal numbers, "
            "five standard errors",
        )
    ]


def make_figures(result: xr.Dataset) -> dict[str, Figure]:
    """The textbook example, the two critical scales, and the exponents."""
    found = {"critical": _critical_figure(result), "exponents": _exponents_figure(result)}
    if _has(result, TEXTBOOK):
        found["example"] = _example_figure(result.sel(width=TEXTBOOK["width"], sigma_w=TEXTBOOK["sigma_w"]))
    return found


def _example_figure(example: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=3.0)
    at = example.sel(depth=TEXTBOOK["depth"])
    left.axvspan(24, 27, color="0.5", alpha=0.2, linewidth=0, label="entries printed in the book")
    for name, look in draw.series(["decades", "entry_decades"]).items():
        mean, sd = float(at[f"{name}_predicted"]), float(at[f"{name}_sd_predicted"])
        what = "norm of a column" if name == "decades" else "size of an entry"
        left.hist(_pooled(at[name]), bins=30, density=True, alpha=0.3, color=look["color"], label=what)
        x = np.linspace(mean - 4 * sd, mean + 4 * sd, 200)
        draw.theory(left, x, stats.norm.pdf(x, mean, sd), look, label=f"N({mean:.2f}, {sd:.2f}$^2$)")
    left.set(
        xlabel=r"$\log_{10} |M e_1|$ or $\log_{10} |M_{11}|$",
        ylabel="density",
        ylim=(0, 0.42),
        title="101 factors: the example is typical",
    )
    left.legend(loc="upper left")

    middle, low, high = (_pooled(example["decades"]).quantile(p, "x") for p in (0.5, 0.05, 0.95))
    draw.theory(right, example["depth"], example["decades_predicted"], label=r"Newman, $K \lambda_1$")
    draw.measured(right, example["depth"], middle, [middle - low, high - middle], label="median, 5 to 95 %")
    hollow = {"markerfacecolor": "none", "markersize": 8, "zorder": 4}
    for name, look in list(draw.series(["norm", *FORMATS]).items())[1:]:
        limit, colour = np.log10(float(jnp.finfo(name).max)), look["color"]
        lost = float(example["lost_at"].sel(format=name).median())
        right.plot([0, lost], [limit, limit], color=colour, linestyle=look["linestyle"])
        right.plot(lost, limit, look["marker"], color=colour, label=f"{name} overflows", **hollow)
    right.set(xlabel="factors $K$", ylabel=r"$\log_{10} |M_K e_1|$", title="Overflow is a matter of depth")
    right.legend(loc="lower right")
    return figure


def _critical_figure(result: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=3.2)
    depth = min(result["depth"].values, key=lambda k: abs(int(k) - TEXTBOOK["depth"]))
    at, rows, sigma_w = result.sel(depth=depth), np.arange(result.sizes["width"]), result["sigma_w"].values
    median = _pooled(at["decades"]).median("x").transpose("width", "sigma_w")
    span = float(np.abs(median).max())
    mesh = left.pcolormesh(
        sigma_w,
        rows,
        median,
        shading="nearest",
        cmap=draw.DIVERGING,
        norm=SymLogNorm(1, vmin=-span, vmax=span),
    )
    figure.colorbar(mesh, ax=left, label=rf"median of $\log_{{10}} |M_{{{depth}}} e_1|$")
    left.axvline(1.0, color="k", linestyle="--", label="mean square constant (annealed)")
    left.plot(result["typical_critical_sigma_w"], rows, "k-o", label="typical constant (quenched)")
    left.set(xlabel=r"$\sigma_w = \sigma \sqrt{N}$", ylabel="width $N$")
    left.set_yticks(rows, [str(n) for n in result["width"].values])
    left.grid(False)
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))

    narrow = at.isel(width=int(np.argmin(np.abs(result["width"].values - TEXTBOOK["width"]))))
    x = _pooled(narrow["decades"]).dropna("x")
    mean_square = (special.logsumexp(2 * LN10 * x, axis=x.dims.index("x")) - np.log(x.sizes["x"])) / LN10
    looks = draw.series(["mean", "median"])
    draw.theory(right, sigma_w, 2 * depth * np.log10(sigma_w), looks["mean"], label=r"mean, $\sigma_w^{2K}$")
    draw.measured(
        right, sigma_w, mean_square, None, looks["mean"], label=f"mean of {x.sizes['x']:,} products"
    )
    draw.theory(right, sigma_w, 2 * narrow["decades_predicted"], looks["median"], label="typical, Newman")
    draw.measured(right, sigma_w, 2 * x.median("x"), None, looks["median"], label="their median")
    critical = float(narrow["typical_critical_sigma_w"])
    right.axvspan(1, critical, color="0.5", alpha=0.2, linewidth=0)
    right.axhline(0, color="0.4", linewidth=0.8)
    right.set(xlabel=r"$\sigma_w$", ylabel=r"$\log_{10} |M e_1|^2$")
    right.set(xlim=(0.85, critical + 0.25), ylim=(-0.3 * depth, 0.3 * depth))
    right.set_title(f"$N$ = {int(narrow['width'])}: shaded, only the mean explodes")
    right.legend(loc="upper left")
    return figure


def _exponents_figure(result: xr.Dataset) -> Figure:
    figure, ((axes,),) = draw.canvas(1, 1, height=3.2)
    at = result.isel(sigma_w=int(np.argmin(np.abs(result["sigma_w"].values - 1)))).dropna("width", how="all")
    log_scale = float(np.log(at["sigma_w"]))
    x = np.linspace(0, 0.999, 500)
    draw.theory(axes, x, log_scale + np.log(1 - x) / 2, label=r"$N \to \infty$: $\frac{1}{2} \log(1 - x)$")
    widths = [int(n) for n in at["width"] if at["exponents"].sel(width=n).notnull().any()]
    for look, n in zip(draw.series([str(n) for n in widths]).values(), widths, strict=True):
        values = at["exponents"].sel(width=n, index=slice(1, n))
        place = (np.arange(n) + 0.5) / n
        error = values.std("seed", ddof=1) / np.sqrt(result.sizes["seed"])
        draw.theory(axes, place, log_scale + newman_exponents(n, 1 / np.sqrt(n)), look, linewidth=0.9)
        draw.measured(axes, place, values.mean("seed"), error, look, label=f"$N$ = {n}")
    axes.set(
        xlabel=r"place in the spectrum, $x = (i - \frac{1}{2}) / N$", ylabel="exponent per factor in nats"
    )
    axes.set_title(f"Exponents of {int(result['depth'][-1])} factors: Newman's as lines, measured as points")
    axes.legend(loc="lower left")
    return figure


def table(result: xr.Dataset) -> pd.DataFrame:
    """Mean, spread and median of the column's norm by width, scale and depth."""
    x = _pooled(result["decades"])
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
    figures=make_figures,
    table=table,
)
