"""Death of many networks that are only drawn, of units of layer 1, and of one network that is trained."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.born_dead import STARTS, Settings, Start
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import train
from signalprop.models.activations import ACTIVATIONS
from signalprop.models.asymmetric import make_asymmetric
from signalprop.models.classifier import Classifier, draw_classifier
from signalprop.models.mlp import Layer, draw_layer

RELU = ACTIVATIONS["relu"]
EDGE = 3**0.5  # of the input cube: entries of unit variance
FEATURES = (1, 10)
TEST_POINTS = 256


def grid(settings: Settings) -> Grid:
    """One compilation per width; the ways to start share their draws."""
    starts = {
        "start": [list(STARTS).index(name) for name in settings.start],
        **{field: [getattr(STARTS[name], field) for name in settings.start] for field in Start._fields},
    }
    constants = (
        "depth", "networks", "points", "ratio", "examples", "fit_depth", "learning_rate", "batch_size",
        "updates", "dtype",
    )  # fmt: skip
    return Grid(
        static={"width": settings.width},
        traced={"start": starts},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "network": range(settings.networks),
            "features": FEATURES,
            "ratio": settings.ratio,
            "examples": settings.examples,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Draw many networks, and train one."""
    start, dtype = Start(*(point[field] for field in Start._fields)), static["dtype"]
    born_key, unit_key, fit_key = jax.random.split(key, 3)
    keys = jax.random.split(born_key, static["networks"])
    features = jnp.array(FEATURES, jnp.int32)
    off = jax.vmap(lambda k: jax.vmap(lambda d: off_at(k, start, d, static))(features))(keys)
    before, after, loss = fit(fit_key, start, static)
    return {
        "dead_at_input": off[..., 0].astype(dtype),
        "dead_at_all": jnp.where(jnp.all(off > 0, -1), jnp.max(off, -1), 0).astype(dtype),
        "unit_dead": unit_deaths(unit_key, static),
        "collapsed_before": before.astype(dtype),
        "collapsed": after.astype(dtype),
        "loss": loss,
    }


def off_at(key: jax.Array, start: Start, features: jax.Array, static: Static) -> jax.Array:
    """The first layer without an active unit at each of the points, 0 if there is none; (points,).

    Inputs and activities are filled up with zeros to one length, so that all layers share one scan. Without
    biases an activity is rescaled to a largest entry of 1.
    """
    width, points, dtype = static["width"], static["points"], static["dtype"]
    rows = max(width, *FEATURES)
    scale_free = (start.bias == 0) & (start.asymmetric == 0)
    x = jax.random.uniform(jax.random.fold_in(key, 0), (points, rows), dtype, minval=-EDGE, maxval=EDGE)

    def step(state: tuple[jax.Array, jax.Array], number: jax.Array) -> tuple[Any, None]:
        y, first = state
        fan_in = jnp.where(number == 1, features, width)
        y = RELU(draw_start(key, start, number, fan_in, (rows, width), dtype)(y))
        largest = jnp.max(y, -1, keepdims=True)
        first = jnp.where((first == 0) & (largest[:, 0] == 0), number, first)
        y = jnp.where(scale_free & (largest > 0), y / largest, y)
        return (jnp.pad(y, ((0, 0), (0, rows - width))), first), None

    begin = jnp.where(jnp.arange(rows) < features, x, 0), jnp.zeros(points, jnp.int32)
    return jax.lax.scan(step, begin, jnp.arange(1, static["depth"] + 1, dtype=jnp.int32))[0][1]


def draw_start(
    key: jax.Array, start: Start, number: jax.Array, fan_in: jax.Array, shape: tuple[int, int], dtype: str
) -> Layer:
    """Draw one layer whose inputs are 0 beyond the first ``fan_in``, a number that may be traced."""
    rows, columns = shape
    sigma_w = start.sigma_w * jnp.sqrt(rows / fan_in)
    sigma_b = start.bias * start.sigma_w / jnp.sqrt(fan_in)
    usual = draw_layer(key, number, rows, columns, sigma_w=sigma_w, sigma_b=sigma_b, dtype=dtype)
    skew = make_asymmetric(jax.random.fold_in(key, number), usual, fan_in)
    both: Layer = jax.tree.map(lambda a, b: jnp.where(start.asymmetric > 0, b, a), usual, skew)
    return both


def unit_deaths(key: jax.Array, static: Static) -> jax.Array:
    """Share of N units of layer 1 that are off on the first n examples, (ratio, examples)."""
    weight_key, example_key = jax.random.split(key)
    shape, dtype = (FEATURES[-1], static["width"]), static["dtype"]
    weights = jax.random.normal(weight_key, shape, dtype)
    centred = jax.random.normal(example_key, (max(static["examples"]), shape[0]), dtype) @ weights
    largest = jax.lax.cummax(centred)[jnp.array(static["examples"]) - 1]
    mean = jnp.asarray(static["ratio"], dtype)[:, None, None] * weights.sum(0)
    return jnp.mean(mean + largest <= 0, -1, dtype)


def fit(key: jax.Array, start: Start, static: Static) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Fit |x| by one network: whether it is constant before and after, and the test loss."""
    dtype = static["dtype"]
    draw_key, train_key = jax.random.split(key)
    model = draw_network(draw_key, start, static)

    def draw_batch(key: jax.Array) -> jax.Array:
        x = jax.random.uniform(key, (static["batch_size"], 1), dtype, minval=-EDGE, maxval=EDGE)
        return filled(x, static["width"])

    test = filled(jnp.linspace(-EDGE, EDGE, TEST_POINTS, dtype=dtype)[:, None], static["width"])
    trained = train(
        train_key, model, absolute_error, draw_batch, optimizer("adam", static["learning_rate"]),
        static["updates"], 1,
    )  # fmt: skip
    return collapsed(model, test), collapsed(trained.model, test), absolute_error(trained.model, test)


def draw_network(key: jax.Array, start: Start, static: Static) -> Classifier:
    """A network of one input, filled up with zeros, and one output, that starts as asked for."""
    width, depth, dtype = static["width"], static["fit_depth"], static["dtype"]
    model = draw_classifier(key, width, width, depth, 1, RELU, dtype=dtype)
    numbers = jnp.arange(1, depth + 1, dtype=jnp.int32)
    fan_in = jnp.where(numbers == 1, 1, width)
    draw = partial(draw_start, key, start, shape=(width, width), dtype=dtype)
    drawn = jax.vmap(draw)(numbers, fan_in)
    layer = model.runs[0].layer
    layer.kernel[...], layer.bias[...] = drawn.kernel[...], drawn.bias[...]
    return model


def filled(x: jax.Array, width: int) -> jax.Array:
    """One feature and zeros."""
    return jnp.pad(x, ((0, 0), (0, width - 1)))


def absolute_error(model: Classifier, x: jax.Array) -> jax.Array:
    """Mean square error of the fit of |x|."""
    return jnp.mean((model(x) - jnp.abs(x[:, :1])) ** 2)


def collapsed(model: Classifier, x: jax.Array) -> jax.Array:
    """Whether at every one of these inputs some layer has no active unit: the network is constant."""
    off = jnp.all(model.trace(x)[1] <= 0, -1)
    return jnp.all(jnp.any(off, 0))
