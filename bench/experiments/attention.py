r"""Where do gradients of a transformer vanish: at pre-LN or post-LN, and when its tokens collapse?

Blocks of self-attention and a relu network of two layers, at initialization (Xavier matrices, no biases),
with layer norm before each part, after it, or nowhere, with and without skip connections, attention and relu
network. Gradients start from Gaussian noise on the output, a different one for each token.

Measured after every block: the norm of the gradient, and how different tokens still are, the residual |x -
mean over tokens| / |x|; for every block the gradients of its query, value and last relu matrices.

Theory. Blocks without attention (Xiong et al., arXiv 2002.04745): pre-LN has |x_l|^2 = 1 + l/2 per unit, so
that with the last layer norm |g_l|^2 = 2 / (l + 2) and the gradient of the last matrix falls as 1/sqrt(L);
post-LN keeps |g|^2, as the branch adds what the layer norm takes, against the (2/3)^(L - l) often quoted.
With attention, `analysis.attention` gives lengths and cosines of tokens in wide blocks, derived for this
suite: without skips the residual of a block goes as the cube of the one before (Dong et al., arXiv
2103.03404; the constant is that of many heads), post-LN halves its square per block, pre-LN takes a power of
depth (Noci et al., arXiv 2206.03126). The last matrix follows from them. No theory is given for gradients
through attention: these measurements stand alone.
"""

import json
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis import attention as mean_field
from signalprop.analysis.growth import pre_layer_norm
from signalprop.analysis.statistics import fit_line
from signalprop.bench.blocks import BY_DEPTH, DECADES, NETWORKS, NORMS, Parts, measure
from signalprop.bench.drawings.attention import deepest, figures, labelled
from signalprop.bench.engine.grid import Grid, require_count
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.record.verdict import Verdict, judge, observe, sampling_factor

XIONG, DONG = "Xiong et al. (arXiv 2002.04745)", "Dong et al. (arXiv 2103.03404)"
NOCI = "Noci et al. (arXiv 2206.03126)"
WIDEST = 2.0  # variance of the scores up to which their softmax is predicted
RESIDUAL_TERMS = 1.0  # decades per block and 1/d that finite width takes off or adds
RESOLVED = {"float32": -5.0, "float64": -13.0}  # log10 of the smallest residual that rounding leaves


@dataclass(frozen=True)
class Settings:
    """Settings of ``attention``."""

    width: int = 32
    """Units d of a token and of the relu layer."""
    heads: tuple[int, ...] = (2,)
    """Heads of the attention."""
    tokens: int = 8
    """Tokens n of the input."""
    depth: tuple[int, ...] = (2, 4, 8, 16)
    """Numbers L of blocks, increasing."""
    seeds: int = 16
    """Networks, each with an input of its own."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of weights and signals; float32 loses a collapsing residual two blocks earlier."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_count("width", [self.width], 2)
        require_count("heads", self.heads)
        require_count("tokens", [self.tokens], 2)
        require_count("depth", self.depth)
        if list(self.depth) != sorted(set(self.depth)):
            raise ValueError(f"depth: got {self.depth}; write increasing numbers")
        if any(self.width % heads for heads in self.heads):
            raise ValueError(f"heads: got {self.heads}; write divisors of the width {self.width}")


SIZES = {
    "quick": Settings(),
    "standard": Settings(width=64, heads=(4,), tokens=16, depth=(2, 4, 8, 16, 24), seeds=24),
    "full": Settings(width=512, heads=(8,), tokens=64, depth=(2, 4, 8, 16, 24, 48, 64), seeds=48),
}


def networks(settings: Settings) -> list[tuple[str, Parts, int]]:
    """Name, parts and depth of every network along the grid's axis."""
    return [
        (name, parts, depth)
        for name, parts in NETWORKS.items()
        for depth in (settings.depth if name in BY_DEPTH else settings.depth[-1:])
    ]


def grid(settings: Settings) -> Grid:
    """One compilation per number of heads; norms and networks share their draws."""
    chosen = networks(settings)
    columns = {name: [getattr(parts, name) for _, parts, _ in chosen] for name in Parts._fields}
    return Grid(
        static={"heads": settings.heads},
        traced={
            "norm": {
                name: [norm[i] for norm in NORMS.values()] for i, name in enumerate(("before", "after"))
            },
            "network": {**columns, "depth": [depth for _, _, depth in chosen]},
        },
        seeds=settings.seeds,
        constants={
            "width": settings.width,
            "tokens": settings.tokens,
            "largest_depth": settings.depth[-1],
            "dtype": settings.dtype,
        },
        coords={
            "norm": tuple(NORMS),
            "network": [labelled(name, depth) for name, _, depth in chosen],
            "block": range(settings.depth[-1] + 1),
        },
    )


