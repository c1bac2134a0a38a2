r"""How far does one network's gradient stray when every layer preserves its mean square?

Relu networks at He variance and linear ones at variance 1/fan_in, no bias, with the widths (n_0, ..., n_L) of
a profile: equal ones, and random ones of equal numbers of weights. u is the first unit vector of the input
and x the input of ones. Measured on many networks through all depths: log |Ju|^2 of the Jacobian J and
log |y|^2 of the forward signal; on small square networks also the traces of J J^T and of its square. The
profiles share their draws (`signalprop.bench.gains`).

Theory: the open gates are fair coins whatever the input, so |Ju|^2 is exactly a product over layers of
(2/n_{l-1}) chi^2 with Binomial(n_l, 1/2) degrees, and |y|^2 has the same law. So

* its mean is n_L/n_0: mean-field theory is right about the mean square, at every width;
* log |Ju|^2 is asymptotically N(-beta/2, beta) with beta = 5 sum 1/n_l, and 2 in place of 5 for linear
  networks (Hanin & Nica, arXiv 1812.05994): the typical gradient vanishes as exp(-5L/4n) while the mean
  square stands still, and the spread has no end;
* the variance of a squared derivative grows as 3 prod(1 + 5/n_l) - 1, exponentially in the sum of the
  reciprocal widths (Hanin, arXiv 1801.03744);
* a layer of n units is dead with probability 2^-n, and the whole Jacobian with it;
* weights that are not Gaussian change the law in the first layer; above it only at order 1/n^2.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from signalprop.analysis import finitewidth
from signalprop.bench.drawings.finite_width import RESOLVED, distribution, figures, fourth_moments, statistic
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.gains import NETWORKS, SCHEMES, padded, random_profile, walk
from signalprop.bench.measure.kernels import KURTOSIS
from signalprop.bench.measure.rates import exp
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor

HANIN, HANIN_NICA = "Hanin (arXiv 1801.03744)", "Hanin & Nica (arXiv 1812.05994)"
WALK = (
    "A product of random matrices and gates remains. He variance keeps the mean square of a gradient, but "
    "its logarithm walks at random: mean -5/2 and variance 5 times the sum of 1/n. Most vanish, few explode."
)


@dataclass(frozen=True)
class Settings:
    """Settings of ``finite-width``."""

    scheme: tuple[str, ...] = ("gaussian", "he_uniform")
    """Laws of the weights: gaussian, he_normal or he_uniform, all at He variance."""
    width: tuple[int, ...] = (4, 10, 20, 50)
    """Widths of the networks whose layers, input included, are equally wide; the last is the largest."""
    depth: tuple[int, ...] = (1, 2, 5, 10, 20)
    """Numbers of layers at which networks are recorded, increasing."""
    profile_depth: tuple[int, ...] = (3, 5, 10)
    """Numbers of layers of the random profiles."""
    shapes: int = 2
    """Random profiles of each depth, beside the one with equal widths."""
    weights: int = 4000
    """Weights of each random profile, to within rounding."""
    inputs: int = 16
    """Inputs of the random profiles."""
    spectrum: tuple[int, int] = (16, 4)
    """Width and largest depth of the square networks whose whole Jacobian is formed."""
    draws: int = 40
    """Networks per seed and profile."""
    seeds: int = 16
    """Independent repetitions."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type in which networks are drawn and walked through."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("scheme", self.scheme, SCHEMES)
        for axis in ("width", "depth", "profile_depth", "spectrum"):
            require_count(axis, getattr(self, axis))
        for axis in ("shapes", "weights", "inputs", "draws"):
            require_count(axis, [getattr(self, axis)])
        if list(self.depth) != sorted(set(self.depth)):
            raise ValueError(f"depth: got {self.depth}; write increasing numbers")
        width, depth = max(self.width), self.depth[-1]
        for axis, largest in (("profile_depth", depth), ("inputs", width), ("spectrum", (width, depth))):
            if np.any(np.array(getattr(self, axis)) > np.array(largest)):
                raise ValueError(f"{axis}: got {getattr(self, axis)}; write at most {largest}")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        width=(4, 10, 20, 50, 100),
        depth=(1, 2, 5, 10, 25, 50),
        profile_depth=(3, 5, 10, 20, 50),
        shapes=10,
        weights=10_000,
        draws=120,
    ),
    "full": Settings(
        scheme=SCHEMES,
        width=(4, 10, 20, 50, 100, 200),
        depth=(1, 2, 5, 10, 25, 50, 100),
        profile_depth=(3, 5, 10, 20, 50),
        shapes=10,
        weights=20_000,
        draws=1000,
        seeds=50,
    ),
}


