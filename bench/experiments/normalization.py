r"""Does normalization cure exploding and vanishing gradients?

Layers phi(norm(W y)), wide and without skip connections, at initialization. Norms: none; layer norm and RMS
norm, over units; batch norm over batches of B examples. Weights are Gaussian with the same large scale in all
normalized networks; those without a norm have it too ("none, large"), or He's for relu and LeCun's otherwise
("none"). "dropout k" are the latter with weights sqrt(k) smaller, and outputs kept with probability k and
divided by it, for one input under many masks.

Measured: log |dE/dy^l|^2 over all examples, and its growth per layer towards the input, away from both ends;
the share of units in saturation; the cosine between examples at the output.

Theory (`signalprop.analysis.growth`): batch norm makes gradients explode for every nonlinearity (Yang et al.,
arXiv 1902.08129), by pi / (pi - 1) per layer for relu, whatever the weights' scale; layer norm gives
E phi'^2 / E phi^2, which is 1 for relu and small for activations with a mean, such as softplus; dropout
needs sigma_w^2 = 2k for relu (Schoenholz et al., arXiv 1611.01232).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax.tree_util import Partial

from signalprop.analysis import growth, meanfield
from signalprop.bench.drawings.normalization import figures, rates
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.normalized import SATURATED, Case, cases, own_scale, share_saturated
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor
from signalprop.models.activations import ACTIVATIONS, activation, chosen
from signalprop.models.chain import chain_profile
from signalprop.models.mlp import Layer, draw_layer
from signalprop.models.normalization import Dropout, batch_norm, draw_dropout

EACH = ("norm", "activation")


@dataclass(frozen=True)
class Settings:
    """Settings of ``normalization``."""

    activation: tuple[str, ...] = (
        "linear", "relu", "tanh", "gelu", "silu", "elu", "sigmoid", "softplus",
    )  # fmt: skip
    """Activations."""
    batch_size: tuple[int, ...] = (8, 32)
    """Examples B of batch normalization; each divides the largest, which is the number of examples."""
    keep: tuple[float, ...] = (0.8, 0.5)
    """Probabilities of dropout to keep a unit."""
    sigma_w: float = 8.0
    """Scale of the large weights."""
    width: int = 256
    """Units N."""
    depth: int = 30
    """Layers L."""
    skipped: int = 10
    """Layers at the input end that are left out of the growth per layer; two at the other end are too."""
    seeds: int = 24
    """Independent networks."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights, signals and gradients."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        require_count("batch_size", self.batch_size, 4)
        require_count("depth", [self.depth], self.skipped + 4)
        for size in self.batch_size:
            if max(self.batch_size) % size:
                raise ValueError(f"batch_size: got {self.batch_size}; write divisors of the largest")
        for keep in self.keep:
            if not 0 < keep <= 1:
                raise ValueError(f"keep: got {keep}; write a probability above 0")


SIZES = {
    "quick": Settings(
        activation=("linear", "relu", "tanh", "sigmoid", "softplus"),
        batch_size=(8, 16), keep=(0.8,), width=96, depth=22, seeds=12,
    ),
    "standard": Settings(),
    "full": Settings(batch_size=(8, 32, 128), width=1024, depth=50, seeds=32),
}  # fmt: skip


