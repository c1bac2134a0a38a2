"""Every condition, the networks of random scale and the restarts on XOR, from one seed."""

from functools import partial

import jax
import jax.numpy as jnp

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.stuck_or_solved import Settings
from signalprop.bench.experiments.stuck_or_solved.conditions import CONDITIONS, examine, rows
from signalprop.bench.experiments.stuck_or_solved.xor import restart


def grid(settings: Settings) -> Grid:
    """Only seeds are an axis; conditions are a dimension of what is measured."""
    constants = (
        "examples", "width", "depth", "steps", "records", "probe_steps", "random", "xor_width", "penalty",
        "restarts", "xor_steps", "dtype",
    )  # fmt: skip
    stride = settings.steps // settings.records
    return Grid(
        static={},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "network": (*CONDITIONS, *(f"random {i}" for i in range(settings.random))),
            "step": [stride * i for i in range(settings.records)],
            "restart": range(settings.restarts),
            "xor_width": settings.xor_width,
            "penalty": settings.penalty,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Examine every condition and the networks of random scale, and restart the nets on XOR."""
    row_key, key, xor_key = jax.random.split(key, 3)
    dtype = static["dtype"]
    names = ("examples", "width", "depth", "steps", "records", "probe_steps", "dtype")
    sizes = {name: static[name] for name in names}
    numbers = rows(row_key, static["random"], dtype)
    keys = jax.random.split(key, len(numbers["phi"]))
    found = jax.vmap(lambda k, row: examine(k, row, **sizes))(keys, numbers)
    one = partial(restart, steps=static["xor_steps"], dtype=dtype)
    for axes in ((None, None, 0), (None, 0, None), (0, None, None)):
        one = jax.vmap(one, axes)
    widths, penalties = jnp.asarray(static["xor_width"]), jnp.asarray(static["penalty"], dtype)
    ends = one(jax.random.split(xor_key, static["restarts"]), widths, penalties)
    return {
        **found,
        "sigma_w": numbers["sigma_w"],
        **{f"xor_{name}": values for name, values in ends.items()},
    }
