"""Verdicts: chain rule, isometry, loss in float32, and the growth, spread, rank and exponents of spectra."""

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats
from scipy.special import psi

from signalprop.analysis import jacobian, randommatrix
from signalprop.bench.measure.estimates import run_settings
from signalprop.bench.record.tables import tidy
from signalprop.bench.record.verdict import (
    Standing,
    Verdict,
    compare,
    compare_estimates,
    judge,
    sampling_factor,
)
from signalprop.models.activations import Activation, chosen

SUBNORMAL = float(np.log(np.finfo("float32").tiny / np.finfo("float32").smallest_subnormal))
HANIN = "Hanin & Nica (arXiv 1812.05994)"
PENNINGTON = "Pennington, Schoenholz & Ganguli (arXiv 1711.04735)"
SAXE = "Saxe, McClelland & Ganguli (arXiv 1312.6120)"
NEWMAN = "Newman (1986), The distribution of Lyapunov exponents: exact results for random matrices"
IF_DEPENDENT = "five standard errors over networks; size of the 1/N term where slopes depend on the weights"
REPAIRED: Standing = "right after repair"
ROUNDING = 1e-9
LARGEST_TERM = 0.5  # nat per layer of first order in 1/N, beyond which the expansion says nothing


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the chain rule, isometry, the loss in float32, growth, spread, rank and exponents."""
    judged = [*_chain_rule(result), *_linear_isometry(result), *_float32(result)]
    if result.sizes["seed"] < 3:
        return judged
    return judged + [v for group in (_steps, _growth, _spread, _rank, _exponents) for v in group(result)]


def _chain_rule(result: xr.Dataset) -> list[Verdict]:
    names = tuple(str(name) for name in result["activation"].values)
    every = jax.jit(jax.vmap(lambda i, sigma_w: chain_rule_error(chosen(names, i), sigma_w)))
    errors = every(jnp.arange(len(names)), jnp.asarray(result["sigma_w"].isel(scale=0).values))
    exact: Any = {"predicted": 0.0, "tolerance": 1e-10, "tolerance_from": "rounding in float64"}
    return [
        judge(
            ["C3"], "dE/dy^l by autodiff is the product of the L - l layer Jacobians above and the gradient "
            "on top, for every l < L = 20: relative error",
            "chain rule", measured=errors, **exact,
        ),
        judge(
            ["A19"], "Every factor in that product is a layer over the one below it: relative error",
            "chain rule", measured=errors, **exact, claim="wrong",
            correction="dE/dw2 = dE/dy4 dy4/dy3 dy3/dy2 dy2/dw2: no factor is a layer over itself.",
        ),
    ]  # fmt: skip


def chain_rule_error(phi: Activation, sigma_w: jax.Array) -> jax.Array:
    """Largest relative difference over layers between dE/dy^l by autodiff and by products of D_l W_l."""
    rng, depth, width = np.random.default_rng(0), 20, 16
    kernels = rng.normal(size=(depth, width, width)) * sigma_w / np.sqrt(width)
    x, top = rng.normal(size=(2, width))

    def network(shifts: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(y: jax.Array, layer: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            z = (y + layer[1]) @ layer[0]
            return phi(z), z

        return jax.lax.scan(step, jnp.asarray(x), (kernels, shifts))

    _, pull_back, z = jax.vjp(network, jnp.zeros((depth, width)), has_aux=True)
    (by_autodiff,) = pull_back(jnp.asarray(top))
    factors = jacobian.layer_factors(phi, kernels, z)
    _, by_product = jax.lax.scan(lambda g, a: (a.T @ g,) * 2, jnp.asarray(top), factors, reverse=True)
    difference = jnp.linalg.norm(by_autodiff - by_product, axis=1)
    return jnp.max(difference / jnp.linalg.norm(by_product, axis=1))


def _linear_isometry(result: xr.Dataset) -> list[Verdict]:
    if not ("linear" in result["activation"] and "orthogonal" in result["weights"]):
        return []
    at = result.sel(activation="linear", weights="orthogonal")
    excess = np.abs(at["log_singular_values"] - at["depth"] * np.log(at["sigma_w"])).max()
    eps = float(np.finfo(run_settings(result)["dtype"]).eps)
    verdict = judge(
        ["C14"], "Linear orthogonal networks: every singular value is sigma_w^L; error of its logarithm",
        SAXE, measured=float(excess), predicted=0.0,
        tolerance=max(1e-9, 10 * eps * result.sizes["index"] * int(result["depth"][-1])),
        tolerance_from="accuracy of the product, rounding of the weights", claim=REPAIRED,
        correction="A linear orthogonal network keeps all lengths exactly, but only at sigma_w = 1.",
    )  # fmt: skip
    return [verdict]


def _float32(result: xr.Dataset) -> list[Verdict]:
    """The logarithm of what float32 loses, where it loses it; an entry may be below the norm by sqrt(N)."""
    low, high = (float(np.log(limit)) for limit in (np.finfo("float32").tiny, np.finfo("float32").max))
    found = []
    for name, power in (("norm_lost_at", 1.0), ("vector_lost_at", 0.5)):
        layers = ((result[name] - back).clip(0, result.sizes["layer"] - 1) for back in (1, 2))
        at, before = (power * result["log_gain"].isel(layer=layer) for layer in layers)
        allowed = abs(at - before) + np.log(result.sizes["index"]) + (at < 0) * SUBNORMAL
        columns = {"measured": at, "predicted": low + (high - low) * (at > 0), "tolerance": allowed}
        lost = (result[name] > 1) & (result[name] <= result.sizes["layer"]) & np.isfinite(at)
        found.append(tidy(xr.Dataset(columns).where(lost))[list(columns)].dropna())
    numbers = pd.concat(found)
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
    exact, first_order = result["activation"].isin(["linear", "relu"]), at["log_gain_variance"] / 2
    outside = int((~exact & (first_order > LARGEST_TERM)).any("layer").sum())
    explodes = "tanh" in result["activation"] and "3" in result["scale"]
    return compare(
        ["A20", "C14"],
        "log |J u|^2 grows per layer by log chi_1, less a term of order 1/N, for every activation "
        f"and both weight families, over {int(result['layer'][-1])} layers"
        f"{'; at sigma_w = 3 tanh explodes, with slopes below 1' if explodes else ''}"
        f"{f' ({outside} settings are outside the range of the theory in 1/N)' if outside else ''}",
        f"mean field (arXiv 1611.01232) with the first order in 1/N; exact laws, {HANIN}",
        at["log_gain"], at["log_gain_predicted"].where(exact | (first_order <= LARGEST_TERM)),
        slack=first_order * ~exact + ROUNDING, tolerance_from=IF_DEPENDENT, claim=REPAIRED,
        correction="A layer's factor is slope times weights, and its mean square chi_1 counts. Orthogonal "
        "weights do not change chi_1: sigmoid vanishes with them too, unless sigma_w = 10.",
    )  # fmt: skip


def _spread(result: xr.Dataset) -> list[Verdict]:
    """Any network to depth N/16; to all depths where the signal shrinks and slopes tend to 1."""
    odd = result["activation"].isin(["tanh", "hard_tanh"]) & (result["scale"] == "critical")
    valid = (result["depth"] <= max(1, result.sizes["index"] // 16)) & (result["scale"] == result["scale"][0])
    shown = result["relative_variance"].where(valid | (odd & (result["weights"] == "orthogonal")))
    at_width, ideal = result["relative_variance_at_width"], result["relative_variance_predicted"]
    exact = result["activation"].isin(["linear", "relu"])
    return compare(
        ["C14"],
        "Variance of s^2 / mean^2 at criticality: sum over layers of mu_2 / mu_1^2 - 1 - s_1, "
        "at width N; to depth N/16 (relu: L orthogonal, 2L Gaussian), and near 1 to depth "
        f"{int(result['depth'][-1])} for orthogonal tanh and hard_tanh",
        PENNINGTON, shown, at_width,
        slack=abs(at_width - ideal) * ~exact + ROUNDING, tolerance_from=IF_DEPENDENT, claim=REPAIRED,
        correction="Orthogonal weights only remove L from the variance of s^2: relu keeps L of 2L. Isometry "
        "in depth needs slope 1 at 0 and the critical sigma_w besides.",
    )  # fmt: skip


def _rank(result: xr.Dataset) -> list[Verdict]:
    if "relu" not in result["activation"]:
        return []
    relu = result.sel(activation="relu").isel(scale=0)
    return compare_estimates(
        ["C14"],
        "The rank of a relu Jacobian, for both weight families, is the smallest number of active "
        "units in any layer: its mean is E min over layers of Binomial(N, 1/2)",
        f"independent gates, {HANIN}",
        relu["rank"].mean("seed", skipna=False), (relu["rank_variance"] / relu.sizes["seed"]) ** 0.5,
        relu["rank_predicted"], slack=ROUNDING,
        tolerance_from="five exact standard errors over networks", claim=REPAIRED,
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
        ["C5"],
        f"log s_i of {depth} linear Gaussian layers grows by Newman's exponents, {newman[0]:+.3f} "
        f"to {newman[-1]:+.2f}; the singular values of one factor promise up to {np.log(2 * scale):+.2f}",
        NEWMAN, at["log_singular_values"].isel(depth=-1) / depth,
        xr.DataArray(newman, dims="index", coords={"index": result["index"]}),
        slack=float(psi(n / 2) - psi(0.5)) / 2 / depth + ROUNDING,
        tolerance_from="five standard errors over networks; largest shift by finite depth", claim=REPAIRED,
        correction="It is the product's singular values that spread, by exponents that neither eigenvalues "
        "nor singular values of its factors tell.",
    )  # fmt: skip
