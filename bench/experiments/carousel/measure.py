"""One recurrent cell of every kind, bias and gain, followed from rest along its trajectory."""

from functools import partial

import jax
import jax.numpy as jnp

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.carousel import SHOWN, UNTIED, Settings
from signalprop.bench.measure.memory import PATHS, TERMS, follow
from signalprop.models.cells import cell as find_cell


def grid(settings: Settings) -> Grid:
    """One compilation per cell; biases and gains share their draws."""
    return Grid(
        static={"cell": settings.cell},
        traced={"forget_bias": settings.forget_bias, "gain": settings.gain},
        seeds=settings.seeds,
        constants={
            name: getattr(settings, name)
            for name in ("width", "input_scale", "steps", "transient", "stride", "dtype")
        },
        coords={
            "path": PATHS,
            "term": TERMS,
            "step": range(1, SHOWN + 1),
            "time": range(settings.stride, settings.steps + 1, settings.stride),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow one network from rest."""
    width, steps, stride = static["width"], static["steps"], static["stride"]
    name = "lstm" if static["cell"] == UNTIED else static["cell"]
    draw = partial(
        find_cell(name),
        inputs=width,
        units=width,
        gain=point["gain"],
        input_scale=jnp.asarray(static["input_scale"], static["dtype"]),
        forget_bias=point["forget_bias"],
        dtype=static["dtype"],
    )
    cell_key, input_key, walk_key = jax.random.split(key, 3)
    inputs = jax.random.normal(input_key, (steps, width), static["dtype"])
    once = draw(cell_key)
    found = follow(draw if static["cell"] == UNTIED else lambda _: once, inputs, walk_key)
    late = slice(static["transient"], None)
    recorded = {k: found[k][stride - 1 :: stride] for k in ("log_norm", "cell_square")}
    early = {k: found[k][:SHOWN] for k in ("terms", "discrepancy")}
    return {
        "log_norm": recorded["log_norm"].T,
        "cell_square": recorded["cell_square"],
        "terms": early["terms"].T,
        "discrepancy": early["discrepancy"],
        "late_terms": found["terms"][late].mean(0),
        "diagonal_share": found["diagonal_share"][late].mean(),
        "formula_error": found["formula_error"].max(),
    }
