r"""Which singular values has the Jacobian of a deep network, and does orthogonality save it?

Network: fully connected, square, at initialization, with Gaussian or orthogonal weights; its Jacobian is
J = D_L W_L ... D_1 W_1, D_l = diag phi'(z^l) at one random input of mean square 1. All activations and scales
share their draws. They are the cases that theory tells apart: linear (exactly solvable), relu (gates are
independent coins: solvable too), hard_tanh (gates that a small signal never closes), tanh (smooth, critical
at q* = 0) and sigmoid (critical only at sigma_w = 10, with the bias that makes a length q* > 0 critical).

Measured: every singular value at many depths from one pass, exactly (stratified product in the log domain, so
nothing under- or overflows; quick runs use the fast form, which leaves those below 2e-16 of the largest out);
the gain log |Ju|^2 of one fixed unit vector at every layer; the rank; and where the same vector and its norm
are lost in float32. Where the signal itself leaves its dtype, all is NaN.

Theory:

* mean of s^2: the product over layers of sigma_w^2 E phi'(sqrt(q^l) z)^2; chi_1^L at a fixed point.
* variance of s^2 over its squared mean: sum over layers of mu_2 / mu_1^2 - 1 - s_1, mu_k = E phi'^(2k), s_1 =
  -1 (Gaussian) or 0 (orthogonal), for L << N: Pennington, Schoenholz & Ganguli (arXiv 1711.04735).
* any L / N: second moments and the law of log |Ju|^2 where slopes are independent of the weights, as for
  linear and relu: Hanin & Nica (arXiv 1812.05994).
* deep linear Gaussian networks: Newman (1986). Dynamical isometry: Saxe, McClelland & Ganguli (arXiv
  1312.6120), figures 6 and 7.
"""

import json
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats
from scipy.special import psi

from signalprop.analysis import finitewidth, freeprob, randommatrix
from signalprop.bench import jacobians
from signalprop.bench.drawings.jacobian_spectrum import figures, over_seeds
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure import data
from signalprop.bench.measure.spectra import FORMS
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor
from signalprop.models.activations import ACTIVATIONS, chosen

WEIGHTS = ("gaussian", "orthogonal")
SUBNORMAL = float(np.log(np.finfo("float32").tiny / np.finfo("float32").smallest_subnormal))
HANIN = "Hanin & Nica (arXiv 1812.05994)"
PENNINGTON = "Pennington, Schoenholz & Ganguli (arXiv 1711.04735)"
SAXE = "Saxe, McClelland & Ganguli (arXiv 1312.6120)"
NEWMAN = "Newman (1986), The distribution of Lyapunov exponents: exact results for random matrices"
IF_DEPENDENT = "; size of the 1/N term where slopes depend on the weights"


@dataclass(frozen=True)
class Settings:
    """Settings of ``jacobian-spectrum``."""

    activation: tuple[str, ...] = ("linear", "relu", "hard_tanh", "tanh", "gelu", "sigmoid")
    """Activation functions."""
    weights: tuple[str, ...] = WEIGHTS
    """Weight families: gaussian, orthogonal."""
    multiple: tuple[float, ...] = (1.0,)
    """Weight scales, as multiples of the activation's critical sigma_w."""
    sigma_w: tuple[float, ...] = (0.5, 3.0)
    """Weight scales as they are."""
    width: int = 64
    """Units of the input and of every layer."""
    depth: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
    """Depths at which all singular values are found, increasing."""
    seeds: int = 12
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of weights and signals; the product of Jacobians is always kept in float64."""
    input: str = "gaussian"
    """One example per network: gaussian, digits, mnist, fashion_mnist or cifar10."""
    form: str = "exact"
    """Singular values to be found: exact (all), or fast (those above 2e-16 times the largest)."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        require_known("weights", self.weights, WEIGHTS)
        require_known("form", [self.form], FORMS)
        require_known("input", [self.input], data.INPUTS)
        require_scale("multiple", (*self.multiple, *self.sigma_w))
        require_count("width", [self.width], 2)
        require_count("depth", self.depth)
        require_count("seeds", [self.seeds])
        if list(self.depth) != sorted(set(self.depth)):
            raise InputError(f"depth: got {self.depth}; write increasing numbers")


SIZES = {
    "quick": Settings(
        ("linear", "relu", "tanh", "sigmoid"), width=32, depth=(1, 2, 4, 8, 16, 32), seeds=24, form="fast"
    ),
    "standard": Settings(),
    "full": Settings(width=128, multiple=(0.9, 1.0, 1.1), seeds=32),
}