def states(settings: Settings, norm: str, parts: Parts) -> mean_field.Tokens:
    """Predicted lengths and gaps after every block; NaN from where scores are too wide for the theory."""
    present = [name for name in ("attention", "feed_forward") if getattr(parts, name)]
    found = mean_field.token_profile(present, norm, settings.tokens, settings.depth[-1], parts.skip)
    wide = jnp.cumsum(found.q**2 * found.gap > WIDEST) > 0
    unknown = jnp.append(False, wide[:-1]) & (norm == "none") & bool(parts.attention)
    return mean_field.Tokens(*(jnp.where(unknown, jnp.nan, v) for v in found))


def theory(settings: Settings) -> xr.Dataset:
    """Residuals of all networks, gradients of those without attention, and of the last matrix of all."""
    chosen, blocks = networks(settings), np.arange(settings.depth[-1] + 1)
    shape = (len(NORMS), len(chosen))
    residuals, gradients = (np.full((*shape, blocks.size), np.nan) for _ in range(2))
    last = np.full(shape, np.nan)
    for i, norm in enumerate(NORMS):
        profiles = {name: states(settings, norm, parts) for name, parts in NETWORKS.items()}
        for j, (name, parts, depth) in enumerate(chosen):
            q, gap = profiles[name]
            inside = blocks <= depth
            with np.errstate(divide="ignore"):
                residuals[i, j] = np.where(inside, np.log10((1 - 1 / settings.tokens) * gap) / 2, np.nan)
            if norm != "none" and not parts.attention:
                gradients[i, j] = np.where(inside, _without_attention(norm, depth, blocks), np.nan)
            if norm != "none" and parts.skip and parts.feed_forward:
                above = q[depth] if norm == "pre" else 1.5
                last[i, j] = np.log10(settings.tokens * settings.width**2 / 2 / above) / 2
    dims = ("norm", "network")
    labels = grid(settings).labels()
    return xr.Dataset(
        {
            "residual_predicted": ((*dims, "block"), residuals),
            "gradient_predicted": ((*dims, "block"), gradients),
            "last_predicted": (dims, last),
        },
        coords={k: labels[k] for k in (*dims, "block")},
    )


def _without_attention(norm: str, depth: int, blocks: np.ndarray) -> np.ndarray:
    """Log10 |g_l| of blocks without attention, with the last layer norm of pre-LN; 0 in post-LN."""
    if norm == "post":
        return np.zeros(blocks.size)
    profile = pre_layer_norm(depth)
    squares = profile.log_gradient - profile.log_mean_square[-1]
    return np.append(np.asarray(squares) / 2 * DECADES, np.full(blocks.size - depth - 1, np.nan))


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Gradients without attention, the last matrix, the collapse of tokens, and what stands alone."""
    found = [_profile(result, "pre"), _profile(result, "post"), *_last(result)]
    found += [_with_skip(result), *_without_skip(result), *_rates(result), _query(result)]
    return [*found, *_alone(result)]


def _mean(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean over networks, its standard error, and their number."""
    count = values.sizes["seed"]
    return values.mean("seed").values, (values.std("seed", ddof=1) / np.sqrt(count)).values, count


def _setting(result: xr.Dataset, name: str) -> Any:
    return json.loads(result.attrs["settings"])[name]


def _profile(result: xr.Dataset, norm: str) -> Verdict:
    at = deepest(result, norm, "feed-forward")
    mean, error, count = _mean(at["gradient"])
    blocks, width = int(at["block"][-1]) - at["block"].values, _setting(result, "width")
    quoted = f"(2/3)^(L/2) would be {blocks[0] / 2 * np.log10(2 / 3):.1f} decades"
    return judge(
        ["C25"] if norm == "post" else ["C25", "C26"],
        f"log10 of |dE/dx^l|, {norm}-LN blocks of a relu network without attention, all l: "
        + (f"constant; {quoted}" if norm == "post" else "sqrt(2 / (l + 2)), at the input 1 for every depth"),
        XIONG, measured=mean, uncertainty=error, predicted=at["gradient_predicted"].values,
        tolerance=(blocks + 1) * DECADES / (2 * width) + sampling_factor(mean.size, count) * error,
        tolerance_from="1/d per block in log |g|^2, five standard errors", claim="right after repair",
        correction="Post-LN divides |g|^2 by 3/2 in each block, and the branch multiplies it by as much: no "
        "decay. The quoted (2/3)^(L/2) leaves the branch out."
        if norm == "post"
        else "The identity passes the gradient, and the layer norm of the branches, not the skip, keeps it "
        "from exploding.",
    )  # fmt: skip


