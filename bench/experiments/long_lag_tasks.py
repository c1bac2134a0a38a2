r"""Which recurrent networks learn to use what they saw many steps ago?

Recurrent networks, with and without gates, are trained on sequence tasks whose answer depends on early steps:
the adding problem, temporal order, copying and digits shown a row or a pixel at a time (``bench.tasks`` has
rules and sources). Every network of a task gets the same sequences, optimizer, number of updates and learning
rates, once with the gradient's norm clipped and once without. The better learning rate counts, where more
seeds solve the task or, at equal numbers, with the smaller median loss. At the standard size there is one
rate for all, 0.001: of 0.001 and 0.003 the better for tanh and IRNN in a pilot on the adding problem with two
seeds. No network was tuned by itself, and Omega keeps the weight of 4 that its authors used with plain
gradient descent.

Measured on sequences that training never saw: whether the task is solved, by the criterion of its source. And
during training the loss, the norm of the gradient, how often clipping engaged and whether the run diverged;
before and after it, how the gradient of the last answer shrinks with the lag.

Theory: the loss at chance; whether a network can be trained at all is said to depend on its exponent, the
slope of the gradient by lag at initialization, so that is ranked against the final loss. No theory gives the
number of successes.

Sources: Hochreiter & Schmidhuber (1997), Neural Computation 9(8); Pascanu, Mikolov & Bengio (2013),
arXiv:1211.5063 (clipping, Omega, figure 7); Le, Jaitly & Hinton (2015), arXiv:1504.00941 (IRNN); Arjovsky,
Shah & Bengio (2016), arXiv:1511.06464 (copying); Jozefowicz, Zaremba & Sutskever (2015), ICML 37.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import xarray as xr

from signalprop.analysis.statistics import log_mean_exp
from signalprop.analysis.timelag import gradient_by_lag
from signalprop.bench.drawings.long_lag_tasks import best, figures, kept_decades, wilson
from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.engine.grid import Grid, Static, require_count, require_scale, require_values
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.long_lag_verdicts import verdicts
from signalprop.bench.training.omega import Outputs
from signalprop.bench.training.remedies import REMEDIES, remedy
from signalprop.bench.training.tasks import Batch, Task, find_task
from signalprop.bench.training.trainer import train
from signalprop.models.cells import zero_carry
from signalprop.models.sequence import SequenceModel

OPTIMIZERS = {"adam": optax.adam, "rmsprop": optax.rmsprop, "sgd": optax.sgd}
WATCHED = 4  # test sequences along which the gradient by lag is measured


@dataclass(frozen=True)
class Settings:
    """Settings of ``long-lag-tasks``."""

    task: tuple[str, ...] = ("adding-20",)
    """Tasks with their length T, as ``adding-50``; digits have a length of their own, as ``digits_rows``."""
    network: tuple[str, ...] = ("tanh", "irnn", "lstm_1997", "lstm_forget_0", "lstm_forget_1")
    """Networks of ``bench.remedies``, or any cell of ``models.cells``."""
    learning_rate: tuple[float, ...] = (0.003,)
    """Learning rates; the better one counts."""
    clip_norm: tuple[float, ...] = (0.0, 1.0)
    """Norms to which gradients are clipped; 0: no clipping."""
    optimizer: str = "adam"
    """Optimizer: adam, rmsprop or sgd."""
    units: int = 32
    """Hidden units."""
    batch_size: int = 16
    """Sequences per update."""
    updates: int = 300
    """Updates of every network."""
    records: int = 20
    """Points of the learning curves; divides the updates."""
    test_size: int = 500
    """Sequences that a trained network is judged on."""
    seeds: int = 3
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for name in self.task:
            find_task(name)
        for name in self.network:
            remedy(name)
        require_values("network", self.network)
        require_scale("clip_norm", self.clip_norm)
        require_scale("learning_rate", self.learning_rate)
        if min(self.learning_rate) == 0:
            raise InputError("learning_rate: got 0; write rates above 0")
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer: no {self.optimizer!r}; {nearest(self.optimizer, OPTIMIZERS)}")
        for axis in ("units", "batch_size", "updates", "records", "test_size"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        task=("adding-50", "temporal_order-20", "copying-10", "digits_rows"),
        network=tuple(name for name in REMEDIES if name != "minimal_rnn"),
        learning_rate=(0.001,),
        units=40,
        updates=2000,
        records=40,
        test_size=1000,
        seeds=6,
    ),
    "full": Settings(
        network=tuple(REMEDIES),
        task=(
            *(f"adding-{length}" for length in (50, 100, 200, 400)),
            *(f"temporal_order-{length}" for length in (20, 50, 100, 200)),
            *(f"copying-{length}" for length in (20, 100, 200)),
            "digits_rows",
            "digits_pixels",
        ),
        learning_rate=(0.0003, 0.001, 0.003),
        units=100,
        batch_size=20,
        updates=20_000,
        records=100,
        test_size=10_000,
        seeds=20,
    ),
}


def grid(settings: Settings) -> Grid:
    """One compilation per task and network; seeds, learning rates and clipping train together."""
    longest = max(task.num_steps(length) for task, length in map(find_task, settings.task))
    constants = ("optimizer", "units", "batch_size", "updates", "records", "test_size", "dtype")
    stride = settings.updates // settings.records
    return Grid(
        static={"task": settings.task, "network": settings.network},
        traced={"learning_rate": settings.learning_rate, "clip_norm": settings.clip_norm},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "update": [stride * (i + 0.5) for i in range(settings.records)],
            "lag": range(longest + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network and judge it."""
    (task, length), method, dtype = find_task(static["task"]), remedy(static["network"]), static["dtype"]
    draw_key, train_key, test_key = jax.random.split(key, 3)
    model = method.draw(draw_key, task, static["units"], dtype)
    draw = partial(task.draw, length=length, batch_size=static["batch_size"], dtype=dtype)
    trained = train(
        train_key, model, method.loss(task), draw, OPTIMIZERS[static["optimizer"]](point["learning_rate"]),
        static["updates"], static["records"],
        clip_norm=jnp.where(point["clip_norm"] > 0, point["clip_norm"], jnp.inf),
    )  # fmt: skip
    test = task.test(test_key, length, static["test_size"], dtype=dtype)
    loss, aside = task.loss(trained.model, test)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, trained.model)
    lags = jax.vmap(lambda m: answer_by_lag(m, task, test))(both)
    return {
        "test_loss": loss,
        "correct": aside["correct"],
        "solved": (task.solved(loss, aside["correct"]) & (trained.diverged_at == 0)).astype(dtype),
        "curve": trained.record["task_loss"],
        "log_gradient_norm": trained.record["log_gradient_norm"],
        "clip_rate": trained.record["clip_rate"],
        "diverged_at": trained.diverged_at.astype(dtype),
        "lag_before": lags[0],
        "lag_after": lags[1],
    }