def grid(settings: Settings) -> Grid:
    """One program: activations, weight families and scales share it and its draws."""
    multiple, absolute = settings.multiple, settings.sigma_w
    names = ["critical" if m == 1 else f"{m:g} critical" for m in multiple] + [f"{s:g}" for s in absolute]
    scales = {
        "multiple": [*multiple, *[0.0] * len(absolute)],
        "absolute": [*[0.0] * len(multiple), *absolute],
    }
    constants = {
        k: asdict(settings)[k] for k in ("activation", "weights", "width", "depth", "dtype", "form", "input")
    }
    return Grid(
        static={},
        traced={"scale": scales},
        seeds=settings.seeds,
        constants=constants | {"critical": jacobians.critical_scales(settings.activation)},
        coords={
            "scale": names,
            "weights": settings.weights,
            "activation": settings.activation,
            "depth": settings.depth,
            "layer": range(1, settings.depth[-1] + 1),
            "index": range(1, settings.width + 1),
        },
    )


EACH = ("weights", "activation")
VARIABLES = {
    "log_singular_values": Variable(
        (*EACH, "depth", "index"), "log of the singular values of dy^l/dy^0; -inf beyond the rank", "nat"
    ),
    "log_mean_square": Variable((*EACH, "depth"), "log of the mean squared singular value", "nat"),
    "relative_variance": Variable((*EACH, "depth"), "variance of s^2 over its squared mean"),
    "rank": Variable((*EACH, "depth"), "singular values that are not exactly zero"),
    "log_gain": Variable((*EACH, "layer"), "log |J u|^2 of a fixed unit vector u", "nat"),
    "forward_lost_at": Variable(EACH, "layer where the signal left the dtype's range, 0 if never"),
    "norm_lost_at": Variable(EACH, "layer where sqrt(sum (J u)^2) is lost in float32, 0 if never"),
    "vector_lost_at": Variable(EACH, "layer where J u itself is lost in float32, 0 if never"),
}


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow the networks of both weight families and all activations, from the same draws."""
    names, weights = static["activation"], static["weights"]
    critical, sigma_b = jnp.asarray(static["critical"], point["multiple"].dtype).T
    sigma_w = point["multiple"] * critical + point["absolute"]
    family, index = (jnp.array(i) for i in zip(*product(range(len(weights)), range(len(names))), strict=True))

    def one(case: jacobians.Case) -> dict[str, jax.Array]:
        shape = (static[name] for name in ("width", "depth", "dtype", "form", "input"))
        return jacobians.follow(key, case, names, weights, *shape)

    cases = jacobians.Case(family, index, sigma_w[index], sigma_b[index])
    measured = jax.vmap(one)(cases)  # two axes compile more slowly
    return {name: x.reshape(len(weights), len(names), *x.shape[1:]) for name, x in measured.items()}


def theory(settings: Settings) -> xr.Dataset:
    """Moments of the spectrum at infinite and at finite width, laws of the gain and of the rank."""
    labels, width = grid(settings).labels(), settings.width
    families = cast(tuple[freeprob.Weights, ...], settings.weights)
    critical, sigma_b = np.array(jacobians.critical_scales(settings.activation)).T
    sigma_w = critical[:, None] * labels["multiple"][1] + labels["absolute"][1]
    log_chi, ratio = jacobians.layer_moments(settings.activation, sigma_w, sigma_b, settings.depth[-1])
    at, scales = np.array(settings.depth) - 1, ("activation", "scale")
    log_mean = np.cumsum(log_chi, -1)
    ideal = [np.cumsum(ratio - 1 + (family == "gaussian"), -1)[..., at] for family in families]
    finite = [finitewidth.spectral_moments(ratio, width, f).kurtosis[..., at] - 1 for f in families]
    gains = [jacobians.gain_laws(settings.activation, ratio, width, family) for family in families]
    ranks = [finitewidth.relu_rank(width, depth) for depth in settings.depth]
    return xr.Dataset(
        {
            "sigma_w": (scales, sigma_w),
            "log_mean_square_predicted": ((*scales, "depth"), log_mean[..., at]),
            "relative_variance_predicted": (("weights", *scales, "depth"), ideal),
            "relative_variance_at_width": (("weights", *scales, "depth"), finite),
            "log_gain_predicted": (("weights", *scales, "layer"), [log_mean + law.mean for law in gains]),
            "log_gain_variance": (("weights", *scales, "layer"), [law.variance for law in gains]),
            "rank_predicted": (("depth",), [rank.mean for rank in ranks]),
            "rank_variance": (("depth",), [rank.variance for rank in ranks]),
        },
        coords={k: v for k, v in labels.items() if k not in ("seed", "multiple", "absolute")},
    )


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the chain rule, isometry, the loss in float32, growth, spread, rank and exponents."""
    judged = [*_chain_rule(result), *_linear_isometry(result), *_float32(result)]
    if result.sizes["seed"] < 3:
        return judged
    return judged + [v for group in (_steps, _growth, _spread, _rank, _exponents) for v in group(result)]


