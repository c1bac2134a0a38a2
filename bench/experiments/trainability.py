r"""How deep can a network be and still be trained?

Tanh networks of many depths and weight scales are trained by plain gradient descent, and the share of
training examples that they get right is looked at after given numbers of steps: figure 5 of Schoenholz et al.
Every network has the same learning rate and number of steps; nothing is chosen by the outcome of a network.
The trainable depth is where the accuracy falls through a threshold, interpolated between depths of the grid.

Theory: a layer multiplies the distance of two inputs, 1 - c, by about exp(-1 / xi_c), so that the network
forgets what its input was; figure 5 says that training reaches 6 xi_c. The same Jacobians multiply squared
gradients by chi_1 per layer, in either direction of differentiation. Both are measured in networks of the
largest depth before training, in float64.

The learning rate of 0.02 was picked among 0.007 to 0.2 in a pilot with one network per point, while looking
at depth / xi_c: 300 steps reach the largest depths with it; a smaller one is slower, 0.1 diverges at depth.
So the multiple is not free of choices. Two criteria were set beforehand: the median over both phases between
4.5 and 7.5, and a rank correlation with min(6 xi_c, largest depth) above 0.9. The ordered phase was judged
apart after the first was known to fail.

Sources: Schoenholz, Gilmer, Ganguli & Sohl-Dickstein (2017), arXiv:1611.01232, figures 3 to 5; Poole et al.
(2016), arXiv:1606.05340 (chaos). The paper has width 300, learning rate 0.001 and up to 14,000 steps on
MNIST; it names no threshold.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import xarray as xr

from signalprop.analysis import growth, meanfield
from signalprop.bench.directions import SETTLED, TOP, WAYS, both, rate
from signalprop.bench.drawings.trainability import figures, trainable_depth
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure.data import INPUTS
from signalprop.bench.trainability_verdicts import verdicts
from signalprop.bench.training.classification import (
    PROBLEMS,
    Problem,
    accuracy,
    batches,
    cross_entropy,
    problem,
)
from signalprop.bench.training.diagnostics import kernel_norms
from signalprop.bench.training.optimizers import require_learning_rates
from signalprop.bench.training.trainer import train
from signalprop.models.activations import ACTIVATIONS, activation
from signalprop.models.classifier import draw_classifier


@dataclass(frozen=True)
class Settings:
    """Settings of ``trainability``."""

    data: tuple[str, ...] = ("gm10",)
    """Training examples, by their name in ``bench.classification``."""
    depth: tuple[int, ...] = (10, 30)
    """Numbers of hidden layers, increasing."""
    sigma_w_squared: tuple[float, ...] = (1.0, 1.75, 2.5, 4.0)
    """Variance of the weights times fan-in."""
    sigma_b: float = 0.05**0.5
    """Standard deviation of the biases."""
    activation: str = "tanh"
    """Activation."""
    width: int = 32
    """Units of every hidden layer."""
    learning_rate: float = 0.02
    """Of plain gradient descent, for every network."""
    batch_size: int = 32
    """Examples per step."""
    steps: int = 120
    """Steps of every network."""
    snapshots: int = 2
    """Accuracy is looked at so often, at equal distances; divides the steps."""
    watched: int = 256
    """Training examples whose accuracy is looked at."""
    threshold: float = 0.5
    """Accuracy above which a network counts as trained."""
    networks: int = 12
    """Untrained networks of the largest depth whose gradient is followed, for every weight scale."""
    seeds: int = 1
    """Trained networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("data", self.data, (*PROBLEMS, *INPUTS[1:]))
        require_known("activation", (self.activation,), ACTIVATIONS)
        require_count("depth", self.depth)
        if list(self.depth) != sorted(set(self.depth)):
            raise InputError(f"depth: got {' '.join(map(str, self.depth))}; write them in increasing order")
        for axis in ("width", "batch_size", "steps", "snapshots", "watched"):
            require_count(axis, (getattr(self, axis),))
        require_count("networks", (self.networks,), 2)
        require_scale("sigma_w_squared", self.sigma_w_squared)
        if min(self.sigma_w_squared) == 0:
            raise InputError("sigma_w_squared: got 0; write variances above 0")
        require_scale("sigma_b", (self.sigma_b,))
        require_learning_rates((self.learning_rate,))
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold: got {self.threshold}; write an accuracy between 0 and 1")
        if self.steps % self.snapshots:
            raise InputError(f"snapshots: got {self.snapshots}; write a divisor of the {self.steps} steps")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        data=("gm10", "digits"),
        depth=(4, 8, 12, 16, 20, 24, 28, 32, 38, 44, 50, 58, 68, 80),
        sigma_w_squared=tuple(np.linspace(1, 4, 25).tolist()),
        width=64,
        steps=300,
        snapshots=3,
        watched=512,
        networks=80,
    ),
    "full": Settings(
        data=("gm10", "digits", "mnist", "cifar10"),
        depth=tuple(range(10, 301, 10)),
        sigma_w_squared=tuple(np.linspace(1, 4, 31).tolist()),
        width=300,
        learning_rate=0.001,
        batch_size=128,
        steps=14_000,
        snapshots=70,
        watched=2048,
        networks=24,
        seeds=3,
    ),
}


