"""Flossing and training of one network, its gradients and exponents between, and its test."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import jax
import jax.numpy as jnp

from signalprop.analysis.chaos import edge_of_chaos
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.flossing import Settings
from signalprop.bench.training.flossing import (
    LONG,
    MOMENTS,
    STARTS,
    STRETCH,
    Plan,
    delayed_xor,
    draw_network,
    examine,
    follow,
    sequence,
)
from signalprop.bench.training.tasks import Task

TEST_SIZE = 64  # sequences on which a trained network is judged
NOISE = 1.0  # standard deviation that the input adds to a pre-activation


def starts(settings: Settings) -> dict[str, list[float]]:
    """The scalars that each start sets."""
    critical = float(edge_of_chaos(jnp.tanh, NOISE))
    chosen = [STARTS[name] for name in settings.start]
    return {
        "gain": [critical if s.gain is None else s.gain for s in chosen],
        "orthogonal": [s.orthogonal for s in chosen],
        "clip_norm": [s.clip_norm for s in chosen],
    }


def grid(settings: Settings) -> Grid:
    """One compilation per delay and schedule; all starts share their draws."""
    single = {name: value for name, value in asdict(settings).items() if not isinstance(value, tuple)}
    return Grid(
        static={"delay": settings.delay, "schedule": settings.schedule},
        traced={"start": starts(settings)},
        seeds=settings.seeds,
        constants={**single, "lags": STRETCH * max(settings.delay)},
        coords={
            "start": settings.start,
            "moment": MOMENTS,
            "index": range(1, settings.width + 1),
            "lag": range(STRETCH * max(settings.delay) + 1),
            "record": range(settings.records),
            "singular": (1, settings.exponents),
        },
    )


def plan(values: Mapping[str, Any], task: Task, delay: int) -> Plan:
    """The plan that settings amount to."""
    names = [field.name for field in fields(Plan) if field.name not in ("task", "delay")]
    return Plan(task, delay, **{name: values[name] for name in names})


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Floss and train one network; what it does with gradients before, between and after."""
    delay, num = static["delay"], static["exponents"]
    task = delayed_xor(delay, static["dtype"])
    keys = jax.random.split(key, 4)
    model = draw_network(keys[0], static["width"], point["gain"], point["orthogonal"], static["dtype"])
    course = follow(keys[1], model, plan(static, task, delay), static["schedule"], point["clip_norm"])
    inputs = sequence(keys[2], task, LONG)
    moments = jax.tree.map(lambda *m: jnp.stack(m), model, course.flossed, course.trained)
    found = jax.vmap(lambda m: examine(m, inputs, num, static["lags"]))(moments)
    test_loss, test = task.loss(course.trained, task.test(keys[3], delay, TEST_SIZE))
    return {
        **found._asdict(),
        **{name: course.record[name] for name in ("loss", "correct", "log_gradient_norm", "clip_rate")},
        "floss_loss": course.floss_loss,
        "test_loss": test_loss,
        "test_correct": test["correct"],
        "solved": task.solved(test_loss, test["correct"]).astype(test_loss.dtype),
        "diverged": course.diverged.astype(test_loss.dtype),
    }