def profiles(settings: Settings) -> dict[str, tuple[int, ...]]:
    """Widths (n_0, ..., n_L) of every profile: equal ones, and random ones of equal numbers of weights."""
    found = {f"width {n}": (n,) * (settings.depth[-1] + 1) for n in settings.width}
    size = settings.inputs, settings.weights, max(settings.width)
    rng = np.random.default_rng(0)
    for depth in settings.profile_depth:
        found[f"{depth} layers, equal"] = random_profile(None, depth, *size)
        for i in range(settings.shapes):
            found[f"{depth} layers, {i + 1}"] = random_profile(rng, depth, *size)
    return found


def grid(settings: Settings) -> Grid:
    """One compilation per law of the weights; relu and linear networks of all profiles share its draws."""
    return Grid(
        static={"scheme": settings.scheme},
        traced={},
        seeds=settings.seeds,
        constants={
            "profiles": padded(list(profiles(settings).values())),
            "depth": settings.depth,
            "draws": settings.draws,
            "spectrum": settings.spectrum,
            "dtype": settings.dtype,
        },
        coords={
            "network": NETWORKS,
            "profile": list(profiles(settings)),
            "draw": range(settings.draws),
            "depth": settings.depth,
            "layer": range(1, settings.spectrum[1] + 1),
            "trace": ("square of the mean", "mean of the square"),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Walk through networks of all profiles, and form the Jacobians of small square ones."""
    width, depth = static["spectrum"]
    kept = {name: static[name] for name in ("scheme", "profiles", "dtype")}
    gains = jax.vmap(lambda k: walk(k, width=width, **kept))(jax.random.split(key, static["draws"]))
    logs = jnp.moveaxis(gains.logs[:, jnp.array(static["depth"]) - 1], (3, 2), (0, 1))
    traces = jnp.mean(gains.traces[:, :depth], 0)
    return {"log_gain": logs[:2], "log_forward": logs[2], "traces": traces}  # (what, profile, draw, depth)


def theory(settings: Settings) -> xr.Dataset:
    """Exact moments of log |Ju|^2, fourth moments, deaths and traces, and the sum of reciprocal widths."""
    shown = [[w[: depth + 1] for depth in settings.depth] for w in profiles(settings).values()]

    def over(law: Any) -> np.ndarray:
        return np.array([[law(w) for w in row] for row in shown])

    logs = [over(law) for law in (finitewidth.log_gain, finitewidth.linear_log_gain)]
    fourths = (finitewidth.fourth_moment, finitewidth.linear_fourth_moment)
    fourth = [[over(partial(law, kurtosis=KURTOSIS[s])) for law in fourths] for s in settings.scheme]
    width, depth = settings.spectrum
    spectra = [finitewidth.spectral_moments(np.full(depth, slope), width) for slope in (2.0, 1.0)]
    squares = [np.exp([s.log_square, s.log_square + np.log(s.kurtosis)]).T for s in spectra]
    by_network, by_profile = ("network", "profile", "depth"), ("profile", "depth")
    return xr.Dataset(
        {
            "log_gain_predicted": (by_network, [law[..., 0] for law in logs]),
            "log_gain_variance_predicted": (by_network, [law[..., 1] for law in logs]),
            "fourth_predicted": (("scheme", *by_network), fourth),
            "fourth_spread": (by_profile, over(_fourth_spread)),
            "dead_predicted": (by_profile, over(finitewidth.death_probability)),
            "traces_predicted": (("layer", "network", "trace"), np.stack(squares, 1)),
            "widths": (("profile", "place"), np.array(padded(list(profiles(settings).values())))),
            "layers": (by_profile, over(lambda w: len(w) - 1)),
            "widening": (by_profile, over(lambda w: w[-1] / w[0])),
            "inverse_widths": (by_profile, over(lambda w: finitewidth.asymptotic_log_gain(w).variance / 5)),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k not in ("seed", "draw")},
    )


def _fourth_spread(widths: tuple[int, ...]) -> float:
    """Standard deviation of |Ju|^4 over its mean, of one Gaussian relu network."""
    return float(np.sqrt(finitewidth.gain_moment(widths, 4) / finitewidth.fourth_moment(widths) ** 2 - 1))


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the law of the gain, its asymptotic form, rare draws, dead networks and other weights."""
    found = []
    if "gaussian" in result["scheme"]:
        gaussian = result.sel(scheme="gaussian")
        relu = gaussian.sel(network="relu")
        found += [*_logarithms(gaussian), *_distributions(relu), *_mean_square(relu), *_deaths(relu)]
        found += [*_profiles(relu), *_spectra(gaussian)]
    return [*found, *_fourth(result)]


def _over_places(
    claims: list[str], statement: str, source: str, numbers: tuple[xr.DataArray, ...], **more: Any
) -> list[Verdict]:
    """One judgement over all places where value, error and prediction are known; none without any."""
    flat = xr.Dataset(dict(zip(("measured", "error", "predicted"), numbers, strict=True)))
    flat = flat.stack(place=tuple(map(str, numbers[0].dims))).dropna("place")
    if flat.sizes["place"] == 0:
        return []
    count = more.pop("count")
    return [
        judge(
            claims, statement, source,
            measured=flat["measured"], predicted=flat["predicted"], uncertainty=flat["error"],
            tolerance=sampling_factor(flat.sizes["place"], count) * flat["error"] + more.pop("slack", 0.0),
            **{"tolerance_from": "five standard errors over networks", **more},
        )
    ]  # fmt: skip


def _logarithms(gaussian: xr.Dataset) -> list[Verdict]:
    """Mean and variance of the logarithms in every profile and at every depth."""
    wrong = {"claim": "wrong", "correction": WALK}
    cases: Any = (
        ("relu", "log_gain", "relu, log |Ju|^2", 5, ["B3", "B4"], wrong),
        ("relu", "log_forward", "relu, log |y|^2 / |x|^2 of the forward signal", 5, ["B3", "B4"], wrong),
        ("linear", "log_gain", "linear, log |Ju|^2", 2, ["C1"], {}),
    )
    found = []
    for network, name, what, constant, claims, standing in cases:
        at = gaussian.sel(network=network)
        alive = (abs(at[name]) < np.inf).sum(("seed", "draw"))
        for order, moment in enumerate(("mean", "variance")):
            value, error = statistic(at[name], order)
            law = f"-{constant}/2" if order == 0 else f"{constant}"
            predicted = "log_gain_predicted" if order == 0 else "log_gain_variance_predicted"
            found += _over_places(
                claims, f"All profiles and depths, {what}: {moment}, exact law of finite width "
                f"(asymptotically {law} times the sum of 1/n)", f"{HANIN_NICA}; exact sums over open gates",
                (value.where(alive >= 100), error, at[predicted]),
                count=int(alive.where(alive >= 100).min()), **standing,
            )  # fmt: skip
    return found


def _distributions(relu: xr.Dataset) -> list[Verdict]:
    """The whole distribution at equal widths, and how far the asymptotic normal law is from it."""
    at, rows = relu.isel(depth=-1), []
    for i in np.flatnonzero([str(p).startswith("width") for p in relu["profile"].values]):
        x, exact, normal = distribution(tuple(int(n) for n in at["widths"][i]))
        sample = np.sort(at["log_gain"].isel(profile=i).values.ravel())
        sample = sample[np.isfinite(sample)]
        if sample.size >= 100:
            places = (np.arange(sample.size) + 0.5) / sample.size
            distances = [np.abs(np.interp(sample, x, cdf) - places).max() for cdf in (exact, normal)]
            rows.append((sample.size, *distances, np.abs(exact - normal).max()))
    if not rows:
        return []
    count, to_exact, to_normal, apart = np.array(rows).T
    noise = np.sqrt(-np.log(stats.norm.sf(5) / len(rows)) / 2 / count)
    origin = "Kolmogorov's distance at five sigma"
    what = f"Distribution of log |Ju|^2, equally wide relu networks, {int(at['depth'])} layers: distance from"
    return [
        judge(
            ["B4"], f"{what} its exact law", f"{HANIN_NICA}; density by Fourier inversion",
            measured=to_exact, predicted=0.0, tolerance=noise, tolerance_from=origin,
            claim="wrong", correction=WALK,
        ),
        judge(
            ["B4"], f"{what} the asymptotic N(-beta/2, beta), which is that of the exact law", HANIN_NICA,
            measured=to_normal, predicted=apart, tolerance=noise, tolerance_from=origin, claim="wrong",
            correction="Nearly log-normal; the asymptotic variance is 20 % low at width 20, 4 % at 100.",
        ),
    ]  # fmt: skip


def _mean_square(relu: xr.Dataset) -> list[Verdict]:
    """The mean square stands still at He variance."""
    x = exp(relu["log_gain"]).stack(x=("seed", "draw")) / relu["widening"]
    error = ((relu["fourth_predicted"] - 1) / x.sizes["x"]) ** 0.5
    tame = (error < RESOLVED) & (relu["fourth_spread"] < 10)
    return _over_places(
        ["C13"], "He variance, relu: the mean over networks of |Ju|^2 n_0 / n_L is 1 in all profiles "
        "where rare draws do not rule the mean", f"{HANIN}, exact at every width",
        (x.mean("x"), error.where(tame), xr.ones_like(error)), count=None,
        tolerance_from="five exact standard errors",
    )  # fmt: skip


def _deaths(relu: xr.Dataset) -> list[Verdict]:
    share, count = (
        (relu["log_gain"] == -np.inf).mean(("seed", "draw")),
        relu.sizes["seed"] * relu.sizes["draw"],
    )
    error = (relu["dead_predicted"] * (1 - relu["dead_predicted"]) / count) ** 0.5
    return _over_places(
        ["B4"], "Share of relu networks with a dead layer, hence with no gradient at all, at one input: "
        "1 - prod (1 - 2^-n)", "fair gates, exact", (share, error, relu["dead_predicted"]),
        count=None, slack=1 / count, tolerance_from="five binomial standard errors and one network",
        claim="wrong", correction="Deep and narrow relu networks lose the gradient entirely: seven in ten at "
        "width 4 and 20 layers. At width 20 it needs tens of thousands of layers.",
    )  # fmt: skip


def _profiles(relu: xr.Dataset) -> list[Verdict]:
    """The variance of a squared derivative in random profiles of equal numbers of weights."""
    at = relu.isel(profile=["layers" in str(p) for p in relu["profile"].values])
    mean, error = fourth_moments(at)
    log = partial(xr.apply_ufunc, np.log)
    return _over_places(
        ["C1"], "Random width profiles of equal numbers of weights, all at He variance: log of the relative "
        "variance of a squared derivative, log(3 prod(1 + 5/n_l) - 1)", f"{HANIN}; product exact",
        (log(3 * mean - 1), 3 * error / (3 * mean - 1), log(3 * at["fourth_predicted"] - 1)),
        count=relu.sizes["seed"] * relu.sizes["draw"], claim="right after repair",
        correction="So does the shape: at one variance and one number of weights the sum of 1/n over the "
        "layers decides, and one narrow layer spoils it. Equal widths are within 4 % of the least sum.",
    )  # fmt: skip


def _fourth(result: xr.Dataset) -> list[Verdict]:
    """Fourth moments of relu and linear networks, for each law of the weights."""
    mean, error = fourth_moments(result)
    found = []
    for scheme in result["scheme"].values:
        kurtosis = KURTOSIS[str(scheme)]
        for network, constant in zip(NETWORKS, (5, 2), strict=True):
            factor = (kurtosis - 3) * (2 if network == "relu" else 1)
            more = "" if kurtosis == 3 else f", but 1 + {constant + factor:.3g}/n in the first layer only"
            at = {"scheme": scheme, "network": network}
            found += _over_places(
                ["B4"] if network == "relu" else ["C1"],
                f"E|Ju|^4 / (E|Ju|^2)^2, {network}, {scheme} weights, u along one input: "
                f"prod (1 + {constant}/n_l){more}", f"{HANIN}; exact recursion over layers",
                (mean.sel(at), error.sel(at), result["fourth_predicted"].sel(at)),
                count=result.sizes["seed"] * result.sizes["draw"],
                claim="wrong" if network == "relu" else "right",
                correction=WALK if network == "relu" else "",
            )  # fmt: skip
    return found


def _spectra(gaussian: xr.Dataset) -> list[Verdict]:
    """Exact traces of J J^T at finite width."""
    found, seeds = gaussian["traces"], gaussian.sizes["seed"]
    return _over_places(
        ["B4", "C1"], "Square Gaussian networks, relu and linear, after each layer: means of (tr JJ^T / n)^2 "
        "and tr (JJ^T)^2 / n in closed form at every n", "exact recursion over layers",
        (found.mean("seed"), found.std("seed", ddof=1) / np.sqrt(seeds), gaussian["traces_predicted"]),
        count=seeds, claim="wrong",
        correction="At critical variance the squared singular values of the Jacobian still spread with every "
        "layer, and at finite width faster than mean-field theory says.",
    )  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """Mean and variance of log |Ju|^2, fourth moments and deaths by network, profile and depth."""
    (mean, mean_error), (variance, variance_error) = (statistic(result["log_gain"], i) for i in (0, 1))
    fourth, fourth_error = fourth_moments(result)
    columns = {
        "layers": result["layers"],
        "inverse_widths": result["inverse_widths"],
        "mean": mean,
        "mean_error": mean_error,
        "mean_predicted": result["log_gain_predicted"],
        "variance": variance,
        "variance_error": variance_error,
        "variance_predicted": result["log_gain_variance_predicted"],
        "fourth": fourth,
        "fourth_error": fourth_error,
        "fourth_predicted": result["fourth_predicted"],
        "dead": (result["log_gain"] == -np.inf).mean(("seed", "draw")),
    }
    rows = xr.Dataset(columns).to_dataframe().reset_index()
    return rows.drop_duplicates(["scheme", "network", "profile", "layers"]).drop(columns="depth")


EXPERIMENT = Experiment(
    name="finite-width",
    question="How far does one network's gradient stray when every layer preserves its mean square?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "log_gain": Variable(("network", "profile", "draw", "depth"), "log |Ju|^2, u a unit vector", "nats"),
        "log_forward": Variable(("profile", "draw", "depth"), "log |y|^2 / |x|^2 of relu networks", "nats"),
        "traces": Variable(("layer", "network", "trace"), "means of (tr JJ^T / n)^2 and tr (JJ^T)^2 / n"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
