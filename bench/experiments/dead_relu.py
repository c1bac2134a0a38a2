r"""When do units die in training, and do they come back?

A unit is dead if its slope phi'(z) is exactly 0 on every training example. Classifiers of a few hidden layers
are trained on an uncentred, pixel-like problem and on the same one centred, by plain gradient descent and the
usual optimizers, at learning rates up to those where nothing is learned; beside relu, leaky relu, ELU and
batch norm. Every network gets the same number of learning rates, the same multiples of a largest one
(``bench.rectifiers``: found in a pilot with two seeds, save for three networks that take that of plain
descent), and the same seeds; no rate is chosen afterwards.

Measured on the whole training set, at a stride: the share of dead units of every layer; deaths and revivals
between two looks; the largest gradient of the weights of a dead unit; at the end the accuracy, or the step at
which training diverged. And before training the dead units by initial bias.

Theory: the weights of a dead unit get the gradient 0, exactly. In layer 1, whose inputs do not move, plain
gradient descent leaves it dead for ever; in the layers above other weights move its inputs, and it may come
back; momentum may carry it out of the dead zone anywhere. Leaky relu has no zero slope, batch norm at shift 0
leaves every unit active on some example. No theory gives the share of deaths by learning rate.

Sources: Karpathy, "Yes you should understand backprop" (2016); CS231n, "Commonly used activation functions":
"as much as 40% of your network can be dead if the learning rate is set too high"; Ioffe & Szegedy (2015),
arXiv:1502.03167.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis.activity import dead
from signalprop.bench.dead_relu_verdicts import verdicts
from signalprop.bench.drawings.dead_relu import figures, rates
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static, require_count, require_finite
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.rectifiers import RECTIFIERS, Rectifier, require_rectifiers
from signalprop.bench.training.classification import accuracy, batches, cross_entropy, problem
from signalprop.bench.training.optimizers import optimizer, require_learning_rates
from signalprop.bench.training.trainer import train
from signalprop.models.activations import activation, derivative
from signalprop.models.classifier import Classifier, draw_classifier

HE = 2**0.5


@dataclass(frozen=True)
class Settings:
    """Settings of ``dead-relu``."""

    network: tuple[str, ...] = ("sgd", "adam")
    """Networks with their training, of ``bench.rectifiers``."""
    rate: tuple[float, ...] = (1 / 16, 1 / 4, 1 / 2, 1)
    """Learning rates, over the largest one of each network."""
    centred: tuple[int, ...] = (0, 1)
    """Whether every feature's mean is subtracted: 0 no, 1 yes."""
    bias: tuple[float, ...] = (0.0, -0.5, -1.0, -2.0, -4.0)
    """Initial biases whose dead units are counted before training; all training starts at 0."""
    data: str = "gm10_plus"
    """Problem of ``bench.classification``."""
    width: int = 32
    """Units of a hidden layer."""
    batch_size: int = 64
    """Examples per update."""
    success: float = 0.5
    """Share of right answers on the training set above which a network has learned."""
    updates: int = 120
    """Updates of every network."""
    records: int = 4
    """Looks at the network before the last one; divides the updates."""
    seeds: int = 3
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_rectifiers(self.network)
        require_learning_rates(self.rate, "rate")
        require_finite("bias", self.bias)
        problem(self.data)
        if not set(self.centred) <= {0, 1}:
            raise InputError(f"centred: got {self.centred}; write 0, 1 or both")
        for axis in ("batch_size", "updates", "records", "seeds"):
            require_count(axis, (getattr(self, axis),))
        require_count("width", (self.width,), max(RECTIFIERS[name].narrower for name in self.network))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        network=tuple(RECTIFIERS),
        rate=tuple(2.0**k for k in (-5, -4, -3, -2.5, -2, -1.5, -1, 0)),
        width=64,
        updates=240,
        records=6,
        seeds=8,
    ),
    "full": Settings(
        network=tuple(RECTIFIERS),
        rate=tuple(2.0 ** (k / 2) for k in range(-15, 1)),
        width=128,
        updates=3000,
        records=15,
        seeds=20,
    ),
}


