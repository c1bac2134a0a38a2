"""Training of one network with a look at every layer, and errors of untrained ones of every depth."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from signalprop.analysis.statistics import log_norm
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.learning_speed import Settings
from signalprop.bench.experiments.learning_speed.learners import Learner, find_learner
from signalprop.bench.experiments.learning_speed.networks import draw, first_examples
from signalprop.bench.training.diagnostics import kernel_norms
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import log_global_norm, train
from signalprop.models.classifier import Block, Classifier
from signalprop.models.mlp import scan_run


def grid(settings: Settings) -> Grid:
    """One compilation per network; refused if there are not so many examples."""
    first_examples(settings.data, settings.examples)
    stride = settings.epochs // settings.records
    constants = (
        "data", "examples", "width", "learning_rate", "decay", "epochs", "records", "depth", "starts",
        "dtype",
    )  # fmt: skip
    return Grid(
        static={"network": settings.network},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "epoch": [stride * i for i in range(settings.records)],
            "layer": range(1, settings.depth + 1),
            "start": range(settings.starts),
            "depth": range(1, settings.depth + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network, and look at many untrained ones of every depth."""
    (kind, depth), dtype = find_learner(static["network"]), static["dtype"]
    batch = examples(static)
    draw_key, train_key, start_key = jax.random.split(key, 3)
    model = draw(kind, draw_key, batch[0].shape[1], static["width"], depth, dtype)

    def observe(model: Classifier, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
        return {
            "speed": bias_speeds(gradients),
            "weight_speed": kernel_norms(gradients)[:-1],
            "moved": moved(model, first),
        }

    first = model
    step = optimizer(
        "sgd", static["learning_rate"], l2=static["decay"] / static["examples"], decay_biases=False
    )
    trained = train(
        train_key, model, cross_entropy, lambda key: batch, step, static["epochs"], static["records"], observe
    )
    untrained = jax.lax.map(
        lambda k: profiles(k, kind, static), jax.random.split(start_key, static["starts"])
    )
    return {
        **{name: trained.record[name] for name in ("speed", "weight_speed", "moved", "accuracy")},
        "moved_at_end": moved(trained.model, first),
        **untrained,
    }


def examples(static: Static) -> tuple[jax.Array, jax.Array]:
    """The batch: images and the wanted outputs."""
    x, target = first_examples(static["data"], static["examples"])
    return jnp.asarray(x, static["dtype"]), jnp.asarray(target, static["dtype"])


def cross_entropy(model: Any, batch: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Nielsen's cost, the cross-entropy of ten sigmoids, mean over examples; and the accuracy beside it."""
    logits, target = model(batch[0]), batch[1]
    return cost(logits, target), {
        "accuracy": jnp.mean(logits.argmax(-1) == target.argmax(-1), dtype=logits.dtype)
    }


def cost(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Sum over the outputs of the cross-entropy of a sigmoid, mean over examples, in nats."""
    mean: jax.Array = optax.sigmoid_binary_cross_entropy(logits, target).sum(-1).mean()
    return mean


def bias_speeds(gradients: Any) -> jax.Array:
    """Log of the norm of the mean error of every hidden layer: of the gradient of its bias, or its shift."""
    runs = [gradients.runs[i] for i in range(len(gradients.runs))]
    shifts = [getattr(run, "shift", None) for run in runs]
    parts = [run.layer.bias if shift is None else shift for run, shift in zip(runs, shifts, strict=True)]
    return jnp.concatenate([jax.vmap(log_global_norm)(part[...]) for part in parts])


def moved(model: Classifier, first: Classifier) -> jax.Array:
    """Distance of every hidden layer's weights from their start, over the norm of that start."""
    change = [
        jax.vmap(log_global_norm)(now.layer.kernel[...] - then.layer.kernel[...])
        for now, then in zip(model.runs, first.runs, strict=True)
    ]
    return jnp.exp(jnp.concatenate(change) - kernel_norms(first)[:-1])


def profiles(key: jax.Array, kind: Learner, static: Static) -> dict[str, jax.Array]:
    """Errors of one set of weights at every number of layers.

    Returns:
        ``mean_error`` and ``rms_error``: natural logs, over units, of the norm of the mean over examples of
        delta^l, and of the root mean square over examples of its norm; (depth, layer), NaN above the last
        layer. ``mean_output`` and ``rms_output``: the same of the output's error, (depth,).
    """
    x, target = examples(static)
    model = draw(kind, key, x.shape[1], static["width"], static["depth"], static["dtype"])

    def one(depth: jax.Array) -> dict[str, jax.Array]:
        hidden = jnp.zeros((static["depth"], len(x), static["width"]), x.dtype)
        output = jnp.zeros(target.shape, x.dtype)
        errors = jax.grad(lambda shifts: cost(cut(model, x, depth, *shifts), target))((hidden, output))
        mean, rms = zip(*(sizes(delta) for delta in errors), strict=True)
        there = jnp.arange(1, static["depth"] + 1) <= depth
        return {
            "mean_error": jnp.where(there, mean[0], jnp.nan), "rms_error": jnp.where(there, rms[0], jnp.nan),
            "mean_output": mean[1], "rms_output": rms[1],
        }  # fmt: skip

    by_depth: dict[str, jax.Array] = jax.lax.map(one, jnp.arange(1, static["depth"] + 1))
    return by_depth


def sizes(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logs of |sum over examples| and of the root mean square over n examples of n |delta|."""
    count = delta.shape[-2]
    rms = log_norm(delta.reshape(*delta.shape[:-2], -1), -1) + np.log(count) / 2
    return log_norm(delta.sum(-2), -1), rms


def cut(model: Classifier, x: jax.Array, depth: jax.Array, hidden: jax.Array, output: jax.Array) -> jax.Array:
    """Logits after the first ``depth`` layers, with shifts added to every z and to the logits."""

    def step(y: jax.Array, part: tuple[Block, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        block, shift, number = part
        above = block.above(y, block.pre_activation(y) + shift)
        return (above if y.shape != above.shape else jnp.where(number <= depth, above, y)), None

    y, below = x, 0
    for run in model.runs:
        layers = below + jnp.arange(len(run.scale[...]))
        y, _ = scan_run(step, y, (run, hidden[layers], layers + 1))
        below += len(layers)
    return model.readout(y) + output
