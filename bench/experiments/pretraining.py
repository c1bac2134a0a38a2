r"""What does greedy layerwise pretraining change: the gradient, saturation, or the optimum that is found?

Classifiers of several hidden layers start from random weights of six kinds, or from weights that were trained
layer by layer without labels, as restricted Boltzmann machines (one step of contrastive divergence) or as
denoising autoencoders. Then all are trained by plain stochastic gradient descent on the same batches at the
same learning rates. The better rate counts: where more seeds reach the target or, at equal numbers, with the
smaller median loss. Nothing else was tuned; pretraining has one rate, from a pilot on reconstruction alone.

Measured before and after training: the gradient of every layer, the spread of the singular values of the
Jacobian between hidden layers, and how well neighbouring layers fit each other's directions (Saxe's decoupled
modes: 1 of orthogonal layers, 1/2 of independent wide Gaussian ones); during it the loss and the share of
saturated units of the last hidden layer. Updates to the target count those of pretraining: every layer takes
part in each update of training, and in ``pretraining`` updates of its own before. For both kinds of greedy
training the layers are also trained on together as one deep autoencoder.

Sources: Hinton, Osindero & Teh (2006), Neural Computation 18(7); Bengio, Lamblin, Popovici & Larochelle
(2007), NIPS 19; Vincent et al. (2008), ICML; Glorot & Bengio (2010), AISTATS; Saxe, McClelland & Ganguli
(2013), arXiv:1312.6120, figure 6A.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.bench.decoupling import alignment, log_spread
from signalprop.bench.drawings.pretraining import best, figures, updates_to_target
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure.data import INPUTS
from signalprop.bench.pretrained import PRETRAINED, STARTS, draw_starts, joint_errors
from signalprop.bench.pretraining_verdicts import verdicts
from signalprop.bench.training.classification import (
    PROBLEMS,
    accuracy,
    base_rate_loss,
    batches,
    cross_entropy,
    problem,
)
from signalprop.bench.training.diagnostics import by_layer
from signalprop.bench.training.optimizers import optimizer, require_learning_rates
from signalprop.bench.training.trainer import train
from signalprop.models.pretraining import UNITS

WHEN = ("before", "after")
WATCHED = 4  # examples at which Jacobians are taken
JOINT_INPUTS = 256  # on which all layers are trained together


@dataclass(frozen=True)
class Settings:
    """Settings of ``pretraining``."""

    activation: tuple[str, ...] = ("sigmoid",)
    """Activations: sigmoid, tanh or linear."""
    data: tuple[str, ...] = ("digits",)
    """Data sets."""
    depth: tuple[int, ...] = (4,)
    """Hidden layers, at least two."""
    start: tuple[str, ...] = STARTS
    """How networks start."""
    learning_rate: tuple[float, ...] = (1.0, 3.0)
    """Learning rates; the better one counts."""
    width: int = 32
    """Units of every hidden layer."""
    batch_size: int = 32
    """Examples per update."""
    updates: int = 300
    """Updates of training."""
    records: int = 15
    """Points of the learning curves; divides the updates."""
    pretraining: int = 200
    """Updates of each layer in pretraining."""
    pretraining_rate: float = 0.1
    """Learning rate of pretraining."""
    noise: float = 0.25
    """Probability with which an autoencoder's inputs are masked."""
    joint_updates: int = 50
    """Updates of all layers together as one autoencoder, of networks of the largest depth."""
    seeds: int = 2
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, UNITS)
        require_known("start", self.start, STARTS)
        require_known("data", self.data, (*PROBLEMS, *INPUTS))
        require_count("depth", self.depth, 2)
        require_learning_rates(self.learning_rate)
        require_learning_rates((self.pretraining_rate,), "pretraining_rate")
        for axis in ("width", "batch_size", "updates", "records", "pretraining", "joint_updates"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")
        if not 0 <= self.noise < 1:
            raise InputError(f"noise: got {self.noise}; write a probability below 1")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        activation=("sigmoid", "tanh"),
        depth=(2, 4, 6, 8),
        learning_rate=(0.3, 1.0, 3.0),
        updates=600,
        records=30,
        pretraining=400,
        joint_updates=200,
        seeds=8,
    ),
    "full": Settings(
        activation=("sigmoid", "tanh"),
        data=("digits", "gm10"),
        depth=(4, 6, 8, 12),
        learning_rate=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
        width=200,
        updates=20_000,
        records=100,
        pretraining=5000,
        joint_updates=2000,
        seeds=20,
    ),
}


