"""Growth per layer under every norm, shares of saturated units, and where dropout masks settle."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy import special, stats

from signalprop.analysis import growth, meanfield
from signalprop.bench.experiments.normalization import EACH, Settings
from signalprop.bench.experiments.normalization.measure import SATURATED, Case, cases, grid, own_scale
from signalprop.models.activations import activation, chosen

SETTLED = {"batch": 8, "layer": 1, "rms": 1}  # layers above the input from which on a norm has its own growth


def theory(settings: Settings) -> xr.Dataset:
    """Growth per layer with the part of it that a finite width may take off, saturation, and cosines.

    The growth under a norm is NaN where the layers that are skipped do not cover its transient, `SETTLED`.
    """
    kinds, names = cases(settings.batch_size, settings.keep), settings.activation
    scales = jnp.array([own_scale(name) for name in names])
    laws = jax.jit(lambda: jax.lax.map(lambda at: _laws(settings, *at), (jnp.arange(len(names)), scales)))()
    rate, slack, q = (np.array(part).T for part in laws)
    for i, kind in enumerate(kinds):
        if kind.name.startswith("batch") and (size := int(kind.name.split()[1])) < growth.HEAVY_BATCH:
            typical = [growth.batch_norm_typical_factor(activation(n), size, settings.width) for n in names]
            rate[i] = np.log(typical)  # few networks come near a mean of infinite variance
    for i, kind in enumerate(kinds):
        if settings.skipped < SETTLED.get(kind.name.split()[0], 0):
            rate[i] = np.nan
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
            return jnp.log(growth.batch_norm_factor(phi, int(kind.name.split()[1]))), normalized, jnp.ones(())
        if kind.name in ("layer", "rms"):
            return jnp.log(growth.layer_norm_factor(phi)), normalized, jnp.ones(())
        return drifting(kind)

    rates, slacks, lengths = zip(*map(law, cases(settings.batch_size, settings.keep)), strict=True)
    return jnp.stack(rates), jnp.stack(slacks), jnp.stack(lengths)


def relu_cosine(keep: np.ndarray) -> np.ndarray:
    """Cosine at which two masks of one input settle in a relu network, for each probability to keep."""
    relu = activation("relu")
    settled = jax.vmap(lambda k: growth.dropout(relu, 1.0, k, jnp.sqrt(2 * k)).c_star)
    return np.array(jax.jit(settled)(keep))


def share_saturated(name: str, kind: Case, q: float) -> float:
    """Share of saturated units: of Gaussian z of length q, or of points of a normalized batch."""
    least = SATURATED[name][1]
    if not kind.name.startswith("batch"):
        return float(special.erfc(least / np.sqrt(2 * q)))
    free = int(kind.name.split()[1]) - 1
    return float(stats.beta.sf(min(least**2 / free, 1.0), 0.5, (free - 1) / 2))
