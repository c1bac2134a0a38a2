"""Networks trained online or on digits, and what every layer does on test examples meanwhile."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from signalprop.analysis.activity import saturated
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.xavier_training import NETWORKS, SCHEMES, VARIABLES, Settings, shapes
from signalprop.bench.training.classification import accuracy, batches, cross_entropy, problem
from signalprop.bench.training.diagnostics import kernel_norms
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import train
from signalprop.models.activations import activation, chosen, derivative
from signalprop.models.classifier import Classifier, draw_classifier

PHIS = ("sigmoid", "tanh", "softsign")
TEST_KEY = 20100513
BINS = np.linspace(-1, 1, 51)
Batch = tuple[jax.Array, jax.Array]


def grid(settings: Settings) -> Grid:
    """One compilation per task; the coordinate ``network`` holds places in ``NETWORKS``."""
    networks = [NETWORKS[name] for name in settings.network]
    constants = (
        "depth", "width", "batch_size", "updates", "records", "probe", "curve_size", "test_size", "dtype",
    )  # fmt: skip
    stride = settings.updates // settings.records
    return Grid(
        static={"data": settings.data},
        traced={
            "network": {
                "network": [list(NETWORKS).index(name) for name in settings.network],
                "phi": [PHIS.index(n.phi) for n in networks],
                "scheme": [SCHEMES.index(n.scheme) for n in networks],
                "readout_bias": [n.readout_bias for n in networks],
            },
            "learning_rate": settings.learning_rate,
        },
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "update": [stride * i for i in range(settings.records)],
            "layer": range(1, settings.depth + 1),
            "bin": list((BINS[1:] + BINS[:-1]) / 2),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network and watch it on test examples."""
    draw_key, train_key = jax.random.split(key)
    data, dtype = static["data"], jnp.dtype(static["dtype"])
    model = _network(draw_key, point, static)
    largest = jnp.array([activation(phi).max_slope for phi in PHIS], dtype)[point["phi"].astype(int)]
    test = test_examples(data, static["test_size"], dtype)
    curve, probe = ((test[0][:n], test[1][:n]) for n in (static["curve_size"], static["probe"]))

    def factor(path: Any, gradient: jax.Array) -> jax.Array:
        names = "/".join(map(str, path))
        frozen = "readout" in names and "bias" in names
        return (gradient * point["readout_bias"]).astype(gradient.dtype) if frozen else gradient

    rule = optax.chain(
        optax.stateless(lambda g, _: jax.tree_util.tree_map_with_path(factor, g)),
        optimizer("sgd", point["learning_rate"]),
    )

    def watch(model: Classifier, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
        return observed(model, probe, largest) | {"test_error": 1 - accuracy(model, *curve)}

    trained = train(
        train_key, model, cross_entropy, training_examples(data, static), rule, static["updates"],
        static["records"], watch,
    )  # fmt: skip
    record = {name: value for name, value in trained.record.items() if name in VARIABLES}
    return record | {
        "histogram": _histogram(trained.model.activities(probe[0])[1]),
        "final_error": 1 - accuracy(trained.model, *test),
        "final_loss": cross_entropy(trained.model, test)[0],
        "diverged_at": trained.diverged_at.astype(dtype),
    }


def _network(key: jax.Array, point: dict[str, jax.Array], static: Static) -> Classifier:
    """The network whose activation and scheme are traced."""
    phi = chosen(PHIS, point["phi"].astype(int))
    features, classes = features_of(static["data"])
    standard, normalized = (
        draw_classifier(
            key, features, static["width"], static["depth"], classes, phi, scheme=name, dtype=static["dtype"]
        )
        for name in SCHEMES
    )
    network: Classifier = jax.tree.map(
        lambda a, b: jnp.where(point["scheme"] == 0, a, b), standard, normalized
    )
    return network


def features_of(data: str) -> tuple[int, int]:
    """Length of an input and number of classes."""
    if data == "shapes":
        return shapes.FEATURES, shapes.CLASSES
    return problem(data).features, problem(data).classes


def test_examples(data: str, size: int, dtype: Any) -> Batch:
    """The same examples for every network."""
    if data == "shapes":
        return shapes.draw_shapes(jax.random.key(TEST_KEY), size, dtype)
    found = problem(data)
    return jnp.asarray(found.x_test[:size], dtype), jnp.asarray(found.label_test[:size])


def training_examples(data: str, static: Static) -> Callable[[jax.Array], Batch]:
    """How a batch is drawn."""
    size, dtype = static["batch_size"], jnp.dtype(static["dtype"])
    if data == "shapes":
        return partial(shapes.draw_shapes, batch_size=size, dtype=dtype)
    return batches(problem(data), size, dtype)


def observed(model: Classifier, probe: Batch, largest: jax.Array) -> dict[str, jax.Array]:
    """Activations and gradients of every layer on a few examples, (depth,) each; ``largest`` slope."""
    _, z = model.trace(probe[0])
    _, y = model.activities(probe[0])
    flat = y.reshape(len(y), -1)
    gradient = jax.grad(lambda m: cross_entropy(m, probe)[0])(model)
    sizes = jnp.concatenate(
        [jnp.full(len(run.layer.kernel[...]), run.layer.kernel[...][0].size) for run in model.runs]
    )
    return {
        "mean": flat.mean(1),
        "deviation": flat.std(1),
        "high": jnp.percentile(flat, 98, axis=1),
        "saturated": saturated(derivative(model.runs[0].phi, z), largest).astype(y.dtype),
        "log_delta": log_delta(model, probe),
        "log_gradient": kernel_norms(gradient)[:-1] - jnp.log(sizes) / 2,
    }


def log_delta(model: Classifier, probe: Batch) -> jax.Array:
    """Natural log of the root mean square of delta^l = dE/dz^l over examples and units, (depth,).

    Without a norm dE/dz is the gradient of one example's loss with respect to the biases.
    """

    def biases(x: jax.Array, label: jax.Array) -> jax.Array:
        gradient = jax.grad(lambda m: cross_entropy(m, (x[None], label[None]))[0])(model)
        return jnp.concatenate([run.layer.bias[...] for run in gradient.runs])

    delta = jax.vmap(biases)(*probe)
    return jnp.log(jnp.mean(delta**2, axis=(0, 2))) / 2


def _histogram(y: jax.Array) -> jax.Array:
    """Share of the activations in each bin, (depth, bin)."""
    place = jnp.clip(jnp.searchsorted(jnp.asarray(BINS, y.dtype), y) - 1, 0, len(BINS) - 2)
    return jax.vmap(lambda p: jnp.bincount(p.ravel(), length=len(BINS) - 1))(place) / y[0].size
