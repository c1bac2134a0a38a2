r"""What leaves a plateau where the gradient is exactly zero?

A relu layer with W x + b < 0 on every example gets no gradient, and no curvature. Many random instances, the
same start for every route out (`bench.plateaus`): plain gradient descent, momentum and Adam with and without
something to remember, weight decay of four kinds, noise, norms before the relu, two Newton methods. Each is
the suite's own optimizer run on the network, beside the closed form that knows no network
(`analysis.plateau`), instance by instance.

Then the places where curvature or patience would help: smooth saddles of second and higher order, a sigmoid
that is only slow (`bench.saddles`); and losses whose own derivative is zero.

Sources: Polyak (1964), USSR Comput. Math. 4(5) (heavy ball); Kingma & Ba (2014), arXiv:1412.6980 (Adam);
Loshchilov & Hutter (2017), arXiv:1711.05101 (decoupled decay); Ioffe & Szegedy (2015), arXiv:1502.03167
(batch normalisation); Samuelson (1968), J. Am. Stat. Assoc. 63; Dauphin et al. (2014), arXiv:1406.2572
(saddle-free Newton); Kawaguchi (2016), arXiv:1605.07110 (saddles of deep linear networks).
"""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis import plateau
from signalprop.bench import saddles
from signalprop.bench.drawings.zero_gradient_plateau import figures
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known
from signalprop.bench.escapes import SECOND, escapes
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.plateaus import MOMENTUM, POSITIVE, ROUTES, draw_instance, flatness
from signalprop.bench.zero_gradient_verdicts import verdicts


@dataclass(frozen=True)
class Settings:
    """Settings of ``zero-gradient-plateau``."""

    route: tuple[str, ...] = tuple(ROUTES)
    """Routes out of the plateau, of ``bench.plateaus``."""
    instances: int = 4
    """Random starts per seed."""
    steps: int = 150
    """Steps of every route."""
    examples: int = 256
    """Examples of the plateau."""
    features: int = 8
    """Features of an example."""
    units: int = 16
    """Hidden units, all silent."""
    seeds: int = 2
    """Seeds, each with its own instances."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("route", self.route, ROUTES)
        for axis in ("instances", "steps", "features", "units"):
            require_count(axis, (getattr(self, axis),))
        require_count("examples", (self.examples,), least=2)


SIZES = {
    "quick": Settings(),
    "standard": Settings(instances=10, steps=200, seeds=20),
    "full": Settings(instances=20, steps=1000, seeds=50),
}


def grid(settings: Settings) -> Grid:
    """Only seeds are an axis; routes and saddles are dimensions of what is measured."""
    constants = ("route", "instances", "steps", "examples", "features", "units", "dtype")
    return Grid(
        static={},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "instance": range(settings.instances),
            "route": settings.route,
            "step": range(settings.steps),
            "unit": ("relu", "binary_step", "sigmoid"),
            "loss": ("squared error at an exact fit", "hinge beyond all margins"),
            "descent": saddles.METHODS,
            "chain": saddles.DEPTHS,
            "chain_start": saddles.STARTS,
            "order": range(1, max(saddles.DEPTHS) + 1),
            "sigmoid_start": saddles.SIGMOID_STARTS,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Run every route from several instances, and leave the saddles."""
    instance_key, noise_key = jax.random.split(key)
    shape = (static["examples"], static["features"], static["units"], static["dtype"])
    keys, noise_keys = (jax.random.split(k, static["instances"]) for k in (instance_key, noise_key))
    run = partial(escapes, routes=static["route"], steps=static["steps"])
    found = jax.vmap(lambda k, noise: run(draw_instance(k, *shape), key=noise))(keys, noise_keys)
    return {
        **found,
        **{name: found[name][0] for name in ("highest", "highest_foreseen")},
        **flatness(draw_instance(keys[0], *shape)),
        **saddles.measure_saddles(static["dtype"]),
    }


