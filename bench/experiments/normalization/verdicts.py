"""Verdicts of ``normalization``: scale invariance, growth under each norm, saturation and dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.bench.experiments.normalization.measure import SATURATED
from signalprop.bench.record.verdict import Verdict, compare, compare_estimates, judge, observe
from signalprop.models.normalization import batch_norm

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
    batches = [b for b in norms(result, "batch") if 8 * int(b.split()[1]) <= int(result["width"])]
    dropped = norms(result, "dropout")
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


def norms(result: xr.Dataset, *beginnings: str) -> list[str]:
    """Names of the norms that begin with one of these."""
    return [str(name) for name in result["norm"].values if str(name).startswith(beginnings)]


def rates(result: xr.Dataset) -> xr.DataArray:
    """Growth of log |gradient|^2 per layer of every network, inside the window."""
    low, high = (int(end) for end in result["window"].values)
    log = result["log_gradient_squared"]
    return (log.sel(layer=low) - log.sel(layer=high)) / (high - low)


def _growth(
    result: xr.Dataset, names: list[str], claims: list[str], text: str, source: str, correction: str
) -> list[Verdict]:
    """Judge the growth per layer of every activation under some norms, where theory has one."""
    at = result.sel(norm=names)
    rate, predicted = rates(at), at["rate_predicted"]
    if outside := int(predicted.isnull().sum()):
        text += (
            f" ({outside} of {predicted.size} settings are outside the range of theory: it begins 8 layers "
            "above the input with batch norm, 1 with the others)"
        )
    if outside and outside == predicted.size:
        return [observe(claims, text, source, measured=float(rate.mean()))]
    return compare(
        claims, text, source, rate, predicted, slack=at["slack"],
        tolerance_from="0.02 for terms of order B / N and 1 / N under a norm, without one the known "
        "shift of a mean logarithm, and five standard errors over networks",
        claim="right after repair", correction=correction,
    )  # fmt: skip


def _saturation(result: xr.Dataset, names: list[str]) -> list[Verdict]:
    """Judge the share of saturated units of sigmoid and tanh networks."""
    at = result.sel(norm=names, activation=result["activation"].isin(list(SATURATED)))
    share = at["saturated_predicted"]
    # one direction may be all there is: a network counts as N units, its batch as none
    error = (share * (1 - share) / (result.sizes["seed"] * int(result["width"]))) ** 0.5
    return compare_estimates(
        ["C22"], "Share of units whose slope is below a tenth of the largest, with large weights and "
        "with batch norm of the same weights", "Gaussian pre-activations; a sphere for a batch",
        at["saturated"].mean("seed"), error, share, slack=0.01,
        tolerance_from="0.01 for the finite width, and five standard errors of independent units",
    )  # fmt: skip


def _masks(result: xr.Dataset, names: list[str]) -> list[Verdict]:
    """Judge how far two dropout masks of one input agree at the output."""
    if "relu" not in result["activation"]:
        return []
    at = result.sel(norm=names, activation="relu")
    return compare(
        ["C24"], "Two dropout masks of one input in a relu network: the cosine of its outputs settles at "
        "c = k kappa_1(c), 0.473 for k = 0.8, though the gradient is kept", "arXiv 1611.01232, section 5",
        at["cosine"], at["cosine_predicted"], slack=1 / (4 * result["width"] ** 0.5),
        tolerance_from="an eighth of the scatter 2 / sqrt(N) of one cosine, and five standard errors",
        claim="right after repair", correction=WEIGHTS,
    )  # fmt: skip


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
