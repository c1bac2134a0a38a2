"""Problems, batches, loss and accuracy against NumPy, and data that must be refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench.engine.errors import InputError
from signalprop.bench.training import classification
from signalprop.bench.training.classification import PROBLEMS, Problem, batches, problem


@pytest.mark.parametrize("name", [*PROBLEMS, "digits"])
def test_every_problem_has_ten_classes_in_both_parts(name):
    found = problem(name)
    assert set(found.label) == set(found.label_test) == set(range(10))
    assert found.x.shape == (len(found.label), 64)
    assert found.x_test.shape == (len(found.label_test), 64)


def test_the_mixtures_have_the_moments_that_they_promise():
    centred, plus = problem("gm10").x, problem("gm10_plus").x
    # 10 class means of 64 features: standard errors 0.6 / sqrt(640) of the mean
    assert abs(centred.mean()) < 5 * 0.6 / np.sqrt(640)
    assert abs(centred.var() - 1) < 5 * 0.36 * np.sqrt(2 / 640)
    # 40 prototypes of 64 entries
    assert abs(plus.mean() - 0.18) < 5 * 0.26 / np.sqrt(2560)
    assert 0.24 < plus.std() < 0.28
    assert plus.min() == 0
    assert plus.max() <= 1
    np.testing.assert_allclose(problem("gm10_plus_centred").x.mean(0), 0, atol=1e-6)


def test_a_problem_is_the_same_inside_a_compiled_function():
    classification.problem.cache_clear()
    traced = jax.jit(lambda: jnp.asarray(problem("gm10").x).sum())()
    classification.problem.cache_clear()
    np.testing.assert_allclose(traced, problem("gm10").x.sum(), rtol=1e-3)


def test_a_batch_holds_training_examples_with_their_labels():
    digits = problem("digits")
    x, label = jax.jit(batches(digits, 16))(jax.random.key(0))
    index = [int(np.flatnonzero((digits.x == row).all(1))[0]) for row in np.asarray(x)]
    np.testing.assert_array_equal(digits.label[index], label)


def test_loss_and_accuracy_are_those_of_the_softmax():
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 3.0, 1.0]])
    label = np.array([0, 2])
    log_share = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss, aside = classification.cross_entropy(lambda x: x, (jnp.asarray(logits), jnp.asarray(label)))
    np.testing.assert_allclose(loss, -log_share[[0, 1], label].mean(), rtol=1e-6)
    assert float(aside["accuracy"]) == 0.5
    assert float(classification.accuracy(lambda x: x, jnp.asarray(logits), jnp.asarray(label))) == 0.5


def test_the_base_rate_loss_is_the_entropy_of_the_labels():
    toy = Problem("toy", np.zeros((4, 1)), np.array([0, 0, 0, 1]), np.zeros((1, 1)), np.array([0]), 2)
    expected = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    np.testing.assert_allclose(classification.base_rate_loss(toy), expected)


@pytest.mark.parametrize(
    ("label", "message"),
    [([0, 12], "training label 12; write labels 0 to 9"), ([-1], "training label -1"), ([], "no training")],
)
def test_labels_outside_the_classes_and_empty_data_are_refused(label, message):
    bad = Problem("mine", np.zeros((len(label), 1)), np.array(label, int), np.zeros((1, 1)), np.array([0]))
    with pytest.raises(InputError, match=f"data mine: {message}"):
        classification.require_labels(bad)


def test_an_unknown_problem_and_an_empty_batch_are_refused():
    with pytest.raises(InputError, match=r"data: no 'digit'; did you mean digits\?"):
        problem("digit")
    with pytest.raises(InputError, match="batch_size: got 0; write at least 1"):
        batches(problem("digits"), 0)
