"""Verdicts of ``residual``: the identity, growth of each family of blocks, and that nothing vanishes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record.verdict import Verdict, compare_estimates, judge, judge_zero, sampling_factor

LOSSLESS = (
    "The identity is exact for every residual net, but what the branches add to it decides: a skip "
    "connection prevents vanishing, it does not preserve the gradient. Unscaled branches make it explode."
)


class Statement(NamedTuple):
    """What is judged about some architectures."""

    names: tuple[str, ...]
    claims: list[str]
    text: str
    source: str
    correction: str = ""


STATEMENTS = (
    Statement(
        ("residual",), ["C25"], "x + W_2 relu(W_1 x) with gain 1: |signal|^2 and |gradient|^2 grow as 2^L",
        "mean over the weights, exact at every width", LOSSLESS,
    ),
    Statement(
        ("plain", "1/sqrt(L)", "1/L"), ["C25"], "Without skip connections, and with branches times "
        "L^(-1/2) and 1/L, both grow as 1, (1 + 1/L)^L and (1 + 1/L^2)^L",
        "mean over the weights, exact at every width", LOSSLESS,
    ),
    Statement(
        ("relu branch",), ["C25"], "x + relu(W x): the branch has a mean; both grow by 2 per block at first "
        "and by 2.9 in the end", "mean field that follows the mean of x and the overlap x . g", LOSSLESS,
    ),
    Statement(
        ("tanh branch",), ["C25"], "x + tanh(W x): |gradient|^2 grows as exp(8 sqrt(L) / (3 sqrt(2 pi))) to "
        "leading order, faster than any power of L, and |signal|^2 as L", "arXiv 1712.08969, recursion",
        LOSSLESS,
    ),
    Statement(
        ("pre-BN", "pre-LN"), ["C26"], "Norms before the branch: |gradient|^2 grows as a power of the depth, "
        "L^1.5 for x + W relu(BN(x)) and (L + 2) / 2 for the feed-forward block",
        "arXiv 1603.05027, 1902.08129, 2002.04745",
    ),
    Statement(
        ("post-BN", "post-LN relu", "post-LN"), ["C26"], "Norms after the sum: |gradient|^2 grows by "
        "1.19 per block where the norm removes the mean of the branch, and by 1, not (2/3)^(1/2), for the "
        "feed-forward block",
        "mean field of the norm and of the branch's own Jacobian",
    ),
)  # fmt: skip


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the identity, each family of blocks, the last weights, and that nothing vanishes."""
    found = [*_identity(), *_unchanged(result)]
    if result.sizes["seed"] < 3:
        return found
    total = totals(result)
    for s in STATEMENTS:
        at = total.isel(architecture=total["architecture"].isin(s.names).values)
        found += _judged(s.claims, s.text, s.source, at, result.sizes["seed"], s.correction)
    return [*found, *_last_weights(result), *_nothing_vanishes(result)]