def _last(result: xr.Dataset) -> list[Verdict]:
    """Gradient of the last relu matrix at every depth, and how it falls with depth."""
    found, width = [], _setting(result, "width")
    for norm, law in (("pre", "falls as the inverse root of the last length"), ("post", "does not fall")):
        cells = [(name, depth) for name in BY_DEPTH for depth in depths(result)]
        rows = [deepest(result, norm, *cell) for cell in cells]
        values = [_mean(row["relu"].isel(block=-1)) for row in rows]
        mean, error = np.array([v[:2] for v in values]).T
        predicted = np.array([float(row["last_predicted"]) for row in rows])
        found.append(judge(
            ["C26"], f"log10 of the gradient of the last matrix, {norm}-LN, with and without attention, all "
            f"depths: {law}", f"{XIONG}, theorem 1; lengths by analysis.attention",
            measured=mean, predicted=predicted, uncertainty=error,
            tolerance=2 * DECADES / width + sampling_factor(mean.size, values[0][2]) * error,
            tolerance_from="2/d in log |g|, five standard errors",
        ))  # fmt: skip
        if len(depths(result)) > 2:
            found.append(_slope(result, norm))
    return found


def depths(result: xr.Dataset) -> list[int]:
    """Depths at which the full block was measured."""
    return sorted(int(n) for n in np.unique(result["depth"].values))


def _slope(result: xr.Dataset, norm: str) -> Verdict:
    rows = [deepest(result, norm, "full block", depth) for depth in depths(result)]
    log_depth = np.log10(depths(result))
    by_seed = np.array([row["relu"].isel(block=-1).values for row in rows]).T
    slopes = np.array([fit_line(log_depth, y).slope for y in by_seed])
    error = slopes.std(ddof=1) / np.sqrt(slopes.size)
    predicted = fit_line(log_depth, np.array([float(row["last_predicted"]) for row in rows])).slope
    return judge(
        ["C26"], f"Slope in depth L of the gradient of the last matrix, full {norm}-LN blocks: "
        + ("-1/2 for many blocks" if norm == "pre" else "0"), XIONG,
        measured=slopes.mean(), predicted=predicted, uncertainty=error,
        tolerance=0.02 + sampling_factor(1, slopes.size) * error,
        tolerance_from="0.02 for finite width, five standard errors",
    )  # fmt: skip


def _with_skip(result: xr.Dataset) -> Verdict:
    rows = [
        deepest(result, norm, name) for norm in ("pre", "post") for name in ("full block", "attention, skip")
    ]
    mean, error, count = _mean(xr.concat([row["residual"].drop_vars("network") for row in rows], "row"))
    predicted = np.array([row["residual_predicted"].values for row in rows])
    tolerance = RESIDUAL_TERMS * np.arange(mean.shape[-1]) / _setting(result, "width")
    return judge(
        ["C26"], "log10 of the residual of the tokens after every block with skips, pre-LN and post-LN, with "
        "and without relu network", f"{NOCI}; derived in analysis.attention",
        measured=mean, predicted=predicted, uncertainty=error,
        tolerance=tolerance + sampling_factor(mean.size, count) * error,
        tolerance_from="finite width, 1/d per block, five standard errors",
    )  # fmt: skip


def _without_skip(result: xr.Dataset) -> list[Verdict]:
    """The collapse without skips: its first block, its law, and how far it goes."""
    names = ("attention", "no skip")
    rows = [deepest(result, norm, name).isel(block=1) for norm in NORMS for name in names]
    mean, error, count = _mean(xr.concat([row["residual"].drop_vars("network") for row in rows], "row"))
    pure = deepest(result, "none", "attention").isel(block=min(3, int(result["block"][-1])))
    third, third_error, _ = _mean(pure["residual"])
    return [
        judge(
            ["C26"], "log10 of the residual after the first block without skips, with and without layer norm "
            "and relu network", f"{DONG}; derived in analysis.attention",
            measured=mean, predicted=[float(row["residual_predicted"]) for row in rows], uncertainty=error,
            tolerance=RESIDUAL_TERMS / _setting(result, "width") + sampling_factor(mean.size, count) * error,
            tolerance_from="finite width, 1/d, five standard errors",
        ),
        *_cube(result),
        observe(
            ["C26"], f"log10 of the residual after {int(pure['block'])} blocks of pure attention; with many "
            f"heads, wide against the number of tokens, it would be {float(pure['residual_predicted']):.1f}",
            DONG, measured=float(third), uncertainty=float(third_error),
        ),
    ]  # fmt: skip