def grid(settings: Settings) -> Grid:
    """One compilation per activation, data set and depth; starts and learning rates train together."""
    for name in settings.data:
        problem(name)  # refuses a missing or damaged file before anything is compiled
    constants = ("width", "batch_size", "updates", "records", "pretraining", "pretraining_rate", "noise",
                 "joint_updates", "dtype")  # fmt: skip
    stride = settings.updates // settings.records
    return Grid(
        static={"activation": settings.activation, "data": settings.data, "depth": settings.depth},
        traced={
            "start": {"position": range(len(settings.start))},
            "learning_rate": settings.learning_rate,
        },
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants}
        | {"starts": settings.start, "deepest": max(settings.depth), "joint_depth": max(settings.depth)},
        coords={
            "start": settings.start,
            "update": [stride * (i + 1) for i in range(settings.records)],
            "when": WHEN,
            "layer": range(1, max(settings.depth) + 2),
            "method": PRETRAINED,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Start one network, train it, and look at it before and after."""
    data, dtype, depth = problem(static["data"]), static["dtype"], static["depth"]
    start_key, train_key = jax.random.split(key)
    x, x_test = (jnp.asarray(part, dtype) for part in (data.x, data.x_test))
    shape = data.features, static["width"], depth, data.classes
    starts = draw_starts(
        start_key, static["starts"], shape, static["activation"], x, noise=static["noise"],
        learning_rate=static["pretraining_rate"], num_steps=static["pretraining"],
        batch_size=static["batch_size"],
    )  # fmt: skip
    model = jax.tree.map(lambda leaf: leaf[point["position"].astype(int)], starts.models)
    trained = train(
        train_key, model, cross_entropy, batches(data, static["batch_size"], dtype),
        optimizer("sgd", point["learning_rate"]), static["updates"], static["records"], _observe,
    )  # fmt: skip
    seen, beyond = trained.record, static["deepest"] - depth
    gradient = seen["log_gradient"][jnp.array([0, -1])]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, trained.model)
    loss, aside = cross_entropy(trained.model, (x, jnp.asarray(data.label)))
    return {
        "curve": seen["loss"],
        "saturated": seen["saturated"][:, -1],
        "top_mean": seen["top_mean"],
        "log_gradient": _padded(gradient, beyond),
        "spread": jax.vmap(lambda m: log_spread(m, x_test[:WATCHED]))(both),
        "alignment": jax.vmap(alignment)(both),
        "train_loss": jnp.where(trained.diverged_at > 0, jnp.inf, loss),
        "train_accuracy": aside["accuracy"],
        "test_accuracy": accuracy(trained.model, x_test, jnp.asarray(data.label_test)),
        "diverged_at": trained.diverged_at.astype(dtype),
        **_greedy(starts.pretrained, x[:JOINT_INPUTS], static),
    }


def _observe(model: Any, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
    """What `by_layer` sees, and the mean activity of the last hidden layer."""
    return {
        **by_layer(model, gradients, updates, batch),
        "top_mean": model.activities(batch[0])[1][-1].mean(),
    }


def _padded(rows: jax.Array, count: int) -> jax.Array:
    """NaN for the layers that a network has not."""
    return jnp.pad(rows, ((0, 0), (0, count)), constant_values=jnp.nan)


def _greedy(pretrained: dict[str, Any], x: jax.Array, static: Static) -> dict[str, jax.Array]:
    """Reconstruction errors of greedy training, layer by layer; at one depth also of joint training."""
    deepest, steps = static["deepest"], static["joint_updates"]
    none = jnp.full((len(PRETRAINED), 2), jnp.nan, static["dtype"])
    errors = jnp.full((len(PRETRAINED), deepest + 1), jnp.nan, static["dtype"])
    for i, name in enumerate(PRETRAINED):
        if name in pretrained:
            errors = errors.at[i, : static["depth"]].set(pretrained[name].error[:, -1])
            if static["depth"] == static["joint_depth"]:
                none = none.at[i].set(joint_errors(pretrained[name], x, steps))
    return {"greedy_error": errors, "joint_error": none}


def theory(settings: Settings) -> xr.Dataset:
    """Alignment of orthogonal and of wide Gaussian layers, and the loss of the best constant answer."""
    exact = {"orthogonal": 1.0, "orthogonal_critical": 1.0, "critical": 0.5, "normal_001": 0.5}
    aligned = [exact.get(name, np.nan) for name in settings.start]
    updates = [settings.pretraining * (name in PRETRAINED) for name in settings.start]
    losses = [base_rate_loss(problem(name)) for name in settings.data]
    return xr.Dataset(
        {
            "alignment_predicted": ("start", aligned),
            "alignment_tolerance": ("start", [2 / settings.width if a == 0.5 else 1e-5 for a in aligned]),
            "updates_before": ("start", updates),
            "curve_predicted": ("data", losses),
        },
        coords={"start": list(settings.start), "data": list(settings.data)},
    )


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row per network and start, at the better learning rate."""
    at = best(result)
    updates = updates_to_target(at)
    last = at["log_gradient"].sel(when="before") / np.log(10)
    columns = {
        "learning_rate": at["learning_rate"],
        "seeds_at_target": (updates < np.inf).sum("seed"),
        "seeds": xr.full_like(updates.isel(seed=0, drop=True), at.sizes["seed"]),
        "updates_to_target_with_pretraining": updates.median("seed"),
        "train_loss": at["train_loss"].median("seed"),
        "test_accuracy": at["test_accuracy"].mean("seed"),
        "saturated_at_start": at["saturated"].isel(update=0).mean("seed"),
        "most_saturated": at["saturated"].mean("seed").max("update"),
        "log10_first_gradient": last.isel(layer=0).mean("seed"),
        **{f"log_spread_{w}": at["spread"].sel(when=w, drop=True).mean("seed") for w in WHEN},
        **{f"alignment_{w}": at["alignment"].sel(when=w, drop=True).mean("seed") for w in WHEN},
    }
    kept = {
        name: values.drop_vars(["when", "layer", "update"], errors="ignore")
        for name, values in columns.items()
    }
    return xr.Dataset(kept).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="pretraining",
    question="What does greedy pretraining change: the gradient, saturation, or the optimum that is found?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "curve": Variable(("update",), "training loss, mean of the updates before", "nats"),
        "saturated": Variable(("update",), "share of saturated units of the last hidden layer"),
        "top_mean": Variable(("update",), "mean activity of the last hidden layer"),
        "log_gradient": Variable(
            ("when", "layer"), "log norm of the kernel's gradient, read-out last", "nats"
        ),
        "spread": Variable(("when",), "deviation of the log singular values of dy^L/dy^1", "nats"),
        "alignment": Variable(("when",), "share of the largest norm of products of neighbouring layers"),
        "train_loss": Variable((), "loss on all training examples after training; inf: diverged", "nats"),
        "train_accuracy": Variable((), "share of right answers on them"),
        "test_accuracy": Variable((), "share of right answers on the test examples"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
        "greedy_error": Variable(("method", "layer"), "mean square reconstruction error of greedy training"),
        "joint_error": Variable(("method", "when"), "the same of the whole stack, and after joint training"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
