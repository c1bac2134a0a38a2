r"""Which activation learns fastest when every network starts at criticality, and does a zero slope help?

Plain classifiers of ten classes of four clusters each, 5 and 20 hidden layers, SGD with momentum. Every
activation has the weights and biases at which wide networks keep gradients (chi_1 = 1) and lengths, q = 1,
from the first layer on; for the sigmoid such a point exists only at q = 45.6. Five of the activations differ
in one number alone, the slope k below zero, at the scale sigma_w^2 = 2 / (1 + k^2). All draw the same weights
and batches and try the same learning rates; the one counts at which most networks reach half of the training
examples right or, at equal numbers, at which the median does so first. The first quarter of the networks
chooses it and the others are compared, so the intervals are those of a rate chosen beforehand.

Measured: updates until then, errors after training; before training the mean activity and the share of slopes
that are exactly 0. Theory: the mean E phi(z) of layer 1 by quadrature; the share of zeros, 1/2 for relu and
none for leaky rectifiers; the cost of an activation as XLA counts it. No theory gives the speed.

Sources: He et al. (2015), arXiv:1502.01852; Clevert, Unterthiner & Hochreiter (2016), arXiv:1511.07289 (elu);
Poole et al. (2016), arXiv:1606.05340 (criticality).
"""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis.activity import inactive
from signalprop.bench.activation_race_verdicts import verdicts
from signalprop.bench.drawings.activation_race import best, figures, named_racers
from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.engine.grid import Grid, Static, require_count, require_scale, require_values
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure.data import unit_length
from signalprop.bench.racers import RACERS, Critical, critical, racer, racing
from signalprop.bench.training.classification import accuracy, batches, cross_entropy, problem
from signalprop.bench.training.optimizers import optimizer, require_learning_rates
from signalprop.bench.training.trainer import train
from signalprop.models.activations import derivative
from signalprop.models.classifier import draw_classifier

PROBE = 100


@dataclass(frozen=True)
class Settings:
    """Settings of ``activation-race``."""

    depth: tuple[int, ...] = (5, 20)
    """Hidden layers."""
    racer: tuple[str, ...] = tuple(RACERS)
    """Activations."""
    learning_rate: tuple[float, ...] = (0.001, 0.003, 0.01)
    """Learning rates, the same for every activation."""
    momentum: float = 0.9
    """Momentum of SGD, below 1."""
    data: str = "gm10_plus_centred"
    """Classification problem; every input is scaled to one length."""
    width: int = 32
    """Units of every hidden layer."""
    batch_size: int = 16
    """Examples per update."""
    updates: int = 600
    """Updates of every network."""
    records: int = 60
    """Points of the learning curves; divides the updates."""
    seeds: int = 8
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        problem(self.data)
        require_values("racer", self.racer)
        for name in self.racer:
            if name not in RACERS:
                raise InputError(f"racer: no {name!r}; {nearest(name, RACERS)}")
        require_learning_rates(self.learning_rate)
        require_scale("momentum", (self.momentum,))
        if self.momentum >= 1:
            raise InputError(f"momentum: got {self.momentum}; write a number below 1")
        for axis in ("depth", "width", "batch_size", "updates", "records"):
            value = getattr(self, axis)
            require_count(axis, value if isinstance(value, tuple) else (value,))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(
        depth=(5,), racer=("linear", "leaky_0.3", "relu", "elu", "tanh"), learning_rate=(0.003,),
        updates=200, records=20, seeds=2,
    ),
    "standard": Settings(),
    "full": Settings(
        depth=(2, 10, 30, 100), learning_rate=(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03), width=128,
        batch_size=64, updates=5000, records=100, seeds=20,
    ),
}  # fmt: skip


@cache
def start(name: str) -> Critical:
    """The critical start of a racer, computed once, also where a caller is being traced."""
    with jax.ensure_compile_time_eval():
        return critical(name)


