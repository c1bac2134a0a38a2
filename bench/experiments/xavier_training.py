r"""What do the activations of sigmoid, tanh and softsign networks do while they learn?

The networks of Glorot & Bengio (2010), AISTATS 9, figures 2, 3, 4, 7 and 11, made smaller: four hidden
layers of 100 units, zero biases, weights uniform in +-1/sqrt(n) ("standard", n Var W = 1/3) or in
+-sqrt(6 / (n_in + n_out)) (N, "normalized"), plain SGD on batches of ten. The task is online: images of one
or two shapes in nine classes, never the same twice; and the bundled digits. Of the same learning rates for
all, each network counts at the one with the smallest median training loss at the end. The loss is that of the
same networks, so the intervals of the test errors hold at the chosen rate and leave out its choice. Layers of
sigmoids, which may not learn at any rate, are watched at the largest.

Measured while they learn, on examples that they do not learn from: mean, standard deviation and 98th
percentile of every layer's activations, the share of saturated units (slope below a tenth of the largest),
the size of the back-propagated gradient and of the weight gradients, and the test error.

Theory: at the start, activations and gradients follow the wide-network recursion with its 1/N terms
(`analysis.fluctuations`). For what happens later there is an explanation but no number: the output learns a
constant long before the features are of use, and for a sigmoid the way to silence useless features is to push
them to 0, where it is saturated. One network cannot use the read-out's bias for that, to see if it matters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import xarray as xr

from signalprop.analysis.activity import saturated
from signalprop.analysis.fluctuations import fluctuations, layer_moments
from signalprop.bench import shapes
from signalprop.bench.drawings.xavier_training import best, figures, named_networks
from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.engine.grid import Grid, Static, require_count, require_values
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.saturating import NETWORKS, PHIS, SCHEMES, Network
from signalprop.bench.training.classification import accuracy, batches, cross_entropy, problem
from signalprop.bench.training.diagnostics import kernel_norms
from signalprop.bench.training.optimizers import optimizer, require_learning_rates
from signalprop.bench.training.trainer import train
from signalprop.bench.xavier_training_verdicts import verdicts
from signalprop.models.activations import activation, chosen, derivative
from signalprop.models.classifier import Classifier, draw_classifier
from signalprop.models.initializers import scheme

TEST_KEY = 20100513
BINS = np.linspace(-1, 1, 51)
Batch = tuple[jax.Array, jax.Array]


@dataclass(frozen=True)
class Settings:
    """Settings of ``xavier-training``."""

    data: tuple[str, ...] = ("shapes", "digits")
    """Tasks: shapes, drawn afresh for every batch, or any classification problem."""
    network: tuple[str, ...] = tuple(NETWORKS)
    """Networks: activation and initialisation."""
    learning_rate: tuple[float, ...] = (0.03, 0.1, 0.3)
    """Learning rates, the same for every network."""
    depth: int = 4
    """Hidden layers."""
    width: int = 100
    """Units of every hidden layer."""
    batch_size: int = 10
    """Examples per update."""
    updates: int = 2400
    """Updates of every network."""
    records: int = 30
    """Points of the curves; divides the updates."""
    probe: int = 100
    """Test examples on which activations and gradients are measured while a network learns."""
    curve_size: int = 300
    """Test examples of the error while a network learns."""
    test_size: int = 2000
    """Test examples of the error at the end, where there are so many."""
    seeds: int = 4
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_values("data", self.data)
        for name in self.data:
            if name != "shapes":
                problem(name)
        require_values("network", self.network)
        for name in self.network:
            if name not in NETWORKS:
                raise InputError(f"network: no {name!r}; {nearest(name, NETWORKS)}")
        require_learning_rates(self.learning_rate)
        require_count("depth", (self.depth,), 2)
        require_count("records", (self.records,), 2)
        for axis in ("width", "batch_size", "updates", "probe", "curve_size", "test_size"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(
        data=("shapes",), network=("sigmoid", "tanh", "softsign"), learning_rate=(0.3,),
        width=50, updates=400, records=20, probe=30, curve_size=100, test_size=500, seeds=2,
    ),
    "standard": Settings(),
    "full": Settings(
        learning_rate=(0.01, 0.03, 0.1, 0.3, 1.0), depth=5, width=1000, updates=200_000, records=100,
        probe=300, seeds=10,
    ),
}  # fmt: skip


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


def features_of(data: str) -> tuple[int, int]:
    """Length of an input and number of classes."""
    if data == "shapes":
        return shapes.FEATURES, shapes.CLASSES
    return problem(data).features, problem(data).classes


def training_examples(data: str, static: Static) -> Callable[[jax.Array], Batch]:
    """How a batch is drawn."""
    size, dtype = static["batch_size"], jnp.dtype(static["dtype"])
    if data == "shapes":
        return partial(shapes.draw_shapes, batch_size=size, dtype=dtype)
    return batches(problem(data), size, dtype)


def test_examples(data: str, size: int, dtype: Any) -> Batch:
    """The same examples for every network."""
    if data == "shapes":
        return shapes.draw_shapes(jax.random.key(TEST_KEY), size, dtype)
    found = problem(data)
    return jnp.asarray(found.x_test[:size], dtype), jnp.asarray(found.label_test[:size])


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
        train_key,
        model,
        cross_entropy,
        training_examples(data, static),
        rule,
        static["updates"],
        static["records"],
        watch,
    )
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


def theory(settings: Settings) -> xr.Dataset:
    """Deviations and gradients of untrained networks by layer, with the spread of the former."""
    rows = [
        _law(NETWORKS[name], features_of(data)[0], settings)
        for data in settings.data
        for name in settings.network
    ]
    shape = (len(settings.data), len(settings.network), 3, settings.depth)
    found = np.moveaxis(np.array(rows).reshape(shape), 2, 0)
    names = ("deviation_predicted", "deviation_spread", "log_delta_predicted")
    dims = ("data", "network", "layer")
    labels = grid(settings).labels()
    return xr.Dataset(
        {name: (dims, value) for name, value in zip(names, found, strict=True)},
        coords={name: labels[name] for name in dims},
    )


def _law(network: Network, features: int, settings: Settings) -> list[np.ndarray]:
    """Deviation of the activations, spread of its log over networks, and gradient, by layer.

    The spread has two parts: the length that the layer receives, and the draw of its own units, at most that
    of Gaussian ones.
    """
    drawn, width = scheme(network.scheme), settings.width
    first, inner = (drawn.effective_sigma_w(n, width) for n in (features, width))
    moments = layer_moments(activation(network.phi), inner, (first / inner) ** 2, settings.depth)
    spread, variance = [], 0.0
    for i in range(settings.depth):
        received = float(moments.log_std_slope[i]) ** 2 * variance
        spread.append((received + 1 / (2 * width)) ** 0.5)
        variance = float(moments.slope[i, 0]) ** 2 * variance + float(moments.noise[i, 0, 0]) / width
    return [np.exp(fluctuations(moments, width).log_std), np.array(spread), _profile(moments.log_chi)]


def _profile(log_chi: Any) -> np.ndarray:
    """Log |delta^l| / |delta^L| of a wide network, from the factors of its layers."""
    steps = np.asarray(log_chi)[:-1] / 2
    return np.append(np.cumsum(steps[::-1])[::-1], 0.0)


def table(result: xr.Dataset) -> pd.DataFrame:
    """Final errors (1: diverged) of every network at every rate, and its layers at the start and the end."""
    result = named_networks(result)
    counts = result["learning_rate"] == best(result)["learning_rate"].drop_vars("learning_rate")
    top = result[["mean", "deviation", "saturated"]].isel(layer=-1, drop=True).mean("seed")
    columns = {
        "error_mean": result["final_error"].mean("seed"),
        "error_standard_error": result["final_error"].std("seed", ddof=1) / result.sizes["seed"] ** 0.5,
        "loss_mean": result["final_loss"].mean("seed"),
        "last_training_loss_median": result["loss"].isel(update=-1, drop=True).median("seed"),
        "diverged": (result["diverged_at"] > 0).sum("seed"),
        "counts": counts.astype(int),
        **{f"top_{name}_start": top[name].isel(update=0, drop=True) for name in top},
        **{f"top_{name}_end": top[name].isel(update=-1, drop=True) for name in top},
    }
    return xr.Dataset(columns).reset_coords(drop=True).to_dataframe().reset_index()


VARIABLES = {
    "mean": Variable(("update", "layer"), "mean activation"),
    "deviation": Variable(("update", "layer"), "standard deviation of the activations"),
    "high": Variable(("update", "layer"), "98th percentile of the activations"),
    "saturated": Variable(("update", "layer"), "share of saturated units and examples"),
    "log_delta": Variable(("update", "layer"), "log rms back-propagated gradient dE/dz", "nat"),
    "log_gradient": Variable(("update", "layer"), "log rms weight gradient", "nat"),
    "test_error": Variable(("update",), "error on examples not trained on"),
    "loss": Variable(("update",), "training loss, mean over the record that begins at the update", "nat"),
    "histogram": Variable(("layer", "bin"), "share of the activations after training"),
    "final_error": Variable((), "error after training, on examples not trained on"),
    "final_loss": Variable((), "loss on these", "nat"),
    "diverged_at": Variable((), "update at which the run left float range; 0: never"),
}

EXPERIMENT = Experiment(
    name="xavier-training",
    question="What do the activations of sigmoid, tanh and softsign networks do while they learn?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables=VARIABLES,
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