def _chain_rule(result: xr.Dataset) -> list[Verdict]:
    names = tuple(str(name) for name in result["activation"].values)
    every = jax.jit(jax.vmap(lambda i, sigma_w: jacobians.chain_rule_error(chosen(names, i), sigma_w)))
    errors = every(jnp.arange(len(names)), jnp.asarray(result["sigma_w"].isel(scale=0).values))
    exact = {
        "measured": errors,
        "predicted": 0.0,
        "tolerance": 1e-10,
        "tolerance_from": "rounding in float64",
    }
    return [
        judge(
            ["C3"], "dE/dy^l by autodiff is the product of the L - l layer Jacobians above and the gradient "
            "on top, for every l < L = 20: relative error",
            "chain rule", **exact,
        ),
        judge(
            ["A19"], "Every factor in that product is a layer over the one below it: relative error",
            "chain rule", **exact, claim="wrong",
            correction="dE/dw2 = dE/dy4 dy4/dy3 dy3/dy2 dy2/dw2: no factor is a layer over itself.",
        ),
    ]  # fmt: skip


def _linear_isometry(result: xr.Dataset) -> list[Verdict]:
    if not ("linear" in result["activation"] and "orthogonal" in result["weights"]):
        return []
    at = result.sel(activation="linear", weights="orthogonal")
    excess = np.abs(at["log_singular_values"] - at["depth"] * np.log(at["sigma_w"])).max()
    eps = float(np.finfo(json.loads(result.attrs["settings"])["dtype"]).eps)
    verdict = judge(
        ["C14"], "Linear orthogonal networks: every singular value is sigma_w^L; error of its logarithm",
        SAXE, measured=float(excess), predicted=0.0,
        tolerance=max(1e-9, 10 * eps * result.sizes["index"] * int(result["depth"][-1])),
        tolerance_from="accuracy of the product, rounding of the weights", claim="right after repair",
        correction="A linear orthogonal network keeps all lengths exactly, but only at sigma_w = 1.",
    )  # fmt: skip
    return [verdict]


def _float32(result: xr.Dataset) -> list[Verdict]:
    """The logarithm of what float32 loses, where it loses it; an entry may be below the norm by sqrt(N)."""
    low, high = (float(np.log(limit)) for limit in (np.finfo("float32").tiny, np.finfo("float32").max))
    rows = []
    for name, power in (("norm_lost_at", 1.0), ("vector_lost_at", 0.5)):
        layers = ((result[name] - back).clip(0, result.sizes["layer"] - 1) for back in (1, 2))
        at, before = (power * result["log_gain"].isel(layer=layer) for layer in layers)
        allowed = abs(at - before) + np.log(result.sizes["index"]) + (at < 0) * SUBNORMAL
        columns = {"measured": at, "predicted": low + (high - low) * (at > 0), "tolerance": allowed}
        lost = (result[name] > 1) & (result[name] <= result.sizes["layer"]) & np.isfinite(at)
        rows.append(xr.Dataset(columns).where(lost).to_dataframe()[list(columns)].dropna())
    numbers = pd.concat(rows)
    if numbers.empty:
        return []
    verdict = judge(
        ["C4"], "In float32 the norm sqrt(sum g^2) of g = J u becomes 0 or inf where |g|^2 leaves the range, "
        "at half the depth of g, and its logarithm never: log |g|^2 and log |g| where they are lost",
        "IEEE 754", **numbers, tolerance_from="one layer's step, entries below the norm, subnormals",
    )  # fmt: skip
    return [verdict]


