"""Run the routes out of a silent layer, each beside what closed forms make of the same start.

The forms of `analysis.plateau` know neither network nor loss: an optimizer that sees only zeros moves a layer
by its memory, its decay and its noise alone, until some w x + b turns positive.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from signalprop.analysis import plateau
from signalprop.bench.experiments.zero_gradient_plateau.plateaus import (
    LEVELS,
    RATE,
    Instance,
    Silent,
    layer,
    rows,
)
from signalprop.bench.experiments.zero_gradient_plateau.routes import ROUTES, Route
from signalprop.bench.training.curvature import newton
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import train
from signalprop.models.normalization import batch_norm

METHODS = ("heavy_ball", "nesterov", "adam", "newton")
NUMBERS = tuple(field.name for field in fields(Route) if field.name not in ("label", "method"))
METHOD = 2  # place of the method's own memory in an optimizer of the suite
NEWTON_STEPS = 3  # a dense Hessian each
NO_EPSILON, EPSILON = 1e-30, 1e-8  # of Adam
SECOND = 0.999  # Adam's b2
NORM_EPSILON = 1e-5  # added to the variance by the norms
Row = dict[str, jax.Array]  # the numbers of one route


def escapes(instance: Instance, routes: Sequence[str], steps: int, key: jax.Array) -> dict[str, jax.Array]:
    """Run routes of ``ROUTES`` from one instance; results have the routes as their first axis.

    Returns:
        ``escape`` and ``foreseen``: the first step after which some w x + b is positive, measured and by
        closed form; infinite where that is not within the steps. ``moved``: the largest change of a weight or
        bias; NaN after an escape. ``off``: the largest difference between measured and predicted highest
        w x + b until the escape. ``coasting``: the displacement in units of the last step that memory
        asks for, ``-rate v`` or ``-rate m / sqrt(s)``, and ``coasting_off`` its largest error in any
        parameter; NaN without memory or after an escape. ``accuracy`` and ``output_bias`` at the end.
        ``highest`` and ``highest_foreseen``: (routes, steps).
    """
    results: dict[str, Row] = {}
    shocks = jax.random.normal(key, (steps, *instance.velocity.shape), instance.velocity.dtype)
    for program in ("plain", "normalized", "newton"):
        names = [name for name in routes if ROUTES[name].program == program]
        if not names:
            continue
        numbers = {field: jnp.asarray([getattr(ROUTES[n], field) for n in names]) for field in NUMBERS}
        numbers["method"] = jnp.asarray([METHODS.index(ROUTES[n].method) for n in names])
        found = jax.vmap(lambda row, p=program: _run(instance, p, row, shocks, key))(numbers)
        results |= {name: jax.tree.map(lambda a, i=i: a[i], found) for i, name in enumerate(names)}
    return {field: jnp.stack([results[name][field] for name in routes]) for field in results[routes[0]]}


def _run(instance: Instance, program: str, row: Row, shocks: jax.Array, key: jax.Array) -> Row:
    """Train one route, and judge it beside its closed form."""
    start, unit, steps = _start(instance, row), _unit(instance, row), len(shocks)
    norm = row["norm"] if program == "normalized" else None
    method, count, way = optimizer("sgd", RATE), steps, start[None]  # it rests
    if program == "newton":
        method, count = newton(saddle_free=row["saddle_free"]), min(NEWTON_STEPS, steps)
    if program == "plain":
        noise = row["noise"] * shocks
        method, way = _remembering(instance, row, noise), _way(row, start, unit, noise)
    batch, model = (instance.x, instance.label), Silent(layer(start), instance.readout, norm)
    trained = train(key, model, _loss, lambda _: batch, method, count, count)
    highest = jnp.pad(trained.record["highest"], (0, steps - count), mode="edge")
    foreseen = jax.lax.map(lambda at: _foreseen(instance.x, at, norm), way[:steps])
    foreseen = jnp.broadcast_to(foreseen, highest.shape)
    escape, predicted = _first_positive(highest), _first_positive(foreseen)
    predicted = jnp.where(row["decay_biases"], predicted, _decay_step(instance.x, row, start, steps))
    if program == "normalized":
        predicted = _by_theorem(row, predicted)
    end, silent = rows(trained.model.hidden), jnp.isinf(escape)
    coasts = silent & (row["moving"] > 0)
    square = jnp.where(coasts, jnp.vdot(unit, unit), 1)
    right = (trained.model(instance.x) > 0) == (instance.label > 0)
    return {
        "escape": escape,
        "foreseen": predicted,
        "moved": jnp.where(silent, jnp.max(jnp.abs(end - start)), jnp.nan),
        "off": jnp.max(jnp.where(jnp.arange(steps) <= escape, jnp.abs(highest - foreseen), 0)),
        "coasting": jnp.where(coasts, jnp.vdot(end - start, unit) / square, jnp.nan),
        "coasting_off": jnp.where(coasts, jnp.max(jnp.abs(end - way[-1])), jnp.nan),
        "accuracy": jnp.mean(right.astype(start.dtype)),
        "output_bias": trained.model.readout.bias[0],
        "highest": highest,
        "highest_foreseen": foreseen,
    }


def _start(instance: Instance, row: Row) -> jax.Array:
    """Weights and biases; a start behind a norm gets its shift as bias."""
    start = jnp.stack(instance.starts)[row["start"]]
    limit = plateau.samuelson_limit(len(instance.x)).astype(start.dtype)
    return start.at[-1].add(row["shift"].astype(start.dtype) * limit)


def _unit(instance: Instance, row: Row) -> jax.Array:
    """What the optimizer's memory asks for at first, before it fades; 0 at rest."""
    scale = jnp.where(_uses(row, "adam"), jnp.sqrt(instance.second), 1)
    remembered = [-RATE * instance.velocity / scale, instance.killed_by]
    return jnp.select([row["moving"] == 1, row["moving"] == 2], remembered, 0)


