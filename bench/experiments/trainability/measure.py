"""Train one network and watch its accuracy; follow untrained ones, the deepest, in both directions."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.trainability import Settings
from signalprop.bench.experiments.trainability.directions import SETTLED, TOP, WAYS, both, rate
from signalprop.bench.training.classification import Problem, accuracy, batches, cross_entropy, problem
from signalprop.bench.training.diagnostics import kernel_norms
from signalprop.bench.training.trainer import train
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier


def grid(settings: Settings) -> Grid:
    """One compilation per data set and depth; weight scales and seeds train together."""
    constants = (
        "activation", "width", "sigma_b", "learning_rate", "batch_size", "steps", "snapshots", "watched",
        "networks", "dtype",
    )  # fmt: skip
    stride = settings.steps // settings.snapshots
    return Grid(
        static={"data": settings.data, "depth": settings.depth},
        traced={"sigma_w_squared": settings.sigma_w_squared},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants}
        | {"deepest": max(settings.depth), "first": settings.data[0]},
        coords={
            "step": [stride * (i + 1) for i in range(settings.snapshots)],
            "layer": range(1, max(settings.depth) + 1),
            "network": range(settings.networks),
            "way": WAYS,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network and look at it; follow untrained ones where it is the deepest."""
    data, dtype = problem(static["data"]), static["dtype"]
    net_key, train_key, walk_key = jax.random.split(key, 3)
    sigma_w = jnp.sqrt(point["sigma_w_squared"])
    model = draw_classifier(
        net_key, data.features, static["width"], static["depth"], data.classes,
        activation(static["activation"]), sigma_w=sigma_w, sigma_b=static["sigma_b"], dtype=dtype,
    )  # fmt: skip
    count = min(static["watched"], len(data.x))
    x, label = jnp.asarray(data.x[:count], dtype), jnp.asarray(data.label[:count])
    trained = train(
        train_key, model, cross_entropy, batches(data, static["batch_size"], dtype),
        optax.sgd(static["learning_rate"]), static["steps"], static["snapshots"],
        lambda seen, *_: {"watched": accuracy(seen, x, label)},
    )  # fmt: skip
    last = jnp.where(trained.diverged_at > 0, jnp.nan, accuracy(trained.model, x, label))
    step = kernel_norms(jax.tree.map(jnp.subtract, trained.model, model)) - kernel_norms(model)
    return {
        "accuracy": jnp.append(trained.record["watched"][1:], last),
        "loss": trained.record["loss"],
        "log_moved": step[0],
        "diverged_at": trained.diverged_at.astype(dtype),
        **_untrained(walk_key, data, sigma_w, static),
    }


def _untrained(key: jax.Array, data: Problem, sigma_w: jax.Array, static: Static) -> dict[str, jax.Array]:
    """Both directions of untrained networks of the largest depth; empty elsewhere."""
    depth, count = static["deepest"], static["networks"]
    if (static["data"], static["depth"]) != (static["first"], depth):
        shapes = {"log_distance": depth, "log_delta": depth, "forward_rate": count, "gradient_rate": count}
        empty = {name: jnp.full(size, jnp.nan, jnp.float64) for name, size in shapes.items()}
        return empty | {"product": jnp.full((len(WAYS), count), jnp.nan, jnp.float64)}
    x = jnp.asarray(data.x[:2])
    x = x * jnp.sqrt(x.shape[1] / jnp.sum(x**2, -1, keepdims=True))
    walk = partial(
        both, x=x, phi=activation(static["activation"]), width=static["width"], depth=depth,
        sigma_w=sigma_w.astype(jnp.float64), sigma_b=static["sigma_b"],
    )  # fmt: skip
    found = jax.lax.map(walk, jax.random.split(key, count))
    first, last = settled(depth)
    return {
        "log_distance": found.log_distance.mean(0),
        "log_delta": found.log_delta.mean(0),
        "forward_rate": jax.vmap(lambda log: rate(log, first, last))(found.log_distance),
        "gradient_rate": jax.vmap(lambda log: rate(-2 * log, first, last))(found.log_delta),
        "product": found.product.T,
    }


def settled(depth: int) -> tuple[int, int]:
    """Layers between which rates are taken: behind the transient at the input, below the top."""
    return min(SETTLED, depth // 3) + 1, max(depth - TOP, depth // 3 + 2)