def _steps(result: xr.Dataset) -> list[Verdict]:
    """Steps of log |Ju|^2, which are independent: all layers and seeds together."""
    rows, told = [], []
    names = [name for name in ("linear", "relu") if name in result["activation"]]
    for scale, name, family in product(result["scale"].values, names, result["weights"].values):
        at = result.sel(activation=name, weights=family, scale=scale)
        steps = np.diff(at["log_gain"].transpose("seed", "layer").values, axis=1, prepend=0.0)
        steps = steps[np.isfinite(steps)]
        variance, spread = float(at["log_gain_variance"][0]), float(steps.var(ddof=1))
        kurtosis = 3 + max(0.0, float(stats.kurtosis(steps))) if variance > 0 else 3.0
        rows.append((steps.mean(), float(at["log_gain_predicted"][0]), np.sqrt(variance / steps.size)))
        rows.append((spread, variance, variance * np.sqrt((kurtosis - 1) / steps.size)))
        told.append(f"{family} {name} {spread * result.sizes['index']:.2f}/N")
    if not rows:
        return []
    measured, predicted, error = np.array(rows).T
    told = told[: len(names) * result.sizes["weights"]]
    verdict = judge(
        ["B3"], "Where slopes are 1 (linear) or 0 and 1 (relu) log |J u|^2 walks at random: mean of a step, "
        "log sigma_w^2 or log sigma_w^2 / 2 less O(1/N), and its variance (" + ", ".join(told) + ")",
        f"exact laws: chi-squared, and Beta for orthogonal weights; {HANIN}: about 5/N for relu",
        measured=measured, predicted=predicted, uncertainty=error,
        tolerance=sampling_factor(len(rows)) * error + 1e-9,
        tolerance_from="five standard errors over the layers of all networks", claim="wrong",
        correction="Slopes of 1 leave the product of the weights, which vanishes or explodes; at sigma_w^2 = "
        "2 the log of a relu gradient's square still has variance 5L/N.",
    )  # fmt: skip
    return [verdict]


def _growth(result: xr.Dataset) -> list[Verdict]:
    """Growth of log |Ju|^2 per layer, to the largest depth at which no network has lost its signal."""
    at = result[["log_gain", "log_gain_predicted", "log_gain_variance"]].sel(layer=result["depth"].values)
    whole = at["log_gain"].notnull().all("seed")
    at = at.where(at["layer"] == at["layer"].where(whole).max("layer")) / at["layer"]
    exact = result["activation"].isin(["linear", "relu"])
    explodes = "tanh" in result["activation"] and "3" in result["scale"]
    return compare(
        at["log_gain"], at["log_gain_predicted"], at["log_gain_variance"] / 2 * ~exact,
        claims=["A20", "C14"], allowance=IF_DEPENDENT,
        statement="log |J u|^2 grows per layer by log chi_1, less a term of order 1/N, for every activation "
        f"and both weight families, over {int(result['layer'][-1])} layers"
        f"{'; at sigma_w = 3 tanh explodes, with slopes below 1' if explodes else ''}",
        source=f"mean field (arXiv 1611.01232) with the first order in 1/N; exact laws, {HANIN}",
        correction="A layer's factor is slope times weights, and its mean square chi_1 counts. Orthogonal "
        "weights do not change chi_1: sigmoid vanishes with them too, unless sigma_w = 10.",
    )  # fmt: skip


