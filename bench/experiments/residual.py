r"""Do skip connections pass the gradient without loss, and which residual networks explode?

Chains of L equal blocks at initialization, on a batch of independent inputs of mean square 1, with a random
gradient of norm 1 at the top. Weights are Gaussian; "He" has variance 2 / N, "LeCun" 1 / N.

* plain: W_2 relu(W_1 x), He and LeCun; no skip connection;
* residual: x + W_2 relu(W_1 x), He and LeCun, and the same with the branch times L^(-1/2), 1/L, 0 (ReZero,
  and SkipInit, which is the same here), and as in Fixup (W_1 times L^(-1/2), W_2 = 0);
* relu branch: x + relu(W x), He; tanh branch: x + tanh(W x), LeCun;
* pre-BN: x + W relu(BatchNorm(x)), He; post-BN: BatchNorm(x + W_2 relu(W_1 x)), He and LeCun;
* pre-LN and post-LN: x + F(LayerNorm(x)) and LayerNorm(x + F(x)), F = W_2 relu(W_1 .) with LeCun weights, a
  transformer's feed-forward block with Xavier weights; post-LN relu: LayerNorm(x + relu(W x)), He.

Measured per block: the mean square of the signal and |dE/dy|^2 over the whole batch. Theory: the identity
dE/dx_l = dE/dx_L (I + d(sum of F)/dx_l) (He et al., arXiv 1603.05027) holds for every net and decides
nothing; growth is that of mean field (Yang & Schoenholz, arXiv 1712.08969; `signalprop.analysis.growth`). It
gives the mean of squares over networks, so the mean over seeds is taken before the logarithm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax.tree_util import Partial

from signalprop.bench.architectures import ARCHITECTURES
from signalprop.bench.drawings.residual import figures, mean_log
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor
from signalprop.models.chain import chain_profile
from signalprop.models.mlp import Layer, draw_layer
from signalprop.models.normalization import layer_norm

ROWS = 16  # blocks per network in the table


EXACT = ("plain", "residual", "1/sqrt(L)", "1/L", "ReZero", "Fixup")  # means known at every width


@dataclass(frozen=True)
class Settings:
    """Settings of ``residual``."""

    architecture: tuple[str, ...] = tuple(ARCHITECTURES)
    """Kinds of blocks."""
    depth: tuple[int, ...] = (16, 64, 128)
    """Numbers L of blocks."""
    width: int = 256
    """Units N."""
    batch_size: int = 32
    """Examples B, over which batch normalization takes its statistics."""
    seeds: int = 12
    """Independent networks."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights, signals and gradients."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("architecture", self.architecture, ARCHITECTURES)
        require_count("depth", self.depth)
        require_count("width", [self.width], 2)
        require_count("batch_size", [self.batch_size], 5)


SIZES = {
    "quick": Settings(depth=(8, 24), width=96, batch_size=24),
    "standard": Settings(),
    "full": Settings(depth=(16, 64, 256, 1024), width=512, batch_size=64, seeds=32),
}


