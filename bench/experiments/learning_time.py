r"""Does it take longer to train a deeper network?

Deep linear networks learn a target from whitened inputs, tanh networks learn to classify. Their weights start
orthogonal or Gaussian, both at the critical scale: tanh networks at a small length q* = 1/16, where they are
nearly linear, and at q* = 1, with inputs scaled to keep that length. Learning time: steps until the loss of
the linear network is 0.1 % of that of the answer 0, or until 95 % of the examples of five batches are
classified rightly; at the learning rate with the smallest median over networks, of the same rates for every
start and depth.

Theory: from orthogonal weights the learning time of linear networks does not grow with depth, at learning
rates that fall as 1 / L (Saxe et al.). From a decoupled start each mode follows a differential equation in
one variable. The squared singular values of the Jacobian have relative variance L (mu_2 / mu_1^2 - 1 - s_1)
with s_1 = -1 for Gaussian and 0 for orthogonal weights, and learning is said to be fast where it is small
(Pennington et al.).

Sources: Saxe, McClelland & Ganguli (2013), arXiv:1312.6120, figures 4 and 6; Pennington, Schoenholz & Ganguli
(2017), arXiv:1711.04735.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import xarray as xr

from signalprop.analysis import freeprob, meanfield
from signalprop.bench import linear_learning as linear
from signalprop.bench.drawings.learning_time import best, figures
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.learning_time_verdicts import verdicts
from signalprop.bench.training.classification import batches, cross_entropy, problem
from signalprop.bench.training.optimizers import require_learning_rates
from signalprop.bench.training.trainer import train
from signalprop.models.activations import activation
from signalprop.models.classifier import Classifier, draw_classifier

LENGTHS = {"linear": 1.0, "tanh_small": 1 / 16, "tanh_large": 1.0}  # q* of every network
OUTPUTS = 8  # of the linear network
REMAINING, RIGHT = 0.001, 0.95  # of the loss, and of the examples, when learning counts as done
STRIDE = 5  # steps over which these examples are counted


@dataclass(frozen=True)
class Settings:
    """Settings of ``learning-time``."""

    network: tuple[str, ...] = ("linear",)
    """Networks: linear, tanh_small (q* = 1/16) and tanh_large (q* = 1)."""
    depth: tuple[int, ...] = (3, 10)
    """Numbers of hidden layers."""
    learning_rate: tuple[float, ...] = tuple(np.geomspace(0.04, 0.32, 4).tolist())
    """Rates of plain gradient descent; the best one of every network, depth and start counts."""
    width: int = 24
    """Units of every hidden layer, and of the linear networks' input."""
    steps: int = 200
    """Largest number of steps."""
    data: str = "gm10"
    """What tanh networks classify, by its name in ``bench.classification``."""
    batch_size: int = 32
    """Examples per step."""
    seeds: int = 2
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("network", self.network, LENGTHS)
        require_count("depth", self.depth)
        require_learning_rates(self.learning_rate)
        for axis in ("width", "steps", "batch_size"):
            require_count(axis, (getattr(self, axis),), OUTPUTS)
        if self.steps % STRIDE:
            raise InputError(f"steps: got {self.steps}; write a multiple of {STRIDE}")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        network=tuple(LENGTHS),
        depth=(3, 8, 20, 50),
        learning_rate=tuple(np.geomspace(0.02, 1.28, 7).tolist()),
        width=48,
        steps=300,
        seeds=3,
    ),
    "full": Settings(
        network=tuple(LENGTHS),
        depth=(3, 8, 20, 50, 100, 200),
        learning_rate=tuple(np.geomspace(0.001, 2.048, 23).tolist()),
        width=200,
        steps=4000,
        batch_size=128,
        seeds=10,
    ),
}


