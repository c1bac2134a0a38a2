r"""Why do deep relu networks stall with Xavier's weights and train with He's, and what exactly was lost?

Relu classifiers of 22 and 30 hidden layers on ten Gaussian classes, trained by SGD with momentum as in
figures 2 and 3 of He et al. (2015), arXiv:1502.01852, with the same draws and batches for every start:

* ``he``: weights of variance 2 / fan_in;
* ``xavier``: 1 / fan_in, Xavier's variance on square layers;
* ``xavier_rescaled``: those weights, with the input multiplied by 2^(L/2);
* ``xavier_frozen``: those weights, with all biases kept at 0.

Every start gets the same learning rates: two that suit He's networks and 1e5, because a small signal may
want a large rate; with none between, "best" means the best of these. A network has begun to learn when its
training accuracy, the mean over a record of updates, reaches twice chance; the rate that counts is the one at
which most networks begin or, at equal numbers, at which the median begins first. It is chosen on the networks
that are counted, so the intervals of shares hold for all rates at once (0.05 / rates each).

Theory: without biases a relu network is homogeneous, so Xavier's activities are He's times 2^(-l/2): every
direction is kept, and only the size is lost. With V = sqrt(2) W, Xavier's network with an input (or an
output) 2^(L/2) times larger *is* He's, whose hidden layers learn at twice the rate. The size of He's own
signal has an exact law at finite width (Hanin & Nica, arXiv:1812.05994). No theory here gives the number of
successes.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import xarray as xr

from signalprop.analysis.finitewidth import log_gain
from signalprop.analysis.statistics import log_norm, share_interval
from signalprop.bench.drawings.he_training import best, figures, named_starts
from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.engine.grid import Grid, Static, require_count, require_scale, require_values
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.he_training_verdicts import verdicts
from signalprop.bench.starts import STARTS
from signalprop.bench.training.classification import accuracy, batches, cross_entropy, problem
from signalprop.bench.training.diagnostics import kernel_norms
from signalprop.bench.training.optimizers import optimizer, require_learning_rates
from signalprop.bench.training.trainer import Trained, train
from signalprop.models.activations import activation
from signalprop.models.classifier import Classifier, draw_classifier

PROBE = 100  # test examples on which signals and gradients are measured before training
TWIN_UPDATES = 10


@dataclass(frozen=True)
class Settings:
    """Settings of ``he-training``."""

    depth: tuple[int, ...] = (22, 30)
    """Hidden layers."""
    start: tuple[str, ...] = tuple(STARTS)
    """How networks begin: xavier, he, xavier_rescaled, xavier_frozen."""
    learning_rate: tuple[float, ...] = (0.003, 0.01, 1e5)
    """Learning rates, the same for every start."""
    momentum: float = 0.9
    """Momentum of SGD, below 1."""
    data: str = "gm10"
    """Classification problem."""
    width: int = 32
    """Units of every hidden layer."""
    batch_size: int = 16
    """Examples per update."""
    updates: int = 2000
    """Updates of every network."""
    records: int = 40
    """Points of the learning curves; divides the updates."""
    seeds: int = 10
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        problem(self.data)
        require_values("start", self.start)
        for name in self.start:
            if name not in STARTS:
                raise InputError(f"start: no {name!r}; {nearest(name, STARTS)}")
        require_learning_rates(self.learning_rate)
        require_scale("momentum", (self.momentum,))
        if self.momentum >= 1:
            raise InputError(f"momentum: got {self.momentum}; write a number below 1")
        require_count("depth", self.depth, 3)
        for axis in ("width", "batch_size", "updates", "records"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(
        depth=(22,), start=("xavier", "he", "xavier_rescaled"), learning_rate=(0.003, 1e5), updates=600,
        records=12, seeds=3,
    ),
    "standard": Settings(),
    "full": Settings(
        learning_rate=tuple(10.0**k for k in range(-4, 6)), width=64, batch_size=64, updates=10_000,
        records=100, seeds=20,
    ),
}  # fmt: skip


def grid(settings: Settings) -> Grid:
    """One compilation per depth; the coordinate ``start`` holds places in ``STARTS``."""
    constants = ("momentum", "data", "width", "batch_size", "updates", "records", "dtype")
    chosen = [STARTS[name] for name in settings.start]
    stride = settings.updates // settings.records
    return Grid(
        static={"depth": settings.depth},
        traced={
            "start": {
                "start": [list(STARTS).index(name) for name in settings.start],
                **{scale: [getattr(s, scale) for s in chosen] for scale in ("sigma_w", "power", "bias_rate")},
            },
            "learning_rate": settings.learning_rate,
        },
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants} | {"deepest": max(settings.depth)},
        coords={
            "update": [stride * (i + 1) for i in range(settings.records)],
            "layer": range(1, max(settings.depth) + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Look at one network, train it, and train its twins for a few updates."""
    draw_key, train_key = jax.random.split(key)
    task, dtype, depth = problem(static["data"]), jnp.dtype(static["dtype"]), static["depth"]
    draw = partial(
        draw_classifier, draw_key, task.features, static["width"], depth, task.classes, activation("relu"),
        dtype=dtype,
    )  # fmt: skip
    model, he = draw(sigma_w=point["sigma_w"]), draw(sigma_w=2**0.5)
    larger = jnp.exp2(point["power"] * depth / 2).astype(dtype)
    probe = jnp.asarray(task.x_test[:PROBE], dtype), jnp.asarray(task.label_test[:PROBE])
    gradient = jax.grad(lambda m: cross_entropy(m, (larger * probe[0], probe[1]))[0])(model)
    trained = _train(train_key, model, larger, point["learning_rate"], 1.0, point["bias_rate"], static)
    test = larger * jnp.asarray(task.x_test, dtype), jnp.asarray(task.label_test)
    padding = (0, max(0, static["deepest"] - depth))
    return {
        "log_signal": jnp.pad(
            _log_signal(model, larger * probe[0], probe[0]), padding, constant_values=jnp.nan
        ),
        "direction_gap": _direction_gap(model, he, probe[0]),
        "log_gradient": jnp.pad(kernel_norms(gradient)[:-1], padding, constant_values=jnp.nan),
        "accuracy": trained.record["accuracy"],
        "loss": trained.record["loss"],
        "test_accuracy": accuracy(trained.model, *test),
        "diverged_at": trained.diverged_at.astype(dtype),
        "twin_gap": _twin_gap(train_key, draw(sigma_w=1.0), he, point["learning_rate"], static),
    }


