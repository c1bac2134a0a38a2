"""Every optimizer against optax's own of that name, decay against its formula, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from signalprop.bench.engine.errors import InputError
from signalprop.bench.training.optimizers import OPTIMIZERS, optimizer
from signalprop.bench.training.settings import require_learning_rates

RATE = 0.05
START = {"kernel": jnp.array([[1.0, -2.0], [0.5, 0.0]]), "bias": jnp.array([0.3, -0.4])}
OPTAX = {
    "sgd": optax.sgd(RATE),
    "heavy_ball": optax.sgd(RATE, 0.9),
    "nesterov": optax.sgd(RATE, 0.9, nesterov=True),
    "adagrad": optax.adagrad(RATE, initial_accumulator_value=0.0, eps=1e-16),
    "rmsprop": optax.rmsprop(RATE, eps_in_sqrt=False),
    "adam": optax.adam(RATE),
}


def gradient(w):
    """Of a loss that is not quadratic."""
    return jax.tree.map(lambda a: jnp.cos(a) + a**3, w)


def descend(method, steps=4):
    """The parameters after a few steps."""

    @jax.jit
    def run(w):
        memory = method.init(w)
        for _ in range(steps):
            updates, memory = method.update(gradient(w), memory, w)
            w = optax.apply_updates(w, updates)
        return w

    return run(START)


def assert_same(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), found, expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_method_takes_the_steps_of_optax(name):
    assert_same(descend(optimizer(name, RATE)), descend(OPTAX[name]))


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_a_tiny_gradient_moves_as_far_as_a_large_one(name):
    def first_step(size):
        method = optimizer(name, RATE, epsilon=1e-12)
        start = {"kernel": jnp.zeros(1)}
        updates, _ = method.update({"kernel": jnp.full(1, size)}, method.init(start), start)
        return updates["kernel"][0]

    np.testing.assert_allclose(first_step(1e-6), first_step(1.0), rtol=1e-5)


def test_decoupled_decay_is_adamw_and_coupled_decay_is_not():
    adamw = descend(optax.adamw(RATE, weight_decay=0.1))
    assert_same(descend(optimizer("adam", RATE, decay=0.1)), adamw)
    coupled = descend(optimizer("adam", RATE, l2=0.1))
    assert_same(coupled, descend(optax.chain(optax.add_decayed_weights(0.1), OPTAX["adam"])))
    assert not np.allclose(coupled["kernel"], adamw["kernel"], atol=1e-4)


def test_one_step_is_the_formula_of_the_docstring():
    found = descend(optimizer("sgd", RATE, l2=0.2, decay=0.3, l1=0.1, clip_value=0.5, decay_biases=False), 1)
    g = {k: np.clip(np.asarray(v), -0.5, 0.5) for k, v in gradient(START).items()}
    kernel = np.asarray(START["kernel"])
    expected = kernel - RATE * (g["kernel"] + 0.2 * kernel + 0.1 * np.sign(kernel) + 0.3 * kernel)
    assert_same(found, {"kernel": expected, "bias": np.asarray(START["bias"]) - RATE * g["bias"]})


def test_every_number_may_be_traced():
    def run(rate, l2):
        method = optimizer("adam", rate, momentum=rate, epsilon=rate, l2=l2, decay=l2, l1=l2, clip_value=rate)
        updates, _ = method.update(gradient(START), method.init(START), START)
        return updates

    both = jax.jit(jax.vmap(run))(jnp.array([0.1, 0.2]), jnp.array([0.0, 0.5]))
    assert_same(jax.tree.map(lambda a: a[1], both), run(0.2, 0.5))


def test_a_typo_gets_the_nearest_name():
    with pytest.raises(InputError, match=r"optimizer: no 'addam'; did you mean adam\?"):
        optimizer("addam", RATE)


@pytest.mark.parametrize("rate", [0.0, -0.1, np.inf, np.nan])
def test_learning_rates_are_above_zero(rate):
    with pytest.raises(InputError, match=r"learning_rate: got .*; write finite rates above 0"):
        require_learning_rates((0.1, rate))
