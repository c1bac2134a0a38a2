r"""Is it the learning rate or the depth that makes training diverge?

A tanh network of many layers learns a few examples by plain gradient descent on the square error of one-hot
targets, over a grid of weight variances and learning rates. Two boundaries cross on that map. Along one, on
which the weights alone decide, the gradient begins to grow from the last layer to the first: the edge of
chaos, chi_1 = 1. Along the other the loss blows up: it rises above its initial value within a few updates.

For a quadratic loss gradient descent diverges exactly beyond the learning rate 2 / lambda, lambda the largest
eigenvalue of the Hessian; linear regression shows it. A network's loss is no quadratic, so lambda is measured
by Lanczos' method and the blow-up found by bisection twice: for the drawn network, where the loss has a slope
and lambda changes within steps, and for the network settled by Adam near a minimum. A learning rate between
2 / lambda and 4 / lambda may throw a drawn network into a flatter region instead (Lewkowycz et al. 2020).
Runs use batches of all examples and of fewer, by which the loss on all of them is judged.

Sources: LeCun, Bottou, Orr & Mueller (1998), Efficient BackProp; Schoenholz et al. (2017), arXiv:1611.01232;
Lewkowycz et al. (2020), arXiv:2003.02218; Cohen et al. (2021), arXiv:2103.00065.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis import meanfield
from signalprop.bench import descent
from signalprop.bench.drawings.learning_rate_or_depth import figures
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.learning_rate_verdicts import verdicts
from signalprop.bench.measure.data import INPUTS
from signalprop.bench.training.classification import PROBLEMS, problem
from signalprop.bench.training.optimizers import require_learning_rates
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier

WHEN = ("drawn", "settled")
MULTIPLES = (0.25, 0.4, 0.6, 1.4, 1.5, 1.75, 1.9, 1.98, 2.02, 2.1, 2.25, 2.5, 3.0)  # of 1 / lambda
QUADRATIC_STEPS = 8


@dataclass(frozen=True)
class Settings:
    """Settings of ``learning-rate-or-depth``."""

    sigma_w2: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Variances of the weights times the fan-in."""
    learning_rate: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    """Learning rates of the map."""
    batch_size: tuple[int, ...] = (64,)
    """Examples per update; as many as there are, or more: all of them."""
    data: str = "gm10"
    """Data set."""
    examples: int = 64
    """Training examples."""
    depth: int = 20
    """Hidden layers."""
    width: int = 32
    """Units of each."""
    steps: int = 60
    """Updates of the map's runs."""
    within: int = 40
    """Updates within which the loss must rise above its initial value to count as blown up."""
    settling: int = 200
    """Updates by Adam at 0.003 after which a network counts as settled."""
    seeds: int = 3
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_scale("sigma_w2", self.sigma_w2)
        require_learning_rates(self.learning_rate)
        require_count("batch_size", self.batch_size)
        for axis in ("examples", "width", "within", "settling"):
            require_count(axis, (getattr(self, axis),))
        require_count("depth", (self.depth,), 2)
        require_count("steps", (self.steps,), 10)
        require_known("data", (self.data,), (*PROBLEMS, *INPUTS))


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        sigma_w2=(0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0),
        learning_rate=tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-4, 3, 14)),
        batch_size=(16, 64),
        steps=100,
        settling=300,
        seeds=8,
    ),
    "full": Settings(
        sigma_w2=tuple(float(f"{s:.3g}") for s in np.geomspace(0.25, 9, 25)),
        learning_rate=tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-5, 10, 40)),
        batch_size=(16, 64, 256),
        examples=256,
        depth=50,
        width=200,
        steps=500,
        settling=1000,
        seeds=20,
    ),
}


