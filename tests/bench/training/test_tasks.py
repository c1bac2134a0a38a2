"""Sequence tasks: what a sequence looks like, the right answer, and the loss at chance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench.engine.errors import InputError
from signalprop.bench.training import tasks
from signalprop.bench.training.tasks import TASKS

MANY = 4000
LENGTH = {"adding": 20, "adding_1997": 40, "temporal_order": 20, "copying": 7}


@pytest.fixture(scope="module")
def drawn():
    """Many sequences of every online task, from one program."""

    @jax.jit
    def draw(key):
        return {name: TASKS[name].draw(key, length, MANY) for name, length in LENGTH.items()}

    return jax.device_get(draw(jax.random.key(0)))


@pytest.mark.parametrize("name", LENGTH)
def test_shapes_are_time_first(drawn, name):
    inputs = drawn[name].inputs
    assert inputs.shape == (TASKS[name].num_steps(LENGTH[name]), MANY, TASKS[name].features)
    assert inputs.dtype == np.float32


def test_adding_marks_one_number_in_each_half(drawn):
    values, marks = np.moveaxis(drawn["adding"].inputs, -1, 0)
    assert (marks[:10].sum(0) == 1).all()
    assert (marks[10:].sum(0) == 1).all()
    assert ((values >= 0) & (values < 1)).all()
    np.testing.assert_allclose((values * marks).sum(0), drawn["adding"].targets, rtol=1e-6)


def test_the_original_adding_problem_keeps_its_rules(drawn):
    values, marks = np.moveaxis(drawn["adding_1997"].inputs, -1, 0)
    assert (marks[-1] == -1).all()
    begin = np.argmax(marks == -1, axis=0)
    assert set(begin) == {0, 1, 2, 3, 4}  # lengths 40 to 44 end at the last of 44 steps
    for i in range(0, MANY, 97):
        v, m = values[begin[i] :, i], marks[begin[i] :, i]
        assert not values[: begin[i], i].any()
        chosen = np.flatnonzero(m == 1)
        assert m[0] == -1
        assert len(chosen) == 1 or (len(chosen) == 2 and chosen.min() < 10)  # a marked first value counts 0
        assert chosen.max() <= 18  # one of the first T/2 - 1
        assert drawn["adding_1997"].targets[i] == pytest.approx(0.5 + v[chosen].sum() / 4, abs=1e-6)


def test_the_label_of_temporal_order_is_the_order(drawn):
    symbols = drawn["temporal_order"].inputs.argmax(-1)
    where = symbols < 2
    assert (where.sum(0) == 2).all()
    assert set(np.argwhere(where)[:, 0]) == {2, 3, 10, 11}
    pairs = symbols.T[where.T].reshape(-1, 2)
    np.testing.assert_array_equal(2 * pairs[:, 0] + pairs[:, 1], drawn["temporal_order"].targets)


def test_copying_asks_for_the_first_symbols_after_the_delimiter(drawn):
    symbols, targets = drawn["copying"].inputs.argmax(-1), drawn["copying"].targets
    assert (symbols[10:] >= tasks.BLANK).all()
    assert (symbols[16] == tasks.DELIMITER).all()
    assert (targets[:17] == tasks.BLANK).all()
    np.testing.assert_array_equal(targets[17:], symbols[:10])


@pytest.mark.parametrize("name", ["adding", "adding_1997"])
def test_chance_is_the_variance_of_the_targets(drawn, name):
    targets = drawn[name].targets.astype(float)
    spread = (targets - targets.mean()) ** 2
    error = 5 * spread.std() / np.sqrt(MANY)
    assert spread.mean() == pytest.approx(TASKS[name].chance(LENGTH[name]), abs=error)


class Constant:
    """A model that has learned nothing but how often each answer is right."""

    def __init__(self, answers):
        """Take the answers of every step."""
        self.answers = jnp.asarray(answers)

    def __call__(self, inputs):
        return jnp.broadcast_to(self.answers[-1], (inputs.shape[1], self.answers.shape[-1]))

    def every_step(self, inputs):
        return jnp.broadcast_to(self.answers[:, None], (*inputs.shape[:2], self.answers.shape[-1]))


@pytest.mark.parametrize("name", ["temporal_order", "copying"])
def test_knowing_only_frequencies_costs_the_chance_loss(drawn, name):
    steps = TASKS[name].num_steps(LENGTH[name])
    answers = np.zeros((steps, TASKS[name].outputs))
    if name == "copying":
        answers[:-10, tasks.BLANK], answers[-10:, tasks.BLANK :] = 50, -50
    loss, aside = jax.jit(lambda a, batch: TASKS[name].loss(Constant(a), batch))(answers, drawn[name])
    assert float(loss) == pytest.approx(TASKS[name].chance(LENGTH[name]), rel=1e-5)
    assert float(aside["correct"]) == pytest.approx(1 / (8 if name == "copying" else 4), abs=0.05)


def test_a_sum_within_the_tolerance_is_correct():
    batch = tasks.Batch(jnp.zeros((2, 4, 2)), jnp.array([0.0, 0.03, 0.05, 1.0]))
    loss, aside = tasks.squared_error(Constant([[0.0]]), batch)
    assert float(loss) == pytest.approx((0.03**2 + 0.05**2 + 1) / 4)
    assert float(aside["correct"]) == 0.5


@pytest.mark.parametrize(("name", "steps"), [("digits_rows", 8), ("digits_pixels", 64)])
def test_digits_come_by_row_or_pixel_and_held_out_ones_are_not_for_training(name, steps):
    key, task = jax.random.key(0), TASKS[name]
    test = task.test(key, 0, 1000)
    assert test.inputs.shape == (steps, 360, 64 // steps)
    assert task.num_steps(0) == steps
    known = {row.tobytes() for row in np.asarray(task.draw(key, 0, 500).inputs.swapaxes(0, 1))}
    held_out = {row.tobytes() for row in np.asarray(test.inputs.swapaxes(0, 1))}
    assert not known & held_out


@pytest.mark.parametrize("name", ["adding", "adding_1997", "temporal_order", "copying"])
def test_sequences_too_short_for_the_task_are_refused(name):
    with pytest.raises(InputError, match="length: got 0; write at least"):
        TASKS[name].draw(jax.random.key(0), 0, 3)


@pytest.mark.parametrize("name", TASKS)
def test_chance_is_not_solved_and_perfection_is(name):
    task = TASKS[name]
    assert not task.solved(task.chance(40), 0.25)
    assert task.solved(0.0, 1.0)
