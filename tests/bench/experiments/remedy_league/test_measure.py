"""Networks of a league against the plain ways to draw and to differentiate them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench.experiments.remedy_league.measure import decades, draw, numbers, schemes
from signalprop.bench.experiments.remedy_league.recipes import groups
from signalprop.bench.training.classification import cross_entropy, problem
from signalprop.models.mlp import draw_layer

STATIC = {"width": 6, "depth": 5, "batch_size": 8, "dtype": "float64"}


def _recipes(*remedies):
    (found,) = groups(("exploding",), remedies).values()
    return found


@pytest.fixture(scope="module")
def networks():
    """Three initialisations drawn together and Fixup, with their decades on a batch."""
    together, fixup = _recipes("none", "orthogonal", "lsuv"), _recipes("fixup")
    data = problem("gm10")
    batch = jnp.asarray(data.x[:8], "float64"), jnp.asarray(data.label[:8])

    @jax.jit
    def all_of_them(key):
        of = numbers(together, 5, "float64")
        drawn = jax.vmap(lambda one: draw(key, schemes(together), together[0], one, data, STATIC))(of)
        one = jax.tree.map(lambda a: a[0], numbers(fixup, 5, "float64"))
        zero = draw(key, ["gaussian"], fixup[0], one, data, STATIC)
        measured = [*jax.vmap(lambda model: decades(model, batch))(drawn), decades(zero, batch)]
        first = jax.tree.map(lambda a: a[0], drawn)
        return drawn, measured, _direct(first, batch), cross_entropy(zero, batch)[0]

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


def test_recipes_of_one_program_differ_in_their_schemes_alone(networks):
    gaussian, orthogonal, lsuv = np.asarray(networks[0].runs[1].layer.kernel[...])
    alone = draw_layer(jax.random.key(3), 3, 6, 6, sigma_w=3.0, dtype="float64")
    np.testing.assert_allclose(gaussian[1], alone.kernel[...], rtol=1e-12)
    np.testing.assert_allclose(orthogonal[1] @ orthogonal[1].T, np.eye(6), atol=1e-12)
    ratio = lsuv / orthogonal
    np.testing.assert_allclose(ratio, ratio[:, :1, :1] + 0 * ratio, rtol=1e-9)
    assert np.ptp(ratio[:, 0, 0]) > 1e-3


def test_the_decades_are_those_of_plain_differentiation(networks):
    _, measured, direct, _ = networks
    assert float(measured[0]) == pytest.approx(float(direct), abs=1e-10)


def test_fixup_begins_as_the_identity(networks):
    _, measured, _, loss = networks
    assert float(measured[-1]) == pytest.approx(0, abs=1e-12)
    assert np.isfinite(loss)