def _uses(row: Row, method: str) -> jax.Array:
    return row["method"] == METHODS.index(method)


def _loss(model: Silent, batch: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Logistic loss, and the highest w x + b of all units and examples."""
    x, label = batch
    return optax.sigmoid_binary_cross_entropy(model(x), label).mean(), {"highest": _highest(model, x)}


def _highest(model: Silent, x: jax.Array) -> jax.Array:
    return jnp.max(model.pre_activation(x))


def _foreseen(x: jax.Array, hidden: jax.Array, norm: jax.Array | None) -> jax.Array:
    """Highest w x + b of all units and examples, by arithmetic alone, without network and norms."""
    values = x @ hidden[:-1]
    if norm is not None:

        def standardised(axis: int) -> jax.Array:
            centred = values - jnp.mean(values, axis, keepdims=True)
            return centred / jnp.sqrt(jnp.mean(centred**2, axis, keepdims=True) + NORM_EPSILON)

        values = jnp.where(norm == LEVELS.index(batch_norm), standardised(0), standardised(1))
    return jnp.max(values + hidden[-1])


def _by_theorem(row: Row, otherwise: jax.Array) -> jax.Array:
    """First step at which a batch-normalized layer is awake, where that needs no look at its values.

    With shift 0 some example lies above the mean: at once. With a shift of -sqrt(B - 1), Samuelson's limit,
    none ever does.
    """
    batch = row["norm"] == LEVELS.index(batch_norm)
    cases = [batch & (row["shift"] == 0), batch & (row["shift"] <= -1)]
    return jnp.select(cases, [0.0, jnp.inf], otherwise).astype(otherwise.dtype)


def _first_positive(values: jax.Array) -> jax.Array:
    """Index of the first positive entry; infinite if there is none."""
    positive = values > 0
    return jnp.where(jnp.any(positive), jnp.argmax(positive), jnp.inf).astype(values.dtype)


def _decay_step(x: jax.Array, row: Row, start: jax.Array, steps: int) -> jax.Array:
    """First step after which decaying weights leave some unit awake; infinite beyond the steps."""
    shrink = RATE * (row["l2"] + row["decay"])
    step = jnp.min(plateau.decay_escape_step(x @ start[:-1], start[-1], shrink))
    return jnp.where(step < steps, step, jnp.inf).astype(start.dtype)


def _remembering(instance: Instance, row: Row, noise: jax.Array) -> optax.GradientTransformation:
    """Build the optimizer that the row names, with what it remembers, and noise after every step."""
    numbers = {name: row[name] for name in ("momentum", "l2", "decay", "decay_biases")}
    epsilon = jnp.where(row["moving"] > 0, NO_EPSILON, EPSILON)
    methods = [optimizer(name, RATE, epsilon=epsilon, **numbers) for name in METHODS[:3]]

    def tree(hidden: jax.Array) -> Any:
        """Parameters of a network whose read-out is 0."""
        readout = jax.tree.map(jnp.zeros_like, instance.readout)
        return nnx.state(Silent(layer(hidden), readout), nnx.Param)

    def init(parameters: Any) -> Any:
        ball, nesterov, adam = ([*method.init(parameters)] for method in methods)
        moments = [tree(jnp.where(row["moving"] > 0, m, 0)) for m in (instance.velocity, instance.second)]
        for memory in (ball, nesterov):
            memory[METHOD] = memory[METHOD]._replace(trace=tree(-_unit(instance, row) / RATE))
        adam[METHOD] = adam[METHOD]._replace(count=row["count"], mu=moments[0], nu=moments[1])
        return (tuple(ball), tuple(nesterov), tuple(adam)), jnp.zeros((), jnp.int32)

    def update(gradients: Any, state: Any, parameters: Any) -> Any:
        memories, step = state
        pairs = [m.update(gradients, s, parameters) for m, s in zip(methods, memories, strict=True)]
        chosen = jax.tree.map(lambda *u: jnp.stack(u)[row["method"]], *(updates for updates, _ in pairs))
        moved = jax.tree.map(jnp.add, chosen, tree(noise[step]))
        return moved, (tuple(memory for _, memory in pairs), step + 1)

    return optax.GradientTransformation(init, update)


def _way(row: Row, start: jax.Array, unit: jax.Array, noise: jax.Array) -> jax.Array:
    """Weights and biases after 0, 1, ... steps without gradient, by closed form."""
    steps, momentum, shrink = len(noise), row["momentum"], RATE * (row["l2"] + row["decay"])
    t, adam = jnp.arange(steps + 1), _uses(row, "adam")
    coast = jnp.select(
        [adam, _uses(row, "nesterov")],
        [
            jnp.pad(plateau.coasting_adam(steps, row["count"], momentum, SECOND), (1, 0)),
            plateau.coasting_nesterov(t, momentum),
        ],
        plateau.coasting_heavy_ball(t, momentum),
    )
    swings = ~adam & (momentum > 0) & (shrink > 0)
    swing = plateau.heavy_ball_decay_factor(t, momentum, shrink)
    whole = jnp.where(swings, swing, plateau.decay_factor(t, shrink))[:, None, None]
    is_bias = (jnp.arange(len(start)) == len(start) - 1)[:, None]  # the last row
    drift = jnp.where(row["moving"] > 0, coast[:, None, None] * unit, 0)
    noise = jnp.pad(jnp.cumsum(noise, 0), ((1, 0), (0, 0), (0, 0)))
    way = jnp.where(is_bias & ~row["decay_biases"], 1, whole) * start + drift + noise
    signs = plateau.adam_decay_path(start, steps, learning_rate=RATE, l2=row["l2"], epsilon=EPSILON)
    return jnp.where(adam & (row["l2"] > 0), jnp.concatenate([start[None], signs]), way)
