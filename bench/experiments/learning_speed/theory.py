"""How errors fall from layer to layer in plain networks, and how far weights move by their decay alone."""

import jax
import numpy as np
import xarray as xr

from signalprop.analysis import meanfield
from signalprop.analysis.finitewidth import log_gain_as_if_independent
from signalprop.bench.experiments.learning_speed import Settings
from signalprop.bench.experiments.learning_speed.learners import Learner, find_learner
from signalprop.bench.experiments.learning_speed.measure import grid
from signalprop.bench.experiments.learning_speed.networks import first_examples
from signalprop.models.activations import activation

TO_DECADES = 1 / float(np.log(10))


def theory(settings: Settings) -> xr.Dataset:
    """Decades by which errors fall towards the input in plain networks, layer by layer; and the decay."""
    x, _ = first_examples(settings.data, settings.examples)
    q_0, c_0 = np.mean(x**2), np.mean(x.mean(0) ** 2) / np.mean(x**2)
    lost = [_lost(find_learner(name)[0], settings, float(q_0), float(c_0)) for name in settings.network]
    mean, rms = np.swapaxes(np.array(lost), 0, 1)
    shrink = 1 - settings.learning_rate * settings.decay / settings.examples
    return xr.Dataset(
        {
            "mean_step_predicted": (("network", "layer"), mean),
            "rms_step_predicted": (("network", "layer"), rms),
            "moved_by_decay_predicted": 1 - shrink**settings.epochs,
            "moved_by_decay_by_epoch": ("epoch", 1 - shrink ** np.array(grid(settings).coords["epoch"])),
        },
        coords={"network": list(settings.network), "layer": range(1, settings.depth + 1)},
    )


def _lost(kind: Learner, settings: Settings, q_0: float, c_0: float) -> tuple[np.ndarray, np.ndarray]:
    """Decades from delta^(l+1) to delta^l, of the mean over examples and of one; NaN without a theory."""
    if not kind.plain:
        return (np.full(settings.depth, np.nan),) * 2
    phi, depth = activation(kind.activation), settings.depth

    def factors() -> tuple[jax.Array, jax.Array, jax.Array]:
        q = meanfield.length_trajectory(phi, kind.sigma_w, kind.sigma_b, q_0, depth)
        c = meanfield.correlation_trajectory(phi, kind.sigma_w, kind.sigma_b, q_0, c_0, depth)
        pair = jax.vmap(lambda c, q: meanfield.correlation_slope(phi, c, q, kind.sigma_w))(c, q)
        first = jax.vmap(lambda q: meanfield.derivative_moment(phi, q))(q)
        second = jax.vmap(lambda q: meanfield.derivative_moment(phi, q, 2))(q)
        return pair, first, second

    pair, mu_1, mu_2 = map(np.asarray, jax.jit(factors)())
    shift = np.diff(log_gain_as_if_independent(mu_2 / mu_1**2, settings.width).mean, prepend=0)
    chi = kind.sigma_w**2 * mu_1
    mean, rms = (-TO_DECADES / 2 * (np.log(factor) + shift) for factor in (pair, chi))
    return mean, rms