def _train(
    key: jax.Array,
    model: Classifier,
    larger: jax.Array,
    learning_rate: jax.Array,
    hidden_rate: jax.Array | float,
    bias_rate: jax.Array | float,
    static: Static,
    updates: tuple[int, int] | None = None,
) -> Trained:
    """Train on inputs so many times larger, with factors on the rates of hidden kernels and of all biases."""
    steps, records = updates or (static["updates"], static["records"])

    def factor(path: Any, gradient: jax.Array) -> jax.Array:
        names = "/".join(map(str, path))
        rate = bias_rate if "bias" in names else 1.0 if "readout" in names else hidden_rate
        return (gradient * rate).astype(gradient.dtype)

    rule = optax.chain(
        optax.stateless(lambda g, _: jax.tree_util.tree_map_with_path(factor, g)),
        optimizer("heavy_ball", learning_rate, momentum=static["momentum"]),
    )

    def loss(model: Classifier, batch: tuple[jax.Array, jax.Array]) -> Any:
        return cross_entropy(model, (larger * batch[0], batch[1]))

    task, dtype = problem(static["data"]), jnp.dtype(static["dtype"])
    return train(key, model, loss, batches(task, static["batch_size"], dtype), rule, steps, records)


def _log_signal(model: Classifier, x: jax.Array, reference: jax.Array) -> jax.Array:
    """Mean over examples of log (|y^l| / |x|), by layer."""
    activities = model.activities(x)[1]
    return jnp.mean(log_norm(activities, -1) - log_norm(reference, -1), -1)


