"""All routes from many instances, how flat the plateau is, and steps to leave the saddles."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.zero_gradient_plateau import Settings, saddles
from signalprop.bench.experiments.zero_gradient_plateau.escapes import escapes
from signalprop.bench.experiments.zero_gradient_plateau.plateaus import Instance, Silent, draw_instance, layer
from signalprop.models.activations import activation

FLAT = ("relu", "binary_step", "sigmoid")


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
            "unit": FLAT,
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


def flatness(instance: Instance) -> dict[str, jax.Array]:
    """How flat the loss is around a silent relu layer, one of binary steps, and a sigmoid layer at -6.

    Returns:
        ``slope`` and ``curvature`` (3,): the largest first and second derivative of the logistic loss by a
        hidden weight or bias; ``solved_slope`` (2,): the largest first derivative by any parameter of a
        network that is awake, of the squared error at an exact fit and of the hinge beyond all margins.
    """
    phis = [activation(name) for name in FLAT]
    starts = jnp.stack([instance.starts[0], instance.starts[2], instance.starts[0]])

    def loss(hidden: jax.Array, kind: jax.Array) -> jax.Array:
        active = jax.lax.switch(kind, phis, layer(hidden)(instance.x))
        out = instance.readout(active)[..., 0]
        return jnp.mean(optax.sigmoid_binary_cross_entropy(out, instance.label))

    def largest(tree: Any) -> jax.Array:
        return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]))

    awake = Silent(layer(instance.starts[2]), instance.readout)
    out = awake(instance.x)
    losses = (
        lambda model: jnp.mean((model(instance.x) - out) ** 2),
        lambda model: jnp.mean(
            jax.nn.relu(1 - jnp.sign(out) * model(instance.x) * 2 / jnp.min(jnp.abs(out)))
        ),
    )
    return {
        "slope": jax.vmap(lambda *at: largest(jax.grad(loss)(*at)))(starts, jnp.arange(3)),
        "curvature": jax.vmap(lambda *at: largest(jax.hessian(loss)(*at)))(starts, jnp.arange(3)),
        "solved_slope": jnp.stack([largest(jax.grad(f)(awake)) for f in losses]),
    }
