"""The gradient, the reach and the cost of every remedy, before anything is trained."""

from functools import cache, partial
from math import inf, nan
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis import growth
from signalprop.analysis.meanfield import (
    correlation_fixed_point,
    correlation_slope,
    correlation_trajectory,
    depth_scale,
    length_map,
    length_trajectory,
)
from signalprop.analysis.residual import one_layer
from signalprop.bench.engine.grid import label_array
from signalprop.bench.experiments.remedy_league import Settings
from signalprop.bench.experiments.remedy_league.recipes import ARCHITECTURES, Recipe, groups, place, recipe
from signalprop.bench.measure.operations import operations
from signalprop.bench.training.optimizers import optimizer
from signalprop.models.activations import Activation, activation
from signalprop.models.classifier import draw_classifier
from signalprop.models.residual import draw_block

LN10 = float(np.log(10))
SIGNAL_REACH = 6.0  # depth scales xi_c over which inputs can be told apart, arXiv 1611.01232
GRADIENT_REACH = 16.0  # depth scales of |gradient|^2 that batch norm bears, arXiv 1902.08129
CRITICAL = 1e-9  # chi_1 - 1 that counts as none
TOLERATED = 2.0  # decades between the gradients of the first and the last layer


def theory(settings: Settings) -> xr.Dataset:
    """Gradient, reach and cost of every remedy, and where in the grid its network is trained."""
    found = groups(settings.network, settings.remedy)
    shape = settings.depth, settings.width, settings.batch_size
    rows = []
    for network in settings.network:
        without = step_operations(recipe(network, "none"), settings.width, settings.batch_size)
        for remedy in settings.remedy:
            one = recipe(network, remedy)
            expected = prediction(one, *shape)
            cost = step_operations(one, settings.width, settings.batch_size) / without
            trainable = expected.trainable(settings.depth)
            rows.append((*place(found, one), *expected, trainable, cost, one.unit))
    sizes = len(settings.network), len(settings.remedy)
    columns = [np.reshape(column, sizes) for column in zip(*rows, strict=True)]
    names = (
        "structure_of", "member_of", "decades_predicted", "reach", "finite_width", "solved_predicted", "cost",
        "unit",
    )  # fmt: skip
    named = {n: (("network", "remedy"), c.astype(float)) for n, c in zip(names, columns, strict=True)}
    axes = {"network": label_array(settings.network), "remedy": label_array(settings.remedy)}
    protocol = {"threshold": settings.threshold, "tuning_seeds": settings.tuning_seeds}
    protocol |= {"depth": settings.depth, "width": settings.width}
    return xr.Dataset({**named, **{k: ((), float(v)) for k, v in protocol.items()}}, coords=axes)


class Prediction(NamedTuple):
    """What is expected of a network that is not trained yet.

    Attributes:
        decades: Mean over networks of log10 |dE/dy^1| over |dE/dy^L|.
        reach: Largest trainable depth by the depth scale of the signal (of the gradient with batch norm);
            inf where the signal has none.
        finite_width: The part of ``decades`` that comes from a finite width; NaN where it is not known.
    """

    decades: float
    reach: float
    finite_width: float = nan

    def trainable(self, depth: int) -> bool:
        """Whether the depth is within reach and the gradient within ``TOLERATED`` decades of uniform."""
        return depth <= self.reach and abs(self.decades) <= TOLERATED


@cache
def prediction(recipe: Recipe, depth: int, width: int, batch_size: int) -> Prediction:
    r"""Predict gradient and reach of a recipe with inputs of mean square 1.

    Plain layers: the mean-field gradient with its correction at finite width,

    .. math:: \frac{1}{2 \ln 10} \sum_{l=2}^L [\log \chi_1(q^l) - s_l / N], \qquad L \le 6 \xi_c,

    s of `growth.layer_growth`, less 1 for orthogonal kernels, whose rows have norm 1. Layer norm and LSUV:
    the same at length 1 with the sigma_w that keeps it. Batch norm: `growth.batch_norm_factor` and 16 of its
    depth scales. Residual: `residual.one_layer`; with batch norm `growth.pre_batch_norm`, whose blocks gain
    as much. ReZero and Fixup begin as the identity: 0 decades, exactly.
    """
    shape, phi = ARCHITECTURES[recipe.architecture], activation(recipe.activation)
    if shape.starts_at_zero:
        return Prediction(0.0, inf)
    if shape.skip:
        return Prediction(_skip(recipe, phi, depth, width, batch_size), inf)
    if shape.norm == "batch":
        log_factor = float(np.log(growth.batch_norm_factor(phi, batch_size)))
        return Prediction((depth - 1) * log_factor / 2 / LN10, GRADIENT_REACH / abs(log_factor))
    if shape.norm == "layer" or recipe.scheme == "lsuv":
        own = _unit_scale(phi)
        return _plain(phi, depth, width, own, 0.0, own**-2, recipe.scheme == "lsuv")
    orthogonal = recipe.scheme == "orthogonal"
    return _plain(phi, depth, width, recipe.sigma_w, recipe.sigma_b, 1.0, orthogonal)


