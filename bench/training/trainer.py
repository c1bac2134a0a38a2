"""Train one network inside one compiled scan; callers vmap over seeds, learning rates and remedies.

Everything that a run leaves is data: the loss curve, the size of the gradient, how often clipping engaged,
whatever the caller observes at a stride, and the step at which a run diverged, with the quantity that did.
A diverged network is frozen as it was before that step, and its later records are NaN.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.scipy.special import logsumexp
from jax.typing import ArrayLike

from signalprop.bench.engine.errors import InputError

QUANTITIES = ("none", "loss", "gradient", "parameters", "optimizer")  # which was not finite, by number

Loss = Callable[[Any, Any], Any]
Tree = Any  # parameters, gradients or updates: an nnx.State
Observe = Callable[[Any, Tree, Tree, Any], dict[str, jax.Array]]


class Trained(NamedTuple):
    """A network after training.

    Attributes:
        model: The network, as it was before the step at which it diverged if it did.
        record: Arrays whose first axis is the record: ``loss``, ``log_gradient_norm``, ``clip_rate``, and
            what the loss and the observer returned by name.
        diverged_at: Number of the step, from 1, whose loss, gradient or update was not finite, or which left
            an optimizer's memory that is not; 0: never.
        diverged_in: Index into ``QUANTITIES`` of the first quantity of that step that was not finite.
    """

    model: Any
    record: dict[str, jax.Array]
    diverged_at: jax.Array
    diverged_in: jax.Array


class _State(NamedTuple):
    parameters: Tree
    memory: optax.OptState
    diverged_at: jax.Array
    diverged_in: jax.Array


class _Update(NamedTuple):
    """One step: the parameters before it, what changes them, and the scalars to record."""

    before: Tree
    gradients: Tree
    updates: Tree
    batch: Any
    scalars: dict[str, jax.Array]


def train(
    key: jax.Array,
    model: Any,
    loss: Loss,
    draw_batch: Callable[[jax.Array], Any],
    optimizer: optax.GradientTransformation,
    num_steps: int,
    num_records: int,
    observe: Observe | None = None,
    *,
    clip_norm: ArrayLike = jnp.inf,
) -> Trained:
    """Train one network; works under ``jit`` and ``vmap``, and learning rate and ``clip_norm`` may be traced.

    Record r covers ``num_steps / num_records`` steps, from step ``r num_steps / num_records`` on: of the
    loss, of the values beside it and of clipping it holds the mean, of the gradient norm before clipping the
    log of the root mean square. The observer sees the first of these steps: in record 0, the untrained
    network.

    Args:
        key: Random key of the batches; step n, from 0, draws with ``fold_in(key, n)``.
        model: Flax NNX module, used as a pytree; only its ``nnx.Param`` leaves are trained.
        loss: ``(model, batch) -> scalar``, or ``-> (scalar, {name: scalar})`` to record values beside it.
        draw_batch: ``key -> batch``: fresh examples of an online task, or a choice from a data set.
        optimizer: Any optax transformation. One that takes extra arguments also gets ``value_fn``, the loss
            of this batch as a function of the parameters.
        num_steps: Number of updates.
        num_records: Number of records; divides ``num_steps``.
        observe: ``(model, gradients, updates, batch) -> {name: array}``, called once per record: gradients
            after clipping, updates as they are added to the parameters of that model.
        clip_norm: A gradient of larger global norm is scaled down to it, as by ``optax.clip_by_global_norm``
            (Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063, algorithm 1) but safe from overflow; infinity
            never clips. The clip rate is the share of steps where it did.

    Raises:
        InputError: If the number of records does not divide the number of steps.
    """
    if min(num_records, num_steps) < 1 or num_steps % num_records:
        raise InputError(
            f"steps: got {num_steps} in {num_records} records; write a multiple of {num_records}"
        )
    stride = num_steps // num_records
    graph, *states = nnx.split(model, nnx.Param, ...)
    parameters, rest = states

    def evaluate(parameters: Tree, batch: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        out = loss(nnx.merge(graph, parameters, rest), batch)
        return out if isinstance(out, tuple) else (out, {})

    def look(update: _Update) -> dict[str, jax.Array]:
        if observe is None:
            return {}
        before = nnx.merge(graph, update.before, rest)
        return observe(before, update.gradients, update.updates, update.batch)

    def step(carry: Any, number: jax.Array) -> Any:
        state, seen = carry
        state, update = _step(state, number, key, evaluate, draw_batch, optimizer, clip_norm)
        seen = jax.lax.cond(number % stride == 0, look, lambda _: seen, update)
        return (state, seen), update.scalars

    def record(state: _State, first: jax.Array) -> Any:
        lost = state.diverged_at > 0
        (state, seen), scalars = jax.lax.scan(step, (state, blank), first + jnp.arange(stride))
        return state, _means(scalars) | jax.tree.map(partial(_mark_lost, lost), seen)

    never = jnp.zeros((), jnp.int32)
    start = _State(parameters, optimizer.init(parameters), never, never)
    update = jax.eval_shape(lambda: _step(start, never, key, evaluate, draw_batch, optimizer, clip_norm)[1])
    blank = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(look, update))
    end, records = jax.lax.scan(record, start, stride * jnp.arange(num_records))
    return Trained(nnx.merge(graph, end.parameters, rest), records, end.diverged_at, end.diverged_in)


def log_global_norm(tree: Any) -> jax.Array:
    """Natural log of the norm of all leaves together; -inf if all are 0, inf or NaN if one is not finite."""
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]))
    scale = jnp.where(largest > 0, largest, 1)
    return jnp.log(largest) + jnp.log(sum(jnp.sum((leaf / scale) ** 2) for leaf in jax.tree.leaves(tree))) / 2


def _step(
    state: _State,
    number: jax.Array,
    key: jax.Array,
    evaluate: Callable[..., Any],
    draw_batch: Callable[[jax.Array], Any],
    optimizer: optax.GradientTransformation,
    clip_norm: ArrayLike,
) -> tuple[_State, _Update]:
    """One update, undone and marked if it is not finite."""
    batch = draw_batch(jax.random.fold_in(key, number))
    (value, aside), raw = jax.value_and_grad(evaluate, has_aux=True)(state.parameters, batch)
    log_norm, log_limit = log_global_norm(raw), jnp.log(jnp.asarray(clip_norm, value.dtype))
    shrink = jnp.where(log_norm > log_limit, jnp.exp(log_limit - log_norm), 1)
    gradients = jax.tree.map(lambda g: g * shrink.astype(g.dtype), raw)
    updates, memory = optax.with_extra_args_support(optimizer).update(
        gradients, state.memory, state.parameters, value_fn=lambda p: evaluate(p, batch)[0]
    )
    parameters = optax.apply_updates(state.parameters, updates)

    sound = jnp.isfinite(value), log_norm < jnp.inf, log_global_norm(parameters) < jnp.inf, _finite(memory)
    failed = ~jnp.stack(sound)
    alive = (state.diverged_at == 0) & ~jnp.any(failed)
    fails_now = (state.diverged_at == 0) & ~alive
    kept_parameters, kept_memory = jax.tree.map(
        lambda new, old: jnp.where(alive, new.astype(old.dtype), old),
        (parameters, memory),
        (state.parameters, state.memory),
    )
    diverged_at = jnp.where(fails_now, number + 1, state.diverged_at).astype(jnp.int32)
    diverged_in = jnp.where(fails_now, 1 + jnp.argmax(failed), state.diverged_in).astype(jnp.int32)
    after = _State(kept_parameters, kept_memory, diverged_at, diverged_in)
    clipped = (log_norm > log_limit).astype(value.dtype)
    scalars = {"loss": value, "clip_rate": clipped, **aside, "log_gradient_norm": log_norm, "alive": alive}
    return after, _Update(state.parameters, gradients, updates, batch, scalars)


def _finite(memory: optax.OptState) -> jax.Array:
    """Whether all of an optimizer's memory is finite: a second moment that is not ends updates unnoticed."""
    return jnp.all(
        jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in [jnp.zeros(()), *jax.tree.leaves(memory)]])
    )


def _means(scalars: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Reduce the scalars of the steps of a record over those before divergence; NaN if there are none."""
    alive, log_norm = scalars.pop("alive"), scalars.pop("log_gradient_norm")
    steps = jnp.sum(alive)
    means = {k: jnp.sum(jnp.where(alive, v, 0), 0) / steps for k, v in scalars.items()}
    log_square = logsumexp(2 * log_norm, where=alive) - jnp.log(steps)
    return {**means, "log_gradient_norm": jnp.where(steps > 0, log_square / 2, jnp.nan)}


def _mark_lost(lost: jax.Array, values: jax.Array) -> jax.Array:
    """NaN in place of what was observed after divergence; whole numbers and truth values are kept."""
    return jnp.where(lost, jnp.nan, values) if jnp.issubdtype(values.dtype, jnp.floating) else values
