"""Where gradient descent stops descending: blow-up of a network's loss, and the exact case of a quadratic."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.typing import ArrayLike

from signalprop.analysis.sharpness import Curvature, curvature
from signalprop.bench.training.classification import Problem
from signalprop.bench.training.trainer import log_global_norm
from signalprop.models.activations import derivative
from signalprop.models.classifier import Classifier

BRACKET = 1000.0  # the edge is looked for from a thousandth of 2 / lambda to a thousand times it
HALVINGS = 10  # of the bracket's logarithm: the edge is found within 0.7 %
RISE = 1e-3  # the loss has blown up when it is above its initial value by this share
PRODUCTS = 30  # of the Hessian with a vector, to find its largest eigenvalue

Batch = tuple[jax.Array, jax.Array]


class Descent(NamedTuple):
    """A run of gradient descent.

    Attributes:
        log_loss: Log of the loss on all examples over its initial value, before every update, (steps,); inf
            from where it was not finite.
        log_gradient_norm: Natural log of the norm of the first step's gradient.
        rises_at: Number of updates after which the loss was first above its initial value; 0: never.
        diverged_at: Number of updates after which the loss was not finite; 0: never.
    """

    log_loss: jax.Array
    log_gradient_norm: jax.Array
    rises_at: jax.Array
    diverged_at: jax.Array


def examples(problem: Problem, count: int, dtype: str) -> Batch:
    """The first training examples of a problem, with one-hot targets."""
    targets = np.eye(problem.classes)[problem.label[:count]]
    return jnp.asarray(problem.x[:count], dtype), jnp.asarray(targets, dtype)


def parts(
    model: Classifier, every: Batch
) -> tuple[Any, Callable[[Any], Classifier], Callable[[Any], jax.Array]]:
    """Parameters of a model, the model of others, and by them the examples' losses, (examples,).

    The loss of an example is half the square distance of the outputs from its target.
    """
    graph, *states = nnx.split(model, nnx.Param, ...)
    parameters, rest = states

    def put(other: Any) -> Classifier:
        found: Classifier = nnx.merge(graph, other, rest)
        return found

    return parameters, put, lambda other: jnp.sum((put(other)(every[0]) - every[1]) ** 2, 1) / 2


def descend(
    key: jax.Array,
    model: Classifier,
    every: Batch,
    batch_size: ArrayLike,
    learning_rate: ArrayLike,
    steps: int,
) -> Descent:
    """Train by plain gradient descent on batches and watch the loss on all examples, at every step.

    A batch is drawn without replacement; with as many as there are examples, or more, it is all of them.
    """
    parameters, _, losses_of = parts(model, every)
    count, dtype = len(every[0]), every[0].dtype

    def loss(parameters: Any, chosen: jax.Array) -> tuple[jax.Array, jax.Array]:
        losses = losses_of(parameters)
        return jnp.sum(jnp.where(chosen, losses, 0)) / jnp.sum(chosen), jnp.mean(losses)

    def step(parameters: Any, step_key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        rank = jnp.argsort(jax.random.uniform(step_key, (count,), dtype))
        slope, mean = jax.grad(loss, has_aux=True)(parameters, rank < batch_size)
        parameters = jax.tree.map(lambda w, g: w - (learning_rate * g).astype(w.dtype), parameters, slope)
        return parameters, (mean, log_global_norm(slope))

    _, (losses, log_norms) = jax.lax.scan(step, parameters, jax.random.split(key, steps))
    log_loss = jnp.where(jnp.isnan(losses), jnp.inf, jnp.log(losses))
    log_loss -= log_loss[0]
    rises = jnp.argmax(log_loss > jnp.log1p(RISE))
    return Descent(log_loss, log_norms[0], rises, jnp.argmax(~jnp.isfinite(log_loss)))


def settle(model: Classifier, every: Batch, steps: int) -> Classifier:
    """Train on all examples by Adam at 0.003, towards a minimum that owes nothing to plain descent's rate."""
    parameters, put, losses_of = parts(model, every)
    adam = optax.adam(0.003)

    def step(state: Any, _: None) -> tuple[Any, None]:
        parameters, memory = state
        slope = jax.grad(lambda p: jnp.mean(losses_of(p)))(parameters)
        updates, memory = adam.update(slope, memory)
        return (optax.apply_updates(parameters, updates), memory), None

    (parameters, _), _ = jax.lax.scan(step, (parameters, adam.init(parameters)), None, steps)
    return put(parameters)


