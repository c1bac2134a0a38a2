"""Training of one LSTM on the adding problem, and a look at its gates and gradients before and after."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from signalprop.analysis.timelag import gradient_by_lag
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.learned_gates import Settings
from signalprop.bench.measure.gates import activities
from signalprop.bench.measure.memory import TERMS, follow
from signalprop.bench.training.tasks import TASKS, Batch
from signalprop.bench.training.trainer import train
from signalprop.models.cells import cell as find_cell
from signalprop.models.cells import zero_carry
from signalprop.models.mlp import draw_layer
from signalprop.models.sequence import SequenceModel

PARTS = ("before", "between")  # before the first mark, and from the first to the second
STAGES = ("before training", "after training")
TASK = TASKS["adding"]
WATCHED = 32  # test sequences along which gates are read
FOLLOWED = 4  # of which changes are followed too
OFFSETS = tuple(range(-5, 11))  # steps from the first mark


def grid(settings: Settings) -> Grid:
    """One program: all biases share their draws and their sequences."""
    names = ("length", "units", "updates", "records", "batch_size", "learning_rate", "dtype")
    stride = settings.updates // settings.records
    return Grid(
        static={"cell": ("lstm",)},
        traced={"forget_bias": settings.forget_bias},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in names},
        coords={
            "update": [stride * (i + 0.5) for i in range(settings.records)],
            "stage": STAGES,
            "offset": OFFSETS,
            "term": TERMS,
            "part": PARTS,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network; look at it before and after."""
    units, length, dtype = static["units"], static["length"], static["dtype"]
    cell_key, readout_key, train_key, test_key = jax.random.split(key, 4)
    cell = find_cell(static["cell"])(
        cell_key, TASK.features, units, gain=1.0, input_scale=jnp.asarray(TASK.features**0.5, dtype),
        forget_bias=point["forget_bias"], dtype=dtype,
    )  # fmt: skip
    model = SequenceModel(cell, draw_layer(readout_key, 1, units, TASK.outputs, dtype=dtype))
    draw = partial(TASK.draw, length=length, batch_size=static["batch_size"], dtype=dtype)
    trained = train(
        train_key, model, TASK.loss, draw, optax.adam(static["learning_rate"]), static["updates"],
        static["records"], clip_norm=1.0,
    )  # fmt: skip
    test = TASK.test(test_key, length, 10 * WATCHED, dtype=dtype)
    loss, aside = TASK.loss(trained.model, test)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, trained.model)
    return {
        "curve": trained.record["loss"],
        "solved": (TASK.solved(loss, aside["correct"]) & (trained.diverged_at == 0)).astype(dtype),
        **jax.vmap(lambda m: look(m, test, test_key))(both),
    }


def look(model: SequenceModel, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
    """Gates and gradient by time from the first mark, the four terms, and the decay of a change of c_0."""
    cell: Any = model.cell
    readout = model.readout.kernel[:, 0]
    inputs = jnp.swapaxes(batch.inputs, 0, 1)  # sequences first

    def gates(x: jax.Array) -> dict[str, jax.Array]:
        def step(carry: Any, x: jax.Array) -> Any:
            found = activities(cell, carry[1], x)
            return cell(carry, x)[0], (jnp.mean(jnp.log(found.f)), jnp.mean(found.i))

        zero = zero_carry(cell)
        _, (log_f, i) = jax.lax.scan(step, zero, x)
        sizes = gradient_by_lag(cell, zero, x, (jnp.zeros_like(readout), readout)).log_norm[::-1]
        place, (first, second) = jnp.array(OFFSETS), jnp.sort(jax.lax.top_k(x[:, 1], 2)[1])
        place = first + place
        inside = (place >= 0) & (place < second)  # the window ends before the second mark
        near = {"log_f": log_f, "input_gate": i, "gradient": sizes[1:] - sizes[first + 1]}
        window = {name: jnp.where(inside, values[place], jnp.nan) for name, values in near.items()}
        # dL/dcarry_t for t = 0..T; the first number enters with carry first + 1.
        between = (sizes[first + 1] - sizes[second]) / (second - first - 1)
        before = (sizes[0] - sizes[first]) / first
        rates = jnp.where((first > 0) & (second > first + 1), jnp.stack([before, between]), jnp.nan)
        return window | {"rates": rates}

    def changes(x: jax.Array) -> dict[str, jax.Array]:
        found = follow(lambda _: cell, x, key)
        return {"exponent": found["log_norm"][-1, 0] / len(x), "terms": found["terms"].mean(0)}

    read = jax.vmap(gates)(inputs[:WATCHED])
    followed = jax.vmap(changes)(inputs[:FOLLOWED])
    return {name: jnp.nanmean(values, 0) for name, values in (read | followed).items()}
