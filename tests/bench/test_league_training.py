"""Networks of a league against the plain ways to draw and to differentiate them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench.classification import cross_entropy, problem
from signalprop.bench.league import groups
from signalprop.bench.league_training import decades, draw, numbers, schemes
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier

STATIC = {"width": 6, "depth": 5, "batch_size": 8, "dtype": "float64"}


def _recipes(*remedies):
    (found,) = groups(("exploding",), remedies).values()
    return found


@pytest.fixture(scope="module")
def networks():
    """Three initialisations drawn together, two of them alone, and Fixup, with a batch."""
    together = _recipes("none", "orthogonal", "lsuv")
    fixup = _recipes("fixup")
    data = problem("gm10")
    batch = jnp.asarray(data.x[:8], "float64"), jnp.asarray(data.label[:8])

    @jax.jit
    def all_of_them(key):
        of = numbers(together, 5, "float64")
        drawn = jax.vmap(lambda one: draw(key, schemes(together), together[0], one, data, STATIC))(of)
        like = partial(draw_classifier, key, 64, 6, 5, 10, activation("tanh"), dtype="float64")
        alone = [like(sigma_w=3.0), like(scheme="orthogonal", sigma_w=1.0)]
        one = jax.tree.map(lambda a: a[0], numbers(fixup, 5, "float64"))
        zero = draw(key, ["gaussian"], fixup[0], one, data, STATIC)
        measured = [*jax.vmap(lambda model: decades(model, batch))(drawn), decades(zero, batch)]
        return drawn, alone, measured, _direct(alone[0], batch), cross_entropy(zero, batch)[0]

    return all_of_them(jax.random.key(3))


def _direct(model, batch):
    """The same decades by plain differentiation, layer by layer."""
    x, label = batch
    blocks = [
        jax.tree.map(lambda a, i=i: a[i], run) for run in model.runs for i in range(len(run.scale[...]))
    ]

    def loss(shifts):
        y = x
        for block, shift in zip(blocks, shifts, strict=True):
            y = block(y) + shift
        return cross_entropy(lambda y: model.readout(y), (y, label))[0]

    slopes = jax.grad(loss)([jnp.zeros((8, 6))] * len(blocks))
    return jnp.log10(jnp.linalg.norm(slopes[0]) / jnp.linalg.norm(slopes[-1]))


def test_recipes_of_one_program_equal_those_drawn_alone(networks):
    drawn, alone, *_ = networks
    for i, model in enumerate(alone):
        for one, other in zip(jax.tree.leaves(drawn), jax.tree.leaves(model), strict=True):
            np.testing.assert_allclose(one[i], other, rtol=1e-12)


def test_the_decades_are_those_of_plain_differentiation(networks):
    _, _, measured, direct, _ = networks
    assert float(measured[0]) == pytest.approx(float(direct), abs=1e-10)


def test_fixup_begins_as_the_identity(networks):
    *_, measured, _, loss = networks
    assert float(measured[-1]) == pytest.approx(0, abs=1e-12)
    assert np.isfinite(loss)
