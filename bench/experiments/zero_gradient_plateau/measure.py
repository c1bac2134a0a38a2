"""The sweep of ``zero-gradient-plateau``, and the measurement of one network."""

from functools import partial

import jax

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.zero_gradient_plateau import Settings, saddles
from signalprop.bench.experiments.zero_gradient_plateau.escapes import escapes
from signalprop.bench.experiments.zero_gradient_plateau.plateaus import draw_instance, flatness


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