def grid(settings: Settings) -> Grid:
    """One compilation per data set and depth; weight scales and seeds train together."""
    constants = (
        "activation", "width", "sigma_b", "learning_rate", "batch_size", "steps", "snapshots", "watched",
        "networks", "dtype",
    )  # fmt: skip
    stride = settings.steps // settings.snapshots
    return Grid(
        static={"data": settings.data, "depth": settings.depth},
        traced={"sigma_w_squared": settings.sigma_w_squared},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants}
        | {"deepest": max(settings.depth), "first": settings.data[0]},
        coords={
            "step": [stride * (i + 1) for i in range(settings.snapshots)],
            "layer": range(1, max(settings.depth) + 1),
            "network": range(settings.networks),
            "way": WAYS,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network and look at it; follow untrained ones where it is the deepest."""
    data, dtype = problem(static["data"]), static["dtype"]
    net_key, train_key, walk_key = jax.random.split(key, 3)
    sigma_w = jnp.sqrt(point["sigma_w_squared"])
    model = draw_classifier(
        net_key, data.features, static["width"], static["depth"], data.classes,
        activation(static["activation"]), sigma_w=sigma_w, sigma_b=static["sigma_b"], dtype=dtype,
    )  # fmt: skip
    count = min(static["watched"], len(data.x))
    x, label = jnp.asarray(data.x[:count], dtype), jnp.asarray(data.label[:count])
    trained = train(
        train_key, model, cross_entropy, batches(data, static["batch_size"], dtype),
        optax.sgd(static["learning_rate"]), static["steps"], static["snapshots"],
        lambda seen, *_: {"watched": accuracy(seen, x, label)},
    )  # fmt: skip
    last = jnp.where(trained.diverged_at > 0, jnp.nan, accuracy(trained.model, x, label))
    step = kernel_norms(jax.tree.map(jnp.subtract, trained.model, model)) - kernel_norms(model)
    return {
        "accuracy": jnp.append(trained.record["watched"][1:], last),
        "loss": trained.record["loss"],
        "log_moved": step[0],
        "diverged_at": trained.diverged_at.astype(dtype),
        **_untrained(walk_key, data, sigma_w, static),
    }


def _untrained(key: jax.Array, data: Problem, sigma_w: jax.Array, static: Static) -> dict[str, jax.Array]:
    """Both directions of untrained networks of the largest depth; empty elsewhere."""
    depth, count = static["deepest"], static["networks"]
    if (static["data"], static["depth"]) != (static["first"], depth):
        shapes = {"log_distance": depth, "log_delta": depth, "forward_rate": count, "gradient_rate": count}
        empty = {name: jnp.full(size, jnp.nan, jnp.float64) for name, size in shapes.items()}
        return empty | {"product": jnp.full((len(WAYS), count), jnp.nan, jnp.float64)}
    x = jnp.asarray(data.x[:2])
    x = x * jnp.sqrt(x.shape[1] / jnp.sum(x**2, -1, keepdims=True))
    walk = partial(
        both, x=x, phi=activation(static["activation"]), width=static["width"], depth=depth,
        sigma_w=sigma_w.astype(jnp.float64), sigma_b=static["sigma_b"],
    )  # fmt: skip
    found = jax.lax.map(walk, jax.random.split(key, count))
    first, last = settled(depth)
    return {
        "log_distance": found.log_distance.mean(0),
        "log_delta": found.log_delta.mean(0),
        "forward_rate": jax.vmap(lambda log: rate(log, first, last))(found.log_distance),
        "gradient_rate": jax.vmap(lambda log: rate(-2 * log, first, last))(found.log_delta),
        "product": found.product.T,
    }


def settled(depth: int) -> tuple[int, int]:
    """Layers between which rates are taken: behind the transient at the input, below the top."""
    return min(SETTLED, depth // 3) + 1, max(depth - TOP, depth // 3 + 2)


def theory(settings: Settings) -> xr.Dataset:
    """Fixed point, depth scales and the 1/N term of the gradient's rate at every weight scale."""
    phi = activation(settings.activation)

    @jax.jit
    def predicted(sigma_w_squared: jax.Array) -> dict[str, jax.Array]:
        def one(squared: jax.Array) -> dict[str, jax.Array]:
            sigma_w = jnp.sqrt(squared)
            point = meanfield.fixed_point(phi, sigma_w, settings.sigma_b)
            layer = growth.layer_growth(phi, point.q_star, sigma_w)
            return {
                "xi_c": point.xi_c, "xi_grad": point.xi_grad, "c_star": point.c_star,
                "log_chi_1": layer.log_chi_1, "shift": layer.shift / settings.width,
            }  # fmt: skip

        found: dict[str, jax.Array] = jax.lax.map(one, sigma_w_squared)
        return found

    found = predicted(jnp.asarray(settings.sigma_w_squared))
    axis = ("sigma_w_squared",)
    return xr.Dataset(
        {name: (axis, np.asarray(values)) for name, values in found.items()},
        coords={"sigma_w_squared": list(settings.sigma_w_squared)},
    )


def table(result: xr.Dataset) -> pd.DataFrame:
    """Accuracy after the last step by data, depth and scale; depth scales and trainable depth beside it."""
    columns = {
        "accuracy": result["accuracy"].isel(step=-1).mean("seed"),
        "log10_first_layer_moved": result["log_moved"].mean("seed") / np.log(10),
        "trainable_depth": trainable_depth(result),
        "xi_c": result["xi_c"],
        "log_chi_1": result["log_chi_1"],
    }
    shown = ["data", "depth", "sigma_w_squared", *columns]
    return xr.Dataset(columns).drop_vars("step").to_dataframe().reset_index()[shown]


EXPERIMENT = Experiment(
    name="trainability",
    question="How deep can a network be and still be trained?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "accuracy": Variable(("step",), "share of watched training examples that are right after the step"),
        "loss": Variable(("step",), "mean training loss over the steps up to this one", "nats"),
        "log_moved": Variable((), "log of the first kernel's change over its size", "nats"),
        "diverged_at": Variable((), "step at which the run left float range; 0: never"),
        "log_distance": Variable(("layer",), "log of 1 - c of two inputs, untrained", "nats"),
        "log_delta": Variable(("layer",), "log of |delta^l| / |delta^L|, untrained", "nats"),
        "forward_rate": Variable(("network",), "change of log (1 - c) per layer", "nats"),
        "gradient_rate": Variable(("network",), "change of log |delta|^2 per layer down", "nats"),
        "product": Variable(("way", "network"), "v^T J u / |J u| in three ways"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