def grid(settings: Settings) -> Grid:
    """One compilation per depth; the coordinate ``racer`` holds places in ``RACERS``."""
    constants = ("momentum", "data", "width", "batch_size", "updates", "records", "dtype")
    racers, starts = [RACERS[name] for name in settings.racer], [start(name) for name in settings.racer]
    scales = ("sigma_w", "sigma_b", "input_scale")
    stride = settings.updates // settings.records
    return Grid(
        static={"depth": settings.depth},
        traced={
            "racer": {
                "racer": [list(RACERS).index(name) for name in settings.racer],
                "family": [r.family for r in racers],
                "slope": [r.slope for r in racers],
                **{scale: [getattr(s, scale) for s in starts] for scale in scales},
            },
            "learning_rate": settings.learning_rate,
        },
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={"update": [stride * (i + 1) for i in range(settings.records)]},
    )  # fmt: skip


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Look at one network and train it."""
    draw_key, train_key = jax.random.split(key)
    task, dtype = problem(static["data"]), jnp.dtype(static["dtype"])
    phi = racing(point["family"].astype(int), point["slope"])
    model = draw_classifier(
        draw_key, task.features, static["width"], static["depth"], task.classes, phi,
        sigma_w=point["sigma_w"], sigma_b=point["sigma_b"], dtype=dtype,
    )  # fmt: skip
    z = model.trace(_inputs(task.x_test[:PROBE], point, dtype))[1]

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, label = batches(task, static["batch_size"], dtype)(key)
        return _inputs(x, point, dtype), label

    rule = optimizer("heavy_ball", point["learning_rate"], momentum=static["momentum"])
    trained = train(train_key, model, cross_entropy, draw, rule, static["updates"], static["records"])
    return {
        "mean_activity": jnp.mean(phi(z[0])),
        "zero_slopes": inactive(derivative(phi, z[0])).astype(dtype),
        "accuracy": trained.record["accuracy"],
        "test_accuracy": accuracy(
            trained.model, _inputs(task.x_test, point, dtype), jnp.asarray(task.label_test)
        ),
        "diverged_at": trained.diverged_at.astype(dtype),
    }


def _inputs(x: jax.Array | np.ndarray, point: dict[str, jax.Array], dtype: jnp.dtype) -> jax.Array:
    """Every input at the length that starts layer 1 at criticality."""
    return (point["input_scale"] * unit_length(jnp.asarray(x, dtype))).astype(dtype)


@cache
def operations(name: str) -> tuple[float, float]:
    """Arithmetic and transcendental operations per element of an activation and its slope, as XLA counts."""
    phi, count = racer(name), 1024
    both = jax.jit(lambda x: (phi(x), derivative(phi, x)))
    analysis = both.lower(jax.ShapeDtypeStruct((count,), jnp.float32)).cost_analysis()
    found = analysis if isinstance(analysis, dict) else (analysis or [{}])[0]
    return float(found.get("flops", 0.0)) / count, float(found.get("transcendentals", 0.0)) / count


def theory(settings: Settings) -> xr.Dataset:
    """Mean and deviation of an activity, share of zero slopes, and operations per element."""
    starts = [start(name) for name in settings.racer]
    zeros = [0.5 if name == "relu" else 0.0 for name in settings.racer]
    flops, transcendentals = np.array([operations(name) for name in settings.racer]).T
    values = {
        "mean_activity_predicted": [s.mean for s in starts],
        "activity_deviation": [s.deviation for s in starts],
        "q": [s.q for s in starts],
        "zero_slopes_predicted": zeros,
        "flops": flops,
        "transcendentals": transcendentals,
    }
    labels = grid(settings).labels()
    return xr.Dataset(
        {name: (("racer",), value) for name, value in values.items()} | {"units": ((), settings.width)},
        coords={"racer": labels["racer"]},
    )


def table(result: xr.Dataset) -> pd.DataFrame:
    """Speed and accuracy of every activation, depth and learning rate."""
    result = named_racers(result)
    counts = result["learning_rate"] == best(result)["learning_rate"].drop_vars("learning_rate")
    columns = {
        "arrived": result["arrived_at"].notnull().sum("seed"),
        "seeds": xr.full_like(result["test_accuracy"].isel(seed=0, drop=True), result.sizes["seed"]),
        "updates_median": result["arrived_at"].fillna(np.inf).median("seed"),
        "test_accuracy_median": result["test_accuracy"].median("seed"),
        "diverged": (result["diverged_at"] > 0).sum("seed"),
        "counts": counts.astype(int),
        **{name: result[name] for name in ("flops", "transcendentals", "mean_activity_predicted")},
        "mean_activity": result["mean_activity"].mean("seed"),
    }
    return xr.Dataset(columns).reset_coords(drop=True).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="activation-race",
    question="Which activation learns fastest at equal criticality, and does relu's zero slope help?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "mean_activity": Variable((), "mean activity of layer 1 before training"),
        "zero_slopes": Variable((), "share of slopes of layer 1 that are exactly 0 before training"),
        "accuracy": Variable(("update",), "training accuracy, mean over a record that ends at the update"),
        "test_accuracy": Variable((), "accuracy on examples not trained on"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