def grid(settings: Settings) -> Grid:
    """One program: architectures and depths share it and its draws."""
    names = "architecture", "depth", "width", "batch_size", "dtype"
    return Grid(
        static={},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in names},
        coords={
            "architecture": settings.architecture,
            "depth": settings.depth,
            "block": range(max(settings.depth) + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow signal and gradient through one network of every depth and architecture, from the same draws.

    A network is a chain as long as the deepest, whose blocks beyond its own depth are the identity.
    """
    names, depths, width, dtype = (static[k] for k in ("architecture", "depth", "width", "dtype"))
    kinds, shape = [ARCHITECTURES[name] for name in names], (static["batch_size"], width)
    weights_key, x_key, g_key = jax.random.split(key, 3)
    x, g = jax.random.normal(x_key, shape, dtype), jax.random.normal(g_key, shape, dtype)
    x, g = x * jax.lax.rsqrt(jnp.mean(x * x, axis=1, keepdims=True)), g / jnp.linalg.norm(g)
    draw_unit = partial(draw_layer, weights_key, fan_in=width, fan_out=2 * width, dtype=dtype)
    kernels = jax.vmap(lambda number: draw_unit(number).kernel[...])(jnp.arange(1, max(depths) + 1))

    def one(depth_and_kind: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        depth, index = depth_and_kind

        def call(inner: Layer, outer: Layer, place: jax.Array, y: jax.Array) -> jax.Array:
            blocks = [kind.block(inner, outer, depth) for kind in kinds]
            out: jax.Array = jax.lax.switch(jnp.int32(place), [*blocks, lambda y: y], y)
            return out

        def draw(number: jax.Array) -> Callable[[jax.Array], jax.Array]:
            parts = jnp.split(kernels[number - 1], 2, axis=1)
            layers = (Layer(part, jnp.zeros(width, dtype)) for part in parts)
            return Partial(call, *layers, jnp.where(number <= depth, index, len(kinds)).astype(dtype))

        def loss_gradient(y: jax.Array) -> jax.Array:
            has_head = jnp.array([kind.head for kind in kinds])[index]
            return jnp.where(has_head, jax.vjp(layer_norm, y)[1](g)[0], g)

        found = chain_profile(draw, max(depths), x, loss_gradient)
        inside = jnp.arange(max(depths) + 1) <= depth
        log_gradient = 2 * (found.log_gradient - found.log_gradient[-1])
        return {
            "log_signal": jnp.where(inside, found.log_mean_square, jnp.nan),
            "log_gradient": jnp.where(inside, log_gradient, jnp.nan),
            "log_last_weights": 2 * found.log_parameter_gradients.args[1].kernel[...][depth - 1],
        }

    cases = jnp.meshgrid(jnp.array(depths), jnp.arange(len(kinds)), indexing="ij")
    found = jax.lax.map(one, tuple(case.ravel() for case in cases))
    return {name: x.reshape(len(depths), len(kinds), *x.shape[1:]) for name, x in found.items()}


def theory(settings: Settings) -> xr.Dataset:
    """Profiles of every architecture and depth, and the gradient of the last weights of pre- and post-LN."""
    names, blocks = settings.architecture, max(settings.depth)
    found = np.full((2, len(settings.depth), len(names), blocks + 1), np.nan)
    last = np.full((len(settings.depth), len(names)), np.nan)
    shape = settings.width, settings.batch_size
    profiles = jax.jit(
        lambda: [[ARCHITECTURES[k].predicted(d, *shape) for k in names] for d in settings.depth]
    )()
    for i, depth in enumerate(settings.depth):
        for j, (name, profile) in enumerate(zip(names, profiles[i], strict=True)):
            found[:, i, j, : depth + 1] = profile
            if name in ("pre-LN", "post-LN"):  # |g|^2 of the sum times |relu|^2 = N / 2
                size = profile.log_mean_square[-1] if name == "pre-LN" else np.log(1.5)
                last[i, j] = np.log(settings.width / 2) - size
    dims = ("depth", "architecture", "block")
    return xr.Dataset(
        {
            "log_signal_predicted": (dims, found[0]),
            "log_gradient_predicted": (dims, found[1]),
            "log_last_weights_predicted": (dims[:2], last),
            "slack": (
                dims[:2],
                np.outer(settings.depth, [name not in EXACT for name in names]) / settings.width,
            ),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k != "seed"},
    )


class Statement(NamedTuple):
    """What is judged about some architectures."""

    names: tuple[str, ...]
    claims: list[str]
    text: str
    source: str
    correction: str = ""


LOSSLESS = (
    "The identity is exact for every residual net, but what the branches add to it decides: a skip "
    "connection prevents vanishing, it does not preserve the gradient. Unscaled branches make it explode."
)
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


def totals(result: xr.Dataset) -> xr.Dataset:
    """Growth over each network: log of the mean square over seeds, its error, and theory.

    The dimension x runs over architecture, depth and quantity. The rate of post-BN holds away from the ends,
    so it is that of the middle three quarters. Lost signals, and means over too wide a spread, are left out.
    """
    found = []
    for depth in result["depth"].values:
        at, end = result.sel(depth=depth), int(depth)
        edge = (result["architecture"] == "post-BN") * (end // 8)
        for name, low, high in (("log_gradient", end - edge, edge), ("log_signal", 0, end)):
            growth_of = [at[k].sel(block=high) - at[k].sel(block=low) for k in (name, f"{name}_predicted")]
            row = mean_log(growth_of[0]).assign(predicted=growth_of[1], slack=at["slack"])
            found.append(row.drop_vars(("block", "depth"), errors="ignore"))
    flat = xr.concat(found, "place").stack(x=("architecture", "place"))
    return flat.isel(x=np.flatnonzero(np.isfinite(flat["mean"]) & (flat["error"] < 0.3)))


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the identity, each family of blocks, the last weights, and that nothing vanishes."""
    found = [*_identity(), *_unchanged(result)]
    if result.sizes["seed"] < 3:
        return found
    total = totals(result)
    for s in STATEMENTS:
        at = total.isel(x=np.flatnonzero(total["architecture"].isin(s.names)))
        if at.sizes["x"] > 0:
            found.append(_judged(s.claims, s.text, s.source, at, result.sizes["seed"], s.correction))
    return [*found, *_last_weights(result), *_nothing_vanishes(result)]


def _judged(
    claims: list[str], text: str, source: str, at: xr.Dataset, seeds: int, correction: str = ""
) -> Verdict:
    return judge(
        claims, f"{text} (log of the mean over networks)", source,
        measured=at["mean"], predicted=at["predicted"], uncertainty=at["error"],
        tolerance=at["slack"] + sampling_factor(at["mean"].size, seeds) * at["error"],
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

    at = jnp.asarray(x)
    by_autodiff = jax.grad(lambda x: loss(follow(x, False)[0]))(at)
    branches = jax.jacobian(lambda x: follow(x, False)[1])(at)
    difference = by_autodiff - jax.grad(loss)(follow(at, False)[0]) @ (jnp.eye(6) + branches)
    wiped = jax.grad(lambda x: loss(follow(x, True)[0]))(at)
    source, more = "arXiv 1603.05027, equation 5", {"tolerance_from": "rounding", "correction": LOSSLESS}
    return [
        judge(
            ["C25"], "dE/dx_l = dE/dx_L (I + d(sum of branches)/dx_l): largest difference from autodiff",
            source,
            measured=float(jnp.abs(difference).max()), predicted=0.0, tolerance=1e-12,
            claim="right after repair", **more,
        ),
        judge(
            ["C25"], "The identity holds for the branch F(x) = -x too, and the gradient is exactly 0", source,
            measured=float(jnp.abs(wiped).max()), predicted=0.0, tolerance=0.0,
            claim="right after repair", **more,
        ),
    ]  # fmt: skip


def _unchanged(result: xr.Dataset) -> list[Verdict]:
    names = [name for name in ("ReZero", "Fixup") if name in result["architecture"]]
    if not names:
        return []
    at = result[["log_gradient", "log_signal"]].sel(architecture=names)
    changes = abs(at - at.sel(block=0)).max().to_array()
    return [
        judge(
            ["C25", "C26"], "ReZero, SkipInit and Fixup begin as the identity: the largest change of log "
            "|gradient|^2 and log |signal|^2 over all blocks", "arXiv 2003.04887, 2002.10444, 1901.09321",
            measured=float(changes.max()), predicted=0.0, tolerance=1e-5,
            tolerance_from="rounding of the recorded logarithms",
        )
    ]  # fmt: skip


def _last_weights(result: xr.Dataset) -> list[Verdict]:
    names = [name for name in ("pre-LN", "post-LN") if name in result["architecture"]]
    if not names:
        return []
    at = result.sel(architecture=names)
    found = mean_log(at["log_last_weights"]).assign(
        predicted=at["log_last_weights_predicted"], slack=at["slack"]
    )
    return [
        _judged(
            ["C26"], "Gradient of the last W_2, |dE/dW|^2 / |dE/dy|^2 at the network's normalized output: "
            "N/2 / (1 + L/2) for pre-LN and N/3 at every depth for post-LN", "arXiv 2002.04745, Theorem 1",
            found.stack(x=("architecture", "depth")), result.sizes["seed"],
        )
    ]  # fmt: skip


def _nothing_vanishes(result: xr.Dataset) -> list[Verdict]:
    depth = int(result["depth"].max())
    at = result.sel(depth=depth, block=0, architecture=result["architecture"] != "plain").dropna(
        "architecture"
    )
    if at.sizes["architecture"] == 0:
        return []
    found = mean_log(at["log_gradient"])
    where = int(np.argmin(found["mean"].values))
    error = float(found["error"][where])
    return [
        judge(
            ["C26"], f"The smallest log of |dE/dx|^2 over |dE/dy^L|^2 of all residual networks of {depth} "
            "blocks: none vanishes", "mean field of each",
            measured=float(found["mean"][where]), uncertainty=error,
            predicted=float(at["log_gradient_predicted"].min()),
            tolerance=float(at["slack"][where]) + sampling_factor(at.sizes["architecture"]) * error,
            tolerance_from="L / N nats and five standard errors over networks",
        )
    ]  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """Gradient and signal at some blocks of each network."""
    rows = []
    for depth in result["depth"].values:
        blocks = np.unique(np.linspace(0, int(depth), min(int(depth), ROWS) + 1).astype(int))
        at = result.sel(depth=depth, block=blocks)
        columns: dict[str, xr.DataArray] = {}
        for name in ("log_gradient", "log_signal"):
            stats = mean_log(at[name])
            columns |= {name: stats["mean"], f"{name}_error": stats["error"]}
            columns[f"{name}_predicted"] = at[f"{name}_predicted"]
        rows.append(xr.Dataset(columns).to_dataframe().reset_index())
    return pd.concat(rows, ignore_index=True)


EXPERIMENT = Experiment(
    name="residual",
    question="Do skip connections pass the gradient without loss, and which residual networks explode?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "log_signal": Variable(("depth", "architecture", "block"), "log of the mean square of y^l", "nat"),
        "log_gradient": Variable(
            ("depth", "architecture", "block"), "log of |dE/dy^l|^2 over |dE/dy^L|^2", "nat"
        ),
        "log_last_weights": Variable(
            ("depth", "architecture"),
            "log of |dE/dW_2|^2 in the last block, for a gradient of norm 1 at the output",
            "nat",
        ),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