@cache
def separation(recipe: Recipe, depth: int) -> float:
    """Predict 1 - c^L: what is left in the last layer of the difference of two independent inputs.

    Plain layers, layer norm and LSUV by the correlation map; 1 where the layers begin as the identity; NaN
    for other skip connections and batch norm, which this map does not describe. Where chi_1 = 1 it falls as a
    power of the depth, which no depth scale shows.
    """
    shape, phi = ARCHITECTURES[recipe.architecture], activation(recipe.activation)
    if shape.starts_at_zero:
        return 1.0
    if shape.skip or shape.norm == "batch":
        return nan
    if shape.norm == "layer" or recipe.scheme == "lsuv":
        own = _unit_scale(phi)
        return float(_separation(phi, depth, own, 0.0, own**-2))
    return float(_separation(phi, depth, recipe.sigma_w, recipe.sigma_b, 1.0))


@partial(jax.jit, static_argnums=(0, 1))
def _separation(phi: Activation, depth: int, sigma_w: Any, sigma_b: Any, q_0: Any) -> jax.Array:
    return 1 - correlation_trajectory(phi, sigma_w, sigma_b, q_0, 0.0, depth)[-1]


def _unit_scale(phi: Activation) -> float:
    """The sigma_w that keeps length 1."""
    return float(1 / np.sqrt(length_map(phi, 1.0, 1.0, 0.0)))


def _plain(
    phi: Activation, depth: int, width: int, sigma_w: float, sigma_b: float, q_0: float, orthogonal: bool
) -> Prediction:
    """Decades and reach of plain layers, by the depth scale at the length of the last of them."""
    less = float(orthogonal)
    decades, shift, chi_1, q = _gradient(phi, depth, width, sigma_w, sigma_b, q_0, less)
    xi = _chaotic_scale(phi, q, sigma_w) if chi_1 > 1 + CRITICAL else depth_scale(jnp.minimum(chi_1, 1))
    return Prediction(float(decades), SIGNAL_REACH * float(xi), abs(float(shift)))


@partial(jax.jit, static_argnums=(0, 1))
def _gradient(
    phi: Activation, depth: int, width: Any, sigma_w: Any, sigma_b: Any, q_0: Any, less: Any
) -> tuple[jax.Array, ...]:
    """Decades of a plain network, those of them due to its width, and chi_1 and length of its last layer."""
    lengths = length_trajectory(phi, sigma_w, sigma_b, q_0, depth)
    found = jax.vmap(lambda q: growth.layer_growth(phi, q, sigma_w))(lengths[1:])
    shift = jnp.sum(less - found.shift) / width / (2 * LN10)
    return jnp.sum(found.log_chi_1) / (2 * LN10) + shift, shift, jnp.exp(found.log_chi_1[-1]), lengths[-1]


@partial(jax.jit, static_argnums=0)
def _chaotic_scale(phi: Activation, q: Any, sigma_w: Any) -> jax.Array:
    """Depth scale xi_c of the correlation map where it does not lead to 1."""
    c_star, _ = correlation_fixed_point(phi, q, sigma_w)
    return depth_scale(correlation_slope(phi, c_star, q, sigma_w))


def _skip(recipe: Recipe, phi: Activation, depth: int, width: int, batch_size: int) -> float:
    """Decades of blocks ``y + alpha phi(norm(W y))`` above a plain first layer."""
    if ARCHITECTURES[recipe.architecture].norm == "batch":
        spread = growth.batch_gains(phi, batch_size).spread
        found = growth.pre_batch_norm(phi, depth - 1, 1.0, batch_size, spread)
    else:
        alpha = depth**-recipe.branch_power
        scaled = Activation("scaled", lambda z: alpha * phi(z), phi.kinks, np.nan)
        below = length_map(phi, recipe.sigma_w**2, 1.0, 0.0)
        found = one_layer(scaled, depth - 1, recipe.sigma_w, below, width)
    return float(found.log_gradient[0]) / (2 * LN10)


@cache
def step_operations(recipe: Recipe, width: int, batch_size: int) -> float:
    """Floating-point operations of one training step of one hidden layer, as XLA counts them.

    Forward, backward and the optimizer's update, without the read-out and the norm of the whole gradient; of
    a block of two layers the half.
    """
    shape, phi = ARCHITECTURES[recipe.architecture], activation(recipe.activation)
    name = "sgd" if recipe.optimizer == "heavy_ball" and not recipe.momentum else recipe.optimizer
    method = optimizer(name, 0.1)

    def draw(key: jax.Array) -> Any:
        if shape.two_layers:
            return draw_block(key, 1, width, phi, 1, "fixup")
        model = draw_classifier(
            key, width, width, 2, 1, phi, norm=shape.norm, skip=shape.skip, train_scale=shape.starts_at_zero
        )
        return jax.tree.map(lambda leaf: leaf[-1], model.runs[-1])

    def step(block: Any, memory: Any, y: jax.Array, top: jax.Array) -> Any:
        _, pull_back = jax.vjp(lambda block, y: block(y), block, y)
        gradients, below = pull_back(top)
        return method.update(gradients, memory, block), below

    block = jax.eval_shape(draw, jax.random.key(0))
    y = jax.ShapeDtypeStruct((batch_size, width), jnp.float32)
    counted = operations(step, block, jax.eval_shape(method.init, block), y, y)
    return sum(counted) / 2 if shape.two_layers else sum(counted)
