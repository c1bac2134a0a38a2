"""Choose a learning rate on held-out networks, then train one network with every optimizer."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from math import log
from typing import Any

import jax
import jax.numpy as jnp

from signalprop.analysis.timelag import gradient_by_lag
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.memory_league import Settings
from signalprop.bench.experiments.memory_league.competitors import (
    UNITS,
    Competitor,
    any_optimizer,
    competitor,
    runs,
)
from signalprop.bench.training.flossing import STRETCH, Plan, floss
from signalprop.bench.training.tasks import Batch, Task, find_task
from signalprop.bench.training.trainer import train
from signalprop.models.cells import zero_carry
from signalprop.models.sequence import SequenceModel

MOMENTS = ("start", "end")
LN10 = log(10)
WATCHED = 4  # test sequences along which the gradient by lag is measured
EXPONENTS, FLOSS_RATE, CHARGE = 8, 3e-3, 2  # of flossing; a flossing step is charged as 2 training steps
HELD_OUT = 1 << 20  # number of the first seed that learning rates are tuned on


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


@dataclass(frozen=True)
class Protocol:
    """What is the same for all competitors.

    Attributes:
        task: What is learnt.
        length: Its length T.
        optimizer: Names, of which a remedy is run with those of `competitors.runs`.
        multiple: Learning rates as multiples of an optimizer's unit.
        units: Hidden units.
        batch_size: Sequences per update.
        updates: Updates, flossing included.
        records: Points of a learning curve.
        test_size: Sequences that a trained network is judged on.
        tuning_seeds: Networks per learning rate that choose it.
        seed: Root of all random numbers.
        dtype: Floating-point type.
    """

    task: Task
    length: int
    optimizer: tuple[str, ...]
    multiple: tuple[float, ...]
    units: int
    batch_size: int
    updates: int
    records: int
    test_size: int
    tuning_seeds: int
    seed: int
    dtype: str


def compete(key: jax.Array, entry: Competitor, remedy: str, rules: Protocol) -> dict[str, jax.Array]:
    """Choose the learning rate on held-out networks, then train and judge this one, with every optimizer.

    What has to do with held-out networks depends on no seed, so under ``vmap`` over seeds it is done once.

    Returns:
        Arrays whose first axis is the optimizer; NaN where a remedy is not run with one.
    """
    names = runs(remedy, rules.optimizer)
    unit = jnp.array([UNITS[name] for name in names], rules.dtype)

    def one(index: jax.Array) -> dict[str, jax.Array]:
        rates = unit[index] * jnp.array(rules.multiple, rules.dtype)
        chosen = tune(rates, lambda k, rate: follow(k, index, rate, entry, names, rules), rules)
        return {"rate": chosen, **follow(key, index, chosen, entry, names, rules)}

    found = jax.vmap(one)(jnp.arange(len(names)))
    places = jnp.array([rules.optimizer.index(name) for name in names])

    def spread(values: jax.Array) -> jax.Array:
        empty = jnp.full((len(rules.optimizer), *values.shape[1:]), jnp.nan, values.dtype)
        return empty.at[places].set(values)

    return {name: spread(values) for name, values in found.items()}


def tune(rates: jax.Array, run: Any, rules: Protocol) -> jax.Array:
    """The rate at which most held-out networks solve the task; among equals that of the smaller loss."""
    keys = jax.vmap(lambda n: jax.random.fold_in(jax.random.key(rules.seed), HELD_OUT + n))(
        jnp.arange(rules.tuning_seeds)
    )
    found = jax.vmap(lambda rate: jax.vmap(lambda key: run(key, rate))(keys))(rates)
    near = jnp.nan_to_num(1 / (1 + found["test_loss"]))  # between 0, diverged, and 1
    return rates[jnp.argmax(jnp.sum(found["solved"], 1) + jnp.mean(near, 1) / 2)]


def follow(
    key: jax.Array,
    index: jax.Array,
    rate: jax.Array,
    entry: Competitor,
    names: list[str],
    rules: Protocol,
) -> dict[str, jax.Array]:
    """Draw, floss if the remedy says so, train and judge one network."""
    task, dtype = rules.task, rules.dtype
    keys = jax.random.split(key, 4)
    model = entry.network.draw(keys[0], task, rules.units, dtype)
    stride, spent = rules.updates // rules.records, 0
    if entry.flossed:
        spent = max(1, rules.records // 10)
        plan = _plan(rules)
        model, _ = floss(keys[3], model, plan, max(1, spent * stride // CHARGE), 1)
    trained = train(
        keys[1], model, entry.network.loss(task),
        partial(task.draw, length=rules.length, batch_size=rules.batch_size, dtype=dtype),
        any_optimizer(names, index, rate, entry), rules.updates - spent * stride, rules.records - spent,
        clip_norm=entry.clip_norm,
    )  # fmt: skip
    test = task.test(keys[2], rules.length, rules.test_size, dtype=dtype)
    loss, aside = task.loss(trained.model, test)
    record: Mapping[str, jax.Array] = {
        name: jnp.concatenate([jnp.full(spent, jnp.nan, dtype), trained.record[name]])
        for name in ("task_loss", "log_gradient_norm", "clip_rate")
    }
    return {
        "test_loss": loss,
        "solved": (task.solved(loss, aside["correct"]) & (trained.diverged_at == 0)).astype(dtype),
        "curve": record["task_loss"],
        "log_gradient_norm": record["log_gradient_norm"],
        "clip_rate": record["clip_rate"],
        "diverged_at": trained.diverged_at.astype(dtype),
        "decades": jnp.stack([kept_decades(m, test) for m in (model, trained.model)]),
    }


def kept_decades(model: SequenceModel, batch: Batch) -> jax.Array:
    r"""Mean over sequences of log10 of |dy/dh_0| over |dy/dh_T| for the answer y at the last step.

    h is the whole carry. Below 0 the gradient vanishes; -inf where it is 0 exactly.
    """

    def one(inputs: jax.Array) -> jax.Array:
        carry = zero_carry(model.cell)
        *rest, _ = jax.tree.leaves(carry)  # what a cell puts out is the last part of its carry
        slope = model.readout.kernel[...][:, 0]
        leaves = [*map(jnp.zeros_like, rest), slope]
        cotangent = jax.tree.unflatten(jax.tree.structure(carry), leaves)
        profile = gradient_by_lag(model.cell, carry, inputs, cotangent).log_norm
        return profile[-1] - profile[0]

    return jnp.mean(jax.vmap(one, 1)(batch.inputs[:, :WATCHED])) / LN10


def _plan(rules: Protocol) -> Plan:
    """Flossing along inputs of the task, of which flossing asks by a third of their number."""

    def draw(key: jax.Array, length: int, batch_size: int) -> Batch:
        return rules.task.draw(key, STRETCH * length, batch_size, dtype=rules.dtype)

    return Plan(
        replace(rules.task, draw=draw), rules.length, rules.batch_size, 0, 0, CHARGE,
        min(EXPONENTS, rules.units), 1, 0.0, FLOSS_RATE,
    )  # fmt: skip
