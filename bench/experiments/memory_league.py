r"""Which remedies make a recurrent network learn what it must remember for 50 steps, under one protocol?

The third network of the remedy league: a tanh network on the adding problem, trained by plain gradient
descent, which fails. Every remedy of ``bench.competitors`` changes one thing about it, a combination two.
Remedies that are no optimizer are run twice, with plain gradient descent as the failing network is, and with
Adam, because nearly nothing learns with plain gradient descent in this budget; momentum, Adagrad, RMSProp and
Adam are run without another remedy.

The protocol is the same for every competitor: task, sequences, updates (flossing pays for its own), units,
batch size, and the number of learning rates. These are multiples of a unit that belongs to the optimizer: 1
for gradient descent, 0.1 for momentum (whose steps add up tenfold) and Adagrad, 0.01 for RMSProp and Adam.
``tuning_seeds`` networks per rate choose it: most successes, then the smallest loss. They are then left
out: the networks that count have other seeds. (At 0.01 and 0.03 plain gradient descent left the tanh
network at chance in a pilot with two seeds; at 0.1 some networks diverge.) Success is the task's own
criterion on 500 fresh sequences; its intervals are exact (Clopper & Pearson 1934). Costs are operations per
step of a sequence by XLA's count, forward and backward, never a clock; the optimizer's own, below 1 %, are
left out.

Measured before and after training: the decades that the gradient of the answer gains or loses over the whole
sequence. Theory predicts them before training where the recurrence has a mean field, T/2 log10(g^2 E phi'^2),
and says that optimizers, clipping and penalties change neither. No theory gives the number of successes.

Sources: Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063 (clipping, Omega); Le, Jaitly & Hinton (2015),
arXiv:1504.00941 (IRNN, adding problem); Hochreiter & Schmidhuber (1997), Neural Computation 9(8); Gers et al.
(2000), Neural Computation 12(10) (forget gate); Cho et al. (2014), arXiv:1406.1078 (GRU); Ba et al. (2016),
arXiv:1607.06450 (layer norm); Engelken (2023), arXiv:2312.17306 (flossing).
"""

from dataclasses import dataclass, fields
from typing import Any

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
from signalprop.bench.competing import LN10, Protocol, compete
from signalprop.bench.competitors import ALONE, PARTS, competitor
from signalprop.bench.drawings.memory_league import figures
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static, require_count, require_values
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.memory_league_verdicts import verdicts
from signalprop.bench.memory_scores import scores
from signalprop.bench.training.optimizers import require_learning_rates, require_optimizers
from signalprop.bench.training.tasks import Batch, find_task
from signalprop.models.activations import ACTIVATIONS

MOMENTS = ("start", "end")
COMBINATIONS = ("relu+clip_norm", "gru+clip_norm")
MEAN_FIELD = {"tanh": "tanh", "tanh_orthogonal": "tanh", "relu": "relu"}  # activation of a cell


