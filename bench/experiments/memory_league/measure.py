"""Choose a learning rate on held-out networks, then train one network with every optimizer."""

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from math import log
from typing import Any

import jax
import jax.numpy as jnp

from signalprop.analysis.timelag import gradient_by_lag
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.memory_league import Settings
from signalprop.bench.experiments.memory_league.competitors import UNITS, Competitor, competitor, runs
from signalprop.bench.experiments.memory_league.methods import any_optimizer
from signalprop.bench.training import recurrent
from signalprop.bench.training.flossing import STRETCH, Plan, floss
from signalprop.bench.training.tasks import Batch, find_task
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
    """Choose the learning rate on held-out networks, then train and judge this one, with every optimizer.

    What has to do with held-out networks depends on no seed, so under ``vmap`` over seeds it is done once.

    Returns:
        Arrays whose first axis is the optimizer; NaN where a remedy is not run with one.
    """
    entry, dtype = competitor(static["remedy"]), static["dtype"]
    names = runs(static["remedy"], static["optimizer"])
    unit = jnp.array([UNITS[name] for name in names], dtype)

    def one(index: jax.Array) -> dict[str, jax.Array]:
        run = partial(follow, index=index, entry=entry, names=names, static=static)
        chosen = tune(unit[index] * jnp.array(static["multiple"], dtype), run, static)
        return {"rate": chosen, **run(key, chosen)}

    found = jax.vmap(one)(jnp.arange(len(names)))
    places = jnp.array([static["optimizer"].index(name) for name in names])

    def spread(values: jax.Array) -> jax.Array:
        empty = jnp.full((len(static["optimizer"]), *values.shape[1:]), jnp.nan, values.dtype)
        return empty.at[places].set(values)

    return {name: spread(values) for name, values in found.items()}


def tune(rates: jax.Array, run: Any, static: Static) -> jax.Array:
    """The rate at which most held-out networks solve the task; among equals that of the smaller loss."""
    keys = jax.vmap(lambda n: jax.random.fold_in(jax.random.key(static["seed"]), HELD_OUT + n))(
        jnp.arange(static["tuning_seeds"])
    )
    found = jax.vmap(lambda rate: jax.vmap(lambda key: run(key, rate))(keys))(rates)
    near = jnp.nan_to_num(1 / (1 + found["test_loss"]))  # between 0, diverged, and 1
    return rates[jnp.argmax(jnp.sum(found["solved"], 1) + jnp.mean(near, 1) / 2)]


def follow(
    key: jax.Array, rate: jax.Array, *, index: jax.Array, entry: Competitor, names: list[str], static: Static
) -> dict[str, jax.Array]:
    """Draw, floss if the remedy says so, train and judge one network with one optimizer of ``names``."""
    (task, length), dtype, records = find_task(static["task"]), static["dtype"], static["records"]
    keys = jax.random.split(key, 4)
    model = recurrent.draw(entry.network, keys[0], task, static["units"], dtype)
    stride, spent = static["updates"] // records, 0
    if entry.flossed:
        spent = max(1, records // 10)
        model, _ = floss(keys[3], model, _plan(static), max(1, spent * stride // CHARGE), 1)
    trained = train(
        keys[1], model, recurrent.loss(entry.network, task),
        partial(task.draw, length=length, batch_size=static["batch_size"], dtype=dtype),
        any_optimizer(names, index, rate, entry), static["updates"] - spent * stride, records - spent,
        clip_norm=entry.clip_norm,
    )  # fmt: skip
    test = task.test(keys[2], length, static["test_size"], dtype=dtype)
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


def _plan(static: Static) -> Plan:
    """Flossing along inputs of the task, of which flossing asks by a third of their number."""
    task, length = find_task(static["task"])

    def draw(key: jax.Array, length: int, batch_size: int) -> Batch:
        return task.draw(key, STRETCH * length, batch_size, dtype=static["dtype"])

    return Plan(
        replace(task, draw=draw), length, static["batch_size"], 0, 0, CHARGE,
        min(EXPONENTS, static["units"]), 1, 0.0, FLOSS_RATE,
    )  # fmt: skip