def totals(result: xr.Dataset) -> xr.Dataset:
    """Growth over each network: log of the mean square over seeds, its error, and theory.

    Each place is a depth and a quantity. The rate of post-BN holds away from the ends, so it is that of the
    middle three quarters. Lost signals, and means over too wide a spread, are NaN.
    """
    found = []
    for depth in result["depth"].values:
        at, end = result.sel(depth=depth), int(depth)
        edge = (result["architecture"] == "post-BN") * (end // 8)
        for name, low, high in (("log_gradient_squared", end - edge, edge), ("log_mean_square", 0, end)):
            growth_of = [at[k].sel(block=high) - at[k].sel(block=low) for k in (name, f"{name}_predicted")]
            row = mean_log(growth_of[0]).assign(predicted=growth_of[1], slack=at["slack"])
            found.append(row.drop_vars(("block", "depth"), errors="ignore"))
    total = xr.concat(found, "place")
    return total.where(total["error"] < 0.3)


def mean_log(values: xr.DataArray) -> xr.Dataset:
    """Log of the mean over seeds of numbers given by their logs, and its standard error."""
    top = values.max("seed")
    sizes: xr.DataArray = np.exp(values - top)  # type: ignore[assignment]
    mean = sizes.mean("seed", skipna=False)
    return xr.Dataset({"mean": top + np.log(mean), "error": standard_error(sizes) / mean})


def _judged(
    claims: list[str], text: str, source: str, at: xr.Dataset, seeds: int, correction: str = ""
) -> list[Verdict]:
    """Compare the log of a mean with its prediction, at all places of some architectures."""
    return compare_estimates(
        claims, f"{text} (log of the mean over networks)", source, at["mean"], at["error"], at["predicted"],
        num_samples=seeds, slack=at["slack"],
        tolerance_from="five standard errors over networks, and L / N nats where theory is that of N = inf",
        claim="right after repair" if correction else "right", correction=correction,
    )  # fmt: skip


def _identity() -> list[Verdict]:
    """The identity against automatic differentiation; and with a branch -x, which it allows."""
    rng = np.random.default_rng(0)
    kernels, x, weights = (rng.normal(size=shape) for shape in ((4, 6, 6), 6, 6))

    def follow(x: jax.Array, wiped: bool) -> tuple[jax.Array, jax.Array]:
        summed = -x if wiped else jnp.zeros_like(x)
        x = x + summed
        for kernel in kernels / 2:
            branch = jnp.tanh(kernel @ x)
            x, summed = x + branch, summed + branch
        return x, summed

    def loss(y: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(y) * weights)

    @jax.jit
    def largest(at: jax.Array) -> tuple[jax.Array, jax.Array]:
        by_autodiff = jax.grad(lambda x: loss(follow(x, False)[0]))(at)
        branches = jax.jacobian(lambda x: follow(x, False)[1])(at)
        difference = by_autodiff - jax.grad(loss)(follow(at, False)[0]) @ (jnp.eye(6) + branches)
        wiped = jax.grad(lambda x: loss(follow(x, True)[0]))(at)
        return jnp.abs(difference).max(), jnp.abs(wiped).max()

    difference, wiped = map(float, largest(x))
    source = "arXiv 1603.05027, equation 5"
    return [
        judge(
            ["C25"], "dE/dx_l = dE/dx_L (I + d(sum of branches)/dx_l): largest difference from autodiff",
            source, measured=difference, predicted=0.0, tolerance=1e-12,
            tolerance_from="rounding", claim="right after repair", correction=LOSSLESS,
        ),
        judge_zero(
            ["C25"], "The identity holds for the branch F(x) = -x too, and the gradient is exactly 0", source,
            wiped, tolerance_from="rounding", claim="right after repair",
            correction=LOSSLESS,
        ),
    ]  # fmt: skip


def _unchanged(result: xr.Dataset) -> list[Verdict]:
    """Networks that begin as the identity."""
    names = [name for name in ("ReZero", "Fixup") if name in result["architecture"]]
    if not names:
        return []
    at = result[["log_gradient_squared", "log_mean_square"]].sel(architecture=names)
    changes = abs(at - at.sel(block=0)).max().to_array()
    return [judge(
        ["C25", "C26"], "ReZero, SkipInit and Fixup begin as the identity: the largest change of log "
        "|gradient|^2 and log |signal|^2 over all blocks", "arXiv 2003.04887, 2002.10444, 1901.09321",
        measured=float(changes.max()), predicted=0.0, tolerance=1e-5,
        tolerance_from="rounding of the recorded logarithms",
    )]  # fmt: skip


def _last_weights(result: xr.Dataset) -> list[Verdict]:
    """The gradient of the last weights, which only pre-LN makes smaller with depth."""
    at = result.isel(architecture=result["architecture"].isin(["pre-LN", "post-LN"]).values)
    found = mean_log(at["log_last_gradient_squared"])
    return _judged(
        ["C26"], "Gradient of the last W_2, |dE/dW|^2 / |dE/dy|^2 at the network's normalized output: "
        "N/2 / (1 + L/2) for pre-LN and N/3 at every depth for post-LN", "arXiv 2002.04745, Theorem 1",
        found.assign(predicted=at["log_last_gradient_squared_predicted"], slack=at["slack"]),
        at.sizes["seed"],
    )  # fmt: skip


def _nothing_vanishes(result: xr.Dataset) -> list[Verdict]:
    """The smallest gradient of all networks with skip connections, in the deepest."""
    depth = int(result["depth"].max())
    at = result.sel(depth=depth, block=0, architecture=result["architecture"] != "plain")
    at = at.dropna("architecture")
    if at.sizes["architecture"] == 0:
        return []
    found = mean_log(at["log_gradient_squared"])
    where = int(np.argmin(found["mean"].values))
    error = float(found["error"][where])
    return [judge(
        ["C26"], f"The smallest log of |dE/dx|^2 over |dE/dy^L|^2 of all residual networks of {depth} "
        "blocks: none vanishes", "mean field of each",
        measured=float(found["mean"][where]), uncertainty=error,
        predicted=float(at["log_gradient_squared_predicted"].min()),
        tolerance=float(at["slack"][where]) + sampling_factor(at.sizes["architecture"]) * error,
        tolerance_from="L / N nats and five standard errors over networks",
    )]  # fmt: skip
