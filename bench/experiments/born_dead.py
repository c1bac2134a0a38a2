r"""How often is a relu network dead before training, and is it still dead after it?

A relu network is born dead if at every input some layer has no active unit: it is constant, and no gradient
gets below that layer. Networks of equal layers start in four ways: He's normal weights without biases, the
same at Xavier's scale, He's with biases of the weights' variance, and randomized asymmetric. Many are only
drawn and tested on points of the cube [-sqrt 3, sqrt 3]^d, at all depths in one pass; some, of one depth, are
then trained to fit |x| and tested again.

Theory: a layer of N units is off at a given input with probability 2^-N, so a network of L hidden layers is
dead there with probability 1 - (1 - 2^-N)^L, exactly, whatever the scale and with or without biases. To be
dead everywhere is rarer: at most 1 - (1 - 2^-N)^(L-1) without biases, and for one input feature at least
1 - (1 - 4^-N)^(L-1). And a unit of layer 1 is off on n examples of mean m and deviation s with probability
E Phi(-t m/s)^n, t = sqrt(d) times a coordinate on the sphere; at m = 0 that is 2^-n.

Sources: Lu, Shin, Su & Karniadakis (2019), arXiv:1903.06733 (born dead networks, asymmetric initialization).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis.dying import born_dead_bound, born_dead_floor, dead_input, dead_unit
from signalprop.bench.born_dead_verdicts import verdicts
from signalprop.bench.drawings.born_dead import figures, share_by_depth
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.relu_starts import STARTS, Start, name_of
from signalprop.bench.training.optimizers import optimizer, require_learning_rates
from signalprop.bench.training.trainer import train
from signalprop.models.activations import ACTIVATIONS
from signalprop.models.classifier import Classifier, draw_classifier

RELU = ACTIVATIONS["relu"]
EDGE = 3**0.5  # of the input cube: entries of unit variance
FEATURES = (1, 10)
TEST_POINTS = 256
FEWEST_POINTS = 32  # so many are on one side of a plane through 0 with probability 2^-31: bounds need both


@dataclass(frozen=True)
class Settings:
    """Settings of ``born-dead``."""

    width: tuple[int, ...] = (3,)
    """Units N of a hidden layer."""
    start: tuple[str, ...] = tuple(STARTS)
    """How weights and biases are drawn."""
    depth: int = 50
    """Largest number of hidden layers of the networks that are only drawn."""
    networks: int = 25
    """Networks drawn beside every trained one."""
    points: int = 64
    """Inputs on which a network is tested."""
    ratio: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0)
    """Mean over standard deviation of the examples on which units of layer 1 are tested."""
    examples: tuple[int, ...] = (1, 2, 4, 8, 16, 64, 256, 1024)
    """Numbers n of those examples."""
    fit_depth: int = 9
    """Hidden layers of the trained networks; ten layers with the read-out."""
    learning_rate: float = 0.001
    """Learning rate of Adam."""
    batch_size: int = 64
    """Inputs per update."""
    updates: int = 100
    """Updates of the trained networks."""
    seeds: int = 24
    """Trained networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_count("width", self.width, 2)
        require_known("start", self.start, STARTS)
        require_scale("ratio", self.ratio)
        require_count("examples", self.examples)
        require_learning_rates((self.learning_rate,))
        for axis in ("depth", "fit_depth"):
            require_count(axis, (getattr(self, axis),), 2)
        for axis in ("networks", "batch_size", "updates", "seeds"):
            require_count(axis, (getattr(self, axis),))
        require_count("points", (self.points,), FEWEST_POINTS)


SIZES = {
    "quick": Settings(),
    "standard": Settings(width=(2, 3, 5, 10, 20), depth=100, networks=10, updates=500, seeds=200),
    "full": Settings(
        width=(2, 3, 5, 10, 20), depth=100, networks=20, updates=10_000, batch_size=128, seeds=1000
    ),
}


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
        y = RELU(start.draw(key, number, fan_in, (rows, width), dtype)(y))
        largest = jnp.max(y, -1, keepdims=True)
        first = jnp.where((first == 0) & (largest[:, 0] == 0), number, first)
        y = jnp.where(scale_free & (largest > 0), y / largest, y)
        return (jnp.pad(y, ((0, 0), (0, rows - width))), first), None

    begin = jnp.where(jnp.arange(rows) < features, x, 0), jnp.zeros(points, jnp.int32)
    return jax.lax.scan(step, begin, jnp.arange(1, static["depth"] + 1, dtype=jnp.int32))[0][1]


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
    drawn = jax.vmap(lambda number, n: start.draw(key, number, n, (width, width), dtype))(numbers, fan_in)
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


def theory(settings: Settings) -> xr.Dataset:
    """Death at one input, the bounds of death at all, and death of a unit of layer 1."""
    width, depth = np.array(settings.width)[:, None], np.arange(1, settings.depth + 1)
    units = jax.jit(
        jax.vmap(jax.vmap(lambda r, n: dead_unit(r, n, FEATURES[-1]), (None, 0)), (0, None))
    )(np.array(settings.ratio, float), np.array(settings.examples, float))  # fmt: skip
    by_depth = {
        "dead_at_input": dead_input,
        "dead_at_all": born_dead_bound,
        "dead_at_all_floor": born_dead_floor,
    }
    return xr.Dataset(
        {f"{k}_predicted": (("width", "depth"), np.asarray(f(width, depth))) for k, f in by_depth.items()}
        | {"unit_dead_predicted": (("ratio", "examples"), np.asarray(units))},
        coords={
            "width": list(settings.width), "depth": depth,
            "ratio": list(settings.ratio), "examples": list(settings.examples),
        },
    )  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """Share of dead networks by width, start, features and depth, at some depths, with the theory."""
    depths = [d for d in (2, 5, 10, 20, 50, 100) if d <= result.sizes["depth"]]
    columns = {
        "dead_at_input": share_by_depth(result, "dead_at_input"),
        "dead_at_input_predicted": result["dead_at_input_predicted"],
        "dead_at_all": share_by_depth(result, "dead_at_all"),
        "upper_bound": result["dead_at_all_predicted"],
    }
    tidy = xr.Dataset(columns).sel(depth=depths).drop_vars(Start._fields).to_dataframe().reset_index()
    fits = {
        "collapsed_before": result["collapsed_before"].mean("seed"),
        "collapsed_after": result["collapsed"].mean("seed"),
        "median_loss_after": result["loss"].median("seed"),
    }
    fitted = xr.Dataset(fits).drop_vars(Start._fields).to_dataframe().reset_index()
    both = tidy.merge(fitted, on=["width", "start"])
    return both.assign(start=[name_of(i) for i in both["start"]])


EXPERIMENT = Experiment(
    name="born-dead",
    question="How often is a relu network dead before training, and is it still dead after it?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "dead_at_input": Variable(("network", "features"), "first layer that is off at one input; 0: none"),
        "dead_at_all": Variable(("network", "features"), "depth at which every input is dead; 0: none"),
        "unit_dead": Variable(("ratio", "examples"), "share of units of layer 1 off on all examples"),
        "collapsed_before": Variable((), "1 if the network to be trained is constant"),
        "collapsed": Variable((), "1 if it is constant after training"),
        "loss": Variable((), "mean square error after training"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
