r"""What does clipping do to gradients that explode, and what do penalties do?

Gradient descent on four kinds of networks (``bench.clipped``): the error surface with a cliff of one
recurrent unit, a deep tanh classifier, a recurrent tanh network, and one value learnt from errors far from
0. Every gradient is left alone, clipped to a norm c, clipped entry by entry, or joined by an L2 or L1
penalty. All treatments of a seed share weights and batches.

Measured before training: the gradients of 64 batches, their norms, and the angle by which clipping turns
them. At every step: the gradient's norm, the update's, whether clipping engaged, the loss; the recurrent
weights' Frobenius norm, and at ten steps their spectral radius.

Theory: clipping by norm multiplies g by min(1, c / |g|), so an update of gradient descent has the norm
min(lr |g|, lr c) and the direction of g; where |g| < c it changes not one bit. A first step is clipped with
the probability P(|g| > c) over batches. The penalty alpha |W|^2 has the gradient 2 alpha W, hence without
any other gradient W_t = (1 - lr l2)^t W_0, with l2 = 2 alpha; with one, the norm is off by at most lr sum
|g|. The square of a clipped error has no gradient outside the range, Huber's loss the gradient +-1. No
theory gives the number of successes; its intervals are exact (Clopper & Pearson 1934).

Sources: Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063 (algorithm 1, figure 6); Mnih et al. (2015), Nature
518; Karpathy (2016), Yes you should understand backprop; He et al. (2015), arXiv:1502.01852 (weight decay).
"""

from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from flax import nnx

from signalprop.analysis.recurrent import spectral_radius
from signalprop.bench.clipped import SCENES, Scene, Shape, cliff_error, treatment
from signalprop.bench.clipping_scores import table
from signalprop.bench.clipping_verdicts import verdicts
from signalprop.bench.drawings.clipping import figures
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import (
    Grid,
    Static,
    require_count,
    require_known,
    require_scale,
    require_values,
)
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.training.optimizers import optimizer, require_learning_rates
from signalprop.bench.training.trainer import log_global_norm, train

PROBES = 64  # batches whose gradients are measured before training
MOMENTS = 10  # steps at which the spectral radius is measured
ALPHA = 0.3  # of the penalty whose gradient is compared
CORNERS = (2.0, 8.0), (-4.0, 0.0)  # of the error surface, in w and b


@dataclass(frozen=True)
class Settings:
    """Settings of ``clipping``."""

    network: tuple[str, ...] = ("deep", "recurrent", "cliff", "td_clipped", "td_huber")
    """Networks of ``bench.clipped``."""
    treatment: tuple[str, ...] = ("none", "norm-1", "value-0.01", "l2-0.1")
    """What happens to the gradient: none, norm-c, value-c, l2-c or l1-c with a number c above 0."""
    gain: tuple[float, ...] = (0.5, 2.5)
    """Scale of the weights: sigma_w of the deep network, of the recurrent weights otherwise."""
    learning_rate: tuple[float, ...] = (0.1,)
    """Learning rates of gradient descent."""
    depth: int = 20
    """Hidden layers of the deep network."""
    units: int = 24
    """Units of the deep and of the recurrent network."""
    batch_size: int = 16
    """Examples or sequences per update."""
    cliff_steps: int = 50
    """Steps of the recurrent network with a cliff."""
    updates: int = 60
    """Updates, a multiple of 10."""
    surface: int = 81
    """Points of the error surface along each weight."""
    seeds: int = 4
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_values("network", self.network)
        require_known("network", self.network, SCENES)
        require_values("treatment", self.treatment)
        for name in self.treatment:
            treatment(name)
        require_scale("gain", self.gain)
        require_learning_rates(self.learning_rate)
        for axis in ("depth", "units", "batch_size", "cliff_steps", "updates", "surface"):
            require_count(axis, (getattr(self, axis),), 2)
        if self.updates % MOMENTS:
            raise InputError(f"updates: got {self.updates}; write a multiple of {MOMENTS}")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        treatment=("none", "norm-0.1", "norm-1", "value-0.01", "l2-0.1", "l1-0.001"),
        gain=(0.5, 0.9, 1.2, 1.5, 2.5),
        learning_rate=(0.01, 0.1),
        units=32,
        updates=200,
        seeds=8,
    ),
    "full": Settings(
        treatment=(
            "none", "norm-0.01", "norm-0.1", "norm-1", "norm-10", "value-0.001", "value-0.01", "value-0.1",
            "l2-0.001", "l2-0.01", "l2-0.1", "l1-0.0001", "l1-0.001", "l1-0.01",
        ),
        gain=(0.5, 0.9, 1.2, 1.5, 2.0, 2.5, 3.0),
        learning_rate=(0.003, 0.01, 0.03, 0.1, 0.3),
        depth=30,
        units=64,
        batch_size=32,
        updates=2000,
        seeds=20,
    ),
}  # fmt: skip