def grid(settings: Settings) -> Grid:
    """One compilation per network; learning rates, both inputs and seeds train together."""
    stride = settings.updates // settings.records
    constants = ("data", "bias", "width", "batch_size", "success", "updates", "records", "dtype")
    return Grid(
        static={"network": settings.network},
        traced={"centred": settings.centred, "rate": settings.rate},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "update": [stride * i for i in range(settings.records + 1)],
            "layer": range(1, 1 + max(RECTIFIERS[name].depth for name in settings.network)),
            "initial_bias": settings.bias,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network and look for dead units on all training examples."""
    kind, dtype, data = RECTIFIERS[static["network"]], static["dtype"], problem(static["data"])
    mean = jnp.asarray(data.x.mean(0), dtype) * point["centred"].astype(dtype)
    x, label = jnp.asarray(data.x, dtype) - mean, jnp.asarray(data.label, jnp.int32)
    draw_key, train_key = jax.random.split(key)
    model = draw(draw_key, kind, data.features, data.classes, static)
    choose = batches(data, static["batch_size"], dtype)

    def draw_batch(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        chosen, its_label = choose(key)
        return chosen - mean, its_label

    def observe(model: Classifier, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
        gone = dead_units(model, x)
        return {"dead": gone, "gradient": jnp.max(jnp.where(gone, unit_gradients(gradients), 0), -1)}

    rate = kind.largest_rate * point["rate"]
    trained = train(
        train_key, model, cross_entropy, draw_batch, optimizer(kind.optimizer, rate),
        static["updates"], static["records"], observe,
    )  # fmt: skip
    seen = jnp.concatenate([trained.record["dead"], dead_units(trained.model, x)[None]])

    def share(bias: jax.Array) -> jax.Array:
        copy = jax.tree.map(lambda leaf: leaf, model)
        return jnp.mean(dead_units(biased(copy, bias), x), -1, dtype)

    right = accuracy(trained.model, x, label)
    return {
        "dead": jnp.mean(seen, -1, dtype),
        "deaths": jnp.sum(~seen[:-1] & seen[1:], (0, 2), dtype),
        "revivals": jnp.sum(seen[:-1] & ~seen[1:], (0, 2), dtype),
        "dead_gradient": jnp.nanmax(trained.record["gradient"], 0),
        "accuracy": right,
        "learned": ((right > static["success"]) & (trained.diverged_at == 0)).astype(dtype),
        "diverged_at": trained.diverged_at.astype(dtype),
        "dead_by_bias": jax.lax.map(share, jnp.asarray(static["bias"], dtype)),
    }


def draw(key: jax.Array, kind: Rectifier, features: int, classes: int, static: Static) -> Classifier:
    """Draw a network with He's weights (of relu, also where another activation is compared) and no biases."""
    return draw_classifier(
        key, features, static["width"] // kind.narrower, kind.depth, classes, activation(kind.activation),
        sigma_w=HE, norm=kind.norm, dtype=static["dtype"],
    )  # fmt: skip


def dead_units(model: Classifier, x: jax.Array) -> jax.Array:
    """Which units of which hidden layer are dead on these examples, (layers, units)."""
    return dead(derivative(model.runs[0].phi, model.trace(x)[1]))


def unit_gradients(gradients: Any) -> jax.Array:
    """Largest absolute gradient among a unit's incoming weights and its bias, (layers, units)."""
    layers = [gradients.runs[i].layer for i in range(len(gradients.runs))]
    largest = [jnp.maximum(jnp.abs(g.kernel[...]).max(-2), jnp.abs(g.bias[...])) for g in layers]
    return jnp.concatenate(largest)


def biased(model: Classifier, bias: jax.Array) -> Classifier:
    """Add this to every bias of the hidden layers, or to the shift of their norm."""
    for run in model.runs:
        part = run.layer.bias if run.shift is None else run.shift
        part[...] = part[...] + bias
    return model


def theory(settings: Settings) -> xr.Dataset:
    """The gradient of a dead unit and the revivals of layer 1 under plain descent: none."""
    return xr.Dataset({"dead_gradient_predicted": 0.0, "revivals_predicted": 0.0})


def table(result: xr.Dataset) -> pd.DataFrame:
    """Dead units by network, input, learning rate and layer at the end, with deaths and revivals."""
    columns = {
        "learning_rate": rates(result),
        "dead": result["dead"].isel(update=-1, drop=True).mean("seed"),
        "dead_at_start": result["dead"].isel(update=0, drop=True).mean("seed"),
        "deaths": result["deaths"].sum("seed"),
        "revivals": result["revivals"].sum("seed"),
        "learned": result["learned"].sum("seed"),
        "diverged": (result["diverged_at"] > 0).sum("seed"),
        "accuracy_median": result["accuracy"].median("seed"),
    }
    tidy = xr.Dataset(columns).to_dataframe().reset_index()
    return tidy[np.isfinite(tidy["dead"])]


EXPERIMENT = Experiment(
    name="dead-relu",
    question="When do units die in training, and do they come back?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "dead": Variable(("update", "layer"), "share of units never active on the training set"),
        "deaths": Variable(("layer",), "units that died between two looks"),
        "revivals": Variable(("layer",), "dead units that were active again at the next look"),
        "dead_gradient": Variable(("layer",), "largest gradient entry of a dead unit's weights and bias"),
        "accuracy": Variable((), "share of right answers on the training set"),
        "learned": Variable((), "1 if that is above the success level and the run stayed finite"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
        "dead_by_bias": Variable(("initial_bias", "layer"), "share of dead units before training"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