def grid(settings: Settings) -> Grid:
    """One program: all networks of a seed share their draws."""
    names = "activation", "batch_size", "keep", "sigma_w", "width", "depth", "dtype"
    return Grid(
        static={},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in names},
        coords={
            "norm": [case.name for case in cases(settings.batch_size, settings.keep)],
            "activation": settings.activation,
            "layer": range(settings.depth + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow one network of every norm and activation."""
    names, depth, width, dtype = (static[k] for k in ("activation", "depth", "width", "dtype"))
    kinds, shape = cases(static["batch_size"], static["keep"]), (max(static["batch_size"]), width)
    weights_key, mask_key, x_key, g_key = jax.random.split(key, 4)
    x, g = jax.random.normal(x_key, shape, dtype), jax.random.normal(g_key, shape, dtype)
    keeps, own = jnp.array([kind.keep for kind in kinds], dtype), jnp.array([*map(own_scale, names)], dtype)
    is_large = jnp.array([kind.large for kind in kinds])
    draw_unit = partial(draw_layer, weights_key, fan_in=width, fan_out=width, dtype=dtype)
    kernels = jax.vmap(lambda number: draw_unit(number).kernel[...])(jnp.arange(1, depth + 1))

    def one(place: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        kind, index = place
        phi, keep = chosen(names, index), keeps[kind]
        sigma_w = jnp.where(is_large[kind], static["sigma_w"], own[index] * jnp.sqrt(keep)).astype(dtype)

        def call(layer: Layer, dropout: Dropout, y: jax.Array) -> jax.Array:
            return dropout(phi(jax.lax.switch(kind, [k.norm for k in kinds], layer(y))))

        def draw(number: jax.Array) -> Callable[[jax.Array], jax.Array]:
            layer = Layer(sigma_w * kernels[number - 1], jnp.zeros(width, dtype))
            return Partial(call, layer, draw_dropout(mask_key, number, shape, keep, dtype))

        start = jnp.where(keep < 1, jnp.broadcast_to(x[0], shape), x)
        found = chain_profile(draw, depth, start, lambda y: g)
        unit = found.y / jnp.linalg.norm(found.y, axis=1, keepdims=True)
        cosine = (jnp.sum(jnp.sum(unit, 0) ** 2) / shape[0] - 1) / (shape[0] - 1)
        shares = [lambda y: jnp.full((), jnp.nan, dtype)] + [
            lambda y, is_saturated=is_saturated: jnp.mean(is_saturated(y), dtype=dtype)
            for is_saturated, _ in SATURATED.values()
        ]
        which = jnp.array([1 + [*SATURATED].index(n) if n in SATURATED else 0 for n in names])[index]
        return {
            "log_gradient": 2 * (found.log_gradient - found.log_gradient[-1]),
            "log_signal": found.log_mean_square,
            "saturated": jnp.where(keep < 1, jnp.nan, jax.lax.switch(which, shares, found.y)),
            "cosine": cosine,
        }

    places = jnp.meshgrid(jnp.arange(len(kinds)), jnp.arange(len(names)), indexing="ij")
    found = jax.lax.map(one, tuple(place.ravel() for place in places))
    return {name: x.reshape(len(kinds), len(names), *x.shape[1:]) for name, x in found.items()}


def theory(settings: Settings) -> xr.Dataset:
    """Growth per layer with the part of it that a finite width may take off, saturation, and cosines."""
    kinds, names = cases(settings.batch_size, settings.keep), settings.activation
    scales = jnp.array([own_scale(name) for name in names])
    laws = jax.jit(lambda: jax.lax.map(lambda at: _laws(settings, *at), (jnp.arange(len(names)), scales)))()
    rate, slack, q = (np.array(part).T for part in laws)
    saturated, cosine = np.full(rate.shape, np.nan), np.full(rate.shape, np.nan)
    probability = np.array([*settings.keep, *np.linspace(0.05, 1, 39)])
    settled = relu_cosine(probability)
    for j, name in enumerate(names):
        if name in SATURATED:
            saturated[:, j] = [share_saturated(name, kind, q[i, j]) for i, kind in enumerate(kinds)]
        if name == "relu":  # of the others the length still moves
            cosine[len(kinds) - len(settings.keep) :, j] = settled[: len(settings.keep)]
    found = {"rate": rate, "saturated": saturated, "cosine": cosine}
    return xr.Dataset(
        {
            **{f"{name}_predicted": (EACH, values) for name, values in found.items()},
            "slack": (EACH, slack),
            "window": (("end",), [settings.skipped, settings.depth - 2]),
            "width": settings.width,
            "probability": (("mask",), probability),
            "settled_cosine": (("mask",), settled),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k in EACH},
    )


def _laws(settings: Settings, index: jax.Array, own: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log growth per layer, its slack, and the length at the output, for every norm."""
    phi, normalized = chosen(settings.activation, index), jnp.array(0.02)

    def drifting(kind: Case) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Dropout with weights sqrt(k) smaller has the lengths and the growth of no norm."""
        scale = jnp.where(kind.large, settings.sigma_w, own)
        lengths = meanfield.length_trajectory(phi, scale, 0.0, 1.0, settings.depth)
        shown = lengths[settings.skipped : settings.depth - 2]
        laws = jax.vmap(lambda q: growth.layer_growth(phi, q, scale))(shown)
        return jnp.mean(laws.log_chi_1), jnp.mean(laws.shift) / kind.keep / settings.width, lengths[-1]

    def law(kind: Case) -> tuple[jax.Array, jax.Array, jax.Array]:
        if kind.name.startswith("batch"):
            return jnp.log(growth.batch_norm(phi, int(kind.name.split()[1]))), normalized, jnp.ones(())
        if kind.name in ("layer", "rms"):
            return jnp.log(growth.layer_norm(phi)), normalized, jnp.ones(())
        return drifting(kind)

    rates, slacks, lengths = zip(*map(law, cases(settings.batch_size, settings.keep)), strict=True)
    return jnp.stack(rates), jnp.stack(slacks), jnp.stack(lengths)


def relu_cosine(keep: np.ndarray) -> np.ndarray:
    """Cosine at which two masks of one input settle in a relu network, for each probability to keep."""
    relu = activation("relu")
    settled = jax.vmap(lambda k: growth.dropout(relu, 1.0, k, jnp.sqrt(2 * k)).c_star)
    return np.array(jax.jit(settled)(keep))


CURE = (
    "The loss does not depend on a weight matrix's scale, and the gradient is inversely proportional to it, "
    "exactly. Depth is not cured: without skip connections batch norm makes gradients grow in every layer, "
    "for every nonlinearity, and layer norm lets them vanish where the activation has a mean."
)
WEIGHTS = (
    "It is the norm of the product of slopes and weights that decides; with a norm between layers the size "
    "of the weights drops out altogether."
)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge scale invariance, growth under each kind of norm, saturation and dropout."""
    found = _scale_invariance()
    if result.sizes["seed"] < 3:
        return found
    batches = [str(n) for n in result["norm"].values if str(n).startswith("batch")]
    batches = [name for name in batches if 8 * int(name.split()[1]) <= int(result["width"])]
    dropped = [str(n) for n in result["norm"].values if str(n).startswith("dropout")]
    return [
        *found,
        *_growth(
            result, batches, ["C21"], "Linear -> BatchNorm -> phi: log growth of |gradient|^2 per layer, "
            "(B - 2) / (B - 3) for linear, more for every nonlinearity, towards pi / (pi - 1) for relu and "
            "large B (batches B <= N / 8)", "arXiv 1902.08129", CURE,
        ),
        *_growth(
            result, ["layer", "rms"], ["C21"], "Layer norm and RMS norm: log growth per layer, E phi'^2 / E "
            "phi^2 at N(0, 1): 1 for relu, 0.32 for softplus", "mean field", CURE,
        ),
        *_growth(
            result, ["none", "none, large"], ["C24"], "No norm: log growth per layer, the mean of log "
            "sigma_w^2 E phi'^2 over the layers, at both scales of the weights", "arXiv 1611.01232", WEIGHTS,
        ),
        *_growth(
            result, dropped, ["C24"], "Dropout that keeps k, with weights sqrt(k) smaller: log growth per "
            "layer sigma_w^2 E phi'^2 / k, so that relu is critical at sigma_w^2 = 2k",
            "arXiv 1611.01232, section 5", WEIGHTS,
        ),
        *_saturation(result, ["none, large", *batches]), *_masks(result, dropped),
    ]  # fmt: skip


def _growth(
    result: xr.Dataset, names: list[str], claims: list[str], text: str, source: str, correction: str
) -> list[Verdict]:
    at = result.sel(norm=names)
    measured = rates(at)
    if measured["mean"].size == 0:
        return []
    factor = sampling_factor(measured["mean"].size, result.sizes["seed"])
    return [
        judge(
            claims, text, source, measured=measured["mean"], predicted=at["rate_predicted"],
            uncertainty=measured["error"], tolerance=at["slack"] + factor * measured["error"],
            tolerance_from="0.02 for terms of order B / N and 1 / N under a norm, without one the known "
            "shift of a mean logarithm, and five standard errors over networks",
            claim="right after repair", correction=correction,
        )
    ]  # fmt: skip


def _saturation(result: xr.Dataset, names: list[str]) -> list[Verdict]:
    at = result.sel(norm=names, activation=result["activation"].isin(list(SATURATED)))
    flat = at[["saturated", "saturated_predicted"]].stack(x=("norm", "activation"))
    if flat.sizes["x"] == 0:
        return []
    share = flat["saturated_predicted"]
    # one direction may be all there is: a network counts as N units, its batch as none
    error = np.sqrt(share * (1 - share) / (result.sizes["seed"] * int(result["width"])))
    return [
        judge(
            ["C22"], "Share of units whose slope is below a tenth of the largest, with large weights and "
            "with batch norm of the same weights", "Gaussian pre-activations; a sphere for a batch",
            measured=flat["saturated"].mean("seed"), predicted=share, uncertainty=error,
            tolerance=0.01 + sampling_factor(share.size) * error,
            tolerance_from="0.01 for the finite width, and five standard errors of independent units",
        )
    ]  # fmt: skip


def _masks(result: xr.Dataset, names: list[str]) -> list[Verdict]:
    if not names or "relu" not in result["activation"]:
        return []
    at = result.sel(norm=names, activation="relu")
    mean, error = at["cosine"].mean("seed"), at["cosine"].std("seed", ddof=1) / np.sqrt(result.sizes["seed"])
    slack = 2 / np.sqrt(float(result["width"]))
    return [
        judge(
            ["C24"], "Two dropout masks of one input in a relu network: the cosine of its outputs settles at "
            "c = k kappa_1(c), 0.473 for k = 0.8, though the gradient is kept", "arXiv 1611.01232, section 5",
            measured=mean, predicted=at["cosine_predicted"], uncertainty=error,
            tolerance=slack / 8 + sampling_factor(mean.size, result.sizes["seed"]) * error,
            tolerance_from="an eighth of the scatter 2 / sqrt(N) of one cosine, and five standard errors",
            claim="right after repair", correction=WEIGHTS,
        )
    ]  # fmt: skip


def _scale_invariance() -> list[Verdict]:
    """A batch-normalized network of three layers whose second matrix is multiplied by 4."""
    rng = np.random.default_rng(0)
    kernels, x, target = (jnp.asarray(rng.normal(size=shape)) for shape in ((3, 12, 12), (16, 12), (16, 12)))

    def loss(second: jax.Array) -> jax.Array:
        y = x
        for kernel in (kernels[0], second, kernels[2]):
            y = jnp.tanh(batch_norm(y @ kernel, 0.0))
        return jnp.sum((y - target) ** 2)

    at = jax.jit(jax.value_and_grad(loss))
    (loss_1, gradient_1), (loss_4, gradient_4) = at(kernels[1]), at(4 * kernels[1])
    sizes = [float(jnp.linalg.norm(gradient)) for gradient in (gradient_1, gradient_4)]

    def verdict(text: str, measured: float, predicted: float) -> Verdict:
        return judge(
            ["C21"], text, "arXiv 1502.03167", measured=measured, predicted=predicted, tolerance=1e-12,
            tolerance_from="rounding", claim="right after repair", correction=CURE,
        )  # fmt: skip

    change = float(loss_4 / loss_1) - 1
    return [
        verdict("Batch norm: relative change of the loss when a matrix W becomes 4 W", change, 0.0),
        verdict("Batch norm: the gradient at 4 W over that at W", sizes[1] / sizes[0], 0.25),
    ]


def table(result: xr.Dataset) -> pd.DataFrame:
    """Growth per layer, saturation and cosine of every norm and activation."""
    measured = rates(result)
    columns = {"log_growth_per_layer": measured["mean"], "error": measured["error"]}
    columns["log_growth_predicted"] = result["rate_predicted"]
    for name in ("saturated", "cosine"):
        columns |= {name: result[name].mean("seed"), f"{name}_predicted": result[f"{name}_predicted"]}
    return xr.Dataset(columns).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="normalization",
    question="Does normalization cure exploding and vanishing gradients?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "log_gradient": Variable((*EACH, "layer"), "log of |dE/dy^l|^2 over |dE/dy^L|^2", "nat"),
        "log_signal": Variable((*EACH, "layer"), "log of the mean square of y^l", "nat"),
        "saturated": Variable(
            ("norm", "activation"), "share of outputs with a slope below a tenth of the largest"
        ),
        "cosine": Variable(("norm", "activation"), "mean cosine of the outputs of two examples"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