def _spread(result: xr.Dataset) -> list[Verdict]:
    """Any network to depth N/16; to all depths where the signal shrinks and slopes tend to 1."""
    odd = result["activation"].isin(["tanh", "hard_tanh"]) & (result["scale"] == "critical")
    valid = (result["depth"] <= max(1, result.sizes["index"] // 16)) & (result["scale"] == result["scale"][0])
    at_width, ideal = result["relative_variance_at_width"], result["relative_variance_predicted"]
    return compare(
        result["relative_variance"].where(valid | (odd & (result["weights"] == "orthogonal"))),
        at_width, abs(at_width - ideal) * ~result["activation"].isin(["linear", "relu"]), claims=["C14"],
        statement="Variance of s^2 / mean^2 at criticality: sum over layers of mu_2 / mu_1^2 - 1 - s_1, "
        "at width N; to depth N/16 (relu: L orthogonal, 2L Gaussian), and near 1 to depth "
        f"{int(result['depth'][-1])} for orthogonal tanh and hard_tanh",
        source=PENNINGTON, allowance=IF_DEPENDENT,
        correction="Orthogonal weights only remove L from the variance of s^2: relu keeps L of 2L. Isometry "
        "in depth needs slope 1 at 0 and the critical sigma_w besides.",
    )  # fmt: skip


def _rank(result: xr.Dataset) -> list[Verdict]:
    if "relu" not in result["activation"]:
        return []
    relu = result.sel(activation="relu").isel(scale=0)
    return compare(
        relu["rank"], relu["rank_predicted"], variance=relu["rank_variance"], claims=["C14"],
        statement="The rank of a relu Jacobian, for both weight families, is the smallest number of active "
        "units in any layer: its mean is E min over layers of Binomial(N, 1/2)",
        source=f"independent gates, {HANIN}",
        correction="More than half of a relu network's singular values are exactly 0, whatever its weights.",
    )  # fmt: skip


def _exponents(result: xr.Dataset) -> list[Verdict]:
    """Linear Gaussian networks; a finite depth shifts log s_i by at most as much as the largest."""
    if not ("linear" in result["activation"] and "gaussian" in result["weights"]):
        return []
    at = result.sel(activation="linear", weights="gaussian").isel(scale=0)
    n, depth, scale = result.sizes["index"], int(result["depth"][-1]), float(at["sigma_w"])
    newman = np.asarray(randommatrix.newman_exponents(n, scale / np.sqrt(n)))
    return compare(
        at["log_singular_values"].isel(depth=-1) / depth,
        xr.DataArray(newman, dims="index", coords={"index": result["index"]}),
        float(psi(n / 2) - psi(0.5)) / 2 / depth, claims=["C5"],
        statement=f"log s_i of {depth} linear Gaussian layers grows by Newman's exponents, {newman[0]:+.3f} "
        f"to {newman[-1]:+.2f}; the singular values of one factor promise up to {np.log(2 * scale):+.2f}",
        source=NEWMAN, allowance="; largest shift by finite depth",
        correction="It is the product's singular values that spread, by exponents that neither eigenvalues "
        "nor singular values of its factors tell.",
    )  # fmt: skip


def compare(
    samples: xr.DataArray,
    predicted: xr.DataArray,
    systematic: xr.DataArray | float = 0.0,
    variance: xr.DataArray | None = None,
    allowance: str = "",
    **words: Any,
) -> list[Verdict]:
    """Judge means over seeds at all points that are defined and not lost; nothing if there is none.

    The standard error is that of the samples, or exact where the ``variance`` of one network is known.
    """
    seeds = samples.sizes["seed"]
    samples = samples.where((abs(samples) < np.inf).all("seed"))
    spread = samples.var("seed", ddof=1) if variance is None else variance
    columns: dict[str, Any] = {"measured": samples.mean("seed", skipna=False), "predicted": predicted}
    columns |= {"error": np.sqrt(spread / seeds), "systematic": xr.zeros_like(predicted) + systematic}
    rows = xr.Dataset(columns).to_dataframe()[list(columns)].dropna()
    if rows.empty:
        return []
    factor = sampling_factor(len(rows), seeds if variance is None else None)
    verdict = judge(
        **{"claim": "right after repair", **words},
        measured=rows["measured"], predicted=rows["predicted"], uncertainty=rows["error"],
        tolerance=factor * rows["error"] + rows["systematic"] + 1e-9,
        tolerance_from=f"five {'' if variance is None else 'exact '}standard errors over networks{allowance}",
    )  # fmt: skip
    return [verdict]


def table(result: xr.Dataset) -> pd.DataFrame:
    """Means over seeds with their standard errors, beside the predictions; sizes are in decades."""
    measured = {
        "mean_square": result["log_mean_square"] / np.log(10),
        "largest": result["log_singular_values"].isel(index=0, drop=True) / np.log(10),
        "relative_variance": result["relative_variance"],
        "rank": result["rank"],
    }
    columns = {}
    for name, values in measured.items():
        columns[name], columns[f"{name}_error"] = over_seeds(values)
    columns["mean_square_predicted"] = result["log_mean_square_predicted"] / np.log(10)
    for name in ("relative_variance_predicted", "relative_variance_at_width", "sigma_w"):
        columns[name] = result[name]
    order = ["weights", "activation", "scale", "depth"]
    return xr.Dataset(columns).to_dataframe(order).reset_index()[[*order, *columns]]


EXPERIMENT = Experiment(
    name="jacobian-spectrum",
    question="Which singular values has the Jacobian of a deep network, and does orthogonality save it?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables=VARIABLES,
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
