"""Probe the gradients of one network before training, then train it with one treatment."""

from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from signalprop.analysis.recurrent import spectral_radius
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.clipping import MOMENTS, Settings
from signalprop.bench.experiments.clipping.scenes import SCENES, Scene, Shape
from signalprop.bench.experiments.clipping.treatments import treatment
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import log_global_norm, train

PROBES = 64  # batches whose gradients are measured before training
ALPHA = 0.3  # of the penalty whose gradient is compared


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
