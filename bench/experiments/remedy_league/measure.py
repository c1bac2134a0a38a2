"""Train all recipes of one structure in one program, and measure their gradient before and after."""

from collections.abc import Sequence
from functools import partial
from math import log
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.remedy_league import Settings
from signalprop.bench.experiments.remedy_league.recipes import ARCHITECTURES, Recipe, groups
from signalprop.bench.training.classification import Problem, accuracy, batches, cross_entropy, problem
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import train
from signalprop.models.activations import activation
from signalprop.models.chain import chain_profile
from signalprop.models.classifier import Classifier, draw_classifier
from signalprop.models.lsuv import unit_variance
from signalprop.models.residual import draw_block

CONSTANTS = (
    "network", "remedy", "data", "width", "depth", "batch_size", "steps", "records", "threshold", "dtype",
)  # fmt: skip
PROBE = 1000  # examples on which a trained network is judged
LN10 = log(10)


def grid(settings: Settings) -> Grid:
    """One compilation per structure; its recipes, learning rates and seeds train together."""
    found = groups(settings.network, settings.remedy)
    stride = settings.steps // settings.records
    return Grid(
        static={"structure": tuple(found)},
        traced={"rate": settings.rate},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in CONSTANTS},
        coords={
            "member": range(max(map(len, found.values()))),
            "step": [stride * (i + 1) for i in range(settings.records)],
            "moment": ("start", "end"),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network of every recipe of a structure at one learning rate, in units of each recipe.

    Networks of one key share their draws and their batches.
    """
    recipes = groups(static["network"], static["remedy"])[static["structure"]]
    one = partial(_train, key, point["rate"], schemes(recipes), recipes[0], problem(static["data"]), static)
    return jax.vmap(one)(numbers(recipes, static["depth"], static["dtype"]))


class Numbers(NamedTuple):
    """The traced part of a recipe; see ``recipes.Recipe``."""

    scheme: Any
    sigma_w: Any
    sigma_b: Any
    branch_scale: Any
    momentum: Any
    l2: Any
    l1: Any
    clip_norm: Any
    unit: Any


def numbers(recipes: Sequence[Recipe], depth: int, dtype: str) -> Numbers:
    """The traced parts of recipes of one structure, stacked; the scheme by its place among theirs."""
    kinds = schemes(recipes)
    rows = [
        Numbers(
            kinds.index(r.scheme), r.sigma_w, r.sigma_b, depth**-r.branch_power, r.momentum, r.l2, r.l1,
            r.clip_norm, r.unit,
        )
        for r in recipes
    ]  # fmt: skip
    stacked = [jnp.asarray(column, dtype) for column in zip(*rows, strict=True)]
    return Numbers(stacked[0].astype(jnp.int32), *stacked[1:])


def schemes(recipes: Sequence[Recipe]) -> list[str]:
    """The schemes among recipes, each once."""
    return list(dict.fromkeys(r.scheme for r in recipes))


def _train(
    key: jax.Array, rate: jax.Array, kinds: Sequence[str], form: Recipe, problem: Problem, static: Static,
    of: Numbers,
) -> dict[str, jax.Array]:  # fmt: skip
    dtype = static["dtype"]
    draw_key, train_key, probe_key = jax.random.split(key, 3)
    model = draw(draw_key, kinds, form, of, problem, static)
    method = optimizer(
        form.optimizer, (rate * of.unit).astype(dtype), momentum=of.momentum, l2=of.l2, l1=of.l1
    )
    draw_batch = batches(problem, static["batch_size"], dtype)
    trained = train(
        train_key, model, cross_entropy, draw_batch, method, static["steps"], static["records"],
        clip_norm=of.clip_norm,
    )  # fmt: skip
    probe = draw_batch(probe_key)
    x, label = jnp.asarray(problem.x[:PROBE], dtype), jnp.asarray(problem.label[:PROBE])
    reached = accuracy(trained.model, x, label)
    alive = trained.diverged_at == 0
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, trained.model)
    return {
        "accuracy": reached,
        "solved": (alive & (reached > static["threshold"])).astype(dtype),
        "curve": trained.record["accuracy"],
        "decades": jax.vmap(lambda m: decades(m, probe))(both),
        "diverged_at": trained.diverged_at.astype(dtype),
    }


def draw(
    key: jax.Array, kinds: Sequence[str], form: Recipe, of: Numbers, problem: Problem, static: Static
) -> Classifier:
    """Draw one network.

    Args:
        key: Random key.
        kinds: Schemes among which ``of.scheme`` chooses.
        form: A recipe of the structure.
        of: The numbers of the recipe.
        problem: Gives the inputs on which LSUV sets its scales.
        static: ``width``, ``depth``, ``batch_size``, ``dtype``.
    """
    drawn = [_draw(key, kind, form, of, problem, static) for kind in kinds]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves)[of.scheme], *drawn) if len(drawn) > 1 else drawn[0]


def _draw(
    key: jax.Array, kind: str, form: Recipe, of: Numbers, problem: Problem, static: Static
) -> Classifier:
    shape, kept = ARCHITECTURES[form.architecture], {"dtype": static["dtype"]}
    if shape.two_layers:
        return _fixup(key, form, of, problem, static)
    free = kind != "lsuv"
    model = draw_classifier(
        key, problem.features, static["width"], static["depth"], problem.classes, activation(form.activation),
        scheme=kind if free else "orthogonal", sigma_w=of.sigma_w if free else 1.0, sigma_b=of.sigma_b,
        norm=shape.norm, skip=shape.skip, branch_scale=0.0 if shape.starts_at_zero else of.branch_scale,
        train_scale=shape.starts_at_zero, **kept,
    )  # fmt: skip
    return model if free else unit_variance(model, jnp.asarray(problem.x[: static["batch_size"]], **kept))


def _fixup(key: jax.Array, form: Recipe, of: Numbers, problem: Problem, static: Static) -> Classifier:
    """A first layer as in the others, then blocks of two layers: (depth - 1) // 2 of them."""
    width, phi, dtype = static["width"], activation(form.activation), static["dtype"]
    blocks = (static["depth"] - 1) // 2
    first_key, block_key = jax.random.split(key)
    plain = draw_classifier(
        first_key, problem.features, width, 1, problem.classes, phi, sigma_w=of.sigma_w, dtype=dtype
    )
    stack: Any = jax.vmap(
        lambda number: draw_block(
            block_key, number, width, phi, blocks, "fixup", sigma_in=of.sigma_w, sigma_out=of.sigma_w,
            dtype=dtype,
        )
    )(jnp.arange(1, blocks + 1))  # fmt: skip
    return Classifier([plain.runs[0], stack], plain.readout)


def decades(model: Classifier, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Log10 of |dE/dy^1| over |dE/dy^L|, norms over a batch: below 0 where gradients vanish.

    The gradient is rescaled in every layer, so that it cannot underflow; NaN if the signal left the dtype's
    range.
    """
    y, label = batch
    *below, stack = model.runs
    for run in below:
        y = jax.tree.map(lambda leaf: leaf[0], run)(y)
    depth = len(jax.tree.leaves(stack)[0])
    top = jax.grad(lambda y: cross_entropy(model.readout, (y, label))[0])
    found = chain_profile(lambda number: jax.tree.map(lambda leaf: leaf[number - 1], stack), depth, y, top)
    first = 0 if below else 1
    return (found.log_gradient[first] - found.log_gradient[-1]) / LN10
