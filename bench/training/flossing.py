r"""Gradient flossing: push the leading Lyapunov exponents of a recurrent network to zero by gradient descent.

Of R. Engelken (2023), arXiv 2312.17306. The loss is the mean of lambda_i^2 over the k leading exponents along
one input sequence, differentiated through the QR decompositions that measure them. Flossing comes before
training, or before it and again half way. A budget counts training steps; flossing is charged what it costs.

The task is the delayed XOR of the same paper: x_t = +-1 at random, and from step d on the target is the
product x_{t-d} x_{t-d/2}, which is the XOR of two past bits. It asks for d/2 .. d steps of memory of a whole
stream of bits, so several directions of the state must keep their size at once.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.typing import ArrayLike

from signalprop.analysis import lyapunov, products, trajectory
from signalprop.analysis.jacobian import log_norms
from signalprop.bench.training.tasks import Batch, Task
from signalprop.bench.training.trainer import train
from signalprop.models.cells import cell, zero_carry
from signalprop.models.mlp import draw_layer
from signalprop.models.sequence import SequenceModel

SCHEDULES = {"none": 0, "before": 1, "during": 2}  # times that a network is flossed
STRETCH = 3  # length of the sequences over the delay
WARM, COUNTED, INTERVAL = 12, 48, 4  # steps of a flossing sequence: not counted, counted; between two QRs
LONG = 300  # steps along which exponents are measured
MOMENTS = ("start", "flossed", "trained")


@dataclass(frozen=True)
class Start:
    """How a tanh network begins, and where gradients are clipped; gain None: the mean-field edge of chaos."""

    label: str
    gain: float | None = 1.0
    orthogonal: float = 0.0
    clip_norm: float = float("inf")


STARTS = {
    "gaussian": Start("Gaussian, $g$ = 1"),
    "clipped": Start("Gaussian, clipped", clip_norm=1.0),
    "critical": Start("Gaussian, critical $g$", gain=None),
    "orthogonal": Start("orthogonal", orthogonal=1.0),
}


def delayed_xor(delay: int, dtype: str = "float32") -> Task:
    """The product of the inputs ``delay`` and half as many steps ago, at every step from ``delay`` on."""

    def draw(key: jax.Array, length: int, batch_size: int) -> Batch:
        x = 2 * jax.random.bernoulli(key, 0.5, (STRETCH * length, batch_size)).astype(dtype) - 1
        half = length // 2
        return Batch(x[..., None], x[:-length] * x[length - half : len(x) - half])

    def loss(model: Any, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
        answer = model.every_step(batch.inputs)[delay:, :, 0]  # the first whole pair of bits is known then
        correct = jnp.mean(answer * batch.targets > 0, dtype=answer.dtype)
        return jnp.mean((answer - batch.targets) ** 2), {"correct": correct}

    return Task(
        1, 1, draw, draw, loss, lambda length: 1.0, lambda loss, correct: correct > 0.99,
        "more than 99 % of the answers of the right sign", lambda length: STRETCH * length,
    )  # fmt: skip


def draw_network(
    key: jax.Array, units: int, gain: jax.Array, orthogonal: jax.Array, dtype: str
) -> SequenceModel:
    """A tanh network with Gaussian (0) or orthogonal (1) recurrent weights, of one input and one output."""
    cell_key, readout_key = jax.random.split(key)
    drawn = [cell(name)(cell_key, 1, units, gain=gain, dtype=dtype) for name in ("tanh", "tanh_orthogonal")]
    graph, *states = nnx.split(drawn[0])
    chosen = jax.tree.map(partial(jnp.where, orthogonal > 0.5), nnx.state(drawn[1]), states[0])
    return SequenceModel(nnx.merge(graph, chosen), draw_layer(readout_key, 1, units, 1, dtype=dtype))


@dataclass(frozen=True)
class Plan:
    """How a network is flossed and trained.

    Attributes:
        task: What it learns.
        delay: Length of the task.
        batch_size: Sequences per training step.
        steps: Training steps that everything together may cost.
        floss_steps: Flossing steps, of a network that is flossed.
        charge: Training steps that one flossing step costs.
        exponents: Number of exponents pushed to zero.
        records: Records of training and of flossing.
        learning_rate: Of Adam in training.
        floss_rate: Of Adam in flossing.
    """

    task: Task
    delay: int
    batch_size: int
    steps: int
    floss_steps: int
    charge: int
    exponents: int
    records: int
    learning_rate: float
    floss_rate: float

    def split(self, cycles: int) -> tuple[int, int]:
        """Flossing and training steps of each cycle; training is rounded down to whole records."""
        if cycles == 0:
            return 0, self.steps // self.records * self.records
        left = (self.steps - self.charge * self.floss_steps) // self.records
        return self.floss_steps // cycles, left * self.records // cycles

    def places(self, schedule: str) -> np.ndarray:
        """Cost in training steps up to the middle of every record of training, flossing included."""
        floss_steps, train_steps = self.split(SCHEDULES[schedule])
        cycles, before = max(SCHEDULES[schedule], 1), self.charge * floss_steps
        count = self.records // cycles
        each = before + (np.arange(count) + 0.5) * train_steps / count
        return np.concatenate([each + (before + train_steps) * cycle for cycle in range(cycles)])


class Course(NamedTuple):
    """What became of a network.

    Attributes:
        flossed: The network after it was flossed first; untouched if it never was.
        trained: The network in the end.
        record: Loss, share of right answers and size of the gradient in training, records first.
        floss_loss: Mean squared exponent during flossing; NaN if there was none.
        diverged: Whether training diverged.
    """

    flossed: SequenceModel
    trained: SequenceModel
    record: dict[str, jax.Array]
    floss_loss: jax.Array
    diverged: jax.Array


def follow(
    key: jax.Array, model: SequenceModel, plan: Plan, schedule: str, clip_norm: ArrayLike = jnp.inf
) -> Course:
    """Floss and train one network; each of both begins with a new optimizer in every cycle."""
    cycles = SCHEDULES[schedule]
    floss_steps, train_steps = plan.split(cycles)
    records = plan.records // max(cycles, 1)
    graph, state = nnx.split(model)

    def draw(key: jax.Array) -> Batch:
        return plan.task.draw(key, plan.delay, plan.batch_size)

    def cycle(state: Any, key: jax.Array) -> Any:
        floss_key, train_key = jax.random.split(key)
        model, curve = nnx.merge(graph, state), jnp.full(records, jnp.nan)
        if cycles:
            model, curve = floss(floss_key, model, plan, floss_steps, records)
        done = train(
            train_key, model, plan.task.loss, draw, optax.adam(plan.learning_rate), train_steps, records,
            clip_norm=clip_norm,
        )  # fmt: skip
        return nnx.state(done.model), (nnx.state(model), done.record, curve, done.diverged_at > 0)

    keys = jax.random.split(key, max(cycles, 1))
    state, (flossed, record, curves, diverged) = jax.lax.scan(cycle, state, keys)
    return Course(
        nnx.merge(graph, jax.tree.map(lambda leaf: leaf[0], flossed)),
        nnx.merge(graph, state),
        {name: values.reshape(plan.records) for name, values in record.items()},
        curves.reshape(plan.records),
        jnp.any(diverged),
    )


def floss(
    key: jax.Array, model: SequenceModel, plan: Plan, count: int, records: int
) -> tuple[SequenceModel, jax.Array]:
    """Push exponents to zero for ``count`` steps; the network, and the loss over ``records`` of them."""

    def loss(model: SequenceModel, inputs: jax.Array) -> jax.Array:
        start = zero_carry(model.cell)
        found = lyapunov.spectrum(
            model.cell, start, inputs, plan.exponents, transient=WARM, interval=INTERVAL
        )
        return jnp.mean(found.exponents**2)

    def draw(key: jax.Array) -> jax.Array:
        return sequence(key, plan.task, WARM + COUNTED)

    done = train(key, model, loss, draw, optax.adam(plan.floss_rate), count, records)
    return done.model, done.record["loss"]


def sequence(key: jax.Array, task: Task, length: int) -> jax.Array:
    """Inputs (length, 1) of one sequence of the task, as long as wanted."""
    inputs: jax.Array = task.draw(key, -(-length // STRETCH), 1).inputs[:length, 0]
    return inputs


class Measured(NamedTuple):
    """What a network does with gradients, at one moment.

    Attributes:
        exponents: Of all units, in nats per step.
        exponent_error: Their standard errors over time.
        log_gradient: log |dL/dh_{T-k}| for lags k = 0 .. lags, a gradient of length 1 at the end.
        log_singular: Logs of the largest and of the last flossed singular value of dh_T/dh_{T-lags}.
    """

    exponents: jax.Array
    exponent_error: jax.Array
    log_gradient: jax.Array
    log_singular: jax.Array


def examine(model: SequenceModel, inputs: jax.Array, num: int, lags: int) -> Measured:
    """Exponents along all inputs, gradients by lag and singular values over the last ones."""
    start = zero_carry(model.cell)
    units = start.size
    found = lyapunov.spectrum(model.cell, start, inputs, units, transient=4 * WARM, interval=2)
    ones = jnp.full(units, units**-0.5, start.dtype)
    factors = trajectory.state_jacobians(model.cell, start, inputs)[-lags:]
    back = log_norms(jnp.swapaxes(factors, 1, 2)[::-1], ones)
    logs = products.log_singular_values_scaled(factors.astype(jnp.float64))
    return Measured(
        found.exponents,
        found.standard_error,
        jnp.append(0, back),
        logs[jnp.array([0, num - 1])].astype(start.dtype),
    )


def cost(batch_size: int, length: int, num: int) -> float:
    """Operations of a flossing step over those of a training step: directions and state against sequences.

    Both are forward and backward passes of matrices times vectors, so the number of vectors times that of
    steps counts. The decompositions come on top: they are small, but slow on most machines.
    """
    return (num + 1) * (WARM + COUNTED) / (batch_size * length)