def theory(settings: Settings) -> xr.Dataset:
    """What coasting, the base rate, the saddles and the sigmoid come to."""
    count = round(POSITIVE * settings.examples)
    adam = {name: np.asarray(plateau.coasting_adam(100_000, route.count, MOMENTUM, SECOND))[-1]
            for name, route in ROUTES.items() if route.count}  # fmt: skip
    ball, nesterov = MOMENTUM / (1 - MOMENTUM), MOMENTUM**2 / (1 - MOMENTUM)
    coasting = {
        name: adam.get(name, nesterov if ROUTES[name].method == "nesterov" else ball)
        if ROUTES[name].moving
        else np.nan
        for name in settings.route
    }
    return xr.Dataset(
        {
            "coasting_predicted": ("route", list(coasting.values())),
            "base_rate_logit": ((), np.log(count / (settings.examples - count))),
            "ridge_steps_predicted": ("descent", saddles.foresee_ridge()),
            "chain_steps_predicted": (
                ("chain", "chain_start", "descent"),
                [[saddles.foresee_chain(d, w) for w in saddles.STARTS] for d in saddles.DEPTHS],
            ),
            "sigmoid_steps_predicted": (
                "sigmoid_start",
                np.asarray(plateau.sigmoid_escape_time(np.array(saddles.SIGMOID_STARTS))) / saddles.RATE,
            ),
        },
        coords={k: v for k, v in grid(settings).labels().items()
                if k in ("route", "descent", "chain", "chain_start", "sigmoid_start")},
    )  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """Routes with their shares, steps and accuracies; saddles; the sigmoid."""
    over = ("seed", "instance")
    rows = []
    for name in result["route"].values:
        at = result.sel(route=name)
        for what, measured, predicted in (
            ("share that escapes", np.isfinite(at["escape"]).mean(), np.isfinite(at["foreseen"]).mean()),
            ("median step of escape", at["escape"].median(over), at["foreseen"].median(over)),
            ("accuracy", at["accuracy"].mean(), np.nan),
        ):
            rows.append(("route", str(name), what, float(measured), float(predicted)))
    for name in ("chain_steps", "sigmoid_steps"):
        both = result[[name, f"{name}_predicted"]].isel(seed=0).to_dataframe().reset_index()
        keys = [c for c in both if c not in ("seed", name, f"{name}_predicted")]
        rows += [(name, " ".join(f"{row[k]}" for k in keys), "steps", row[name], row[f"{name}_predicted"])
                 for _, row in both.iterrows()]  # fmt: skip
    return pd.DataFrame(rows, columns=["part", "case", "quantity", "measured", "predicted"])


EXPERIMENT = Experiment(
    name="zero-gradient-plateau",
    question="What leaves a plateau where the gradient is exactly zero?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "escape": Variable(
            ("instance", "route"), "first step after which a unit is awake; inf: none", "steps"
        ),
        "foreseen": Variable(("instance", "route"), "the same by closed form", "steps"),
        "moved": Variable(("instance", "route"), "largest change of a hidden weight where none escapes"),
        "off": Variable(("instance", "route"), "largest error of the predicted highest w x + b until then"),
        "coasting": Variable(("instance", "route"), "displacement in first steps of the memory"),
        "coasting_off": Variable(("instance", "route"), "largest error of a predicted displacement"),
        "accuracy": Variable(("instance", "route"), "share of right answers at the end"),
        "output_bias": Variable(("instance", "route"), "output bias at the end"),
        "highest": Variable(("route", "step"), "highest w x + b of the first instance"),
        "highest_foreseen": Variable(("route", "step"), "the same by closed form"),
        "slope": Variable(("unit",), "largest derivative by a hidden weight on the plateau"),
        "curvature": Variable(("unit",), "largest second derivative by hidden weights on the plateau"),
        "solved_slope": Variable(("loss",), "largest derivative of a loss that is solved"),
        "ridge_steps": Variable(("descent",), "steps to leave the ridge of x^2 - y^2", "steps"),
        "chain_steps": Variable(("chain", "chain_start", "descent"), "steps to leave the saddle", "steps"),
        "chain_derivative": Variable(("chain", "order"), "derivatives at the origin along (1, ..., 1)"),
        "chain_hessian": Variable(("chain",), "largest second derivative at the origin"),
        "sigmoid_steps": Variable(("sigmoid_start",), "steps of gradient descent to b = 0", "steps"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