@dataclass(frozen=True)
class Settings:
    """Settings of ``memory-league``."""

    remedy: tuple[str, ...] = ("none", "clip_norm", "gru")
    """Remedies of ``bench.competitors``; several at once as ``gru+clip_norm``."""
    optimizer: tuple[str, ...] = ("sgd", "rmsprop", "adam")
    """Optimizers; momentum, Adagrad and RMSProp are run without another remedy only."""
    task: str = "adding-10"
    """A task of ``bench.tasks`` with one number as its answer, and its length T."""
    multiple: tuple[float, ...] = (0.1, 1.0)
    """Learning rates, in units of the optimizer: 1 for sgd, 0.1, or 0.01."""
    units: int = 16
    """Hidden units."""
    batch_size: int = 16
    """Sequences per update."""
    updates: int = 400
    """Updates of every network."""
    records: int = 20
    """Points of the learning curves; divides the updates."""
    test_size: int = 500
    """Sequences that a trained network is judged on."""
    tuning_seeds: int = 1
    """Networks per learning rate that choose it."""
    seeds: int = 6
    """Networks per competitor that count."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_values("remedy", self.remedy)
        for name in self.remedy:
            competitor(name)
        require_optimizers(self.optimizer)
        if set(self.optimizer) <= set(ALONE) and set(self.remedy) != {"none"}:
            raise InputError(f"optimizer: got {', '.join(self.optimizer)}; write sgd or adam beside them")
        task, _ = find_task(self.task)
        if task.outputs > 1:
            raise InputError(f"task: got {self.task}; write one with a number as its answer, adding-50")
        require_learning_rates(self.multiple, "multiple")
        for axis in ("units", "batch_size", "updates", "records", "test_size", "tuning_seeds"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records or self.records < 2:
            raise InputError(f"records: got {self.records}; write 2 or more, a divisor of {self.updates}")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        remedy=(*PARTS, *COMBINATIONS),
        optimizer=("sgd", "heavy_ball", "adagrad", "rmsprop", "adam"),
        task="adding-50",
        multiple=(0.1, 0.3, 1.0),
        units=32,
        updates=800,
        tuning_seeds=2,
        seeds=12,
    ),
    "full": Settings(
        remedy=(*PARTS, *COMBINATIONS),
        optimizer=("sgd", "heavy_ball", "nesterov", "adagrad", "rmsprop", "adam"),
        task="adding-150",
        multiple=(0.01, 0.03, 0.1, 0.3, 1.0),
        units=100,
        batch_size=20,
        updates=20_000,
        records=100,
        test_size=10_000,
        tuning_seeds=4,
        seeds=20,
    ),
}


def grid(settings: Settings) -> Grid:
    """One compilation per remedy; its optimizers, learning rates and seeds train together."""
    axes = ("remedy", "seeds")
    stride = settings.updates // settings.records
    return Grid(
        static={"remedy": settings.remedy},
        traced={},
        seeds=settings.seeds,
        constants={f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in axes},
        coords={
            "optimizer": settings.optimizer,
            "update": [stride * (i + 0.5) for i in range(settings.records)],
            "moment": MOMENTS,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network with its remedy and every optimizer, at the rate that others have chosen."""
    task, length = find_task(static["task"])
    constants = {f.name: static[f.name] for f in fields(Protocol) if f.name not in ("task", "length")}
    rules = Protocol(task=task, length=length, **constants)
    return compete(key, competitor(static["remedy"]), static["remedy"], rules)


def theory(settings: Settings) -> xr.Dataset:
    """The gradient over a sequence before training, operations of a step, the loss at chance."""
    task, length = find_task(settings.task)
    names = list(settings.remedy)
    operations = [step_operations(name, settings) for name in names]
    decades = [predicted_decades(name, length, settings.units) for name in names]
    return xr.Dataset(
        {
            "decades_predicted": (("remedy",), decades),
            "operations": (("remedy",), operations),
            "cost": (("remedy",), np.array(operations) / step_operations("none", settings)),
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
    """Operations of one step of a sequence, forward and backward, as XLA counts them before optimization."""
    task, _ = find_task(settings.task)
    entry = competitor(remedy)
    loss = entry.network.loss(task)
    model = jax.eval_shape(
        lambda key: entry.network.draw(key, task, settings.units, settings.dtype), jax.random.key(0)
    )
    shapes = (1, settings.batch_size, task.features), (settings.batch_size,)
    batch = jax.eval_shape(lambda: Batch(*(jnp.zeros(shape, settings.dtype) for shape in shapes)))
    step = jax.jit(jax.grad(lambda m, b: loss(m, b)[0])).lower(model, batch)
    found: Any = step.cost_analysis()
    return float(found["flops"])


EXPERIMENT = Experiment(
    name="memory-league",
    question="Which remedies make a recurrent network learn what it must remember for 50 steps?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "rate": Variable(("optimizer",), "learning rate that the held-out networks chose"),
        "test_loss": Variable(("optimizer",), "loss on sequences not trained on"),
        "solved": Variable(("optimizer",), "1 if the task is solved"),
        "curve": Variable(
            ("optimizer", "update"), "training loss without regulariser, mean around the update"
        ),
        "log_gradient_norm": Variable(
            ("optimizer", "update"), "log of the gradient norm before clipping", "nats"
        ),
        "clip_rate": Variable(("optimizer", "update"), "share of updates clipped by norm"),
        "diverged_at": Variable(("optimizer",), "update at which the run left float range; 0: never"),
        "decades": Variable(
            ("optimizer", "moment"), "log10 of the answer's gradient over the sequence", "decades"
        ),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=scores,
    compiler_options={"xla_backend_optimization_level": 1},
)