def _cube(result: xr.Dataset) -> list[Verdict]:
    """How much faster the third block of pure attention collapses than the second, as ratio of logarithms."""
    at = deepest(result, "none", "attention")
    if at.sizes["block"] < 4 or float(at["residual"][:, 3].min()) < RESOLVED[_setting(result, "dtype")]:
        return []
    steps = np.diff(at["residual"].values[:, 1:4])
    left_out = (steps.sum(0) - steps) / (len(steps) - 1)
    ratios = left_out[:, 1] / left_out[:, 0]
    error = float(np.sqrt((len(steps) - 1) * ratios.var()))
    predicted = np.diff(at["residual_predicted"].values[1:4])
    return [judge(
        ["C26"], "Pure attention: the residual of a block is the cube of the one before times a constant: "
        "log of the loss in the third block over that in the second",
        f"{DONG}; derived in analysis.attention",
        measured=steps.mean(0)[1] / steps.mean(0)[0], predicted=predicted[1] / predicted[0],
        uncertainty=error, tolerance=0.3 + sampling_factor(1, len(steps)) * error,
        tolerance_from="0.3 for few heads, five standard errors (jackknife over networks)",
    )]  # fmt: skip


def _rates(result: xr.Dataset) -> list[Verdict]:
    """Loss of the residual over the second half of a deep network."""
    half = int(result["block"][-1]) // 2
    found = []
    for norm, law in (("post", "halves its square per block"), ("pre", "falls as a power of depth")):
        at = deepest(result, norm, "full block")
        change = at["residual"].isel(block=-1) - at["residual"].isel(block=half)
        predicted = at["residual_predicted"].values[-1] - at["residual_predicted"].values[half]
        mean, error, count = _mean(change)
        found.append(judge(
            ["C26"], f"The residual of full {norm}-LN blocks {law}: log10 of its loss over the last "
            f"{int(at['block'][-1]) - half} blocks", f"{NOCI}; derived in analysis.attention",
            measured=mean, predicted=predicted, uncertainty=error,
            tolerance=RESIDUAL_TERMS * half / _setting(result, "width") + sampling_factor(2, count) * error,
            tolerance_from="finite width, 1/d per block, five standard errors",
        ))  # fmt: skip
    return found


def _query(result: xr.Dataset) -> Verdict:
    """Query against value gradient in the collapsing half of a post-LN network."""
    at = deepest(result, "post", "full block").isel(block=slice(int(result["block"][-1]) // 2, None))
    gap, ratio = 2 * at["residual"].values[..., :-1], (at["query"] - at["value"]).values[..., 1:]
    slopes = np.array([fit_line(x, y).slope for x, y in zip(gap, ratio, strict=True)])
    error = slopes.std(ddof=1) / np.sqrt(slopes.size)
    return judge(
        ["C26"], "In post-LN blocks the gradient of the query matrix vanishes with the residual below, as "
        "its square: slope of log |dE/dW_Q| / |dE/dW_V| against log residual^2", f"{NOCI}; one factor each "
        "from keys and from values that have become alike",
        measured=slopes.mean(), predicted=1.0, uncertainty=error,
        tolerance=0.05 + sampling_factor(1, slopes.size) * error,
        tolerance_from="0.05 for gaps that are not small yet, five standard errors",
    )  # fmt: skip


def _alone(result: xr.Dataset) -> list[Verdict]:
    found = []
    for norm in ("pre", "post"):
        at = deepest(result, norm, "full block")
        mean, error, _ = _mean(at["gradient"].isel(block=0) - at["gradient"].isel(block=-1))
        found.append(observe(
            ["C25", "C26"], f"Full {norm}-LN blocks, attention included: log10 of |dE/dx^0| / |dE/dx^L|, "
            f"L = {int(at['block'][-1])}", "measured", measured=float(mean), uncertainty=float(error),
        ))  # fmt: skip
    return found


def table(result: xr.Dataset) -> pd.DataFrame:
    """Residuals and gradients by norm, network and block, in decades."""
    columns = {}
    for name in ("residual", "gradient", "query", "value", "relu"):
        values = result[name].isel(heads=0).where(np.isfinite)
        columns[name] = values.mean("seed", skipna=False)
        columns[f"{name}_error"] = values.std("seed", ddof=1, skipna=False) / np.sqrt(values.sizes["seed"])
    columns |= {name: result[name] for name in ("residual_predicted", "gradient_predicted")}
    kept = ["norm", "network", "block", *columns]
    return xr.Dataset(columns).to_dataframe().reset_index()[kept].dropna(subset="residual")


EXPERIMENT = Experiment(
    name="attention",
    question="Where do gradients of a transformer vanish: at pre-LN or post-LN, and when tokens collapse?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "residual": Variable(("block",), "log10 of |x - mean over tokens| / |x|", "decades"),
        "gradient": Variable(("block",), "log10 of |dE/dx^l| per unit, relative to the output's", "decades"),
        "query": Variable(("block",), "log10 of the norm of the query matrix' gradient", "decades"),
        "value": Variable(("block",), "log10 of the norm of the value matrix' gradient", "decades"),
        "relu": Variable(("block",), "log10 of the norm of the last relu matrix' gradient", "decades"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