def grid(settings: Settings) -> Grid:
    """One compilation; a network's curvature and edges are shared by all learning rates and batches."""
    if settings.examples > (most := len(problem(settings.data).x)):
        raise InputError(f"examples: got {settings.examples}; write at most {most}")
    constants = ("data", "examples", "depth", "width", "steps", "within", "settling", "dtype")
    return Grid(
        static={},
        traced={
            "sigma_w2": settings.sigma_w2,
            "learning_rate": settings.learning_rate,
            "batch_size": settings.batch_size,
        },
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={"when": WHEN, "multiple": MULTIPLES},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Curvature and edges of one network, drawn and settled, and one run of the map."""
    draw_key, train_key, rate_key = jax.random.split(key, 3)
    dtype, data = static["dtype"], problem(static["data"])
    every = descent.examples(data, static["examples"], dtype)
    model = draw_classifier(
        draw_key, data.features, static["width"], static["depth"], data.classes, activation("tanh"),
        sigma_w=jnp.sqrt(point["sigma_w2"]).astype(dtype), dtype=dtype,
    )  # fmt: skip
    settled = descent.settle(model, every, static["settling"])
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, settled)
    found = jax.vmap(lambda m: descent.sharpness(rate_key, m, every))(both)
    edge = partial(descent.edge, train_key, every=every, within=static["within"])
    run = descent.descend(
        train_key, model, every, point["batch_size"], point["learning_rate"], static["steps"]
    )
    return {
        "decades": jax.vmap(partial(descent.delta_decades, every=every))(both),
        "sharpness": found.largest,
        "sharpness_error": found.error,
        "edge": jax.vmap(lambda m, largest: edge(m, largest=largest))(both, found.largest),
        "log_gradient_norm": run.log_gradient_norm,
        "log_final": jnp.max(run.log_loss[-10:]),
        "log_highest": jnp.max(run.log_loss),
        "rises_at": run.rises_at.astype(dtype),
        "diverged_at": run.diverged_at.astype(dtype),
        "rate": descent.quadratic_rates(rate_key, every[0], jnp.asarray(MULTIPLES, dtype), QUADRATIC_STEPS),
    }


def theory(settings: Settings) -> xr.Dataset:
    """Mean field's gradient between the ends of an infinitely wide network, and the rates of a quadratic."""

    def decades(sigma_w: jax.Array) -> jax.Array:
        profile = meanfield.gradient_profile(activation("tanh"), sigma_w, 0.0, 1.0, settings.depth)
        return profile[0]

    profile = jax.jit(jax.vmap(decades))(jnp.sqrt(jnp.asarray(settings.sigma_w2, jnp.float64)))
    rates = np.log(np.abs(1 - np.array(MULTIPLES)))
    return xr.Dataset(
        {"decades_predicted": ("sigma_w2", np.asarray(profile)), "rate_predicted": ("multiple", rates)},
        coords={"sigma_w2": list(settings.sigma_w2), "multiple": list(MULTIPLES)},
    )


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row per point of the map, with the curvature and edges of its networks; medians over seeds."""
    columns = {
        "log10_final_loss_ratio": result["log_final"].median("seed") / np.log(10),
        "blown_up": (result["log_highest"] > np.log1p(descent.RISE)).sum("seed"),
        "left_float_range": (result["diverged_at"] > 0).sum("seed"),
    }
    for when in WHEN:
        at = result.sel(when=when, drop=True).isel(learning_rate=0, batch_size=0, drop=True)
        columns[f"gradient_decades_{when}"] = at["decades"].mean("seed")
        columns[f"two_over_sharpness_{when}"] = (2 / at["sharpness"]).median("seed")
        columns[f"edge_{when}"] = at["edge"].median("seed")
    columns["gradient_decades_mean_field"] = result["decades_predicted"]
    return xr.Dataset(columns).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="learning-rate-or-depth",
    question="Is it the learning rate or the depth that makes training diverge?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "decades": Variable(
            ("when",), "log10 of the gradient at the first over the last hidden layer", "decades"
        ),
        "sharpness": Variable(("when",), "largest eigenvalue of the Hessian"),
        "sharpness_error": Variable(("when",), "its error bound"),
        "edge": Variable(("when",), "learning rate from which full-batch descent blows up"),
        "log_gradient_norm": Variable((), "log of the gradient's norm before the first update", "nats"),
        "log_final": Variable((), "log of the largest of the last ten losses over the initial one", "nats"),
        "log_highest": Variable((), "log of the highest loss over the initial one", "nats"),
        "rises_at": Variable((), "updates after which the loss was first above its start; 0: never"),
        "diverged_at": Variable((), "updates after which the loss had left float range; 0: never"),
        "rate": Variable(("multiple",), "growth per update of the steepest direction's error", "nats"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
