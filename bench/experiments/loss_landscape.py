r"""Does batch norm make the loss smoother along the gradient, and is that why networks train faster with it?

Relu classifiers of five hidden layers train by stochastic gradient descent: plain, with batch norm before
every activation, and with batch norm followed by noise whose mean and scale change from step to step, which
brings back the shifts of distribution that the norm was thought to remove. During training the loss and its
gradient are looked at along the gradient: the range of the loss over steps of 0.05 to 0.4 times the gradient,
the relative change of the gradient, and its change per distance moved (effective beta-smoothness). All start
at He's scale, where the plain network keeps its signal, and at the smaller default of a common framework,
variance 1/3 over the fan-in. The better learning rate counts: the one with the smaller median final loss.

Sources: Santurkar, Tsipras, Ilyas & Madry (2018), arXiv:1805.11604, figures 2 and 4; Ioffe & Szegedy (2015),
arXiv:1502.03167.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
import xarray as xr

from signalprop.bench import landscape
from signalprop.bench.drawings.loss_landscape import best, figures, updates_to_target
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.landscape import NETWORKS
from signalprop.bench.landscape_verdicts import verdicts
from signalprop.bench.measure.data import INPUTS
from signalprop.bench.training.classification import PROBLEMS, base_rate_loss, batches, problem
from signalprop.bench.training.optimizers import optimizer, require_learning_rates
from signalprop.bench.training.trainer import train
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier


@dataclass(frozen=True)
class Settings:
    """Settings of ``loss-landscape``."""

    network: tuple[str, ...] = tuple(NETWORKS)
    """Networks: plain, batch_norm or noisy_batch_norm."""
    sigma_w2: tuple[float, ...] = (1 / 3, 2.0)
    """Variances of the weights times the fan-in."""
    learning_rate: tuple[float, ...] = (0.1,)
    """Learning rates; the better one counts."""
    data: str = "digits"
    """Data set."""
    depth: int = 5
    """Hidden layers."""
    width: int = 50
    """Units of each."""
    batch_size: int = 64
    """Examples per update, at least two."""
    updates: int = 60
    """Updates of every network."""
    records: int = 10
    """Steps at which the loss is looked at; divides the updates."""
    seeds: int = 2
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("network", self.network, NETWORKS)
        require_known("data", (self.data,), (*PROBLEMS, *INPUTS))
        require_scale("sigma_w2", self.sigma_w2)
        require_learning_rates(self.learning_rate)
        require_count("batch_size", (self.batch_size,), 2)
        for axis in ("depth", "width", "updates", "records"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(),
    "standard": Settings(learning_rate=(0.03, 0.1, 0.3), width=100, updates=300, records=30, seeds=8),
    "full": Settings(
        learning_rate=(0.01, 0.03, 0.1, 0.3), width=100, batch_size=128, updates=3000, records=300, seeds=20
    ),
}


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

    def draw(key: jax.Array) -> landscape.Batch:
        choose, noise = jax.random.split(key)
        x, label = examples(choose)
        return x, label, noise

    def look(model: Any, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
        return landscape.along_the_gradient(network, model, batch)

    trained = train(
        train_key, model, partial(landscape.loss, network), draw, optimizer("sgd", point["learning_rate"]),
        static["updates"], static["records"], look,
    )  # fmt: skip
    names = ("loss", "loss_range", "gradient_change", "smoothness")
    return {name: trained.record[name] for name in names} | {"diverged_at": trained.diverged_at.astype(dtype)}


def theory(settings: Settings) -> xr.Dataset:
    """The loss of the best constant answer."""
    return xr.Dataset({"loss_predicted": base_rate_loss(problem(settings.data))})


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row per network, scale and step, at the better learning rate; medians over seeds."""
    at = best(result)
    columns = {
        name: at[name].median("seed") for name in ("loss", "loss_range", "gradient_change", "smoothness")
    }
    columns["updates_to_target"] = updates_to_target(at).median("seed").broadcast_like(columns["loss"])
    return xr.Dataset(columns).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="loss-landscape",
    question="Does batch norm make the loss smoother along the gradient, and training faster?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "loss": Variable(("update",), "training loss, mean over the updates of a record", "nats"),
        "loss_range": Variable(("update",), "range of the loss along the gradient", "nats"),
        "gradient_change": Variable(("update",), "largest relative change of the gradient there"),
        "smoothness": Variable(("update",), "largest change of the gradient per distance moved"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
