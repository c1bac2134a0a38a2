"""How deep does Adam reach with a smaller epsilon?

Sigmoid networks at Xavier's scale, whose gradients shrink by 0.63 decades per layer. Adam divides a gradient
by its own size plus epsilon: a step is as long as the learning rate where the gradient is above epsilon, and
shrinks with it below. Measured: the first step of every layer of a deep network, for several epsilons and two
floating-point types; and the largest depth that can be trained, by bisection, for the same epsilons.

Theory: steps of full size reach log10(g / epsilon) / 0.63 layers down from the output, where g is the
gradient there; that is 1.6 layers per decade of epsilon. Information: c* = 1, and 6 xi_c is 2 layers. In
float32 the square of a gradient of 1e-19 is 0 and the gradient is not: its step is divided by epsilon alone.

Sources: Kingma & Ba (2015), arXiv:1412.6980; Schoenholz et al. (2017), arXiv:1611.01232.
"""

from dataclasses import dataclass
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import xarray as xr

from signalprop.analysis import growth, meanfield
from signalprop.bench.adam_epsilon_verdicts import verdicts
from signalprop.bench.drawings.adam_epsilon import figures, reach
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.training import bisection
from signalprop.bench.training.classification import batches, cross_entropy, problem
from signalprop.bench.training.diagnostics import by_layer
from signalprop.bench.training.optimizers import require_learning_rates
from signalprop.bench.training.trainer import train
from signalprop.models.activations import activation
from signalprop.models.classifier import Classifier, draw_classifier

FORMATS = ("float32", "float64")


@dataclass(frozen=True)
class Settings:
    """Settings of ``adam-epsilon``."""

    format: tuple[str, ...] = ("float32",)
    """Floating-point types of weights, signal, gradient and Adam's memory."""
    epsilon: tuple[float, ...] = (1e-4, 1e-8, 1e-12, 1e-30)
    """Adam's epsilons, above 0."""
    depth: int = 40
    """Hidden layers of the network whose first step is measured."""
    top: int = 3
    """Largest depth that is trained, one less than a power of two."""
    width: int = 32
    """Units of every hidden layer."""
    learning_rate: float = 0.01
    """Of Adam."""
    threshold: float = 0.5
    """Training accuracy above which a network counts as trained."""
    steps: int = 50
    """Steps of every training; ten divides them."""
    batch_size: int = 32
    """Examples per step."""
    data: str = "gm10"
    """Training examples, by their name in ``bench.classification``."""
    seeds: int = 2
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of what is stored."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("format", self.format, FORMATS)
        require_scale("epsilon", self.epsilon)
        if min(self.epsilon) == 0:
            raise InputError("epsilon: got 0, which divides 0 by 0; write a small number, as 1e-30")
        require_learning_rates((self.learning_rate,))
        bisection.require_top(self.top)
        for axis in ("depth", "width", "steps", "batch_size"):
            require_count(axis, (getattr(self, axis),))
        if self.steps % bisection.RECORDS:
            raise InputError(f"steps: got {self.steps}; write a multiple of {bisection.RECORDS}")
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold: got {self.threshold}; write an accuracy between 0 and 1")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        format=FORMATS, epsilon=(1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14, 1e-16, 1e-30), top=7, steps=300,
        seeds=3,
    ),
    "full": Settings(
        format=FORMATS, epsilon=(1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14, 1e-16, 1e-30), top=63, steps=3000,
        width=64, batch_size=64, seeds=10,
    ),
}  # fmt: skip


def grid(settings: Settings) -> Grid:
    """One compilation per floating-point type."""
    constants = (
        "depth", "top", "width", "learning_rate", "threshold", "steps", "batch_size", "data", "dtype"
    )  # fmt: skip
    return Grid(
        static={"format": settings.format},
        traced={"epsilon": settings.epsilon},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={"layer": range(1, settings.depth + 2)},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Take Adam's first step in a deep network; find the largest depth that it can train."""
    net_key, train_key = jax.random.split(key)
    data, kind = problem(static["data"]), static["format"]
    epsilon = point["epsilon"].astype(kind)
    rate = static["learning_rate"]

    def draw(depth: int) -> Classifier:
        return draw_classifier(
            net_key, data.features, static["width"], depth, data.classes, activation("sigmoid"), dtype=kind
        )

    method = optax.adam(rate, eps=epsilon)
    deep = draw(static["depth"])
    first = train(
        train_key, deep, cross_entropy, batches(data, static["batch_size"], kind), method, 2, 2, by_layer
    )
    sizes = jnp.log(jnp.asarray([float(n) for n in entries(deep)])) / 2

    def works(depth: jax.Array) -> jax.Array:
        accuracy = bisection.final_accuracy(
            train_key, draw(static["top"]), depth, data, method,
            batch_size=static["batch_size"], steps=static["steps"],
        )  # fmt: skip
        return jnp.greater(accuracy, static["threshold"])

    dtype = static["dtype"]
    return {
        "log_step": (first.record["log_update"][0] - sizes - np.log(rate)).astype(dtype),
        "log_gradient": (first.record["log_gradient"][0] - sizes).astype(dtype),
        "trainable_depth": bisection.largest(works, static["top"]).astype(dtype),
    }


def entries(model: Classifier) -> list[int]:
    """Entries of every kernel, the read-out's last."""
    hidden = [n for run in model.runs for n in _repeated(run.layer.kernel[...].shape)]
    return [*hidden, prod(model.readout.kernel[...].shape)]


def _repeated(shape: tuple[int, ...]) -> list[int]:
    return [prod(shape[1:])] * shape[0]


def theory(settings: Settings) -> xr.Dataset:
    """Decades that a gradient loses per layer, at the network's width, and 6 xi_c."""
    phi = activation("sigmoid")

    @jax.jit
    def rates() -> tuple[jax.Array, jax.Array]:
        point = meanfield.fixed_point(phi, 1.0, 0.0)
        layer = growth.layer_growth(phi, point.q_star, 1.0)
        return (layer.log_chi_1 - layer.shift / settings.width) / 2, point.xi_c

    rate, xi = rates()
    return xr.Dataset({"decades": float(-rate / np.log(10)), "information": 6 * float(xi)})


def table(result: xr.Dataset) -> pd.DataFrame:
    """Layers that full steps reach and the trainable depth, by type and epsilon."""
    depth = result["trainable_depth"]
    columns = {
        "layers_with_full_steps": reach(result),
        "trainable_depth_median": depth.median("seed"),
        "trainable_depth_least": depth.min("seed"),
        "trainable_depth_most": depth.max("seed"),
    }
    return xr.Dataset(columns).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="adam-epsilon",
    question="How deep does Adam reach with a smaller epsilon?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "log_step": Variable(
            ("layer",), "log rms of the first step over the learning rate, by kernel", "nats"
        ),
        "log_gradient": Variable(("layer",), "log rms of the first gradient, by kernel", "nats"),
        "trainable_depth": Variable((), "largest depth that reaches the threshold, by bisection", "layers"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