def _direction_gap(model: Classifier, he: Classifier, x: jax.Array) -> jax.Array:
    """Largest distance, over examples, of the unit vectors of two networks' top activities, if not zero."""
    tops = [m.activities(x)[1][-1] for m in (model, he)]
    units = [y / jnp.exp(log_norm(y, -1))[:, None] for y in tops]
    return jnp.nanmax(jnp.exp(log_norm(units[0] - units[1], -1)))


def _twin_gap(
    key: jax.Array, xavier: Classifier, he: Classifier, learning_rate: jax.Array, static: Static
) -> jax.Array:
    """Largest difference of the losses of the two equivalent networks over their first updates."""
    twins = jax.tree.map(lambda *leaves: jnp.stack(leaves), xavier, he)
    larger = jnp.array([2.0 ** (static["depth"] / 2), 1.0], static["dtype"])
    hidden_rate = jnp.array([1.0, 2.0], static["dtype"])
    updates = min(TWIN_UPDATES, static["updates"])
    losses = jax.vmap(
        lambda model, times, hidden: _train(
            key, model, times, learning_rate, hidden, 0.0, static, (updates, updates)
        ).record["loss"]
    )(twins, larger, hidden_rate)
    return jnp.max(jnp.abs(losses[0] - losses[1]))


def theory(settings: Settings) -> xr.Dataset:
    """Mean and spread of the exact law of the signal's size, by layer and start."""
    deepest, features = max(settings.depth), problem(settings.data).features
    laws = [log_gain((features, *(settings.width,) * layer)) for layer in range(1, deepest + 1)]
    mean, spread = np.array([[law.mean, law.variance**0.5] for law in laws]).T / 2
    layers, starts = np.arange(1, deepest + 1), [STARTS[name] for name in settings.start]
    shifts = [
        [np.log(s.sigma_w**2 / 2) * layers + s.power * depth * np.log(2) for depth in settings.depth]
        for s in starts
    ]
    dims = ("start", "depth", "layer")
    return xr.Dataset(
        {
            "log_signal_predicted": (dims, mean + np.array(shifts) / 2),
            "log_signal_spread": (("layer",), spread),
        },
        coords={name: grid(settings).labels()[name] for name in dims},
    )


def table(result: xr.Dataset) -> pd.DataFrame:
    """Successes and speed by depth, start and learning rate."""
    result = named_starts(result)
    begun, seeds = result["begun_at"].notnull(), result.sizes["seed"]
    count = begun.sum("seed")
    low, high = np.array([share_interval(int(k), seeds) for k in count.values.ravel()]).T.reshape(
        2, *count.shape
    )
    columns = {
        "begun": count,
        "seeds": xr.full_like(count, seeds),
        "low": count.copy(data=low),
        "high": count.copy(data=high),
        "updates_to_begin_median": result["begun_at"].median("seed"),
        "test_accuracy_median": result["test_accuracy"].median("seed"),
        "diverged": (result["diverged_at"] > 0).sum("seed"),
        "counts": xr.zeros_like(count).where(result["learning_rate"] != best(result)["learning_rate"], 1),
    }
    return xr.Dataset(columns).reset_coords(drop=True).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="he-training",
    question="Why do deep relu networks stall with Xavier's weights, and what exactly was lost?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "log_signal": Variable(("layer",), "log |y^l| / |x| before training, mean over examples", "nat"),
        "direction_gap": Variable((), "largest distance of unit activities of the top layer from He's"),
        "log_gradient": Variable(("layer",), "log |dE/dW^l| before training", "nat"),
        "accuracy": Variable(("update",), "training accuracy, mean over a record that ends at the update"),
        "loss": Variable(("update",), "training loss, mean over a record", "nat"),
        "test_accuracy": Variable((), "accuracy on examples not trained on"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
        "twin_gap": Variable((), "largest difference of the twins' losses over ten updates", "nat"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
