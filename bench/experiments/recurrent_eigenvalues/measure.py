"""Eigenvalues and growth by lag of random networks of every setting, and of five that are trained."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from signalprop.analysis import lyapunov, recurrent
from signalprop.analysis.eigenvalues import eigenvalues
from signalprop.analysis.timelag import gradient_by_lag
from signalprop.analysis.trajectory import Step
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.recurrent_eigenvalues import (
    RECORDS,
    TRAINED,
    TRANSIENT,
    Settings,
    trained_cells,
)
from signalprop.bench.measure.ensembles import ensemble
from signalprop.bench.training import tasks
from signalprop.bench.training.trainer import train
from signalprop.models.activations import chosen
from signalprop.models.initializers import Scheme
from signalprop.models.mlp import draw_layer
from signalprop.models.recurrent import draw_vanilla
from signalprop.models.sequence import SequenceModel

OTHER_STEPS = 100  # steps of the exponent that is used as a rule
STAGES = ("before", "after")


def grid(settings: Settings) -> Grid:
    """One program: all networks of one seed at once."""
    names = ("ensemble", "activation", "gain", "input_std", "steps", "length", "updates")
    return Grid(
        static={"width": (settings.width,)},
        traced={},
        seeds=settings.seeds,
        constants={
            name: getattr(settings, name) for name in (*names, "batch_size", "learning_rate", "dtype")
        },
        coords={
            "ensemble": settings.ensemble,
            "activation": settings.activation,
            "gain": settings.gain,
            "input_std": settings.input_std,
            "index": range(1, settings.width + 1),
            "cell": trained_cells(settings.ensemble),
            "stage": STAGES,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Matrices of every ensemble, the growth of gradients through all networks, and training."""
    width, dtype = static["width"], static["dtype"]
    keys = jax.random.split(key, 3)
    drawn = [ensemble(name).draw(keys[0], width, width, dtype=dtype).T for name in static["ensemble"]]
    weights = jnp.stack(drawn)
    values = jax.vmap(eigenvalues)(weights)
    grown, exponents = _follow_all(keys[1], weights, static)
    return {
        "slope": grown,
        "lyapunov": exponents,
        "real": values.real,
        "imaginary": values.imag,
        "radius": jnp.max(jnp.abs(values), -1),
        "largest": jax.vmap(recurrent.largest_singular_value)(weights),
        "numerical": jax.lax.map(recurrent.numerical_radius, weights),
        **_train_all(keys[2], weights, static),
    }


def _follow_all(key: jax.Array, weights: jax.Array, static: Static) -> tuple[jax.Array, jax.Array]:
    """Growth by lag and exponent of every network; gains and inputs share products with the matrices."""
    gains, noises = (jnp.array(static[name], weights.dtype) for name in ("gain", "input_std"))

    def follow(index: jax.Array) -> Any:
        phi = chosen(static["activation"], index)

        def one(matrix: jax.Array, gain: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
            return _follow(key, recurrence(phi, matrix, gain, noise), static["steps"], matrix)

        by_noise = jax.vmap(one, (None, None, 0))
        by_gain = jax.vmap(by_noise, (None, 0, None))
        return jax.vmap(by_gain, (0, None, None))(weights, gains, noises)

    slopes, exponents = jax.lax.map(follow, jnp.arange(len(static["activation"])))
    return jnp.swapaxes(slopes, 0, 1), jnp.swapaxes(exponents, 0, 1)


def recurrence(
    phi: Callable[[jax.Array], jax.Array], weights: jax.Array, gain: jax.Array, noise: jax.Array
) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """One step; gains and inputs under ``vmap`` share the matrix W, so they meet in one product."""

    def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = phi(gain * (weights @ h) + noise * x)
        return h, h

    return step


def _follow(key: jax.Array, step: Step, steps: int, like: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Growth of a random gradient by lag, and of a change over other inputs, of one network."""
    length = TRANSIENT + steps
    draws = jax.random.normal(key, (length + TRANSIENT + OTHER_STEPS + 2, len(like)), like.dtype)
    inputs, other, start, vector = draws[:length], draws[length:-2], draws[-2], draws[-1]
    profile = gradient_by_lag(step, start, inputs, vector, steps)
    exponent = lyapunov.spectrum(step, start, other, 1, transient=TRANSIENT).exponents[0]
    return slope(profile.log_norm), exponent


def slope(log_norms: jax.Array) -> jax.Array:
    """Growth per step from a fifth of the lags to the last; -inf if the gradient has become exactly 0."""
    lags = len(log_norms) - 1
    first = lags // 5
    grown = (log_norms[-1] - log_norms[first]) / (lags - first)
    return jnp.where(log_norms[-1] == -jnp.inf, -jnp.inf, grown)


def _train_all(key: jax.Array, weights: jax.Array, static: Static) -> dict[str, jax.Array]:
    """Train one network of each usual initialization on the adding problem, from the drawn matrices."""
    cells = [TRAINED[name] for name in trained_cells(static["ensemble"])]
    kernels = jnp.stack([gain * weights[static["ensemble"].index(name)].T for name, gain, _ in cells])
    phis = tuple(dict.fromkeys(phi for *_, phi in TRAINED.values()))
    index = jnp.array([phis.index(phi) for *_, phi in cells])
    found = jax.lax.map(lambda at: _train(key, at[0], chosen(phis, at[1]), static), (kernels, index))
    return {f"trained_{name}": values for name, values in found.items()}


def _train(key: jax.Array, kernel: jax.Array, phi: Any, static: Static) -> dict[str, jax.Array]:
    """Eigenvalues, largest singular value and growth by lag of one network before and after training."""
    length, dtype, units = static["length"], kernel.dtype, len(kernel)
    draw_batch = partial(tasks.draw_adding, length=length, batch_size=static["batch_size"], dtype=dtype)
    given = Scheme("given", lambda *_: kernel)
    keys = jax.random.split(key, 5)
    cell = draw_vanilla(keys[0], 2, units, phi, given, dtype=dtype)
    model = SequenceModel(cell, draw_layer(keys[1], 1, units, 1, dtype=dtype))
    optimizer, clip_norm = optax.adam(static["learning_rate"]), jnp.asarray(1.0, dtype)
    trained = train(
        keys[2], model, tasks.squared_error, draw_batch, optimizer, static["updates"], RECORDS,
        clip_norm=clip_norm,
    )  # fmt: skip
    batch = tasks.draw_adding(keys[3], 10 * length, static["batch_size"], dtype=dtype)
    vector = jax.random.normal(keys[4], (units,), dtype)

    def look(model: Any) -> dict[str, jax.Array]:
        matrix = model.cell.dense_h.kernel[...].T
        values = eigenvalues(matrix)
        profile = gradient_by_lag(model.cell, jnp.zeros_like(vector), batch.inputs[:, 0], vector)
        return {
            "real": values.real,
            "imaginary": values.imag,
            "largest": recurrent.largest_singular_value(matrix),
            "slope": slope(profile.log_norm),
        }

    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, trained.model)
    loss = trained.record["loss"]
    return {**jax.lax.map(look, both), "loss": jnp.stack([loss[0], loss[-1]])}
