"""Mean-field spectra of exponents, and what flossing costs in training steps."""

from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis.chaos import mean_field_q, mean_field_spectrum
from signalprop.bench.experiments.flossing import Settings
from signalprop.bench.experiments.flossing.measure import NOISE, grid, plan, starts
from signalprop.bench.training.flossing import STRETCH, cost, delayed_xor


def theory(settings: Settings) -> xr.Dataset:
    """Mean-field spectra at the start, zero for the flossed ones, and what a flossing step costs."""
    scalars, n, k = starts(settings), settings.width, settings.exponents
    place = jnp.arange(1, n + 1) / n - 0.5 / n
    spectra = []
    for gain, orthogonal in zip(scalars["gain"], scalars["orthogonal"], strict=True):
        q, weights = mean_field_q(jnp.tanh, gain, NOISE), "orthogonal" if orthogonal else "gaussian"
        one = jax.jit(jax.vmap(lambda x, g=gain, q=q, w=weights: mean_field_spectrum(jnp.tanh, x, g, q, w)))
        spectra.append(np.asarray(one(place)))
    one_plan = plan(asdict(settings), delayed_xor(settings.delay[0]), settings.delay[0])
    costs = [cost(settings.batch_size, STRETCH * delay, k) for delay in settings.delay]
    coords = {name: v for name, v in grid(settings).labels().items() if v[0] == name != "seed"}
    return xr.Dataset(
        {
            "exponents_predicted": (("start", "index"), np.array(spectra)),
            "cost": (("delay",), costs),
            "budget": (("schedule", "record"), [one_plan.places(s) for s in settings.schedule]),
            "charge": ((), settings.charge),
            "floss_count": ((), settings.floss_steps),
            "num": ((), k),
        },
        coords=coords,
    )
