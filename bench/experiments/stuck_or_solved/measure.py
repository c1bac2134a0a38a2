"""Every condition, the networks of random scale and the restarts on XOR, from one seed."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.typing import DTypeLike

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.stuck_or_solved import Settings
from signalprop.bench.experiments.stuck_or_solved.conditions import (
    CLASSES,
    CONDITIONS,
    FEATURES,
    PHIS,
    draw_problem,
    rows,
)
from signalprop.bench.experiments.stuck_or_solved.xor import restart
from signalprop.bench.training.curvature import hessian
from signalprop.bench.training.diagnostics import by_layer
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import log_global_norm, train
from signalprop.models.activations import chosen
from signalprop.models.classifier import Classifier, draw_classifier

DATA_KEY = 10158
RATE = 0.05
NEVER = 1_000_000  # steps that are more than any run


def grid(settings: Settings) -> Grid:
    """Only seeds are an axis; conditions are a dimension of what is measured."""
    constants = (
        "examples", "width", "depth", "steps", "records", "probe_steps", "random", "xor_width", "penalty",
        "restarts", "xor_steps", "dtype",
    )  # fmt: skip
    stride = settings.steps // settings.records
    return Grid(
        static={},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "network": (*CONDITIONS, *(f"random {i}" for i in range(settings.random))),
            "step": [stride * i for i in range(settings.records)],
            "restart": range(settings.restarts),
            "xor_width": settings.xor_width,
            "penalty": settings.penalty,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Examine every condition and the networks of random scale, and restart the nets on XOR."""
    row_key, key, xor_key = jax.random.split(key, 3)
    dtype = static["dtype"]
    names = ("examples", "width", "depth", "steps", "records", "probe_steps", "dtype")
    sizes = {name: static[name] for name in names}
    numbers = rows(row_key, static["random"], dtype)
    keys = jax.random.split(key, len(numbers["phi"]))
    found = jax.vmap(lambda k, row: examine(k, row, **sizes))(keys, numbers)
    one = partial(restart, steps=static["xor_steps"], dtype=dtype)
    for axes in ((None, None, 0), (None, 0, None), (0, None, None)):
        one = jax.vmap(one, axes)
    widths, penalties = jnp.asarray(static["xor_width"]), jnp.asarray(static["penalty"], dtype)
    ends = one(jax.random.split(xor_key, static["restarts"]), widths, penalties)
    return {
        **found,
        "sigma_w": numbers["sigma_w"],
        **{f"xor_{name}": values for name, values in ends.items()},
    }


def examine(
    key: jax.Array, row: dict[str, jax.Array], *, examples: int, width: int, depth: int, steps: int,
    records: int, probe_steps: int, dtype: DTypeLike,
) -> dict[str, jax.Array]:  # fmt: skip
    """Train one network as its row says, and read the four numbers.

    Returns:
        ``loss`` and ``base`` (that of the base rate); ``log_gradient``: natural log of the norm of the whole
        gradient; ``continued`` and ``restarted``: loss after ``probe_steps`` more steps, and of a fresh relu
        network with He weights after as many; ``least`` and ``largest``: of the Hessian's eigenvalues; and by
        record, all read before its first update, ``loss_by_record``, ``first_by_last`` (log ratio of the
        first hidden kernel's gradient to the last one's), ``log_first``; ``saturated`` and ``inactive``:
        largest share of a layer.
    """
    keys = jax.random.split(key, 3)
    x, label, uniform = draw_problem(jax.random.key(DATA_KEY), examples, dtype)
    batch = x, jnp.where(uniform < row["flips"], 1 - label, label)
    phi = chosen(PHIS, row["phi"].astype(jnp.int32))
    shape = (FEATURES, width, depth, CLASSES)
    model = draw_classifier(keys[0], *shape, phi, sigma_w=row["sigma_w"], dtype=dtype)
    first = model.runs[0].layer
    first.bias[...] = first.bias[...] + row["bias"].astype(dtype)
    trained = train(
        keys[1], model, loss, lambda _: batch, _until(row["share"] * steps), steps, records, _observe
    )
    fresh = draw_classifier(keys[2], *shape, chosen(PHIS, 0), sigma_w=2**0.5, dtype=dtype)
    graph, *states = nnx.split(trained.model, nnx.Param, ...)
    parameters, rest = states

    def value(p: Any) -> jax.Array:
        return loss(nnx.merge(graph, p, rest), batch)

    slope = jax.grad(value)(parameters)
    spectrum = jnp.linalg.eigvalsh(hessian(value, parameters))
    counts = jnp.stack([jnp.mean((batch[1] == c).astype(dtype)) for c in range(CLASSES)])
    record = trained.record
    starts = jax.tree.map(lambda *pair: jnp.stack(pair), parameters, nnx.state(fresh, nnx.Param))
    phis = jnp.stack([row["phi"].astype(jnp.int32), jnp.zeros((), jnp.int32)])

    def probe(start: Any, phi: jax.Array) -> jax.Array:
        model = draw_classifier(keys[2], *shape, chosen(PHIS, phi), dtype=dtype)
        nnx.update(model, start)
        return loss(train(keys[1], model, loss, lambda _: batch, _until(NEVER), probe_steps, 1).model, batch)

    probed = jax.vmap(probe)(starts, phis)
    return {
        "loss": value(parameters),
        "base": -jnp.sum(counts * jnp.log(counts)),
        "log_gradient": log_global_norm(slope),
        "continued": probed[0],
        "restarted": probed[1],
        "least": spectrum[0],
        "largest": spectrum[-1],
        "loss_by_record": record["loss_before"],
        "first_by_last": record["log_gradient"][:, 0] - record["log_gradient"][:, depth - 1],
        "log_first": record["log_gradient"][:, 0],
        "saturated": jnp.max(record["saturated"], -1),
        "inactive": jnp.max(record["inactive"], -1),
    }


def loss(model: Classifier, batch: Any) -> jax.Array:
    """Mean cross-entropy of softmax in nats."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(model(batch[0]), batch[1]))


def _observe(model: Classifier, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
    """Loss and layers at the same step: the mean of the record would look ahead."""
    return {"loss_before": loss(model, batch), **by_layer(model, gradients, updates, batch)}


def _until(steps: jax.Array | int) -> optax.GradientTransformation:
    """Heavy ball that stops after some steps."""
    stop = optax.scale_by_schedule(lambda count: jnp.where(count < steps, 1.0, 0.0))
    return optax.chain(optimizer("heavy_ball", RATE), stop)