def blown_up(log_loss: jax.Array) -> jax.Array:
    """Whether the loss rises above its initial value at some step, or is not finite."""
    return jnp.max(log_loss) > jnp.log1p(RISE)


def sharpness(key: jax.Array, model: Classifier, every: Batch) -> Curvature:
    """Extreme eigenvalues of the Hessian of the loss on all examples."""
    parameters, _, losses_of = parts(model, every)
    return curvature(key, lambda p: jnp.mean(losses_of(p)), parameters, PRODUCTS)


def edge(key: jax.Array, model: Classifier, every: Batch, largest: jax.Array, within: int) -> jax.Array:
    """The learning rate from which full-batch descent blows up, by bisection around 2 / largest.

    Args:
        key: Random key; full batches do not depend on it.
        model: Network to start from.
        every: All examples.
        largest: Largest eigenvalue of the Hessian.
        within: Steps in which the loss must rise above its initial value.

    Returns:
        A learning rate, within 0.7 %; an end of the bracket, a factor of 1000 away, if it lies outside.
    """
    middle = jnp.log(2 / largest)
    reach = jnp.log(jnp.asarray(BRACKET, middle.dtype))

    def halve(ends: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
        low, high = ends
        rate = (low + high) / 2
        up = blown_up(descend(key, model, every, len(every[0]), jnp.exp(rate), within + 1).log_loss)
        return (jnp.where(up, low, rate), jnp.where(up, rate, high)), None

    (low, high), _ = jax.lax.scan(halve, (middle - reach, middle + reach), None, HALVINGS)
    return jnp.exp((low + high) / 2)


def delta_decades(model: Classifier, every: Batch) -> jax.Array:
    """log10 of |delta^1| / |delta^L|, the gradient at the first and at the last hidden layer's z.

    Norms are over all examples; at least two hidden layers.
    """
    outputs, z = model.trace(every[0])
    slopes = derivative(model.runs[0].phi, z)
    last = slopes[-1] * ((outputs - every[1]) @ model.readout.kernel[...].T)
    kernels = model.runs[-1].layer.kernel[...][1 - len(z) :]  # of layers 2 to L

    def down(delta: jax.Array, above: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        kernel, slope = above
        return slope * (delta @ kernel.T), None

    first, _ = jax.lax.scan(down, last, (kernels, slopes[:-1]), reverse=True)
    return (log_global_norm(first) - log_global_norm(last)) / jnp.log(10.0).astype(last.dtype)


def quadratic_rates(key: jax.Array, x: jax.Array, multiples: jax.Array, steps: int) -> jax.Array:
    """Growth per step of the steepest direction's error in linear regression, natural logs.

    Gradient descent with learning rate m / lambda, lambda the largest eigenvalue of ``x^T x / examples``,
    from a random start towards a random solution: theory says ``log |1 - m|``.

    Args:
        key: Random key of solution and start.
        x: Inputs, (examples, features).
        multiples: Values m.
        steps: Number of updates.
    """
    values, vectors = jnp.linalg.eigh(x.T @ x / len(x))
    solution, start = jax.random.normal(key, (2, x.shape[1]), x.dtype)
    slope = jax.grad(lambda w: jnp.mean((x @ w - x @ solution) ** 2) / 2)

    def rate(multiple: jax.Array) -> jax.Array:
        end, _ = jax.lax.scan(
            lambda w, _: (w - (multiple / values[-1]).astype(w.dtype) * slope(w), None), start, None, steps
        )
        errors = vectors[:, -1] @ jnp.stack([start - solution, end - solution], 1)
        return jnp.log(jnp.abs(errors[1] / errors[0])) / steps

    return jax.vmap(rate)(multiples)