def grid(settings: Settings) -> Grid:
    """One compilation per network; treatments share their draws."""
    chosen = [treatment(name) for name in settings.treatment]
    names = [f.name for f in fields(chosen[0])]
    constants = ("depth", "units", "batch_size", "cliff_steps", "updates", "dtype")
    stride = settings.updates // MOMENTS
    return Grid(
        static={"network": settings.network},
        traced={
            "treatment": {name: [getattr(t, name) for t in chosen] for name in names},
            "gain": settings.gain,
            "learning_rate": settings.learning_rate,
        },
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "treatment": settings.treatment,
            "update": range(settings.updates),
            "probe": range(PROBES),
            "moment": [stride * i for i in range(MOMENTS)],
            "weight": ("w", "b"),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Look at the gradients of a network before training, then train it with one treatment."""
    scene, dtype = SCENES[static["network"]], static["dtype"]
    shape = Shape(**{f.name: static[f.name] for f in fields(Shape)})
    keys = jax.random.split(key, 3)
    model = scene.draw(keys[0], point["gain"], shape)
    trained = train(
        keys[1], model, scene.loss, scene.batch(shape),
        optimizer(
            "sgd", point["learning_rate"], l2=point["l2"], l1=point["l1"], clip_value=point["clip_value"]
        ),
        static["updates"], static["updates"], lambda model, *rest: watch(scene, model, *rest),
        clip_norm=point["clip_norm"],
    )  # fmt: skip
    record = trained.record
    kernels = record["kernel"][:: static["updates"] // MOMENTS]
    recurrent = static["network"] == "recurrent"
    radius = jax.vmap(spectral_radius)(kernels) if recurrent else jnp.full(MOMENTS, jnp.nan, dtype)
    radius = jnp.where(jnp.isfinite(kernels).all((1, 2)), radius, jnp.nan)
    return {
        **probe(keys[2], scene, model, shape, point),
        **{name: record[name] for name in ("loss", "log_gradient_norm", "clip_rate", "log_update", "place")},
        "log_weight": jax.vmap(log_global_norm)(record["kernel"]),
        "radius": radius,
        "diverged_at": trained.diverged_at.astype(dtype),
    }


def watch(scene: Scene, model: Any, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
    """Size of an update, where the network stands, and its weights."""
    return {
        "log_update": log_global_norm(updates),
        "place": scene.place(model),
        "kernel": scene.kernel(model),
    }


def probe(
    key: jax.Array, scene: Scene, model: Any, shape: Shape, point: dict[str, jax.Array]
) -> dict[str, jax.Array]:
    """Gradients of fresh batches: log norms, cosines with themselves clipped; and that of alpha |W|^2."""
    graph, *states = nnx.split(model, nnx.Param, ...)
    parameters, rest = states
    draw, most = scene.batch(shape), point["clip_value"]

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = jax.grad(lambda p: scene.loss(nnx.merge(graph, p, rest), draw(key))[0])(parameters)
        flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(found)])
        size = log_global_norm(flat)
        cut = jnp.clip(flat * jnp.minimum(1, point["clip_norm"] * jnp.exp(-size)), -most, most)
        unit, turned = (side * jnp.exp(-log_global_norm(side)) for side in (flat, cut))
        return size, jnp.sum(unit * turned)

    sizes, cosines = jax.lax.map(one, jax.random.split(key, PROBES))
    kernel = scene.kernel(model)
    slope = jax.grad(lambda w: ALPHA * jnp.sum(w**2))(kernel)
    return {
        "log_first_gradient": sizes,
        "cosine": cosines,
        "penalty_error": jnp.max(jnp.abs(slope - 2 * ALPHA * kernel)),
    }


def theory(settings: Settings) -> xr.Dataset:
    """The error surface of the cliff, and constants that verdicts need."""
    w, b = (jnp.linspace(*ends, settings.surface) for ends in CORNERS)
    across = jax.jit(
        jax.vmap(jax.vmap(lambda w, b: cliff_error(w, b, settings.cliff_steps), (0, None)), (None, 0))
    )
    return xr.Dataset(
        {
            "surface": (("b", "w"), np.asarray(across(w, b))),
            "batch_size": ((), settings.batch_size),
            "depth": ((), settings.depth),
        },
        coords={"w": np.asarray(w), "b": np.asarray(b)},
    )


EXPERIMENT = Experiment(
    name="clipping",
    question="What does clipping do to gradients that explode, and what do penalties do?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "log_first_gradient": Variable(("probe",), "log gradient norm over batches, before training", "nats"),
        "cosine": Variable(("probe",), "cosine of a gradient with itself clipped, before training"),
        "penalty_error": Variable((), "largest deviation of the slope of alpha |W|^2 from 2 alpha W"),
        "loss": Variable(("update",), "loss on the update's batch"),
        "log_gradient_norm": Variable(("update",), "log of the gradient norm before clipping", "nats"),
        "clip_rate": Variable(("update",), "1 if clipping by norm engaged"),
        "log_update": Variable(("update",), "log of the update's norm", "nats"),
        "place": Variable(("update", "weight"), "weights of the network with a cliff; value of the td's"),
        "log_weight": Variable(("update",), "log of the kernel's Frobenius norm", "nats"),
        "radius": Variable(("moment",), "spectral radius of the recurrent weights"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
