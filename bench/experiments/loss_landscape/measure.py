"""Train one network, and look at its loss along the gradient at some steps."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.loss_landscape import Settings
from signalprop.bench.training.classification import batches, cross_entropy, problem
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import log_global_norm, train
from signalprop.models.activations import activation
from signalprop.models.classifier import Block, Classifier, draw_classifier

STEP_SIZES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
NOISE_MEAN, NOISE_SCALE = 0.5, 1.25  # largest mean and scale of the noise after every norm
Batch = tuple[jax.Array, jax.Array, jax.Array]  # inputs, labels, and the key of this step's noise


def grid(settings: Settings) -> Grid:
    """One compilation per network; scales and learning rates train together."""
    problem(settings.data)  # refuses a missing or damaged file before anything is compiled
    constants = ("data", "depth", "width", "batch_size", "updates", "records", "dtype")
    stride = settings.updates // settings.records
    return Grid(
        static={"network": settings.network},
        traced={"sigma_w2": settings.sigma_w2, "learning_rate": settings.learning_rate},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={"update": [stride * i for i in range(settings.records)]},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network and look along its gradient."""
    data, dtype, network = problem(static["data"]), static["dtype"], static["network"]
    draw_key, train_key = jax.random.split(key)
    model = draw_classifier(
        draw_key, data.features, static["width"], static["depth"], data.classes, activation("relu"),
        sigma_w=jnp.sqrt(point["sigma_w2"]).astype(dtype), norm="none" if network == "plain" else "batch",
        dtype=dtype,
    )  # fmt: skip
    examples = batches(data, static["batch_size"], dtype)

    def draw(key: jax.Array) -> Batch:
        choose, noise = jax.random.split(key)
        x, label = examples(choose)
        return x, label, noise

    def look(model: Any, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
        return along_the_gradient(network, model, batch)

    trained = train(
        train_key, model, partial(loss, network), draw, optimizer("sgd", point["learning_rate"]),
        static["updates"], static["records"], look,
    )  # fmt: skip
    names = ("loss", "loss_range", "gradient_change", "smoothness")
    return {name: trained.record[name] for name in names} | {"diverged_at": trained.diverged_at.astype(dtype)}


def shifted(run: Block, key: jax.Array) -> Block:
    """Layers whose normalized units are multiplied and shifted by fresh random numbers.

    Every unit draws a mean between -0.5 and 0.5 and a scale between 1 and 1.25, as in the noisy networks of
    Santurkar et al. (2018), arXiv:1805.11604; their small differences between examples are left out. Layers
    without a norm are returned as they are.
    """
    means, scales = jax.random.split(key)
    shape, dtype = run.layer.bias[...].shape, run.layer.bias[...].dtype
    mean = jax.random.uniform(means, shape, dtype, -NOISE_MEAN, NOISE_MEAN)
    scale = jax.random.uniform(scales, shape, dtype, 1, NOISE_SCALE)
    if run.gain is None or run.shift is None:
        return run
    noisy = Block(run.layer, run.phi, norm=run.norm, skip=False, scale=1.0, train_scale=False)
    noisy.gain = nnx.Param(scale * run.gain[...])
    noisy.shift = nnx.Param(scale * run.shift[...] + mean)
    return noisy


def loss(network: str, model: Classifier, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Cross-entropy of a network of ``NETWORKS``; noise is the same for all examples of a batch."""
    if network == "noisy_batch_norm":
        keys = jax.random.split(batch[2], len(model.runs))
        runs = [shifted(run, key) for run, key in zip(model.runs, keys, strict=True)]
        model = Classifier(runs, model.readout)
    return cross_entropy(model, (batch[0], batch[1]))


def along_the_gradient(network: str, model: Classifier, batch: Batch) -> dict[str, jax.Array]:
    """How loss and gradient vary at the points ``w - h g`` of one training step, h in ``STEP_SIZES``.

    Returns:
        ``loss_range``: Largest minus smallest loss.
        ``gradient_change``: Largest distance between the gradients there and here, over the norm of g.
        ``smoothness``: Largest such distance over the distance moved, the effective beta of Santurkar et al.
    """
    graph, *states = nnx.split(model, nnx.Param, ...)
    parameters, rest = states

    def value(parameters: Any) -> jax.Array:
        return loss(network, nnx.merge(graph, parameters, rest), batch)[0]

    slope = jax.grad(value)(parameters)
    log_norm = log_global_norm(slope)

    def at(size: jax.Array) -> tuple[jax.Array, jax.Array]:
        moved, there = jax.value_and_grad(value)(jax.tree.map(lambda w, g: w - size * g, parameters, slope))
        return moved, jnp.exp(log_global_norm(jax.tree.map(jnp.subtract, there, slope)) - log_norm)

    sizes = jnp.asarray(STEP_SIZES, log_norm.dtype)
    losses, changes = jax.lax.map(at, sizes)
    return {
        "loss_range": jnp.max(losses) - jnp.min(losses),
        "gradient_change": jnp.max(changes),
        "smoothness": jnp.max(changes / sizes),
    }