def grid(settings: Settings) -> Grid:
    """One compilation per network and depth; starts, rates and seeds train together."""
    constants = ("width", "steps", "data", "batch_size", "dtype")
    return Grid(
        static={"network": settings.network, "depth": settings.depth},
        traced={"orthogonal": (1.0, 0.0), "learning_rate": settings.learning_rate},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={"moment": linear.moments().tolist(), "mode": linear.STRENGTHS},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Time one network until it has learned, and measure the spread of its singular values before."""
    net_key, task_key = jax.random.split(key)
    orthogonal, rate = point["orthogonal"] > 0, point["learning_rate"]
    if static["network"] == "linear":
        return _linear(net_key, task_key, orthogonal, rate, static)
    data, dtype = problem(static["data"]), static["dtype"]
    sigma_w, sigma_b, scale, _ = critical(static["network"])
    first, second = (
        draw_classifier(
            net_key, data.features, static["width"], static["depth"], data.classes, activation("tanh"),
            scheme=scheme, sigma_w=sigma_w, sigma_b=sigma_b, dtype=dtype,
        )
        for scheme in linear.STARTS
    )  # fmt: skip
    model = jax.tree.map(lambda a, b: jnp.where(orthogonal, a, b), first, second)
    scaled = data._replace(x=(scale * data.x).astype(dtype))
    draw, records = batches(scaled, static["batch_size"], dtype), static["steps"] // STRIDE
    trained = train(task_key, model, cross_entropy, draw, optax.sgd(rate), static["steps"], records)
    right = trained.record["accuracy"] >= RIGHT
    when = jnp.where(jnp.any(right), STRIDE * (jnp.argmax(right) + 1), jnp.inf)
    x = jnp.asarray(scaled.x[0], dtype)
    unlike = jnp.full((linear.MOMENTS, len(linear.STRENGTHS)), jnp.nan, jnp.float64)
    return {"time": when.astype(dtype), "spread": spread(_jacobian(model, x)), "strength": unlike}


def _linear(
    net_key: jax.Array, task_key: jax.Array, orthogonal: jax.Array, rate: jax.Array, static: Static
) -> dict[str, jax.Array]:
    """A linear network with one kernel more than hidden layers, of which the first outputs count."""
    count, width, dtype = static["depth"] + 1, static["width"], static["dtype"]
    kernels = linear.draw_kernels(net_key, count, width, orthogonal, dtype)
    target = jnp.linalg.qr(jax.random.normal(task_key, (width, OUTPUTS), dtype))[0]
    time = linear.learning_time(kernels, target, rate, static["steps"], REMAINING)
    return {
        "time": time,
        "spread": spread(linear.product(kernels[:-1], jnp.eye(width, dtype=dtype))),
        "strength": linear.decoupled_strengths(task_key, count),
    }


def _jacobian(model: Classifier, x: jax.Array) -> jax.Array:
    """dy^L/dy^1 of the hidden layers behind the first, whose kernels are square."""
    _, y = model.activities(x[None])

    def above(y: jax.Array) -> jax.Array:
        blocks = [jax.tree.map(lambda a: a[1:], model.runs[0])] if len(model.runs) == 1 else model.runs[1:]
        for run in blocks:
            y = jax.lax.scan(lambda y, block: (block(y), None), y, run)[0]
        return y

    jacobian: jax.Array = jax.jacfwd(above)(y[0, 0])
    return jacobian


def spread(jacobian: jax.Array) -> jax.Array:
    """Variance of the squared singular values over their squared mean, by traces."""
    square = jacobian @ jacobian.T
    return square.shape[0] * jnp.sum(square**2) / jnp.trace(square) ** 2 - 1


def critical(network: str) -> tuple[float, float, float, float]:
    """Sigma_w and sigma_b of the critical point at q*, the input's scale for it, and mu_2 / mu_1^2 - 1."""
    if network == "linear":
        return 1.0, 0.0, 1.0, 0.0
    phi, q = activation("tanh"), LENGTHS[network]
    with jax.ensure_compile_time_eval():
        line = meanfield.critical_line(phi, q)
        ratio = freeprob.moments(phi, line.sigma_w, q, 1, "orthogonal").relative_variance
        scale = jnp.sqrt(q - line.sigma_b**2) / line.sigma_w
        return float(line.sigma_w), float(line.sigma_b), float(scale), float(ratio)


def theory(settings: Settings) -> xr.Dataset:
    """Spread of the singular values of wide networks, and the strengths of decoupled modes."""
    matrices = {name: np.array(settings.depth) - (name != "linear") for name in settings.network}
    spreads = [
        [n * (critical(name)[3] + np.array([0.0, 1.0])) for n in matrices[name]] for name in settings.network
    ]
    strengths = np.stack([linear.predicted_strengths(depth + 1) for depth in settings.depth])
    return xr.Dataset(
        {
            "spread_predicted": (("network", "depth", "orthogonal"), spreads),
            "strength_predicted": (("depth", "moment", "mode"), strengths),
        },
        coords={"network": list(settings.network), "depth": list(settings.depth), "orthogonal": [1.0, 0.0]},
    )


def table(result: xr.Dataset) -> pd.DataFrame:
    """Learning time at the best rate, that rate, and the spread, by network, depth and start."""
    at = best(result)
    columns = {
        "learning_time_median": at["time"].median("seed"),
        "best_learning_rate": at["rate"],
        "spread": result["spread"].isel(learning_rate=0).mean("seed"),
        "spread_predicted": result["spread_predicted"],
    }
    shown = ["network", "depth", "orthogonal", *columns]
    frame = xr.Dataset(columns).to_dataframe().reset_index()[shown]
    return frame.assign(orthogonal=frame["orthogonal"] > 0)


EXPERIMENT = Experiment(
    name="learning-time",
    question="Does it take longer to train a deeper network?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "time": Variable((), "steps until the network has learned; inf: not within the steps", "steps"),
        "spread": Variable((), "relative variance of squared singular values of the Jacobian, untrained"),
        "strength": Variable(("moment", "mode"), "strength of decoupled modes"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
