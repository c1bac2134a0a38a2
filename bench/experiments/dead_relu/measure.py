"""Training of one network, and which of its units are dead at every look, and before training by bias."""

from typing import Any

import jax
import jax.numpy as jnp

from signalprop.analysis.activity import dead
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.dead_relu import RECTIFIERS, Rectifier, Settings
from signalprop.bench.training.classification import accuracy, batches, cross_entropy, problem
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import train
from signalprop.models.activations import activation, derivative
from signalprop.models.classifier import Classifier, draw_classifier

HE = 2**0.5


def grid(settings: Settings) -> Grid:
    """One compilation per network; learning rates, both inputs and seeds train together."""
    stride = settings.updates // settings.records
    constants = ("data", "bias", "width", "batch_size", "success", "updates", "records", "dtype")
    return Grid(
        static={"network": settings.network},
        traced={"centred": settings.centred, "rate": settings.rate},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "update": [stride * i for i in range(settings.records + 1)],
            "layer": range(1, 1 + max(RECTIFIERS[name].depth for name in settings.network)),
            "initial_bias": settings.bias,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network and look for dead units on all training examples."""
    kind, dtype, data = RECTIFIERS[static["network"]], static["dtype"], problem(static["data"])
    mean = jnp.asarray(data.x.mean(0), dtype) * point["centred"].astype(dtype)
    x, label = jnp.asarray(data.x, dtype) - mean, jnp.asarray(data.label, jnp.int32)
    draw_key, train_key = jax.random.split(key)
    model = draw(draw_key, kind, data.features, data.classes, static)
    choose = batches(data, static["batch_size"], dtype)

    def draw_batch(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        chosen, its_label = choose(key)
        return chosen - mean, its_label

    def observe(model: Classifier, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
        gone = dead_units(model, x)
        return {"dead": gone, "gradient": jnp.max(jnp.where(gone, unit_gradients(gradients), 0), -1)}

    rate = kind.largest_rate * point["rate"]
    trained = train(
        train_key, model, cross_entropy, draw_batch, optimizer(kind.optimizer, rate),
        static["updates"], static["records"], observe,
    )  # fmt: skip
    seen = jnp.concatenate([trained.record["dead"], dead_units(trained.model, x)[None]])

    def share(bias: jax.Array) -> jax.Array:
        copy = jax.tree.map(lambda leaf: leaf, model)
        return jnp.mean(dead_units(biased(copy, bias), x), -1, dtype)

    right = accuracy(trained.model, x, label)
    return {
        "dead": jnp.mean(seen, -1, dtype),
        "deaths": jnp.sum(~seen[:-1] & seen[1:], (0, 2), dtype),
        "revivals": jnp.sum(seen[:-1] & ~seen[1:], (0, 2), dtype),
        "dead_gradient": jnp.nanmax(trained.record["gradient"], 0),
        "accuracy": right,
        "learned": ((right > static["success"]) & (trained.diverged_at == 0)).astype(dtype),
        "diverged_at": trained.diverged_at.astype(dtype),
        "dead_by_bias": jax.lax.map(share, jnp.asarray(static["bias"], dtype)),
    }


def draw(key: jax.Array, kind: Rectifier, features: int, classes: int, static: Static) -> Classifier:
    """Draw a network with He's weights (of relu, also where another activation is compared) and no biases."""
    return draw_classifier(
        key, features, static["width"] // kind.narrower, kind.depth, classes, activation(kind.activation),
        sigma_w=HE, norm=kind.norm, dtype=static["dtype"],
    )  # fmt: skip


def dead_units(model: Classifier, x: jax.Array) -> jax.Array:
    """Which units of which hidden layer are dead on these examples, (layers, units)."""
    return dead(derivative(model.runs[0].phi, model.trace(x)[1]))


def unit_gradients(gradients: Any) -> jax.Array:
    """Largest absolute gradient among a unit's incoming weights and its bias, (layers, units)."""
    layers = [gradients.runs[i].layer for i in range(len(gradients.runs))]
    largest = [jnp.maximum(jnp.abs(g.kernel[...]).max(-2), jnp.abs(g.bias[...])) for g in layers]
    return jnp.concatenate(largest)


def biased(model: Classifier, bias: jax.Array) -> Classifier:
    """Add this to every bias of the hidden layers, or to the shift of their norm."""
    for run in model.runs:
        part = run.layer.bias if run.shift is None else run.shift
        part[...] = part[...] + bias
    return model
