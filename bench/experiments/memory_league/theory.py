"""The gradient over a sequence before training by mean field, and operations counted by XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis.chaos import (
    Weights,
    finite_width_correction,
    mean_field_exponent,
    mean_field_q,
    slope_variety,
)
from signalprop.bench.experiments.memory_league import Settings
from signalprop.bench.experiments.memory_league.competitors import competitor
from signalprop.bench.experiments.memory_league.measure import LN10
from signalprop.bench.measure.operations import operations
from signalprop.bench.training import recurrent
from signalprop.bench.training.tasks import Batch, find_task
from signalprop.models.activations import ACTIVATIONS

MEAN_FIELD = {"tanh": "tanh", "tanh_orthogonal": "tanh", "relu": "relu"}  # activation of a cell


def theory(settings: Settings) -> xr.Dataset:
    """The gradient over a sequence before training, operations of a step, the loss at chance."""
    task, length = find_task(settings.task)
    names = list(settings.remedy)
    counts = [step_operations(name, settings) for name in names]
    decades = [predicted_decades(name, length, settings.units) for name in names]
    return xr.Dataset(
        {
            "decades_predicted": (("remedy",), decades),
            "operations": (("remedy",), counts),
            "cost": (("remedy",), np.array(counts) / step_operations("none", settings)),
            "test_loss_predicted": ((), task.chance(length)),
            "length": ((), length),
            "updates": ((), settings.updates),
            "tuning_seeds": ((), settings.tuning_seeds),
            "num_rates": ((), len(settings.multiple)),
            "units": ((), settings.units),
        },
        coords={"remedy": names},
    )


def predicted_decades(remedy: str, length: int, units: int) -> float:
    """T times the mean-field exponent of untied weights at finite width, in decades; NaN without such theory.

    The inputs, U[0, 1] and two marks, with weights of variance 1/2 are noise of this mean square.
    """
    entry = competitor(remedy)
    phi = MEAN_FIELD.get(entry.network.cell)
    if phi is None or entry.flossed:
        return float("nan")
    weights: Weights = "orthogonal" if "orthogonal" in entry.network.cell else "gaussian"
    gain = entry.network.gain
    if phi == "relu":  # its length grows without end, its slopes are 0 and 1
        rate, variety = jnp.log(gain**2 / 2) / 2, jnp.ones(())
    else:
        noise = jnp.sqrt((1 / 3 + 2 / length) / 2)
        rate = mean_field_exponent(ACTIVATIONS[phi], gain, noise)
        variety = slope_variety(ACTIVATIONS[phi], mean_field_q(ACTIVATIONS[phi], gain, noise))
    return float(length * (rate + finite_width_correction(variety, units, weights))) / LN10


def step_operations(remedy: str, settings: Settings) -> float:
    """Arithmetic operations of one step of a sequence, forward and backward, as XLA counts them."""
    task, _ = find_task(settings.task)
    entry = competitor(remedy)
    loss = recurrent.loss(entry.network, task)
    model = jax.eval_shape(
        lambda key: recurrent.draw(entry.network, key, task, settings.units, settings.dtype),
        jax.random.key(0),
    )
    shapes = (1, settings.batch_size, task.features), (settings.batch_size,)
    batch = jax.eval_shape(lambda: Batch(*(jnp.zeros(shape, settings.dtype) for shape in shapes)))
    return operations(jax.grad(lambda model, batch: loss(model, batch)[0]), model, batch)[0]
