"""Training of one classifier per replaced layer and per silent share, and how far each layer went."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.scipy.special import logsumexp

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.frozen_layers import Settings
from signalprop.bench.training.classification import Problem, batches, problem
from signalprop.bench.training.diagnostics import bias_norms, kernel_norms
from signalprop.bench.training.trainer import log_global_norm, train
from signalprop.models.activations import activation
from signalprop.models.classifier import Classifier, draw_classifier
from signalprop.models.mlp import scan_run

REPLACED = ("step", "silent")
OFFSET = 100.0  # below which no pre-activation of these networks comes
RATE, SIGMA_B = 0.05, 0.5


def grid(settings: Settings) -> Grid:
    """Only seeds are an axis; the replaced layer is a dimension of what is measured."""
    constants = ("share", "depth", "width", "steps", "batch_size", "data", "dtype")
    return Grid(
        static={},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "replaced": REPLACED,
            "at": range(1, settings.depth + 1),
            "layer": range(1, settings.depth + 2),
            "share": settings.share,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one classifier per replaced layer and way, and per silent share of the middle layer."""
    data, depth, width = problem(static["data"]), static["depth"], static["width"]
    layers, num_shares = jnp.arange(1, depth + 1), len(static["share"])
    cases = {
        "layer": jnp.concatenate([layers, layers, jnp.full(num_shares, (depth + 1) // 2)]),
        "stepped": jnp.arange(2 * depth + num_shares) < depth,
        "silent": jnp.asarray([width] * 2 * depth + [round(share * width) for share in static["share"]]),
    }
    sizes = {name: static[name] for name in ("width", "depth", "steps", "batch_size", "dtype")}
    out = jax.vmap(lambda case: learn(key, data, case, **sizes))(cases)
    whole = {k: v[: 2 * depth].reshape(2, depth, *v.shape[1:]) for k, v in out.items()}
    part = {f"share_{k}": v[2 * depth :] for k, v in out.items()}
    return {"learnt": whole.pop("accuracy"), **whole, **part}


def logits(
    model: Classifier, x: jax.Array, layer: jax.Array, stepped: jax.Array, silent: jax.Array
) -> jax.Array:
    """Read the classes with one hidden layer replaced.

    Args:
        model: Relu classifier.
        x: Inputs.
        layer: Number of the layer, from 1; 0: none.
        stepped: Whether its units are binary steps.
        silent: Number of its units that are silent; ignored where they are steps.
    """
    relu, step = activation("relu"), activation("binary_step")

    def apply(y: jax.Array, numbered: Any) -> tuple[jax.Array, None]:
        block, number = numbered
        z = block.pre_activation(y)
        is_silent = (number == layer) & ~stepped & (jnp.arange(z.shape[-1]) < silent)
        out = jnp.where((number == layer) & stepped, step(z), relu(z - OFFSET * is_silent))
        return out.astype(y.dtype), None

    y, first = x, 1
    for run in model.runs:
        depth = len(run.layer.bias[...])
        y, _ = scan_run(apply, y, (run, first + jnp.arange(depth)))
        first += depth
    return model.readout(y)


def learn(
    key: jax.Array, problem: Problem, case: dict[str, jax.Array], *, width: int, depth: int, steps: int,
    batch_size: int, dtype: str,
) -> dict[str, jax.Array]:  # fmt: skip
    """Train one network with one layer replaced.

    Returns:
        ``way`` and ``bias_way``: natural log of the length of the way, the sum of |update| over all steps,
        that the kernel and the bias of every layer went, (depth + 1,) with the read-out last; -inf exactly
        where no step moved them. ``accuracy`` on the test examples.
    """
    draw_key, train_key = jax.random.split(key)
    model = draw_classifier(
        draw_key, problem.features, width, depth, problem.classes, activation("relu"),
        sigma_w=2**0.5, sigma_b=SIGMA_B, dtype=dtype,
    )  # fmt: skip

    def loss(model: Classifier, batch: Any) -> jax.Array:
        out = logits(model, batch[0], **case)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(out, batch[1]))

    def observe(model: Classifier, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
        readout = log_global_norm(updates.readout.bias[...])
        return {"way": kernel_norms(updates), "bias_way": jnp.append(bias_norms(updates), readout)}

    draw = batches(problem, batch_size, dtype)
    trained = train(train_key, model, loss, draw, optax.sgd(RATE), steps, steps, observe)
    out = logits(trained.model, jnp.asarray(problem.x_test, dtype), **case)
    right = jnp.argmax(out, -1) == jnp.asarray(problem.label_test)
    return {
        **{name: logsumexp(trained.record[name], axis=0) for name in ("way", "bias_way")},
        "accuracy": jnp.mean(right.astype(dtype)),
    }
