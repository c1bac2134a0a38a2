"""Moments of the spectrum at infinite and at finite width, and the laws of the gain and of the rank."""

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis import finitewidth, freeprob, meanfield
from signalprop.bench.experiments.jacobian_spectrum import Settings
from signalprop.bench.experiments.jacobian_spectrum.measure import critical_scales, grid
from signalprop.models.activations import chosen

EXACT: dict[tuple[str, str], Callable[[int], finitewidth.LogGain]] = {
    ("linear", "gaussian"): lambda n: finitewidth.log_gain_linear((n, n)),
    ("relu", "gaussian"): lambda n: finitewidth.log_gain((n, n)),
    ("relu", "orthogonal"): lambda n: finitewidth.log_gain_orthogonal(n, 1),
}


def theory(settings: Settings) -> xr.Dataset:
    """Predictions for every activation, weight family and scale, at the measured depths or at all layers."""
    labels, width = grid(settings).labels(), settings.width
    families = cast(tuple[freeprob.Weights, ...], settings.weights)
    critical, sigma_b = np.array(critical_scales(settings.activation, bool(settings.multiple))).T
    sigma_w = critical[:, None] * labels["multiple"][1] + labels["absolute"][1]
    log_chi, ratio = layer_moments(settings.activation, sigma_w, sigma_b, settings.depth[-1])
    at, scales = np.array(settings.depth) - 1, ("activation", "scale")
    log_mean = np.cumsum(log_chi, -1)
    ideal = [np.cumsum(ratio - 1 + (family == "gaussian"), -1)[..., at] for family in families]
    finite = [finitewidth.spectral_moments(ratio, width, f).kurtosis[..., at] - 1 for f in families]
    gains = [gain_laws(settings.activation, ratio, width, family) for family in families]
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


def layer_moments(
    names: tuple[str, ...], sigma_w: np.ndarray, sigma_b: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log of sigma_w^2 mu_1 and mu_2 / mu_1^2 of every layer, at its own length: (activation, scale, layer).

    Lengths outside 1e-24 to 1e24 are moved there, where slopes have reached their limits.
    """

    def moments(index: jax.Array, sigma_w: jax.Array, sigma_b: jax.Array) -> freeprob.Moments:
        phi = chosen(names, index)
        q = jnp.clip(meanfield.length_trajectory(phi, sigma_w, sigma_b, 1.0, depth), 1e-24, 1e24)
        return jax.vmap(lambda q: freeprob.moments(phi, sigma_w, q, 1, "orthogonal"))(q)

    over_scales = jax.vmap(moments, (None, 0, None))
    found = jax.jit(jax.vmap(over_scales))(jnp.arange(len(names)), jnp.asarray(sigma_w), jnp.asarray(sigma_b))
    return np.asarray(found.log_mean), 1 + np.maximum(found.relative_variance, 0)


def gain_laws(
    names: tuple[str, ...], ratio: np.ndarray, width: int, family: freeprob.Weights
) -> finitewidth.LogGains:
    """Law of log |J u|^2 beside its mean-field growth: exact for linear and relu, else to first order."""
    laws = finitewidth.log_gain_as_if_independent(ratio, width, family)
    for i, name in enumerate(names):
        if (name, family) in EXACT:
            layer, layers = EXACT[name, family](width), np.arange(1, ratio.shape[-1] + 1)
            laws.mean[i], laws.variance[i] = layer.mean * layers, layer.variance * layers
    return laws