def answer_by_lag(model: SequenceModel, task: Task, batch: Batch) -> jax.Array:
    """Log by lag of the mean norm of the gradient of the last answer's loss, over the norm at lag 0."""

    def one(inputs: jax.Array, target: jax.Array) -> jax.Array:
        carry = zero_carry(model.cell)
        end, _ = jax.lax.scan(model.cell, carry, inputs)
        *rest, output = jax.tree.leaves(end)  # what a cell puts out is the last part of its carry
        answer = Batch(inputs[:, None], target.reshape((1,) * batch.targets.ndim))
        slope = jax.grad(lambda h: task.loss(Outputs(model, h), answer)[0])(output[None, None])[0, 0]
        cotangent = jax.tree.unflatten(jax.tree.structure(end), [*map(jnp.zeros_like, rest), slope])
        profile = gradient_by_lag(model.cell, carry, inputs, cotangent).log_norm
        return profile - profile[0]

    last = batch.targets[-1] if batch.targets.ndim > 1 else batch.targets
    return log_mean_exp(jax.vmap(one, (1, 0))(batch.inputs[:, :WATCHED], last[:WATCHED]))


def theory(settings: Settings) -> xr.Dataset:
    """The loss of the best answer that remembers nothing."""
    chance = [task.chance(length) for task, length in map(find_task, settings.task)]
    return xr.Dataset({"test_loss_predicted": (("task",), chance)}, coords={"task": list(settings.task)})


def table(result: xr.Dataset) -> pd.DataFrame:
    """Successes and medians by task, method and clipping, at the better learning rate."""
    at = best(result.assign(kept=kept_decades(result)))
    solved = at["solved"].sum("seed")
    intervals = np.array([wilson(int(k), at.sizes["seed"]) for k in solved.values.ravel()]).T
    low, high = (solved.copy(data=side.reshape(solved.shape)) for side in intervals)
    columns = {
        "solved": solved.astype(int),
        "seeds": xr.full_like(solved, at.sizes["seed"]).astype(int),
        "wilson_low": low,
        "wilson_high": high,
        "test_loss_median": at["test_loss"].median("seed"),
        "chance": at["test_loss_predicted"].broadcast_like(solved),
        "correct_median": at["correct"].median("seed"),
        "clip_rate": at["clip_rate"].mean(("seed", "update")),
        "diverged": (at["diverged_at"] > 0).sum("seed"),
        "untrained_gradient_decades": at["kept"].median("seed"),
    }
    return xr.Dataset(columns).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="long-lag-tasks",
    question="Which recurrent networks learn to use what they saw many steps ago?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "test_loss": Variable((), "loss on sequences not trained on"),
        "correct": Variable((), "share of right answers on them"),
        "solved": Variable((), "1 if the task is solved"),
        "curve": Variable(("update",), "training loss without regulariser, mean around the update"),
        "log_gradient_norm": Variable(("update",), "log of the gradient norm before clipping", "nats"),
        "clip_rate": Variable(("update",), "share of updates that were clipped"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
        "lag_before": Variable(("lag",), "log gradient by lag over that at lag 0, untrained", "nats"),
        "lag_after": Variable(("lag",), "log gradient by lag over that at lag 0, trained", "nats"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
